"""Files of a planned front half: the data of the templates, and the templates filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus_gen.front.build import FrontPlan, shape_text
from isthmus_gen.front.layers import Array, Layer, Ref, Struct, Value
from isthmus_gen.front.rows import RowCall
from isthmus_gen.resources import RUNTIME_ABI, kernel_root

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["c_comment", "c_float", "c_integer", "c_name", "front_environment", "render_front"]

_RESERVED = frozenset(
    re.findall(
        r"\S+",
        """auto break case char const continue default do double else enum extern float for goto if
        inline int long register restrict return short signed sizeof static struct switch typedef
        union unsigned void volatile while _Bool _Complex _Imaginary asm class new delete this
        template try catch throw namespace operator private public protected virtual bool true
        false""",
    )
)
_WIDTH = 96
_TIER = re.compile(r"_(dsp|mve|neon|portable|thumb1)\.h$")  # included by their kernels alone


def c_name(text: str) -> str:
    """``text`` as a C identifier.

    >>> c_name("conv2d/BiasAdd:0"), c_name("3x3"), c_name("int"), c_name("")
    ('conv2d_biasadd_0', 'n_3x3', 'n_int', 'n_')
    """
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return f"n_{name}" if not name or name[0].isdigit() or name in _RESERVED else name


def c_comment(text: str) -> str:
    """``text`` safe inside a C comment: printable ASCII, no comment marks, no line splices.

    >>> c_comment("evil */ int x; // é" + chr(10) + "??/")
    'evil *_ int x; _/ ____/'
    """
    kept = "".join(c if " " <= c <= "~" and c not in "\\?" else "_" for c in text)
    return kept.replace("*/", "*_").replace("/*", "_*").replace("//", "_/")


def c_integer(value: int) -> str:
    """``value`` as a C literal of type int, or of type long where int32_t needs it.

    >>> c_integer(-128), c_integer(-(2**31)), c_integer(2**31 - 1)
    ('-128', '(-2147483647 - 1)', '2147483647')
    """
    if not -(2**31) <= value < 2**31:
        raise ValueError(f"{value} does not fit int32_t")
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)


def c_float(value: float) -> str:
    """``value``, a float32, as the shortest C literal of type float that is exactly it.

    >>> c_float(0.003921568859368563), c_float(1.0), c_float(2.0**-40)
    ('0.003921569f', '1.0f', '9.094947e-13f')
    """
    return f"{np.float32(value)!s}f"


def _wrapped(items: Iterable[str], indent: str = "    ") -> list[str]:
    """Comma-separated items in lines of at most 96 characters.

    >>> _wrapped(["1", "2"])
    ['    1, 2,']
    """
    lines: list[str] = []
    line = indent
    for item in items:
        piece = f"{item}," if line == indent else f" {item},"
        if len(line) + len(piece) > _WIDTH:
            lines.append(line)
            line = indent
            piece = f"{item},"
        line += piece
    return [*lines, line] if line != indent else lines


def _prefix(index: int, layer: Layer) -> str:
    return f"isth_front_{index:02d}_{c_name(layer.operator)}"


def _array(prefix: str, array: Array) -> dict[str, Any]:
    if array.values.ndim == 2:
        lines = ["    {" + ", ".join(c_integer(int(v)) for v in row) + "}," for row in array.values]
    else:
        lines = _wrapped(c_integer(int(v)) for v in array.values)
    return {
        "name": f"{prefix}_{array.suffix}",
        "ctype": array.ctype,
        "length": int(array.values.shape[0]),
        "lines": lines,
    }


def _value(prefix: str, value: Value) -> str:
    if isinstance(value, Ref):
        return f"{prefix}_{value.suffix}"
    if isinstance(value, Struct):
        return "{" + ", ".join(_value(prefix, v) for v in value.values) + "}"
    return c_integer(value)


def _field(prefix: str, name: str, value: Value) -> list[str]:
    """A designated initialiser, one line where it fits, else a line for each part of the struct."""
    line = f"    .{name} = {_value(prefix, value)},"
    if len(line) <= _WIDTH or not isinstance(value, Struct):
        return [line]
    parts = [f"        {_value(prefix, part)}," for part in value.values]
    return [f"    .{name} = {{", *parts, "    },"]


def _offset(plan: FrontPlan, tensor: int) -> int:
    return plan.arena.tensors[tensor].offset


def _argument(plan: FrontPlan, prefix: str, value: int | Ref, step: int) -> str:
    """An input, in flash or in the arena; ``step`` bytes further for each row."""
    start = (
        f"{prefix}_{value.suffix}" if isinstance(value, Ref) else f"base + {_offset(plan, value)}"
    )
    return f"{start} + at * {step}" if step else start


def _row_call(plan: FrontPlan, index: int) -> RowCall | None:
    """How layer ``index`` runs where it does so row by row; inputs of one row do not move."""
    if plan.stream is None or index < plan.stream.first:
        return None
    call = plan.stream.calls[index - plan.stream.first]
    made = {layer.output for layer in plan.layers[plan.stream.first :]}
    inputs = plan.layers[index].inputs
    steps = (0 if i in made else step for i, step in zip(inputs, call.steps, strict=True))
    return replace(call, steps=tuple(steps))


def _call(plan: FrontPlan, index: int, layer: Layer) -> dict[str, Any]:
    prefix = _prefix(index, layer)
    tensor = plan.graph.tensors[layer.output]
    by_row = _row_call(plan, index)
    steps = by_row.steps if by_row is not None else (0,) * len(layer.inputs)
    params = by_row.params if by_row is not None and by_row.params is not None else layer.params
    arguments = [
        _argument(plan, prefix, i, step) for i, step in zip(layer.inputs, steps, strict=True)
    ]
    arguments.append(f"base + {_offset(plan, layer.output)}")
    if layer.scratch_bytes:
        arguments.append(f"base + {plan.arena.scratch[index].offset}")
    if by_row is not None and by_row.params is None:
        arguments += ["(int32_t)row", "1"]
    return {
        "number": index,
        "by_row": by_row is not None,
        "moves": any(steps),
        "view": layer.view,
        "kernel": layer.kernel if by_row is None else by_row.kernel,
        "ctype": layer.ctype,
        "params": f"{prefix}_layer",
        "fields": [line for name, value in params for line in _field(prefix, name, value)],
        "arrays": [_array(prefix, array) for array in layer.arrays],
        "arguments": arguments,
        "operator": c_comment(layer.operator),
        "shape": shape_text(tensor.shape[1:]),
        "tensor": c_comment(tensor.name)[:40],
        "macs": layer.macs,
    }


def _stream(plan: FrontPlan, calls: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Numbers of a front half whose last layers run by rows."""
    if plan.stream is None:
        return None
    return {
        "rows": plan.stream.rows,
        "row_bytes": plan.stream.row_bytes,
        "begins": any(not (call["by_row"] or call["view"]) for call in calls),
        "moves": not plan.stream.calls or any(call["moves"] for call in calls),
        "whole": not plan.stream.calls,
    }


