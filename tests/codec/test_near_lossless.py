"""Near-lossless coding over every implementation: the same bytes, and the levels back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from codec_backends import Backend
from codec_near_profiles import FREQUENCIES, near_profile
from codec_profiles import hostile_levels, level_patterns, tensor_of
from hypothesis import given, settings
from hypothesis import strategies as st
from independent_codec import IndependentCodec, Interval
from independent_near import NearModel

from isthmus.codec import decode_frame, encode_frame
from isthmus.codec.reference import encode_levels, final_states, frame_bytes_max, ideal_bits
from isthmus.native import NativeCodec
from isthmus.profile import Profile
from isthmus.trained import Trained

Factory = Callable[[Profile], Backend]

SHAPES = [
    ((0,), None, "int8"), ((1,), None, "int8"), ((96,), None, "float32"), ((4, 0), 1, "int8"),
    ((64, 1), 1, "int16"), ((9, 8), 4, "int8"), ((5, 4, 6), 2, "int8"), ((3, 3, 40), None, "int16"),
    ((2, 1, 66), None, "int8"), ((4, 2, 2, 3), 3, "float32"), ((3, 4, 1), 2, "int8"),
]  # fmt: skip


def check(backend: Backend, profile: Profile, rung: int, levels: npt.NDArray[np.uint8]) -> None:
    """Bytes as the reference's, no longer than allowed, and the levels back."""
    tensor = tensor_of(profile, levels)
    wanted = IndependentCodec(profile.canonical()).levels(rung, tensor)
    frame = backend.encode(rung, 40_000, tensor)
    assert frame == encode_frame(profile, rung, 40_000, tensor)
    assert len(frame) <= frame_bytes_max(profile, profile.rungs[rung])
    got = backend.decode(frame)
    assert got is None or got.tolist() == wanted


@pytest.mark.parametrize(("shape", "slice_rows", "dtype"), SHAPES)
def test_shapes_slices_and_dtypes(
    backend: Factory, shape: tuple[int, ...], slice_rows: int | None, dtype: str
) -> None:
    profile = near_profile((0, 9), shape, slice_rows=slice_rows, dtype=dtype, seed=len(shape))
    under_test = backend(profile)
    for levels in level_patterns(256, profile.tensor.elements).values():
        for rung in range(2):
            check(under_test, profile, rung, levels)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("unit", [None, 3])
def test_a_grid_for_each_channel(backend: Factory, dtype: str, unit: int | None) -> None:
    """Thresholds are the channel's, in slices, packets and pieces of any size."""
    profile = near_profile((0, 3), (6, 7, 6), dtype=dtype, grids=True, unit=unit, seed=6,
                           slice_rows=None if unit else 4)  # fmt: skip
    assert Profile.from_dict(json.loads(profile.canonical())) == profile
    under_test = backend(profile)
    for name in ("ramp", "random"):
        levels = level_patterns(256, profile.tensor.elements)[name]
        tensor = tensor_of(profile, levels)
        assert IndependentCodec(profile.canonical()).levels(0, tensor) == levels.tolist()
        for rung in range(2):
            check(under_test, profile, rung, levels)


@pytest.mark.parametrize("zero", [0, 77, 128, 255])
def test_every_bound(backend: Factory, zero: int) -> None:
    """D from 0 to the largest there is, every level of each; 2 to 256 levels."""
    bounds = (0, 1, 2, 4, 9, 40, 64, 100)
    profile = near_profile(bounds, (8, 32), zero=zero, slice_rows=3, seed=zero)
    assert [rung.levels for rung in profile.rungs][:1] == [256]
    assert min(rung.levels for rung in profile.rungs) in (2, 3)
    under_test = backend(profile)
    for rung in range(len(bounds)):
        check(under_test, profile, rung, np.arange(256, dtype=np.uint8))
        check(under_test, profile, rung, level_patterns(256, 256, zero)["random"])


LEAST = {"channels": 1, "classes": 1, "cells": 1, "distributions": 1, "own": 1}
MOST: dict[str, int | None] = {
    "channels": 48, "classes": 16, "cells": 32, "distributions": 255, "own": 255,
}  # fmt: skip


