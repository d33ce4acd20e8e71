"""Bad frames, each with the number that a decoder must answer.

They are built with the independent codec, so headers and checksums are right wherever the case is
about something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from codec_profiles import make_profile, tensor_of
from independent_codec import IndependentCodec

from isthmus.profile import Profile

TRUNCATED, VERSION, FLAGS, PROFILE, RUNG, SLICE, LENGTH, CHECKSUM = range(1, 9)
TRAILING, PAYLOAD, LEVEL, SEQUENCE, MISSING = range(9, 14)


@dataclass(frozen=True)
class BadFrame:
    """A frame, the profile to decode it with, and the number it must be refused with."""

    name: str
    profile_name: str
    profile: Profile
    frame: bytes
    code: int
    why: str


@lru_cache(maxsize=1)
def error_profiles() -> dict[str, Profile]:
    """The profiles of the bad frames."""
    return {
        "whole": make_profile((4, 7), (6, 5)),
        "sliced": make_profile((4, 7), (6, 5), slice_rows=2),
        "suffix": make_profile(17, (12,)),
        "nothing": make_profile(4, (0,)),
    }


def patched(frame: bytes, at: int, value: int) -> bytes:
    """``frame`` with one byte replaced."""
    return frame[:at] + bytes([value]) + frame[at + 1 :]


class Maker:
    """Frames of one profile."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.profile = error_profiles()[name]
        self.codec = IndependentCodec(self.profile.canonical())
        count = self.profile.tensor.elements
        self.levels = np.arange(count) * 5 // 3 % min(7, self.profile.rungs[-1].levels)
        self.tensor = tensor_of(self.profile, self.levels)

    def good(self, rung: int = 0, sequence: int = 77) -> bytes:
        """A good frame."""
        return self.codec.encode(rung, sequence, self.tensor)

    def slices(self, rung: int = 0, sequence: int = 77) -> list[bytes]:
        """A good frame's slices."""
        data = self.good(rung, sequence)
        out = []
        while data:
            *_, rest = self.codec.take(data)
            out.append(data[: len(data) - len(rest)])
            data = rest
        return out

    def payload(self, rung: int = 0) -> bytes:
        """The payload of the only slice."""
        return self.codec.take(self.good(rung))[3]

    def framed(self, payload: bytes, rung: int = 0, index: int = 0) -> bytes:
        """Any payload behind a header that is right in every field."""
        return self.codec.header(rung, 77, index, payload) + payload

    def bad(self, name: str, frame: bytes, code: int, why: str) -> BadFrame:
        """A case of this profile."""
        return BadFrame(f"{self.name}_{name}", self.name, self.profile, frame, code, why)


def bad_frames() -> list[BadFrame]:
    """Every case."""
    return [*header_cases(), *slice_cases(), *payload_cases()]


def header_cases() -> Iterator[BadFrame]:
    """What the header of a frame of one slice can have wrong."""
    make = Maker("whole")
    good = make.good()
    yield make.bad("empty", b"", TRUNCATED, "no bytes")
    for size in (1, 7, 11):
        yield make.bad(f"header{size}", good[:size], TRUNCATED, f"{size} bytes of a header")
    yield make.bad("header_only", good[:12], TRUNCATED, "the payload is missing")
    yield make.bad("cut", good[:-1], TRUNCATED, "the payload's last byte is missing")
    for version in (0, 2, 15):
        frame = patched(good, 0, version << 4)
        yield make.bad(f"version{version}", frame, VERSION, f"version {version}")
    yield make.bad("version_first", b"\x2e", VERSION, "version is judged before flags and size")
    for bit in (1, 2, 3):
        yield make.bad(f"flag{bit}", patched(good, 0, 16 | 1 << bit), FLAGS, f"reserved bit {bit}")
    yield make.bad("flags_first", b"\x18", FLAGS, "flags are judged before the size")
    for at in (4, 5):
        frame = patched(good, at, good[at] ^ 1)
        yield make.bad(f"profile{at}", frame, PROFILE, f"byte {at} of another digest")
    yield make.bad("sliced_flag", patched(good, 0, 17), SLICE, "sliced, the profile is not")
    for rung in (2, 7):
        frame = patched(good, 1, rung << 5)
        yield make.bad(f"rung{rung}", frame, RUNG, f"rung {rung} of two")
    limit = make.profile.rungs[0].payload_max
    long = make.framed(b"\1" * (limit + 1))
    yield make.bad("length", long, LENGTH, "one byte more than payload_max, all there")
    yield make.bad("length21", patched(good, 1, 0x1F), LENGTH, "the length's upper bits set")
    yield make.bad("length_first", patched(good[:12], 1, 1), LENGTH, "judged before what is there")
    for at in (6, 8, 11):
        frame = patched(good, at, good[at] ^ 0x80)
        yield make.bad(f"checksum{at}", frame, CHECKSUM, f"byte {at} damaged")
    yield make.bad("checksum_payload", patched(good, 13, good[13] ^ 1), CHECKSUM, "payload damaged")
    other = make.codec.encode(1, 77, make.tensor)
    wrong = bytes([other[0], other[1] & 0x1F]) + other[2:]
    yield make.bad("checksum_rung", wrong, CHECKSUM, "rung 1's frame called rung 0's")
    digest = make.codec.digest
    make.codec.digest = digest[:2] + bytes(30)
    yield make.bad("digest", make.good(), CHECKSUM, "another digest with the same first bytes")
    make.codec.digest = digest
    for tail in (b"\0", b"\xff", good):
        yield make.bad(f"trailing{len(tail)}_{tail[0]:02x}", good + tail, TRAILING, "bytes follow")


