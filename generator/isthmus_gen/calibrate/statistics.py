"""Streaming statistics of a feature tensor in bounded memory.

The calibration set may be of any length: nothing here grows with it. Bytes held by one
:class:`TensorStatistics` are at most :meth:`TensorStatistics.memory_bound`, and one call of
``update`` works on blocks of at most ``BLOCK`` elements (or one row of channels, where that is
more) besides the batch it is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.errors import (
    DataDtypeError,
    DataEmptyError,
    DataNotFiniteError,
    DataShapeError,
    OptionError,
)
from isthmus_gen.calibrate.accumulators import ChannelMoments, DyadicHistogram, Reservoir

__all__ = ["BLOCK", "HISTOGRAM_BINS", "RESERVOIR_CAPACITY", "TensorStatistics"]

BLOCK = 1 << 17
HISTOGRAM_BINS = 1 << 14
RESERVOIR_CAPACITY = 1 << 18
_CHANNEL_BINS = 256
_CHANNEL_CELLS = 1 << 19


class TensorStatistics:
    """Statistics of a feature tensor over any number of inputs.

    ``shape`` is the tensor's shape without the batch dimension, rank 1 to 4; the last axis counts
    as channels. ``seed`` and ``reservoir`` fix the sample that is drawn. ``first_input`` is the
    number of the first input this object will see: parts of one calibration set that are told
    their true start merge to the same counts, extremes, histogram and sample as a single pass.
    ``name`` heads the paths of errors.

    Values are taken as float32, the type of a feature tensor outside the integer line.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        seed: int = 0,
        reservoir: int = RESERVOIR_CAPACITY,
        first_input: int = 0,
        name: str = "calibration",
    ) -> None:
        self.shape = tuple(int(size) for size in shape)
        self.name = name
        if not 1 <= len(self.shape) <= 4 or min(self.shape) < 1:
            raise DataShapeError(
                f"{name}.shape", f"{self.shape}", allowed="one to four axes, none of length 0"
            )
        if reservoir < 1:
            raise OptionError(f"{name}.reservoir", f"{reservoir}", allowed="1 or more")
        if first_input < 0:
            raise OptionError(f"{name}.first_input", f"{first_input}", allowed="0 or more")
        self.elements = math.prod(self.shape)
        self.channels = self.shape[-1]
        self.first_input = first_input
        self.inputs = 0
        self._moments = ChannelMoments(self.channels)
        self._histogram = DyadicHistogram(HISTOGRAM_BINS, moments=True)
        self._channel_histogram = DyadicHistogram(_channel_bins(self.channels), self.channels)
        self._reservoir = Reservoir(reservoir, seed)

    # -- feeding -------------------------------------------------------------------------------

    def update(self, batch: ArrayLike) -> None:
        """Add a batch, real numbers [n, *shape]; n may be 0.

        Raises DataShapeError, DataDtypeError, or DataNotFiniteError naming the first input and
        element that is NaN, infinite or beyond float32. After an error nothing has been added.
        """
        array = np.asarray(batch)
        if array.dtype.kind not in "fiub":
            raise DataDtypeError(self.name, f"dtype {array.dtype}", allowed="real numbers")
        if array.shape[1:] != self.shape or array.ndim != len(self.shape) + 1:
            raise DataShapeError(
                self.name, f"a batch of shape {array.shape}", allowed=f"[n, {self._shape_text()}]"
            )
        rows = array.reshape(-1, self.channels)
        for start, block in _blocks(rows):
            if not np.isfinite(block).all():
                self._refuse(
                    start * self.channels + int(np.argmin(np.isfinite(block).ravel())), block
                )
        first = (self.first_input + self.inputs) * self.elements
        for start, block in _blocks(rows):
            wide = block.astype(np.float64)
            self._moments.update(wide)
            self._histogram.update(wide.reshape(-1, 1))
            self._channel_histogram.update(wide)
            self._reservoir.update(block.reshape(-1), first + start * self.channels)
        self.inputs += array.shape[0]

    def merge(self, other: TensorStatistics) -> TensorStatistics:
        """Add everything ``other`` has seen and return this object; ``other`` stays usable.

        Both must have the same shape, seed and reservoir size (OptionError otherwise).
        """
        mine = (self.shape, self._reservoir.seed, self._reservoir.capacity)
        theirs = (other.shape, other._reservoir.seed, other._reservoir.capacity)
        if mine != theirs:
            raise OptionError(
                f"{self.name}.merge",
                f"shape, seed, reservoir = {theirs}",
                allowed=f"{mine}",
                remedy="make both statistics with the same arguments",
            )
        self._moments.merge(other._moments)
        self._histogram.merge(other._histogram)
        self._channel_histogram.merge(other._channel_histogram)
        self._reservoir.merge(other._reservoir)
        self.first_input = min(self.first_input, other.first_input)
        self.inputs += other.inputs
        return self

    # -- per tensor ----------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Number of values seen."""
        return self._moments.rows * self.channels

    @property
    def mean(self) -> float:
        """Mean of all values. Raises DataEmptyError before the first."""
        self.require_data()
        return float(self._moments.mean.mean())

    @property
    def variance(self) -> float:
        """Variance of all values (divisor: their number)."""
        self.require_data()
        spread = self._moments.mean - self._moments.mean.mean()
        within = float(self._moments.deviation.sum()) / self.count
        return within + float((spread**2).mean())

    @property
    def minimum(self) -> float:
        """Smallest value."""
        self.require_data()
        return float(self._moments.minimum.min())

    @property
    def maximum(self) -> float:
        """Largest value."""
        self.require_data()
        return float(self._moments.maximum.max())

    @property
    def total(self) -> float:
        """Sum of the values."""
        return float(self._moments.total.sum())

    @property
    def total_square(self) -> float:
        """Sum of the squared values."""
        return float(self._moments.total_square.sum())

    @property
    def mean_absolute_deviation(self) -> float:
        """E|Y - E[Y]| over all values, from the histogram's counts and sums.

        Exact but for the values that share a bin with the mean; these are short by at most one
        bin's width each (:attr:`histogram_width`, at most 2**-12 of the range).
        """
        mean = self.mean
        counts, sums = self._histogram.counts[0], self._histogram.sums[0]
        return float(np.abs(sums - mean * counts).sum()) / self.count

    @property
    def histogram(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Counts int64 [bins] and edges float64 [bins + 1] (edges are multiples of the width)."""
        return self._histogram.counts[0], self._histogram.edges

    @property
    def histogram_sums(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sum of the values and of their squares in each bin, float64 [bins] each."""
        return self._histogram.sums[0], self._histogram.squares[0]

    @property
    def histogram_width(self) -> float:
        """Width of a histogram bin, a power of two."""
        return self._histogram.width

    def samples(self) -> NDArray[np.float32]:
        """A uniform sample of the values, float32; all of them while they fit the reservoir."""
        return self._reservoir.values

    # -- per channel ---------------------------------------------------------------------------

    @property
    def channel_count(self) -> int:
        """Number of values seen in each channel."""
        return self._moments.rows

    @property
    def channel_mean(self) -> NDArray[np.float64]:
        """Mean of each channel, float64 [channels]."""
        self.require_data()
        return self._moments.mean.copy()

    @property
    def channel_variance(self) -> NDArray[np.float64]:
        """Variance of each channel, float64 [channels]."""
        self.require_data()
        return self._moments.deviation / self._moments.rows

    @property
    def channel_minimum(self) -> NDArray[np.float64]:
        """Smallest value of each channel, float64 [channels]."""
        self.require_data()
        return self._moments.minimum.copy()

    @property
    def channel_maximum(self) -> NDArray[np.float64]:
        """Largest value of each channel, float64 [channels]."""
        self.require_data()
        return self._moments.maximum.copy()

    @property
    def channel_histogram(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Counts int64 [channels, bins] and the common edges float64 [bins + 1]."""
        return self._channel_histogram.counts, self._channel_histogram.edges

    # -- memory --------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Bytes held in arrays now."""
        parts = (self._moments, self._histogram, self._channel_histogram, self._reservoir)
        return sum(part.nbytes for part in parts)

    def memory_bound(self) -> int:
        """Bytes that :attr:`nbytes` never exceeds, however many inputs are seen."""
        return (
            6 * 8 * self.channels
            + 3 * 8 * HISTOGRAM_BINS
            + 8 * self.channels * _channel_bins(self.channels)
            + 2 * 12 * self._reservoir.capacity
        )

    def require_data(self) -> None:
        """Raise DataEmptyError unless at least one value was seen."""
        if self._moments.rows == 0:
            raise DataEmptyError(
                self.name, "no value was seen", remedy="give at least one calibration input"
            )

    def _shape_text(self) -> str:
        return ", ".join(str(size) for size in self.shape)

    def _refuse(self, flat: int, block: NDArray[np.float32]) -> None:
        finite = np.isfinite(block).ravel()
        value = block.ravel()[int(np.argmin(finite))]
        element = ", ".join(str(i) for i in np.unravel_index(flat % self.elements, self.shape))
        number = self.first_input + self.inputs + flat // self.elements
        raise DataNotFiniteError(
            f"{self.name}[{number}][{element}]",
            f"the feature is {value}",
            allowed="finite float32 values",
            remedy="check the calibration data and the model's preprocessing",
        )


def _channel_bins(channels: int) -> int:
    """Bins of each channel's histogram: 256, fewer where that would take more than 4 MiB."""
    bins = _CHANNEL_BINS
    while bins > 8 and bins * channels > _CHANNEL_CELLS:
        bins //= 2
    return bins


def _blocks(rows: NDArray[np.generic]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Successive (first row, float32 [r, C]) blocks of at most BLOCK elements or one row."""
    step = max(1, BLOCK // rows.shape[1])
    for start in range(0, rows.shape[0], step):
        with np.errstate(over="ignore"):
            # What float32 cannot hold becomes infinite here and is refused as such.
            yield start, rows[start : start + step].astype(np.float32)
