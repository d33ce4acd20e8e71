"""The memory plan: no two live tensors overlap, whatever the network."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_gen.front import plan_front
from isthmus_gen.front.plan import ALIGNMENT, Buffer, plan_arena, plan_buffers

spans = st.tuples(st.integers(1, 200), st.integers(0, 12), st.integers(0, 6))


@given(st.lists(spans, max_size=14))
def test_live_buffers_never_overlap(raw: list[tuple[int, int, int]]) -> None:
    buffers = [
        Buffer(key, size, first, first + length) for key, (size, first, length) in enumerate(raw)
    ]
    offsets, total, bound = plan_buffers(buffers)
    assert all(offsets[b.key] % ALIGNMENT == 0 for b in buffers)
    assert all(offsets[b.key] + b.size <= total for b in buffers)
    assert bound <= total <= sum(-(-b.size // ALIGNMENT) * ALIGNMENT for b in buffers)
    for a, b in combinations(buffers, 2):
        if a.first <= b.last and b.first <= a.last:
            apart = (
                offsets[a.key] + a.size <= offsets[b.key]
                or offsets[b.key] + b.size <= offsets[a.key]
            )
            assert apart, (a, b)


def _random_network(new_model: Any, rng: np.random.Generator) -> bytes:
    """Additions, tables and views over earlier tensors, in any wiring."""
    model = new_model()
    shape = (1, 4, 4, 2)
    tensors = [model.tensor(shape, 0.1, 0)]
    first = tensors[0]
    for _ in range(int(rng.integers(3, 14))):
        y = model.tensor(shape, 0.1, 0)
        kind = int(rng.integers(0, 3))
        a, b = (tensors[-1 - int(rng.integers(0, min(4, len(tensors))))] for _ in range(2))
        if kind == 0:
            model.operator("RELU", [a], [y])
        elif kind == 1:
            model.operator("RESHAPE", [a], [y], "ReshapeOptions", newShape=list(shape))
        else:
            model.operator("ADD", [a, b], [y], "AddOptions")
        tensors.append(y)
    return bytes(model.build([first], [tensors[-1]]))


@pytest.mark.parametrize("seed", range(40))
def test_values_survive_until_their_last_reader(new_model: Any, seed: int) -> None:
    """Follows which tensor's value each byte holds; views and in-place results included."""
    plan = plan_front(_random_network(new_model, np.random.default_rng(seed)))
    places = plan.arena.tensors
    holder = np.full(plan.arena_bytes, -1)
    value = {plan.input.index: plan.input.index}

    def span(tensor: int) -> slice:
        place = places[tensor]
        return slice(place.offset, place.offset + place.size)

    holder[span(plan.input.index)] = plan.input.index
    for layer in plan.layers:
        for tensor in layer.tensor_inputs:
            assert np.all(holder[span(tensor)] == value[tensor])
        if layer.view:
            value[layer.output] = value[layer.tensor_inputs[0]]
            assert span(layer.output) == span(layer.tensor_inputs[0])
        else:
            value[layer.output] = layer.output
            holder[span(layer.output)] = layer.output
    assert np.all(holder[span(plan.output.index)] == value[plan.output.index])
    assert plan.arena_lower_bound <= plan.arena_bytes


@pytest.mark.parametrize("seed", range(6))
def test_random_wiring_computes_the_same(
    new_model: Any, run_c: Any, run_tflm: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    tflite = _random_network(new_model, rng)
    x = rng.integers(-128, 128, (4, 4, 4, 2), dtype=np.int8)
    np.testing.assert_array_equal(run_c(tflite, x), run_tflm(tflite, x))


def test_scratch_is_a_member_of_the_plan(new_model: Any) -> None:
    plan = plan_front(_random_network(new_model, np.random.default_rng(1)))
    layers = [replace(layer, scratch_bytes=0 if layer.view else 100) for layer in plan.layers]
    arena = plan_arena(plan.graph, layers)
    assert set(arena.scratch) == {i for i, layer in enumerate(layers) if not layer.view}
    for index, place in arena.scratch.items():
        used = [arena.tensors[t] for t in (*layers[index].tensor_inputs, layers[index].output)]
        assert place.offset + place.size <= arena.bytes
        for other in used:
            assert place.offset + 100 <= other.offset or other.offset + 32 <= place.offset
