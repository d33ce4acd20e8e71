"""Profiles and tensors for the codec's tests, made with integer arithmetic of their own.

Real values run from 0 to N - 1 and the thresholds are n - 1/2, so the level of a real value is the
nearest integer, and every expected level can be worked out exactly without the code under test.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from independent_codec import AnyModel, IndependentCodec
from independent_near import NearModel

from isthmus.binarisation import binarisation
from isthmus.codec import float32_keys, payload_max
from isthmus.codec.bound import neighbour_payload_max
from isthmus.codec.packets import packet_need
from isthmus.profile import Contexts, Packets, Profile, Rung, TensorSpec

_SPAN = {"int8": 255, "int16": 65535}
_LOWEST = {"int8": -128, "int16": -32768}


def make_rung(
    levels: int,
    dtype: str = "int8",
    *,
    slice_elements: int,
    rate: int = 5,
    initial: tuple[int, ...] | None = None,
    top: int | None = None,
    contexts: Contexts | None = None,
) -> Rung:
    """A uniform rung; ``top`` is the real value of the tensor's highest integer (default N - 1)."""
    count = binarisation(levels).context_count * (1 if contexts is None else contexts.sets)
    even = 32768 if contexts is None else 32896
    longest = payload_max if contexts is None else neighbour_payload_max
    highest = levels - 1 if top is None else top
    thresholds = tuple(n - 0.5 for n in range(1, levels))
    table = None
    steps = None
    if dtype == "int8":
        exact = [(2 * v * highest + 255) // 510 for v in range(256)]
        table = bytes(min(level, levels - 1) for level in exact)
    if dtype == "int16":
        steps = tuple(
            min(32768, math.ceil(Fraction((2 * n - 1) * 65535, 2 * highest)) - 32768)
            for n in range(1, levels)
        )
    return Rung(
        levels=levels,
        clip=(0.0, float(levels - 1)),
        quantizer="uniform",
        thresholds=thresholds,
        values=tuple(float(n) for n in range(levels)),
        rate=rate,
        initial=initial or (even,) * count,
        table_i8=table,
        thresholds_i16=steps,
        thresholds_f32=tuple(int(key) for key in float32_keys(thresholds)),
        payload_max=longest(levels, rate, slice_elements),
        contexts=contexts,
    )


def make_profile(
    levels: int | Sequence[int],
    shape: tuple[int, ...],
    *,
    slice_rows: int | None = None,
    dtype: str = "int8",
    rate: int | Sequence[int] = 5,
    initial: tuple[int, ...] | None = None,
    extra: dict[str, Any] | None = None,
) -> Profile:
    """A profile; with several ``levels`` a ladder, all of them over the range of the largest."""
    ladder = (levels,) if isinstance(levels, int) else tuple(levels)
    rates = (rate,) * len(ladder) if isinstance(rate, int) else tuple(rate)
    top = max(ladder) - 1
    scale = top / _SPAN[dtype] if dtype in _SPAN else 1.0
    spec = TensorSpec("features", shape, dtype, scale, _LOWEST.get(dtype, 0))
    rows = slice_rows or max(1, spec.rows)
    count = min(rows, spec.rows) * spec.row_elements
    rungs = tuple(
        make_rung(n, dtype, slice_elements=count, rate=r, initial=initial, top=top)
        for n, r in zip(ladder, rates, strict=True)
    )
    return Profile(spec, rungs, rows, extra or {})


def tensor_of(profile: Profile, levels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A tensor of the profile's shape and dtype with these levels in its largest rung."""
    dtype = profile.tensor.dtype
    wanted = levels.astype(np.int64).reshape(profile.tensor.shape)
    if profile.scheme == "trained":
        # values are whole numbers, and so is what one is in steps of the tensor's own
        finest = max(profile.rungs, key=lambda rung: rung.levels)
        real = np.array(finest.values)[wanted]
        if finest.grids is not None:
            real = np.array(finest.grids.origins) + np.array(finest.grids.scales) * real
        own = np.round(real / profile.tensor.scale) if dtype != "float32" else real
        return (own + profile.tensor.zero_point).astype(dtype)
    if dtype == "float32":
        return wanted.astype(np.float32)
    top = max(rung.levels for rung in profile.rungs) - 1
    return ((2 * wanted * _SPAN[dtype] + top) // (2 * top) + _LOWEST[dtype]).astype(dtype)


def level_patterns(levels: int, count: int, seed: int = 0) -> dict[str, npt.NDArray[np.uint8]]:
    """Flat tensors of levels: the extremes, what alternates, what is likely, what is random."""
    rng = np.random.default_rng([seed, levels, count])
    top = levels - 1
    index = np.arange(count)
    likely = np.minimum(rng.geometric(0.6, count) - 1, top)
    out = {
        "minimum": np.zeros(count),
        "maximum": np.full(count, top),
        "alternating": index % 2 * top,
        "ramp": index % levels,
        "random": rng.integers(0, levels, count),
        "likely": likely,
        "bursts": np.where(index // 37 % 2 == 0, 0, top),
    }
    return {name: values.astype(np.uint8) for name, values in out.items()}


class Draws:
    """Numbers of a linear congruential generator: the same with every version of numpy."""

    def __init__(self, seed: int) -> None:
        self.state = seed * 2 + 11

    def one(self, low: int, high: int) -> int:
        """A number from ``low`` to ``high`` - 1."""
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return low + (self.state >> 33) * (high - low) // 2**31

    def several(self, low: int, high: int, count: int) -> list[int]:
        """``count`` of them."""
        return [self.one(low, high) for _ in range(count)]


def contexts_for(
    levels: int,
    row: int,
    rng: Draws,
    *,
    channels: int | None = None,
    clusters: int | None = None,
    classes: int | None = None,
    step: int | None = None,
) -> Contexts:
    """Contexts for rows of ``row`` elements; what is not given is drawn, small numbers mostly.

    At most ``classes`` classes of neighbours; a place outside may share one with levels.
    """
    bins = binarisation(levels).context_count
    divisors = [count for count in range(1, row + 1) if row % count == 0] or [1]
    channels = channels or divisors[rng.one(0, len(divisors))]
    most = min(255 // bins, levels + 1, classes or rng.one(1, 9))
    numbering = _numbering(levels + 1, most, rng)
    total = max(numbering) + 1
    room = max(1, min(channels, 256, (1 << 15) // (total**2 * bins)))
    wanted = clusters or rng.one(1, min(room, 5) + 1)
    return Contexts(
        step=step or rng.one(1, max(1, row) + 1),
        clusters=_numbering(channels, min(room, wanted), rng),
        classes=numbering,
    )


def _numbering(count: int, numbers: int, rng: Draws) -> tuple[int, ...]:
    """``count`` numbers that use all of 0 .. numbers - 1, in any order."""
    numbers = min(count, numbers)
    drawn = [*range(numbers), *rng.several(0, numbers, count - numbers)]
    order = sorted(range(count), key=rng.several(0, 1 << 30, count).__getitem__)
    return tuple(drawn[place] for place in order)


def states_for(count: int, how: str, rng: Draws) -> tuple[int, ...]:
    """``count`` starting states of 8 bits: "even", "random", "extreme", "low" or "high"."""
    choices = {
        "even": [128], "random": list(range(256)), "extreme": [0, 255], "low": [0], "high": [255],
    }[how]  # fmt: skip
    return tuple(256 * choices[n] + 128 for n in rng.several(0, len(choices), count))


STATES = ("even", "random", "extreme", "low", "high")


def neighbour_profile(
    levels: int | Sequence[int],
    shape: tuple[int, ...],
    *,
    seed: int = 0,
    states: str = "random",
    slice_rows: int | None = None,
    dtype: str = "int8",
    rate: int | Sequence[int] = 5,
    unit: int | None = None,
    packet_bytes: int | None = None,
    **given: int | None,
) -> Profile:
    """A profile of scheme "neighbour"; ``given`` as :func:`contexts_for`, ``seed`` draws the rest.

    With ``unit`` it has packets, of the smallest size that is allowed where none is given.
    """
    rng = Draws(seed)
    base = make_profile(levels, shape, slice_rows=slice_rows, dtype=dtype, rate=rate)
    row = base.tensor.row_elements
    count = base.slice_elements(0)
    top = max(rung.levels for rung in base.rungs) - 1
    rungs = []
    for plain in base.rungs:
        contexts = contexts_for(plain.levels, row, rng, **given)
        size = contexts.sets * binarisation(plain.levels).context_count
        rungs.append(
            make_rung(
                plain.levels, dtype, slice_elements=count, rate=plain.rate,
                initial=states_for(size, states, rng), top=top, contexts=contexts,
            )
        )  # fmt: skip
    profile = Profile(base.tensor, tuple(rungs), base.slice_rows, {})
    return profile if unit is None else with_packets(profile, unit, packet_bytes)


def with_packets(profile: Profile, unit: int, size: int | None = None) -> Profile:
    """The profile with packets of ``size`` bytes, or of the smallest size allowed."""
    least = max(packet_need(rung, unit) for rung in profile.rungs)
    packets = Packets(size or max(20, least), unit)
    return dataclasses.replace(profile, packets=packets, slice_rows=max(1, profile.tensor.rows))


def hostile_levels(profile: Profile, rung: int = 0) -> npt.NDArray[np.uint8]:
    """Levels each of which costs most by the contexts of that moment: they force flat coding.

    By the independent model, so that nothing here trusts the code under test.
    """
    chosen = profile.rungs[rung]
    model = IndependentCodec(profile.canonical()).model(rung, 0)
    spent = 0.0
    for _ in range(profile.tensor.elements):
        spent += put_dearest(model, chosen.levels, spent)
    return np.array(model.levels, dtype=np.uint8)


def put_dearest(model: AnyModel, levels: int, spent: float) -> float:
    """Puts the level that costs most at this moment after ``spent`` bits; what it cost, bits."""
    if isinstance(model, NearModel):
        costs = [
            sum(bits - math.log2(size) for _, size, bits in model.parts(level))
            for level in range(levels)
        ]
        level = max(range(levels), key=costs.__getitem__)
        model.coded(level, int((spent + costs[level]) / 8))
        return costs[level]
    words = model.words[:levels]
    chances = model.chances()
    cost = [-math.log2(value / 65536) for value in chances.values]
    rest = [-math.log2(1 - value / 65536) for value in chances.values]
    prices = [sum(cost[c] if one else rest[c] for c, one in word) for word in words]
    level = max(range(levels), key=prices.__getitem__)
    for context, one in words[level]:
        chances.learn(context, bool(one))
    model.coded(level, int((spent + prices[level]) / 8))
    return prices[level]


def hostile_packets(profile: Profile) -> npt.NDArray[np.uint8]:
    """The same for a profile with packets: every packet is filled with what costs most in it."""
    assert profile.packets is not None
    codec = IndependentCodec(profile.canonical())
    levels = profile.rungs[0].levels
    unit, room = profile.packets.unit, 8 * (profile.packets.bytes - 13)
    out: list[int] = []
    model, spent = codec.model(0, 0), 0.0
    while len(out) < profile.tensor.elements:
        for _ in range(2):
            before = len(model.levels)
            for _ in range(unit):
                spent += put_dearest(model, levels, spent)
            if spent < room + 8 or before == 0:
                break
            model, spent = codec.model(0, len(out)), 0.0
        out += model.levels[-unit:]
    return np.array(out, dtype=np.uint8)
