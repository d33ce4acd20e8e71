"""The ends of a network: float or uint8 ones are left to the caller, who holds int8.

A converted network may begin with a QUANTIZE of its float32 (or uint8) input and end with a
DEQUANTIZE (or QUANTIZE) of its int8 result. The front half in C starts after the one and ends
before the other; scale and zero point of those int8 tensors are in its macros.
"""

from __future__ import annotations

from dataclasses import replace

from isthmus.errors import ModelOperatorError
from isthmus_gen.front.flatbuffer import Graph, Operator, Tensor

__all__ = ["absorb_ends", "check_ends", "check_order"]

_OUTER = ("FLOAT32", "UINT8")


def absorb_ends(graph: Graph) -> Graph:
    """``graph`` without the operators that convert its input to int8 and its output from int8.

    Operators keep their places. A graph that has none of them is returned as it is.
    """
    return _without_last(_without_first(graph))


def _without_first(graph: Graph) -> Graph:
    if len(graph.inputs) != 1 or graph.tensors[graph.inputs[0]].dtype not in _OUTER:
        return graph
    takers = [o for o in graph.operators if graph.inputs[0] in o.inputs]
    if len(takers) != 1 or not _converts(graph, takers[0], "QUANTIZE", inner_is_output=True):
        return graph
    return replace(
        graph,
        operators=tuple(o for o in graph.operators if o is not takers[0]),
        inputs=takers[0].outputs,
    )


def _without_last(graph: Graph) -> Graph:
    if len(graph.outputs) != 1 or graph.tensors[graph.outputs[0]].dtype not in _OUTER:
        return graph
    makers = [o for o in graph.operators if graph.outputs[0] in o.outputs]
    kind = "DEQUANTIZE" if graph.tensors[graph.outputs[0]].dtype == "FLOAT32" else "QUANTIZE"
    if len(makers) != 1 or not _converts(graph, makers[0], kind, inner_is_output=False):
        return graph
    if any(graph.outputs[0] in o.inputs for o in graph.operators):
        return graph
    return replace(
        graph,
        operators=tuple(o for o in graph.operators if o is not makers[0]),
        outputs=makers[0].inputs,
    )


def _converts(graph: Graph, operator: Operator, kind: str, *, inner_is_output: bool) -> bool:
    """True for an operator ``kind`` of one input and one output whose inner side is int8."""
    if operator.name != kind or len(operator.inputs) != 1 or len(operator.outputs) != 1:
        return False
    inner = operator.outputs[0] if inner_is_output else operator.inputs[0]
    return inner >= 0 and _is_int8(graph.tensors[inner])


def _is_int8(tensor: Tensor) -> bool:
    return tensor.dtype == "INT8" and tensor.scales.size == 1


def check_ends(graph: Graph) -> None:
    """Raises ModelOperatorError unless one int8 tensor of batch 1 comes in and one goes out."""
    for role, indices in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        if len(indices) != 1:
            raise ModelOperatorError(
                f"model.{role}", f"{len(indices)} tensors", allowed="one", remedy="cut elsewhere"
            )
        tensor = graph.tensors[indices[0]]
        if not _is_int8(tensor):
            raise ModelOperatorError(
                f"model.{role}",
                f"{tensor.name!r} is {tensor.dtype.lower()}",
                allowed="int8 with one scale, or one QUANTIZE or DEQUANTIZE away from it",
                remedy="convert with inference_input_type and inference_output_type int8",
            )
        if len(tensor.shape) < 2 or tensor.shape[0] != 1 or any(n < 1 for n in tensor.shape):
            raise ModelOperatorError(
                f"model.{role}",
                f"{tensor.name!r} has the shape {tensor.shape}",
                allowed="a fixed shape with batch 1",
                remedy="convert with batch_shape=(1, ...)",
            )


def check_order(graph: Graph) -> None:
    """Every tensor read must be the input, a constant, or written before."""
    known = set(graph.inputs)
    for operator in graph.operators:
        for index in operator.inputs:
            if index >= 0 and index not in known and graph.tensors[index].data is None:
                name = graph.tensors[index].name
                raise ModelOperatorError(operator.path, f"its input {name!r} is never written")
        known.update(operator.outputs)
    if graph.outputs[0] not in known:
        raise ModelOperatorError("model.outputs", "the output is never written")
