"""Histograms with fine logarithmic buckets whose edges include the round ones that are shown."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["BITS", "SECONDS", "Scale"]

Counts = npt.NDArray[np.int64]


class Scale:
    """Bucket edges: ``marks``, and between two of them geometric steps of at most ``step``.

    Bucket i holds edges[i - 1] < value <= edges[i]; the last one what is above every edge. A
    percentile read from such counts is off by less than one step.

    >>> scale = Scale((1.0, 2.0, 4.0), 1.5)
    >>> [round(float(edge), 3) for edge in scale.edges]
    [1.0, 1.414, 2.0, 2.828, 4.0]
    """

    def __init__(self, marks: Sequence[float], step: float) -> None:
        edges = [marks[0]]
        at = [0]
        for low, high in itertools.pairwise(marks):
            parts = math.ceil(math.log(high / low) / math.log(step) - 1e-9)
            edges += [low * (high / low) ** (k / parts) for k in range(1, parts)] + [high]
            at.append(len(edges) - 1)
        self.marks = tuple(marks)
        self.edges: npt.NDArray[np.float64] = np.array(edges)
        self.buckets = len(edges) + 1
        self._at = np.array(at)

    def count(self, values: npt.ArrayLike) -> Counts:
        """How many of ``values`` lie in each bucket."""
        index = np.searchsorted(self.edges, np.asarray(values), side="left")
        return np.bincount(index, minlength=self.buckets)

    def at_most(self, counts: npt.NDArray[np.integer]) -> list[int]:
        """For every mark, and for infinity, how many values are not above it."""
        sums = np.cumsum(counts)
        return [*(int(n) for n in sums[self._at]), int(sums[-1])]

    def percentiles(
        self, counts: npt.NDArray[np.integer], shares: Sequence[float]
    ) -> npt.NDArray[np.float64]:
        """Values [..., shares] below which these shares of ``counts`` [..., buckets] lie.

        Inside a bucket values are taken as evenly spread; NaN where nothing was counted.
        """
        sums = np.cumsum(counts, axis=-1, dtype=np.float64)
        total = sums[..., -1:]
        low = np.concatenate(([0.0], self.edges))
        high = np.concatenate((self.edges, self.edges[-1:]))
        out = np.full((*counts.shape[:-1], len(shares)), np.nan)
        for k, share in enumerate(shares):
            rank = share * total
            index = np.argmax(sums >= rank, axis=-1)[..., np.newaxis]
            inside = np.take_along_axis(counts, index, -1).astype(np.float64)
            before = np.take_along_axis(sums, index, -1) - inside
            with np.errstate(invalid="ignore", divide="ignore"):
                part = np.where(inside > 0, (rank - before) / inside, np.nan)
            out[..., k] = (low[index] + part * (high[index] - low[index]))[..., 0]
        return out


#: Seconds, from 0.1 ms to 10 s; buckets 6 % wide.
SECONDS = Scale(
    (
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
        0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ),
    1.06,
)  # fmt: skip

#: Bits for each element of a tensor.
BITS = Scale((0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0), 1.06)
