"""The activation model against printed tables and against numeric integration of its definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from isthmus.errors import OptionError
from isthmus_gen.calibrate import (
    ActivationModel,
    aciq_alpha,
    fit_activation,
    model_error,
    optimal_maximum,
    optimal_range,
    relu_maximum,
    unit_range,
)
from isthmus_gen.calibrate.laplace import find_root, scaled_moments

RESNET = (1.1235656, 4.9280124)
YOLO = (0.4484323, 0.5742644)

# Roots of de/dz with 40 digits (mpmath), from the antiderivative of (y - r)**2 exp(-y).
UNIT_RANGES = {
    2: 2.0,
    3: 2.897848654410761,
    4: 3.486400844459711,
    5: 3.925695595134495,
    6: 4.276654769811989,
    7: 4.569108211029892,
    8: 4.81991522767371,
    16: 6.09803737635503,
    32: 7.358588510464328,
    64: 8.617834865690206,
    128: 9.88265190286836,
    256: 11.15554339247769,
}

MODELS = [
    ActivationModel(0.7716595, -1.4350621, slope=0.1),
    ActivationModel(2.39, -0.31, slope=0.0),
    ActivationModel(1.3, 0.8, slope=0.1),
    ActivationModel(1.3, 0.8, slope=0.0),
    ActivationModel(0.9, -3.0, slope=0.3, kappa=0.7),
]


def expectation(model: ActivationModel, g: Callable[[float], float]) -> float:
    """E[g(Y)] from the density of the activation's input, not from the code under test."""
    from scipy.integrate import quad

    lam, mu, kap = model.lam, model.mu, model.kappa
    peak = lam / (kap + 1 / kap)

    def integrand(x: float) -> float:
        rate = lam / kap if x < mu else -lam * kap
        return peak * math.exp(rate * (x - mu)) * g(x if x >= 0 else model.slope * x)

    low, high = mu - 45 * kap / lam, mu + 45 / (lam * kap)
    ends = sorted({low, *(p for p in (0.0, mu) if low < p < high), high})
    return sum(
        quad(integrand, a, b, limit=2000, epsabs=1e-10, epsrel=1e-10)[0] for a, b in pairwise(ends)
    )


@pytest.mark.parametrize("model", MODELS)
def test_moments_match_numeric_integration(model: ActivationModel) -> None:
    first, second = expectation(model, lambda y: y), expectation(model, lambda y: y * y)
    assert model.mean() == pytest.approx(first, rel=1e-9)
    assert model.variance() == pytest.approx(second - first**2, rel=1e-9)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cell", [(-0.4, 0.3), (0.0, 0.02), (0.7, 0.9), (2.0, math.inf)])
def test_cell_moments_match_numeric_integration(
    model: ActivationModel, cell: tuple[float, float]
) -> None:
    from scipy.integrate import quad

    low, high = cell
    centre = 0.37
    found = model.cell_moments(low, high, centre)
    edges = [low, *(p for p in (model.slope * model.mu, model.mu, 0.0) if low < p < high)]
    edges = sorted({*edges, min(high, low + 80 / model.tail_rate)})
    for k in range(3):
        expected = sum(
            quad(lambda y, k=k: (y - centre) ** k * float(model.pdf(y)), a, b, epsabs=1e-14)[0]
            for a, b in pairwise(edges)
        )
        if low <= 0 < high:
            expected += model.zero_mass * (-centre) ** k
        assert float(found[k]) == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_the_density_integrates_to_one(model: ActivationModel) -> None:
    whole = model.cell_moments(-math.inf, math.inf, 0.0)
    assert float(whole[0]) == pytest.approx(1.0, abs=1e-14)
    assert float(whole[1]) == pytest.approx(model.mean(), rel=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_fit_recovers_the_model(model: ActivationModel) -> None:
    found = fit_activation(model.mean(), model.variance(), slope=model.slope, kappa=model.kappa)
    assert found.lam == pytest.approx(model.lam, rel=1e-11)
    assert found.mu == pytest.approx(model.mu, rel=1e-11)


def test_the_published_layers_to_seven_digits() -> None:
    resnet, yolo = fit_activation(*RESNET, slope=0.1), fit_activation(*YOLO, slope=0.1)
    assert (f"{resnet.lam:.7f}", f"{resnet.mu:.7f}") == ("0.7716595", "-1.4350621")
    assert (f"{yolo.lam:.7f}", f"{yolo.mu:.7f}") == ("2.3899515", "-0.3088777")


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.1, 0.3, 0.9])
def test_the_moment_ratio_falls_strictly_so_the_root_is_the_only_one(slope: float) -> None:
    s = np.concatenate([-np.geomspace(30, 1e-3, 400), [0.0], np.geomspace(1e-3, 30, 400)])
    pairs = [scaled_moments(float(v), slope) for v in s]
    ratio = np.array([first / math.sqrt(second) for first, second in pairs])
    assert (np.diff(ratio) < 0).all()


def test_the_branches_meet_at_mu_zero() -> None:
    for slope in (0.0, 0.1):
        below, above = scaled_moments(1e-300, slope), scaled_moments(-1e-300, slope)
        assert below == pytest.approx(above, rel=1e-14)
    # Where they meet behind a leaky ReLU of slope 0.1, m**2/(v + m**2) is 0.39495.
    first, second = scaled_moments(0.0, 0.1)
    assert f"{first**2 / second:.5f}" == "0.39495"


