"""Profiles and tensors for the codec's tests, made with integer arithmetic of their own.

Real values run from 0 to N - 1 and the thresholds are n - 1/2, so the level of a real value is the
nearest integer, and every expected level can be worked out exactly without the code under test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.binarisation import binarisation
from isthmus.codec import float32_keys, payload_max
from isthmus.profile import Profile, Rung, TensorSpec

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
) -> Rung:
    """A uniform rung; ``top`` is the real value of the tensor's highest integer (default N - 1)."""
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
        initial=initial or (32768,) * binarisation(levels).context_count,
        table_i8=table,
        thresholds_i16=steps,
        thresholds_f32=tuple(int(key) for key in float32_keys(thresholds)),
        payload_max=payload_max(levels, rate, slice_elements),
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
