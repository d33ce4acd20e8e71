"""Clip rules against direct quantisation of the data over a grid of ranges."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import DataEmptyError, DataNotFiniteError, OptionError
from isthmus_gen.calibrate import (
    Activation,
    ClipRange,
    MeasuredDistribution,
    TensorStatistics,
    aciq_alpha,
    calibrate_quantizer,
    clip_range,
    empirical_range,
    fit_activation,
    measure,
    optimal_maximum,
    parse_clip,
    uniform_quantizer,
)

RELU, LEAKY, LINEAR = Activation("relu"), Activation("leaky_relu", 0.1), Activation("linear", 1.0)


def direct_error(y: np.ndarray, levels: int, low: float, high: float) -> float:
    step = (high - low) / (levels - 1)
    q = np.floor((np.clip(y, low, high) - low) / step + 0.5)
    return float(((y - low - q * step) ** 2).mean())


def skewed(count: int = 4000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.maximum(rng.laplace(0.2, 1.0, count), 0).astype(np.float32)


def statistics_of(y: np.ndarray, **options: int) -> TensorStatistics:
    stats = TensorStatistics((y.size,), **options)
    stats.update(y[None])
    return stats


@pytest.mark.parametrize("levels", [2, 3, 4, 8, 32, 256])
def test_measured_error_equals_quantising_the_data(levels: int) -> None:
    y = skewed().astype(np.float64)
    data = MeasuredDistribution.from_samples(y)
    for low, high in [(0.0, 4.0), (-0.3, 1.7), (0.4, 0.9)]:
        quantizer = uniform_quantizer(levels, ClipRange(low, high, "fixed"))
        found = measure(quantizer, data)
        assert found.error == pytest.approx(direct_error(y, levels, low, high), rel=1e-9)
        share = np.bincount(quantizer.level(y), minlength=levels) / y.size
        entropy = -sum(p * np.log2(p) for p in share if p > 0)
        assert found.entropy == pytest.approx(entropy, rel=1e-12, abs=1e-12)
        assert found.counts.sum() == y.size
        assert found.error_centroid <= found.error


def test_narrow_cells_far_from_zero_keep_their_digits() -> None:
    rng = np.random.default_rng(2)
    y = np.sort(1000 + rng.random(200_000).astype(np.float32).astype(np.float64))
    data = MeasuredDistribution.from_samples(y)
    edges = np.linspace(1000, 1001, 256)[1:]
    _, first, _ = data.cells(edges[:-1] + 0.0)
    parts = np.split(y, np.searchsorted(y, edges[:-1]))
    np.testing.assert_allclose(first, [part.sum() for part in parts], rtol=1e-14)


@pytest.mark.parametrize("levels", [2, 3, 5, 8, 64])
@pytest.mark.parametrize("seed", [0, 1])
def test_empirical_maximum_is_the_best_of_a_fine_grid(levels: int, seed: int) -> None:
    y = skewed(seed=seed)
    clip = clip_range(statistics_of(y), "empirical", levels=levels, activation=RELU)
    wide = y.astype(np.float64)
    found = direct_error(wide, levels, 0.0, clip.c_max)
    grid = np.linspace(0, 1.2 * float(y.max()), 1500)[1:]
    least = min(direct_error(wide, levels, 0.0, float(c)) for c in grid)
    assert found <= least * (1 + 1e-5)
    assert clip.details["error"] == pytest.approx(found, rel=1e-9)
    assert (clip.c_min, clip.rule, clip.details["exact"]) == (0.0, "empirical", True)


@pytest.mark.parametrize("levels", [2, 4, 8])
def test_empirical_range_with_both_ends_free(levels: int) -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(0.5, 1.0, 3000)
    low, high, error = empirical_range(MeasuredDistribution.from_samples(y), levels, c_min=None)
    assert error == pytest.approx(direct_error(y, levels, low, high), rel=1e-9)
    least = min(
        direct_error(y, levels, float(a), float(b))
        for a in np.linspace(-3, 0.4, 50)
        for b in np.linspace(0.6, 4, 50)
    )
    assert error <= least * (1 + 1e-4)


def test_gridded_values_are_met_exactly() -> None:
    y = np.array([0, 0, 0, 0.75, 0.75, 1.5, 2.25], np.float64)
    low, high, error = empirical_range(MeasuredDistribution.from_samples(y), 4)
    assert (low, error) == (0.0, pytest.approx(0.0, abs=1e-7))
    assert high == pytest.approx(2.25, rel=1e-3)


def test_bins_stand_in_for_values_beyond_the_reservoir() -> None:
    y = skewed(60_000)
    exact = clip_range(statistics_of(y), "empirical", levels=8, activation=RELU)
    binned = clip_range(statistics_of(y, reservoir=100), "empirical", levels=8, activation=RELU)
    assert (exact.details["exact"], binned.details["exact"]) == (True, False)
    found = direct_error(y.astype(np.float64), 8, 0.0, binned.c_max)
    assert found == pytest.approx(float(exact.details["error"]), rel=1e-4)  # type: ignore[arg-type]
    assert binned.details["error"] == pytest.approx(found, rel=1e-5)


def test_model_rule_uses_mean_variance_and_slope() -> None:
    y = skewed()
    stats = statistics_of(y)
    for activation, slope in ((RELU, 0.0), (LEAKY, 0.1)):
        model = fit_activation(stats.mean, stats.variance, slope=slope)
        clip = clip_range(stats, "model", levels=4, activation=activation)
        assert (clip.c_min, clip.c_max) == (0.0, optimal_maximum(model, 4))
        assert (clip.details["lam"], clip.details["mu"]) == (model.lam, model.mu)
        assert clip.rule == "model"
        assert "fallback" not in clip.details
    free = clip_range(stats, "model", levels=4, activation=LEAKY, c_min="free")
    assert free.c_min != 0.0


def test_aciq_rule() -> None:
    y = skewed()
    stats = statistics_of(y)
    wide = y.astype(np.float64)
    b = np.abs(wide - wide.mean()).mean()
    clip = clip_range(stats, "aciq", levels=4, activation=RELU)
    assert clip.c_min == 0.0
    assert clip.c_max == pytest.approx(aciq_alpha(4, float(b)), rel=1e-3)
    moved = wide - 0.5
    around = clip_range(statistics_of(moved), "aciq", levels=4, activation=LINEAR)
    assert around.c_max + around.c_min == pytest.approx(2 * moved.mean(), rel=1e-9)


def test_fixed_ranges() -> None:
    stats = statistics_of(skewed())
    for rule, expected in [
        (3.5, (0.0, 3.5)),
        ((-1.0, 2.0), (-1.0, 2.0)),
        ("3.5", (0.0, 3.5)),
        ("-1:2", (-1.0, 2.0)),
    ]:
        clip = clip_range(stats, rule, levels=4, activation=RELU)
        assert (clip.c_min, clip.c_max, clip.rule) == (*expected, "fixed")
    assert parse_clip("model") == "model"


@pytest.mark.parametrize("kind", ["linear", "relu6", "sigmoid"])
def test_an_activation_without_a_model_is_said(kind: str) -> None:
    y = np.random.default_rng(0).normal(0, 1, 2000).astype(np.float32)
    clip = clip_range(statistics_of(y), "model", levels=4, activation=Activation(kind, 1.0))
    assert clip.rule == "empirical"
    text = str(clip.details["fallback"])
    assert "empirical instead of model" in text
    assert kind in text
    # Features without a floor at zero would lose their negative half to c_min = 0.
    assert clip.c_min < -0.5


def both_signs() -> np.ndarray:
    return np.random.default_rng(0).normal(0.3, 1, 2000).astype(np.float32)


@pytest.mark.parametrize("rule", ["model", "empirical", "aciq"])
def test_an_explicit_zero_is_honoured(rule: str) -> None:
    stats = statistics_of(both_signs())
    clip = clip_range(stats, rule, levels=4, activation=LINEAR, c_min="zero")
    assert clip.c_min == 0.0
    assert clip.c_max > 1
    assert "c_min" not in str(clip.details.get("fallback"))


@pytest.mark.parametrize("kind", ["linear", "relu6", "sigmoid"])
@pytest.mark.parametrize("rule", ["model", "empirical", "aciq"])
def test_features_that_are_never_negative_get_no_level_below_zero(rule: str, kind: str) -> None:
    """As after average pooling of a ReLU: no ReLU makes the tensor, yet none of it is negative."""
    stats = statistics_of(np.abs(both_signs()))
    clip = clip_range(stats, rule, levels=4, activation=Activation(kind, 1.0))
    assert clip.c_min == 0.0
    if rule == "aciq":  # around the mean, cut at zero
        wide = np.abs(both_signs()).astype(np.float64)
        alpha = aciq_alpha(4, float(np.abs(wide - wide.mean()).mean()), one_sided=False)
        assert clip.c_max == pytest.approx(wide.mean() + alpha, rel=1e-3)
    if rule != "model":  # the rule did what was asked
        assert "fallback" not in clip.details


def test_auto_frees_features_of_both_signs_and_says_so() -> None:
    stats = statistics_of(both_signs())
    clip = clip_range(stats, "empirical", levels=4, activation=LINEAR)
    assert clip.c_min < 0
    assert clip.details["fallback"] == "c_min free: linear features have no floor at zero"


def test_zero_cannot_be_had_where_no_feature_is_positive() -> None:
    stats = statistics_of(-np.abs(both_signs()) - np.float32(0.01))
    for rule in ("empirical", "aciq"):
        clip = clip_range(stats, rule, levels=4, activation=RELU, c_min="zero")
        assert clip.c_min < 0
        assert clip.details["fallback"] == "c_min free: no feature is positive"


@pytest.mark.parametrize(
    ("rule", "c_min"), [("aciq", "free"), (3.0, "free"), ((0.5, 3.0), "free"), ("1:3", "zero")]
)
def test_a_c_min_that_the_rule_cannot_give(rule: object, c_min: str) -> None:
    with pytest.raises(OptionError) as caught:
        clip_range(
            statistics_of(skewed(100)),
            rule,  # type: ignore[arg-type]
            levels=4,
            activation=RELU,
            c_min=c_min,
        )
    assert caught.value.path == "c_min"


def test_a_uniform_quantiser_takes_no_lambda() -> None:
    with pytest.raises(OptionError, match=r"lambda: 0\.1 with a uniform quantiser"):
        calibrate_quantizer(
            statistics_of(skewed(100)),
            levels=4,
            clip="model",
            quantizer="uniform",
            lam=0.1,
            activation=RELU,
        )


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, (0.0, 1.0)), (2.5, (0.0, 2.5)), (-2.0, (-2.0, 0.0))]
)
@pytest.mark.parametrize("rule", ["model", "empirical", "aciq"])
def test_constant_features(value: float, expected: tuple[float, float], rule: str) -> None:
    stats = statistics_of(np.full(10, value, np.float32))
    clip = clip_range(stats, rule, levels=4, activation=RELU)
    assert (clip.c_min, clip.c_max) == expected
    assert rule in str(clip.details["fallback"])


def test_leaky_features_that_are_all_negative() -> None:
    y = -np.abs(skewed()) - np.float32(0.01)
    clip = clip_range(statistics_of(y), "empirical", levels=4, activation=LEAKY)
    assert clip.c_min < clip.c_max <= 0
    assert "no feature is positive" in str(clip.details["fallback"])


@pytest.mark.parametrize(
    ("rule", "levels", "c_min", "path"),
    [
        ("best", 4, "zero", "clip"),
        ("1:2:3", 4, "zero", "clip"),
        ("nan", 4, "zero", "clip"),
        (0.0, 4, "zero", "clip"),
        ((2.0, 1.0), 4, "zero", "clip"),
        ("model", 1, "zero", "levels"),
        ("model", 257, "zero", "levels"),
        ("model", 4, "one", "c_min"),
    ],
)
def test_bad_options(rule: object, levels: int, c_min: str, path: str) -> None:
    with pytest.raises(OptionError) as caught:
        clip_range(
            statistics_of(skewed(100)),
            rule,  # type: ignore[arg-type]
            levels=levels,
            activation=RELU,
            c_min=c_min,
        )
    assert caught.value.path == path


def test_no_data() -> None:
    with pytest.raises(DataEmptyError):
        clip_range(TensorStatistics((3,)), "model", levels=4, activation=RELU)
    with pytest.raises(DataEmptyError):
        MeasuredDistribution.from_samples([])
    with pytest.raises(DataNotFiniteError):
        MeasuredDistribution.from_samples([0.0, np.nan])
