"""Near-lossless rungs whose 256 steps span the minimum and maximum of each channel."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from isthmus.conceal_slices import cut_frame
from isthmus.decoder import Decoder
from isthmus.errors import BundleFormatError
from isthmus.profile import Packets, Profile, TensorSpec
from isthmus_gen.calibrate import TensorStatistics
from isthmus_gen.near_lossless import design_near_rungs

SHAPE = (6, 5, 4)
BOUNDS = (0, 1, 2, 4)


def features() -> npt.NDArray[np.float32]:
    """[20, 6, 5, 4]: a rectified channel, a narrow, a wide one and a constant one."""
    x = np.random.default_rng(3).normal(size=(20, *SHAPE)) * [1.0, 0.1, 5.0, 0.0] + [0, 2, -3, 7]
    x[..., 0] = np.maximum(x[..., 0], 0.0)
    return x.astype(np.float32)


def as_int16(x: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    return np.round(x.astype(np.float64) / 2.0**-10).astype(np.int16)


def profile_of(dtype: str, slice_rows: int = 6, packets: Packets | None = None) -> Profile:
    x = features()
    tensors: list[Any] = list(x if dtype == "float32" else as_int16(x))
    tensor = TensorSpec("features", SHAPE, dtype, 2.0**-10 if dtype == "int16" else 1.0, 0)
    statistics = TensorStatistics(SHAPE, name="features")
    statistics.update(x)
    made = design_near_rungs(tensor, statistics, tensors, BOUNDS, slice_rows, channels=True)
    return Profile(tensor, tuple(one.rung for one in made), slice_rows, {}, packets)


def span() -> tuple[npt.NDArray[np.float64], ...]:
    """Minimum, maximum and step of each channel; a constant one's spans 1."""
    low = features().min((0, 1, 2)).astype(np.float64)
    high = features().max((0, 1, 2)).astype(np.float64)
    high = np.where(high > low, high, low + 1.0)
    return low, high, (high - low) / 255


def expected(x: npt.NDArray[Any], bound: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Levels and the step they stand for, from minimum and maximum alone."""
    low, _, step = span()
    exact = (x.astype(np.float64) - low) / step
    assert (np.abs(exact % 1.0 - 0.5) > 1e-6).all()  # no value lies on a threshold
    steps = np.clip(np.floor(exact + 0.5), 0, 255)
    levels = np.floor((steps + bound) / (2 * bound + 1))
    return levels, np.minimum(levels * (2 * bound + 1), 255)


@pytest.mark.parametrize("slice_rows", [6, 4, 1])
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_levels_and_features_are_those_of_each_channels_minimum_and_maximum(
    backend: Any, slice_rows: int
) -> None:
    profile = profile_of("float32", slice_rows)
    decoder = Decoder(profile, backend)
    low, high, step = span()
    for rung, bound in enumerate(BOUNDS):
        assert profile.rungs[rung].clip == pytest.approx((low.min(), high.max()))
        for x in features()[:3]:
            decoded = decoder.decode(decoder.encode(x, rung=rung))
            levels, steps = expected(x, bound)
            assert np.array_equal(decoded.levels, levels)
            assert np.array_equal(decoded.features, (low + steps * step).astype(np.float32))
            assert (np.abs(decoded.features - x) <= (bound + 0.5001) * step).all()


@pytest.mark.parametrize("dtype", ["float32", "int16"])
@pytest.mark.parametrize("unit", [0, 1, 2, 20])
def test_python_and_c_make_the_same_frames(dtype: str, unit: int) -> None:
    profile = profile_of(dtype, packets=Packets(120, unit) if unit else None)
    native, reference = Decoder(profile, "native"), Decoder(profile, "reference")
    x = features() if dtype == "float32" else as_int16(features())
    for rung in range(len(BOUNDS)):
        for number, one in enumerate([x[0], x[1], -30 * x[2]]):
            frame = native.encode(one, rung=rung, sequence=number)
            assert frame == reference.encode(one, rung=rung, sequence=number)
            decoded, again = native.decode(frame), reference.decode(frame)
            assert np.array_equal(decoded.levels, native.levels(one, rung))
            assert np.array_equal(decoded.levels, again.levels)
            assert decoded.features.tobytes() == again.features.tobytes()


def test_int16_thresholds_are_those_of_the_real_values() -> None:
    profile = profile_of("int16")
    decoder = Decoder(profile)
    q = as_int16(features()[4])
    for rung, bound in enumerate(BOUNDS):
        levels, _ = expected(q.astype(np.float64) * 2.0**-10, bound)
        assert np.array_equal(decoder.levels(q, rung), levels)


def test_a_slice_that_is_lost_is_the_zero_of_each_channel() -> None:
    decoder = Decoder(profile_of("float32", slice_rows=2))
    parts = cut_frame(decoder.encode(features()[0]))
    decoded = decoder.decode_slices([parts[0], parts[2]], "zero")
    low, high, step = span()
    nearest = np.clip(np.zeros(4), low, high)  # 0 where it is inside
    lost = decoded.features[2:4]
    assert (np.abs(lost - nearest) <= 0.5001 * step).all()
    assert (lost == lost[0, 0]).all()
    assert np.array_equal(decoded.features[:2], decoder.decode(b"".join(parts)).features[:2])


def test_the_profile_keeps_them() -> None:
    profile = profile_of("float32")
    again = Profile.from_dict(profile.as_dict())
    assert again == profile
    assert again.digest == profile.digest
    assert profile.rungs[1].levels == 86  # 1 + ceil((255 - 1) / 3)
    assert len(profile.rungs[1].thresholds_f32) == 4 * 85
    assert profile.rungs[1].grids is not None


WRONG = [
    (("grids", "scales", 1), 0.0, "scales[1]: is 0.0; allowed: a number above 0"),
    (("grids", "origins"), [0.0], "origins: is [0.0]; allowed: a list of 4..4 entries"),
    (("grids", "origins", 0), 1e39, "origins[0]: is 1e+39; allowed: a number in"),
    (("grids",), None, "grids: is a NoneType; allowed: an object"),
    (("grids", "more"), 1, "grids.more: is not a field"),
    (("values", 255), 256.0, "values[255]: is 256.0; allowed: a number in -255..255"),
    (("thresholds_f32",), [1, 2], "thresholds_f32: is [1, 2]; allowed: a list of 1020..1020"),
    (("thresholds_f32", 256), 1 << 31, "thresholds_f32: falls somewhere; allowed: nondecreasing"),
]


@pytest.mark.parametrize(("place", "value", "words"), WRONG)
def test_a_wrong_field_is_named(place: tuple[Any, ...], value: Any, words: str) -> None:
    data = copy.deepcopy(profile_of("float32").as_dict())
    at = data["rungs"][0]
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    with pytest.raises(BundleFormatError) as caught:
        Profile.from_dict(data)
    assert words in str(caught.value)


def test_grids_of_other_channels_than_the_tensors_are_refused() -> None:
    profile = profile_of("float32")
    wide = dataclasses.replace(profile.tensor, shape=(6, 10, 2))
    with pytest.raises(BundleFormatError) as caught:
        Profile.from_dict(dataclasses.replace(profile, tensor=wide).as_dict())
    assert str(caught.value) == "profile.rungs[0].grids: are of 4 channels; allowed: 2"


def test_an_int8_tensor_has_one_grid() -> None:
    data = profile_of("float32").as_dict()
    data["tensor"]["dtype"] = "int8"
    with pytest.raises(BundleFormatError) as caught:
        Profile.from_dict(data)
    assert "profile.rungs[0].grids: are given for an int8 tensor" in str(caught.value)
