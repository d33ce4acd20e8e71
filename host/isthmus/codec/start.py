"""Where the coder starts: initial contexts and adaptation rate, from calibration levels.

The paper starts its contexts at one half. Trained starting points cost nothing at run time and
matter where a tensor, or a slice of it, is small (method.md, 1.4); this is Isthmus's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from isthmus.binarisation import binarisation
from isthmus.codec.bound import RATES

__all__ = ["choose_rate", "choose_start", "initial_contexts"]

_LOWEST, _HIGHEST = 128, 65408
_RATE_ELEMENTS = 1 << 15


def initial_contexts(levels: int, counts: npt.NDArray[np.int64]) -> tuple[int, ...]:
    """P(bin = 1) * 65536 of every context, from ``counts`` int64 [levels] of calibration levels.

    Krichevsky-Trofimov estimates (counts plus one half), kept in 128..65408.
    """
    form = binarisation(levels)
    ones = np.zeros(form.context_count)
    total = np.zeros(form.context_count)
    for level in range(levels):
        for context, bin_ in form.bins(level):
            total[context] += float(counts[level])
            ones[context] += float(counts[level]) * bin_
    estimate = np.floor((ones + 0.5) / (total + 1.0) * 65536.0).astype(np.int64)
    return tuple(int(value) for value in np.clip(estimate, _LOWEST, _HIGHEST))


def choose_rate(
    levels: int, initial: tuple[int, ...], tensors: Sequence[npt.NDArray[np.uint8]]
) -> int:
    """The adaptation shift with the shortest code on some calibration tensors (levels, flat).

    At most 2^15 elements are looked at: the best rate depends on how the statistics drift, which a
    few tensors show.
    """
    form = binarisation(levels)
    bins = [form.bins(level) for level in range(levels)]
    best, best_bits = RATES[0], float("inf")
    cost = -np.log2(np.arange(1, 65537) / 65536.0)
    table: list[float] = [float("inf"), *cost.tolist()]
    for rate in RATES:
        bits = 0.0
        seen = 0
        for tensor in tensors:
            if seen >= _RATE_ELEMENTS:
                break
            contexts = list(initial)
            flat = tensor.reshape(-1)[: _RATE_ELEMENTS - seen].tolist()
            seen += len(flat)
            for level in flat:
                for context, bin_ in bins[level]:
                    p = contexts[context]
                    if bin_:
                        bits += table[p]
                        contexts[context] = p + ((65536 - p) >> rate)
                    else:
                        bits += table[65536 - p]
                        contexts[context] = p - (p >> rate)
        if bits < best_bits:
            best, best_bits = rate, bits
    return best


def choose_start(
    levels: int, tensors: Sequence[npt.NDArray[np.uint8]]
) -> tuple[int, tuple[int, ...]]:
    """(rate, initial contexts) for a rung of ``levels`` from calibration tensors of levels."""
    counts = np.zeros(levels, dtype=np.int64)
    for tensor in tensors:
        counts += np.bincount(tensor.reshape(-1), minlength=levels).astype(np.int64)
    initial = initial_contexts(levels, counts)
    return choose_rate(levels, initial, tensors), initial
