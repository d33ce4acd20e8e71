"""Frames to levels and features."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.codec.frame import Octets
from isthmus.codec.quantise import levels_of
from isthmus.codec.reference import (
    DecodedFrame,
    decode_frame,
    encode_frame,
    encode_levels,
    rung_of,
)
from isthmus.errors import BuildError, FrameError, OptionError, ToolMissingError
from isthmus.native import NativeCodec
from isthmus.profile import Profile
from isthmus.restore import Restorer

__all__ = ["Backend", "Codec", "Decoded", "Decoder", "ReferenceCodec", "make_codec"]

Backend = Literal["auto", "native", "reference"]


class ReferenceCodec:
    """The normative Python codec behind the same methods as :class:`NativeCodec`."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def encode(self, rung: int, sequence: int, tensor: npt.NDArray[Any]) -> bytes:
        """The frame for a tensor of the profile's shape."""
        return encode_frame(self.profile, rung, sequence, tensor)

    def encode_levels(self, rung: int, sequence: int, levels: npt.NDArray[np.uint8]) -> bytes:
        """The frame for levels."""
        return encode_levels(self.profile, rung, sequence, levels)

    def decode(self, frame: Octets) -> DecodedFrame:
        """The levels of one frame."""
        return decode_frame(self.profile, frame)

    def decode_batch(self, frames: Sequence[Octets]) -> list[DecodedFrame | FrameError]:
        """The levels of each frame, or its error."""
        out: list[DecodedFrame | FrameError] = []
        for frame in frames:
            try:
                out.append(decode_frame(self.profile, frame))
            except FrameError as error:
                out.append(error.with_traceback(None))
        return out


Codec = NativeCodec | ReferenceCodec


def make_codec(profile: Profile, backend: Backend = "auto") -> Codec:
    """A codec for ``profile``: "native" (C), "reference" (Python), or "auto".

    "auto" is C wherever it can be built, else the reference with a RuntimeWarning that says why:
    it is some hundred times slower, never different.
    """
    if backend not in ("auto", "native", "reference"):
        raise OptionError("backend", f"is {backend!r}", allowed="auto, native, reference")
    if backend == "reference":
        return ReferenceCodec(profile)
    try:
        return NativeCodec(profile)
    except ToolMissingError:
        if backend == "native":
            raise
        why = 'no C compiler: the slow reference codec is used; pip install "isthmus[native]"'
    except BuildError as error:
        if backend == "native":
            raise
        why = f"the slow reference codec is used: {error}"
    warnings.warn(why, RuntimeWarning, stacklevel=2)
    return ReferenceCodec(profile)


@dataclass(frozen=True)
class Decoded:
    """One decoded frame.

    levels    uint8 of the tensor's shape
    features  float32 of the tensor's shape, in the network's units
    """

    levels: npt.NDArray[np.uint8]
    features: npt.NDArray[np.float32]
    rung: int
    sequence: int


class Decoder:
    """Decodes the frames of one bundle.

        decoder = Decoder("out/resnet8")
        features = decoder.decode(frame).features

    Every bad frame raises its own FrameError; nothing is decoded with the wrong tables.
    """

    def __init__(self, bundle: Bundle | Profile | str | Path, backend: Backend = "auto") -> None:
        if isinstance(bundle, (str, Path)):
            bundle = Bundle.open(bundle)
        self.profile = bundle if isinstance(bundle, Profile) else bundle.profile
        self.codec = make_codec(self.profile, backend)
        self._backend = backend
        self._restore = Restorer(self.profile)

    def __reduce__(self) -> tuple[type[Decoder], tuple[Profile, Backend]]:
        # The C tables belong to one process: another one (a pool's worker) makes its own.
        return type(self), (self.profile, self._backend)

    def decode(self, frame: Octets) -> Decoded:
        """Levels and features of one frame; FrameError where it must not be decoded.

        DataDtypeError where ``frame`` is not bytes-like.
        """
        return self._finish(self.codec.decode(frame))

    def decode_batch(self, frames: Sequence[Octets]) -> list[Decoded | FrameError]:
        """Many frames, in C without the GIL; a bad frame yields its error, not a raise.

        Every result owns its arrays, so one that is kept does not keep the batch.
        """
        results = self.codec.decode_batch(frames)
        return [r if isinstance(r, FrameError) else self._finish(r) for r in results]

    def encode(self, tensor: npt.NDArray[Any], *, rung: int = 0, sequence: int = 0) -> bytes:
        """The frame the firmware would send for ``tensor`` (int8, int16 or float32).

        OptionError where rung or sequence is no integer or the sequence not in 0..65535, RungError
        where the ladder has no such rung, DataShapeError, DataDtypeError.
        """
        number = _integer("sequence", sequence)
        if not 0 <= number <= 0xFFFF:
            raise OptionError("sequence", f"is {number}", allowed="0..65535")
        return self.codec.encode(_integer("rung", rung), number, np.asarray(tensor))

    def levels(self, tensor: npt.NDArray[Any], rung: int = 0) -> npt.NDArray[np.uint8]:
        """The quantised levels of ``tensor``, in its shape."""
        chosen = rung_of(self.profile, _integer("rung", rung))
        flat = levels_of(self.profile, chosen, np.asarray(tensor))
        return flat.reshape(self.profile.tensor.shape)

    def _finish(self, frame: DecodedFrame) -> Decoded:
        return Decoded(
            frame.levels, self._restore(frame.levels, frame.rung), frame.rung, frame.sequence
        )


def _integer(name: str, value: Any) -> int:
    """``value`` as an int; OptionError for what only looks like one (2.0, True, "2")."""
    if isinstance(value, (bool, np.bool_)):
        raise OptionError(name, f"is {value!r}", allowed="an integer")
    try:
        return operator.index(value)
    except TypeError:
        raise OptionError(name, f"is {value!r:.60}", allowed="an integer") from None
