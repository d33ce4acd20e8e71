"""SPACE_TO_BATCH_ND, a convolution and BATCH_TO_SPACE_ND as the dilated convolution that they are.

Older converters write dilation so: the picture is dealt out to ``block`` pictures of every
``block``-th row and column, each is convolved, and the results are dealt back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from isthmus_gen.front.flatbuffer import Graph, Operator, Tensor, load_schema
from isthmus_gen.front.operators.base import same_padding

__all__ = ["fold_dilation"]

_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D")


@dataclass(frozen=True)
class _Triple:
    """The three operators, the picture before them and the picture after them."""

    deal: Operator
    convolution: Operator
    collect: Operator
    x: Tensor
    y: Tensor


def fold_dilation(graph: Graph) -> Graph:
    """``graph`` with each such triple folded; those of another form stay as they are.

    Padding that is neither SAME nor VALID (causal) becomes a PAD before the convolution. Operators
    keep their places.
    """
    operators = {operator.place: operator for operator in graph.operators}
    tensors = list(graph.tensors)
    for operator in graph.operators:
        triple = _triple(graph, operator)
        made = None if triple is None else _folded(triple, tensors)
        if triple is not None and made is not None:
            del operators[triple.deal.place], operators[triple.collect.place]
            operators |= {new.place: new for new in made}
    return replace(
        graph, tensors=tuple(tensors), operators=tuple(operators[p] for p in sorted(operators))
    )


def _only(operators: Iterable[Operator], name: str) -> Operator | None:
    found = list(operators)
    return found[0] if len(found) == 1 and found[0].name == name else None


def _triple(graph: Graph, convolution: Operator) -> _Triple | None:
    if convolution.name not in _KINDS or len(convolution.inputs) < 2:
        return None
    if min(convolution.inputs[:2]) < 0 or len(convolution.outputs) != 1:
        return None
    source, result = convolution.inputs[0], convolution.outputs[0]
    writers = [op for op in graph.operators if source in op.outputs]
    readers = [op for op in graph.operators if result in op.inputs]
    deal, collect = _only(writers, "SPACE_TO_BATCH_ND"), _only(readers, "BATCH_TO_SPACE_ND")
    alone = sum(source in op.inputs for op in graph.operators) == 1
    if deal is None or collect is None or not alone or result in graph.outputs:
        return None
    if not len(deal.inputs) == len(collect.inputs) == 3 or len(collect.outputs) != 1:
        return None
    if deal.inputs[0] < 0:
        return None
    x, y = graph.tensors[deal.inputs[0]], graph.tensors[collect.outputs[0]]
    if not _alike(x, graph.tensors[source]) or not _alike(y, graph.tensors[result]):
        return None
    return _Triple(deal, convolution, collect, x, y)


def _alike(one: Tensor, other: Tensor) -> bool:
    """Both are pictures of the same scale and zero point."""
    return len(one.shape) == len(other.shape) == 4 and (
        np.array_equal(one.scales, other.scales)
        and np.array_equal(one.zero_points, other.zero_points)
    )


def _pairs(tensors: list[Tensor], operator: Operator) -> tuple[list[int], npt.NDArray[np.int64]]:
    """Block sizes, and the (before, after) of each axis; empty where they are not constants."""
    block, amounts = (tensors[i].data if i >= 0 else None for i in operator.inputs[1:])
    if block is None or amounts is None or block.shape != (2,) or amounts.shape != (2, 2):
        return [], np.zeros((2, 2), dtype=np.int64)
    if block.min() < 1:
        return [], np.zeros((2, 2), dtype=np.int64)
    return [int(b) for b in block], amounts.astype(np.int64)


def _folded(triple: _Triple, tensors: list[Tensor]) -> tuple[Operator, ...] | None:
    """What takes the place of the triple; a PAD appends its tensors. None where it cannot be."""
    padding = load_schema().Padding
    options = triple.convolution.options
    factors = [options.get(k, 1) for k in ("strideH", "strideW")]
    factors += [options.get(k, 1) for k in ("dilationHFactor", "dilationWFactor")]
    block, added = _pairs(tensors, triple.deal)
    other, cropped = _pairs(tensors, triple.collect)
    weights = tensors[triple.convolution.inputs[1]]
    if factors != [1, 1, 1, 1] or not block or block != other or len(weights.shape) != 4:
        return None
    same = int(options.get("padding", 0)) == int(padding.SAME)
    before, after, fits = [], [], {"SAME": True, "VALID": True}
    for axis in (0, 1):
        size, out = triple.x.shape[axis + 1], triple.y.shape[axis + 1]
        kernel, step = weights.shape[axis + 1], block[axis]
        reach = (kernel - 1) * step + 1
        whole = size + int(added[axis].sum())
        parts = whole // step if same else whole // step - kernel + 1
        if whole % step or out != parts * step - int(cropped[axis].sum()):
            return None
        inner = (kernel - 1) // 2 * step if same else 0
        start = int(added[axis][0]) + inner - int(cropped[axis][0])
        end = out - 1 + reach - size - start
        before.append(start)
        after.append(end)
        wanted = same_padding(size, size, 1, kernel, step)
        fits["SAME"] &= out == size and start == wanted
        fits["VALID"] &= start == end == 0
    form = next((name for name, fitting in fits.items() if fitting), "")
    if not form and min(*before, *after) < 0:
        return None
    source = triple.x.index
    made: tuple[Operator, ...] = ()
    if not form:
        form, source = "VALID", len(tensors) + 1
        made = (_pad(triple, tensors, before, after),)
    changed = dict(options) | {
        "padding": int(getattr(padding, form)),
        "dilationHFactor": block[0],
        "dilationWFactor": block[1],
    }
    convolution = replace(
        triple.convolution,
        inputs=(source, *triple.convolution.inputs[1:]),
        outputs=(triple.y.index,),
        options=changed,
    )
    return (*made, convolution)


def _pad(triple: _Triple, tensors: list[Tensor], before: list[int], after: list[int]) -> Operator:
    amounts = np.array([[0, 0], *zip(before, after, strict=True), [0, 0]], dtype=np.int32)
    index = len(tensors)
    none = np.zeros(0)
    tensors.append(
        Tensor(
            index=index,
            name=f"{triple.x.name}/padding",
            shape=(4, 2),
            dtype="INT32",
            scales=none.astype(np.float32),
            zero_points=none.astype(np.int64),
            axis=0,
            data=amounts,
        )
    )
    shape = tuple(int(n) for n in np.array(triple.x.shape) + amounts.sum(axis=1))
    tensors.append(
        replace(triple.x, index=index + 1, name=f"{triple.x.name}/padded", shape=shape, data=None)
    )
    return Operator(triple.deal.place, "PAD", (triple.x.index, index), (index + 1,))
