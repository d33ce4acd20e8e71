"""Candidate quantisers: what the search may choose from.

A candidate is a recipe, not a quantiser: each half of the calibration set makes its own quantiser
by it, and is judged on the other half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from isthmus_gen.calibrate import (
    ActivationLike,
    ClipRange,
    MeasuredDistribution,
    Quantizer,
    TensorStatistics,
    centroids,
    clip_range,
    default_lambda,
    ecsq_pinned_ends,
    ecsq_pinned_zero,
    measure,
    uniform_quantizer,
)

__all__ = ["CANDIDATE_LEVELS", "Maker", "Recipe", "candidate_recipes"]

# What is left of searches with many more candidates (docs/research.md): ranges narrower than these,
# dead zones and cells' means were not on the front, or nowhere worth their time.
CANDIDATE_LEVELS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32)
_FACTORS = (0.65, 0.8, 1.0, 1.25, 1.6, 2.0)
_PERCENTILES = (90.0, 95.0, 97.0, 98.5, 99.3, 99.8)
_LAMBDAS = (0.5, 1.0, 2.0, 4.0, 8.0)
_PINNED_PERCENTILES = (97.0, 99.3)
_PINNED_LAMBDAS = (1.0,)


@dataclass(frozen=True, order=True)
class Recipe:
    """How a quantiser is made.

    levels  N
    kind    "uniform", "ecsq" or "ecsq-zero"
    clip    "model" (the rule's range times ``scale`` about its lower end, or about its middle
            where that is free) or "percentile" (``scale`` is the percentile of the features)
    weight  of ECSQ's rate, as a multiple of ``default_lambda``; 0 for uniform
    """

    levels: int
    kind: str
    clip: str
    scale: float
    weight: float = 0.0

    def __str__(self) -> str:
        clip = f"model x {self.scale:g}" if self.clip == "model" else f"{self.scale:g} %"
        lam = f", lambda x {self.weight:g}" if self.weight else ""
        return f"N = {self.levels}, {self.kind}, {clip}{lam}"


def candidate_recipes() -> tuple[Recipe, ...]:
    """Every candidate, in a fixed order."""
    made = []
    for n in CANDIDATE_LEVELS:
        made += [Recipe(n, "uniform", "model", factor) for factor in _FACTORS]
        made += [Recipe(n, "uniform", "percentile", percent) for percent in _PERCENTILES]
        made += [Recipe(n, "ecsq-zero", "model", 1.0, lam) for lam in _LAMBDAS]
        made += [
            Recipe(n, "ecsq", "percentile", percent, lam)
            for percent in _PINNED_PERCENTILES
            for lam in _PINNED_LAMBDAS
        ]
    return tuple(made)


class Maker:
    """Makes quantisers by recipe from one set of features.

    ``rate_term``, ``c_min`` and ``centroid`` are the options of ``isthmus generate``: the rate of
    ECSQ, where ranges begin, and whether cells are reconstructed by their means.
    """

    def __init__(
        self,
        statistics: TensorStatistics,
        activation: ActivationLike,
        *,
        c_min: str = "auto",
        rate_term: str = "entropy",
        centroid: bool = False,
    ) -> None:
        self.statistics = statistics
        self._activation = activation
        self._c_min = c_min
        self._rate_term = rate_term
        self._centroid = centroid
        self._samples = statistics.samples()
        self._data = MeasuredDistribution.from_statistics(statistics)
        self._ranges: dict[int, ClipRange] = {}

    def make(self, recipe: Recipe) -> Quantizer:
        """The quantiser of a recipe; its details hold mse, mse_centroid and entropy_bits."""
        clip = self._clip(recipe)
        if recipe.kind == "uniform":
            made = uniform_quantizer(recipe.levels, clip)
        else:
            train = ecsq_pinned_ends if recipe.kind == "ecsq" else ecsq_pinned_zero
            lam = recipe.weight * default_lambda(self.statistics, recipe.levels)
            made = train(
                self._samples, recipe.levels, clip, lam=lam, rate=self._rate_term, iterations=200
            ).quantizer
        seen = measure(made, self._data)
        details = {
            **made.details,
            "mse": seen.error,
            "mse_centroid": seen.error_centroid,
            "entropy_bits": seen.entropy,
            "measured_exactly": self._data.exact,
        }
        means = centroids(made, self._data)
        return replace(
            made,
            values=means if self._centroid else made.values,
            details=details,
            values_centroid=means,
        )

    def _clip(self, recipe: Recipe) -> ClipRange:
        base = self._base(recipe.levels)
        if base.rule == "fixed":
            return base  # features that do not vary
        from_zero = base.c_min == 0
        if recipe.clip == "model":
            return _scaled(base, recipe.scale, from_zero)
        low_share = 0.0 if from_zero else 100.0 - recipe.scale
        low, high = np.percentile(self._samples, [low_share, recipe.scale])
        low = 0.0 if from_zero else float(low)
        if not (math.isfinite(high) and high > low):
            return base  # nearly all features are one value
        return ClipRange(low, float(high), "percentile", {"percentile": recipe.scale})

    def _base(self, levels: int) -> ClipRange:
        if levels not in self._ranges:
            self._ranges[levels] = clip_range(
                self.statistics,
                "model",
                levels=levels,
                activation=self._activation,
                c_min=self._c_min,
            )
        return self._ranges[levels]


def _scaled(clip: ClipRange, factor: float, from_zero: bool) -> ClipRange:
    if factor == 1.0:
        return clip
    middle = 0.0 if from_zero else 0.5 * (clip.c_min + clip.c_max)
    low = middle + factor * (clip.c_min - middle)
    high = middle + factor * (clip.c_max - middle)
    return replace(clip, c_min=low, c_max=high, details={**clip.details, "factor": factor})
