"""Bad near-lossless frames, each with the number that a decoder must answer.

As in codec_bad_frames: the independent codec makes them, so that only what a case is about is
wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from codec_bad_frames import (
    CHECKSUM,
    FLAGS,
    LEVEL,
    MISSING,
    PAYLOAD,
    PROFILE,
    SLICE,
    TRUNCATED,
    BadFrame,
    patched,
)
from codec_near_profiles import near_profile
from codec_profiles import level_patterns
from independent_codec import IndependentCodec, Interval

from isthmus.profile import Profile


@lru_cache(maxsize=1)
def near_error_profiles() -> dict[str, Profile]:
    """The profiles of the bad frames: 52 levels, 6 bits each, 20 of them with a symbol."""
    given = {"seed": 5, "channels": 3, "own": 20}
    return {
        "near": near_profile(2, (6, 6), **given),
        "near_sliced": near_profile((0, 2), (6, 6), slice_rows=2, **given),
        "near_packets": near_profile(2, (8, 6), unit=6, packet_bytes=40, **given),
    }


class Maker:
    """Frames of one profile."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.profile = near_error_profiles()[name]
        self.codec = IndependentCodec(self.profile.canonical())
        count, rung = self.profile.tensor.elements, self.profile.rungs[0]
        self.levels = level_patterns(rung.levels, count, 4)["random"].tolist()
        assert rung.trained is not None
        self.own = [level for level, symbol in enumerate(rung.trained.symbols) if symbol]
        self.rare = [level for level, symbol in enumerate(rung.trained.symbols) if not symbol]

    def good(self) -> bytes:
        return self.codec.encode_levels(0, 77, self.levels)

    def framed(self, payload: bytes, *, flat: bool = False) -> bytes:
        """Any payload behind a header that is right in every field; the first packet or slice."""
        if self.profile.packets is not None:
            return self.codec.packet_header(0, 77, 0, 1, payload, flat=flat) + payload
        return self.codec.header(0, 77, 0, payload) + payload

    def coded(
        self, before: list[int], parts: list[tuple[int, int, int]], *, flat: bool = False
    ) -> bytes:
        """A payload of some levels, and then of any (start, size, b)."""
        model, interval = self.codec.model(0, 0, flat=flat), Interval()
        self.codec.code(model, interval, before)
        for start, size, bits in parts:
            interval.keep(start, size, bits)
        return interval.shortest()

    def escape(self, before: list[int]) -> tuple[int, int, int]:
        """The escape's part after some levels."""
        model = self.codec.model(0, 0)
        self.codec.code(model, Interval(), before)
        assert model.levels == before
        rung = self.profile.rungs[0].trained
        assert rung is not None
        start, size, bits = model.parts(self.rare[0])[0]  # type: ignore[union-attr]
        assert (start, bits) == (0, 16)
        return start, size, bits

    def bad(self, name: str, frame: bytes, code: int, why: str) -> BadFrame:
        return BadFrame(f"{self.name}_{name}", self.name, self.profile, frame, code, why)


def bad_near() -> list[BadFrame]:
    """Every case."""
    return [*payload_cases(), *header_cases(), *packet_cases()]


def payload_cases() -> Iterator[BadFrame]:
    """Payloads that no encoder writes, behind headers that are right."""
    make = Maker("near")
    good = make.coded(make.levels, [])
    yield make.bad("zero_byte", make.framed(good + b"\0"), PAYLOAD, "a zero byte at the end")
    yield make.bad("more", make.framed(good + b"\1"), PAYLOAD, "one byte more, same levels")
    yield make.bad("less", make.framed(good[:-1]), PAYLOAD, "the last byte left out")
    yield make.bad("outside", make.framed(b"\xff" * 4), PAYLOAD, "outside the first interval")
    last = (65535 * 65535).to_bytes(4, "big")
    yield make.bad("rest", make.framed(last), PAYLOAD, "the part after the last symbol's")
    for name, before in (("first", []), ("later", make.levels[:7])):
        payload = make.coded(before, [(65535, 1, 16)])
        yield make.bad(f"rest_{name}", make.framed(payload), PAYLOAD, "no symbol's part")
        escape = make.escape(before)
        for level, code, why in (
            (make.own[0], PAYLOAD, "an escape to a level with a symbol of its own"),
            (make.own[-1], PAYLOAD, "the same, of another level"),
            (52, LEVEL, "level 52 of 52"),
            (63, LEVEL, "level 63 of 52"),
        ):
            payload = make.coded(before, [escape, (level, 1, 6)])
            yield make.bad(f"escape{level}_{name}", make.framed(payload), code, why)
    unclean = make.coded(make.levels[:7], [make.escape(make.levels[:7]), (60, 1, 6)]) + b"\1"
    yield make.bad("level_before_end", make.framed(unclean), LEVEL, "judged before the end")


def header_cases() -> Iterator[BadFrame]:
    """Headers are those of the other codec: a case of each kind."""
    make = Maker("near_sliced")
    good = make.good()
    *_, second = make.codec.take(good)
    yield make.bad("empty", b"", TRUNCATED, "no bytes")
    yield make.bad("flat", patched(good, 0, 0x15), FLAGS, "the flat bit outside packets")
    yield make.bad("digest", patched(good, 4, good[4] ^ 1), PROFILE, "another digest")
    yield make.bad("missing", good[: -len(second)], MISSING, "the second slice is missing")
    yield make.bad("twice", good[: -len(second)] * 2, SLICE, "the first slice twice")
    yield make.bad("damaged", patched(good, 15, good[15] ^ 4), CHECKSUM, "payload damaged")


def packet_cases() -> Iterator[BadFrame]:
    """Packets, flat from their first element on or not."""
    make = Maker("near_packets")
    unit = make.levels[:6]
    for flat in (False, True):
        kind = "flat" if flat else "sets"
        good = make.coded(unit, [], flat=flat)
        more = make.framed(good + b"\1", flat=flat)
        yield make.bad(f"{kind}_more", more, PAYLOAD, "one byte more, same levels")
        short = make.framed(good, flat=flat)
        yield make.bad(f"{kind}_missing", short, MISSING, "the other packets are missing")
    for level in (52, 63):
        payload = make.coded(unit[:3], [(level, 1, 6)], flat=True)
        why = f"level {level} of 52"
        yield make.bad(f"flat_level{level}", make.framed(payload, flat=True), LEVEL, why)
    rest = (64 * ((2**32 - 1) // 64)).to_bytes(4, "big")
    yield make.bad("flat_rest", make.framed(rest, flat=True), PAYLOAD, "past 64 parts")
    other = make.framed(make.coded([make.rare[-1]] * 6, []), flat=True)
    yield make.bad("not_flat", other, LEVEL, "coded with symbols, called flat")
