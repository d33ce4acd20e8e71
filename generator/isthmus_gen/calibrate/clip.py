"""Clip rules: from the statistics of a feature tensor to a clip range.

    model       least error of the activation model fitted to mean and variance
    empirical   least mean squared error measured on the values themselves
    aciq        Banner et al.'s closed rule, from the mean absolute deviation
    fixed       the given values

Each returns a :class:`~isthmus_gen.calibrate.quantizers.ClipRange` whose ``details`` say how it
came about. Where a rule does not apply (the model behind an activation that is no ReLU, features
that do not vary, c_min at zero for features of which none is positive) the next best rule is used
and ``details["fallback"]`` says which and why, in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import OptionError
from isthmus_gen.calibrate.distribution import MeasuredDistribution
from isthmus_gen.calibrate.laplace import fit_activation
from isthmus_gen.calibrate.model_clip import (
    aciq_alpha,
    model_error,
    optimal_maximum,
    optimal_range,
)
from isthmus_gen.calibrate.quantizers import ClipRange, Detail, check_levels
from isthmus_gen.calibrate.statistics import TensorStatistics

__all__ = [
    "CLIP_RULES",
    "C_MIN",
    "Activation",
    "ActivationLike",
    "ClipSpec",
    "clip_range",
    "empirical_range",
    "parse_clip",
]

CLIP_RULES = ("model", "empirical", "aciq")
C_MIN = ("auto", "zero", "free")
ClipSpec = str | float | tuple[float, float]
_GRID = 256
_GRID_LOW, _GRID_HIGH = 40, 64
_LEAST_SHARE = 1e-3


class ActivationLike(Protocol):
    """What the calibration must know of the operator that makes the features."""

    @property
    def kind(self) -> str:
        """ "relu", "leaky_relu", "linear", or any other name."""

    @property
    def slope(self) -> float:
        """Slope below zero (0 for a ReLU)."""


@dataclass(frozen=True)
class Activation:
    """The plain :class:`ActivationLike`."""

    kind: str
    slope: float = 0.0


def parse_clip(text: str) -> ClipSpec:
    """A clip option as written on the command line: a rule's name, "C_MAX" or "C_MIN:C_MAX"."""
    if text in CLIP_RULES:
        return text
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    raise OptionError("clip", text, allowed=f"{', '.join(CLIP_RULES)}, C_MAX or C_MIN:C_MAX")


def clip_range(
    statistics: TensorStatistics,
    rule: ClipSpec,
    *,
    levels: int,
    activation: ActivationLike,
    c_min: str = "auto",
) -> ClipRange:
    """The clip range that ``rule`` gives for ``levels`` uniform levels.

    ``rule`` is a name of CLIP_RULES, a number (the range [0, number]) or a pair.

    ``c_min`` is "zero", "free", or "auto": zero behind a ReLU or leaky ReLU and for features of
    which none is negative, free for others. It is found by the rule where it is free (model and
    empirical alone can do that). ACIQ's range is [0, alpha] behind a ReLU or leaky ReLU and lies
    around the mean elsewhere, but does not begin below zero where no feature is negative; "zero"
    begins it at zero in any case.

    Raises OptionError (also for a ``c_min`` that the rule cannot give), DataEmptyError.
    """
    check_levels(levels)
    if c_min not in C_MIN:
        raise OptionError("c_min", c_min, allowed=", ".join(C_MIN))
    if isinstance(rule, str) and rule not in CLIP_RULES:
        parsed = parse_clip(rule)
        return clip_range(statistics, parsed, levels=levels, activation=activation, c_min=c_min)
    if not isinstance(rule, str):
        low, high = rule if isinstance(rule, tuple) else (0.0, rule)
        clip = ClipRange(float(low), float(high), "fixed")
        check_c_min(c_min, rule)
        return clip
    check_c_min(c_min, rule)
    statistics.require_data()
    if statistics.minimum == statistics.maximum:
        return _constant(statistics.minimum, rule)
    free, note = c_min == "free", ""
    if not free and statistics.maximum <= 0:
        free, note = True, "c_min free: no feature is positive"
    elif c_min == "auto" and not _rectified(activation) and statistics.minimum < 0:
        free = True
        if rule != "aciq":
            note = f"c_min free: {activation.kind} features have no floor at zero"
    rules: dict[str, Callable[[], ClipRange]] = {
        "model": lambda: _model(statistics, levels, activation, free),
        "empirical": lambda: _empirical(statistics, levels, free),
        "aciq": lambda: _aciq(statistics, levels, activation, free, c_min == "zero"),
    }
    clip = rules[rule]()
    return _noted(clip, note) if note else clip


