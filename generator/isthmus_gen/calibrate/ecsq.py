"""Entropy-constrained scalar quantisers.

Cohen, Choi, Bajic (IEEE OJCAS 2021) publish that the end values are pinned to the clip range; the
procedure below is derived, not published. It alternates three steps, none of which can raise

    J = mean (x - r_q)**2 + lambda * mean b_q        (lambda in squared units of x per bit):

the best cell for every x given values r and lengths b; the best values given the cells, pinned
ones apart; the best lengths -log2 p given the cells.

The first step is usually written t_n = (r_{n-1} + r_n)/2 + lambda (b_n - b_{n-1}) /
(2 (r_n - r_{n-1})). Where such thresholds cross, a level between them has no cell left, and
sorting the thresholds is not the best that can be done: here the lower envelope of the parabolas
(x - r_n)**2 + lambda b_n gives all cells at once, empty ones included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.errors import DataEmptyError, OptionError
from isthmus_gen.calibrate.distribution import MeasuredDistribution
from isthmus_gen.calibrate.quantizers import (
    ABOVE_ALL,
    ClipRange,
    Quantizer,
    ordered,
    uniform_quantizer,
)

__all__ = ["RATES", "EcsqTrace", "ecsq_pinned_ends", "ecsq_pinned_zero"]

RATES = ("entropy", "unary")


@dataclass(frozen=True)
class EcsqTrace:
    """A trained quantiser and J after every iteration, the start included."""

    quantizer: Quantizer
    history: tuple[float, ...]
    converged: bool


def ecsq_pinned_ends(
    samples: ArrayLike,
    levels: int,
    clip: ClipRange,
    *,
    lam: float,
    rate: str = "entropy",
    tolerance: float = 1e-7,
    iterations: int = 1000,
) -> EcsqTrace:
    """ECSQ on clipped samples with r_0 = c_min and r_{N-1} = c_max held fast.

    Without the pins the top value would become the mean of clipped data: a second, hidden clip.
    ``lam`` is in squared units of the samples per bit; ``rate`` is "entropy" (-log2 p) or "unary"
    (truncated-unary lengths min(n + 1, N - 1)). Stops when J falls by less than ``tolerance`` of
    itself. Raises OptionError, DataEmptyError, DataNotFiniteError.
    """
    clipped = np.clip(np.asarray(samples, np.float64), clip.c_min, clip.c_max)
    pinned = np.zeros(levels, np.bool_)
    pinned[[0, -1]] = True
    start = uniform_quantizer(levels, clip)
    trace = _train(clipped, start, pinned, "ecsq", lam, rate, tolerance, iterations)
    thresholds = trace.quantizer.thresholds.copy()
    # Beyond the range, x has the level of the end it is clipped to; tables see x unclipped.
    thresholds[thresholds <= clip.c_min] = -ABOVE_ALL
    thresholds[thresholds > clip.c_max] = ABOVE_ALL
    return replace(trace, quantizer=replace(trace.quantizer, thresholds=thresholds))


def ecsq_pinned_zero(
    samples: ArrayLike,
    levels: int,
    clip: ClipRange,
    *,
    lam: float,
    rate: str = "entropy",
    tolerance: float = 1e-7,
    iterations: int = 1000,
) -> EcsqTrace:
    """ECSQ on unclipped samples with nothing but the value zero held fast.

    The clip range only places the uniform start. The start's value nearest to zero is moved to zero
    and stays; where zero lies outside the range nothing is pinned (details["pinned"] is then -1).
    Arguments and errors as for :func:`ecsq_pinned_ends`.
    """
    start = uniform_quantizer(levels, clip)
    pinned = np.zeros(levels, np.bool_)
    if clip.c_min <= 0 <= clip.c_max:
        values = start.values.copy()
        nearest = int(np.argmin(np.abs(values)))
        pinned[nearest] = True
        values[nearest] = 0.0
        start = replace(start, values=values)
    return _train(samples, start, pinned, "ecsq-zero", lam, rate, tolerance, iterations)


def _train(
    samples: ArrayLike,
    start: Quantizer,
    pinned: NDArray[np.bool_],
    kind: str,
    lam: float,
    rate: str,
    tolerance: float,
    iterations: int,
) -> EcsqTrace:
    if rate not in RATES:
        raise OptionError("rate", rate, allowed=", ".join(RATES))
    if not (math.isfinite(lam) and lam >= 0):
        raise OptionError("lambda", f"{lam}", allowed="0 or more")
    if np.size(samples) == 0:
        raise DataEmptyError("samples", "no value was given", remedy="give at least one")
    data = MeasuredDistribution.from_samples(samples)
    values, thresholds = start.values, start.thresholds
    lengths = _lengths(data.cells(thresholds)[0], rate)
    cost, bits = _cost(data, thresholds, values, lengths, lam)
    history, converged = [cost], False
    while not converged and len(history) <= iterations:
        trial = _envelope(values, lengths, lam)
        count, first, _ = data.cells(trial)
        used = count > 0
        free = used & ~pinned
        moved = values.copy()
        moved[free] = first[free] / count[free]
        for fast in np.flatnonzero(pinned):
            # A cell's mean may pass a pinned value; the pin is then the best place still in order.
            moved[:fast] = np.minimum(moved[:fast], values[fast])
            moved[fast + 1 :] = np.maximum(moved[fast + 1 :], values[fast])
        moved = ordered(moved, used | pinned)
        trial_lengths = _lengths(count, rate)
        trial_cost, trial_bits = _cost(data, trial, moved, trial_lengths, lam)
        converged = cost - trial_cost <= tolerance * cost
        if trial_cost <= cost:
            thresholds, values, lengths = trial, moved, trial_lengths
            cost, bits = trial_cost, trial_bits
        history.append(trial_cost)
    quantizer = Quantizer(
        start.levels,
        thresholds,
        values,
        start.clip,
        kind,
        {
            "lambda": float(lam),
            "rate": rate,
            "iterations": len(history) - 1,
            "converged": converged,
            "cost": cost,
            "bits": bits,
            "pinned": [float(n) for n in np.flatnonzero(pinned)],
            "empty_cells": int((data.cells(thresholds)[0] == 0).sum()),
        },
    )
    return EcsqTrace(quantizer, tuple(history), converged)


def _lengths(count: NDArray[np.float64], rate: str) -> NDArray[np.float64]:
    """Bits that a level costs: -log2 p (infinite for an empty cell), or its unary length."""
    levels = count.size
    if rate == "unary":
        return np.minimum(np.arange(1, levels + 1), levels - 1).astype(np.float64)
    with np.errstate(divide="ignore"):
        bits: NDArray[np.float64] = -np.log2(count / count.sum())
    return bits


def _cost(
    data: MeasuredDistribution,
    thresholds: NDArray[np.float64],
    values: NDArray[np.float64],
    lengths: NDArray[np.float64],
    lam: float,
) -> tuple[float, float]:
    """J and the mean length in bits."""
    count = data.cells(thresholds)[0]
    used = count > 0
    bits = float((count[used] * lengths[used]).sum()) / data.count
    return float(data.error(thresholds, values)) + lam * bits, bits


def _envelope(
    values: NDArray[np.float64], lengths: NDArray[np.float64], lam: float
) -> NDArray[np.float64]:
    """Thresholds float64 [N - 1] that give each x the level of least (x - r)**2 + lam*b.

    (x - r)**2 + lam*b = x**2 - 2 r x + (r**2 + lam*b): straight lines apart from the common x**2,
    with slopes that fall from level to level. The classic scan keeps the levels on their lower
    envelope; the thresholds around a level that is not on it coincide.
    """
    kept: list[int] = []
    starts: list[float] = []
    for n in range(values.size):
        if not math.isfinite(lengths[n]) and lam > 0:
            continue
        begin = -math.inf
        while kept:
            last = kept[-1]
            gap = float(values[n] - values[last])
            extra = lam * float(lengths[n] - lengths[last]) if lam > 0 else 0.0
            if gap <= 0:
                if extra >= 0:
                    begin = math.inf
                    break
            else:
                begin = 0.5 * float(values[n] + values[last]) + extra / (2 * gap)
                if begin > starts[-1]:
                    break
            kept.pop()
            starts.pop()
            begin = -math.inf
        if begin < math.inf:
            kept.append(n)
            starts.append(begin)
    thresholds = np.full(values.size - 1, ABOVE_ALL)
    thresholds[: kept[0]] = -ABOVE_ALL
    for place in range(1, len(kept)):
        thresholds[kept[place - 1] : kept[place]] = starts[place]
    return thresholds
