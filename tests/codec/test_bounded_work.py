"""What the wire can make a decoder do: work and memory are the profile's, never the frame's."""

from __future__ import annotations

import array
import tracemalloc
from typing import Any

import numpy as np
import pytest
from codec_profiles import level_patterns, make_profile, neighbour_profile, tensor_of

from isthmus.codec.reference import decodable_bytes_max, frame_bytes_max, slices_of
from isthmus.decoder import Backend, Decoder
from isthmus.errors import DataDtypeError, FrameError, MissingSliceError, TrailingError
from isthmus.native import codec as native_codec
from isthmus.profile import Profile

BACKENDS: tuple[Backend, ...] = ("reference", "native")


def peak_bytes(call: Any) -> int:
    """The most memory that ``call`` held at once, beyond what was there before."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("slices", [1, 256])
def test_an_oversized_frame_is_not_copied(backend: Backend, slices: int) -> None:
    """16 MiB after the end of 256 slices: found, explained, and not copied even once."""
    profile = make_profile(4, (256, 3), slice_rows=256 // slices)
    decoder = Decoder(profile, backend)
    levels = level_patterns(4, 768)["random"]
    good = decoder.encode(tensor_of(profile, levels))
    tail = 1 << 24
    frame = memoryview(good + bytes(tail))
    caught: list[FrameError] = []

    def decode() -> None:
        for one in (frame, frame[: len(good) + 1]):
            with pytest.raises(TrailingError) as error:
                decoder.decode(one)
            caught.append(error.value)
        caught.extend(e for e in decoder.decode_batch([frame] * 3) if isinstance(e, FrameError))

    decode()  # pytest's own first-time allocations
    caught.clear()
    assert peak_bytes(decode) < tail // 8
    texts = [str(error) for error in caught]
    assert texts[0] == f"frame: goes on for {tail} bytes; allowed: {len(good)} bytes"
    assert texts[1] == f"frame: goes on for 1 bytes; allowed: {len(good)} bytes"
    assert texts[2:] == [texts[0]] * 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_follows_does_not_change_the_error(backend: Backend) -> None:
    """C sees a frame cut to the longest good one: the first error stays the first."""
    check_what_follows(make_profile(4, (6, 5), slice_rows=2), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("unit", [None, 5])
def test_what_follows_does_not_change_the_error_in_1_1(backend: Backend, unit: int | None) -> None:
    packet_bytes = None if unit is None else 20
    profile = neighbour_profile(
        16, (6, 5), slice_rows=None if unit else 2, unit=unit, packet_bytes=packet_bytes
    )
    check_what_follows(profile, backend)


def check_what_follows(profile: Profile, backend: Backend) -> None:
    """Every byte damaged: the same error whether or not more bytes follow than any frame has."""
    decoder = Decoder(profile, backend)
    good = decoder.encode(tensor_of(profile, level_patterns(profile.rungs[0].levels, 30)["random"]))
    long = bytes(decodable_bytes_max(profile))
    for at in range(len(good)):
        damaged = good[:at] + bytes([good[at] ^ 0x11]) + good[at + 1 :]
        with pytest.raises(FrameError) as short:
            decoder.decode(damaged)
        with pytest.raises(FrameError) as oversized:
            decoder.decode(damaged + long)
        assert short.value.name == oversized.value.name or short.value.name == "truncated"
    assert frame_bytes_max(profile) >= len(good)
    *_, (_, header, payload) = slices_of(profile, memoryview(good))
    with pytest.raises(MissingSliceError):
        decoder.decode(good[: -header.header_bytes - len(payload)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_result_does_not_keep_its_batch_alive(backend: Backend) -> None:
    profile = make_profile(4, (6, 5))
    decoder = Decoder(profile, backend)
    frame = decoder.encode(tensor_of(profile, level_patterns(4, 30)["random"]))
    for result in decoder.decode_batch([frame] * 3):
        assert not isinstance(result, FrameError)
        base = result.levels if result.levels.base is None else result.levels.base
        assert base.nbytes == 30


def test_a_batch_is_decoded_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of any size, frames longer than one included, give the answers of one call."""
    check_chunks(monkeypatch, make_profile(8, (16, 8), slice_rows=4))
    check_chunks(monkeypatch, neighbour_profile(8, (16, 8), slice_rows=4))
    check_chunks(monkeypatch, neighbour_profile(8, (16, 8), unit=4, packet_bytes=40))


def check_chunks(monkeypatch: pytest.MonkeyPatch, profile: Profile) -> None:
    """Frames of random levels, one with a tail, decoded in chunks of several sizes."""
    decoder = Decoder(profile, "native")
    rng = np.random.default_rng(5)
    levels = [rng.integers(0, 8, (16, 8)).astype(np.uint8) for _ in range(9)]
    frames = [decoder.codec.encode_levels(0, k, one) for k, one in enumerate(levels)]
    frames[4] += bytes(1000)
    for chunk in (1, 300, 700, 1 << 24):
        monkeypatch.setattr(native_codec, "_CHUNK", chunk)
        results = decoder.decode_batch(frames)
        assert len(results) == 9
        for k, (one, result) in enumerate(zip(levels, results, strict=True)):
            if k == 4:
                assert isinstance(result, TrailingError)
            else:
                assert not isinstance(result, FrameError)
                assert np.array_equal(result.levels, one)
                assert result.sequence == k


def test_memory_of_a_batch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty bad frames of 64 KiB elements: two tensors at a time, not forty.

    An error that is handed out, not raised, has no traceback to hold its batch's arrays by.
    """
    profile = make_profile(4, (256, 256))
    decoder = Decoder(profile, "native")
    monkeypatch.setattr(native_codec, "_CHUNK", 1 << 17)
    decoder.decode_batch([b""])
    assert peak_bytes(lambda: decoder.decode_batch([b"\x10"] * 40)) < 1 << 19


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("frame", [7, "text", None, [16, 0]], ids=repr)
def test_what_is_no_frame(backend: Backend, frame: Any) -> None:
    """7 is not a frame of seven zeros."""
    decoder = Decoder(make_profile(4, (6, 5)), backend)
    with pytest.raises(DataDtypeError, match=r"^frame: is a \w+; allowed: bytes"):
        decoder.decode(frame)
    with pytest.raises(DataDtypeError, match=r"^frame: is a "):
        decoder.decode_batch([b"", frame])


@pytest.mark.parametrize("backend", BACKENDS)
def test_octets_of_any_item_size(backend: Backend) -> None:
    """The length of a frame is counted in octets, whatever the buffer calls its items."""
    decoder = Decoder(make_profile(4, (6, 5)), backend)
    frame = decoder.encode(np.zeros((6, 5), np.int8))
    padded = frame + bytes(-len(frame) % 4)
    with pytest.raises(FrameError) as plain:
        decoder.decode(padded + bytes(4))
    with pytest.raises(FrameError) as words:
        decoder.decode(memoryview(array.array("I", padded + bytes(4))))
    assert str(words.value) == str(plain.value)
