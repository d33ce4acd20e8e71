"""The memory plan, run byte by byte: no byte is overwritten before its last reader.

Networks are drawn at random: kernels that work forward through any reading pattern, in-place
results (element by element, or channel by channel with fewer positions), views, tensors written by
several layers, scratch. Every byte of the arena knows whose value it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus_gen.front.flatbuffer import Graph, Tensor
from isthmus_gen.front.layers import Layer
from isthmus_gen.front.overlap import BLOCK, NOTHING, distance
from isthmus_gen.front.placement import Buffer, Overlap, lower_bound, plan_buffers
from isthmus_gen.front.plan import Arena, plan_arena

STEPS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2**32 - 1)), min_size=1, max_size=12)

CHANNELS = 4


@dataclass
class Network:
    """Layers, and for each one the bytes that each position reads (None: element by element)."""

    sizes: list[int]
    layers: list[Layer] = field(default_factory=list)
    reads: list[list[range] | None] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)

    def graph(self) -> Graph:
        none = np.empty(0)
        tensors = tuple(
            Tensor(i, f"t{i}", (1, size), "INT8", none, none, 0, None)
            for i, size in enumerate(self.sizes)
        )
        return Graph(tensors, (), (0,), (len(tensors) - 1,))

    def add(self, reads: list[range] | None, span: tuple[int, int], layer: Layer) -> None:
        self.layers.append(layer)
        self.reads.append(reads)
        self.spans.append(span)


def _network(steps: list[tuple[int, int]]) -> Network:
    made = Network([96])
    for kind, seed in steps:
        rng = np.random.default_rng(seed)
        recent = range(max(0, len(made.sizes) - 4), len(made.sizes))
        a, b = (int(rng.choice(recent)) for _ in range(2))
        y, place = len(made.sizes), len(made.layers)
        scratch = int(rng.integers(1, 60)) if rng.random() < 0.3 else 0
        if kind == 0:
            made.sizes.append(made.sizes[a])
            made.add(None, (0, 0), Layer("VIEW", place, (a,), y, view=True))
        elif kind == 1:
            operands = (a, b) if made.sizes[a] == made.sizes[b] else (a,)
            made.sizes.append(made.sizes[a])
            span = (0, made.sizes[a])
            layer = Layer("ADD", place, operands, y, in_place=operands, scratch_bytes=scratch)
            made.add(None, span, layer)
        elif kind == 2:  # two layers write one tensor
            made.sizes.append(made.sizes[a] + made.sizes[b])
            made.add(None, (0, made.sizes[a]), Layer("COPY", place, (a,), y))
            made.add(None, (made.sizes[a], made.sizes[y]), Layer("COPY", place, (b,), y))
        elif kind == 3 and made.sizes[a] % CHANNELS == 0:  # DEPTHWISE: fewer positions
            made.sizes.append(CHANNELS * int(rng.integers(1, made.sizes[a] // CHANNELS + 1)))
            layer = Layer("PLANES", place, (a,), y, in_place=(a,), scratch_bytes=scratch)
            made.add(None, (0, made.sizes[y]), layer)
        else:
            reads, out_c = _pattern(rng, made.sizes[a])
            lowest = np.array([r.start if len(r) else NOTHING for r in reads])
            ends = np.arange(1, len(reads) + 1) * out_c
            apart = distance(ends, lowest)
            made.sizes.append(len(reads) * out_c)
            made.add(
                reads,
                (0, made.sizes[y]),
                Layer("CONV", place, (a,), y, overlap=((a, apart),), scratch_bytes=scratch),
            )
    return made


def _pattern(rng: np.random.Generator, size: int) -> tuple[list[range], int]:
    """What each position reads: mostly forward, with jumps back and positions in the padding."""
    positions, out_c = int(rng.integers(1, 24)), int(rng.integers(1, 9))
    step = size / positions
    reads = []
    for p in range(positions):
        start = int(p * step) - int(rng.integers(0, 12))
        start = min(max(0, start), size - 1)
        length = int(rng.integers(0, 12))
        reads.append(range(start, min(size, start + length)))
    return reads, out_c


class Machine:
    """The arena; a byte holds (tensor that was written, index of the byte in it)."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.memory: list[tuple[int, int] | None] = [None] * arena.bytes

    def write(self, tensor: int, index: int) -> None:
        self.memory[self.arena.tensors[tensor].offset + index] = (tensor, index)

    def read(self, tensor: int, value: int, indices: range) -> None:
        offset = self.arena.tensors[tensor].offset
        for index in indices:
            assert self.memory[offset + index] == (value, index)

    def spoil(self, layer: int) -> None:
        place = self.arena.scratch.get(layer)
        if place is not None:
            for at in range(place.offset, place.offset + place.size):
                self.memory[at] = None


