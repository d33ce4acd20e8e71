"""The budget table: by hand, and as a promise on the tensors that it was made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from isthmus.profile import Profile, TensorSpec
from isthmus_gen.calibrate import ClipRange, uniform_quantizer
from isthmus_gen.ladder import budget_table
from isthmus_gen.ladder.budget import frame_sizes, table_of


def test_ratios_by_hand() -> None:
    table = table_of([[100, 60], [200, 100], [400, 220]], 2)
    # largest 60/100, and 220/... of the other way 200/100 -> 2; with a fiftieth more, in 1/4096
    assert table.ratios == ((4096, 2507), (8356, 4096))
    # one frame in ten is at most the shortest of three
    assert table.starts == (100, 60)


def test_nothing_seen_promises_nothing() -> None:
    table = table_of([], 3)
    assert table.starts == (0, 0, 0)
    assert table.ratios == ((4096,) * 3,) * 3


def test_ratios_stay_in_sixteen_bits() -> None:
    assert table_of([[10, 4000]], 2).ratios[0][1] == 0xFFFF


@pytest.fixture(scope="module")
def ladder(make_profile: Callable[..., Any]) -> Profile:
    """Three rungs for a small float tensor."""
    spec = TensorSpec("t", (6, 5, 4), "float32", 1.0, 0)
    made = [uniform_quantizer(n, ClipRange(0.0, 3.0, "fixed")) for n in (8, 4, 2)]
    rng = np.random.default_rng(3)
    samples = [np.maximum(rng.normal(0, 1, spec.shape), 0).astype(np.float32) for _ in range(8)]
    profile = make_profile(spec)(made, samples)
    assert isinstance(profile, Profile)
    return profile


def test_no_calibration_tensor_breaks_its_own_table(ladder: Profile) -> None:
    rng = np.random.default_rng(5)
    tensors = [
        np.maximum(rng.normal(0, scale, ladder.tensor.shape), 0).astype(np.float32)
        for scale in (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
    ]
    table = budget_table(ladder, tensors)
    sizes = frame_sizes(ladder, tensors)
    for row in sizes:
        for g, ratios in enumerate(table.ratios):
            assert all(
                size <= (row[g] * ratio + 4095) >> 12
                for size, ratio in zip(row, ratios, strict=True)
            )
    # sizes are those of the frames themselves, header included
    assert min(min(row) for row in sizes) >= 12
