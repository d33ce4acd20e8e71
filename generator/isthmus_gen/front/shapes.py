"""Arithmetic on shapes: what a converter writes for a network whose batch was left open.

SHAPE, STRIDED_SLICE and PACK then compute the new shape of a RESHAPE. With batch 1 every shape is
known when C is generated, so these operators have nothing to do and are left out.
"""

from __future__ import annotations

from dataclasses import replace

from isthmus_gen.front.flatbuffer import Graph, Operator

__all__ = ["fold_shapes"]

_INTEGERS = ("INT32", "INT64")


def fold_shapes(graph: Graph) -> Graph:
    """``graph`` without SHAPE and all that depends on shapes and constants alone.

    Inputs that were computed so are marked as left out (-1): an operator that needs their values,
    and not just its output's shape, refuses. Operators keep their places.
    """
    folded: set[int] = set()
    kept: list[Operator] = []
    for operator in graph.operators:
        if _is_shape(graph, operator, folded):
            folded.update(operator.outputs)
        elif folded.isdisjoint(operator.inputs):
            kept.append(operator)
        else:
            left = tuple(-1 if index in folded else index for index in operator.inputs)
            kept.append(replace(operator, inputs=left))
    return replace(graph, operators=tuple(kept)) if folded else graph


def _is_shape(graph: Graph, operator: Operator, folded: set[int]) -> bool:
    if any(graph.tensors[index].dtype not in _INTEGERS for index in operator.outputs):
        return False
    if operator.name == "SHAPE":
        return True
    given = [index for index in operator.inputs if index >= 0]
    return not folded.isdisjoint(given) and all(
        index in folded or graph.tensors[index].data is not None for index in given
    )
