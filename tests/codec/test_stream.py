"""The encoder's C interface: pieces, full buffers, states and arguments."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from codec_encoder import ARGUMENT, BUFFER, LEVEL, OK, RUNG, SLICE, STATE, Encoder, whole_frame
from codec_near_profiles import near_of_levels
from codec_profiles import level_patterns, make_profile, neighbour_profile, tensor_of
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.codec import encode_frame
from isthmus.codec.arithmetic import Writer
from isthmus.codec.reference import encode_payload
from isthmus.native import NativeCodec
from isthmus.native.build import load_library
from isthmus.profile import Profile

Make = Callable[..., Profile]


def pieces(flat: npt.NDArray[Any], cuts: list[int]) -> Iterator[npt.NDArray[Any]]:
    """``flat`` cut at the given places, empty pieces included."""
    edges = [0, *sorted(min(cut, len(flat)) for cut in cuts), len(flat)]
    for first, last in itertools.pairwise(edges):
        yield flat[first:last]


@settings(max_examples=150)
@given(
    dtype=st.sampled_from(["int8", "int16", "float32", "levels"]),
    levels=st.sampled_from([2, 4, 7, 16, 17, 100, 256]),
    slice_rows=st.integers(1, 6),
    cuts=st.lists(st.integers(0, 40), max_size=12),
    seed=st.integers(0, 1 << 30),
    make=st.sampled_from([make_profile, neighbour_profile, near_of_levels]),
)
def test_pieces_equal_one_call(
    dtype: str, levels: int, slice_rows: int, cuts: list[int], seed: int, make: Make
) -> None:
    profile = make(
        levels, (6, 3, 2), slice_rows=slice_rows, dtype="int8" if dtype == "levels" else dtype
    )
    flat = np.random.default_rng(seed).integers(0, levels, 36).astype(np.uint8)
    tensor = tensor_of(profile, flat)
    source = flat if dtype == "levels" else tensor.reshape(-1)
    frame = encode_frame(profile, 0, 513, tensor)
    encoder = Encoder(profile, 4096)
    at = done = 0
    for index in range(profile.slices):
        assert encoder.begin(0, 513, index, at) == OK
        count = profile.slice_elements(index)
        assert encoder.lib.isth_slice_elements(encoder.profile, index) == count
        for piece in pieces(source[done : done + count], cuts):
            assert encoder.push(piece) == OK
        assert encoder.finish() == OK
        at += encoder.length[0]
        done += count
    assert encoder.written(at) == frame
    assert encoder.lib.isth_slice_elements(encoder.profile, profile.slices) == 0


@pytest.mark.parametrize("pattern", list(level_patterns(2, 1)))
@pytest.mark.parametrize("levels", [2, 5, 256])
def test_final_state_is_the_reference_s(levels: int, pattern: str) -> None:
    """A desync shows where: (low, range, shifts) before the flush agree."""
    profile = make_profile(levels, (500,))
    flat = level_patterns(levels, 500)[pattern]
    _, state = encode_payload(profile.rungs[0], flat)
    encoder = Encoder(profile, 4096)
    assert encoder.begin() == OK
    assert encoder.push(flat) == OK
    held = encoder.encoder
    assert (held.low, held.range, held.position - 12) == (state.low, state.range, state.shifts)


@pytest.mark.parametrize("slice_rows", [20, 7])
@pytest.mark.parametrize("levels", [2, 4, 17, 256])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [make_profile, neighbour_profile, near_of_levels])
def test_every_capacity(levels: int, slice_rows: int, seed: int, make: Make) -> None:
    """Too small a buffer: status 14, a size that suffices, and no byte outside is touched."""
    profile = make(levels, (20, 8), slice_rows=slice_rows)
    flat = level_patterns(levels, 160, seed)[("random", "likely", "bursts")[seed]]
    tensor = tensor_of(profile, flat)
    frame = encode_frame(profile, 0, 9, tensor)
    for capacity in range(len(frame) + 20):
        encoder, status = whole_frame(profile, tensor, capacity)
        encoder.check_guards()
        size = encoder.length[0]
        if status == OK:
            assert capacity >= len(frame)
            assert encoder.written(size) == frame
            continue
        assert status == BUFFER
        assert capacity < size <= NativeCodec(profile).frame_max(0)
        second, status = whole_frame(profile, tensor, size)
        assert status == OK
        assert second.written(second.length[0]) == frame
    assert status == OK


def carry_levels() -> npt.NDArray[np.uint8]:
    """Bins that keep a byte boundary inside the interval for long, and then step over it.

    Once the boundary 2^32 is inside, the bin is taken whose part still holds it; so every byte that
    leaves is FF and the next one may carry through all of them. At the end a one is taken.
    """
    rng = np.random.default_rng(5)
    writer = Writer([32768], 5)
    chosen: list[int] = []

    def take(bin_: int) -> None:
        writer.write(0, bin_)
        chosen.append(bin_)

    while writer.low + writer.range <= 1 << 32:
        take(int(rng.integers(2)))
    for _ in range(150):
        split = writer.low + writer.range - (writer.range >> 12) * ((writer.contexts[0] + 8) >> 4)
        take(int(split <= 1 << 32))
    for _ in range(12):
        take(1)
    return np.array(chosen, dtype=np.uint8)


def longest_carry(levels: npt.NDArray[np.uint8]) -> int:
    """How many bytes already written one bin changed at most."""
    writer = Writer([32768], 5)
    most = 0
    before = b""
    for bin_ in levels.tolist():
        writer.write(0, bin_)
        after = bytes(writer._bytes)
        changed = sum(a != b for a, b in zip(before, after, strict=False))
        most = max(most, changed)
        before = after
    return most


def test_a_long_carry_at_every_capacity() -> None:
    levels = carry_levels()
    assert longest_carry(levels) >= 8, "the case must do what it is for"
    profile = make_profile(2, (len(levels),))
    tensor = tensor_of(profile, levels)
    frame = encode_frame(profile, 0, 9, tensor)
    for capacity in range(len(frame) + 4):
        encoder, status = whole_frame(profile, tensor, capacity)
        encoder.check_guards()
        if status == OK:
            assert encoder.written(encoder.length[0]) == frame
    assert status == OK


def test_overflow_is_sticky_and_counts_on() -> None:
    """After an overflow pushes still succeed; only finish reports it, with the whole size."""
    profile = make_profile(256, (4, 64))
    tensor = np.random.default_rng(0).integers(-128, 128, 256).astype(np.int8)
    encoder = Encoder(profile, 20)
    assert encoder.begin() == OK
    for row in tensor.reshape(4, 64):
        assert encoder.push(row) == OK
        encoder.check_guards()
    assert encoder.finish() == BUFFER
    need = encoder.length[0]
    assert len(encode_frame(profile, 0, 0, tensor.reshape(4, 64))) <= need
    assert encoder.finish() == STATE
    assert encoder.length[0] == 0
    second = Encoder(profile, need)
    assert [second.begin(), second.push(tensor), second.finish()] == [OK, OK, OK]


def test_states() -> None:
    profile = make_profile(4, (3, 2))
    tensor = np.array([-128, 127, 0, 50, -50, 1], dtype=np.int8)
    frame = encode_frame(profile, 0, 0, tensor.reshape(3, 2))
    encoder = Encoder(profile, 100)
    # zeroed memory is an encoder that was not begun
    assert encoder.push(tensor) == STATE
    assert encoder.push(tensor[:0]) == STATE
    assert encoder.finish() == STATE
    assert encoder.begin() == OK
    assert encoder.finish() == STATE, "finished before the slice is full"
    assert encoder.push(tensor[:4]) == OK
    assert encoder.push(tensor[:3]) == STATE, "one more than the slice holds"
    assert encoder.finish() == STATE
    assert encoder.push(tensor[4:]) == OK, "a refused call changes nothing"
    assert encoder.push(tensor[:1]) == STATE
    assert encoder.push(tensor[:0]) == OK
    assert encoder.finish() == OK
    assert encoder.written(encoder.length[0]) == frame
    assert encoder.finish() == STATE, "finished twice"
    assert encoder.push(tensor[:0]) == STATE, "pushed after the end"
    assert encoder.begin() == OK, "memory serves the next frame"
    assert [encoder.push(tensor), encoder.finish()] == [OK, OK]
    assert encoder.written(encoder.length[0]) == frame


def test_arguments() -> None:
    profile = make_profile((2, 4), (3, 2), slice_rows=2)
    tensor = np.zeros(4, dtype=np.int8)
    encoder = Encoder(profile, 100, contexts=1)
    for refused, status in (
        (lambda: encoder.begin(rung=2), RUNG),
        (lambda: encoder.begin(rung=0xFFFFFFFF), RUNG),
        (lambda: encoder.begin(slice_=2), SLICE),
        (lambda: encoder.begin(rung=1), ARGUMENT),
    ):
        assert encoder.begin() == OK
        assert refused() == status
        assert encoder.push(tensor) == STATE, "a refused begin leaves nothing open"
        assert encoder.written(100) == b"\xa5" * 100
    assert encoder.begin(rung=0) == OK, "one context is enough for two levels"
    assert encoder.push(tensor.astype(np.int16)) == ARGUMENT, "the profile has no int16 tables"
    assert encoder.push(np.array([0, 1, 2, 0], np.uint8)) == LEVEL
    assert encoder.push(tensor) == OK
    assert encoder.finish() == OK


@pytest.mark.parametrize("unit", [None, 6])
def test_states_and_arguments_of_format_1_1(unit: int | None) -> None:
    """The workspace counted to the word; a refused call changes nothing, in packets neither."""
    profile = neighbour_profile(4, (5, 12), unit=unit, seed=3, channels=3, step=4)
    levels = level_patterns(4, 60)["random"]
    tensor = tensor_of(profile, levels)
    frame = encode_frame(profile, 0, 0, tensor)
    words = NativeCodec(profile)._words
    choice = profile.rungs[0].contexts
    assert choice is not None
    assert words == profile.rungs[0].context_count + (4 + 12 + (unit or 0) + 1) // 2
    assert Encoder(profile, 400, contexts=words - 1).begin() == ARGUMENT
    encoder = Encoder(profile, 400, contexts=words)
    assert [encoder.begin(slice_=1), encoder.begin(rung=1), encoder.begin()] == [SLICE, RUNG, OK]
    flat = tensor.reshape(-1)
    assert encoder.push(flat[:31]) == OK
    assert encoder.push(flat[:30]) == STATE, "one more than the tensor holds"
    assert encoder.finish() == STATE, "finished before its end"
    assert encoder.push(np.array([0, 4], np.uint8)) == LEVEL
    assert encoder.push(flat[31:].astype(np.int16)) == ARGUMENT
    assert encoder.push(levels[31:40]) == OK, "levels and values in one frame"
    assert encoder.push(flat[40:]) == OK
    assert encoder.finish() == OK
    assert encoder.written(encoder.length[0]) == frame
    assert encoder.finish() == STATE
    assert [encoder.begin(), encoder.push(flat), encoder.finish()] == [OK, OK, OK]
    assert encoder.written(encoder.length[0]) == frame, "memory serves the next frame"


@pytest.mark.parametrize("contexts", [0, 2])
def test_too_few_contexts_for_whole_frames(contexts: int) -> None:
    profile = make_profile(4, (4,))
    encoder = Encoder(profile, 100, contexts=contexts)
    lib, ffi = encoder.lib, encoder.ffi
    tensor = ffi.new("int8_t[]", 4)
    encoder.length[0] = 77
    status = lib.isth_encode_i8(
        encoder.encoder, encoder.profile, 0, 0, tensor, encoder.contexts, contexts, encoder.buffer,
        100, encoder.length,
    )  # fmt: skip
    assert status == ARGUMENT
    assert encoder.length[0] == 0, "a caller that ignores the status must send nothing"
    frame = encode_frame(profile, 0, 0, np.zeros(4, np.int8))
    levels = ffi.new("uint8_t[]", 4)
    info = ffi.new("isth_slice_info *")
    arguments = (encoder.profile, ffi.from_buffer("uint8_t[]", frame), len(frame))
    status = lib.isth_decode_levels(*arguments, encoder.contexts, contexts, levels, 4, info)
    assert status == ARGUMENT
    enough = ffi.new("uint16_t[]", 3)
    for room in range(4):
        assert lib.isth_decode_levels(*arguments, enough, 3, levels, room, info) == BUFFER
    assert lib.isth_decode_levels(*arguments, enough, 3, levels, 4, info) == OK


def test_encoder_and_contexts_fit_256_bytes() -> None:
    """Up to eight levels, on a machine with 64-bit pointers (less on a board)."""
    ffi, _ = load_library()
    assert ffi.sizeof("isth_encoder") + 2 * 7 <= 256


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_crc_is_zlib_s(first: bytes, second: bytes) -> None:
    ffi, lib = load_library()
    register = lib.isth_crc32(0xFFFFFFFF, ffi.from_buffer("uint8_t[]", first), len(first))
    register = lib.isth_crc32(register, ffi.from_buffer("uint8_t[]", second), len(second))
    assert register ^ 0xFFFFFFFF == zlib.crc32(first + second)
