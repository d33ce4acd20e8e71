"""Any subset of a frame's slices to levels: what a lossy link leaves of a frame.

Slices decode alone, so a frame is whole for the coder as soon as every missing slice is replaced by
one of zeros; such slices are made once a rung. So the codec (C or reference) decodes one frame, in
one call, whatever the coder's scheme is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from isthmus.codec.frame import Octets, SliceHeader
from isthmus.codec.reference import (
    DecodedFrame,
    frame_bytes_max,
    frame_view,
    slice_path,
    slices_of,
)
from isthmus.conceal import zero_level
from isthmus.errors import (
    ChecksumError,
    FrameError,
    LevelError,
    MissingSliceError,
    PayloadError,
    SequenceError,
    TruncatedError,
)
from isthmus.profile import Profile

__all__ = ["PartialFrame", "SliceDecoder", "cut_frame"]

#: Slices of one frame whose checksum is right and whose payload is not that are taken as missing.
#: Each costs a frame's decoding; damage on the way makes one in 2^32, so more are an attack.
_BAD_PAYLOADS = 3


def cut_frame(frame: Octets) -> list[bytes]:
    """The slices of a frame, by the lengths that their headers give: one a packet, to be sent.

    FrameError where a header cannot be read or the frame ends early.
    """
    view = frame_view(frame)
    out: list[bytes] = []
    while not out or len(view):
        header = SliceHeader.read(view, f"frame.slices[{len(out)}]")
        end = header.header_bytes + header.payload_bytes
        if len(view) < end:
            raise TruncatedError(
                f"frame.slices[{len(out)}]", f"has {len(view)} bytes", allowed=f"{end} bytes"
            )
        out.append(bytes(view[:end]))
        view = view[end:]
    return out


class FrameCodec(Protocol):
    """What is used of the C codec and of the reference."""

    def decode(self, frame: Octets) -> DecodedFrame:
        """The levels of a whole frame."""

    def encode_levels(self, rung: int, sequence: int, levels: npt.NDArray[np.uint8]) -> bytes:
        """The frame of some levels."""


@dataclass(frozen=True)
class PartialFrame:
    """What arrived of a frame.

    levels    uint8 of the tensor's shape; missing elements hold the level of the value 0
    received  bool of the tensor's shape
    errors    why packets were not used, in the order of the packets
    """

    levels: npt.NDArray[np.uint8]
    received: npt.NDArray[np.bool_]
    rung: int
    sequence: int
    errors: tuple[FrameError, ...]


class SliceDecoder:
    """Decodes the slices of one profile's frames. Safe to use from several threads."""

    def __init__(self, profile: Profile, codec: FrameCodec) -> None:
        self.profile = profile
        self._codec = codec
        self._blank: dict[int, list[bytes]] = {}

    def __call__(self, packets: Iterable[Octets]) -> PartialFrame:
        """The levels of the slices in ``packets``: any of them, in any order, some twice.

        A packet holds one slice, or several end to end. One that is damaged, truncated or of
        another profile counts as missing, its error is kept; of a slice that came twice the first
        good copy is taken. Time is linear in the packets' octets and the tensor's elements.

        SequenceError where slices of two frames (or rungs) are mixed, MissingSliceError where no
        slice is good, PayloadError or LevelError where more payloads than chance explains are
        false under a right checksum, DataDtypeError where a packet is not bytes-like.
        """
        good, errors = self._collect(packets)
        if not good:
            why = f": {errors[0]}" if errors else ""
            raise MissingSliceError(
                "packets", f"hold no slice that can be decoded{why}",
                allowed=f"one or more of {self.profile.slices} slices",
            )  # fmt: skip
        first = next(iter(good.values()))[0]
        for attempt in range(_BAD_PAYLOADS + 1):
            try:
                frame = self._codec.decode(self._frame(first, good))
                break
            except (PayloadError, LevelError) as error:
                bad = self._slice_of(error)
                if len(good) == 1 or attempt == _BAD_PAYLOADS or bad not in good:
                    raise
                errors.append(error.with_traceback(None))
                del good[bad]
        received, levels = self._received(good), frame.levels
        levels[~received] = zero_level(self.profile.rungs[first.rung])
        return PartialFrame(levels, received, first.rung, first.sequence, tuple(errors))

    def _collect(
        self, packets: Iterable[Octets]
    ) -> tuple[dict[int, tuple[SliceHeader, bytes]], list[FrameError]]:
        """The slices with a right checksum by their number, and what was wrong with others."""
        good: dict[int, tuple[SliceHeader, bytes]] = {}
        errors: list[FrameError] = []
        first: SliceHeader | None = None
        for number, packet in enumerate(packets):
            for found in self._slices(f"packets[{number}]", frame_view(packet)):
                if isinstance(found, FrameError):
                    errors.append(found)
                    continue
                header = found[0]
                first = first or header
                if (header.sequence, header.rung) != (first.sequence, first.rung):
                    raise SequenceError(
                        f"packets[{number}].header.sequence",
                        f"is {header.sequence}, rung {header.rung}",
                        allowed=f"{first.sequence}, rung {first.rung}",
                        remedy="give the slices of one frame at a time",
                    )
                good.setdefault(header.slice, found)
        return good, errors

    def _slices(
        self, path: str, view: memoryview
    ) -> Iterator[tuple[SliceHeader, bytes] | FrameError]:
        """The slices in one packet; after one with a false checksum its length leads to the next.

        Of a packet that is longer than any frame nothing past that is looked at.
        """
        view = view[: frame_bytes_max(self.profile)]
        at = 0
        while at == 0 or at < len(view):
            try:
                header = SliceHeader.parse(self.profile, view[at:], path)
                start, at = at + header.header_bytes, at + header.header_bytes
                at += header.payload_bytes
                yield header, bytes(view[start:at])
            except ChecksumError as error:
                header = SliceHeader.read(view[at:], path)
                at += header.header_bytes + header.payload_bytes
                yield error.with_traceback(None)
            except FrameError as error:
                yield error.with_traceback(None)
                return

    def _frame(self, first: SliceHeader, good: Mapping[int, tuple[SliceHeader, bytes]]) -> bytes:
        """A whole frame: the slices that are there, slices of zeros for the others."""
        blank = self._blanks(first.rung)
        return b"".join(
            dataclasses.replace(first, slice=index).write(
                self.profile.digest, good[index][1] if index in good else blank[index]
            )
            for index in range(self.profile.slices)
        )

    def _blanks(self, rung: int) -> list[bytes]:
        """The payload of every slice of a tensor of zeros."""
        if rung not in self._blank:
            level = zero_level(self.profile.rungs[rung])
            levels = np.full(self.profile.tensor.shape, level, dtype=np.uint8)
            frame = self._codec.encode_levels(rung, 0, levels)
            self._blank[rung] = [payload for _, _, payload in slices_of(self.profile, frame)]
        return self._blank[rung]

    def _slice_of(self, error: FrameError) -> int:
        """The slice that an error of the codec names, -1 if none."""
        for index in range(self.profile.slices):
            if error.path.startswith(f"{slice_path(self.profile, index)}."):
                return index
        return -1

    def _received(self, good: Iterable[int]) -> npt.NDArray[np.bool_]:
        """The mask of the slices in ``good``."""
        received = np.zeros(self.profile.tensor.elements, dtype=np.bool_)
        full = self.profile.slice_rows * self.profile.tensor.row_elements
        for index in good:
            received[index * full : index * full + self.profile.slice_elements(index)] = True
        return received.reshape(self.profile.tensor.shape)
