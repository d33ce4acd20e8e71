"""One behaviour suite over every implementation: the same bytes, and the levels back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from codec_backends import Backend
from codec_profiles import level_patterns, make_profile, neighbour_profile, tensor_of
from hypothesis import given, settings
from hypothesis import strategies as st
from independent_codec import IndependentCodec

from isthmus.codec import decode_frame, encode_frame, payload_max
from isthmus.codec.reference import encode_levels
from isthmus.errors import DataDtypeError, DataShapeError, LevelError, RungError
from isthmus.native import NativeCodec
from isthmus.profile import Profile

Factory = Callable[[Profile], Backend]

SHAPES = [
    ((0,), None), ((1,), None), ((2,), None), ((61,), None),
    ((1, 1), None), ((7, 3), 1), ((0, 4), None), ((4, 0), 1), ((256, 1), 1), ((9, 2), 4),
    ((1, 1, 1), None), ((4, 3, 2), 2), ((5, 4, 3), 2), ((3, 0, 2), 2),
    ((1, 1, 1, 1), None), ((2, 3, 2, 3), 1), ((5, 2, 2, 2), 3), ((2, 1, 0, 3), None),
]  # fmt: skip
LADDERS = [tuple(range(n, min(n + 8, 257))) for n in range(2, 257, 8)]


def check(backend: Backend, profile: Profile, rung: int, levels: npt.NDArray[np.uint8]) -> None:
    """Bytes as the reference's, at most the proven length, and the levels come back."""
    tensor = tensor_of(profile, levels)
    frame = backend.encode(rung, 40_000, tensor)
    assert frame == encode_frame(profile, rung, 40_000, tensor)
    header = 14 if profile.slices > 1 else 12
    assert len(frame) <= profile.slices * (header + profile.rungs[rung].payload_max)
    got = backend.decode(frame)
    if got is not None:
        expected = np.minimum(levels, profile.rungs[rung].levels - 1)
        assert np.array_equal(got, expected)


@pytest.mark.parametrize(("shape", "slice_rows"), SHAPES)
@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
def test_shapes_slices_and_dtypes(
    backend: Factory, shape: tuple[int, ...], slice_rows: int | None, dtype: str
) -> None:
    profile = make_profile((5, 21), shape, slice_rows=slice_rows, dtype=dtype, rate=(6, 7))
    under_test = backend(profile)
    for levels in level_patterns(21, profile.tensor.elements).values():
        check(under_test, profile, 0, levels)
        check(under_test, profile, 1, levels)


@pytest.mark.parametrize("ladder", LADDERS, ids=lambda ladder: f"N{ladder[0]}to{ladder[-1]}")
def test_every_number_of_levels(backend: Factory, ladder: tuple[int, ...]) -> None:
    """N = 2..256, eight of them as one ladder of rungs; every level of each N occurs."""
    profile = make_profile(ladder, (16, 5, 4), slice_rows=7)
    under_test = backend(profile)
    patterns = level_patterns(ladder[-1], profile.tensor.elements)
    for rung in range(len(ladder)):
        for name in ("maximum", "alternating", "ramp"):
            check(under_test, profile, rung, patterns[name])


@pytest.mark.parametrize("levels", [2, 4, 16, 17, 256])
@pytest.mark.parametrize("shape", [(1 << 20,), (64, 128, 128)])
def test_a_million_elements_native(levels: int, shape: tuple[int, ...]) -> None:
    profile = make_profile(levels, shape, slice_rows=None if len(shape) == 1 else 9)
    codec = NativeCodec(profile)
    for name, flat in level_patterns(levels, 1 << 20).items():
        frame = codec.encode(0, 1, tensor_of(profile, flat))
        assert len(frame) <= codec.frame_max(0), name
        assert np.array_equal(codec.decode(frame).levels.reshape(-1), flat), name


@pytest.mark.parametrize(("levels", "pattern"), [(2, "random"), (3, "likely")])
def test_a_million_elements_reference(levels: int, pattern: str) -> None:
    profile = make_profile(levels, (1 << 20,))
    flat = level_patterns(levels, 1 << 20)[pattern]
    frame = encode_levels(profile, 0, 1, flat)
    assert frame == NativeCodec(profile).encode_levels(0, 1, flat)
    assert np.array_equal(decode_frame(profile, frame).levels, flat)


@st.composite
def profiles_and_levels(draw: st.DrawFn) -> tuple[Profile, npt.NDArray[np.uint8], int]:
    levels = draw(st.integers(2, 256) | st.sampled_from([2, 3, 4, 16, 17]))
    shape = tuple(draw(st.lists(st.integers(0, 7), min_size=1, max_size=4)))
    rows = shape[0] if len(shape) > 1 else 1
    contexts = draw(st.sampled_from([128, 300, 8192, 32768, 65408]))
    profile = make_profile(
        levels,
        shape,
        slice_rows=draw(st.integers(1, max(1, rows))),
        rate=draw(st.sampled_from([5, 6, 7])),
        dtype=draw(st.sampled_from(["int8", "int16", "float32"])),
        initial=(contexts,) * 34,
    )
    profile = trimmed(profile)
    count = profile.tensor.elements
    seed = draw(st.integers(0, 2**32 - 1))
    top = draw(st.integers(0, levels - 1))
    flat = np.random.default_rng(seed).integers(0, top, count, endpoint=True).astype(np.uint8)
    return profile, flat, draw(st.integers(0, 65535))


