"""Copies between views: where the output may take the memory of its input."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from test_operators_shape import (
    Case,
    concatenation,
    depth_to_space,
    slice_,
    space_to_depth,
    split,
    split_v,
    strided_slice,
    tile,
    transpose,
    unpack_and_pack,
)

from isthmus_gen.front import plan_front
from isthmus_gen.front.layers import Layer
from isthmus_gen.front.operators.copies import merged_axes

CASES = [
    concatenation,
    depth_to_space,
    slice_,
    space_to_depth,
    split,
    split_v,
    strided_slice,
    tile,
    transpose,
    unpack_and_pack,
]
IN_PLACE = [slice_, split, split_v, strided_slice, unpack_and_pack]


def _walk(layer: Layer) -> list[tuple[int, int]]:
    """(read, written) of each element in the kernel's order."""
    fields: dict[str, Any] = dict(layer.params)
    axes = zip(*(fields[name].values for name in ("size", "x_step", "y_step")), strict=True)
    moves = [[(i * x, i * y) for i in range(size)] for size, x, y in axes]
    return [
        (fields["from"] + sum(m[0] for m in step), fields["to"] + sum(m[1] for m in step))
        for step in product(*moves)
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_what_is_in_place_reads_before_it_writes(case: Any, new_model: Any) -> None:
    copies = in_place = 0
    for seed in range(25):
        plan = plan_front(case(new_model, np.random.default_rng([7, seed]))[0])
        for layer in plan.layers:
            if layer.kernel != "isth_k_copy":
                continue
            copies += 1
            in_place += bool(layer.in_place)
            walk = _walk(layer)
            sizes = [plan.graph.tensors[t].elements for t in (*layer.tensor_inputs, layer.output)]
            assert len({write for _, write in walk}) == len(walk)
            assert all(0 <= write < sizes[-1] for _, write in walk)
            if layer.tensor_inputs:
                assert all(0 <= read < sizes[0] for read, _ in walk)
            if layer.in_place:
                memory = np.arange(max(sizes))
                for read, write in walk:
                    memory[write] = memory[read]
                assert memory[: len(walk)].tolist() == [read for read, _ in walk]
    assert copies > 10
    assert (in_place > 0) == (case in IN_PLACE)


def test_a_slice_takes_the_start_of_its_input(new_model: Any) -> None:
    case = Case(new_model, np.random.default_rng(1), (8, 8, 4))
    inputs = [case.x, case.integers([0, 1, 1, 0]), case.integers([1, 7, 6, 2])]
    y = case.operator("SLICE", inputs, (1, 7, 6, 2), "SliceOptions")
    plan = plan_front(case.done(y)[0])
    assert plan.arena_bytes == plan.arena_lower_bound == 256
    assert plan.arena.tensors[y].offset == plan.arena.tensors[case.x].offset


def test_axes_merge_only_where_both_sides_do() -> None:
    assert merged_axes((2, 3, 4), (12, 4, 1), (12, 4, 1)) == ((24,), ((1,), (1,)))
    assert merged_axes((2, 3, 4), (24, 4, 1), (12, 4, 1)) == ((2, 12), ((24, 1), (12, 1)))
    assert merged_axes((1, 1), (5, 1), (9, 1)) == ((), ((), ()))
