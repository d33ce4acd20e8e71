"""Dense weights and their scales in the order and form the matrix kernels read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isthmus_gen.front.quantize import INT8_MAX, INT8_MIN, wrap_int32

__all__ = ["FAST", "GENERAL", "RELU", "SINGLE", "FilterTable", "filter_table", "paired_weights"]

RELU, FAST, GENERAL, SINGLE = range(4)  # ISTH_K_RELU ... in isth_k_common.h
_MOST_RIGHT = 20
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
    weights64 = weights.astype(np.int64)
    folded = bias - input_zero * weights64.sum(axis=1)
    reach = np.abs(folded) + 128 * np.abs(weights64).sum(axis=1)
    rights = [-shift for _, shift in multipliers]
    zero, minimum, maximum = output
    fast = (
        not single_rounding
        and all(1 <= right <= _MOST_RIGHT for right in rights)
        and int(reach.max()) < _LARGEST_SUM
        and (minimum, maximum) == (INT8_MIN, INT8_MAX)
    )
    mode = SINGLE if single_rounding else GENERAL
    if fast:
        mode = RELU if zero == INT8_MIN else FAST
    rows = [
        (
            wrap_int32(int(f)),
            multiplier,
            right,
            (zero << right) + (1 << right >> 1) if fast else 0,
        )
        for f, (multiplier, _), right in zip(folded, multipliers, rights, strict=True)
    ]
    return FilterTable(np.array(rows, dtype=np.int64), mode, output)


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
