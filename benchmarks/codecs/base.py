"""What every codec of the comparison offers: an array in, bytes out, an array back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Array8", "Codec", "cheapest"]

Array8 = npt.NDArray[np.uint8]


class Codec(ABC):
    """One setting of one codec. Arrays are uint8: levels in the tensor's shape, a tile picture
    [height, width], or a colour picture [height, width, 3].

    ``name`` is the curve that the setting belongs to, ``setting`` what is varied along it.
    """

    name: str
    setting: str
    lossless: bool = False

    @abstractmethod
    def encode(self, array: Array8) -> bytes:
        """Everything that has to be sent for one array, headers included."""

    @abstractmethod
    def decode(self, code: bytes) -> Array8:
        """The array that the other side gets."""

    def encode_all(self, arrays: Iterable[Array8]) -> list[bytes]:
        """One code for each array; no code needs another one."""
        return [self.encode(array) for array in arrays]

    def decode_all(self, codes: Sequence[bytes]) -> Array8:
        """The decoded arrays [n, ...]."""
        return np.stack([self.decode(code) for code in codes])

    def size(self, array: Array8) -> int:
        """Bytes that :meth:`encode` makes of it."""
        return len(self.encode(array))

    def bare(self, code: bytes) -> int:
        """Bytes of ``code`` less what a receiver could be told once and for all."""
        return len(code)


def cheapest(candidates: Sequence[Codec], sample: Sequence[Array8]) -> Codec:
    """The codec of the fewest bytes on ``sample``; the first of equals."""
    return min(candidates, key=lambda codec: sum(codec.size(one) for one in sample))