def test_the_closed_form_behind_a_relu_equals_the_root() -> None:
    # A slope this small is a ReLU to all digits but goes through the solver.
    for mean, variance in [(0.5, 1.0), (0.1, 3.0), (1.0, 1.6)]:
        closed = fit_activation(mean, variance)
        solved = fit_activation(mean, variance, slope=1e-13)
        assert closed.mu < 0
        assert solved.lam == pytest.approx(closed.lam, rel=1e-9)
        assert solved.mu == pytest.approx(closed.mu, rel=1e-9)
        second = variance + mean**2
        assert 1 - closed.zero_mass == pytest.approx(2 * mean**2 / second, rel=1e-12)
        assert closed.tail_rate == pytest.approx(2 * mean / second, rel=1e-15)


def test_leaky_features_may_have_a_negative_mean() -> None:
    for mean in (-0.1, 0.0):
        model = fit_activation(mean, 0.5, slope=0.1)
        assert model.mean() == pytest.approx(mean, abs=1e-13)
        assert model.variance() == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize(
    ("mean", "variance", "slope", "path"),
    [
        (1.0, 0.0, 0.0, "activation.variance"),
        (1.0, -1.0, 0.1, "activation.variance"),
        (1e6, 1e-3, 0.0, "activation.variance"),
        (0.0, 1.0, 0.0, "activation.mean"),
        (-1.0, 1.0, 0.0, "activation.mean"),
        (math.nan, 1.0, 0.0, "activation.mean"),
        (1.0, 1.0, 1.0, "activation.slope"),
        (1.0, 1.0, -0.1, "activation.slope"),
    ],
)
def test_what_no_model_fits_is_refused(
    mean: float, variance: float, slope: float, path: str
) -> None:
    with pytest.raises(OptionError) as caught:
        fit_activation(mean, variance, slope=slope)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("layer", "digits", "expected"),
    [
        (RESNET, 3, "5.184 7.511 9.036 10.175 11.084 11.842 12.492"),
        (YOLO, 4, "1.6737 2.4250 2.9175 3.2852 3.5789 3.8236 4.0335"),
    ],
)
def test_published_maxima(layer: tuple[float, float], digits: int, expected: str) -> None:
    model = fit_activation(*layer, slope=0.1)
    found = [f"{optimal_maximum(model, levels):.{digits}f}" for levels in range(2, 9)]
    assert " ".join(found) == expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [(2, "0.3605 5.5441"), (4, "0.0527 9.0888"), (8, "-0.0652 12.4272")],
)
def test_both_ends_free(levels: int, expected: str) -> None:
    low, high = optimal_range(fit_activation(*RESNET, slope=0.1), levels)
    assert f"{low:.4f} {high:.4f}" == expected


@pytest.mark.parametrize(("levels", "expected"), UNIT_RANGES.items())
def test_unit_range(levels: int, expected: float) -> None:
    assert unit_range(levels) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("levels", [2, 5, 8, 64, 256])
def test_the_law_gives_the_best_range_behind_a_relu(levels: int) -> None:
    mean, variance = 0.87, 1.6
    model = fit_activation(mean, variance)
    assert model.mu < 0
    by_sums = relu_maximum(1000 * mean, 1000 * (variance + mean**2), levels)
    assert optimal_maximum(model, levels) == pytest.approx(by_sums, rel=1e-9)
    shifted = optimal_maximum(model, levels, 0.05)
    assert shifted - 0.05 == pytest.approx(by_sums, rel=1e-9)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("levels", [2, 3, 8])
def test_model_error_matches_numeric_integration(model: ActivationModel, levels: int) -> None:
    low, high = -0.1, 4.2
    step = (high - low) / (levels - 1)

    def squared(y: float) -> float:
        q = math.floor((min(max(y, low), high) - low) / step + 0.5)
        return (y - low - q * step) ** 2

    def clipped(y: float) -> float:
        return (y - min(max(y, low), high)) ** 2

    clip, quant = model_error(model, levels, low, high)
    # The integrand is smooth but for kinks, hence the looser agreement.
    assert clip == pytest.approx(expectation(model, clipped), rel=1e-6)
    assert clip + quant == pytest.approx(expectation(model, squared), rel=1e-5)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("levels", [2, 4, 16])
def test_no_point_of_a_grid_is_better(model: ActivationModel, levels: int) -> None:
    best = optimal_maximum(model, levels)
    least = sum(model_error(model, levels, 0.0, best))
    low, high = optimal_range(model, levels)
    free = sum(model_error(model, levels, low, high))
    for factor in np.geomspace(0.2, 5, 60):
        assert sum(model_error(model, levels, 0.0, best * factor)) >= least * (1 - 1e-12)
    for c_min in np.linspace(low - 1, low + 1, 21):
        for c_max in np.linspace(high - 1, high + 1, 21):
            if c_max > c_min:
                assert sum(model_error(model, levels, c_min, c_max)) >= free * (1 - 1e-12)
    assert free <= least * (1 + 1e-12)


def test_aciq_solves_its_equation() -> None:
    from scipy.special import lambertw

    for levels in (2, 3, 16, 256):
        assert aciq_alpha(levels, 0.7) == pytest.approx(
            0.7 * lambertw(12 * levels**2).real, rel=1e-13
        )
        assert aciq_alpha(levels, 0.7, one_sided=False) == pytest.approx(
            0.7 * lambertw(3 * levels**2).real, rel=1e-13
        )


def test_find_root_needs_a_change_of_sign() -> None:
    with pytest.raises(ValueError, match="same sign"):
        find_root(lambda x: x * x + 1, -1.0, 1.0)
    assert find_root(lambda x: x, -1.0, 3.0) == pytest.approx(0.0, abs=1e-300)
    assert find_root(math.cos, 1.0, 2.0) == pytest.approx(math.pi / 2, abs=1e-15)
    # A jump is a change of sign too.
    assert find_root(lambda x: -1.0 if x < 0.3 else 1.0, 0.0, 1.0) == pytest.approx(0.3, abs=1e-15)