def _run(network: Network, arena: Arena) -> None:
    machine = Machine(arena)
    value = {0: 0}  # whose bytes a tensor shows: those of another one where it is a view
    for index in range(network.sizes[0]):
        machine.write(0, index)
    for number, layer in enumerate(network.layers):
        machine.spoil(number)
        y = layer.output
        if layer.view:
            value[y] = value[layer.inputs[0]]
            continue
        value[y] = y
        reads, (first, end) = network.reads[number], network.spans[number]
        if layer.operator == "PLANES":
            x = layer.tensor_inputs[0]
            for channel in range(CHANNELS):
                machine.read(x, value[x], range(channel, network.sizes[x], CHANNELS))
                for index in range(channel, end, CHANNELS):
                    machine.write(y, index)
        elif reads is None:
            for index in range(end - first):
                for tensor in layer.tensor_inputs:
                    machine.read(tensor, value[tensor], range(index, index + 1))
                machine.write(y, first + index)
        else:
            _forward(machine, layer, value[layer.inputs[0]], reads)
        machine.spoil(number)
    output = len(network.sizes) - 1
    machine.read(output, value[output], range(network.sizes[output]))


def _forward(machine: Machine, layer: Layer, value: int, reads: list[range]) -> None:
    """Blocks of four positions, the inputs of each read again before every write."""
    x, y = layer.tensor_inputs[0], layer.output
    out_c = machine.arena.tensors[y].size // len(reads)
    for shift in range(0, len(reads), BLOCK):
        block = range(shift, min(len(reads), shift + BLOCK))
        for p in block:
            for c in range(out_c):
                for other in block:
                    machine.read(x, value, reads[other])
                machine.write(y, p * out_c + c)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_no_byte_is_overwritten_too_early(steps: list[tuple[int, int]]) -> None:
    network = _network(steps)
    graph = network.graph()
    arena = plan_arena(graph, network.layers)
    _run(network, arena)
    assert arena.lower_bound <= arena.bytes


def _apart(network: Network) -> int:
    """The arena where nothing overlaps that is alive at one step."""
    layers = [replace(layer, overlap=()) for layer in network.layers]
    return plan_arena(network.graph(), layers).bytes


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_sharing_never_costs(steps: list[tuple[int, int]]) -> None:
    network = _network(steps)
    assert plan_arena(network.graph(), network.layers).bytes <= _apart(network)


def test_a_chain_of_equal_layers_needs_one_tensor_and_the_distances() -> None:
    layers = [Layer("CONV", i, (i,), i + 1, overlap=((i, 48),)) for i in range(3)]
    graph = Network([1024] * 4).graph()
    arena = plan_arena(graph, layers)
    assert arena.lower_bound == 1024 + 48
    assert arena.bytes == 1024 + 3 * 48  # each begins before the one it overwrites


def test_a_smaller_result_in_place_frees_the_rest() -> None:
    """What follows may use the bytes behind the smaller result."""
    layers = [
        Layer("PLANES", 0, (0,), 1, in_place=(0,)),
        Layer("CONV", 1, (1,), 2),
    ]
    arena = plan_arena(Network([1024, 256, 768]).graph(), layers)
    assert arena.bytes == arena.lower_bound == 1024
    assert arena.tensors[0].offset == arena.tensors[1].offset


def test_small_plans_are_the_best_there_are() -> None:
    """Against a search through every offset."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        buffers: list[Buffer] = []
        for key in range(4):
            first = int(rng.integers(0, 3))
            size = 16 * int(rng.integers(1, 4))
            buffers.append(Buffer(key, size, first, first + int(rng.integers(0, 3))))
        overlaps = [
            Overlap(one.key, other.key, (None, 0, 16, 32)[int(rng.integers(0, 4))])
            for one, other in product(buffers, buffers)
            if rng.random() < 0.5
        ]
        _, total, bound = plan_buffers(buffers, overlaps)
        assert bound == lower_bound(buffers, overlaps) <= total
        assert total == _exhaustive(buffers, overlaps), seed


def _exhaustive(buffers: list[Buffer], overlaps: list[Overlap]) -> int:
    allowed = {(item.output, item.source): item.distance for item in overlaps}
    best = sum(b.size for b in buffers)
    for offsets in product(range(0, best, 16), repeat=len(buffers)):
        top = max(at + b.size for at, b in zip(offsets, buffers, strict=True))
        if top < best and _sound(buffers, offsets, allowed):
            best = top
    return best


def _sound(
    buffers: list[Buffer], offsets: tuple[int, ...], allowed: dict[tuple[int, int], int | None]
) -> bool:
    for one, at in zip(buffers, offsets, strict=True):
        for other, there in zip(buffers, offsets, strict=True):
            if one.key >= other.key or not one.overlaps(other):
                continue
            if at + one.size <= there or there + other.size <= at:
                continue
            if not (
                _shares(one, at, other, there, allowed) or _shares(other, there, one, at, allowed)
            ):
                return False
    return True


def _shares(
    output: Buffer, at: int, source: Buffer, there: int, allowed: dict[tuple[int, int], int | None]
) -> bool:
    pair = (output.key, source.key)
    if pair not in allowed or not source.first < source.last == output.first:
        return False
    apart = allowed[pair]
    return output.size <= source.size and at == there if apart is None else at + apart <= there
