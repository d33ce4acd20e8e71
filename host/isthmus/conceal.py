"""Concealment: elements that did not arrive, filled from those that did.

A tensor is seen as rows x positions x channels: the first axis, the axes between, the last axis
(rank 3 and 4). A tensor of rank 2 has one position a row, one of rank 1 one row and one position.
The methods, and what each gives a missing element:

zero     the value of the cell that holds 0
mean     the mean of what arrived of its channel (which serves networks better than the training
         set's mean: that is taken where nothing of a channel arrived)
nearest  the same position and channel of the nearest row that arrived (the upper one of two)
fit      ours: its channel as a first-order autoregression along the rows. From the nearest rows
         that arrived, u above at distance a and v below at distance b, and the mean m of what
         arrived of the channel: m + wa (u - m) + wb (v - m) with wa = r^a (1 - r^2b) / D,
         wb = r^b (1 - r^2a) / D, D = 1 - r^2(a+b), and from one row alone wa = r^a: the least
         squares weights of such a process. Near rows count, far ones fade into the mean. r is the
         fifth root of the correlation of neighbouring rows: the correlation itself gives the
         smallest error, but takes so much variance away that networks answer worse (measured)
caltec   CALTeC (Dhondea, Cohen, Bajic, arXiv 2106.05531), for packets of ``packet_rows`` rows of
         one channel: least squares x_c = alpha x_d + gamma on the nearest rows of channel c that
         arrived, with the channel d that correlates best there and arrived where c is missing.
         Where all channels of a position are lost together there is no such d: then as ``fit``

Where a method finds nothing to start from it falls back: from rows to the nearest position in
row-major order, then to the mean, and from a mean without elements to zero. Elements that arrived
are never changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from isthmus.errors import DataDtypeError, DataShapeError, OptionError
from isthmus.profile import Rung

__all__ = ["METHODS", "Method", "check_method", "conceal", "zero_level"]

Method = Literal["zero", "mean", "nearest", "fit", "caltec"]
METHODS: tuple[Method, ...] = get_args(Method)
#: The methods that keep levels levels.
_LEVELS = ("zero", "nearest")
_HIGHEST = 0.999
_SLOWER = 0.2

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def check_method(method: str, path: str = "method") -> Method:
    """``method`` as one of :data:`METHODS`; OptionError otherwise."""
    for known in METHODS:
        if known == method:
            return known
    raise OptionError(path, f"is {method!r:.60}", allowed=", ".join(METHODS))


def zero_level(rung: Rung) -> int | npt.NDArray[np.uint8]:
    """The level of a rung whose cell holds the real value 0 (the number of thresholds <= 0).

    Where every channel has its own grid: uint8 [C], that of each.
    """
    thresholds = np.asarray(rung.thresholds, dtype=np.float64)
    if rung.grids is not None:
        reals = rung.grids.reals(thresholds)
        return np.asarray((reals <= 0.0).sum(axis=1), dtype=np.uint8)
    return int(np.searchsorted(thresholds, 0.0, side="right"))


def conceal(
    features: npt.NDArray[Any],
    received: Mask,
    method: str = "fit",
    *,
    batch: bool = False,
    zero: float | npt.NDArray[Any] = 0.0,
    mean: npt.NDArray[np.float32] | None = None,
    packet_rows: int = 4,
) -> npt.NDArray[Any]:
    """A copy of ``features`` with every element filled where ``received`` is False.

    features     float32 of the tensor's shape, or [n, *shape] with ``batch``; uint8 levels for the
                 methods "zero" and "nearest". What stands in missing elements is not read
    received     bool of the same shape, or of the tensor's shape for all of a batch
    zero         what "zero" puts in, and every method where nothing arrived and no mean is given;
                 one number, or [channels]
    mean         the training set's means [channels], for channels of which nothing arrived
    packet_rows  rows of one channel that a packet of "caltec" holds

    Work is linear in the elements (for "caltec" times the channels). OptionError, DataShapeError,
    DataDtypeError.
    """
    chosen = check_method(method)
    grid, mask = _grids(features, received, batch)
    if grid.dtype == np.uint8 and chosen not in _LEVELS:
        raise DataDtypeError("features", "are levels", allowed=f"for {' or '.join(_LEVELS)} alone")
    if mean is not None and mean.shape != grid.shape[3:]:
        raise DataShapeError("mean", f"has shape {mean.shape}", allowed=str(grid.shape[3:]))
    if packet_rows < 1:
        raise OptionError("packet_rows", f"is {packet_rows}", allowed="1 or more")
    # from here on missing elements are zeros, and only those are written
    out = np.where(mask, grid, grid.dtype.type(0))
    gaps = _Gaps(out, mask)
    if gaps.count:
        if chosen == "zero":
            gaps.fill(gaps.constant(zero))
        elif chosen == "nearest":
            gaps.fill(_nearest(gaps, zero, mean))
        elif chosen == "mean":
            gaps.fill(gaps.per_channel(_means(gaps, zero, mean)))
        else:
            gaps.fill(_fit(gaps, zero, mean))
        if chosen == "caltec":
            _caltec(out, mask, packet_rows)
    return out.reshape(features.shape)


def _grids(
    features: npt.NDArray[Any], received: Mask, batch: bool
) -> tuple[npt.NDArray[Any], Mask]:
    """Features [n, rows, positions, channels], and received with 1 channel where all agree."""
    if features.dtype not in (np.dtype(np.float32), np.dtype(np.uint8)):
        raise DataDtypeError("features", f"have dtype {features.dtype}", allowed="float32, uint8")
    if received.dtype != np.bool_:
        raise DataDtypeError("received", f"has dtype {received.dtype}", allowed="bool")
    shape = features.shape[1:] if batch else features.shape
    if not 1 <= len(shape) <= 4:
        raise DataShapeError("features", f"have shape {features.shape}", allowed="rank 1 to 4")
    if received.shape not in (features.shape, shape):
        raise DataShapeError(
            "received", f"has shape {received.shape}", allowed=f"{features.shape} or {shape}"
        )
    count = features.shape[0] if batch else 1
    rows = shape[0] if len(shape) > 1 else 1
    positions = int(np.prod(shape[1:-1], dtype=np.int64)) if len(shape) > 2 else 1
    grid = (count, rows, positions, shape[-1])
    mask = np.broadcast_to(received, features.shape).reshape(grid)
    together = mask[..., :1]
    if mask.size and np.array_equal(mask.all(axis=-1), mask.any(axis=-1)):
        mask = together
    return features.reshape(grid), mask


class _Gaps:
    """The missing elements of a batch, and where the nearest received ones lie.

    Where the channels of a position are lost together one entry stands for all of them (``at`` has
    three index arrays and values are [gaps, channels]), else one for each element.
    """

    def __init__(self, grid: npt.NDArray[Any], mask: Mask) -> None:
        self.grid, self.mask = grid, mask
        self.together = mask.shape[3] == 1 and grid.shape[3] != 1
        self.at = np.nonzero(~mask[..., 0] if self.together else ~mask)
        self.count = len(self.at[0])
        if self.count:
            rows = grid.shape[1]
            above, below = _neighbours(mask)
            at: Any = (*self.at, 0) if self.together else self.at
            self.above = self.at[1] - above[at]  # distances; more than `rows` where there is none
            self.below = below[at] - self.at[1]
            self.above[above[at] < 0] = 2 * rows
            self.below[below[at] >= rows] = 2 * rows

    def fill(self, values: Any) -> None:
        """Puts ``values`` into the missing elements."""
        self.grid[self.at] = values

    def pick(self, row: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """The elements of other rows, clipped to those there are, same position and channel."""
        inside = np.clip(row, 0, self.grid.shape[1] - 1)
        picked: npt.NDArray[Any] = self.grid[(self.at[0], inside, *self.at[2:])]
        return picked

    def per_channel(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """``values`` [n, channels] at the gaps."""
        return values[self.at[0]] if self.together else values[self.at[0], self.at[3]]

    def constant(self, value: float | npt.NDArray[Any]) -> npt.NDArray[Any]:
        """``value``, or [channels], at the gaps, in the grid's dtype."""
        shape = (len(self.grid), self.grid.shape[3])
        return self.per_channel(np.broadcast_to(np.asarray(value, self.grid.dtype), shape))

    def column(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One number a gap, shaped to go with values a gap."""
        return values[:, np.newaxis] if self.together else values


def _neighbours(mask: Mask) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Index along axis 1 of the last received before, and the first after, each element.

    -1 and the axis's length where there is none.
    """
    length = mask.shape[1]
    index = np.arange(length).reshape(1, -1, *(1,) * (mask.ndim - 2))
    before = np.maximum.accumulate(np.where(mask, index, -1), axis=1)
    after = np.where(mask, index, length)[:, ::-1]
    return before, np.minimum.accumulate(after, axis=1)[:, ::-1]


def _nearest(gaps: _Gaps, zero: float | npt.NDArray[Any], mean: Floats | None) -> npt.NDArray[Any]:
    """The nearest received row's, else the nearest received position's, else the mean's."""
    rows = gaps.grid.shape[1]
    up = gaps.above <= gaps.below
    values = gaps.pick(gaps.at[1] + np.where(up, -gaps.above, gaps.below))
    alone = np.minimum(gaps.above, gaps.below) > rows
    if alone.any():
        values[alone] = _nearest_position(gaps, zero, mean)[alone]
    return values


def _nearest_position(
    gaps: _Gaps, zero: float | npt.NDArray[Any], mean: Floats | None
) -> npt.NDArray[Any]:
    """For gaps in columns that are lost whole: the nearest position in row-major order."""
    count, rows, positions, channels = gaps.grid.shape
    line = gaps.mask.reshape(count, rows * positions, -1)
    before, after = _neighbours(line)
    here = gaps.at[1] * positions + gaps.at[2]
    at = (gaps.at[0], here, 0) if gaps.together else (gaps.at[0], here, gaps.at[3])
    left, right = before[at], after[at]
    none = (left < 0) & (right >= rows * positions)
    source = np.where(
        (left >= 0) & ((right >= rows * positions) | (here - left <= right - here)), left, right
    )
    flat = gaps.grid.reshape(count, rows * positions, channels)
    inside = np.minimum(source, rows * positions - 1)
    values: npt.NDArray[Any] = flat[(gaps.at[0], inside, *gaps.at[3:])]
    if none.any():
        if values.dtype == np.uint8:
            values[none] = gaps.constant(zero)[none]
        else:
            values[none] = gaps.per_channel(_means(gaps, zero, mean))[none]
    return values


def _means(gaps: _Gaps, zero: float | npt.NDArray[Any], mean: Floats | None) -> Floats:
    """Means of what arrived of each tensor's channels [n, channels], else what stands for them."""
    total = gaps.grid.sum(axis=(1, 2), dtype=np.float64)  # missing elements are zeros
    counts = np.broadcast_to(gaps.mask.sum(axis=(1, 2)), total.shape)
    if mean is not None:
        rest = mean.astype(np.float64)[np.newaxis]
    else:
        whole, number = total.sum(axis=1, keepdims=True), counts.sum(axis=1, keepdims=True)
        rest = np.where(number > 0, whole / np.maximum(number, 1), zero)
    return np.where(counts > 0, total / np.maximum(counts, 1), rest).astype(np.float32)


def _fit(gaps: _Gaps, zero: float | npt.NDArray[Any], mean: Floats | None) -> Floats:
    """First-order autoregression along the rows, from the nearest row on either side."""
    rows = gaps.grid.shape[1]
    means = _means(gaps, zero, mean)
    # the weights of a pair of distances are worked out once, not for every gap
    pairs, pair = np.unique(gaps.above * (2 * rows + 1) + gaps.below, return_inverse=True)
    distances = np.divmod(pairs, 2 * rows + 1)
    weights = _weights(
        np.clip(_correlations(gaps, means), 0.0, _HIGHEST) ** _SLOWER, *distances, none=2 * rows
    )
    tensor, middle = gaps.at[0], gaps.per_channel(means)
    value = middle.copy()
    for weight, row in zip(
        weights, (gaps.at[1] - gaps.above, gaps.at[1] + gaps.below), strict=True
    ):
        own = weight[tensor, pair] if gaps.together else weight[tensor, pair, gaps.at[3]]
        value += own * (gaps.pick(row) - middle)
    return value


def _weights(
    known: npt.NDArray[np.float64],
    above: npt.NDArray[np.intp],
    below: npt.NDArray[np.intp],
    none: int,
) -> tuple[Floats, Floats]:
    """Weights [n, pairs, channels] of the row above and the row below; ``none``: no row there."""
    up, down = above[:, np.newaxis], below[:, np.newaxis]
    a = np.where(up < none, known[:, np.newaxis] ** up, 0.0)
    b = np.where(down < none, known[:, np.newaxis] ** down, 0.0)
    rest = 1.0 - (a * b) ** 2
    first, second = a * (1.0 - b * b) / rest, b * (1.0 - a * a) / rest
    return first.astype(np.float32), second.astype(np.float32)


def _correlations(gaps: _Gaps, means: Floats) -> npt.NDArray[np.float64]:
    """Correlation of neighbouring received rows [n, channels]; 1 where there are none."""
    centred = np.where(gaps.mask, gaps.grid - means[:, np.newaxis, np.newaxis], np.float32(0))
    both = gaps.mask[:, 1:] & gaps.mask[:, :-1]
    first, second = np.where(both, centred[:, :-1], 0), np.where(both, centred[:, 1:], 0)
    product = np.einsum("nrpc,nrpc->nc", first, second, dtype=np.float64)
    power = np.einsum("nrpc,nrpc->nc", first, first, dtype=np.float64)
    power += np.einsum("nrpc,nrpc->nc", second, second, dtype=np.float64)
    return np.where(power > 0, 2.0 * product / np.where(power > 0, power, 1.0), 1.0)


@dataclass(frozen=True)
class _Blocks:
    """One tensor in blocks of rows: [blocks, channels, elements of a block], zeros past the end."""

    values: npt.NDArray[np.float64]
    whole: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.float64]


