"""Runs of zeros: the codec of Carra and Neglia.

D. Carra, G. Neglia, "DNN Split Computing: Quantization and Run-Length Coding are Enough",
IEEE GLOBECOM 2023. Quantised features are mostly zero; a frame is a list of pairs (how many zeros,
which level follows), each of a fixed number of bits. Ours: a pair has ``bits`` bits for the run
and as many as a level needs; level 0 in a pair says that the run goes on. ``bits`` and the
order of the elements are those that need the fewest bytes on calibration levels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.codecs.base import Array8, Codec

__all__ = ["RUN_BITS", "RunLength"]

Ints = npt.NDArray[np.int64]

RUN_BITS = tuple(range(1, 9))


class RunLength(Codec):
    """Pairs (run of zeros, level) of fixed width, to whole bytes; the receiver knows the shape."""

    name = "run-length"
    lossless = True

    def __init__(
        self, setting: str, levels: int, shape: tuple[int, ...], *, bits: int, planes: bool
    ) -> None:
        self.setting = setting
        self.shape = shape
        self._run_bits = bits
        self._level_bits = max(1, (levels - 1).bit_length())
        self._planes = planes

    def size(self, array: Array8) -> int:
        _, at, _, more = self._runs(array)
        return -(-(len(at) + int(more.sum())) * (self._run_bits + self._level_bits) // 8)

    def encode(self, array: Array8) -> bytes:
        flat, at, runs, more = self._runs(array)
        whole = (1 << self._run_bits) - 1
        pairs = np.repeat(whole << self._level_bits, int(more.sum()) + len(at))
        pairs[np.cumsum(more + 1) - 1] = (runs - more * whole) << self._level_bits | flat[at]
        width = self._run_bits + self._level_bits
        planes = (pairs[:, np.newaxis] >> np.arange(width - 1, -1, -1)) & 1
        return np.packbits(planes.astype(np.uint8).reshape(-1)).tobytes()

    def _runs(self, array: Array8) -> tuple[Array8, Ints, Ints, Ints]:
        """The elements in order, where levels are, the zeros before each, and how many pairs
        "longest run, level 0" (which cover ``whole`` zeros and nothing else) each takes."""
        flat = (np.moveaxis(array, -1, 0) if self._planes else array).reshape(-1)
        at = np.flatnonzero(flat)
        runs = np.diff(at, prepend=-1) - 1
        return flat, at, runs, runs // ((1 << self._run_bits) - 1)

    def decode(self, code: bytes) -> Array8:
        width = self._run_bits + self._level_bits
        bits = np.unpackbits(np.frombuffer(code, dtype=np.uint8))
        planes = bits[: bits.size // width * width].reshape(-1, width).astype(np.int64)
        pairs = planes @ (np.int64(1) << np.arange(width - 1, -1, -1))
        level = pairs & ((1 << self._level_bits) - 1)
        # Zero bits that fill the last byte may look like one more pair: run 0, level 0.
        step = (pairs >> self._level_bits) + (level > 0)
        flat = np.zeros(int(np.prod(self.shape)), dtype=np.uint8)
        real = level > 0
        flat[np.cumsum(step)[real] - 1] = level[real]
        if not self._planes:
            return flat.reshape(self.shape)
        back = flat.reshape(self.shape[-1], *self.shape[:-1])
        return np.ascontiguousarray(np.moveaxis(back, 0, -1))