def trimmed(profile: Profile) -> Profile:
    """The profile with as many initial contexts as its rung has."""
    from isthmus.binarisation import binarisation

    rung = profile.rungs[0]
    data = profile.as_dict()
    data["rungs"][0]["initial"] = list(rung.initial[: binarisation(rung.levels).context_count])
    return Profile.from_dict(data)


@settings(max_examples=300)
@given(profiles_and_levels())
def test_any_profile_any_tensor(case: tuple[Profile, npt.NDArray[np.uint8], int]) -> None:
    """Reference, C and the independent codec agree on bytes and levels."""
    profile, flat, sequence = case
    tensor = tensor_of(profile, flat)
    frame = encode_frame(profile, 0, sequence, tensor)
    codec = NativeCodec(profile)
    independent = IndependentCodec(profile.canonical())
    assert codec.encode(0, sequence, tensor) == frame
    assert codec.encode_levels(0, sequence, flat) == frame
    assert independent.encode(0, sequence, tensor) == frame
    decoded = codec.decode(frame)
    again = decode_frame(profile, frame)
    other = independent.decode(frame)
    assert decoded.levels.shape == again.levels.shape == profile.tensor.shape
    assert np.array_equal(decoded.levels.reshape(-1), flat)
    assert np.array_equal(again.levels.reshape(-1), flat)
    assert other.levels == flat.tolist()
    assert decoded.sequence == again.sequence == other.sequence == sequence


def test_rungs_and_sequence_numbers_travel(decoding_backend: Factory) -> None:
    profile = make_profile((2, 3, 4, 5, 6, 7, 8, 256), (3, 3), slice_rows=2)
    codec: Any = decoding_backend(profile)
    for rung in range(8):
        for sequence in (0, 1, 255, 256, 65535):
            decoded = codec.codec.decode(codec.encode(rung, sequence, np.zeros((3, 3), np.int8)))
            assert (decoded.rung, decoded.sequence) == (rung, sequence)
    assert codec.encode(0, 65536, np.zeros((3, 3), np.int8)) == codec.encode(
        0, 0, np.zeros((3, 3), np.int8)
    ), "sequence numbers wrap at 65536"


def test_refused_tensors(decoding_backend: Factory) -> None:
    codec: Any = decoding_backend(make_profile(4, (3, 5)))
    with pytest.raises(DataShapeError, match=r"^tensor: has shape \(5, 3\); allowed: \(3, 5\)$"):
        codec.encode(0, 0, np.zeros((5, 3), np.int8))
    with pytest.raises(DataShapeError):
        codec.encode(0, 0, np.zeros(15, np.int8))
    with pytest.raises(DataDtypeError, match="has dtype float64; allowed: int8 or float32"):
        codec.encode(0, 0, np.zeros((3, 5)))
    with pytest.raises(DataDtypeError, match="has dtype int16"):
        codec.encode(0, 0, np.zeros((3, 5), np.int16))
    for rung in (-1, 1, 8):
        with pytest.raises(RungError, match=f"^rung: is {rung}; allowed: 0..0$"):
            codec.encode(rung, 0, np.zeros((3, 5), np.int8))


@pytest.mark.parametrize("unit", [None, 3])
def test_a_level_that_is_too_high_is_named_by_its_place(
    decoding_backend: Factory, unit: int | None
) -> None:
    """In the tensor, not in its slice or packet."""
    profile = make_profile(4, (4, 6), slice_rows=2)
    if unit is not None:
        profile = neighbour_profile(4, (4, 6), unit=unit, packet_bytes=24)
    codec: Any = decoding_backend(profile)
    levels = np.zeros(24, np.uint8)
    levels[17:] = 5
    with pytest.raises(LevelError, match=r"^levels\[17\]: is 5; allowed: < 4$"):
        codec.codec.encode_levels(0, 0, levels)


@pytest.mark.parametrize("levels", [np.zeros(14, np.uint8), np.zeros(16, np.uint8)])
def test_levels_of_another_size_are_refused(
    decoding_backend: Factory, levels: npt.NDArray[np.uint8]
) -> None:
    codec: Any = decoding_backend(make_profile(4, (3, 5), slice_rows=2))
    with pytest.raises(DataShapeError, match="allowed: 15"):
        codec.codec.encode_levels(0, 0, levels)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.float32, np.bool_])
def test_levels_of_another_dtype_are_refused(
    decoding_backend: Factory, dtype: npt.DTypeLike
) -> None:
    codec: Any = decoding_backend(make_profile(4, (3, 5)))
    with pytest.raises(DataDtypeError, match="allowed: uint8"):
        codec.codec.encode_levels(0, 0, np.zeros(15, dtype))


def test_tensors_that_are_views_and_reversed(decoding_backend: Factory) -> None:
    """Strides do not reach the C: what counts is the logical order."""
    profile = make_profile(8, (4, 6))
    codec = decoding_backend(profile)
    tensor = np.arange(48, dtype=np.int8).reshape(6, 8)[:, ::2].T[:, ::-1]
    assert codec.encode(0, 0, tensor) == codec.encode(0, 0, tensor.copy())


def test_payload_max_of_nothing_is_nothing() -> None:
    assert payload_max(2, 5, 0) == payload_max(256, 7, 0) == 0
