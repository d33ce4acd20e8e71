"""Frames to levels and features."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.codec.frame import Octets, SliceHeader
from isthmus.codec.packets import check_packets
from isthmus.codec.quantise import levels_of
from isthmus.codec.reference import (
    DecodedFrame,
    decode_frame,
    decode_slice,
    encode_frame,
    encode_levels,
    frame_view,
    rung_of,
)
from isthmus.conceal import METHODS, zero_level
from isthmus.conceal import conceal as fill
from isthmus.conceal_slices import SliceDecoder
from isthmus.errors import BuildError, FrameError, OptionError, ToolMissingError
from isthmus.native import NativeCodec
from isthmus.profile import Profile
from isthmus.restore import RestoreMode, Restorer

#: Frames that go through the restorer together: bounds what a large batch takes beside its results.
_RESTORED_AT_ONCE = 64

__all__ = [
    "CONCEALMENTS",
    "Backend",
    "Codec",
    "Decoded",
    "Decoder",
    "ReferenceCodec",
    "check_concealment",
    "make_codec",
]

CONCEALMENTS = ("auto", "restore", *METHODS)
"""What :meth:`Decoder.decode_slices` takes."""

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

    def decode_slice(self, data: Octets) -> npt.NDArray[np.uint8]:
        """The flat levels of the slice or packet at the start of ``data``; FrameError."""
        view = frame_view(data)
        header = SliceHeader.parse(self.profile, view, "slice")
        payload = bytes(view[header.header_bytes :][: header.payload_bytes])
        return decode_slice(self.profile, header, payload, "slice")

    def decode_batch(
        self, frames: Sequence[Octets], *, threads: int = 1
    ) -> list[DecodedFrame | FrameError]:
        """The levels of each frame, or its error; in Python more ``threads`` are no faster."""
        if threads < 1:
            raise OptionError("threads", f"is {threads}", allowed="1 or more")
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
    check_packets(profile)
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

    and of one decoded from slices (:meth:`Decoder.decode_slices`), else None and empty:

    received  bool of the tensor's shape, false where nothing arrived and features are concealed
    errors    why packets were not used
    """

    levels: npt.NDArray[np.uint8]
    features: npt.NDArray[np.float32]
    rung: int
    sequence: int
    received: npt.NDArray[np.bool_] | None = None
    errors: tuple[FrameError, ...] = ()


