"""Clip ranges that minimise the model's quantisation error.

The error of a uniform quantiser with N levels on [c_min, c_max], end values included, is

    e_tot = sum over n of the integral of (y - r_n)**2 f(y) over cell n,   r_n = c_min + n*D,

the outer cells reaching to minus and plus infinity; their parts beyond the range are e_clip. The
error is continuous in y across a threshold, so moving thresholds adds nothing to the derivative:

    de/dc_max = -2 sum n/(N-1) M_n,   de/dc_min = -2 sum (1 - n/(N-1)) M_n,

M_n being the integral of (y - r_n) f(y) over cell n. Roots of the derivative give the range to
many more digits than a search on e_tot itself could.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import OptionError
from isthmus_gen.calibrate.laplace import ActivationModel, find_root

__all__ = [
    "aciq_alpha",
    "model_error",
    "optimal_maximum",
    "optimal_range",
    "relu_maximum",
    "unit_range",
]

_SCAN = 48
_SCAN_LOW = 33


def model_error(
    model: ActivationModel, levels: int, c_min: float, c_max: float
) -> tuple[float, float]:
    """(e_clip, e_quant) of the uniform quantiser, in squared units of y, by exact integrals."""
    values, low, high = _cells(levels, np.float64(c_min), np.asarray([c_max]))
    total = float(model.cell_moments(low, high, values)[2].sum())
    beyond = model.cell_moments(c_max, math.inf, c_max)[2]
    below = model.cell_moments(-math.inf, c_min, c_min)[2]
    clip = float(beyond) + float(below)
    return clip, total - clip


def optimal_maximum(model: ActivationModel, levels: int, c_min: float = 0.0) -> float:
    """The c_max of least error for a given c_min."""
    return _best_maximum(model, levels, c_min)[0]


def optimal_range(model: ActivationModel, levels: int) -> tuple[float, float]:
    """(c_min, c_max) of least error, both ends free.

    For each c_min the best c_max is a function of it, and along that function the derivative of
    the error is de/dc_min alone: a scan finds the lowest valley, bisection its floor.
    """
    centre, spread = model.mean(), math.sqrt(model.variance())
    grid = np.linspace(centre - 6 * spread, centre + 2 * spread, _SCAN_LOW)

    def slope(c_min: float) -> float:
        c_max = optimal_maximum(model, levels, c_min)
        return float(_gradients(model, levels, c_min, np.asarray([c_max]))[0][0])

    slopes = [slope(float(low)) for low in grid]
    found = []
    for place in range(_SCAN_LOW - 1):
        if slopes[place] < 0 <= slopes[place + 1]:
            c_min = find_root(slope, float(grid[place]), float(grid[place + 1]))
            c_max, error = _best_maximum(model, levels, c_min)
            found.append((error, c_min, c_max))
    if not found:
        raise OptionError(
            "clip.c_min",
            "the model's error has no minimum with both ends free",
            allowed="c_min zero, or the empirical clip rule",
        )
    _, c_min, c_max = min(found)
    return c_min, c_max


@lru_cache(maxsize=512)
def unit_range(levels: int) -> float:
    """z_N: the best range of N uniform levels, from zero, for the density exp(-y).

    While mu < 0 and c_min + D/2 >= 0, every model's best range is z_N / beta whatever its slope,
    mu and c_min, because the first cell has no part in de/dc_max and all others lie in the tail.
    """
    _check_levels(levels)

    def slope(z: float) -> float:
        step = z / (levels - 1)
        n = np.arange(1, levels)
        low = (n - 0.5) * step
        # Integral of (y - n*step) exp(-y) from u = y - n*step = -step/2 on, per cell.
        moment = np.exp(-low) * (1 - 0.5 * step)
        inner = np.exp(-(low[:-1] + step)) * (1 + 0.5 * step)
        moment[:-1] -= inner
        return -float((n * moment).sum())

    return find_root(slope, 0.5, 8.0 + 2.0 * math.log2(levels))


def relu_maximum(total: float, total_square: float, levels: int) -> float:
    """c_max = z_N * sum(y**2) / (2 sum(y)): the model's best range for plain ReLU, mu < 0.

    Two accumulators and no solver; ``total`` and ``total_square`` are the sums over all features.
    """
    if not (total > 0 and total_square > 0):
        raise OptionError("activation.mean", "no positive feature", allowed="a positive mean")
    return unit_range(levels) * total_square / (2 * total)


def aciq_alpha(levels: int, mean_absolute_deviation: float, *, one_sided: bool = True) -> float:
    """ACIQ's clip value alpha = x*b for a Laplace of scale b = E|Y - E[Y]|.

    Banner, Nahshan, Soudry, "Post training 4-bit quantization of convolutional networks for
    rapid-deployment" (NeurIPS 2019), with N in place of 2**M: x*exp(x) = 12 N**2 for the range
    [0, alpha] behind a ReLU, 3 N**2 for [mean - alpha, mean + alpha].
    """
    _check_levels(levels)
    goal = (12.0 if one_sided else 3.0) * levels**2
    x = find_root(lambda x: x * math.exp(x) - goal, 0.0, math.log(goal) + 1)
    return x * mean_absolute_deviation


def _check_levels(levels: int) -> None:
    if not 2 <= levels <= 256:
        raise OptionError("levels", f"{levels}", allowed="2..256")


def _cells(
    levels: int, c_min: np.float64, c_max: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Values and the bounds of their cells, float64 [candidates, levels] each."""
    step = (c_max[:, None] - c_min) / (levels - 1)
    values = c_min + np.arange(levels) * step
    low, high = values - 0.5 * step, values + 0.5 * step
    low[:, 0], high[:, -1] = -math.inf, math.inf
    # The two bounds of a threshold must be one number, or an atom could fall between them.
    high[:, :-1] = low[:, 1:]
    return values, low, high


def _gradients(
    model: ActivationModel, levels: int, c_min: float, c_max: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """de/dc_min and de/dc_max, each float64 [candidates]."""
    values, low, high = _cells(levels, np.float64(c_min), c_max)
    _, first, _ = model.cell_moments(low, high, values)
    share = np.arange(levels) / (levels - 1)
    return -2 * (first * (1 - share)).sum(-1), -2 * (first * share).sum(-1)


def _best_maximum(model: ActivationModel, levels: int, c_min: float) -> tuple[float, float]:
    """(c_max, e_tot) in the lowest of the valleys that a scan finds."""
    _check_levels(levels)
    top = max(model.mu, c_min, 0.0) + 60.0 / model.tail_rate
    scan = c_min + (top - c_min) * np.geomspace(1e-4, 1.0, _SCAN)
    slopes = _gradients(model, levels, c_min, scan)[1]

    def slope(c_max: float) -> float:
        return float(_gradients(model, levels, c_min, np.asarray([c_max]))[1][0])

    found = []
    for place in np.flatnonzero((slopes[:-1] < 0) & (slopes[1:] >= 0)):
        c_max = find_root(slope, float(scan[place]), float(scan[place + 1]))
        found.append((model_error(model, levels, c_min, c_max), c_max))
    if not found:
        raise OptionError(
            "clip.c_min", f"no c_max is best above {c_min}", allowed="a c_min below most features"
        )
    (clip, quant), c_max = min(found, key=lambda pair: sum(pair[0]))
    return c_max, clip + quant
