"""Near-lossless frames that are damaged or that no encoder writes: each gets its number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from codec_backends import Backend
from codec_bad_near import bad_near, near_error_profiles
from codec_near_profiles import near_profile
from codec_profiles import hostile_levels, level_patterns, tensor_of
from independent_codec import IndependentCodec, RefusedError

from isthmus.decoder import Decoder
from isthmus.errors import FrameError
from isthmus.profile import Profile

Factory = Callable[[Profile], Backend]

DAMAGED = {
    **near_error_profiles(),
    "flat": near_profile(2, (4, 40), kind="spike", channels=40),
    "escapes": near_profile(9, (4, 8), own=1, kind="escape"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_every_bit_and_every_cut_counts(decoding_backend: Factory, name: str) -> None:
    profile = DAMAGED[name]
    codec = decoding_backend(profile)
    flat = level_patterns(profile.rungs[0].levels, profile.tensor.elements)["random"]
    if name == "flat":
        flat = hostile_levels(profile)
    frame = codec.encode(0, 1, tensor_of(profile, flat))
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameError):
            codec.decode(bytes(damaged))
    for size in range(len(frame)):
        with pytest.raises(FrameError) as caught:
            codec.decode(frame[:size])
        assert caught.value.name in ("truncated", "missing_slice")


def test_bad_frames_get_their_number(decoding_backend: Factory) -> None:
    """Reference, C and the independent decoder judge in the same order; errors say where."""
    for bad in bad_near():
        with pytest.raises(RefusedError) as refused:
            IndependentCodec(bad.profile.canonical()).decode(bad.frame)
        assert refused.value.code == bad.code, bad.name
        with pytest.raises(FrameError) as caught:
            decoding_backend(bad.profile).decode(bad.frame)
        assert caught.value.code == bad.code, bad.name
        assert caught.value.path.startswith("frame"), bad.name
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["near", "near_sliced", "near_packets"])
def test_payloads_damaged_behind_a_right_checksum(name: str) -> None:
    """What passes the checksum is still decoded to other levels, or refused alike by all."""
    profile = near_error_profiles()[name]
    independent = IndependentCodec(profile.canonical())
    flat = level_patterns(profile.rungs[0].levels, profile.tensor.elements)["random"].tolist()
    good = independent.encode_levels(0, 77, flat)
    take = independent.take if profile.packets is None else independent.take_packet
    payload, rest = take(good)[-2:]
    decoders = [Decoder(profile, "reference"), Decoder(profile, "native")]
    answers: dict[int, int] = {}
    for bit in range(8 * len(payload)):
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << bit % 8
        units = take(good)[3] if profile.packets is not None else 0
        head = (
            independent.header(0, 77, 0, bytes(changed))
            if profile.packets is None
            else independent.packet_header(0, 77, 0, int(units), bytes(changed), flat=False)
        )
        frame = head + bytes(changed) + rest
        expected: Any = 0
        levels: list[int] = []
        try:
            levels = independent.decode(frame).levels
            assert levels != flat
        except RefusedError as error:
            expected = error.code
        answers[expected] = answers.get(expected, 0) + 1
        for decoder in decoders:
            try:
                assert decoder.decode(frame).levels.reshape(-1).tolist() == levels
                found = 0
            except FrameError as error:
                found = error.code
            assert found == expected, bit
    assert answers[10] > 20


def test_features_are_the_values_of_the_levels() -> None:
    """Decoder: levels uint8 and features float32 of the profile's own values, batches too."""
    profile = near_profile((0, 4), (5, 4, 3), zero=20, slice_rows=2, seed=8)
    decoder = Decoder(profile)
    flat = level_patterns(256, 60)["random"]
    tensor = tensor_of(profile, flat)
    exact = decoder.decode(decoder.encode(tensor, rung=0, sequence=3))
    assert exact.features.dtype == np.float32
    assert np.array_equal(exact.features.reshape(-1), flat.astype(np.float32) - 20)
    near = decoder.decode(decoder.encode(tensor, rung=1))
    assert 0 < np.abs(near.features - exact.features).max() <= 4
    frames = [decoder.encode(tensor, rung=k) for k in (0, 1)]
    first, second = decoder.decode_batch([frames[0], frames[1][:-1]])
    assert not isinstance(first, FrameError)
    assert np.array_equal(first.levels, exact.levels)
    assert isinstance(second, FrameError)
