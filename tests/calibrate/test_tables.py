"""Integer tables against direct comparison of floats."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isthmus.errors import OptionError
from isthmus_gen.calibrate import (
    ABOVE_ALL,
    ClipRange,
    Quantizer,
    f32_keys,
    lut_int8,
    thresholds_f32_keys,
    thresholds_i16,
    uniform_quantizer,
)

F32_MAX = float(np.finfo(np.float32).max)
THRESHOLD = st.one_of(
    st.floats(-1e3, 1e3),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e-60, -1e-60, 1e-45, F32_MAX, -F32_MAX, ABOVE_ALL, -ABOVE_ALL]),
)


def quantizer(thresholds: list[float]) -> Quantizer:
    row = np.sort(np.array(thresholds, np.float64))
    values = np.arange(row.size + 1, dtype=np.float64)
    return Quantizer(row.size + 1, row, values, ClipRange(0.0, 1.0, "fixed"), "test")


def direct(thresholds: np.ndarray, x: float) -> int:
    return sum(1 for t in thresholds if t <= x)


def key_of(x: float) -> int:
    """The key, from its definition, in Python integers."""
    bits: int = struct.unpack("<I", struct.pack("<f", x))[0]
    return bits ^ (0xFFFFFFFF if bits >> 31 else 0x80000000)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(THRESHOLD, min_size=1, max_size=9),
    st.lists(st.floats(width=32, allow_nan=False), max_size=8),
)
@example([0.0], [0.0, -0.0])
@example([-0.0, 1e-60, -1e-60], [0.0, -0.0, 1e-45, -1e-45])
@example([F32_MAX * (1 + 1e-9), -F32_MAX * (1 + 1e-9)], [F32_MAX, -F32_MAX])
@example([ABOVE_ALL, -ABOVE_ALL], [F32_MAX, -F32_MAX, math.inf, -math.inf])
def test_float_keys(thresholds: list[float], values: list[float]) -> None:
    q = quantizer(thresholds)
    keys = [int(k) for k in thresholds_f32_keys(q)]
    assert keys == sorted(keys)
    probes = [*values, 0.0, -0.0, math.inf, -math.inf, F32_MAX, -F32_MAX]
    with np.errstate(over="ignore"):
        near = q.thresholds.astype(np.float32)
        for side in (-np.inf, np.inf):
            probes += [float(v) for v in np.nextafter(near, np.float32(side))]
    probes += [float(v) for v in near]
    for x in probes:
        assert sum(1 for k in keys if k <= key_of(x)) == direct(q.thresholds, x), x
        assert direct(q.thresholds, x) == int(q.level(x))


def test_nan_goes_by_its_bits() -> None:
    keys = thresholds_f32_keys(quantizer([-ABOVE_ALL, 0.0, ABOVE_ALL]))
    nans = np.array([0x7FC00000, 0xFFC00000], np.uint32).view(np.float32)
    levels = (keys[None, :] <= f32_keys(nans)[:, None]).sum(axis=1)
    assert levels.tolist() == [3, 0]


def test_keys_follow_the_order_of_floats() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint32)
    x = bits.view(np.float32)
    x = np.sort(x[~np.isnan(x)])
    keys = f32_keys(x)
    assert (np.diff(keys.astype(np.int64)) >= 0).all()
    assert [int(k) for k in keys[:50]] == [key_of(float(v)) for v in x[:50]]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=20),
    st.floats(1e-4, 2.0),
    st.integers(-128, 127),
)
def test_int8_table(thresholds: list[float], scale: float, zero_point: int) -> None:
    q = quantizer(thresholds)
    table = lut_int8(q, scale, zero_point)
    assert table.dtype == np.uint8
    assert table.shape == (256,)
    single = struct.unpack("<f", struct.pack("<f", scale))[0]
    for value in range(-128, 128):
        assert table[value + 128] == direct(q.thresholds, single * (value - zero_point))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(THRESHOLD, min_size=1, max_size=12),
    st.floats(1e-5, 2.0),
    st.integers(-32768, 32767),
    st.lists(st.integers(-32768, 32767), max_size=20),
)
def test_int16_thresholds(
    thresholds: list[float], scale: float, zero_point: int, values: list[int]
) -> None:
    q = quantizer(thresholds)
    table = [int(t) for t in thresholds_i16(q, scale, zero_point)]
    single = struct.unpack("<f", struct.pack("<f", scale))[0]
    probes = [*values, -32768, 32767]
    probes += [v + d for v in table for d in (-1, 0, 1) if -32768 <= v + d <= 32767]
    for value in probes:
        expected = direct(q.thresholds, single * (value - zero_point))
        assert sum(1 for t in table if t <= value) == expected


def test_int16_thresholds_that_no_value_or_every_value_reaches() -> None:
    found = thresholds_i16(quantizer([-ABOVE_ALL, ABOVE_ALL]), 0.5, 0)
    assert found.dtype == np.int32
    assert found.tolist() == [-32768, 32768]


def test_equal_thresholds_make_empty_cells_in_every_table() -> None:
    q = quantizer([0.5, 0.5, 0.5])
    assert set(lut_int8(q, 0.25, 0).tolist()) == {0, 3}
    assert np.unique(thresholds_f32_keys(q)).size == 1
    assert thresholds_i16(q, 0.25, 0).tolist() == [2, 2, 2]


def test_256_levels_use_the_whole_byte() -> None:
    q = uniform_quantizer(256, ClipRange(-128.0, 127.0, "fixed"))
    assert lut_int8(q, 1.0, 0).tolist() == list(range(256))


@pytest.mark.parametrize(
    ("scale", "zero_point", "path"),
    [
        (0.0, 0, "tensor.scale"),
        (-1.0, 0, "tensor.scale"),
        (math.nan, 0, "tensor.scale"),
        (1e300, 0, "tensor.scale"),
        (1e-300, 0, "tensor.scale"),
        (1.0, 40_000, "tensor.zero_point"),
    ],
)
def test_bad_scales(scale: float, zero_point: int, path: str) -> None:
    q = quantizer([0.0])
    for table in (lut_int8, thresholds_i16):
        with pytest.raises(OptionError) as caught:
            table(q, scale, zero_point)
        assert caught.value.path == path
