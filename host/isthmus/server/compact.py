"""Compact answers: what a board is told over UDP, serial, or HTTP (docs/links.md).

byte   0      0x10: version 1
byte   1      status: 0, else the error's number (isthmus.errors)
bytes  2..3   sequence of the frame, little-endian; 0 where a refusal does not know it
byte   4      n
then   n x    index (2 bytes) and value (float32, 4 bytes), little-endian, largest value first

No sockets and no clocks: the links send these bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from isthmus.codec.frame import Octets, SliceHeader
from isthmus.errors import ERROR_TABLE, FrameError, IsthmusError, LinkError
from isthmus.server.types import Answer

__all__ = [
    "ANSWER_HEAD_BYTES",
    "ANSWER_VALUE_BYTES",
    "ANSWER_VERSION",
    "CompactAnswer",
    "pack_answer",
    "pack_refusal",
    "sequence_of",
    "unpack",
]

ANSWER_VERSION = 0x10
_HEAD = struct.Struct("<BBHB")
_VALUE = struct.Struct("<Hf")
ANSWER_HEAD_BYTES = _HEAD.size
ANSWER_VALUE_BYTES = _VALUE.size
_COUNT_MAX = 255
_INDEX_MAX = 0xFFFF
_CODES = frozenset(row.code for row in ERROR_TABLE)


@dataclass(frozen=True, slots=True)
class CompactAnswer:
    """A compact answer's fields; ``top`` holds (index, value), largest value first."""

    status: int
    sequence: int
    top: tuple[tuple[int, float], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether this is an answer and no refusal."""
        return self.status == 0


def pack_answer(answer: Answer, limit: int | None = None) -> bytes:
    """``answer`` as bytes: its largest values, at most 255 of them.

    With ``limit`` the smallest of them are left out until that many bytes hold the rest (5 bytes
    always come). Values of an output beyond index 65535 have no place in the format and are left
    out.
    """
    count = _COUNT_MAX
    if limit is not None:
        count = max(0, min(count, (limit - _HEAD.size) // _VALUE.size))
    top = [one for one in answer.top if one.index <= _INDEX_MAX][:count]
    out = bytearray(_HEAD.pack(ANSWER_VERSION, 0, answer.sequence & 0xFFFF, len(top)))
    for one in top:
        out += _VALUE.pack(one.index, one.value)
    return bytes(out)


def pack_refusal(error: IsthmusError, sequence: int = 0) -> bytes:
    """A refusal as five bytes: the error's number and the sequence of what was refused."""
    return _HEAD.pack(ANSWER_VERSION, error.code, sequence & 0xFFFF, 0)


def unpack(data: Octets) -> CompactAnswer:
    """The fields of a compact answer or refusal; LinkError where it is none, to the last byte."""
    if len(data) < _HEAD.size:
        raise LinkError("answer", f"has {len(data)} bytes", allowed=f">= {_HEAD.size} bytes")
    version, status, sequence, count = _HEAD.unpack_from(data)
    if version != ANSWER_VERSION:
        raise LinkError("answer.version", f"is {version:#04x}", allowed=f"{ANSWER_VERSION:#04x}")
    if status and status not in _CODES:
        raise LinkError("answer.status", f"is {status}", allowed="0 or an error's number")
    if status and count:
        raise LinkError("answer.count", f"is {count} in a refusal", allowed="0")
    need = _HEAD.size + count * _VALUE.size
    if len(data) != need:
        raise LinkError("answer", f"has {len(data)} bytes", allowed=f"{need} for {count} values")
    values = tuple(_VALUE.iter_unpack(memoryview(data)[_HEAD.size :]))
    return CompactAnswer(status, sequence, values)


def sequence_of(data: Octets) -> int:
    """The sequence in the header of a bare frame, slice or packet; 0 where none can be read.

    It goes into refusals only, so that a board can tell which of its frames is meant. A sealed
    unit gives 0: nothing in it is read before its seal is checked.
    """
    try:
        return SliceHeader.read(data).sequence
    except FrameError:
        return 0
