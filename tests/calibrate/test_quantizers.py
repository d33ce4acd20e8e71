"""Uniform and entropy-constrained quantisers and the facade over them."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import DataEmptyError, OptionError
from isthmus_gen.calibrate import (
    Activation,
    ClipRange,
    EcsqTrace,
    MeasuredDistribution,
    Quantizer,
    TensorStatistics,
    calibrate_quantizer,
    default_lambda,
    ecsq_pinned_ends,
    ecsq_pinned_zero,
    measure,
    uniform_quantizer,
)
from isthmus_gen.calibrate.ecsq import _envelope

RELU = Activation("relu")
# Sums of floats: a step that changes J by less than its rounding may show as a rise.
ROUNDING = 1e-11


def skewed(count: int = 20_000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.maximum(rng.laplace(0.2, 1.0, count), 0)


def fixed(low: float, high: float) -> ClipRange:
    return ClipRange(low, high, "fixed")


def cost(q: Quantizer, x: np.ndarray, lam: float) -> float:
    """J written down from its definition, with -log2 p."""
    level = q.level(x)
    share = np.bincount(level, minlength=q.levels) / x.size
    bits = -sum(p * np.log2(p) for p in share if p > 0)
    return float(((x - q.reconstruct(level)) ** 2).mean() + lam * bits)


@pytest.mark.parametrize("levels", [2, 3, 7, 16, 256])
def test_uniform_levels_are_the_formula(levels: int) -> None:
    # Dyadic ends, steps and points: the formula and the thresholds are both exact in float64.
    low, step = -0.25, 0.125
    q = uniform_quantizer(levels, fixed(low, low + step * (levels - 1)))
    x = low + np.arange(-8, 8 * levels + 8) * step / 8
    expected = np.floor((np.clip(x, low, q.clip.c_max) - low) / step + 0.5)
    np.testing.assert_array_equal(q.level(x), expected)
    np.testing.assert_array_equal(q.reconstruct(q.level(x)), low + expected * step)
    assert (q.values[0], q.values[-1]) == (q.clip.c_min, q.clip.c_max)


def test_a_value_on_a_threshold_goes_up() -> None:
    q = uniform_quantizer(4, fixed(0.0, 3.0))
    assert q.level([0.5, 1.5, 2.5, -np.inf, np.inf, np.nan]).tolist() == [1, 2, 3, 0, 3, 3]


def brute_levels(x: np.ndarray, r: np.ndarray, b: np.ndarray, lam: float) -> np.ndarray:
    return ((x[:, None] - r) ** 2 + lam * b).min(axis=1)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(-40, 40), min_size=2, max_size=12),
    st.lists(st.one_of(st.integers(0, 64), st.none()), min_size=12, max_size=12),
    st.sampled_from([0.0, 0.125, 0.5, 4.0]),
)
def test_the_envelope_gives_the_least_cost(
    values: list[int], lengths: list[int | None], lam: float
) -> None:
    r = np.sort(np.array(values)) / 8.0
    b = np.array([np.inf if v is None else v / 8 for v in lengths[: r.size]])
    if np.isinf(b).all():
        b[0] = 1.0
    x = np.linspace(-7, 7, 401)
    thresholds = _envelope(r, b, lam)
    assert (np.diff(thresholds) >= 0).all()
    level = np.searchsorted(thresholds, x, side="right")
    chosen = (x - r[level]) ** 2 + (lam * b[level] if lam else 0.0)
    least = brute_levels(x, r, b if lam else np.zeros_like(b), lam or 1.0)
    np.testing.assert_allclose(chosen, least, rtol=1e-12, atol=1e-12)


def runs() -> list[tuple[int, float, str, str]]:
    return [
        (levels, lam, rate, kind)
        for levels in (2, 3, 4, 8, 32)
        for lam in (0.0, 0.01, 0.1, 0.5)
        for rate in ("entropy", "unary")
        for kind in ("ends", "zero")
    ]


def train(kind: str, x: np.ndarray, levels: int, clip: ClipRange, **options: object) -> EcsqTrace:
    method = ecsq_pinned_ends if kind == "ends" else ecsq_pinned_zero
    return method(x, levels, clip, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("levels", "lam", "rate", "kind"), runs())
def test_cost_never_rises(levels: int, lam: float, rate: str, kind: str) -> None:
    x = skewed(seed=levels)
    trace = train(kind, x, levels, fixed(0.0, 3.5), lam=lam, rate=rate)
    assert trace.converged
    for before, after in pairwise(trace.history):
        assert after <= before * (1 + ROUNDING)
    seen = np.clip(x, 0.0, 3.5) if kind == "ends" else x
    if rate == "entropy":
        assert cost(trace.quantizer, seen, lam) == pytest.approx(min(trace.history), rel=1e-9)
        start = uniform_quantizer(levels, fixed(0.0, 3.5))
        assert trace.history[0] == pytest.approx(cost(start, seen, lam), rel=1e-9)


@pytest.mark.parametrize("lam", [0.0, 0.05, 0.4])
def test_pinned_ends_stay(lam: float) -> None:
    x = skewed()
    q = ecsq_pinned_ends(x, 6, fixed(0.0, 3.0), lam=lam).quantizer
    assert (q.values[0], q.values[-1]) == (0.0, 3.0)
    # Every inner value of a used cell is the mean of its cell, and clipping changes no level.
    clipped = np.clip(x, 0.0, 3.0)
    level = q.level(clipped)
    np.testing.assert_array_equal(q.level(x), level)
    for n in range(1, 5):
        if (level == n).any():
            assert q.values[n] == pytest.approx(clipped[level == n].mean(), rel=1e-4)


def test_only_zero_stays_and_the_top_is_the_tail_mean() -> None:
    x = skewed()
    q = ecsq_pinned_zero(x, 4, fixed(0.0, 2.0), lam=0.02).quantizer
    assert q.values[0] == 0.0
    assert q.values[3] == pytest.approx(x[q.level(x) == 3].mean(), rel=1e-4)
    assert q.values[3] > 2.0
    signed = np.random.default_rng(1).normal(0, 1, 5000)
    q = ecsq_pinned_zero(signed, 5, fixed(-1.9, 2.0), lam=0.02).quantizer
    assert (q.values == 0.0).sum() == 1
    assert q.details["pinned"] == [2.0]
    q = ecsq_pinned_zero(signed + 9, 5, fixed(7.0, 11.0), lam=0.02).quantizer
    assert q.details["pinned"] == []


def test_entropy_term_trades_error_for_bits() -> None:
    x = skewed()
    data = MeasuredDistribution.from_samples(x)
    found = [
        measure(ecsq_pinned_zero(x, 4, fixed(0.0, 3.5), lam=lam).quantizer, data)
        for lam in (0.0, 0.05, 0.2)
    ]
    assert found[0].error < found[1].error < found[2].error
    assert found[0].entropy > found[1].entropy > found[2].entropy


def test_unary_lengths_do_nothing_at_two_levels() -> None:
    x = skewed()
    plain = ecsq_pinned_zero(x, 2, fixed(0.0, 2.0), lam=0.0).quantizer
    unary = ecsq_pinned_zero(x, 2, fixed(0.0, 2.0), lam=0.3, rate="unary", tolerance=0).quantizer
    assert unary.thresholds[0] == pytest.approx(plain.thresholds[0], rel=1e-3)


def test_a_large_lambda_leaves_one_level_and_usable_thresholds() -> None:
    x = skewed()
    q = ecsq_pinned_ends(x, 8, fixed(0.0, 3.0), lam=1e6).quantizer
    assert np.unique(q.level(x)).size == 1
    assert q.details["empty_cells"] == 7
    assert np.isfinite(q.thresholds).all()


def test_few_distinct_values() -> None:
    for kind in ("ends", "zero"):
        for x in (np.zeros(5), np.array([0.0, 1.0, 1.0, 2.0]), np.array([-3.0])):
            q = train(kind, x, 16, fixed(0.0, 2.0), lam=0.01).quantizer
            assert q.level(x).max() < 16


def test_training_is_deterministic_and_ignores_the_order() -> None:
    x = skewed()
    one = ecsq_pinned_ends(x, 16, fixed(0.0, 4.0), lam=0.01).quantizer
    other = ecsq_pinned_ends(x[::-1], 16, fixed(0.0, 4.0), lam=0.01).quantizer
    np.testing.assert_array_equal(one.thresholds, other.thresholds)
    np.testing.assert_array_equal(one.values, other.values)


def test_fine_quantisers_on_a_million_samples() -> None:
    x = skewed(1_000_000).astype(np.float32)
    trace = ecsq_pinned_ends(x, 256, fixed(0.0, 8.0), lam=1e-5, iterations=50)
    for before, after in pairwise(trace.history):
        assert after <= before * (1 + 1e-9)
    assert trace.quantizer.details["iterations"] == 50
    assert not trace.converged
    assert trace.history[-1] < trace.history[0]


@pytest.mark.parametrize(
    ("options", "path"),
    [({"lam": -1.0}, "lambda"), ({"lam": np.nan}, "lambda"), ({"lam": 0, "rate": "x"}, "rate")],
)
def test_bad_training_options(options: dict[str, object], path: str) -> None:
    with pytest.raises(OptionError) as caught:
        train("ends", skewed(10), 4, fixed(0.0, 1.0), **options)
    assert caught.value.path == path


def test_bad_quantisers_are_refused() -> None:
    with pytest.raises(DataEmptyError):
        ecsq_pinned_ends([], 4, fixed(0.0, 1.0), lam=0.0)
    with pytest.raises(OptionError):
        Quantizer(2, np.zeros(2), np.zeros(2), fixed(0.0, 1.0), "uniform")
    with pytest.raises(OptionError):
        Quantizer(3, np.array([1.0, 0.0]), np.arange(3.0), fixed(0.0, 1.0), "uniform")
    with pytest.raises(OptionError):
        Quantizer(2, np.array([np.nan]), np.arange(2.0), fixed(0.0, 1.0), "uniform")
    with pytest.raises(OptionError):
        fixed(1.0, 1.0)


@pytest.mark.parametrize("kind", ["uniform", "ecsq", "ecsq-zero"])
@pytest.mark.parametrize("clip", ["model", "empirical", "aciq", 2.5, (0.1, 2.5)])
@pytest.mark.parametrize("levels", [2, 5, 256])
def test_facade(kind: str, clip: str | float | tuple[float, float], levels: int) -> None:
    x = skewed(6000).astype(np.float32)
    stats = TensorStatistics((20, 30))
    stats.update(x.reshape(10, 20, 30))
    q = calibrate_quantizer(stats, levels=levels, clip=clip, quantizer=kind, activation=RELU)
    assert (q.levels, q.kind) == (levels, kind)
    level = q.level(x)
    direct = float(((x - q.reconstruct(level)) ** 2).mean())
    refined = float(((x - q.reconstruct(level, centroid=True)) ** 2).mean())
    assert q.details["mse"] == pytest.approx(direct, rel=1e-6)
    assert q.details["mse_centroid"] == pytest.approx(refined, rel=1e-6)
    assert refined <= direct
    assert json.loads(json.dumps([dict(q.details), dict(q.clip.details)]))[0] == q.details
    if kind != "uniform":
        assert q.details["lambda"] == default_lambda(stats, levels)


def test_facade_options() -> None:
    stats = TensorStatistics((4,))
    common = {"levels": 4, "clip": "model", "activation": RELU}
    with pytest.raises(DataEmptyError):
        calibrate_quantizer(stats, quantizer="uniform", **common)  # type: ignore[arg-type]
    stats.update(np.ones((1, 4)))
    with pytest.raises(OptionError) as caught:
        calibrate_quantizer(stats, quantizer="vector", **common)  # type: ignore[arg-type]
    assert caught.value.path == "quantizer"
    with pytest.raises(OptionError) as caught:
        calibrate_quantizer(stats, quantizer="ecsq", rate="x", **common)  # type: ignore[arg-type]
    assert caught.value.path == "rate"
    q = calibrate_quantizer(stats, quantizer="ecsq", **common)  # type: ignore[arg-type]
    assert "constant" in str(q.clip.details["fallback"])
