"""Any subset of a frame's slices (or packets, BITSTREAM.md, 3) to levels: each decodes alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from isthmus.codec.frame import Octets, SliceHeader
from isthmus.codec.reference import decodable_bytes_max, frame_view
from isthmus.conceal import zero_level
from isthmus.errors import (
    ChecksumError,
    FrameError,
    MissingSliceError,
    SequenceError,
    SliceError,
    TruncatedError,
    frame_error,
)
from isthmus.profile import Profile

__all__ = ["PartialFrame", "SliceDecoder", "cut_frame"]


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


class SliceCodec(Protocol):
    """What is used of the C codec and of the reference."""

    def decode_slice(self, data: Octets) -> npt.NDArray[np.uint8]:
        """The flat levels of one slice."""


@dataclass(frozen=True)
class PartialFrame:
    """What arrived of a frame.

    levels    uint8 of the tensor's shape; missing elements hold the level of the value 0
    received  bool of the tensor's shape
    errors    why packets were not used, in the order of the packets; then payloads that are false
              under a right checksum
    """

    levels: npt.NDArray[np.uint8]
    received: npt.NDArray[np.bool_]
    rung: int
    sequence: int
    errors: tuple[FrameError, ...]


@dataclass(frozen=True)
class _Slice:
    """A slice whose header and checksum are right."""

    path: str
    header: SliceHeader
    octets: memoryview


class SliceDecoder:
    """Decodes the slices of one profile's frames. Safe to use from several threads."""

    def __init__(self, profile: Profile, codec: SliceCodec) -> None:
        self.profile = profile
        self._codec = codec

    def __call__(self, packets: Iterable[Octets]) -> PartialFrame:
        """The levels of the slices in ``packets``: any of them, in any order, some twice.

        A packet holds one slice, or several end to end. One that is damaged, truncated or of
        another profile counts as missing, its error is kept; of a slice that came twice the first
        good copy is taken. Time is linear in the packets' octets and the tensor's elements.

        SequenceError where slices of two frames (or rungs) are mixed, MissingSliceError where no
        slice is good, DataDtypeError where a packet is not bytes-like. Payloads that are false
        under a right checksum are no accidents: the error of one is raised when decoding them has
        taken as long as a frame.
        """
        good, errors = self._collect(packets)
        elements = self.profile.tensor.elements
        levels = np.zeros(elements, dtype=np.uint8)
        received = np.zeros(elements, dtype=np.bool_)
        done: set[tuple[int, int]] = set()
        spent = 0
        for one in good:
            place = one.header.first(self.profile), one.header.elements(self.profile)
            if place in done:
                continue
            at = slice(place[0], place[0] + place[1])
            try:
                if received[at].any():  # an encoder cuts a frame once
                    raise SliceError("slice.header", "overlaps a packet that came before it")
                spent += place[1]
                levels[at] = self._codec.decode_slice(one.octets)
            except FrameError as error:
                path = one.path + error.path.removeprefix("slice")
                errors.append(frame_error(error.code, path, error.what, allowed=error.allowed))
                if spent > 2 * elements:
                    raise errors[-1] from None
                continue
            received[at] = True
            done.add(place)
        if not done:
            why = f": {errors[0]}" if errors else ""
            raise MissingSliceError(
                "packets", f"hold no slice that can be decoded{why}", allowed="one or more"
            )
        rung, shape = good[0].header.rung, self.profile.tensor.shape
        blank = np.resize(zero_level(self.profile.rungs[rung]), levels.size)
        levels[~received] = blank[~received]
        return PartialFrame(
            levels.reshape(shape), received.reshape(shape), rung, good[0].header.sequence,
            tuple(errors),
        )  # fmt: skip

    def _collect(self, packets: Iterable[Octets]) -> tuple[list[_Slice], list[FrameError]]:
        """The slices with a right checksum, and what was wrong with others."""
        good: list[_Slice] = []
        errors: list[FrameError] = []
        for number, packet in enumerate(packets):
            for found in self._slices(f"packets[{number}]", frame_view(packet)):
                if isinstance(found, FrameError):
                    errors.append(found)
                    continue
                header = found.header
                first = good[0].header if good else header
                if (header.sequence, header.rung) != (first.sequence, first.rung):
                    raise SequenceError(
                        f"{found.path}.header.sequence",
                        f"is {header.sequence}, rung {header.rung}",
                        allowed=f"{first.sequence}, rung {first.rung}",
                        remedy="give the slices of one frame at a time",
                    )
                good.append(found)
        return good, errors

    def _slices(self, path: str, view: memoryview) -> Iterator[_Slice | FrameError]:
        """The slices in one packet; after one with a false checksum its length leads to the next.

        Of a packet that is longer than any frame nothing past that is looked at.
        """
        view = view[: decodable_bytes_max(self.profile)]
        at = 0
        while at == 0 or at < len(view):
            begin = at
            try:
                header = SliceHeader.parse(self.profile, view[begin:], path)
                at += header.header_bytes + header.payload_bytes
                yield _Slice(path, header, view[begin:at])
            except ChecksumError as error:
                header = SliceHeader.read(view[begin:], path)
                at += header.header_bytes + header.payload_bytes
                yield error.with_traceback(None)
            except FrameError as error:
                yield error.with_traceback(None)
                return
