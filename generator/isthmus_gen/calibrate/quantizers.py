"""Clip ranges, scalar quantisers and what they cost on measured values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.errors import OptionError
from isthmus_gen.calibrate.distribution import MeasuredDistribution

__all__ = [
    "ABOVE_ALL",
    "ClipRange",
    "Detail",
    "Measure",
    "Quantizer",
    "centroids",
    "measure",
    "uniform_quantizer",
]

Detail = str | int | float | bool | list[float]
"""What a details mapping holds; JSON can hold it too."""

ABOVE_ALL = math.ldexp(1.0, 128)
"""A threshold that no finite float32 reaches; its negative is one that all of them reach."""


@dataclass(frozen=True)
class ClipRange:
    """A clip range in units of the features, the rule that gave it, and how it came about.

    ``details["fallback"]`` is there when another rule than the one asked for had to be used.
    """

    c_min: float
    c_max: float
    rule: str
    details: Mapping[str, Detail] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not (math.isfinite(self.c_min) and math.isfinite(self.c_max)):
            raise OptionError("clip", f"{self.c_min} to {self.c_max}", allowed="finite ends")
        if not self.c_min < self.c_max:
            raise OptionError("clip", f"{self.c_min} to {self.c_max}", allowed="c_min < c_max")


@dataclass(frozen=True)
class Quantizer:
    """A scalar quantiser: ``levels`` cells parted by thresholds, each with its value.

    ``thresholds`` float64 [levels - 1] never fall; equal ones make empty cells. ``values`` float64
    [levels] are what the quantiser was made with; ``values_centroid``, where present, are the means
    of the calibration values of each cell, a better reconstruction at no cost in bits.

    level(x) is the number of thresholds <= x: a value on a threshold belongs to the upper cell.
    """

    levels: int
    thresholds: NDArray[np.float64]
    values: NDArray[np.float64]
    clip: ClipRange
    kind: str
    details: Mapping[str, Detail] = field(default_factory=lambda: MappingProxyType({}))
    values_centroid: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        check_levels(self.levels)
        rows = [("thresholds", self.thresholds, self.levels - 1), ("values", self.values, -1)]
        if self.values_centroid is not None:
            rows.append(("values_centroid", self.values_centroid, -1))
        for name, array, size in rows:
            expected = self.levels if size < 0 else size
            if array.shape != (expected,) or array.dtype != np.float64:
                raise OptionError(
                    f"quantizer.{name}",
                    f"{array.dtype}{list(array.shape)}",
                    allowed=f"float64[{expected}]",
                )
            if not np.isfinite(array).all() or (np.diff(array) < 0).any():
                raise OptionError(
                    f"quantizer.{name}", "not a finite rising row", allowed="finite, never falling"
                )

    def level(self, x: ArrayLike) -> NDArray[np.int64]:
        """Levels of x, int64 of x's shape. NaN counts as above every threshold."""
        return np.searchsorted(self.thresholds, np.asarray(x, np.float64), side="right").astype(
            np.int64
        )

    def reconstruct(self, levels: ArrayLike, *, centroid: bool = False) -> NDArray[np.float64]:
        """Values of the given levels, float64; from ``values_centroid`` where asked and present."""
        table = self.values
        if centroid and self.values_centroid is not None:
            table = self.values_centroid
        return table[np.asarray(levels, np.int64)]


@dataclass(frozen=True)
class Measure:
    """What a quantiser does to measured values.

    ``error`` is the mean squared error with ``values``, ``error_centroid`` with the cells' means;
    ``entropy`` the order-0 entropy of the levels in bit per element.
    """

    counts: NDArray[np.int64]
    error: float
    error_centroid: float
    entropy: float


def check_levels(levels: int) -> None:
    """Raise OptionError unless 2 <= levels <= 256."""
    if not 2 <= levels <= 256:
        raise OptionError("levels", f"{levels}", allowed="2..256")


def uniform_quantizer(levels: int, clip: ClipRange) -> Quantizer:
    """q = floor((x_c - c_min)/D + 0.5), y = c_min + q*D with D = (c_max - c_min)/(levels - 1).

    Thresholds are c_min + (n - 1/2) D, n = 1 .. levels - 1; both clip ends are values, so with
    c_min = 0 a zero stays a zero.
    """
    check_levels(levels)
    step = (clip.c_max - clip.c_min) / (levels - 1)
    values = clip.c_min + np.arange(levels, dtype=np.float64) * step
    values[-1] = clip.c_max
    thresholds = clip.c_min + (np.arange(1, levels, dtype=np.float64) - 0.5) * step
    return Quantizer(levels, thresholds, values, clip, "uniform")


def centroids(quantizer: Quantizer, distribution: MeasuredDistribution) -> NDArray[np.float64]:
    """Means of the values in each cell, float64 [levels]; an empty cell keeps its value.

    A kept value is moved, if need be, between its neighbours, so that the row never falls.
    """
    count, first, _ = distribution.cells(quantizer.thresholds)
    means = quantizer.values.copy()
    used = count > 0
    means[used] = first[used] / count[used]
    return ordered(means, used)


def ordered(values: NDArray[np.float64], used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """``values`` with those not ``used`` moved between their used neighbours where they are not."""
    floor = np.maximum.accumulate(np.where(used, values, -np.inf))
    ceiling = np.minimum.accumulate(np.where(used, values, np.inf)[::-1])[::-1]
    moved = np.clip(values, floor, np.maximum(floor, ceiling))
    result: NDArray[np.float64] = np.maximum.accumulate(np.where(used, values, moved))
    return result


def measure(quantizer: Quantizer, distribution: MeasuredDistribution) -> Measure:
    """Counts, errors and entropy of a quantiser on measured values."""
    count, first, second = distribution.cells(quantizer.thresholds)
    refined = centroids(quantizer, distribution)
    share = count[count > 0] / distribution.count

    def error(values: NDArray[np.float64]) -> float:
        total = (second - 2 * values * first + values**2 * count).sum()
        return max(float(total), 0.0) / distribution.count

    return Measure(
        counts=np.rint(count).astype(np.int64),
        error=error(quantizer.values),
        error_centroid=error(refined),
        entropy=max(0.0, -float((share * np.log2(share)).sum())),
    )