@pytest.mark.parametrize(
    ("size", "kind"),
    [("least", "even"), ("least", "escape"), *(("most", kind) for kind in FREQUENCIES)],
)
def test_the_ends_of_every_table(backend: Factory, size: str, kind: str) -> None:
    """One of everything, and as many as there may be."""
    given = LEAST if size == "least" else MOST
    profile = near_profile((0, 2), (5, 48), kind=kind, seed=4, **given)
    under_test = backend(profile)
    for name in ("random", "likely", "ramp"):
        check(under_test, profile, 0, level_patterns(256, 240)[name])
        check(under_test, profile, 1, level_patterns(256, 240)[name])


@st.composite
def profiles_and_levels(draw: st.DrawFn) -> tuple[Profile, npt.NDArray[np.uint8], int]:
    shape = tuple(draw(st.lists(st.integers(0, 7), min_size=1, max_size=4)))
    rows = shape[0] if len(shape) > 1 else 1
    seed = draw(st.integers(0, 2**32 - 1))
    profile = near_profile(
        draw(st.sampled_from([0, 1, 2, 4, 9, 60])),
        shape,
        seed=seed,
        zero=draw(st.integers(0, 255)),
        slice_rows=draw(st.integers(1, max(1, rows))),
        dtype=draw(st.sampled_from(["int8", "int16", "float32"])),
        kind=draw(st.sampled_from(FREQUENCIES)),
        classes=draw(st.none() | st.integers(1, 16)),
        own=draw(st.none() | st.just(1)),
    )
    count, levels = profile.tensor.elements, profile.rungs[0].levels
    if count < 100 and draw(st.booleans()):
        return profile, hostile_levels(profile), draw(st.integers(0, 65535))
    top = draw(st.integers(0, levels - 1))
    flat = np.random.default_rng(seed).integers(0, top, count, endpoint=True).astype(np.uint8)
    return profile, flat, draw(st.integers(0, 65535))


@settings(max_examples=120)
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
    decoded = independent.decode(frame)
    assert decoded.levels == flat.tolist()
    states = final_states(profile, frame)
    assert [(state.low, state.range, state.shifts) for state in states] == decoded.states


def with_trained(profile: Profile, trained: Trained) -> Profile:
    """The profile with other distributions in its only rung."""
    return dataclasses.replace(
        profile, rungs=(dataclasses.replace(profile.rungs[0], trained=trained),)
    )


@pytest.mark.parametrize("which", ["up", "left", "up-left", "channel"])
def test_a_level_depends_on_its_neighbours_and_channel(
    decoding_backend: Factory, which: str
) -> None:
    """What one of them alone foretells costs nothing, and its contrary all that there is.

    Two levels of a grid (D = 127) with a class each: every level is the contrary of that neighbour,
    outside is as level 0, and odd channels are 1.
    """
    profile = near_profile(127, (16, 8, 4), zero=127, seed=1, **LEAST)
    rows, positions, channels = np.indices((16, 8, 4))
    board = {
        "up": 1 - rows % 2, "left": 1 - positions % 2,
        "up-left": 1 - np.minimum(rows, positions) % 2, "channel": channels % 2,
    }[which].astype(np.uint8)  # fmt: skip
    place = {"up": 4, "left": 2, "up-left": 1, "channel": 0}[which]
    cells = bytes(int(number & place != 0) for number in range(8))
    one, zero = (1, 1, 65533), (1, 65533, 1)
    for foretold in ((one, zero), (zero, one)):
        trained = Trained(
            channels=4,
            classes=bytes([0, 1, 0]),
            cells=cells,
            choices=bytes([1, 0, 1, 0] if which == "channel" else [0, 1] * 4),
            symbols=bytes([1, 2]),
            frequencies=foretold,
        )
        made = with_trained(profile, trained)
        payload = decoding_backend(made).encode(0, 0, tensor_of(made, board))[12:]
        if foretold[0] == one:
            assert len(payload) <= 2
        else:
            assert len(payload) > 512 // 8


FLAT: list[tuple[int, tuple[int, ...], int | None, str, dict[str, int | None]]] = [
    (0, (8, 8, 64), None, "spike", {"channels": 64}), (2, (4, 256), 2, "spike", {"channels": 256}),
    (9, (5, 4, 48), 3, "steep", {"channels": 48}), (60, (6, 120), None, "spike", {"channels": 40}),
    (4, (30, 7), None, "random", {"channels": 1, "own": 1}),
    (0, (40, 10), 20, "escape", {"channels": 10}),
]  # fmt: skip


def turned_flat(profile: Profile, flat: npt.NDArray[np.uint8]) -> bool:
    """Whether the first slice became flat before its end, by the independent model."""
    codec = IndependentCodec(profile.canonical())
    model, interval = codec.model(0, 0), Interval()
    codec.code(model, interval, flat[: profile.slice_elements(0) - 1].tolist())
    return bool(model.flat)


