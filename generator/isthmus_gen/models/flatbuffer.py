"""Reading a ``.tflite`` as a graph, and writing a part of one.

Nothing is converted here: a half keeps the operators, constants and quantisation parameters of the
whole, so both halves composed equal the whole in every element.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from isthmus.errors import ModelLoadError
from isthmus.interpreters import tflite_schema
from isthmus_gen.models.flatbuffer_ops import activation_of, macs_of, refusal_of
from isthmus_gen.models.graph import Graph, GraphOperator, GraphTensor

__all__ = ["builtin_names", "parse", "read_graph", "tensor_dtype", "write_part"]

IDENTIFIER = b"TFL3"
ALIGNMENT = 16  # force_align of Buffer.data in the TFLite schema; the Python writer ignores it
# TensorFlow 2.21 writes these newer than LiteRT 2.3 registers them; its kernels are the same.
_VERSIONS = {"TILE": 2}
_REMEDY = "convert the network again, or copy the file again"


def parse(content: bytes, where: str) -> Any:
    """The file as the schema's ``ModelT``. Raises ModelLoadError."""
    if content[4:8] != IDENTIFIER:
        raise ModelLoadError(where, "not a .tflite file (no TFL3 identifier)", remedy=_REMEDY)
    try:
        model = tflite_schema().ModelT.InitFromPackedBuf(content, 0)
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise ModelLoadError(where, f"damaged flatbuffer: {error}", remedy=_REMEDY) from error
    except importlib.import_module("struct").error as error:
        raise ModelLoadError(where, f"damaged flatbuffer: {error}", remedy=_REMEDY) from error
    if not model.subgraphs:
        raise ModelLoadError(where, "holds no graph", remedy=_REMEDY)
    return model


@cache
def builtin_names() -> dict[int, str]:
    """Names of the built-in operators by number (``CONV_2D``, ...)."""
    return _names("BuiltinOperator")


@cache
def _tensor_types() -> dict[int, str]:
    return {n: name.lower() for n, name in _names("TensorType").items()}


def _names(enumeration: str) -> dict[int, str]:
    members = vars(getattr(tflite_schema(), enumeration))
    return {v: k for k, v in members.items() if isinstance(v, int)}


def tensor_dtype(tensor: Any) -> str:
    """The dtype of a flatbuffer tensor, as numpy spells it."""
    return _tensor_types().get(tensor.type, f"type {tensor.type}")


def operator_kind(model: Any, operator: Any) -> str:
    """``CONV_2D``, or ``CUSTOM name``, or ``UNKNOWN number``."""
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if code.customCode:
        return f"CUSTOM {text(code.customCode)}"
    return builtin_names().get(number, f"UNKNOWN {number}")


def text(name: bytes | str | None) -> str:
    """A flatbuffer string."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name or ""


def read_graph(model: Any, where: str) -> Graph:
    """The main graph. Operators on constants alone count as constants.

    Raises ModelLoadError for several inputs or outputs, and where the file contradicts itself.
    """
    try:
        graph = _read_graph(model, where)
    except (ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        raise ModelLoadError(where, f"damaged flatbuffer: {error}", remedy=_REMEDY) from error
    if graph.output not in graph.tensors:
        raise ModelLoadError(where, "its output does not depend on its input", remedy=_REMEDY)
    return graph


def _read_graph(model: Any, where: str) -> Graph:
    subgraph = model.subgraphs[0]
    for what, found in (("input", subgraph.inputs), ("output", subgraph.outputs)):
        indices = _or_empty(found)
        if len(indices) != 1:
            raise ModelLoadError(
                where, f"{len(indices)} {what}s", remedy=f"export the network with one {what}"
            )
    live = {int(subgraph.inputs[0])}
    operators: list[GraphOperator] = []
    positions: list[int] = []
    for position, operator in enumerate(subgraph.operators):
        taken = tuple(dict.fromkeys(int(i) for i in operator.inputs if int(i) in live))
        stateful = [i for i in operator.inputs if i >= 0 and subgraph.tensors[i].isVariable]
        if not taken and not stateful:
            continue
        live.update(int(i) for i in operator.outputs)
        operators.append(_operator(model, subgraph, operator, taken, bool(stateful)))
        positions.append(position)
    return Graph(
        _graph_tensors(subgraph, live),
        tuple(operators),
        int(subgraph.inputs[0]),
        int(subgraph.outputs[0]),
        {text(t.name): i for i, t in enumerate(subgraph.tensors) if i not in live},
    )


def _operator(
    model: Any, subgraph: Any, operator: Any, taken: tuple[int, ...], stateful: bool
) -> GraphOperator:
    kind = operator_kind(model, operator)
    output = subgraph.tensors[operator.outputs[0]] if len(operator.outputs) else None
    name = text(output.name) if output is not None else ""
    return GraphOperator(
        kind,
        taken,
        tuple(int(i) for i in operator.outputs),
        macs_of(kind, subgraph, operator),
        refusal_of(kind, name, stateful),
        activation_of(kind, operator.builtinOptions),
    )


def _graph_tensors(subgraph: Any, live: Collection[int]) -> dict[int, GraphTensor]:
    """Tensors by index. A converter joins the names of fused operators by ';': the first part is
    the tensor's name where no other tensor has it, and the others are aliases."""
    full = {i: text(subgraph.tensors[i].name) or f"tensor:{i}" for i in live}
    count = Counter(part for name in full.values() for part in {name, *name.split(";")})
    tensors: dict[int, GraphTensor] = {}
    for index in sorted(live):
        known = [p for p in dict.fromkeys([*full[index].split(";"), full[index]]) if count[p] == 1]
        name = known[0] if known else full[index]
        tensor = subgraph.tensors[index]
        shape = full_shape(tensor)
        tensors[index] = GraphTensor(
            index,
            name,
            shape[1:],
            tensor_dtype(tensor),
            shape[0] if shape else 1,
            tuple(p for p in known if p != name),
        )
    return tensors


