"""Bounded accumulators behind :class:`isthmus_gen.calibrate.statistics.TensorStatistics`.

Each of them holds a fixed number of bytes whatever is fed to it, is deterministic, and can be
merged with another of its kind. Counts, bins and the drawn sample do not depend on the order in
which values arrive or on how they are split over accumulators; sums of floats do, in their last
bits.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["ChannelMoments", "DyadicHistogram", "Reservoir", "mix64"]

_MASK64 = (1 << 64) - 1
# Bins never get finer than float32's smallest step, nor finer than 2**-40 of the largest value:
# the first keeps the scale factor finite, the second keeps every bin index exact in float64.
_EXPONENT_FLOOR = -149
_INDEX_BITS = 40


class ChannelMoments:
    """Count, mean, sum of squared deviations, extremes and plain sums of C channels.

    Batches are reduced in float64 around their own mean and joined by Chan's formula, so a mean
    far from zero costs no digits. Every channel has the same count.
    """

    def __init__(self, channels: int) -> None:
        self.rows = 0
        self.mean = np.zeros(channels, np.float64)
        self.deviation = np.zeros(channels, np.float64)
        self.total = np.zeros(channels, np.float64)
        self.total_square = np.zeros(channels, np.float64)
        self.minimum = np.full(channels, np.inf, np.float64)
        self.maximum = np.full(channels, -np.inf, np.float64)

    def update(self, rows: NDArray[np.float64]) -> None:
        """Add a block of float64 [rows, C]; the block must not be empty."""
        mean = rows.mean(axis=0)
        centred = rows - mean
        self._join(rows.shape[0], mean, np.einsum("ij,ij->j", centred, centred))
        self.total += rows.sum(axis=0)
        self.total_square += np.einsum("ij,ij->j", rows, rows)
        np.minimum(self.minimum, rows.min(axis=0), out=self.minimum)
        np.maximum(self.maximum, rows.max(axis=0), out=self.maximum)

    def merge(self, other: ChannelMoments) -> None:
        """Add everything ``other`` has seen."""
        if other.rows == 0:
            return
        self._join(other.rows, other.mean, other.deviation)
        self.total += other.total
        self.total_square += other.total_square
        np.minimum(self.minimum, other.minimum, out=self.minimum)
        np.maximum(self.maximum, other.maximum, out=self.maximum)

    def _join(self, rows: int, mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> None:
        joined = self.rows + rows
        delta = mean - self.mean
        self.mean = self.mean + delta * (rows / joined)
        self.deviation = self.deviation + deviation + delta**2 * (self.rows * rows / joined)
        self.rows = joined

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return 6 * self.mean.nbytes


class DyadicHistogram:
    """Counts of ``groups`` value streams over at most ``bins`` bins of width 2**exponent.

    Bin i covers [(base + i) * width, (base + i + 1) * width). Edges are multiples of a power of
    two, so a wider range is reached by adding neighbouring bins, exactly. The exponent is the
    smallest one for which the values seen fit, and base is the bin of the smallest value: both
    depend on the extremes alone, not on the order of arrival.

    With ``moments`` each bin also keeps the sum of its values and of their squares.
    """

    def __init__(self, bins: int, groups: int = 1, *, moments: bool = False) -> None:
        self.bins = bins
        self.groups = groups
        self.exponent = _EXPONENT_FLOOR
        self.base = 0
        self.minimum = math.inf
        self.maximum = -math.inf
        self.counts = np.zeros((groups, bins), np.int64)
        self.sums = np.zeros((groups, bins if moments else 0), np.float64)
        self.squares = np.zeros((groups, bins if moments else 0), np.float64)

    @property
    def width(self) -> float:
        """Width of a bin, in units of the values."""
        return math.ldexp(1.0, self.exponent)

    @property
    def edges(self) -> NDArray[np.float64]:
        """The bins + 1 edges, float64."""
        return (self.base + np.arange(self.bins + 1)).astype(np.float64) * self.width

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.counts.nbytes + self.sums.nbytes + self.squares.nbytes

    def update(self, rows: NDArray[np.float64]) -> None:
        """Add float64 [rows, groups]; the block must not be empty."""
        self._cover(float(rows.min()), float(rows.max()))
        index = np.floor(rows * math.ldexp(1.0, -self.exponent)).astype(np.int64)
        index -= self.base
        if self.groups > 1:
            index += np.arange(self.groups, dtype=np.int64) * self.bins
        flat = index.reshape(-1)
        size = self.groups * self.bins
        shape = self.counts.shape
        self.counts += np.bincount(flat, minlength=size).reshape(shape)
        if self.sums.size:
            values = rows.reshape(-1)
            self.sums += np.bincount(flat, values, size).reshape(shape)
            self.squares += np.bincount(flat, values * values, size).reshape(shape)

    def merge(self, other: DyadicHistogram) -> None:
        """Add everything ``other`` has seen; both have the same bins and groups."""
        if other.minimum > other.maximum:
            return
        self._cover(other.minimum, other.maximum)
        place = self._place(other)
        np.add.at(self.counts.T, place, other.counts.T)
        if self.sums.size:
            np.add.at(self.sums.T, place, other.sums.T)
            np.add.at(self.squares.T, place, other.squares.T)

    def _place(self, other: DyadicHistogram) -> NDArray[np.int64]:
        """Which of these bins each bin of the finer ``other`` falls into."""
        there = other.base + np.arange(other.bins, dtype=np.int64)
        place: NDArray[np.int64] = (there >> (self.exponent - other.exponent)) - self.base
        # Bins of `other` beyond its own extremes are empty, and may lie outside: any place will do.
        return np.clip(place, 0, self.bins - 1).astype(np.int64)

    def _cover(self, low: float, high: float) -> None:
        """Widen the range, if need be, so that it holds low..high."""
        if low >= self.minimum and high <= self.maximum:
            return
        old = DyadicHistogram.__new__(DyadicHistogram)
        old.__dict__.update(self.__dict__)
        self.minimum, self.maximum = min(low, old.minimum), max(high, old.maximum)
        self.exponent = self._exponent_for(self.minimum, self.maximum)
        self.base = math.floor(math.ldexp(self.minimum, -self.exponent))
        if old.minimum > old.maximum:
            return
        if (self.exponent, self.base) == (old.exponent, old.base):
            return
        self.counts = np.zeros_like(old.counts)
        self.sums = np.zeros_like(old.sums)
        self.squares = np.zeros_like(old.squares)
        place = self._place(old)
        np.add.at(self.counts.T, place, old.counts.T)
        if self.sums.size:
            np.add.at(self.sums.T, place, old.sums.T)
            np.add.at(self.squares.T, place, old.squares.T)

    def _exponent_for(self, low: float, high: float) -> int:
        """The smallest exponent for which low..high fits the bins."""
        largest = max(abs(low), abs(high))
        exponent = max(_EXPONENT_FLOOR, math.frexp(largest)[1] - _INDEX_BITS)
        if high > low:
            exponent = max(exponent, math.frexp(high - low)[1] - 1 - self.bins.bit_length())
        while (
            math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent))
            >= self.bins
        ):
            exponent += 1
        return exponent


class Reservoir:
    """A uniform sample, without replacement, of at most ``capacity`` values of a stream.

    Value number i of the stream has the key mix64(seed, i), a fixed permutation of the 64-bit
    integers; the values with the smallest keys are kept. Parts of one stream, each told where it
    starts, therefore merge to the very sample that one pass would have drawn.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self.capacity = capacity
        self.seed = seed
        self._keys = np.zeros(0, np.uint64)
        self._values = np.zeros(0, np.float32)
        self._pending: list[tuple[NDArray[np.uint64], NDArray[np.float32]]] = []
        self._pending_size = 0

    def update(self, values: NDArray[np.float32], first: int) -> None:
        """Offer float32 [n], the values number first .. first + n - 1 of the stream."""
        for start in range(0, values.size, self.capacity):
            part = values[start : start + self.capacity]
            keys = mix64(self.seed, first + start, part.size)
            if self._keys.size == self.capacity:
                chosen = keys < self._keys[-1]
                keys, part = keys[chosen], part[chosen]
            self._append(keys, part)

    def merge(self, other: Reservoir) -> None:
        """Add the sample of another part of the same stream (same seed and capacity)."""
        other._compact()
        self._append(other._keys, other._values)

    @property
    def values(self) -> NDArray[np.float32]:
        """The sample, float32, in the order of its keys (so in random, but fixed, order)."""
        self._compact()
        return self._values

    @property
    def nbytes(self) -> int:
        """Bytes held, at most 24 times the capacity."""
        return 12 * (self._keys.size + self._pending_size)

    def _append(self, keys: NDArray[np.uint64], values: NDArray[np.float32]) -> None:
        if keys.size == 0:
            return
        if self._pending_size + keys.size > self.capacity:
            self._compact()
        self._pending.append((keys.copy(), values.copy()))
        self._pending_size += keys.size
        if self._pending_size >= self.capacity // 2:
            self._compact()

    def _compact(self) -> None:
        if not self._pending:
            return
        keys = np.concatenate([self._keys, *(pair[0] for pair in self._pending)])
        values = np.concatenate([self._values, *(pair[1] for pair in self._pending)])
        order = np.argsort(keys, kind="stable")[: self.capacity]
        self._keys, self._values = keys[order], values[order]
        self._pending, self._pending_size = [], 0


def mix64(seed: int, first: int, count: int) -> NDArray[np.uint64]:
    """uint64 [count]: splitmix64's outputs number first .. first + count - 1 for a seed.

    For one seed the map from number to output is a bijection, so keys never collide (Steele, Lea,
    Flood, "Fast splittable pseudorandom number generators", 2014).
    """
    golden = 0x9E3779B97F4A7C15
    # The seed goes through the mixer first, so that seeds 0 and 1 do not give shifted streams.
    offset = (_finish(seed * 0xD1342543DE82EF95 & _MASK64) + (first + 1) * golden) & _MASK64
    z = np.arange(count, dtype=np.uint64) * np.uint64(golden)
    z += np.uint64(offset)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def _finish(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK64
    return z ^ (z >> 31)