@pytest.mark.parametrize(("bound", "shape", "rows", "kind", "tables"), FLAT)
def test_flat_coding_is_reached_and_the_same_everywhere(
    backend: Factory, bound: int, shape: tuple[int, ...], rows: int | None, kind: str,
    tables: dict[str, int | None],
) -> None:  # fmt: skip
    """Data that cost most make the coder flat in the midst of a slice, at the same element."""
    profile = near_profile(bound, shape, slice_rows=rows, kind=kind, **tables)
    flat = hostile_levels(profile)
    assert turned_flat(profile, flat)
    tensor = tensor_of(profile, flat)
    frame = backend(profile).encode(0, 7, tensor)
    assert frame == IndependentCodec(profile.canonical()).encode(0, 7, tensor)
    got = backend(profile).decode(frame)
    assert got is None or np.array_equal(got, flat)


def test_every_level_that_has_no_symbol_is_an_escape(backend: Factory) -> None:
    """Where escapes are 256 of 65535, one of them takes eight bits, and the level its own."""
    profile = near_profile(2, (6, 10), kind="escape", seed=3, **{**LEAST, "own": 5})
    rung = profile.rungs[0]
    assert rung.trained is not None
    rare = [level for level, symbol in enumerate(rung.trained.symbols) if symbol == 0]
    assert (len(rare), rung.trained.level_bits) == (52 - 5, 6)
    flat = np.resize(np.array(rare, np.uint8), 60)
    frame = backend(profile).encode(0, 1, tensor_of(profile, flat))
    assert len(frame) - 12 == 60 * (8 + 6) // 8
    got = backend(profile).decode(frame)
    assert got is None or np.array_equal(got, flat)


@pytest.mark.parametrize("bound", [0, 4])
def test_the_coder_loses_little(bound: int) -> None:
    """Bytes against -log2 of every frequency on its own, of levels that they foretell."""
    profile = near_profile(bound, (64, 16, 4), kind="steep", seed=bound, channels=4)
    rung = profile.rungs[0]
    trained = rung.trained
    assert trained is not None
    codec = IndependentCodec(profile.canonical())
    model = codec.model(0, 0)
    assert isinstance(model, NearModel)
    rng = np.random.default_rng(1)
    bits = 0.0
    for _ in range(profile.tensor.elements):
        sizes = np.array(model.sizes(), np.float64)
        symbol = int(rng.choice(len(sizes), p=sizes / sizes.sum()))
        level = trained.symbols.index(symbol) if symbol else trained.symbols.index(0)
        bits += 16 - math.log2(sizes[symbol]) + (0 if symbol else model.bits)
        model.coded(level, int(bits / 8))
    flat = np.array(model.levels, np.uint8)
    payload = NativeCodec(profile).encode_levels(0, 0, flat)[12:]
    assert bits / 8 - 1 < len(payload) < bits / 8 * 1.0015 + 4
    assert ideal_bits(rung, flat, 64) == pytest.approx(bits, rel=1e-9)


def test_a_million_elements_native() -> None:
    """Slices of many rows, channels that are no multiple of 32, in C against the reference."""
    profile = near_profile(0, (64, 128, 129), slice_rows=9, channels=129, kind="steep", seed=2)
    codec = NativeCodec(profile)
    for name, flat in level_patterns(256, profile.tensor.elements).items():
        frame = codec.encode(0, 1, tensor_of(profile, flat))
        assert len(frame) <= codec.frame_max(0), name
        assert np.array_equal(codec.decode(frame).levels.reshape(-1), flat), name
    small = near_profile(1, (16, 32, 65), slice_rows=5, channels=65, kind="steep", seed=3)
    flat = level_patterns(small.rungs[0].levels, small.tensor.elements)["likely"]
    assert encode_levels(small, 0, 1, flat) == NativeCodec(small).encode_levels(0, 1, flat)


def test_rungs_travel_and_bad_tensors_are_refused(decoding_backend: Factory) -> None:
    profile = near_profile((0, 1, 2), (3, 5))
    codec: Any = decoding_backend(profile)
    for rung in range(3):
        decoded = codec.codec.decode(codec.encode(rung, 9, np.zeros((3, 5), np.int8)))
        assert (decoded.rung, decoded.sequence) == (rung, 9)
