"""The static memory plan: where each tensor lies in the arena.

A tensor lives from the layer that writes it to the last layer that reads it. Tensors that share
memory by nature (views, in-place results) form one buffer; buffers that are never alive together
may overlap. Placement is greedy, tried in several orders; the best plan is kept. The lower bound is
the largest sum of buffers alive at one layer: no plan with these buffers can be smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from isthmus_gen.front.flatbuffer import Graph
from isthmus_gen.front.layers import Layer

__all__ = ["ALIGNMENT", "Arena", "Buffer", "Place", "plan_arena", "plan_buffers"]

ALIGNMENT = 16


@dataclass(frozen=True)
class Buffer:
    """Memory wanted: ``size`` bytes, alive from step ``first`` to step ``last``, both included."""

    key: int
    size: int
    first: int
    last: int

    def overlaps(self, other: Buffer) -> bool:
        """Whether the two are alive at a common step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Place:
    """Where a tensor or a layer's scratch lies and when it is alive."""

    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Arena:
    """The plan: ``tensors`` by tensor index, ``scratch`` by layer, sizes in bytes.

    Step 0 is the writing of the input, step i + 1 is layer i; the output lives one step longer.
    ``buffers`` are the distinct regions (several tensors may share one).
    """

    tensors: dict[int, Place]
    scratch: dict[int, Place]
    buffers: tuple[Place, ...]
    bytes: int
    lower_bound: int


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _place_in_order(buffers: Sequence[Buffer]) -> tuple[dict[int, int], int]:
    placed: list[tuple[int, Buffer]] = []
    for buffer in buffers:
        offset = 0
        for start, other in sorted(
            ((s, o) for s, o in placed if o.overlaps(buffer)), key=lambda item: item[0]
        ):
            if offset + _aligned(buffer.size) <= start:
                break
            offset = max(offset, start + _aligned(other.size))
        placed.append((offset, buffer))
    total = max((start + _aligned(b.size) for start, b in placed), default=0)
    return {b.key: start for start, b in placed}, total


def plan_buffers(buffers: Sequence[Buffer]) -> tuple[dict[int, int], int, int]:
    """Offsets by key, bytes of the arena, and its lower bound.

    >>> offsets, total, bound = plan_buffers(
    ...     [Buffer(0, 16, 0, 1), Buffer(1, 32, 1, 2), Buffer(2, 16, 2, 3)]
    ... )
    >>> offsets, total, bound
    ({1: 0, 0: 32, 2: 32}, 48, 48)
    """
    orders: tuple[Callable[[Buffer], tuple[int, ...]], ...] = (
        lambda b: (-b.size, b.first, b.key),
        lambda b: (b.first, -b.size, b.key),
        lambda b: (-b.last, -b.size, b.key),
        lambda b: (b.first - b.last, -b.size, b.key),
        lambda b: (-b.size * (b.last - b.first + 1), b.first, b.key),
    )
    best: tuple[dict[int, int], int] | None = None
    for order in orders:
        found = _place_in_order(sorted(buffers, key=order))
        if best is None or found[1] < best[1]:
            best = found
    steps = {b.first for b in buffers}
    bound = max(
        (sum(_aligned(b.size) for b in buffers if b.first <= s <= b.last) for s in steps), default=0
    )
    offsets, total = best if best is not None else ({}, 0)
    return offsets, total, bound


class _Groups:
    """Tensors that share memory, as a union of sets."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def root(self, tensor: int) -> int:
        """The tensor that stands for the group of ``tensor``."""
        while self._parent.get(tensor, tensor) != tensor:
            tensor = self._parent[tensor]
        return tensor

    def join(self, tensor: int, other: int) -> None:
        """Puts both into one group."""
        self._parent[self.root(other)] = self.root(tensor)


def plan_arena(graph: Graph, layers: Sequence[Layer]) -> Arena:
    """The memory plan of ``layers``; the input and the output lie in the arena too."""
    output = graph.outputs[0]
    first = {graph.inputs[0]: 0}
    last = {graph.inputs[0]: 0}
    for step, layer in enumerate(layers, start=1):
        first.setdefault(layer.output, step)
        last[layer.output] = step  # several layers may write one tensor: CONCATENATION
        for tensor in layer.tensor_inputs:
            last[tensor] = step
    last[output] = len(layers) + 1

    groups = _Groups()
    ends = dict(last)
    for layer in layers:
        if layer.view:
            source = groups.root(layer.tensor_inputs[0])
            ends[source] = max(ends[source], ends[layer.output])
            groups.join(source, layer.output)
    for step, layer in enumerate(layers, start=1):
        target = groups.root(layer.output)
        for tensor in () if layer.view else layer.in_place:
            source = groups.root(tensor)
            same_size = graph.tensors[source].elements == graph.tensors[target].elements
            alone = first[layer.output] == step
            if source != target and same_size and alone and ends[source] == step:
                ends[source] = ends[target]
                groups.join(source, target)
                break

    members: dict[int, list[int]] = {}
    for tensor in first:
        members.setdefault(groups.root(tensor), []).append(tensor)
    buffers = [
        Buffer(root, graph.tensors[root].elements, min(first[t] for t in group), ends[root])
        for root, group in members.items()
    ]
    scratch_key = len(graph.tensors)
    buffers += [
        Buffer(scratch_key + index, layer.scratch_bytes, index + 1, index + 1)
        for index, layer in enumerate(layers)
        if layer.scratch_bytes
    ]
    offsets, total, bound = plan_buffers(buffers)
    places = {b.key: Place(offsets[b.key], b.size, b.first, b.last) for b in buffers}
    return Arena(
        tensors={
            t: Place(places[groups.root(t)].offset, graph.tensors[t].elements, first[t], last[t])
            for t in first
        },
        scratch={k - scratch_key: p for k, p in places.items() if k >= scratch_key},
        buffers=tuple(places[b.key] for b in buffers),
        bytes=total,
        lower_bound=bound,
    )
