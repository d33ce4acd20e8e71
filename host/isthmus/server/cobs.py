"""Frames on a byte stream: COBS around kind, payload and CRC-16, then a 0 byte (docs/links.md).

Consistent overhead byte stuffing (Cheshire and Baker 1999) takes every 0 out of the bytes, so that
a 0 ends a frame wherever a reader comes in. Sans-IO: bytes in, frames out.

    encode(KIND_UNIT, unit)             the bytes for the line, the 0 at the end included
    FrameReader(max_payload).feed(data) the frames that are complete, LinkError for each that is bad
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from isthmus.codec.frame import Octets
from isthmus.errors import LinkError

__all__ = [
    "KIND_ANSWER",
    "KIND_UNIT",
    "FrameReader",
    "LinkFrame",
    "cobs_decode",
    "cobs_encode",
    "crc16",
    "encode",
    "encoded_bytes_max",
]

KIND_UNIT = 0x01
KIND_ANSWER = 0x81
_RUN = 254
#: Kind and CRC-16: what a frame has beside its payload.
_FRAMING = 3


@dataclass(frozen=True, slots=True)
class LinkFrame:
    """One frame of the link: what it is, and what it carries."""

    kind: int
    payload: bytes


def crc16(data: Octets) -> int:
    """CRC-16/CCITT-FALSE: polynomial 1021, starting at FFFF, not reflected, not inverted."""
    return binascii.crc_hqx(data, 0xFFFF)


def cobs_encode(data: Octets) -> bytes:
    """``data`` without zero bytes, at most one byte longer for each 254 begun."""
    out = bytearray()
    parts = bytes(data).split(b"\0")
    for number, part in enumerate(parts):
        at = 0
        while len(part) - at >= _RUN:
            out.append(_RUN + 1)
            out += part[at : at + _RUN]
            at += _RUN
        # A full run says that no 0 follows; at the very end it needs nothing after it.
        if at < len(part) or number + 1 < len(parts) or not at:
            out.append(len(part) - at + 1)
            out += part[at:]
    return bytes(out)


def cobs_decode(data: Octets) -> bytes:
    """The bytes that ``cobs_encode`` was given; LinkError where ``data`` cannot be its output."""
    out = bytearray()
    view = memoryview(data)
    at = 0
    while at < len(view):
        code = view[at]
        run = view[at + 1 : at + code]
        if code == 0 or len(run) != code - 1 or 0 in run.tobytes():
            raise LinkError("link.frame", "is not COBS", allowed="a code and the bytes it counts")
        out += run
        at += code
        if code <= _RUN and at < len(view):
            out.append(0)
    return bytes(out)


def encoded_bytes_max(payload_bytes: int) -> int:
    """Bytes that no frame with a payload of that many bytes exceeds, its 0 included."""
    raw = payload_bytes + _FRAMING
    return raw + (raw + _RUN - 1) // _RUN + 1


def encode(kind: int, payload: Octets) -> bytes:
    """The frame as it goes onto the line."""
    raw = bytes((kind,)) + bytes(payload)
    return cobs_encode(raw + crc16(raw).to_bytes(2, "little")) + b"\0"


class FrameReader:
    """Parts a stream into frames. Holds no more bytes than the longest frame that is allowed.

    After anything that is not well formed it goes on behind the next 0. Zeros between frames mean
    nothing: a sender may begin with one, to end whatever was on the line before.
    """

    def __init__(self, max_payload: int) -> None:
        self.max_payload = max_payload
        self._limit = encoded_bytes_max(max_payload) - 1
        self._buffer = bytearray()
        self._lost = 0

    def feed(self, data: Octets) -> list[LinkFrame | LinkError]:
        """What ``data`` completes, in order: a frame, or the error for one that was bad."""
        out: list[LinkFrame | LinkError] = []
        raw = bytes(data)
        rest = memoryview(raw)
        at = 0
        while (end := raw.find(b"\0", at)) >= 0:
            self._keep(rest[at:end])
            at = end + 1
            found = self._finish()
            if found is not None:
                out.append(found)
        self._keep(rest[at:])
        return out

    def reset(self) -> None:
        """Forgets what came of an unfinished frame, for a line that was opened again."""
        self._buffer.clear()
        self._lost = 0

    def _keep(self, part: memoryview) -> None:
        if self._lost or len(self._buffer) + len(part) > self._limit:
            self._lost += len(self._buffer) + len(part)
            self._buffer.clear()
        else:
            self._buffer += part

    def _finish(self) -> LinkFrame | LinkError | None:
        """What the bytes up to a 0 are."""
        held, lost = bytes(self._buffer), self._lost
        self.reset()
        if lost:
            return LinkError(
                "link.frame", f"has {lost} bytes", allowed=f"{self._limit} before its 0",
                remedy="see that both ends are set to the same speed",
            )  # fmt: skip
        if not held:
            return None
        try:
            raw = cobs_decode(held)
        except LinkError as error:
            return error.with_traceback(None)
        if len(raw) < _FRAMING:
            return LinkError("link.frame", f"has {len(raw)} bytes", allowed=f">= {_FRAMING}")
        found = crc16(raw[:-2])
        if found != int.from_bytes(raw[-2:], "little"):
            return LinkError(
                "link.frame.crc",
                f"is {int.from_bytes(raw[-2:], 'little'):#06x}, the bytes give {found:#06x}",
                remedy="the frame was damaged on the line",
            )
        if len(raw) - _FRAMING > self.max_payload:
            return LinkError(
                "link.frame", f"has a payload of {len(raw) - _FRAMING} bytes",
                allowed=f"<= {self.max_payload}",
            )  # fmt: skip
        return LinkFrame(raw[0], raw[1:-2])
