"""Isthmus itself: the frames of the C codec, header included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.codecs.base import Array8, Codec
from isthmus.decoder import make_codec
from isthmus.errors import FrameError
from isthmus.profile import Profile
from isthmus_gen.evaluate.rungs import header_bytes

__all__ = ["Isthmus"]


class Isthmus(Codec):
    """One rung of a profile. Levels are given, so that every codec codes the same ones; the frame
    is the one that the tensor itself would make (the codec's own tests hold that)."""

    lossless = True

    def __init__(self, name: str, setting: str, profile: Profile, rung: int) -> None:
        self.name = name
        self.setting = setting
        self._codec = make_codec(profile)
        self._rung = rung

    def encode(self, array: Array8) -> bytes:
        return self._codec.encode_levels(self._rung, 0, array)

    def encode_all(self, arrays: Iterable[Array8]) -> list[bytes]:
        return [
            self._codec.encode_levels(self._rung, number & 0xFFFF, array)
            for number, array in enumerate(arrays)
        ]

    def decode(self, code: bytes) -> Array8:
        return self._codec.decode(code).levels

    def decode_all(self, codes: Sequence[bytes]) -> Array8:
        found = self._codec.decode_batch(codes)
        for frame in found:
            if isinstance(frame, FrameError):
                raise frame
        return np.stack([frame.levels for frame in found if not isinstance(frame, FrameError)])

    def bare(self, code: bytes) -> int:
        return len(code) - header_bytes(code)
