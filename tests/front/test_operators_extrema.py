"""MAXIMUM and MINIMUM, randomised: the generated C equals both engines, which compare levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from operator_cases import Case, Rng, random_int8, random_shape

from isthmus_gen.front import plan_front
from isthmus_gen.front.layers import Struct

NAMES = ("MAXIMUM", "MINIMUM")
KINDS = ("constant", "reduced", "alternating", "number", "itself")
SEEDS = range(15)


def _extremum(builder: Any, seed: int, name: str) -> tuple[bytes, np.ndarray]:
    """Of up to four axes: a constant on either side, the tensor itself, or two made of it."""
    rng: Rng = np.random.default_rng([seed, NAMES.index(name)])
    kind = KINDS[seed % len(KINDS)]
    full = random_shape(rng, 4, 5)
    shape, stretched = (tuple(n if rng.random() < 0.7 else 1 for n in full) for _ in range(2))
    if kind == "alternating":  # each moves along every other axis: four loops
        shape, stretched = (2, 1, 3, 1), (1, 4, 1, 5)
    case = Case(builder, rng, (int(np.prod(shape)),))

    def reshape(tensor: int, to: Sequence[int]) -> int:
        inputs = [tensor, case.integers(to)]
        return case.operator("RESHAPE", inputs, to, "ReshapeOptions", newShape=list(to))

    def reduced(tensor: int, axis: int, to: Sequence[int]) -> int:
        inputs = [tensor, case.integers([axis])]
        return case.operator("REDUCE_MAX", inputs, to, "ReducerOptions", keepDims=True)

    a = b = reshape(case.x, shape)
    other = shape
    if kind == "reduced":  # one stretches along one axis, the other along another
        axes = rng.permutation(4)[:2]
        shape, other = (tuple(1 if i == axis else n for i, n in enumerate(shape)) for axis in axes)
        a, b = (reduced(a, *pair) for pair in zip(axes, (shape, other), strict=True))
    elif kind != "itself":
        numbers: list[tuple[int, ...]] = [(), (1,)]
        other = numbers[rng.integers(0, 2)] if kind == "number" else stretched[rng.integers(0, 3) :]
        b = case.tensor(other, data=random_int8(rng, other))
    operands = [a, b] if rng.random() < 0.5 else [b, a]
    y_shape = np.broadcast_shapes(shape, other)
    y = case.operator(name, operands, y_shape, "MaximumMinimumOptions")
    return case.done(reshape(y, (1, int(np.prod(y_shape)))))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_equals_both_engines(
    name: str, seed: int, new_model: Any, run_c: Any, run_tflm: Any, run_litert: Any
) -> None:
    tflite, x = _extremum(new_model, seed, name)
    y = run_c(tflite, x, ("tflm", "litert")[seed % 2])
    np.testing.assert_array_equal(y, run_litert(tflite, x))
    np.testing.assert_array_equal(y, run_tflm(tflite, x))


@pytest.mark.parametrize("name", NAMES)
def test_every_walk_is_met(name: str, new_model: Any) -> None:
    """By the seeds above: one value a run and many, loops around it, constants, tables."""
    kernels, single, constants, loops = set(), set(), set(), set()
    for seed in SEEDS:
        for layer in plan_front(_extremum(new_model, seed, name)[0]).layers:
            kernels.add(layer.kernel)
            if layer.kernel == "isth_k_extremum":
                shape = dict(layer.params)["shape"]
                assert isinstance(shape, Struct)
                runs, _, is_single, inner, middle = shape.values
                single.add(is_single)
                constants.add(len(layer.arrays))
                loops.add((runs > 1) + (runs > inner) + (runs > inner * middle))
    assert {"isth_k_extremum", "isth_k_lut"} <= kernels
    assert (single, constants) == ({0, 1}, {0, 1})
    assert {0, 1, 3} <= loops
