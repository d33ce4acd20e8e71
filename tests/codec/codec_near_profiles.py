"""Near-lossless profiles for the codec's tests: grids by enumeration, tables drawn at random.

One step of the grid is the real 1, and step z is zero: real values run from -z to 255 - z. So every
level, threshold and tensor is a matter of whole numbers and halves.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from codec_profiles import Draws, with_packets

from isthmus.codec import float32_keys
from isthmus.codec.near_bound import near_payload_max
from isthmus.grids import Grids
from isthmus.profile import Profile, Rung, TensorSpec
from isthmus.trained import Trained

__all__ = [
    "FREQUENCIES",
    "grid_centres",
    "near_of_levels",
    "near_profile",
    "near_rung",
    "trained_for",
]

FREQUENCIES = ("random", "even", "steep", "spike", "escape")
"""Kinds of distributions: any, all symbols alike, each half the one before, one symbol alone, and
as many escapes as there may be."""


def grid_centres(zero: int, bound: int) -> list[int]:
    """The steps that levels stand for before the ends are cut: BITSTREAM.md, 13.1, word by word."""
    pitch = 2 * bound + 1
    candidates = [zero + k * pitch for k in range(-256, 257)]
    return [c for c in candidates if c + bound >= 0 and c - bound <= 255]


def _sizes(symbols: int, kind: str, rng: Draws) -> tuple[int, ...]:
    """Frequencies of sum 65535, each 1 or more, the escape's at most 256."""
    own = symbols - 1
    if kind == "random":
        weights = rng.several(1, 2000, own)
    elif kind == "steep":
        weights = [1 << max(0, 14 - place) for place in range(own)]
    elif kind == "spike":
        weights = [0] * own
        weights[rng.one(0, own)] = 1
    else:
        weights = [1] * own
    escape = 256 if kind == "escape" else rng.one(1, 9)
    free = 65535 - escape - own
    sizes = [1 + free * weight // sum(weights) for weight in weights]
    sizes[max(range(own), key=sizes.__getitem__)] += 65535 - escape - sum(sizes)
    return (escape, *sizes)


def trained_for(
    levels: int,
    row: int,
    rng: Draws,
    *,
    channels: int | None = None,
    classes: int | None = None,
    cells: int | None = None,
    distributions: int | None = None,
    own: int | None = None,
    kind: str = "random",
) -> Trained:
    """Distributions for rows of ``row`` elements; what is not given is drawn.

    ``own`` levels have a symbol of their own. Numbers below the largest may be left out, as a
    profile may leave them.
    """
    divisors = [count for count in range(1, row + 1) if row % count == 0] or [1]
    channels = channels or divisors[rng.one(0, len(divisors))]
    class_of = rng.several(0, classes or rng.one(1, 17), levels + 1)
    total = max(class_of) + 1
    cell_of = rng.several(0, cells or rng.one(1, 33), total**3)
    rows = distributions or rng.one(1, 20)
    own = min(own or rng.one(1, 256), levels, 255)
    order = sorted(range(levels), key=rng.several(0, 1 << 30, levels).__getitem__)
    symbols = [0] * levels
    for symbol, level in enumerate(order[:own], start=1):
        symbols[level] = symbol
    return Trained(
        channels=channels,
        classes=bytes(class_of),
        cells=bytes(cell_of),
        choices=bytes(rng.several(0, rows, channels * (max(cell_of) + 1))),
        symbols=bytes(symbols),
        frequencies=tuple(_sizes(own + 1, kind, rng) for _ in range(rows)),
    )


def channel_grids(rung: Rung, dtype: str, channels: int, offset: int) -> Rung:
    """``rung``, made for zero 0, with a grid for each channel c: from -c on, in steps below 1."""
    grids = Grids(
        tuple(-float(c) for c in range(channels)),
        tuple(0.5 ** (1 + c % 3) for c in range(channels)),
    )
    reals = [
        Fraction(origin) + Fraction(scale) * Fraction(edge)
        for origin, scale in zip(grids.origins, grids.scales, strict=True)
        for edge in rung.thresholds
    ]
    steps = tuple(math.ceil(257 * real) + offset for real in reals) if dtype == "int16" else None
    keys = tuple(int(key) for key in float32_keys([float(real) for real in reals]))
    return dataclasses.replace(rung, grids=grids, thresholds_i16=steps, thresholds_f32=keys)


def near_rung(bound: int, zero: int, dtype: str, elements: int, trained: Trained | None) -> Rung:
    """The rung of a bound for slices of ``elements`` elements."""
    centres = grid_centres(zero, bound)
    count = len(centres)
    level_of = [next(q for q, c in enumerate(centres) if abs(s - c) <= bound) for s in range(256)]
    edges = [Fraction(2 * c + 2 * bound + 1, 2) for c in centres[:-1]]  # in steps
    thresholds = tuple(float(edge - zero) for edge in edges)
    return Rung(
        levels=count,
        clip=(float(-zero), float(255 - zero)),
        quantizer="grid",
        thresholds=thresholds,
        values=tuple(float(min(max(c, 0), 255) - zero) for c in centres),
        rate=0,
        initial=(),
        table_i8=bytes(level_of) if dtype == "int8" else None,
        thresholds_i16=tuple(math.ceil(257 * edge) - 32768 for edge in edges)
        if dtype == "int16" else None,
        thresholds_f32=tuple(int(key) for key in float32_keys(thresholds)),
        payload_max=near_payload_max((count - 1).bit_length(), elements),
        bound=bound,
        trained=trained,
    )  # fmt: skip


def near_of_levels(levels: int, shape: tuple[int, ...], **given: Any) -> Profile:
    """The profile of the largest bound whose grid has ``levels`` levels or more."""
    fine = [bound for bound in range(128) if len(grid_centres(127, bound)) >= levels]
    return near_profile(max(fine), shape, zero=127, **given)


def near_profile(
    bounds: int | Sequence[int],
    shape: tuple[int, ...],
    *,
    seed: int = 0,
    zero: int = 128,
    dtype: str = "int8",
    slice_rows: int | None = None,
    unit: int | None = None,
    packet_bytes: int | None = None,
    kind: str = "random",
    grids: bool = False,
    **given: int | None,
) -> Profile:
    """A profile with a rung for each bound; ``given`` as :func:`trained_for`.

    ``grids``: each channel, which are those of the last axis then, has its own.
    """
    if grids:
        zero, given = 0, {**given, "channels": shape[-1]}
    rng = Draws(seed)
    scale, offset = {
        "int8": (1.0, zero - 128), "float32": (1.0, 0),
        "int16": (1 / 257, 257 * (shape[-1] if grids else zero) - 32768),
    }[dtype]  # fmt: skip
    spec = TensorSpec("features", shape, dtype, scale, offset)
    rows = slice_rows or max(1, spec.rows)
    rungs = []
    for bound in (bounds,) if isinstance(bounds, int) else bounds:
        bare = near_rung(bound, zero, dtype, min(rows, spec.rows) * spec.row_elements, None)
        if grids:
            bare = channel_grids(bare, dtype, shape[-1], offset)
        trained = trained_for(bare.levels, spec.row_elements, rng, kind=kind, **given)
        rungs.append(dataclasses.replace(bare, trained=trained))
    profile = Profile(spec, tuple(rungs), rows, {})
    return profile if unit is None else with_packets(profile, unit, packet_bytes)
