"""Distances between an output and the input it overwrites, against lists of every byte read."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from isthmus_gen.front.operators.base import Window
from isthmus_gen.front.overlap import pad_distance, row_distance, window_distance


def _reads(w: Window) -> list[set[int]]:
    """The input bytes of each output position, from the definition of a window."""
    found = []
    for out_y, out_x in product(range(w.out_size[0]), range(w.out_size[1])):
        taps = set()
        for tap_y, tap_x in product(range(w.kernel[0]), range(w.kernel[1])):
            y = out_y * w.stride[0] - w.before[0] + tap_y * w.dilation[0]
            x = out_x * w.stride[1] - w.before[1] + tap_x * w.dilation[1]
            if 0 <= y < w.in_size[0] and 0 <= x < w.in_size[1]:
                start = (y * w.in_size[1] + x) * w.in_c
                taps.update(range(start, start + w.in_c))
        found.append(taps)
    return found


def _least(reads: list[set[int]], out_bytes: int, block: int) -> int:
    """The least distance at which no write reaches a byte that a later read, or one of the block
    that may still be open, needs."""
    least = 0
    for p in range(len(reads)):
        needed = set().union(*reads[max(0, p - block + 1) :])
        if needed:
            least = max(least, (p + 1) * out_bytes - min(needed))
    return least


@pytest.mark.parametrize("seed", range(60))
def test_windows(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def pair(low: int, high: int) -> tuple[int, int]:
        return int(rng.integers(low, high)), int(rng.integers(low, high))

    size, kernel, stride, dilation = pair(1, 9), pair(1, 5), pair(1, 4), pair(1, 4)
    before = tuple(
        int(rng.integers(0, (k - 1) * d + 1)) for k, d in zip(kernel, dilation, strict=True)
    )
    w = Window(
        size, int(rng.integers(1, 6)), pair(1, 9), int(rng.integers(1, 6)), kernel, stride,
        dilation, (before[0], before[1]),
    )  # fmt: skip
    for block in (1, 2, 4):
        assert window_distance(w, block) == _least(_reads(w), w.out_c, block)


def test_a_known_window() -> None:
    # 3x3, SAME, 32x32x16: behind row r - 1, column x - 1, less three positions of a block
    same = Window((32, 32), 16, (32, 32), 16, (3, 3), (1, 1), (1, 1), (1, 1))
    assert window_distance(same) == 16 * (32 + 1 + 3 + 1)


@pytest.mark.parametrize(("rows", "in_bytes", "out_bytes"), [(9, 4, 4), (9, 3, 8), (9, 8, 3)])
def test_rows(rows: int, in_bytes: int, out_bytes: int) -> None:
    reads = [set(range(r * in_bytes, (r + 1) * in_bytes)) for r in range(rows)]
    assert row_distance(rows, in_bytes, out_bytes) == _least(reads, out_bytes, 4)


@pytest.mark.parametrize("seed", range(20))
def test_padding(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 5, 3))
    before = tuple(int(n) for n in rng.integers(0, 3, 3))
    after = tuple(int(n) for n in rng.integers(0, 3, 3))
    out = tuple(a + n + b for a, n, b in zip(before, shape, after, strict=True))
    inside = np.pad(np.ones(shape, dtype=bool), list(zip(before, after, strict=True))).reshape(-1)
    numbers = np.cumsum(inside) - 1
    # the axis of the runs: the last one that is padded
    axis = max((i for i in range(3) if before[i] + after[i]), default=0)
    run = int(np.prod(shape[axis:]))
    least = 0
    for at in np.flatnonzero(inside):
        read = numbers[at] - numbers[at] % run  # a run's first byte is needed until it is written
        least = max(least, int(at + 1 - read))
    assert pad_distance(shape, out, before) == least
