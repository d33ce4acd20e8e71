"""A measured distribution whose quantisation error can be asked for cheaply.

Values are sorted once and summed once; the count, sum and sum of squares of any cell are then two
look-ups, so one candidate quantiser of N levels costs N binary searches, not a pass over the data.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.errors import DataEmptyError, DataNotFiniteError
from isthmus_gen.calibrate.statistics import TensorStatistics

__all__ = ["CellSums", "MeasuredDistribution"]

CellSums = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


class MeasuredDistribution:
    """Points in ascending order, each with a number of values, their sum and sum of squares.

    Made by :meth:`from_samples` (every value is its own point) or :meth:`from_statistics`.
    ``exact`` says whether every value seen is represented by itself.
    """

    def __init__(
        self,
        points: NDArray[np.float64],
        counts: NDArray[np.float64],
        sums: NDArray[np.float64],
        squares: NDArray[np.float64],
        *,
        exact: bool,
    ) -> None:
        if points.size == 0:
            raise DataEmptyError("samples", "no value was given", remedy="give at least one")
        if not np.isfinite(points).all():
            raise DataNotFiniteError("samples", "NaN or infinity", allowed="finite values")
        self.points = points
        self.exact = exact
        self._counts = _prefix(counts)
        self._sums = _prefix(sums)
        self._squares = _prefix(squares)
        self.count = float(counts.sum())

    @classmethod
    def from_samples(cls, samples: ArrayLike, *, exact: bool = True) -> MeasuredDistribution:
        """Of real numbers of any shape. Raises DataEmptyError or DataNotFiniteError."""
        points = np.sort(np.asarray(samples, np.float64).reshape(-1))
        return cls(points, np.ones_like(points), points, points * points, exact=exact)

    @classmethod
    def from_statistics(cls, statistics: TensorStatistics) -> MeasuredDistribution:
        """Of all values seen: each by itself while they fit the reservoir, else by bins.

        A bin's values are kept together, at their mean; their count, sum and sum of squares are
        exact, so the error is exact but for the one bin per threshold that the threshold cuts.
        """
        statistics.require_data()
        samples = statistics.samples()
        if samples.size == statistics.count:
            return cls.from_samples(samples)
        counts, _ = statistics.histogram
        sums, squares = statistics.histogram_sums
        some = counts > 0
        number = counts[some].astype(np.float64)
        points = np.maximum.accumulate(sums[some] / number)
        return cls(points, number, sums[some], squares[some], exact=False)

    @property
    def minimum(self) -> float:
        """Smallest point."""
        return float(self.points[0])

    @property
    def maximum(self) -> float:
        """Largest point."""
        return float(self.points[-1])

    def cells(self, thresholds: NDArray[np.float64]) -> CellSums:
        """Count, sum and sum of squares in each cell, float64 [..., N] for thresholds [..., N-1].

        A point on a threshold belongs to the upper cell.
        """
        place = np.searchsorted(self.points, thresholds, side="left")
        ends = np.zeros((*thresholds.shape[:-1], 1), place.dtype)
        place = np.concatenate([ends, place, ends + self.points.size], axis=-1)
        return (
            _difference(self._counts, place),
            _difference(self._sums, place),
            _difference(self._squares, place),
        )

    def error(
        self, thresholds: NDArray[np.float64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Mean squared error of quantisers, float64 [...]: thresholds [..., N-1], values [..., N].

        Values beyond the outer thresholds are compared with the end values, so the error of
        clipping is in it.
        """
        count, first, second = self.cells(thresholds)
        return _squared_error(count, first, second, values) / self.count


def _squared_error(
    count: NDArray[np.float64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    values: NDArray[np.float64],
) -> NDArray[np.float64]:
    total: NDArray[np.float64] = (second - 2 * values * first + values**2 * count).sum(axis=-1)
    return np.maximum(total, 0.0)


def _prefix(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running sums as two float64 rows [2, n + 1] whose differences lose nothing to the total.

    Each term is split on a grid coarse enough that the running sum of the upper parts is exact;
    the lower parts are too small for their rounding to matter. Without this, a narrow cell far
    from zero would inherit the rounding of the sum of everything before it.
    """
    largest = float(np.abs(terms).max())
    exponent = math.frexp(largest)[1] + int(terms.size).bit_length() - 52
    grid = math.ldexp(1.0, max(exponent, -1000))
    upper = np.round(terms / grid) * grid
    prefix = np.zeros((2, terms.size + 1), np.float64)
    np.cumsum(upper, out=prefix[0, 1:])
    np.cumsum(terms - upper, out=prefix[1, 1:])
    return prefix


def _difference(prefix: NDArray[np.float64], place: NDArray[np.intp]) -> NDArray[np.float64]:
    upper, lower = prefix[0][place], prefix[1][place]
    result: NDArray[np.float64] = np.diff(upper, axis=-1) + np.diff(lower, axis=-1)
    return result
