"""Layers that are a table of 256 entries, and tables of tables.

Where a tensor is itself a table of another one and nothing else reads it, the next table is made of
that other one: x * sigmoid(x) becomes one table, and the sigmoid's tensor never exists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from isthmus_gen.front.activations import int8_table
from isthmus_gen.front.flatbuffer import Graph, Tensor
from isthmus_gen.front.layers import Array, Layer, Ref
from isthmus_gen.front.operators.base import Request
from isthmus_gen.front.quantize import INT8_MAX, INT8_MIN

__all__ = ["live_layers", "source_of", "table_layer"]

_DEPTH_MAX = 8
_LEVELS = np.arange(INT8_MIN, INT8_MAX + 1)
Levels = npt.NDArray[np.int64]


def source_of(request: Request, tensor: Tensor) -> tuple[Tensor, Levels]:
    """The tensor that decides ``tensor``, and its levels for -128 to 127 of that one; int64 [256].

    ``tensor`` itself unless it is the result of a table that nothing but this operator reads.
    """
    from isthmus_gen.front.operators import OPERATORS  # the table holds functions that call this

    graph = request.graph
    readers = [o for o in graph.operators if tensor.index in o.inputs]
    makers = [o for o in graph.operators if tensor.index in o.outputs]
    alone = readers == [request.operator] and tensor.index not in (*graph.outputs, *graph.inputs)
    if not alone or len(makers) != 1 or request.depth >= _DEPTH_MAX:
        return tensor, _LEVELS
    maker = makers[0]
    row = OPERATORS.get(maker.name)
    if row is None or maker.place >= request.operator.place:
        return tensor, _LEVELS
    layer = row.lower(Request(graph, maker, request.rounding, request.depth + 1))
    if not isinstance(layer, Layer) or layer.kernel != "isth_k_lut":
        return tensor, _LEVELS
    (source,) = layer.tensor_inputs
    return request.tensor(source), np.roll(layer.arrays[0].values, 128).astype(np.int64)


def table_layer(request: Request, x: Tensor, y: Tensor, value_of: Callable[[int], int]) -> Layer:
    """The layer that gives ``y`` for each value of ``x``; ``value_of`` may leave int8's range."""
    if x.elements != y.elements:
        raise request.refuse(f"shapes {x.shape} and {y.shape}", allowed="equal shapes")
    source, levels = source_of(request, x)
    table = np.array(int8_table(value_of), dtype=np.int8)[levels - INT8_MIN]
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(source.index,),
        output=y.index,
        kernel="isth_k_lut",
        files=("isth_k_common.h", "isth_k_lut.h", "isth_k_lut.c"),
        ctype="isth_k_lut_layer",
        params=(("table", Ref("table")), ("length", x.elements)),
        # The kernel takes the value's byte as the index: the negative half comes last.
        arrays=(Array("table", "int8_t", np.roll(table, 128), 1),),
        in_place=(source.index,),
    )


def live_layers(graph: Graph, layers: Sequence[Layer]) -> list[Layer]:
    """``layers`` without those whose output nothing reads."""
    wanted = set(graph.outputs)
    kept: list[Layer] = []
    for layer in reversed(layers):
        if layer.output in wanted:
            kept.append(layer)
            wanted.update(layer.tensor_inputs)
    return kept[::-1]
