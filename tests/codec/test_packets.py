"""Frames cut into packets: the same cut everywhere, any division decoded, every check in order."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from codec_backends import Backend
from codec_bad_packets import bad_packets, packet_profiles, split_packets
from codec_encoder import BUFFER, OK, Encoder, whole_frame
from codec_near_profiles import near_profile
from codec_profiles import (
    STATES,
    hostile_levels,
    level_patterns,
    make_profile,
    neighbour_profile,
    tensor_of,
    with_packets,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from independent_codec import IndependentCodec, Interval, RefusedError

from isthmus.codec import decode_frame, encode_frame
from isthmus.codec.reference import encode_levels, frame_bytes_max
from isthmus.decoder import Decoder
from isthmus.errors import FrameError
from isthmus.native import NativeCodec
from isthmus.profile import Profile

Factory = Callable[[Profile], Backend]


def cases() -> dict[str, Profile]:
    """Packets of every scheme: small and large units, many packets and one."""
    return {
        "small": neighbour_profile(4, (6, 5, 8), unit=8, packet_bytes=36, states="even"),
        "rows": neighbour_profile((2, 9), (12, 4, 6), unit=24, packet_bytes=64, seed=2),
        "ones": neighbour_profile(3, (9, 40), unit=1, packet_bytes=40, seed=3),
        "odd": neighbour_profile(20, (5, 30), unit=10, channels=6, packet_bytes=120, seed=4),
        "large": neighbour_profile(256, (8, 12), unit=4, packet_bytes=400, seed=5),
        "int16": neighbour_profile(5, (7, 3, 8), unit=12, packet_bytes=70, dtype="int16", seed=6),
        "float32": neighbour_profile(6, (90,), unit=9, packet_bytes=60, dtype="float32", seed=7),
        "paper": with_packets(make_profile((4, 17), (6, 5, 8)), 8, 130),
        "flat": neighbour_profile(4, (6, 48), unit=48, channels=48, clusters=48, classes=1,
                                  states="extreme", seed=3),
        "near": near_profile((0, 2), (6, 5, 8), unit=8, packet_bytes=60, seed=1),
        "near_ones": near_profile(9, (9, 40), unit=1, packet_bytes=40, kind="steep", seed=2),
        "near_float32": near_profile(1, (90,), unit=9, dtype="float32", seed=3),
        "near_flat": near_profile(4, (6, 48), unit=48, kind="spike", channels=48),
    }  # fmt: skip


CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_every_implementation_cuts_alike(backend: Factory, name: str) -> None:
    profile = CASES[name]
    assert profile.packets is not None
    under_test = backend(profile)
    for rung, chosen in enumerate(profile.rungs):
        most = max(each.levels for each in profile.rungs)
        patterns = level_patterns(most, profile.tensor.elements)
        if rung == 0:
            patterns["hostile"] = hostile_levels(profile)
        for pattern, levels in patterns.items():
            tensor = tensor_of(profile, levels)
            frame = under_test.encode(rung, 3, tensor)
            assert frame == encode_frame(profile, rung, 3, tensor), pattern
            assert len(frame) <= frame_bytes_max(profile, chosen), pattern
            parts = split_packets(profile, frame)
            assert all(len(part) <= profile.packets.bytes for part in parts), pattern
            got = under_test.decode(frame)
            expected = decode_frame(profile, frame).levels.reshape(-1)
            assert got is None or np.array_equal(got, expected), pattern


def test_the_cases_do_what_they_are_for() -> None:
    """Frames of one packet and of many, packets of 256 units, and flat ones."""
    ones = CASES["ones"]
    zero = encode_levels(ones, 0, 0, np.zeros(360, np.uint8))
    assert [part[7] + 1 for part in split_packets(ones, zero)] == [256, 104]
    for name in ("flat", "near_flat"):
        hard = CASES[name]
        frame = encode_levels(hard, 0, 0, hostile_levels(hard))
        assert any(part[0] & 4 for part in split_packets(hard, frame)), name
    random = level_patterns(4, 240)["random"]
    assert len(split_packets(CASES["small"], encode_levels(CASES["small"], 0, 0, random))) >= 3


@st.composite
def packets_and_levels(draw: st.DrawFn) -> tuple[Profile, npt.NDArray[np.uint8]]:
    levels = draw(st.sampled_from([2, 3, 4, 8, 16, 17, 256]))
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    row = int(np.prod(shape[1:] if len(shape) > 1 else shape))
    unit = draw(st.sampled_from([n for n in range(1, row + 1) if row % n == 0]))
    seed = draw(st.integers(0, 2**32 - 1))
    profile = neighbour_profile(
        levels, shape, seed=seed, states=draw(st.sampled_from(STATES)), unit=unit,
        clusters=draw(st.sampled_from([None, 1, row])), rate=draw(st.integers(5, 7)),
    )  # fmt: skip
    assert profile.packets is not None
    if draw(st.booleans()):
        profile = with_packets(profile, unit, profile.packets.bytes + draw(st.integers(0, 99)))
    count = profile.tensor.elements
    if count < 200 and draw(st.booleans()):
        return profile, hostile_levels(profile)
    name = draw(st.sampled_from(["random", "likely", "maximum", "bursts"]))
    return profile, level_patterns(levels, count, seed)[name]


@settings(max_examples=100)
@given(packets_and_levels())
def test_any_packets_any_tensor(case: tuple[Profile, npt.NDArray[np.uint8]]) -> None:
    profile, flat = case
    frame = encode_levels(profile, 0, 65535, flat)
    native = NativeCodec(profile)
    independent = IndependentCodec(profile.canonical())
    assert native.encode_levels(0, 65535, flat) == frame
    assert independent.encode_levels(0, 65535, flat.tolist()) == frame
    assert np.array_equal(native.decode(frame).levels.reshape(-1), flat)
    assert np.array_equal(decode_frame(profile, frame).levels.reshape(-1), flat)
    assert independent.decode(frame).levels == flat.tolist()
    assert len(frame) <= native.frame_max(0)


def divided(
    profile: Profile, flat: npt.NDArray[np.uint8], cuts: list[int], every: int
) -> list[bytes]:
    """Packets of the independent codec, divided at ``cuts``; each ``every``-th one is flat."""
    codec = IndependentCodec(profile.canonical())
    assert profile.packets is not None
    unit = profile.packets.unit
    out = []
    for number, (first, last) in enumerate(itertools.pairwise(cuts)):
        forced = every != 0 and number % every == 0
        model, interval = codec.model(0, first * unit, flat=forced), Interval()
        codec.code(model, interval, flat[first * unit : last * unit].tolist())
        payload = interval.shortest()
        header = codec.packet_header(0, 9, first, last - first, payload, flat=forced)
        out.append(header + payload)
    return out


@pytest.mark.parametrize("every", [0, 1, 2])
@pytest.mark.parametrize("name", ["small", "ones", "odd", "paper", "near", "near_ones"])
def test_any_division_decodes(decoding_backend: Factory, name: str, every: int) -> None:
    """Packets of one unit each, or cut anywhere, flat or not: a decoder takes them all."""
    profile = CASES[name]
    assert profile.packets is not None
    units = profile.tensor.elements // profile.packets.unit
    flat = level_patterns(profile.rungs[0].levels, profile.tensor.elements)["likely"]
    for cuts in (list(range(units + 1)), sorted({0, 1, *range(4, units, 3), units})):
        parts = divided(profile, flat, cuts, every)
        assert all(len(part) <= profile.packets.bytes for part in parts)
        got: Any = decoding_backend(profile).decode(b"".join(parts))
        assert np.array_equal(got, flat)


def test_bad_packets_get_their_number(decoding_backend: Factory) -> None:
    """Reference, C and the independent decoder judge in the same order; errors say where."""
    for bad in bad_packets():
        with pytest.raises(RefusedError) as refused:
            IndependentCodec(bad.profile.canonical()).decode(bad.frame)
        with pytest.raises(FrameError) as caught:
            decoding_backend(bad.profile).decode(bad.frame)
        assert caught.value.code == refused.value.code == bad.code, bad.name
        assert caught.value.path.startswith("frame"), bad.name
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["small", "levels17"])
def test_every_bit_and_every_cut_counts(decoding_backend: Factory, name: str) -> None:
    profile = packet_profiles()[name]
    codec = decoding_backend(profile)
    flat = level_patterns(profile.rungs[0].levels, profile.tensor.elements)["random"]
    frame = codec.encode(0, 1, tensor_of(profile, flat))
    for bit in range(8 * min(len(frame), 80)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameError):
            codec.decode(bytes(damaged))
    for size in range(len(frame)):
        with pytest.raises(FrameError) as caught:
            codec.decode(frame[:size])
        assert caught.value.name in ("truncated", "missing_slice")


def test_a_batch_and_packets_one_by_one(decoding_backend: Factory) -> None:
    """Good and bad frames mixed keep their places; each packet decodes alone."""
    profile = packet_profiles()["small"]
    codec: Any = decoding_backend(profile)
    flat = level_patterns(4, profile.tensor.elements)["likely"]
    frame = codec.encode(0, 5, tensor_of(profile, flat))
    bad = [case for case in bad_packets() if case.profile_name == "small"]
    results = codec.codec.decode_batch([f for case in bad for f in (case.frame, frame)])
    for k, case in enumerate(bad):
        assert results[2 * k].code == case.code, case.name
        assert np.array_equal(results[2 * k + 1].levels.reshape(-1), flat)
    found = [codec.codec.decode_slice(part) for part in split_packets(profile, frame)]
    assert np.array_equal(np.concatenate(found), flat)


@pytest.mark.parametrize("backend_name", ["reference", "native"])
def test_what_follows_is_found_and_not_decoded(backend_name: Any) -> None:
    """A long tail does not change the answer, of the frame with most packets either."""
    profile = CASES["ones"]
    decoder = Decoder(profile, backend_name)
    flat = level_patterns(3, 360)["random"]
    frames = [
        encode_levels(profile, 0, 0, flat),
        b"".join(divided(profile, flat, list(range(361)), 1)),
    ]
    for frame in frames:
        for tail in (1, 100_000):
            with pytest.raises(FrameError) as caught:
                decoder.decode(frame + bytes(tail))
            assert str(caught.value) == (
                f"frame: goes on for {tail} bytes; allowed: {len(frame)} bytes"
            )


@pytest.mark.parametrize("name", ["small", "odd", "paper", "flat", "near", "near_flat"])
def test_every_capacity(name: str) -> None:
    """Too small a buffer: status 14, a size that suffices, and no byte outside is touched."""
    profile = CASES[name]
    levels = hostile_levels(profile) if name.endswith("flat") else None
    if levels is None:
        levels = level_patterns(profile.rungs[0].levels, profile.tensor.elements)["random"]
    tensor = tensor_of(profile, np.minimum(levels, profile.rungs[0].levels - 1))
    frame = encode_frame(profile, 0, 9, tensor)
    for capacity in range(len(frame) + 6):
        encoder, status = whole_frame(profile, tensor, capacity)
        encoder.check_guards()
        size = encoder.length[0]
        if status == OK:
            assert capacity >= len(frame)
            assert encoder.written(size) == frame
            continue
        assert status == BUFFER
        assert capacity < size
        second, status = whole_frame(profile, tensor, size)
        assert status == OK
        assert second.written(second.length[0]) == frame
    assert status == OK


@settings(max_examples=60)
@given(
    name=st.sampled_from(["small", "rows", "ones", "large", "flat", "near", "near_flat"]),
    cuts=st.lists(st.integers(0, 400), max_size=12),
    seed=st.integers(0, 99),
)
def test_pieces_equal_one_call_and_packets_are_ready_early(
    name: str, cuts: list[int], seed: int
) -> None:
    """Pushed in any pieces; what is ready before the end is a run of whole packets."""
    profile = CASES[name]
    levels = level_patterns(profile.rungs[0].levels, profile.tensor.elements, seed)["random"]
    tensor = tensor_of(profile, levels).reshape(-1)
    frame = encode_frame(profile, 0, 513, tensor.reshape(profile.tensor.shape))
    ends = [0, *itertools.accumulate(len(part) for part in split_packets(profile, frame))]
    encoder = Encoder(profile, len(frame) + 400)
    assert encoder.begin(0, 513) == OK
    edges = [0, *sorted(min(cut, len(tensor)) for cut in cuts), len(tensor)]
    for first, last in itertools.pairwise(edges):
        assert encoder.push(tensor[first:last]) == OK
        ready = encoder.lib.isth_encoder_ready(encoder.encoder)
        assert ready in ends
        assert encoder.written(ready) == frame[:ready]
    assert encoder.finish() == OK
    assert encoder.written(encoder.length[0]) == frame
    assert encoder.lib.isth_encoder_ready(encoder.encoder) == len(frame)
    at = 0
    while at < len(frame):
        at += encoder.lib.isth_packet_length(encoder.buffer + 64 + at)
        assert at in ends
