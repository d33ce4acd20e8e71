"""The distributions of a near-lossless rung, trained on calibration levels (BITSTREAM.md, 13).

Every element belongs to a place: its channel, and the cell of its neighbourhood (what is up, left
and up-left of it in its channel). Both steps from neighbourhood to distribution are clusterings by
code length, Lloyd's algorithm with the divergence of Kullback and Leibler: neighbourhoods with like
statistics become one cell, places with like statistics share a distribution. Sizes are chosen on
tensors held out. The scheme and its training are Isthmus's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isthmus.profile import TensorSpec
from isthmus.trained import (
    ESCAPE,
    FREQUENCY_BITS,
    FREQUENCY_SUM,
    MAX_CELLS,
    MAX_ESCAPE,
    MAX_SYMBOLS,
    Trained,
)

__all__ = ["TrainedDesign", "train_distributions"]

Counts = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

#: Classes of a neighbour, and distributions, that are tried in turn.
_CLASSES = (8, 12, 16)
_DISTRIBUTIONS = (8, 16, 32, 64)
#: A larger choice has to save this part of the bits.
_WORTH = 0.005
#: Flash that the frequencies of a rung may take, bytes.
_FREQUENCY_BYTES = 16384
#: Elements that are trained on at most.
_TRAINED_ELEMENTS = 1 << 23
#: A level seen less often than this share of elements is sent as an escape.
_RARE = 2.0**-16
#: Observations that a more general estimate counts for.
_PRIOR = 8.0
_ROUNDS = 12


@dataclass(frozen=True)
class TrainedDesign:
    """The distributions, and bits per element of tensors held out."""

    trained: Trained
    bits: float


def train_distributions(
    tensor: TensorSpec,
    levels: int,
    zero: int,
    tensors: Sequence[npt.NDArray[np.uint8]],
    *,
    slice_rows: int = 0,
) -> TrainedDesign:
    """The distributions for N = ``levels``; ``zero`` is the level of a real zero.

    ``tensors`` are calibration tensors as levels, uint8, of the tensor's shape; two at least are
    needed to judge a choice by data held out (one serves as both). ``slice_rows`` is what slices
    are cut into: rows that begin one have nothing above them.
    """
    levels_of = _Levels(tensor, levels, zero, tensors, slice_rows)
    best: tuple[float, int, int] | None = None
    for classes in _CLASSES:
        for count, bits in levels_of.held_out(classes):
            if best is None or bits < best[0] * (1 - _WORTH):
                best = (bits, classes, count)
    assert best is not None  # there is always a smallest choice
    trained = levels_of.train(levels_of.all_tensors, best[1], (best[2],))
    return TrainedDesign(next(iter(trained)), best[0])


class _Levels:
    """Calibration levels as [n, rows, positions, channels], and what can be counted in them."""

    def __init__(
        self,
        tensor: TensorSpec,
        levels: int,
        zero: int,
        tensors: Sequence[npt.NDArray[np.uint8]],
        slice_rows: int,
    ) -> None:
        self.levels, self.zero = levels, zero
        self.channels = max(1, tensor.shape[-1] if tensor.elements else 1)
        keep = max(2, _TRAINED_ELEMENTS // max(1, tensor.elements))
        rows, row = max(1, tensor.rows), tensor.row_elements
        shape = (-1, rows, row // self.channels, self.channels)
        stacked = [np.asarray(one, np.uint8).reshape(-1) for one in tensors[:keep]]
        if not stacked or tensor.elements == 0:
            stacked, shape = [np.full(self.channels, zero, np.uint8)], (1, 1, 1, self.channels)
        self.values = np.stack(stacked).reshape(shape)
        self.fresh = np.arange(shape[1]) % (slice_rows or shape[1]) == 0
        self.all_tensors = np.arange(len(self.values))

    def held_out(self, classes: int) -> Iterator[tuple[int, float]]:
        """(distributions, bits per element of the other half) for each of _DISTRIBUTIONS."""
        ours, others = self.all_tensors[::2], self.all_tensors[1::2]
        others = others if len(others) else ours
        for trained in self.train(ours, classes, _DISTRIBUTIONS):
            rows = len(trained.frequencies)
            if rows > 1 and 2 * rows * (trained.symbol_count + 1) > _FREQUENCY_BYTES:
                return
            yield len(trained.frequencies), self.bits(trained, others)

    def train(self, chosen: Numbers, classes: int, counts: Sequence[int]) -> Iterator[Trained]:
        """Distributions from the ``chosen`` tensors, one result for each of ``counts`` that is
        new."""
        values = self.values[chosen]
        seen = np.bincount(values.reshape(-1), minlength=self.levels).astype(np.float64)
        class_of = _classes(seen, self.zero, classes)
        symbol_of = _symbols(seen)
        symbols = symbol_of[values]
        size = int(symbol_of.max()) + 1
        hoods = self.hoods(values, class_of)
        found = int(class_of.max()) + 1
        whole = _count(np.zeros_like(symbols), symbols, 1, size)[0] + 0.5 / size
        by_hood = _count(hoods, symbols, found**3, size)
        cells, of_cell = _cluster(by_hood, np.tile(whole / whole.sum(), (found**3, 1)), MAX_CELLS)
        sets = len(of_cell)
        places = np.arange(self.channels) * sets + cells[hoods]
        by_place = _count(places, symbols, self.channels * sets, size)
        parents = np.tile(of_cell, (self.channels, 1))
        done = 0
        for count in counts:
            choices, rows = _cluster(by_place, parents, count)
            if len(rows) == done:
                continue
            done = len(rows)
            yield Trained(
                channels=self.channels,
                classes=bytes([*class_of.tolist(), int(class_of[self.zero])]),
                cells=bytes(cells.tolist()),
                choices=bytes(choices.tolist()),
                symbols=bytes(symbol_of.tolist()),
                frequencies=tuple(_frequencies(row) for row in rows),
            )

    def hoods(self, values: npt.NDArray[np.uint8], class_of: Numbers) -> Numbers:
        """The neighbourhood of each element: its classes up, left and up-left, as one number."""
        count = int(class_of.max()) + 1
        own = class_of[values]
        padded = np.full(
            (own.shape[0], own.shape[1] + 1, own.shape[2] + 1, own.shape[3]), class_of[self.zero]
        )
        padded[:, 1:, 1:] = own
        up, up_left = padded[:, :-1, 1:].copy(), padded[:, :-1, :-1].copy()
        up[:, self.fresh] = up_left[:, self.fresh] = class_of[self.zero]
        out: Numbers = (up * count + padded[:, 1:, :-1]) * count + up_left
        return out

    def bits(self, trained: Trained, chosen: Numbers) -> float:
        """Bits per element of the ``chosen`` tensors."""
        values = self.values[chosen]
        class_of = np.frombuffer(trained.classes, np.uint8)[:-1].astype(np.int64)
        cells = np.frombuffer(trained.cells, np.uint8)[self.hoods(values, class_of)]
        choices = np.frombuffer(trained.choices, np.uint8).reshape(self.channels, -1)
        cost = FREQUENCY_BITS - np.log2(np.asarray(trained.frequencies, np.float64))
        cost[:, ESCAPE] += trained.level_bits
        symbols = np.frombuffer(trained.symbols, np.uint8)[values]
        rows = choices[np.arange(self.channels), cells]
        return float(cost[rows, symbols].mean())


def _classes(seen: Counts, zero: int, count: int) -> Numbers:
    """int64 [N]: the class of each level, of at most ``count``, numbered upwards.

    Classes are runs of levels, each about equally often seen; a zero that is seen more often than a
    class would be has one for itself.
    """
    if seen[zero] * count < seen.sum():
        return _numbered(_quantiles(seen, count))
    low, high = seen[:zero], seen[zero + 1 :]
    share = float(low.sum()) / max(1.0, float(low.sum() + high.sum()))
    parts = min(max(round((count - 1) * share), 1 if len(low) else 0), count - 2)
    below, above = _quantiles(low, parts), _quantiles(high, count - 1 - parts)
    return _numbered(np.concatenate([below, [count], count + 1 + above]))


def _quantiles(seen: Counts, parts: int) -> Numbers:
    """int64 of the shape of ``seen``: 0 .. parts - 1, rising, each about equally often seen."""
    middle = np.cumsum(seen) - seen / 2
    total = max(float(seen.sum()), 1e-12)
    return np.minimum((middle / total * parts).astype(np.int64), max(0, parts - 1))


def _numbered(found: Numbers) -> Numbers:
    """The same with every number from 0 to the largest in use."""
    return np.unique(found, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _symbols(seen: Counts) -> Numbers:
    """int64 [N]: a symbol from 1 on for each level that is not rare, the escape for the rest."""
    often = seen >= max(1.0, _RARE * float(seen.sum()))
    if not often.any():
        often[int(seen.argmax())] = True
    ranked = np.argsort(-seen, kind="stable")
    often[ranked[MAX_SYMBOLS - 1 :]] = False
    out = np.full(len(seen), ESCAPE, np.int64)
    out[often] = np.arange(1, int(often.sum()) + 1)
    return out


def _count(rows: Numbers, columns: Numbers, height: int, width: int) -> Counts:
    """How often each pair occurs, [height, width]."""
    flat = (rows * width + columns).reshape(-1)
    return np.bincount(flat, minlength=height * width).reshape(height, width).astype(np.float64)


def _cluster(seen: Counts, parents: Counts, count: int) -> tuple[Numbers, Counts]:
    """Rows of counts in at most ``count`` clusters: (cluster of each row, distributions).

    A row that was seldom seen goes by its parent, which counts for _PRIOR observations.
    """
    mixed = seen + _PRIOR * parents
    total = mixed.sum(1)
    own = mixed / total[:, None]
    # begin with rows of like mean symbol together, equally many observations in each cluster
    order = np.argsort((own * np.arange(own.shape[1])).sum(1), kind="stable")
    reached = np.cumsum(total[order]) - total[order] / 2
    cluster = np.empty(len(mixed), np.int64)
    cluster[order] = np.minimum((reached / total.sum() * count).astype(np.int64), count - 1)
    entropy = (mixed * np.log2(own + 1e-30)).sum(1)
    for _ in range(_ROUNDS):
        cost = -(mixed @ np.log2(_means(mixed, cluster, count)).T)
        found = cost.argmin(1)
        _fill_empty(found, cost[np.arange(len(found)), found] + entropy, count)
        if (found == cluster).all():
            break
        cluster = found
    used, cluster = np.unique(cluster, return_inverse=True)
    cluster = cluster.reshape(-1).astype(np.int64)
    return cluster, _means(mixed, cluster, len(used))


def _means(mixed: Counts, cluster: Numbers, count: int) -> Counts:
    """The distribution of each cluster, nowhere zero."""
    summed = np.zeros((count, mixed.shape[1]))
    np.add.at(summed, cluster, mixed)
    summed += 1e-4 * np.maximum(1.0, summed.sum(1, keepdims=True)) / FREQUENCY_SUM
    out: Counts = summed / summed.sum(1, keepdims=True)
    return out


def _fill_empty(cluster: Numbers, excess: Counts, count: int) -> None:
    """Gives every empty cluster the row that its own suits least."""
    excess = excess.copy()
    for empty in np.flatnonzero(np.bincount(cluster, minlength=count) == 0):
        worst = int(excess.argmax())
        if excess[worst] <= 0.0:
            return
        cluster[worst] = empty
        excess[worst] = 0.0


def _frequencies(row: Counts) -> tuple[int, ...]:
    """Integers of sum 2^16 - 1, each 1 or more; what rounding leaves goes to the most frequent."""
    out = np.maximum(1, np.floor(row * (FREQUENCY_SUM - len(row)))).astype(np.int64)
    out[ESCAPE] = min(int(out[ESCAPE]), MAX_ESCAPE)
    out[1 + int(out[1:].argmax())] += FREQUENCY_SUM - int(out.sum())
    return tuple(out.tolist())
