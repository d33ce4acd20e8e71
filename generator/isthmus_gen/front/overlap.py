"""How far a layer's output must lie before its input where the two share memory.

A kernel that works forward, position by position, leaves dead input bytes behind it, and its output
may take their place. Written from ``distance`` bytes before the input on, the output never reaches
a byte that is still to be read. The distance is found by following every position; nothing in it
is estimated.

Kernels may compute a block of up to four positions at once and read the inputs of the whole
block until its last output is written: what position p - 3 reads is taken as needed until p is
written.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from isthmus_gen.front.operators.base import Window

__all__ = ["BLOCK", "NOTHING", "distance", "pad_distance", "row_distance", "window_distance"]

BLOCK = 4
"""Positions that a kernel may compute at once."""

NOTHING = 1 << 40
"""The lowest byte read by a position that reads none."""


def distance(ends: npt.NDArray[np.int64], lowest: npt.NDArray[np.int64], block: int = BLOCK) -> int:
    """Bytes from the output's first to the input's first, at least; never below 0.

    Position p writes up to byte ``ends[p]`` of the output (exclusive, not falling) and reads the
    input from byte ``lowest[p]`` on, or reads ``NOTHING``. ``block`` positions may be computed at
    once; 0 for a kernel that reads all of a position before it writes it.

    >>> distance(np.array([4, 8, 12]), np.array([0, 2, 4]), block=0)
    4
    """
    after = np.append(np.minimum.accumulate(lowest[::-1])[::-1], NOTHING)
    first = np.maximum(np.arange(len(ends)) - (block - 1), 0)
    return max(0, int((ends - after[first]).max(initial=0)))


def window_distance(geometry: Window, block: int = BLOCK) -> int:
    """The distance of a kernel that moves ``geometry`` over the picture, row by row.

    Every output channel of a position is written before the next block's first.
    """
    (in_h, in_w), (out_h, out_w) = geometry.in_size, geometry.out_size
    rows = _first_taps(geometry, 0, in_h, out_h)[:, np.newaxis]
    columns = _first_taps(geometry, 1, in_w, out_w)[np.newaxis, :]
    lowest = (rows * in_w + columns) * geometry.in_c
    lowest = np.where((rows < NOTHING) & (columns < NOTHING), lowest, NOTHING).reshape(-1)
    ends = np.arange(1, out_h * out_w + 1, dtype=np.int64) * geometry.out_c
    return distance(ends, lowest, block)


def row_distance(rows: int, in_bytes: int, out_bytes: int, block: int = BLOCK) -> int:
    """The distance of a kernel that turns ``rows`` rows of the input into as many of the output.

    A 1x1 convolution of stride 1 (a row is a position) or FULLY_CONNECTED.

    >>> row_distance(100, 16, 16), row_distance(100, 8, 16), row_distance(1, 64, 10)
    (64, 832, 10)
    """
    steps = np.arange(rows, dtype=np.int64)
    return distance((steps + 1) * out_bytes, steps * in_bytes, block)


def pad_distance(
    in_shape: tuple[int, ...], out_shape: tuple[int, ...], before: tuple[int, ...]
) -> int:
    """The distance of PAD, which copies runs of the input in order; ``before`` goes before an axis.

    A run is whole below the last axis that grows; an output run and its input stay apart.

    >>> pad_distance((2, 2), (4, 4), (1, 1))
    9
    """
    grows = [axis for axis, (n, m) in enumerate(zip(in_shape, out_shape, strict=True)) if n < m]
    runs = (grows[-1] if grows else 0) + 1  # axes down to that of the runs
    length = math.prod(in_shape[runs - 1 :])
    steps = [math.prod(out_shape[axis + 1 :]) for axis in range(runs)]
    first = np.zeros((1,) * runs, dtype=np.int64)
    for axis, (step, skipped) in enumerate(zip(steps, before, strict=False)):
        count = in_shape[axis] if axis < runs - 1 else 1
        shape = [count if other == axis else 1 for other in range(runs)]
        first = first + ((np.arange(count) + skipped) * step).reshape(shape)
    ends = first.reshape(-1) + length
    return distance(ends, np.arange(len(ends), dtype=np.int64) * length, block=1)


def _first_taps(geometry: Window, axis: int, size: int, out: int) -> npt.NDArray[np.int64]:
    """Of each output row (axis 0) or column (1), the first one of the input that it reads."""
    stride, reach = geometry.stride[axis], geometry.dilation[axis]
    start = np.arange(out, dtype=np.int64) * stride - geometry.before[axis]
    skipped = np.maximum(-(start // reach), 0)  # taps in the padding before the picture
    first = start + skipped * reach
    reads = (skipped < geometry.kernel[axis]) & (first < size)
    return np.where(reads, first, NOTHING)