def _context(plan: FrontPlan, banner: str, abi: int) -> dict[str, Any]:
    calls = [_call(plan, index, layer) for index, layer in enumerate(plan.layers)]
    return {
        "banner": [c_comment(line) for line in banner.splitlines()],
        "abi": abi,
        "rounding": plan.rounding,
        "input_bytes": plan.input_bytes,
        "output_bytes": plan.output_bytes,
        "arena_bytes": plan.arena_bytes,
        "arena_lower_bound": plan.arena_lower_bound,
        "input_offset": _offset(plan, plan.input.index),
        "output_offset": _offset(plan, plan.output.index),
        "input_shape": shape_text(plan.input_shape),
        "output_shape": shape_text(plan.output_shape),
        "input_zero_point": c_integer(plan.input_zero_point),
        "output_zero_point": c_integer(plan.output_zero_point),
        "input_scale": c_float(plan.input_scale),
        "output_scale": c_float(plan.output_scale),
        "macs": plan.macs,
        "constant_bytes": plan.constant_bytes,
        "headers": sorted(
            {name for name in plan.kernel_files if name.endswith(".h") and not _TIER.search(name)}
            | {"isth_k_common.h"}
        ),
        "calls": calls,
        "stream": _stream(plan, calls),
        "tflm_methods": plan.tflm_methods,
        "tflite_bytes": len(plan.tflite),
        "tflite_lines": _wrapped(f"0x{byte:02x}" for byte in plan.tflite),
    }


def front_environment() -> Environment:
    """The environment of every template (:func:`isthmus_gen.emit.environment.make_environment`)."""
    from isthmus_gen.emit.environment import make_environment

    environment: Environment = make_environment()
    return environment


_TEMPLATES = {
    "isth_front.h": "isth_front.h.j2",
    "isth_front.c": "isth_front.c.j2",
    "isth_front_weights.h": "isth_front_weights.h.j2",
    "isth_front_weights.c": "isth_front_weights.c.j2",
    "tflm/isth_tflm_model.h": "tflm_model.h.j2",
    "tflm/isth_tflm_model.cc": "tflm_model.cc.j2",
}


def render_front(
    plan: FrontPlan,
    environment: Environment | None = None,
    *,
    banner: str = "Isthmus",
    abi: int = RUNTIME_ABI,
) -> dict[str, bytes]:
    """Every file of the front half by name; names under ``tflm/`` are for TFLM users alone.

    They are left out where TensorFlow Lite Micro lacks an operator of the model.
    The others belong into one include folder. ``banner`` (version, profile digest, target, how to
    regenerate) is put as a comment at the top; ``abi`` is the ISTH_ABI the tree is made for. The
    same plan and banner give the same bytes.
    """
    chosen = environment if environment is not None else front_environment()
    context = _context(plan, banner, abi)
    files = {
        name: chosen.get_template(template).render(context).encode("ascii")
        for name, template in _TEMPLATES.items()
        if plan.tflm_methods or not name.startswith("tflm/")
    }
    names = {*plan.kernel_files, "isth_k_common.h"}
    files.update({name: (kernel_root() / name).read_bytes() for name in sorted(names)})
    return files
