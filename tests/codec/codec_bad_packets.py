"""Bad frames of format 1.1, each with the number that a decoder must answer.

As in codec_bad_frames: the independent codec makes them, so that only what a case is about is
wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from codec_bad_frames import (
    CHECKSUM,
    FLAGS,
    LENGTH,
    LEVEL,
    MISSING,
    PAYLOAD,
    RUNG,
    SEQUENCE,
    SLICE,
    TRAILING,
    TRUNCATED,
    VERSION,
    BadFrame,
    patched,
)
from codec_profiles import level_patterns, make_profile, neighbour_profile, tensor_of, with_packets
from independent_codec import IndependentCodec, Interval
from independent_model import Model

from isthmus.profile import Profile


@lru_cache(maxsize=1)
def packet_profiles() -> dict[str, Profile]:
    """The profiles of the bad frames."""
    return {
        "small": neighbour_profile((4, 7), (8, 5, 8), unit=8, packet_bytes=40, states="even"),
        "levels17": neighbour_profile(17, (4, 6), unit=6, packet_bytes=90, states="even"),
        "paper": with_packets(make_profile((4, 7), (6, 8)), 8, 60),
        "sets": neighbour_profile((4, 7), (6, 8), slice_rows=3, states="even", seed=9),
    }


def split_packets(profile: Profile, frame: bytes) -> list[bytes]:
    """A good frame's packets."""
    codec = IndependentCodec(profile.canonical())
    out = []
    while frame:
        *_, rest = codec.take_packet(frame)
        out.append(frame[: len(frame) - len(rest)])
        frame = rest
    return out


class Maker:
    """Frames of one profile."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.profile = packet_profiles()[name]
        self.codec = IndependentCodec(self.profile.canonical())
        count = self.profile.tensor.elements
        flat = level_patterns(self.profile.rungs[-1].levels, count, 4)["random"]
        self.tensor = tensor_of(self.profile, flat)

    def good(self, rung: int = 0, sequence: int = 77) -> bytes:
        return self.codec.encode(rung, sequence, self.tensor)

    def packets(self, rung: int = 0, sequence: int = 77) -> list[bytes]:
        return split_packets(self.profile, self.good(rung, sequence))

    def framed(
        self, payload: bytes, first: int = 0, units: int = 1, *, flat: bool = False, rung: int = 0
    ) -> bytes:
        """Any payload behind a header that is right in every field."""
        return self.codec.packet_header(rung, 77, first, units, payload, flat=flat) + payload

    def coded(self, levels: list[int], *, flat: bool = False) -> bytes:
        """The payload of the first packet of ``levels``, which need not be below N."""
        model, interval = Model(self.codec.profile, 0, 0, flat=flat), Interval()
        self.codec.code(model, interval, levels)
        return interval.shortest()

    def bad(self, name: str, frame: bytes, code: int, why: str) -> BadFrame:
        return BadFrame(f"{self.name}_{name}", self.name, self.profile, frame, code, why)


def bad_packets() -> list[BadFrame]:
    """Every case."""
    return [*header_cases(), *frame_cases(), *payload_cases(), *slice_cases()]


def header_cases() -> Iterator[BadFrame]:
    """What a packet's header can have wrong, in the order of the checks."""
    make = Maker("small")
    good = make.good()
    yield make.bad("empty", b"", TRUNCATED, "no bytes")
    for size in (1, 11):
        yield make.bad(f"header{size}", good[:size], TRUNCATED, f"{size} bytes of a header")
    yield make.bad("version", patched(good, 0, 0x22), VERSION, "version 2")
    yield make.bad("version_first", b"\x2a", VERSION, "version is judged before flags and size")
    yield make.bad("flag3", patched(good, 0, 0x1A), FLAGS, "reserved bit 3")
    yield make.bad("flags_first", b"\x18", FLAGS, "flags are judged before the size")
    for low in (0, 1, 3):
        frame = patched(good, 0, 0x10 | low)
        yield make.bad(f"kind{low}", frame, SLICE, f"bits 1..0 are {low}, not 2")
    yield make.bad("size_first", b"\x10", TRUNCATED, "the size is judged before bits 1..0")
    both = patched(patched(good, 0, 0x10), 1, 0xE0)
    yield make.bad("kind_first", both, SLICE, "bits 1..0 are judged before the rung")
    for rung in (2, 7):
        yield make.bad(f"rung{rung}", patched(good, 1, rung << 5), RUNG, f"rung {rung} of two")
    both = patched(patched(good, 1, 0xE0), 5, 40)
    yield make.bad("rung_first", both, RUNG, "the rung is judged before the units")
    yield make.bad("unit", patched(good, 5, 40), SLICE, "first unit 40 of 40")
    yield make.bad("unit_high", patched(good, 6, 255), SLICE, "first unit 65280 of 40")
    yield make.bad("units", patched(good, 7, 40), SLICE, "41 units of 40")
    yield make.bad("units_all", patched(good, 7, 255), SLICE, "256 units of 40")
    both = patched(patched(good, 7, 255), 1, 0x1F)
    yield make.bad("units_first", both, SLICE, "units are judged before the length")
    long = make.framed(b"\1" * 29)
    yield make.bad("length", long, LENGTH, "one byte more than packets.bytes, all there")
    yield make.bad("length13", patched(good, 1, 0x1F), LENGTH, "the length's upper bits set")
    yield make.bad("length_first", patched(good[:12], 2, 29), LENGTH, "before what is there")
    yield make.bad("cut", good[: 11 + good[2]], TRUNCATED, "the payload's last byte is missing")
    for at in (3, 5, 7, 8, 11):
        change = 1 if at != 7 else good[7] ^ (good[7] - 1)
        frame = patched(good, at, good[at] ^ change)
        yield make.bad(f"checksum{at}", frame, CHECKSUM, f"byte {at} damaged")
    yield make.bad("checksum_flat", patched(good, 0, 0x16), CHECKSUM, "called flat")
    yield make.bad("checksum_payload", patched(good, 13, good[13] ^ 1), CHECKSUM, "payload damaged")
    digest = make.codec.digest
    make.codec.digest = digest[:31] + bytes([digest[31] ^ 1])
    yield make.bad("digest", make.good(), CHECKSUM, "another profile")
    make.codec.digest = digest


