"""What a packet must be allowed and a frame of packets may need: adversaries and every case."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from codec_backends import encode_into
from codec_near_profiles import near_profile
from codec_profiles import hostile_packets, neighbour_profile, put_dearest
from independent_codec import IndependentCodec, Interval
from independent_model import Model

from isthmus.codec.bound import RATES
from isthmus.codec.packets import smallest_packet
from isthmus.codec.reference import encode_levels, frame_bytes_max
from isthmus.native import NativeCodec
from isthmus.profile import Profile


def flat_shifts(codec: IndependentCodec, unit: list[int]) -> int:
    """Bytes that leave the coder for a unit that is flat from its start."""
    model, interval = Model(codec.profile, 0, 0, flat=True), Interval()
    codec.code(model, interval, unit)
    return interval.shifts


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("levels", "most"), [(2, 9), (3, 6), (4, 5), (5, 4), (16, 2), (17, 2)])
def test_every_short_unit_fits_flat(levels: int, most: int, rate: int) -> None:
    for count in range(1, most + 1):
        profile = neighbour_profile(levels, (count,), rate=rate, seed=1)
        codec = IndependentCodec(profile.canonical())
        allowed = smallest_packet(levels, rate, count) - 13
        for unit in itertools.product(range(levels), repeat=count):
            assert flat_shifts(codec, list(unit)) <= allowed, unit


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("levels", [2, 3, 4, 7, 8, 15, 16, 17, 31, 100, 256])
def test_dear_units_fit_flat(levels: int, rate: int) -> None:
    """The dearest level at every step, one level alone, two in turn: units of many sizes."""
    most = 300
    profile = neighbour_profile(levels, (most,), rate=rate, seed=1, classes=1, channels=1)
    codec = IndependentCodec(profile.canonical())
    greedy, spent = Model(codec.profile, 0, 0, flat=True), 0.0
    for _ in range(most):
        spent += put_dearest(greedy, levels, spent)
    rng = np.random.default_rng(levels)
    top = levels - 1
    units = [greedy.levels, [top] * most, [0] * most, [0, top] * (most // 2),
             rng.integers(0, levels, most).tolist(), rng.integers(0, 2, most) * top,
             [(levels * 15 // 16)] * most]  # fmt: skip
    for unit in units:
        model, interval = Model(codec.profile, 0, 0, flat=True), Interval()
        for count, level in enumerate(unit, start=1):
            codec.code(model, interval, [int(level)])
            assert interval.shifts <= smallest_packet(levels, rate, count) - 13, count


def hostile_profiles() -> dict[str, Profile]:
    """Packets with many dear sets: small units of many channels, large ones, a few levels, many."""
    many = {"channels": 64, "clusters": 64, "classes": 1}
    return {
        "n16_unit1": neighbour_profile(16, (4, 64), unit=1, packet_bytes=244, states="low", **many),
        "n16_looks": neighbour_profile(16, (24, 64), unit=1, packet_bytes=540, states="low",
                                       **many),
        "n8_looks": neighbour_profile(8, (24, 64), unit=1, packet_bytes=260, states="low", **many),
        "n16_unit64": neighbour_profile(16, (9, 64), unit=64, packet_bytes=900, states="low",
                                        **many),
        "n2_unit2": neighbour_profile(2, (9, 64), unit=2, packet_bytes=60, states="extreme",
                                      **many),
        "n4_unit8": neighbour_profile(4, (9, 64), unit=8, packet_bytes=100, states="low", **many),
        "n4_one_set": neighbour_profile(4, (40, 32), unit=8, packet_bytes=80, states="extreme",
                                        channels=1, clusters=1, classes=1),
        "n256_unit4": neighbour_profile(256, (3, 64), unit=4, packet_bytes=300, states="low",
                                        **many),
        "n17_smallest": neighbour_profile(17, (6, 32), unit=8, states="high", channels=32,
                                          clusters=32, classes=2),
        "near_unit1": near_profile(2, (9, 64), unit=1, packet_bytes=120, kind="spike", channels=64),
        "near_unit64": near_profile(0, (9, 64), unit=64, kind="spike", channels=64),
        "near_escapes": near_profile(0, (9, 30), unit=5, packet_bytes=200, channels=1, own=1),
    }  # fmt: skip


@pytest.mark.parametrize("name", hostile_profiles())
def test_no_frame_is_longer_than_its_buffer(name: str) -> None:
    """A buffer of ISTH_FRAME_BYTES_MAX is enough for packets that are closed as early as can be."""
    profile = hostile_profiles()[name]
    flat = hostile_packets(profile)
    frame = encode_levels(profile, 0, 0, flat)
    limit = frame_bytes_max(profile)
    assert len(frame) <= limit
    _, length, _ = encode_into(NativeCodec(profile), 0, 0, flat, 0)
    assert length <= limit
    assert NativeCodec(profile).encode_levels(0, 0, flat) == frame