def slice_cases() -> Iterator[BadFrame]:
    """What several slices can have wrong."""
    make = Maker("sliced")
    a, b, c = make.slices()
    yield make.bad("empty", b"", TRUNCATED, "no bytes")
    for size in (12, 13):
        yield make.bad(f"header{size}", a[:size], TRUNCATED, "a slice's header has 14 bytes")
    yield make.bad("whole_flag", patched(a + b + c, 0, 16), SLICE, "the profile is sliced")
    yield make.bad("cut", (a + b + c)[:-1], TRUNCATED, "the last slice is cut")
    yield make.bad("second_header", a + b[:9], TRUNCATED, "the second header is cut")
    yield make.bad("without_last", a + b, MISSING, "the last slice is missing")
    yield make.bad("only_first", a, MISSING, "two slices are missing")
    yield make.bad("without_middle", a + c, MISSING, "the middle slice is missing")
    yield make.bad("without_first", b + c, MISSING, "the first slice is missing")
    yield make.bad("swapped", a + c + b, MISSING, "slices out of order")
    yield make.bad("twice", a + a + b + c, SLICE, "the first slice twice")
    yield make.bad("last_twice", a + b + c + c, TRAILING, "the last slice twice")
    yield make.bad("back", a + b + a, SLICE, "the first slice in the third's place")
    yield make.bad("number", patched(a + b + c, 12, 3), SLICE, "slice 3 of three")
    yield make.bad("count", patched(a + b + c, 13, 3), SLICE, "of four slices")
    yield make.bad("count_small", patched(a + b + c, 13, 1), SLICE, "of two slices")
    other = make.slices(sequence=78)
    yield make.bad("sequences", a + other[1] + c, SEQUENCE, "a slice of the next frame")
    mixed = make.slices(rung=1)
    yield make.bad("rungs", a + mixed[1] + c, SEQUENCE, "a slice of another rung")
    both = a + other[2] + c
    yield make.bad("sequence_first", both, SEQUENCE, "sequence is judged before the slice number")
    yield make.bad("number_damaged", patched(a + b + c, 12, 1), CHECKSUM, "slice number damaged")
    yield make.bad("trailing", a + b + c + b"\x10", TRAILING, "a byte follows")
    garbage = b[:14] + bytes(255 - x for x in b[14:])
    yield make.bad("second_damaged", a + garbage + c, CHECKSUM, "the second payload damaged")


def payload_cases() -> Iterator[BadFrame]:
    """Payloads that no encoder writes, behind headers that are right."""
    make = Maker("whole")
    good = make.payload()
    yield make.bad("zero_byte", make.framed(good + b"\0"), PAYLOAD, "a zero byte at the end")
    yield make.bad("more", make.framed(good + b"\1"), PAYLOAD, "one byte more, same levels")
    yield make.bad("more4", make.framed(good + b"\0\0\0\1"), PAYLOAD, "four bytes more")
    longer = make.framed(good[:-1] + bytes([good[-1] - 1]) + b"\xff")
    yield make.bad("below", longer, PAYLOAD, "a longer number just below")
    yield make.bad("outside", make.framed(b"\xff" * 4), PAYLOAD, "outside the first interval")
    yield make.bad("outside5", make.framed(b"\xff" * 5), PAYLOAD, "outside the first interval")
    yield make.bad("zero", make.framed(b"\0"), PAYLOAD, "all-minimum with a needless byte")
    make = Maker("nothing")
    yield make.bad("something", make.framed(b"\1"), LENGTH, "a payload for no elements")
    make = Maker("suffix")
    for name, levels in (
        ("first", [17] + [0] * 11), ("last", [0] * 11 + [17]), ("all", [17] * 12)
    ):  # fmt: skip
        payload, _ = make.codec.encode_slice(0, levels)
        yield make.bad(f"level_{name}", make.framed(payload), LEVEL, "level 17 of 17")
    payload, _ = make.codec.encode_slice(0, [3] * 11 + [17])
    unclean = make.framed(payload + b"\1")
    yield make.bad("level_before_end", unclean, LEVEL, "a level is judged before the end")
    payload, _ = make.codec.encode_slice(0, [16] * 12)
    yield make.bad("zero_byte", make.framed(payload + b"\0"), PAYLOAD, "a zero byte at the end")