class Decoder:
    """Decodes the frames of one bundle.

        decoder = Decoder("out/resnet8")
        features = decoder.decode(frame).features

    Every bad frame raises its own FrameError; nothing is decoded with the wrong tables.
    ``restorer`` "none" leaves the bundle's restorer out: features are the profile's values then.
    """

    def __init__(
        self,
        bundle: Bundle | Profile | str | Path,
        backend: Backend = "auto",
        *,
        restorer: RestoreMode | Restorer = "auto",
    ) -> None:
        if isinstance(bundle, (str, Path)):
            bundle = Bundle.open(bundle)
        self.profile = bundle if isinstance(bundle, Profile) else bundle.profile
        self.codec = make_codec(self.profile, backend)
        self._backend = backend
        self.restorer = restorer if isinstance(restorer, Restorer) else Restorer(bundle, restorer)
        self._slices = SliceDecoder(self.profile, self.codec)

    def __reduce__(self) -> tuple[Any, tuple[Profile, Backend, Restorer]]:
        # The C tables belong to one process: another one (a pool's worker) makes its own.
        return _decoder, (self.profile, self._backend, self.restorer)

    def decode(self, frame: Octets) -> Decoded:
        """Levels and features of one frame; FrameError where it must not be decoded.

        DataDtypeError where ``frame`` is not bytes-like.
        """
        return self._finish(self.codec.decode(frame))

    def decode_batch(
        self, frames: Sequence[Octets], *, threads: int = 1
    ) -> list[Decoded | FrameError]:
        """Many frames, in C without the GIL; a bad frame yields its error, not a raise.

        Every result owns its arrays, so one that is kept does not keep the batch. Levels are
        decoded by ``threads`` threads (OptionError below 1).
        """
        results = self.codec.decode_batch(frames, threads=threads)
        if "conv" not in self.restorer.kinds:  # nothing is gained by a batch
            return [r if isinstance(r, FrameError) else self._finish(r) for r in results]
        out: list[Decoded | FrameError] = []
        for start in range(0, len(results), _RESTORED_AT_ONCE):
            out += self._finish_batch(results[start : start + _RESTORED_AT_ONCE])
        return out

    def decode_slices(self, packets: Iterable[Octets], conceal: str = "auto") -> Decoded:
        """What arrived of one frame that is cut into slices or packets, the rest concealed.

        ``packets`` hold a slice each (or several end to end): any of the frame's slices, in any
        order, some twice. Damaged ones count as missing, their errors are in the result.
        ``conceal`` is "zero", "mean", "nearest", "fit" or "caltec" (:mod:`isthmus.conceal`),
        "restore" for a restorer that was trained with losses, or "auto": that where the bundle has
        one, else "nearest", which keeps as much accuracy as "fit" and is the faster. SequenceError
        where two frames are mixed, MissingSliceError where nothing is left; OptionError.
        """
        check_concealment(conceal)
        part = self._slices(packets)
        features = self.conceal(part.levels, part.received, part.rung, conceal)
        return Decoded(part.levels, features, part.rung, part.sequence, part.received, part.errors)

    def conceal(
        self,
        levels: npt.NDArray[np.uint8],
        received: npt.NDArray[np.bool_],
        rung: int = 0,
        method: str = "auto",
    ) -> npt.NDArray[np.float32]:
        """Features of ``levels`` of which only ``received`` (bool, the same shape) arrived.

        For one tensor or [n, *shape]; ``method`` as in :meth:`decode_slices`.
        """
        check_concealment(method, "method")
        chosen = rung_of(self.profile, _integer("rung", rung))
        own = self.restorer.rungs[rung] if self.restorer.rungs else None
        trained = own is not None and own.net is not None and own.net.losses
        if method == "restore" and not trained:
            raise OptionError(
                "conceal", "is restore, and the bundle's restorer was not trained with losses",
                allowed=", ".join(METHODS),
            )  # fmt: skip
        missing = None if received.all() else ~received
        features = self.restorer.restore(levels, rung, missing)
        if missing is None or method == "restore" or (method == "auto" and trained):
            return features
        return fill(
            features,
            received,
            "nearest" if method == "auto" else method,
            batch=levels.ndim > len(self.profile.tensor.shape),
            zero=chosen.features(np.asarray(zero_level(chosen), np.uint8)),
            mean=None if own is None else own.mean,
        )

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
        features = self.restorer.restore(frame.levels, frame.rung)
        return Decoded(frame.levels, features, frame.rung, frame.sequence)

    def _finish_batch(
        self, frames: Sequence[DecodedFrame | FrameError]
    ) -> list[Decoded | FrameError]:
        """One call of the restorer for the frames of a rung; every result owns its array."""
        features: dict[int, npt.NDArray[np.float32]] = {}
        good = [(i, f) for i, f in enumerate(frames) if not isinstance(f, FrameError)]
        for rung in sorted({frame.rung for _, frame in good}):
            chosen = [(i, frame.levels) for i, frame in good if frame.rung == rung]
            restored = self.restorer.restore(np.stack([levels for _, levels in chosen]), rung)
            features |= {i: part.copy() for (i, _), part in zip(chosen, restored, strict=True)}
        return [
            f if isinstance(f, FrameError) else Decoded(f.levels, features[i], f.rung, f.sequence)
            for i, f in enumerate(frames)
        ]


def check_concealment(method: str, path: str = "conceal") -> None:
    """OptionError where ``method`` is none of :data:`CONCEALMENTS`."""
    if method not in CONCEALMENTS:
        raise OptionError(path, f"is {method!r:.60}", allowed=", ".join(CONCEALMENTS))


def _decoder(profile: Profile, backend: Backend, restorer: Restorer) -> Decoder:
    """A decoder that was pickled, made again."""
    return Decoder(profile, backend, restorer=restorer)


def _integer(name: str, value: Any) -> int:
    """``value`` as an int; OptionError for what only looks like one (2.0, True, "2")."""
    if isinstance(value, (bool, np.bool_)):
        raise OptionError(name, f"is {value!r}", allowed="an integer")
    try:
        return operator.index(value)
    except TypeError:
        raise OptionError(name, f"is {value!r:.60}", allowed="an integer") from None
