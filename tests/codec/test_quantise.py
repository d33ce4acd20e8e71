"""Values to levels: table, thresholds and ordered keys against exact rational arithmetic."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from codec_profiles import make_profile
from hypothesis import given
from hypothesis import strategies as st

from isthmus.codec import encode_frame, float32_keys, levels_of
from isthmus.native import NativeCodec
from isthmus.profile import Profile

LADDER = (2, 3, 4, 7, 16, 17, 129, 256)


def expected_level(value: Fraction, levels: int) -> int:
    """The number of n in 1..N-1 with n - 1/2 <= value."""
    return sum(Fraction(2 * n - 1, 2) <= value for n in range(1, levels))


def agree(profile: Profile, rung: int, tensor: npt.NDArray[Any], expected: list[int]) -> None:
    """Reference and C quantise ``tensor`` to ``expected``."""
    assert levels_of(profile, profile.rungs[rung], tensor).tolist() == expected
    codec = NativeCodec(profile)
    frame = codec.encode(rung, 0, tensor)
    assert frame == encode_frame(profile, rung, 0, tensor)
    assert codec.decode(frame).levels.tolist() == expected


@pytest.mark.parametrize("rung", range(len(LADDER)))
def test_int8_table_equals_the_thresholds(rung: int) -> None:
    """All 256 values; the scale is 255/255 of the ladder's top, so values are exact."""
    profile = make_profile(LADDER, (256,))
    tensor = np.arange(-128, 128).astype(np.int8)
    expected = [expected_level(Fraction(v, 1), LADDER[rung]) for v in range(256)]
    agree(profile, rung, tensor, expected)
    reals = (tensor.astype(np.int64) + 128).astype(np.float32)
    assert levels_of(profile, profile.rungs[rung], reals).tolist() == expected


@pytest.mark.parametrize("levels", [2, 3, 4, 7, 16, 17, 256])
def test_int16_thresholds(levels: int) -> None:
    profile = make_profile(levels, (65536,), dtype="int16")
    tensor = np.arange(-32768, 32768).astype(np.int16)
    scale = Fraction(levels - 1, 65535)
    sample = sorted({0, 65535, *range(0, 65536, 97)})
    got = levels_of(profile, profile.rungs[0], tensor)
    for v in sample:
        assert got[v] == expected_level(v * scale, levels)
    codec = NativeCodec(profile)
    assert np.array_equal(codec.decode(codec.encode(0, 0, tensor)).levels, got)
    assert np.all(np.diff(got.astype(int)) >= 0)


def test_int16_threshold_above_every_value() -> None:
    """32768 is a threshold that no int16 value reaches."""
    data = make_profile(3, (3,), dtype="int16").as_dict()
    data["rungs"][0]["thresholds_i16"] = [-32768, 32768]
    profile = Profile.from_dict(data)
    agree(profile, 0, np.array([-32768, 0, 32767], np.int16), [1, 1, 1])


def float_of(bits: int) -> np.float32:
    """The float32 of a bit pattern."""
    return np.array([bits], dtype=np.uint32).view(np.float32)[0]


SPECIALS = {
    "negative NaN, all bits": (0xFFFFFFFF, 0),
    "negative quiet NaN": (0xFFC00000, 0),
    "negative signalling NaN": (0xFF800001, 0),
    "-inf": (0xFF800000, 0),
    "lowest": (0xFF7FFFFF, 0),
    "-0.0": (0x80000000, 0),
    "+0.0": (0x00000000, 0),
    "smallest subnormal": (0x00000001, 0),
    "just below 0.5": (0x3EFFFFFF, 0),
    "0.5": (0x3F000000, 1),
    "just above 0.5": (0x3F000001, 1),
    "just below 1.5": (0x3FBFFFFF, 1),
    "1.5": (0x3FC00000, 2),
    "highest": (0x7F7FFFFF, 3),
    "+inf": (0x7F800000, 3),
    "signalling NaN": (0x7F800001, 3),
    "quiet NaN": (0x7FC00000, 3),
    "NaN, all bits": (0x7FFFFFFF, 3),
}


def test_float32_special_values() -> None:
    bits = [pattern for pattern, _ in SPECIALS.values()]
    tensor = np.array(bits, dtype=np.uint32).view(np.float32)
    profile = make_profile(4, (len(bits),), dtype="float32")
    agree(profile, 0, tensor, [level for _, level in SPECIALS.values()])


def test_zero_threshold_tells_the_zeros_apart() -> None:
    """A threshold at +0.0 takes +0.0 and leaves -0.0 below; one at -0.0 takes both."""
    for threshold, expected in ((0.0, [0, 1]), (-0.0, [1, 1])):
        data = make_profile(2, (2,), dtype="float32").as_dict()
        data["rungs"][0]["thresholds_f32"] = [int(float32_keys([threshold])[0])]
        agree(Profile.from_dict(data), 0, np.array([-0.0, 0.0], np.float32), expected)


@given(st.floats(width=32, allow_nan=False), st.floats(width=32, allow_nan=False))
def test_keys_sort_as_the_values_do(a: float, b: float) -> None:
    ka, kb = (int(k) for k in float32_keys([a, b]))
    if a < b:
        assert ka < kb
    elif a == b and struct.pack("f", a) == struct.pack("f", b):
        assert ka == kb


@given(st.lists(st.integers(0, 0xFFFFFFFF), min_size=1, max_size=50, unique=True))
def test_keys_are_a_permutation_of_the_bits(bits: list[int]) -> None:
    values = np.array(bits, dtype=np.uint32).view(np.float32)
    keys = float32_keys(values).tolist()
    assert len(set(keys)) == len(bits)
    back = [key ^ 0x80000000 if key >> 31 else key ^ 0xFFFFFFFF for key in keys]
    assert back == bits


@given(st.lists(st.integers(0, 0xFFFFFFFF), min_size=60, max_size=60), st.integers(2, 256))
def test_float_levels_of_any_bits(bits: list[int], levels: int) -> None:
    """Reference and C on raw bit patterns, thresholds any nondecreasing keys."""
    data = make_profile(levels, (60,), dtype="float32").as_dict()
    keys = np.random.default_rng(levels).integers(0, 1 << 32, levels - 1)
    data["rungs"][0]["thresholds_f32"] = sorted(int(key) for key in keys)
    profile = Profile.from_dict(data)
    tensor = np.array(bits, dtype=np.uint32).view(np.float32)
    tensor_keys = [b ^ (0xFFFFFFFF if b >> 31 else 0x80000000) for b in bits]
    expected = [sum(key <= own for key in sorted(keys.tolist())) for own in tensor_keys]
    agree(profile, 0, tensor, expected)