def check_c_min(c_min: str, rule: ClipSpec) -> None:
    """Raise OptionError where ``rule`` leaves no room for ``c_min``."""
    if c_min == "free" and rule not in ("model", "empirical"):
        name = rule if isinstance(rule, str) else "fixed"
        raise OptionError(
            "c_min",
            f"free with the clip rule {name}",
            allowed="auto or zero; free with the rules model and empirical alone",
        )
    if c_min == "zero" and isinstance(rule, tuple) and rule[0] != 0:
        raise OptionError(
            "c_min", f"zero with a fixed range from {rule[0]:g}", allowed="auto with C_MIN:C_MAX"
        )


def empirical_range(
    distribution: MeasuredDistribution, levels: int, *, c_min: float | None = 0.0
) -> tuple[float, float, float]:
    """(c_min, c_max, mean squared error) of the best uniform quantiser on measured values.

    ``c_min`` is held at the given value, or free where None. The error of a candidate is a sum over
    its cells, so the search reads the data once: a scan over the whole range (the error has many
    local minima on values that lie on a grid), then ever finer scans around the best candidates.
    """
    check_levels(levels)
    if c_min is not None:
        if distribution.maximum <= c_min:
            raise OptionError(
                "clip.c_min", f"{c_min}", allowed=f"below the maximum, {distribution.maximum}"
            )
        return _search_maximum(distribution, levels, c_min)
    return _search_both(distribution, levels)


def _search_maximum(
    data: MeasuredDistribution, levels: int, c_min: float
) -> tuple[float, float, float]:
    # Beyond the largest value too: on gridded values a wider range may hit the grid.
    reach = 2 * (data.maximum - c_min)
    spans = reach * np.geomspace(_LEAST_SHARE, 1.0, _GRID)
    errors = _uniform_errors(data, levels, np.full_like(spans, c_min), spans)
    inner = np.flatnonzero((errors[1:-1] <= errors[:-2]) & (errors[1:-1] <= errors[2:])) + 1
    places = sorted({int(np.argmin(errors)), *map(int, inner)}, key=lambda i: float(errors[i]))[:4]
    found = []
    for place in places:
        low, high = spans[max(place - 1, 0)], spans[min(place + 1, _GRID - 1)]
        for _ in range(4):
            fine = np.linspace(low, high, 33)
            error = _uniform_errors(data, levels, np.full_like(fine, c_min), fine)
            best = int(np.argmin(error))
            low, high = fine[max(best - 1, 0)], fine[min(best + 1, 32)]
        found.append((float(error[best]), float(fine[best])))
    error_best, span = min(found)
    return c_min, c_min + span, error_best


def _search_both(data: MeasuredDistribution, levels: int) -> tuple[float, float, float]:
    middle = float(data.cells(np.zeros(0))[1][0]) / data.count
    low = middle - np.concatenate([[0.0], np.geomspace(1e-2, 1.0, _GRID_LOW)]) * (
        middle - data.minimum
    )
    high = middle + np.geomspace(_LEAST_SHARE, 1.0, _GRID_HIGH) * (data.maximum - middle)
    # Half a step on the coarse geometric grids, as a share of the distance to the middle.
    reach_low, reach_high = 0.13 * (middle - data.minimum), 0.13 * (data.maximum - middle)
    best = (math.inf, 0.0, 0.0)
    for _ in range(10):
        lows, highs = (grid.ravel() for grid in np.meshgrid(low, high, indexing="ij"))
        some = highs > lows
        lows, highs = lows[some], highs[some]
        errors = _uniform_errors(data, levels, lows, highs - lows)
        place = int(np.argmin(errors))
        best = min(best, (float(errors[place]), float(lows[place]), float(highs[place])))
        low = best[1] + np.linspace(-reach_low, reach_low, 17)
        high = best[2] + np.linspace(-reach_high, reach_high, 17)
        reach_low, reach_high = 0.4 * reach_low, 0.4 * reach_high
    error, c_min, c_max = best
    return c_min, c_max, error