def full_shape(tensor: Any) -> tuple[int, ...]:
    """Shape with batch; -1 where the signature leaves a dimension open."""
    signature = tensor.shapeSignature
    shape = signature if signature is not None and len(signature) else tensor.shape
    return tuple(int(d) for d in shape) if shape is not None else ()


def write_part(
    content: bytes,
    inputs: Sequence[int],
    outputs: Sequence[int],
    *,
    rename: Mapping[int, str] | None = None,
    fix_batch: bool = False,
) -> bytes:
    """The part of a ``.tflite`` that computes tensors ``outputs`` from tensors ``inputs``.

    Only what that part needs is kept, in the order of the whole. Signatures and conversion
    metadata (versions, environment) are dropped, so the bytes depend on the network alone.
    ``fix_batch`` closes an open batch dimension at 1; ``rename`` gives tensors new names.
    """
    model = parse(content, "model")
    subgraph = model.subgraphs[0]
    kept = _needed(subgraph, set(inputs), outputs)
    subgraph.operators = [subgraph.operators[p] for p in kept]
    used = set(inputs) | set(outputs)
    for operator in subgraph.operators:
        used.update(int(i) for i in [*operator.inputs, *operator.outputs] if i >= 0)
        used.update(int(i) for i in _or_empty(operator.intermediates))
    for index, name in (rename or {}).items():
        subgraph.tensors[index].name = name.encode("utf-8")
    subgraph.inputs, subgraph.outputs = list(inputs), list(outputs)
    _keep_tensors(subgraph, sorted(used))
    if fix_batch:
        for tensor in subgraph.tensors:
            tensor.shapeSignature = None
    _keep_codes(model)
    _keep_buffers(model)
    return _pack(model)


def _or_empty(values: Any) -> Any:
    return () if values is None else values


def _needed(subgraph: Any, given: set[int], outputs: Sequence[int]) -> list[int]:
    """Positions of the operators that ``outputs`` depend on, not going back beyond ``given``."""
    producers = {int(t): p for p, o in enumerate(subgraph.operators) for t in o.outputs}
    found: set[int] = set()
    pending = [t for t in outputs if t not in given]
    while pending:
        position = producers.get(pending.pop())
        if position is not None and position not in found:
            found.add(position)
            pending.extend(int(t) for t in subgraph.operators[position].inputs if t not in given)
    return sorted(found)


def _keep_tensors(subgraph: Any, used: list[int]) -> None:
    place = {old: new for new, old in enumerate(used)} | {-1: -1}
    subgraph.tensors = [subgraph.tensors[i] for i in used]
    subgraph.inputs = [place[i] for i in subgraph.inputs]
    subgraph.outputs = [place[i] for i in subgraph.outputs]
    for operator in subgraph.operators:
        operator.inputs = [place[int(i)] for i in operator.inputs]
        operator.outputs = [place[int(i)] for i in operator.outputs]
        if operator.intermediates is not None:
            operator.intermediates = [place[int(i)] for i in operator.intermediates]


def _keep_codes(model: Any) -> None:
    operators = [o for s in model.subgraphs for o in s.operators]
    used = sorted({o.opcodeIndex for o in operators})
    model.operatorCodes = [model.operatorCodes[i] for i in used]
    for code in model.operatorCodes:
        newest = _VERSIONS.get(builtin_names().get(code.builtinCode, ""), code.version)
        code.version = min(code.version, newest)
    for operator in operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)


def _keep_buffers(model: Any) -> None:
    """Keep the constants in use (and the oldest runtime that can run them), renumbered."""
    model.signatureDefs = None
    model.metadataBuffer = None
    model.metadata = [
        m for m in model.metadata or [] if text(m.name) == "min_runtime_version"
    ] or None
    old = model.buffers
    buffers = [tflite_schema().BufferT()]  # by convention buffer 0 is empty: "no constant"
    place: dict[int, int] = {}
    owners = [t for s in model.subgraphs for t in s.tensors] + (model.metadata or [])
    for owner in owners:
        source = int(owner.buffer)
        empty = old[source].data is None or len(old[source].data) == 0
        if not empty and source not in place:
            place[source] = len(buffers)
            buffers.append(old[source])
        owner.buffer = 0 if empty else place[source]
    model.buffers = buffers


def _pack(model: Any) -> bytes:
    base: Any = importlib.import_module("flatbuffers").Builder

    def start_aligned(self: Any, size: int, count: int, alignment: int) -> Any:
        return base.StartVector(self, size, count, ALIGNMENT if size == 1 else alignment)

    builder: Any = type("AlignedBuilder", (base,), {"StartVector": start_aligned})(1 << 16)
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.asarray(buffer.data, dtype=np.uint8)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())
