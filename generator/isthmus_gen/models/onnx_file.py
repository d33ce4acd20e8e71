"""Reading an ``.onnx`` file as a Keras model with channels last.

ONNX networks keep channels before height and width; TensorFlow Lite and this project's kernels keep
them last. So the file is read operator by operator into Keras layers, weights turned, and from then
on it is a Keras network: cut, quantised and converted as any other. The network then takes
[n, height, width, channels].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from isthmus.errors import ModelLoadError
from isthmus.optional import one_line, quiet_import, read_model_bytes
from isthmus_gen.models.onnx_layers import READERS
from isthmus_gen.models.onnx_nodes import REMEDY, Array, Builder, Node, Value

__all__ = ["load_onnx"]

_EXTRA = 'pip install "isthmus[generate,onnx]"'
_LARGEST_RANK = 4


def load_onnx(path: Path) -> tuple[Any, dict[str, str]]:
    """The network as a ``keras.Model``, and for each of its layers the ONNX tensor it computes.

    Raises MissingExtraError, ModelFileError, ModelLoadError, and ModelOperatorError for an operator
    that is not known or not in that form.
    """
    read_model_bytes(path, 1)
    onnx = quiet_import("onnx", _EXTRA)
    keras = quiet_import("keras", _EXTRA)
    graph, opset = _read(onnx, path)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    values: dict[str, Value | Array] = dict(constants)
    build = Builder(keras)
    given = _input(graph, constants, path)
    first = build.name(given.name)
    shape = tuple(_sizes(given)[1:])
    entry = keras.Input((*shape[1:], shape[0]), name=first)
    values[given.name] = Value(entry, shape)
    for number, raw in enumerate(graph.node):
        node = _node(onnx, raw, number, values, path)
        folded = _folded(onnx, raw, node, opset)
        if folded is not None:
            values.update(zip(raw.output, folded, strict=False))
            continue
        reader = READERS.get(node.operator)
        if reader is None:
            raise node.refuse("is not supported", allowed=", ".join(sorted(READERS)))
        values[raw.output[0]] = reader(build, node)
    result = values.get(graph.output[0].name)
    if not isinstance(result, Value) or result.flat:
        raise ModelLoadError(str(path), "its output is not a computed tensor", remedy=REMEDY)
    return keras.Model(entry, result.tensor, name="network"), build.names


def _read(onnx: Any, path: Path) -> tuple[Any, int]:
    """The checked graph and its opset."""
    errors = (
        onnx.checker.ValidationError,
        quiet_import("google.protobuf.message", _EXTRA).DecodeError,
        ValueError,
        OSError,
    )
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except errors as error:
        raise ModelLoadError(
            str(path), f"not a valid .onnx file: {one_line(error)}", remedy="export it again"
        ) from error
    foreign = sorted({o.domain for o in model.opset_import if o.domain not in ("", "ai.onnx")})
    if foreign and any(n.domain in foreign for n in model.graph.node):
        raise ModelLoadError(
            str(path), f"uses operators of {', '.join(foreign)}", remedy="export with plain ONNX"
        )
    if len(model.graph.output) != 1:
        raise ModelLoadError(
            str(path),
            f"{len(model.graph.output)} outputs",
            remedy="keep one: onnx.utils.extract_model(FILE, NEW, [INPUT], [OUTPUT])",
        )
    opset = next(int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return model.graph, opset


def _sizes(entry: Any) -> list[int]:
    """Sizes of a graph input; 0 for one that is left open."""
    return [int(d.dim_value) for d in entry.type.tensor_type.shape.dim]


def _input(graph: Any, constants: dict[str, Array], path: Path) -> Any:
    """The one input that is no constant, its sizes without batch known."""
    entries = [i for i in graph.input if i.name not in constants]
    if len(entries) != 1:
        raise ModelLoadError(
            str(path), f"{len(entries)} inputs", remedy="save the network with one input"
        )
    sizes = _sizes(entries[0])
    if not 2 <= len(sizes) <= _LARGEST_RANK or min(sizes[1:]) < 1:
        shown = ", ".join(str(n) if n else "?" for n in sizes)
        raise ModelLoadError(
            str(path),
            f"its input {entries[0].name!r} has the shape ({shown})",
            allowed="(batch, channels, height, width) with fixed sizes",
            remedy="export it for one input size",
        )
    return entries[0]


def _node(onnx: Any, raw: Any, number: int, values: dict[str, Value | Array], path: Path) -> Node:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in raw.attribute}
    inputs = tuple(values[name] if name else None for name in raw.input)
    return Node(raw.op_type, raw.output[0], attributes, inputs, f"{path.name} node {number}")


def _folded(onnx: Any, raw: Any, node: Node, opset: int) -> list[Array] | None:
    """The results of a node that needs no input of the network, computed by ONNX's reference."""
    if node.operator == "Shape" and isinstance(node.inputs[0], Value):
        # Only what follows the batch is known; a single input is what the device runs.
        return [np.array([1, *node.inputs[0].shape], dtype=np.int64)[_shape_part(node)]]
    if any(isinstance(given, Value) for given in node.inputs):
        return None
    reference = quiet_import("onnx.reference", _EXTRA)
    evaluator = reference.ReferenceEvaluator(raw, opsets={"": opset})
    feeds = {n: v for n, v in zip(raw.input, node.inputs, strict=True) if n}
    try:
        return [np.asarray(found) for found in evaluator.run(None, feeds)]
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise node.refuse(f"its constant cannot be computed: {one_line(error)}") from error


def _shape_part(node: Node) -> slice:
    return slice(int(node.attributes.get("start", 0)), node.attributes.get("end"))
