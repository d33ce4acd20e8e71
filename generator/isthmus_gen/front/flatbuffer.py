"""A ``.tflite`` file as small immutable records.

Only what code generation needs is kept: shapes, types, quantisation, constant data and operator
options. The flatbuffer schema comes from ai-edge-litert or, failing that, from TensorFlow; either
is imported on first use.
"""

from __future__ import annotations

import importlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import MissingExtraError, ModelLoadError, ModelOperatorError

__all__ = ["Graph", "Operator", "Tensor", "load_schema", "read_graph"]

_SCHEMAS = ("ai_edge_litert.schema_py_generated", "tensorflow.lite.python.schema_py_generated")
_DTYPES = {
    "FLOAT32": "<f4",
    "INT32": "<i4",
    "INT64": "<i8",
    "INT16": "<i2",
    "INT8": "<i1",
    "UINT8": "<u1",
    "BOOL": "<u1",
}


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file; ``data`` is set where it is a constant.

    ``scales`` (float32) and ``zero_points`` (int64) are empty where the tensor is not quantised and
    hold one entry per index of ``axis`` where it is quantised per channel.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.int64]
    axis: int
    data: npt.NDArray[Any] | None

    @property
    def elements(self) -> int:
        """Number of elements (1 for a scalar)."""
        return math.prod(self.shape)

    @property
    def scale(self) -> np.float32:
        """The scale of a tensor quantised as a whole."""
        return np.float32(self.scales[0])

    @property
    def zero_point(self) -> int:
        """The zero point of a tensor quantised as a whole."""
        return int(self.zero_points[0])


@dataclass(frozen=True)
class Operator:
    """One operator: its builtin name, its place in execution order, tensors and options."""

    place: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where the operator is, as error messages print it."""
        return f"model.operators[{self.place}] {self.name}"


@dataclass(frozen=True)
class Graph:
    """The first subgraph of the file; ``inputs`` and ``outputs`` are tensor indices."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@cache
def load_schema() -> Any:
    """The generated flatbuffer classes of TensorFlow Lite.

    Raises MissingExtraError if no package that ships them is installed.
    """
    for name in _SCHEMAS:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingExtraError(
        "generate",
        "reading a .tflite file needs its flatbuffer schema",
        allowed="ai-edge-litert or tensorflow",
        remedy="pip install 'isthmus[generate]'",
    )


@cache
def _names(enum: str) -> dict[int, str]:
    holder = getattr(load_schema(), enum)
    return {v: k for k, v in vars(holder).items() if isinstance(v, int) and not k.startswith("_")}


def _text(value: bytes | str | None) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _integers(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(int(v) for v in values)


def read_graph(tflite: bytes) -> Graph:
    """The graph in ``tflite``.

    Raises ModelLoadError if the bytes are not a ``.tflite`` file with one subgraph, and
    ModelOperatorError where a custom operator is found.
    """
    if len(tflite) < 8 or tflite[4:8] != b"TFL3":
        raise ModelLoadError(
            "model",
            "the bytes are not a .tflite file",
            allowed="a flatbuffer with the identifier TFL3",
            remedy="convert the model with tf.lite.TFLiteConverter",
        )
    schema = load_schema()
    try:
        graph = _graph(schema.ModelT.InitFromPackedBuf(tflite, 0))
    except (struct.error, IndexError, ValueError, TypeError, AttributeError) as error:
        raise ModelLoadError(
            "model", f"the flatbuffer is damaged ({error})", remedy="export the model again"
        ) from error
    _check_indices(graph)
    return graph


def _graph(model: Any) -> Graph:
    count = 0 if model.subgraphs is None else len(model.subgraphs)
    if count != 1:
        raise ModelLoadError(
            "model.subgraphs",
            f"{count} subgraphs",
            allowed="one",
            remedy="export the model without control flow",
        )
    subgraph = model.subgraphs[0]
    return Graph(
        tuple(
            _tensor(index, raw, model.buffers or [])
            for index, raw in enumerate(subgraph.tensors or [])
        ),
        tuple(
            _operator(place, raw, model.operatorCodes)
            for place, raw in enumerate(subgraph.operators or [])
        ),
        _integers(subgraph.inputs),
        _integers(subgraph.outputs),
    )


def _check_indices(graph: Graph) -> None:
    """Refuses tensor numbers that the file does not hold; -1 stands for an input left out."""
    lists = [("model", graph.inputs + graph.outputs, 0)]
    for operator in graph.operators:
        lists.append((operator.path, operator.inputs, -1))
        lists.append((operator.path, operator.outputs, 0))
    for path, indices, lowest in lists:
        for index in indices:
            if not lowest <= index < len(graph.tensors):
                raise ModelLoadError(path, f"there is no tensor {index}")


def _tensor(index: int, raw: Any, buffers: Any) -> Tensor:
    dtype = _names("TensorType").get(int(raw.type), f"type {raw.type}")
    shape = _integers(raw.shape)
    quantization = raw.quantization
    scales: Any = None if quantization is None else quantization.scale
    zeros: Any = None if quantization is None else quantization.zeroPoint
    scale = np.asarray([] if scales is None else scales, dtype=np.float32)
    zero = np.asarray([] if zeros is None else zeros, dtype=np.int64)
    if zero.size == 0:
        zero = np.zeros(scale.size, dtype=np.int64)
    return Tensor(
        index=index,
        name=_text(raw.name),
        shape=shape,
        dtype=dtype,
        scales=scale,
        zero_points=zero,
        axis=0 if quantization is None else int(quantization.quantizedDimension),
        data=_constant(index, raw, shape, dtype, buffers),
    )


def _constant(
    index: int, raw: Any, shape: tuple[int, ...], dtype: str, buffers: Any
) -> npt.NDArray[Any] | None:
    data = buffers[int(raw.buffer)].data if 0 < int(raw.buffer) < len(buffers) else None
    if data is None or len(data) == 0 or dtype not in _DTYPES:
        return None
    values = np.frombuffer(np.asarray(data, dtype=np.uint8).tobytes(), dtype=_DTYPES[dtype])
    expected = math.prod(shape)
    if values.size != expected:
        raise ModelLoadError(
            f"model.tensors[{index}]", f"{values.size} elements", allowed=f"{expected}"
        )
    return values.reshape(shape)


def _operator(place: int, raw: Any, codes: Any) -> Operator:
    code = codes[int(raw.opcodeIndex)]
    # Files written before schema 3a keep the number in an int8 field; the larger one is right.
    number = max(int(code.builtinCode), int(code.deprecatedBuiltinCode))
    name = _names("BuiltinOperator").get(number, f"builtin {number}")
    if name == "CUSTOM":
        raise ModelOperatorError(
            f"model.operators[{place}] CUSTOM",
            f"the custom operator {_text(code.customCode)!r} is not supported",
            remedy="cut the network before it",
        )
    options = {} if raw.builtinOptions is None else dict(vars(raw.builtinOptions))
    return Operator(place, name, _integers(raw.inputs), _integers(raw.outputs), options)
