"""What the coder costs above its own probability estimates.

The yardstick is the sum of -log2 of every bin's estimate, p / 65536. The payload may take 1 % more,
and two bytes for the end of a slice: the flush, and the unused bits of its last byte.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from codec_profiles import level_patterns, make_profile
from independent_model import Chances, code_words

from isthmus.codec import ideal_bits
from isthmus.native import NativeCodec

END_BITS = 16


def estimate_bits(levels: int, initial: int, rate: int, flat: npt.NDArray[np.uint8]) -> float:
    """The yardstick, from the independent codec's contexts."""
    words = code_words(levels)
    chances = Chances([initial] * 40, rate)
    total = 0.0
    for level in flat.tolist():
        for context, one in words[level]:
            p = chances.values[context]
            total -= math.log2((p if one else 65536 - p) / 65536)
            chances.learn(context, bool(one))
    return total


def sources(levels: int, count: int) -> dict[str, npt.NDArray[np.uint8]]:
    """Distributions of levels from flat to all but constant, mixed and drifting ones too."""
    rng = np.random.default_rng([levels, count])
    top = levels - 1
    out = dict(level_patterns(levels, count))
    for mean in (0.02, 0.1, 0.4, 1.5, 5.0):
        values = rng.exponential(mean, count) + 0.3
        out[f"exponential {mean}"] = np.minimum(values, top).astype(np.uint8)
    for share in (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.99):
        out[f"two levels {share}"] = np.where(rng.random(count) < share, top, 0).astype(np.uint8)
    drift = rng.random(count) < 0.5 + 0.5 * np.sin(np.arange(count) / 400)
    out["drifting"] = np.where(drift, top, 0).astype(np.uint8)
    return out


@pytest.mark.parametrize("rate", [5, 6, 7])
@pytest.mark.parametrize("levels", [2, 3, 4, 8, 16, 32, 256])
def test_one_percent_at_4096(levels: int, rate: int) -> None:
    profile = make_profile(levels, (4096,), rate=rate)
    codec = NativeCodec(profile)
    for name, flat in sources(levels, 4096).items():
        bits = 8 * (len(codec.encode_levels(0, 0, flat)) - 12)
        ideal = estimate_bits(levels, 32768, rate, flat)
        assert ideal == pytest.approx(ideal_bits(profile.rungs[0], flat), rel=1e-9)
        assert bits <= 1.01 * ideal + END_BITS, (name, bits, ideal)


def excess_at_65536(levels: int, rate: int) -> dict[str, float]:
    """Bits above the yardstick plus one per cent, for each source, end included."""
    profile = make_profile(levels, (1 << 16,), rate=rate)
    codec = NativeCodec(profile)
    out = {}
    for name, flat in sources(levels, 1 << 16).items():
        bits = 8 * (len(codec.encode_levels(0, 0, flat)) - 12)
        out[name] = bits - 1.01 * ideal_bits(profile.rungs[0], flat)
    return out


@pytest.mark.parametrize("rate", [5, 6, 7])
@pytest.mark.parametrize("levels", [2, 4, 8, 17])
def test_one_percent_at_65536(levels: int, rate: int) -> None:
    for name, excess in excess_at_65536(levels, rate).items():
        # All ones, the split's rounding is the only loss: a few bits in 100,000 bins.
        assert excess <= END_BITS + (3 * levels if name == "maximum" else 0), name