def _caltec(grid: Floats, mask: Mask, size: int) -> None:
    """Fills what CALTeC can fill; the rest stays as it is."""
    for tensor, known in zip(grid, mask, strict=True):
        if not known.all():
            _caltec_one(tensor, known, size)


def _caltec_one(tensor: Floats, mask: Mask, size: int) -> None:
    blocks = _blocks_of(tensor, mask, size)
    whole = blocks.whole
    above, below = _neighbours(whole[np.newaxis])
    block, channel = np.nonzero(~whole)
    up, down = block - above[0][block, channel], below[0][block, channel] - block
    has_up, has_down = above[0][block, channel] >= 0, below[0][block, channel] < len(whole)
    near = np.where(has_up & (~has_down | (up <= down)), block - up, block + down)
    usable = has_up | has_down
    for there in np.unique(near[usable]):
        own = np.flatnonzero(usable & (near == there))
        values = blocks.values[there]
        counts = blocks.counts[there]
        means = values.sum(axis=1) / counts
        inside = np.arange(values.shape[1]) < counts
        centred = np.where(inside, values - means[:, np.newaxis], 0.0)
        covariance = centred @ centred.T
        variance = np.maximum(np.diag(covariance), 0.0)
        scale = np.sqrt(np.outer(variance, variance))
        strength = np.abs(covariance) / np.where(scale > 0, scale, 1.0)
        lost = channel[own]
        # channels that arrived both here and there
        candidates = whole[there] & whole[block[own]]
        strengths = np.where(candidates, strength[lost], -1.0)
        partner = strengths.argmax(axis=1)
        found = strengths[np.arange(len(own)), partner] >= 0
        for at, c, d in zip(block[own][found], lost[found], partner[found], strict=True):
            alpha = covariance[c, d] / variance[d] if variance[d] > 0 else 0.0
            gamma = means[c] - alpha * means[d]
            rows = slice(at * size, (at + 1) * size)
            gone = ~np.broadcast_to(mask, tensor.shape)[rows, :, c]
            tensor[rows, :, c][gone] = (alpha * tensor[rows, :, d] + gamma)[gone]


def _blocks_of(tensor: Floats, mask: Mask, size: int) -> _Blocks:
    rows, positions, channels = tensor.shape
    blocks = -(-rows // size)
    pad = ((0, blocks * size - rows), (0, 0), (0, 0))
    known = np.pad(np.broadcast_to(mask, tensor.shape), pad, constant_values=True)
    values = np.pad(tensor.astype(np.float64), pad)
    shape = (blocks, size * positions, channels)
    counts = np.full(blocks, size * positions, dtype=np.float64)
    counts[-1] -= (blocks * size - rows) * positions
    whole: Mask = np.asarray(known.reshape(shape).all(axis=1))
    return _Blocks(values.reshape(shape).transpose(0, 2, 1), whole, counts)
