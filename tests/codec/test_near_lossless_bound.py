"""What near-lossless promises: every value within D, and no payload longer than the proof says."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from codec_backends import encode_into
from codec_near_profiles import grid_centres, near_profile
from codec_profiles import hostile_levels, tensor_of
from independent_codec import IndependentCodec, Interval

from isthmus.codec.bound import MAX_PAYLOAD
from isthmus.codec.near_bound import near_payload_max
from isthmus.codec.packets import packet_need
from isthmus.codec.quantise import levels_of
from isthmus.decoder import Decoder
from isthmus.native import NativeCodec
from isthmus.profile import Profile, TensorSpec
from isthmus_gen.calibrate import TensorStatistics
from isthmus_gen.near_lossless.design import design_near_rungs

BOUNDS = (0, 1, 2, 4, 9)


def designed(dtype: str, scale: float, zero_point: int, tensors: list[npt.NDArray[Any]]) -> Profile:
    """A profile as the generator designs it from ``tensors``, a rung for each of BOUNDS."""
    spec = TensorSpec("features", tensors[0].shape, dtype, scale, zero_point)
    statistics = TensorStatistics(spec.shape)
    reals = np.stack(tensors).astype(np.float64)
    statistics.update((reals - zero_point) * scale if dtype != "float32" else reals)
    made = design_near_rungs(spec, statistics, tensors, BOUNDS, max(1, spec.rows))
    return Profile(spec, tuple(each.rung for each in made), max(1, spec.rows))


@pytest.mark.parametrize("zero_point", [-128, -127, -100, -3, -1, 0, 1, 2, 50, 126, 127])
def test_all_256_values_are_decoded_within_the_bound(zero_point: int) -> None:
    """By enumeration, through the whole codec: each int8 value, each bound, in steps of int8."""
    every = np.arange(-128, 128, dtype=np.int8).reshape(16, 16)
    scale = 0.0625
    profile = designed("int8", scale, zero_point, [every, every.T.copy()])
    decoder = Decoder(profile)
    for rung, bound in enumerate(BOUNDS):
        decoded = decoder.decode(decoder.encode(every, rung=rung))
        steps = decoded.features.astype(np.float64) / scale + zero_point
        assert np.array_equal(steps, np.round(steps))
        errors = np.abs(steps - every.astype(np.float64))
        assert errors.max() == bound, "within D, and no closer than levels are few for"
        assert profile.rungs[rung].bound == bound
        assert profile.rungs[rung].levels == len(grid_centres(zero_point + 128, bound))
        # a real zero is a level: what is nothing stays nothing
        assert decoded.features[every == zero_point].tolist() == [0.0]


@pytest.mark.parametrize("zero", range(256))
def test_the_generators_grid_is_that_of_the_document(zero: int) -> None:
    """Tables and values against the enumeration, for every place that zero may have."""
    from isthmus_gen.near_lossless.grid import Grid

    for bound in (*BOUNDS, 30, 127):
        grid = Grid(bound, -float(zero), 1.0, zero, "int8")
        centres = grid_centres(zero, bound)
        assert grid.levels == len(centres)
        assert grid.steps().tolist() == [min(max(centre, 0), 255) for centre in centres]
        table = grid.level_of_step().tolist()
        assert all(abs(step - centres[level]) <= bound for step, level in enumerate(table))
        assert max(abs(grid.steps()[level] - step) for step, level in enumerate(table)) <= bound


@pytest.mark.parametrize("dtype", ["float32", "int16"])
@pytest.mark.parametrize(("low", "high"), [(0.0, 7.5), (-3.25, 9.0), (-5.0, -1.0)])
def test_reals_are_decoded_within_the_bound_of_256_steps(
    dtype: str, low: float, high: float
) -> None:
    """A front without int8: half a step of the min-max grid, and D steps more."""
    rng = np.random.default_rng(3)
    real = np.clip(rng.normal((low + high) / 2, (high - low) / 4, (2, 8, 6, 5)), low, high)
    scale = 2.0**-11
    tensors = [(one / scale).round().astype(np.int16) for one in real]
    if dtype == "float32":
        tensors = [one.astype(np.float32) for one in real]
    profile = designed(dtype, scale, 0, tensors)
    decoder = Decoder(profile)
    unit = scale if dtype == "int16" else 1.0
    step = float(np.ptp(np.stack(tensors).astype(np.float64))) * unit / 255
    for rung, bound in enumerate(BOUNDS):
        for tensor in tensors:
            true = tensor.astype(np.float64) * unit
            found = decoder.decode(decoder.encode(tensor, rung=rung)).features
            assert np.abs(found - true).max() <= (bound + 0.5) * step + 1e-6


def test_random_int8_tensors_come_back_within_the_bound() -> None:
    rng = np.random.default_rng(0)
    tensors = [np.clip(rng.normal(-90, 40, (12, 9, 7)), -128, 127).astype(np.int8) for _ in "abc"]
    profile = designed("int8", 0.125, -100, tensors)
    decoder = Decoder(profile)
    for rung, bound in enumerate(BOUNDS):
        for tensor in tensors:
            real = (tensor.astype(np.float64) + 100) * 0.125
            found = decoder.decode(decoder.encode(tensor, rung=rung)).features
            assert np.abs(found - real).max() <= bound * 0.125
        levels = levels_of(profile, profile.rungs[rung], tensors[0])
        if bound == 0:
            assert np.array_equal(levels, (tensors[0].reshape(-1).astype(int) + 128))


def peak(profile: Profile, levels: npt.NDArray[np.uint8]) -> int:
    """Payload bytes that an encoder needs while it works: before trailing zeros are dropped."""
    _, length, _ = encode_into(NativeCodec(profile), 0, 0, levels, 0)
    return length - 12


@pytest.mark.parametrize("kind", ["spike", "steep", "random", "escape"])
@pytest.mark.parametrize("bound", [0, 2, 60, 127])
def test_adversaries_stay_below_the_bound(bound: int, kind: str) -> None:
    """The dearest level at every step, of few channels and of many, whole and cut short."""
    for channels in (1, 32, 33, 96):
        full = near_profile(
            bound, (5, 66 if channels == 33 else 96), kind=kind, channels=channels, seed=bound
        )
        flat = hostile_levels(full)
        row = full.tensor.row_elements
        for count in (1, 2, 31, 33, 5 * row):
            spec = dataclasses.replace(full.tensor, shape=(-(-count // row), min(count, row)))
            if spec.row_elements % channels:
                continue
            limit = near_payload_max((full.rungs[0].levels - 1).bit_length(), spec.elements)
            rung = dataclasses.replace(full.rungs[0], payload_max=limit)
            part = Profile(spec, (rung,), spec.rows)
            assert peak(part, flat[: spec.elements]) <= limit


def test_an_adversary_comes_close() -> None:
    """Its payload is more than what flat coding alone would take, and near the bound."""
    profile = near_profile(0, (24, 96), kind="spike", channels=96, own=200)
    flat = hostile_levels(profile)
    limit = profile.rungs[0].payload_max
    assert limit == -(-(8 * 2304 + 1) // 8) + 64 + 65 + 32 + 5
    assert 0.97 * limit < peak(profile, flat) <= limit
    assert peak(profile, flat) > 2304 + 64, "the slack was used up, and the look came late"


@pytest.mark.parametrize("levels", [2, 3, 9, 86])
def test_every_short_unit_fits_flat(levels: int) -> None:
    """All units of few elements: what leaves the coder is what a packet has room for."""
    bound = next(b for b in range(127, -1, -1) if len(grid_centres(127, b)) >= levels)
    most = {2: 9, 3: 6, 9: 3}.get(levels, 2)
    for count in range(1, most + 1):
        profile = near_profile(bound, (count,), zero=127)
        codec = IndependentCodec(profile.canonical())
        allowed = packet_need(profile.rungs[0], count) - 13
        worst = 0
        for unit in itertools.product(range(profile.rungs[0].levels), repeat=count):
            model, interval = codec.model(0, 0, flat=True), Interval()
            codec.code(model, interval, list(unit))
            worst = max(worst, interval.shifts)
        assert worst <= allowed


def test_the_bound_is_the_documents_formula() -> None:
    """BITSTREAM.md, 13.5, in whole numbers; it grows, and 2^17 elements fit the header."""
    for bits in range(1, 9):
        sizes = []
        for n in (1, 2, 31, 1000, 1 << 15, (1 << 15) + 1, 1 << 20):
            stated = -(-(n * bits + n // 32768 + 1) // 8) + 64 + (65 + 4 * bits) + 5
            assert near_payload_max(bits, n) == stated
            sizes.append(stated)
        assert sizes == sorted(sizes)
        assert near_payload_max(bits, 0) == 0
        assert near_payload_max(bits, 1 << 17) <= MAX_PAYLOAD
        for unit in (1, 7, 100, 40000):
            rung = near_profile({8: 0, 7: 1, 6: 2}.get(bits, 127), (4,)).rungs[0]
            assert rung.trained is not None
            own = rung.trained.level_bits
            need = 12 + (unit * own + unit // 32768 + 1) // 8 + 1
            assert packet_need(rung, unit) == need


def test_tensors_of_one_value_are_small() -> None:
    """What a distribution expects costs next to nothing: 2,304 elements in a few bytes."""
    profile = near_profile(0, (24, 96), kind="spike", channels=1, classes=1, cells=1,
                           distributions=1)  # fmt: skip
    trained = profile.rungs[0].trained
    assert trained is not None
    usual = trained.symbols.index(int(np.argmax(trained.frequencies[0])))
    flat = np.full(2304, usual, np.uint8)
    frame = NativeCodec(profile).encode(0, 0, tensor_of(profile, flat))
    assert len(frame) - 12 <= 2304 * 0.05