def frame_cases() -> Iterator[BadFrame]:
    """What a frame of several packets can have wrong."""
    make = Maker("small")
    a, b, c, *rest = make.packets()
    tail = b"".join(rest)
    yield make.bad("only_first", a, MISSING, "the other packets are missing")
    yield make.bad("without_last", (a + b + c + tail)[: -len(rest[-1])], MISSING, "the last one")
    yield make.bad("without_first", b + c + tail, MISSING, "the first packet is missing")
    yield make.bad("without_second", a + c + tail, MISSING, "the second packet is missing")
    yield make.bad("swapped", a + c + b + tail, MISSING, "packets out of order")
    yield make.bad("twice", a + a + b + c + tail, SLICE, "the first packet twice")
    yield make.bad("back", a + b + a + tail, SLICE, "the first packet in the third's place")
    other, mixed = make.packets(sequence=78), make.packets(rung=1)
    yield make.bad("sequences", a + other[1] + c + tail, SEQUENCE, "a packet of the next frame")
    yield make.bad("rungs", a + mixed[1] + c + tail, SEQUENCE, "a packet of another rung")
    yield make.bad("sequence_first", a + other[2] + c, SEQUENCE, "before the first unit")
    yield make.bad("second_header", a + b[:9], TRUNCATED, "the second header is cut")
    yield make.bad("second_kind", a + patched(b, 0, 0x11), SLICE, "the second is a slice")
    yield make.bad("second_damaged", a + b[:-1] + bytes([b[-1] ^ 1]) + c, CHECKSUM, "payload")
    for extra in (b"\0", a):
        name = f"trailing{len(extra)}"
        yield make.bad(name, a + b + c + tail + extra, TRAILING, "bytes follow")


def payload_cases() -> Iterator[BadFrame]:
    """Payloads that no encoder writes, behind headers that are right."""
    for name in ("small", "paper"):
        make = Maker(name)
        unit = [1, 0, 3, 2, 0, 0, 1, 2]
        for flat in (False, True):
            good = make.coded(unit, flat=flat)
            kind = "flat" if flat else "sets"
            zero = make.framed(good + b"\0", flat=flat)
            yield make.bad(f"{kind}_zero", zero, PAYLOAD, "a zero byte at the end")
            more = make.framed(good + b"\1", flat=flat)
            yield make.bad(f"{kind}_more", more, PAYLOAD, "one byte more, same levels")
        yield make.bad("outside", make.framed(b"\xff" * 4), PAYLOAD, "outside the first interval")
    make = Maker("small")
    other = make.framed(make.coded([3] * 8) + b"\1", flat=True)
    yield make.bad("not_flat", other, PAYLOAD, "coded with sets, called flat")
    make = Maker("levels17")
    for flat in (False, True):
        kind = "flat" if flat else "sets"
        payload = make.coded([0] * 5 + [17], flat=flat)
        yield make.bad(f"{kind}_level", make.framed(payload, flat=flat), LEVEL, "level 17 of 17")


def slice_cases() -> Iterator[BadFrame]:
    """Slices of scheme "neighbour": the checks of 1.0, with the flat bit still reserved."""
    make = Maker("sets")
    good = make.good()
    *_, payload, second = make.codec.take(good)
    yield make.bad("flat", patched(good, 0, 0x15), FLAGS, "the flat bit outside packets")
    yield make.bad("packet", patched(good, 0, 0x13), FLAGS, "the packets' bit in a slice")
    yield make.bad("missing", good[: -len(second)], MISSING, "the second slice is missing")
    long = payload + b"\0"
    frame = make.codec.header(0, 77, 0, long) + long + second
    yield make.bad("zero_byte", frame, PAYLOAD, "a zero byte at the end")
