"""An adaptive range coder of order 0: constriction's, with counts that follow the levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.codecs.base import Array8, Codec

__all__ = ["RangeCoder", "absent"]


class RangeCoder(Codec):
    """Each level is coded by the counts of the levels before it in the tensor.

    The counts begin as ``weight`` levels spread as in the calibration set. The stream is
    constriction's 32-bit words without any header, less the zero bytes at its end, which
    the receiver can put back (it knows the length from what carries the message).
    """

    name = "range coder, order 0"
    lossless = True

    def __init__(
        self, setting: str, levels: int, shape: tuple[int, ...], calibration: Array8, weight: float
    ) -> None:
        self.setting = setting
        self.shape = shape
        self._levels = levels
        share = np.bincount(calibration.reshape(-1), minlength=levels) / calibration.size
        self._start = share * weight + 1 / 32

    def encode(self, array: Array8) -> bytes:
        from constriction import stream

        flat = array.reshape(-1).astype(np.int32)
        seen = flat[:, np.newaxis] == np.arange(self._levels)
        counts = self._start + np.cumsum(seen, axis=0) - seen
        coder = stream.queue.RangeEncoder()
        coder.encode(flat, stream.model.Categorical(perfect=False), _shares(counts))
        words = coder.get_compressed().astype("<u4").tobytes()
        return bytes(words.rstrip(b"\0"))

    def decode(self, code: bytes) -> Array8:
        from constriction import stream

        words = np.frombuffer(code + bytes(-len(code) % 4), dtype="<u4").astype(np.uint32)
        coder = stream.queue.RangeDecoder(words)
        family = stream.model.Categorical(perfect=False)
        counts = self._start.copy()
        flat = np.empty(int(np.prod(self.shape)), dtype=np.uint8)
        for at in range(flat.size):
            level = int(coder.decode(family, _shares(counts[np.newaxis]))[0])
            flat[at] = level
            counts[level] += 1
        return flat.reshape(self.shape)


def _shares(counts: npt.NDArray[np.float64]) -> Any:
    return (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)


def absent() -> str | None:
    """Why the range coder cannot be measured, or None."""
    try:
        import constriction  # noqa: F401
    except ImportError:
        return 'pip install "constriction"'
    return None
