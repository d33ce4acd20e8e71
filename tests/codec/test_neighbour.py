"""Scheme "neighbour" over every implementation: the same bytes, the levels back, the bound held."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from codec_backends import Backend, encode_into
from codec_profiles import (
    STATES,
    hostile_levels,
    level_patterns,
    make_profile,
    neighbour_profile,
    tensor_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from independent_codec import IndependentCodec, Interval
from independent_model import Model, thirty_seconds

from isthmus.codec import decode_frame, encode_frame, payload_max
from isthmus.codec.bound import RATES, neighbour_payload_max
from isthmus.codec.reference import encode_levels
from isthmus.native import NativeCodec
from isthmus.profile import Profile

Factory = Callable[[Profile], Backend]

SHAPES = [
    ((0,), None, "int8"), ((96,), None, "float32"), ((4, 0), 1, "int8"), ((64, 1), 1, "int16"),
    ((9, 8), 4, "int8"), ((5, 4, 6), 2, "int8"), ((3, 3, 40), None, "int16"),
    ((4, 2, 2, 3), 3, "float32"),
]  # fmt: skip
LADDERS = [tuple(range(n, min(n + 8, 257))) for n in (2, 10, 249)]


@pytest.mark.parametrize(("shape", "slice_rows", "dtype"), SHAPES)
def test_shapes_slices_and_dtypes(
    backend: Factory, shape: tuple[int, ...], slice_rows: int | None, dtype: str
) -> None:
    profile = neighbour_profile(
        (5, 21), shape, slice_rows=slice_rows, dtype=dtype, rate=(6, 7), seed=len(shape)
    )
    under_test = backend(profile)
    for name, levels in level_patterns(21, profile.tensor.elements).items():
        tensor = tensor_of(profile, levels)
        for rung, most in enumerate((4, 20)):
            frame = under_test.encode(rung, 40_000, tensor)
            assert frame == encode_frame(profile, rung, 40_000, tensor), name
            got = under_test.decode(frame)
            if got is not None:
                assert np.array_equal(got, np.minimum(levels, most)), name


@pytest.mark.parametrize("ladder", LADDERS, ids=lambda ladder: f"N{ladder[0]}to{ladder[-1]}")
def test_numbers_of_levels(backend: Factory, ladder: tuple[int, ...]) -> None:
    """Ladders of eight rungs, each with contexts of its own; every level occurs."""
    profile = neighbour_profile(ladder, (8, 6, 8), slice_rows=5, seed=ladder[0], states="even")
    under_test = backend(profile)
    patterns = level_patterns(ladder[-1], profile.tensor.elements)
    for rung in range(len(ladder)):
        for name in ("likely", "ramp"):
            tensor = tensor_of(profile, patterns[name])
            frame = under_test.encode(rung, 1, tensor)
            assert frame == encode_frame(profile, rung, 1, tensor), name
            got = under_test.decode(frame)
            if got is not None:
                assert np.array_equal(got, np.minimum(patterns[name], ladder[rung] - 1))


@st.composite
def profiles_and_levels(draw: st.DrawFn) -> tuple[Profile, npt.NDArray[np.uint8], int]:
    levels = draw(st.integers(2, 256) | st.sampled_from([2, 3, 4, 16, 17]))
    shape = tuple(draw(st.lists(st.integers(0, 7), min_size=1, max_size=4)))
    rows = shape[0] if len(shape) > 1 else 1
    seed = draw(st.integers(0, 2**32 - 1))
    profile = neighbour_profile(
        levels,
        shape,
        seed=seed,
        states=draw(st.sampled_from(STATES)),
        slice_rows=draw(st.integers(1, max(1, rows))),
        rate=draw(st.sampled_from([5, 6, 7])),
        dtype=draw(st.sampled_from(["int8", "int16", "float32"])),
        clusters=draw(st.none() | st.integers(1, 256)),
        classes=draw(st.none() | st.integers(1, 255)),
    )
    count = profile.tensor.elements
    if count < 200 and draw(st.booleans()):
        return profile, hostile_levels(profile), draw(st.integers(0, 65535))
    top = draw(st.integers(0, levels - 1))
    flat = np.random.default_rng(seed).integers(0, top, count, endpoint=True).astype(np.uint8)
    return profile, flat, draw(st.integers(0, 65535))


@settings(max_examples=80)
@given(profiles_and_levels())
def test_any_profile_any_tensor(case: tuple[Profile, npt.NDArray[np.uint8], int]) -> None:
    """Reference, C and the independent codec agree, on a profile that was read from its text."""
    given_profile, flat, sequence = case
    profile = Profile.from_dict(json.loads(given_profile.canonical()))
    assert profile == given_profile
    tensor = tensor_of(profile, flat)
    frame = encode_frame(profile, 0, sequence, tensor)
    codec = NativeCodec(profile)
    independent = IndependentCodec(profile.canonical())
    assert codec.encode(0, sequence, tensor) == frame
    assert codec.encode_levels(0, sequence, flat) == frame
    assert independent.encode(0, sequence, tensor) == frame
    assert np.array_equal(codec.decode(frame).levels.reshape(-1), flat)
    assert np.array_equal(decode_frame(profile, frame).levels.reshape(-1), flat)
    assert independent.decode(frame).levels == flat.tolist()


def test_a_level_depends_on_its_neighbours_and_channel(backend: Factory) -> None:
    """Chance decides nothing: what the sets foretell costs next to nothing, its contrary much."""
    profile = next(
        found
        for found in (
            neighbour_profile(
                2, (16, 4, 4), channels=4, clusters=1, classes=2, step=4, states="even", seed=seed
            )
            for seed in range(20)
        )
        if found.rungs[0].contexts and found.rungs[0].contexts.classes[:2] == (0, 1)
    )
    rows, columns, channels = np.indices((16, 4, 4))
    board = ((rows + columns + channels) % 2).astype(np.uint8).reshape(-1)
    frame = backend(profile).encode(0, 0, tensor_of(profile, board))
    plain = encode_levels(make_profile(2, (16, 4, 4)), 0, 0, board)
    assert len(frame) - 12 < (len(plain) - 12) // 2


# channels, clusters and states whose every context is dear once: looks find the payload too long
FLAT = [
    (2, (8, 8, 64), 64, 64, 1, "extreme", None), (2, (4, 256), 256, 250, 2, "low", 2),
    (8, (5, 4, 48), 48, 48, 3, "high", 3), (16, (3, 120), 120, 40, 3, "low", None),
    (20, (8, 40), 40, 40, 4, "extreme", 3),
]  # fmt: skip


@pytest.mark.parametrize(
    ("levels", "shape", "channels", "clusters", "classes", "states", "rows"), FLAT
)
def test_flat_coding_is_reached_and_the_same_everywhere(
    backend: Factory, levels: int, shape: tuple[int, ...], channels: int, clusters: int,
    classes: int, states: str, rows: int | None,
) -> None:  # fmt: skip
    """Data that cost most make the coder flat in the midst of a slice, at the same element."""
    profile = neighbour_profile(
        levels, shape, slice_rows=rows, channels=channels, clusters=clusters, classes=classes,
        states=states,
    )  # fmt: skip
    flat = hostile_levels(profile)
    assert turned_flat(profile, flat)
    tensor = tensor_of(profile, flat)
    frame = backend(profile).encode(0, 7, tensor)
    assert frame == IndependentCodec(profile.canonical()).encode(0, 7, tensor)
    got = backend(profile).decode(frame)
    assert got is None or np.array_equal(got, flat)


def turned_flat(profile: Profile, flat: npt.NDArray[np.uint8]) -> bool:
    """Whether the first slice became flat before its end, by the independent model."""
    count = profile.slice_elements(0)
    codec = IndependentCodec(profile.canonical())
    model = Model(codec.profile, 0, 0)
    interval = Interval()
    codec.code(model, interval, flat[: count - 1].tolist())
    return model.flat is not None


@pytest.mark.parametrize("rate", [5, 7])
@pytest.mark.parametrize("states", ["low", "high", "random"])
@pytest.mark.parametrize("levels", [2, 3, 16, 256])
def test_adversaries_stay_below_the_bound(levels: int, states: str, rate: int) -> None:
    """The dearest level at every step, in many sets and in few, whole and cut short."""
    for channels, clusters, classes in ((96, 96, 2), (32, 1, 5), (1, 1, 1)):
        profile = neighbour_profile(
            levels, (7, 96), channels=channels, clusters=clusters, classes=classes, states=states,
            rate=rate, seed=rate,
        )  # fmt: skip
        flat = hostile_levels(profile)
        for count in (1, 2, 7):
            part = neighbour_profile(
                levels, (count, 96), channels=channels, clusters=clusters, classes=classes,
                states=states, rate=rate, seed=rate,
            )  # fmt: skip
            limit = neighbour_payload_max(levels, rate, 96 * count)
            assert limit == part.rungs[0].payload_max
            _, length, _ = encode_into(NativeCodec(part), 0, 0, flat[: 96 * count], 0)
            assert length - 12 <= limit
            frame = NativeCodec(part).encode_levels(0, 0, flat[: 96 * count])
            assert np.array_equal(
                NativeCodec(part).decode(frame).levels.ravel(), flat[: 96 * count]
            )


@pytest.mark.parametrize("rate", RATES)
def test_the_bound_s_premise(rate: int) -> None:
    """An element that flat coding may cost at most is not less than one of equally long codes.

    So the bytes of the looks and those of the flat rest may be bounded together.
    """
    for levels in range(2, 257):
        per_element = payload_max(levels, rate, 1 << 20) - payload_max(levels, rate, 1 << 10)
        even = thirty_seconds(levels) * ((1 << 20) - (1 << 10)) // 256
        assert per_element >= even - 2, levels
        sizes = [neighbour_payload_max(levels, rate, n) for n in (0, 1, 2, 3, 10, 1000, 1 << 20)]
        assert sizes == sorted(sizes)


def test_unlike_data_cost_little_more_than_equal_codes() -> None:
    """Random data, with states trained for their contrary: a few bytes beyond two bits each."""
    for seed in range(3):
        profile = neighbour_profile(
            4, (32, 32, 32), channels=32, clusters=32, classes=5, states="extreme", seed=seed
        )
        flat = level_patterns(4, 1 << 15, seed)["random"]
        frame = NativeCodec(profile).encode_levels(0, 0, flat)
        assert len(frame) - 12 < (1 << 15) * 2 // 8 * 1.03 + 64 + 150
