"""The static memory plan: where each tensor lies in the arena.

A tensor lives from the layer that writes it to the last layer that reads it. Tensors that share
memory by nature (views, in-place results) form one buffer; buffers that are never alive together
may lie over each other, and so may, in part, a layer's output and an input that dies there
(``Layer.overlap``). ``placement`` finds the offsets. The lower bound is the most that is needed at
one layer, whatever is computed in place: no plan can be smaller.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from isthmus_gen.front.flatbuffer import Graph
from isthmus_gen.front.layers import Layer
from isthmus_gen.front.placement import ALIGNMENT, Buffer, Overlap, lower_bound, plan_buffers

__all__ = ["ALIGNMENT", "Arena", "Buffer", "Place", "plan_arena", "plan_buffers"]


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


class _Lives:
    """When each tensor is alive, and which tensors are one buffer.

    A buffer is named by one of its tensors, its root.
    """

    def __init__(self, graph: Graph, layers: Sequence[Layer], kept: Collection[int]) -> None:
        end = len(layers) + 1
        source = graph.inputs[0]
        self.first = {source: 0}
        self.last = {source: 0}
        for step, layer in enumerate(layers, start=1):
            self.first.setdefault(layer.output, step)
            self.last[layer.output] = step  # several layers may write one tensor: CONCATENATION
            for tensor in layer.tensor_inputs:
                self.last[tensor] = step
        for tensor in (graph.outputs[0], *kept):
            self.last[tensor] = end
        self._parent: dict[int, int] = {}
        self.born = dict(self.first)
        self.dies = dict(self.last)
        for layer in layers:
            if layer.view:
                self.join(layer.tensor_inputs[0], layer.output)

    def root(self, tensor: int) -> int:
        """The tensor that names the buffer of ``tensor``."""
        while self._parent.get(tensor, tensor) != tensor:
            tensor = self._parent[tensor]
        return tensor

    def join(self, tensor: int, other: int) -> None:
        """Makes one buffer of both."""
        one, two = self.root(tensor), self.root(other)
        if one != two:
            self._parent[two] = one
            self.born[one] = min(self.born[one], self.born[two])
            self.dies[one] = max(self.dies[one], self.dies[two])

    def takes_over(self, source: int, output: int, step: int) -> bool:
        """Whether the buffer of ``source`` dies at the step at which that of ``output`` is born."""
        one, two = self.root(source), self.root(output)
        return one != two and self.dies[one] == step == self.born[two]


def _buffers(lives: _Lives, sizes: Mapping[int, int], layers: Sequence[Layer]) -> list[Buffer]:
    """One buffer for each root, then the scratch of each layer under the keys behind them."""
    roots = dict.fromkeys(lives.root(tensor) for tensor in lives.first)
    scratch = len(sizes)
    return [Buffer(r, sizes[r], lives.born[r], lives.dies[r]) for r in roots] + [
        Buffer(scratch + index, layer.scratch_bytes, index + 1, index + 1)
        for index, layer in enumerate(layers)
        if layer.scratch_bytes
    ]


def _overlaps(lives: _Lives, layers: Sequence[Layer]) -> list[Overlap]:
    """What may share memory, results in place that are no buffer of their own left out."""
    in_place = [(s, y, (x, None)) for s, y, layer in _steps(layers) for x in layer.in_place]
    apart = [(s, y, pair) for s, y, layer in _steps(layers) for pair in layer.overlap]
    return [
        Overlap(lives.root(output), lives.root(tensor), distance)
        for step, output, (tensor, distance) in [*in_place, *apart]
        if lives.takes_over(tensor, output, step)
    ]


def _steps(layers: Sequence[Layer]) -> Iterator[tuple[int, int, Layer]]:
    """(step, output, layer) of each layer."""
    return ((step, layer.output, layer) for step, layer in enumerate(layers, start=1))


def plan_arena(
    graph: Graph,
    layers: Sequence[Layer],
    *,
    sizes: Mapping[int, int] | None = None,
    kept: Collection[int] = (),
) -> Arena:
    """The memory plan of ``layers``; the input and the output lie in the arena too.

    ``sizes`` are bytes of tensors that are not held whole, ``kept`` tensors that must outlive the
    last layer.
    """
    held = {tensor.index: tensor.elements for tensor in graph.tensors} | dict(sizes or {})
    lives = _Lives(graph, layers, kept)
    bound = lower_bound(_buffers(lives, held, layers), _overlaps(lives, layers))
    best: tuple[_Lives, list[Buffer], dict[int, int], int] | None = None
    for direction in (1, -1):  # which of two dying operands becomes the result
        lives = _Lives(graph, layers, kept)
        for step, output, layer in _steps(layers):
            for tensor in layer.in_place[::direction]:
                same_size = held[lives.root(tensor)] == held[lives.root(output)]
                if same_size and lives.takes_over(tensor, output, step):
                    lives.join(tensor, output)
                    break
        buffers = _buffers(lives, held, layers)
        offsets, total, _ = plan_buffers(buffers, _overlaps(lives, layers), bound)
        if best is None or total < best[3]:
            best = (lives, buffers, offsets, total)
        if total == bound or all(len(layer.in_place) < 2 for layer in layers):
            break
    assert best is not None  # the first direction gives a plan
    lives, buffers, offsets, total = best
    places = {b.key: Place(offsets[b.key], b.size, b.first, b.last) for b in buffers}
    return Arena(
        tensors={
            t: Place(places[lives.root(t)].offset, held[t], lives.first[t], lives.last[t])
            for t in lives.first
        },
        scratch={key - len(held): place for key, place in places.items() if key >= len(held)},
        buffers=tuple(places.values()),
        bytes=total,
        lower_bound=bound,
    )
