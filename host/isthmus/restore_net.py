"""The restorer's small convolutional network, run by numpy alone.

Tensors are seen as [n, rows, positions, channels]: rank 2 (T, C) has one position a row, rank 1
(C,) one row as well. The network reads, for every level k = 1..N-1, the plane "level >= k" (a
one-hot code of the levels in which neighbours differ by one plane), and in a network that was
trained with losses one plane more: 1 where a position is missing. Its last layer has no
activation; what it gives, times each channel's scale, is added to the value of the level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["MAX_PLANES", "RestorerNet", "as_planes", "level_planes"]

Floats = npt.NDArray[np.float32]
#: Levels above this many planes share one: the value of the level, see level_planes().
MAX_PLANES = 8
_COLUMN_BYTES = 16 << 20


def as_planes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Rows, positions of a row and channels of a tensor of rank 1 to 3.

    >>> as_planes((25, 5, 64)), as_planes((49, 40)), as_planes((64,))
    ((25, 5, 64), (49, 1, 40), (1, 1, 64))
    """
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return (shape[0] if len(shape) == 2 else 1), 1, shape[-1]


def level_planes(levels: npt.NDArray[np.uint8], count: int) -> Floats:
    """The network's input [n, h, w, c * p] for levels [n, h, w, c] below ``count``.

    p = count - 1 planes of 0 and 1 up to MAX_PLANES; beyond that one plane, level / (count - 1).
    Planes are ordered by level first, then by channel.
    """
    if count - 1 > MAX_PLANES:
        return levels.astype(np.float32) * np.float32(1.0 / (count - 1))
    return np.concatenate([levels >= k for k in range(1, count)], axis=-1, dtype=np.float32)


@dataclass(frozen=True)
class RestorerNet:
    """Convolutions of odd size, zeros around, with ReLU between them.

    layers  (kernel float32 [kh, kw, c_in, c_out], bias float32 [c_out]) each
    scale   float32 [channels], units of the output
    losses  whether the input has the plane of missing positions
    """

    layers: tuple[tuple[Floats, Floats], ...]
    scale: Floats
    losses: bool

    def __call__(
        self,
        levels: npt.NDArray[np.uint8],
        count: int,
        missing: npt.NDArray[np.bool_] | None = None,
    ) -> Floats:
        """What is added to the values of the levels, float32 [n, h, w, c].

        ``levels`` uint8 [n, h, w, c]; ``missing`` bool [n, h, w], looked at where ``losses``. The
        levels of missing positions count as 0. Memory is bounded: frames go in small parts.
        """
        widest = max(k.shape[1] * k.shape[2] for k, _ in self.layers)
        part = max(1, _COLUMN_BYTES // (4 * widest * max(1, levels[0].size // levels.shape[-1])))
        out = np.empty(levels.shape, dtype=np.float32)
        for start in range(0, len(levels), part):
            span = slice(start, start + part)
            out[span] = self._part(levels[span], count, None if missing is None else missing[span])
        return out

    def _part(
        self, levels: npt.NDArray[np.uint8], count: int, missing: npt.NDArray[np.bool_] | None
    ) -> Floats:
        x = level_planes(levels, count)
        if self.losses:
            lost = np.zeros(levels.shape[:3], dtype=np.bool_) if missing is None else missing
            x[lost] = 0.0
            x = np.concatenate([x, lost[..., np.newaxis]], axis=-1, dtype=np.float32)
        for index, (kernel, bias) in enumerate(self.layers):
            if index:
                np.maximum(x, 0.0, out=x)
            x = _convolve(x, kernel, bias)
        return x * self.scale


def _convolve(x: Floats, kernel: Floats, bias: Floats) -> Floats:
    """Correlation with zeros around: neighbours of a row side by side, then a product a row.

    Columns hold the kernel's width only, a third of im2col's memory at 3x3, and every product is
    one matrix of a whole frame.
    """
    n, h, w, channels = x.shape
    kh, kw, _, filters = kernel.shape
    padded = np.zeros((n, h + kh - 1, w + kw - 1, channels), dtype=np.float32)
    padded[:, kh // 2 : kh // 2 + h, kw // 2 : kw // 2 + w] = x
    columns = np.empty((n, h + kh - 1, w, kw, channels), dtype=np.float32)
    for shift in range(kw):
        columns[:, :, :, shift] = padded[:, :, shift : shift + w]
    rows = columns.reshape(n, (h + kh - 1) * w, kw * channels)
    out = np.empty((n, h * w, filters), dtype=np.float32)
    out[:] = bias
    for shift in range(kh):
        matrix = kernel[shift].reshape(kw * channels, filters)
        out += rows[:, shift * w : shift * w + h * w] @ matrix
    return out.reshape(n, h, w, filters)
