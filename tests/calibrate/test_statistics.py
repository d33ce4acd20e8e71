"""Streaming statistics against one pass of NumPy over all the data at once."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import (
    DataDtypeError,
    DataEmptyError,
    DataNotFiniteError,
    DataShapeError,
    OptionError,
)
from isthmus_gen.calibrate import TensorStatistics
from isthmus_gen.calibrate.accumulators import DyadicHistogram, mix64


def features(inputs: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.laplace(-0.3, 1.0, (inputs, *shape)) * rng.uniform(0.2, 3.0, shape[-1])
    return np.maximum(x, 0).astype(np.float32)


@pytest.mark.parametrize("shape", [(7,), (5, 3), (4, 6, 5), (2, 3, 4, 5), (1,)])
def test_equals_numpy_on_the_whole_set(shape: tuple[int, ...]) -> None:
    x = features(40, shape) - np.float32(0.25)
    stats = TensorStatistics(shape)
    for start in range(0, 40, 7):
        stats.update(x[start : start + 7])
    wide = x.astype(np.float64)
    rows = wide.reshape(-1, shape[-1])
    assert stats.inputs == 40
    assert stats.count == x.size
    assert stats.channel_count == rows.shape[0]
    assert stats.mean == pytest.approx(wide.mean(), rel=1e-13)
    assert stats.variance == pytest.approx(wide.var(), rel=1e-12)
    assert (stats.minimum, stats.maximum) == (wide.min(), wide.max())
    assert stats.total == pytest.approx(wide.sum(), rel=1e-12)
    assert stats.total_square == pytest.approx((wide**2).sum(), rel=1e-12)
    np.testing.assert_allclose(stats.channel_mean, rows.mean(0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(stats.channel_variance, rows.var(0), rtol=1e-11)
    np.testing.assert_array_equal(stats.channel_minimum, rows.min(0))
    np.testing.assert_array_equal(stats.channel_maximum, rows.max(0))
    deviation = np.abs(wide - wide.mean()).mean()
    assert abs(stats.mean_absolute_deviation - deviation) <= stats.histogram_width
    counts, edges = stats.histogram
    np.testing.assert_array_equal(counts, np.histogram(wide, edges)[0])
    counts, edges = stats.channel_histogram
    for channel in range(shape[-1]):
        np.testing.assert_array_equal(counts[channel], np.histogram(rows[:, channel], edges)[0])


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    rng = np.random.default_rng(1)
    x = (1e4 + rng.integers(-64, 64, (50, 1000)) / 64).astype(np.float32)
    stats = TensorStatistics((1000,))
    for row in x:
        stats.update(row[None])
    # Sums of squares in float64 would keep about 8 digits of this variance.
    assert stats.variance == pytest.approx(float(x.astype(np.float64).var()), rel=1e-12)


def test_merged_parts_are_the_single_pass() -> None:
    x = features(60, (4, 5, 6))
    x[45:] *= 40  # the range grows late, in one part only
    whole = TensorStatistics((4, 5, 6), seed=5, reservoir=500)
    whole.update(x)
    merged = TensorStatistics((4, 5, 6), seed=5, reservoir=500)
    for start, stop in [(45, 60), (0, 13), (13, 45)]:
        part = TensorStatistics((4, 5, 6), seed=5, reservoir=500, first_input=start)
        part.update(x[start:stop])
        merged.merge(part)
    assert merged.inputs == 60
    assert merged.count == whole.count
    assert (merged.minimum, merged.maximum) == (whole.minimum, whole.maximum)
    for name in ("histogram", "channel_histogram"):
        for mine, theirs in zip(getattr(merged, name), getattr(whole, name), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(merged.samples(), whole.samples())
    assert merged.mean == pytest.approx(whole.mean, rel=1e-14)
    assert merged.variance == pytest.approx(whole.variance, rel=1e-13)
    np.testing.assert_allclose(merged.channel_variance, whole.channel_variance, rtol=1e-12)
    for mine, theirs in zip(merged.histogram_sums, whole.histogram_sums, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_the_histogram_does_not_depend_on_the_order(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = DyadicHistogram(16), DyadicHistogram(16)
    one.update(np.array(values).reshape(-1, 1))
    for value in shuffled:
        other.update(np.array([[value]]))
    assert (one.exponent, one.base) == (other.exponent, other.base)
    np.testing.assert_array_equal(one.counts, other.counts)
    assert one.counts.sum() == len(values)
    for value in values:
        place = math.floor(math.ldexp(value, -one.exponent)) - one.base
        assert one.counts[0, place] > 0
    # No finer power of two would have held them.
    if one.exponent > -149:
        finer = math.ldexp(1.0, 1 - one.exponent)
        needs = math.floor(max(values) * finer) - math.floor(min(values) * finer)
        largest = max(abs(v) for v in values)
        assert needs >= 16 or math.frexp(largest)[1] - 40 == one.exponent


def test_memory_stays_within_its_bound() -> None:
    shape = (16, 16, 32)
    x = features(20, shape)
    stats = TensorStatistics(shape, reservoir=20_000)
    stats.update(x)
    tracemalloc.start()
    for number in range(30):
        stats.update(x * np.float32(1 + number))
        assert stats.nbytes <= stats.memory_bound()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert stats.count == 31 * x.size
    # 19 MB of float32 features went by; what was held is the bound, the work one block.
    assert peak < stats.memory_bound() + 40 * (1 << 17) + x.nbytes


def test_the_bound_does_not_grow_with_many_channels() -> None:
    assert TensorStatistics((100_000,), reservoir=1).memory_bound() < 32 * 2**20


def test_the_sample_is_uniform_seeded_and_bounded() -> None:
    x = np.arange(200_000, dtype=np.float32).reshape(200, 1000)
    drawn = []
    for batch in (1, 200):
        stats = TensorStatistics((1000,), seed=3, reservoir=4000)
        for start in range(0, 200, batch):
            stats.update(x[start : start + batch])
        drawn.append(stats.samples())
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert drawn[0].size == 4000
    assert np.unique(drawn[0]).size == 4000
    # 20 equal parts of 200 expected draws each; 5 sigma of the hypergeometric is 69.
    parts = np.bincount((drawn[0] // 10_000).astype(int), minlength=20)
    assert np.abs(parts - 200).max() < 69
    other = TensorStatistics((1000,), seed=4, reservoir=4000)
    other.update(x)
    assert np.intersect1d(other.samples(), drawn[0]).size < 200


def test_all_values_are_kept_while_they_fit() -> None:
    x = features(3, (5, 4))
    stats = TensorStatistics((5, 4), reservoir=60)
    stats.update(x)
    np.testing.assert_array_equal(np.sort(stats.samples()), np.sort(x.ravel()))


def test_the_keys_are_splitmix64() -> None:
    # Sequence for state 0 from the authors' reference implementation.
    reference = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(key) for key in mix64(0, 0, 3)] == reference
    np.testing.assert_array_equal(mix64(9, 5, 4), mix64(9, 0, 9)[5:])


@pytest.mark.parametrize(
    ("value", "dtype"), [(np.nan, np.float32), (-np.inf, np.float32), (1e300, np.float64)]
)
def test_what_is_not_finite_is_named_and_nothing_is_added(value: float, dtype: type) -> None:
    stats = TensorStatistics((200, 40, 3))
    stats.update(np.zeros((4, 200, 40, 3)))
    bad = np.zeros((9, 200, 40, 3), dtype)
    bad[7, 190, 12, 2] = value
    bad[8, 0, 0, 0] = value
    with pytest.raises(DataNotFiniteError) as caught:
        stats.update(bad)
    assert caught.value.path == "calibration[11][190, 12, 2]"
    assert stats.inputs == 4
    assert stats.count == 4 * 24_000


def test_what_does_not_fit_is_refused() -> None:
    stats = TensorStatistics((2, 3))
    for batch in (np.zeros((2, 3)), np.zeros((1, 3, 2)), np.zeros((1, 2, 3, 1))):
        with pytest.raises(DataShapeError):
            stats.update(batch)
    with pytest.raises(DataDtypeError):
        stats.update(np.zeros((1, 2, 3), complex))
    with pytest.raises(DataEmptyError):
        _ = stats.mean
    for shape in [(), (1, 2, 3, 4, 5), (3, 0)]:
        with pytest.raises(DataShapeError):
            TensorStatistics(shape)
    with pytest.raises(OptionError):
        stats.merge(TensorStatistics((2, 3), seed=1))
    with pytest.raises(OptionError):
        TensorStatistics((2, 3), reservoir=0)


def test_empty_batches_and_integers_are_taken() -> None:
    stats = TensorStatistics((2,))
    stats.update(np.zeros((0, 2)))
    assert stats.count == 0
    stats.update(np.array([[-128, 127]], np.int8))
    assert (stats.minimum, stats.maximum, stats.mean) == (-128, 127, -0.5)