def _uniform_errors(
    data: MeasuredDistribution,
    levels: int,
    c_min: NDArray[np.float64],
    span: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Mean squared errors float64 [K] of K uniform quantisers."""
    step = span[:, None] / (levels - 1)
    values = c_min[:, None] + np.arange(levels) * step
    return data.error(c_min[:, None] + (np.arange(1, levels) - 0.5) * step, values)


def _model(
    statistics: TensorStatistics, levels: int, activation: ActivationLike, free: bool
) -> ClipRange:
    if not _rectified(activation):
        clip = _empirical(statistics, levels, free)
        reason = f"no model for {activation.kind} features, only for relu and leaky_relu"
        return _noted(clip, f"empirical instead of model: {reason}")
    try:
        model = fit_activation(statistics.mean, statistics.variance, slope=_slope(activation))
        low, high = optimal_range(model, levels) if free else (0.0, optimal_maximum(model, levels))
    except OptionError as error:
        clip = _empirical(statistics, levels, free)
        return _noted(clip, f"empirical instead of model: {error}")
    clipped, quantised = model_error(model, levels, low, high)
    details: dict[str, Detail] = {
        "lam": model.lam,
        "mu": model.mu,
        "kappa": model.kappa,
        "slope": model.slope,
        "error_clip": clipped,
        "error_quantisation": quantised,
    }
    return ClipRange(low, high, "model", details)


def _empirical(statistics: TensorStatistics, levels: int, free: bool) -> ClipRange:
    data = MeasuredDistribution.from_statistics(statistics)
    low, high, error = empirical_range(data, levels, c_min=None if free else 0.0)
    details: dict[str, Detail] = {"error": error, "exact": data.exact}
    return ClipRange(low, high, "empirical", details)


def _aciq(
    statistics: TensorStatistics,
    levels: int,
    activation: ActivationLike,
    free: bool,
    from_zero: bool,
) -> ClipRange:
    one_sided = _rectified(activation) and not free
    deviation = statistics.mean_absolute_deviation
    alpha = aciq_alpha(levels, deviation, one_sided=one_sided)
    details: dict[str, Detail] = {"deviation": deviation, "one_sided": one_sided}
    if one_sided:
        return ClipRange(0.0, alpha, "aciq", details)
    low, high = statistics.mean - alpha, statistics.mean + alpha
    if free:
        return ClipRange(low, high, "aciq", details)
    if high <= 0:
        clip = ClipRange(low, high, "aciq", details)
        return _noted(clip, "c_min free: ACIQ's range around the mean ends below zero")
    return ClipRange(0.0 if from_zero else max(low, 0.0), high, "aciq", details)


def _constant(value: float, rule: str) -> ClipRange:
    """A range for features that are all equal: from zero to the value, or [0, 1] if it is zero."""
    low, high = min(value, 0.0), max(value, 0.0)
    if low == high:
        high = 1.0
    return ClipRange(
        low, high, "fixed", {"fallback": f"fixed instead of {rule}: constant features"}
    )


def _rectified(activation: ActivationLike) -> bool:
    """Whether the activation is one the model covers."""
    return activation.kind == "relu" or (
        activation.kind == "leaky_relu" and 0 <= activation.slope < 1
    )


def _slope(activation: ActivationLike) -> float:
    return 0.0 if activation.kind == "relu" else activation.slope


def _noted(clip: ClipRange, note: str) -> ClipRange:
    earlier = clip.details.get("fallback")
    text = f"{earlier}; {note}" if earlier else note
    return replace(clip, details={**clip.details, "fallback": text})
