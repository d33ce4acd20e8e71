"""Dense weights and their scales in the order and form the matrix kernels read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isthmus_gen.front.quantize import INT8_MAX, INT8_MIN, requantize, wrap_int32

__all__ = ["FAST", "GENERAL", "RELU", "SINGLE", "FilterTable", "filter_table", "paired_weights"]

RELU, FAST, GENERAL, SINGLE = range(4)  # ISTH_K_RELU ... in isth_k_common.h
_MOST_RIGHT = 23
_LARGEST_SUM = 1 << 30


@dataclass(frozen=True)
class FilterTable:
    """The scales of a layer's filters and how its accumulators become int8.

    ``values`` is int64 [filters, 4]: folded bias, multiplier, right shift, offset; ``output`` is
    zero point, minimum and maximum.
    """

    values: npt.NDArray[np.int64]
    mode: int
    output: tuple[int, int, int]

    def rows(self, groups: int = 1) -> npt.NDArray[np.int64]:
        """``isth_k_filter`` in C's order: each group padded to an even number with zeros."""
        parts = self.values.reshape(groups, -1, 4)
        padded = np.pad(parts, ((0, 0), (0, parts.shape[1] % 2), (0, 0)))
        return padded.reshape(-1, 4)


def filter_table(
    bias: npt.NDArray[np.int64],
    weights: npt.NDArray[np.int8],
    input_zero: int,
    multipliers: list[tuple[int, int]],
    output: tuple[int, int, int],
    *,
    single_rounding: bool = False,
) -> FilterTable:
    """The table of filters ``weights`` (int8 [filters, inputs]) with ``bias`` (int64 [filters]).

    ``multipliers`` are Q0.31 numbers and powers of two (positive: to the left), one a filter. The
    mode is the first of RELU, FAST and GENERAL whose conditions in isth_k_common.h hold.
    """
    folded = bias - input_zero * weights.astype(np.int64).sum(axis=1)
    spread = 128 * np.abs(weights.astype(np.int64)).sum(axis=1)
    zero, minimum, maximum = output
    values = [
        (wrap_int32(int(f)), multiplier, -shift, 0)
        for f, (multiplier, shift) in zip(folded, multipliers, strict=True)
    ]
    if single_rounding:
        return FilterTable(np.array(values, dtype=np.int64), SINGLE, output)
    mode = RELU if zero == INT8_MIN else FAST
    fast = [
        _fast(multiplier, -shift, int(f), int(s), zero, mode)
        for (multiplier, shift), f, s in zip(multipliers, folded, spread, strict=True)
    ]
    if (minimum, maximum) == (INT8_MIN, INT8_MAX) and None not in fast:
        return FilterTable(np.array(fast, dtype=np.int64), mode, output)
    return FilterTable(np.array(values, dtype=np.int64), GENERAL, output)


def _fast(
    multiplier: int, right: int, folded: int, spread: int, zero: int, mode: int
) -> tuple[int, int, int, int] | None:
    """A filter's row in RELU or FAST mode, or None where that is not exact.

    Its accumulators are all within ``spread`` of ``folded``.
    """
    if abs(folded) + spread < 1 << 31:
        low, high = (
            min(max(requantize(folded + sign * spread, multiplier, -right) + zero, -128), 127)
            for sign in (-1, 1)
        )
        if low == high:  # a dead filter: every accumulator gives the same level
            return 0, 0, 1, 2 * low + 1
    if abs(folded) + spread >= _LARGEST_SUM:
        return None
    if not (0 if mode == RELU else 1) <= right <= _MOST_RIGHT:
        return None
    return folded, multiplier, right, (zero << right) + (1 << right >> 1)


def paired_weights(weights: npt.NDArray[np.int8], groups: int = 1) -> npt.NDArray[np.int8]:
    """int8 [filters, inputs] as [groups][filters / 2][inputs / 4][2][4], flat, zeros where padded.

    >>> paired_weights(np.array([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]], dtype=np.int8)).tolist()
    [1, 2, 3, 4, 6, 7, 8, 9, 5, 0, 0, 0, 10, 0, 0, 0]
    """
    filters, inputs = weights.shape
    parts = weights.reshape(groups, filters // groups, inputs)
    padded = np.pad(parts, ((0, 0), (0, parts.shape[1] % 2), (0, -inputs % 4)))
    pairs = padded.reshape(groups, -1, 2, padded.shape[2] // 4, 4)
    return pairs.transpose(0, 1, 3, 2, 4).reshape(-1)
