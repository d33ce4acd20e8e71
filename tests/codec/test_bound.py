"""The longest payload: the proof's constants derived again, every short sequence, adversaries."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pytest
from codec_backends import encode_into
from codec_profiles import make_profile, tensor_of

from isthmus.binarisation import binarisation
from isthmus.codec import payload_max
from isthmus.codec.arithmetic import adapt
from isthmus.codec.bound import _EXCESS, MAX_PAYLOAD, RATES, derive
from isthmus.codec.reference import encode_levels
from isthmus.native import NativeCodec
from isthmus.profile import Profile

DERIVED = [(5, j) for j in range(1, 16)] + [(6, 1), (6, 4), (6, 15), (7, 1), (7, 10), (7, 15)]


@pytest.mark.parametrize(("rate", "j"), DERIVED)
def test_the_table_follows_from_its_proof(rate: int, j: int) -> None:
    excess, span = derive(rate, j / (j + 1), 1500 if rate == 5 else 3000)
    stated_excess, stated_span = _EXCESS[rate][j - 1]
    assert excess * 65536 <= stated_excess <= excess * 65536 + 8, "a bound, and not a loose one"
    assert span <= stated_span <= span + 3


@pytest.mark.parametrize("rate", RATES)
def test_contexts_stay_where_the_proof_has_them(rate: int) -> None:
    """From every start that a profile may have, at the ends of the state's range."""
    low, high = (1 << rate) - 1, 65536 - (1 << rate) + 1
    for start in (128, 65408, 32768):
        for bin_, end in ((0, low), (1, high)):
            p = start
            for _ in range(65536 >> 3):
                p = adapt(p, bin_, rate)
                assert low <= p <= high
            assert p == end
            assert 1 <= (p + 8) >> 4 <= 4095


def peak(profile: Profile, levels: npt.NDArray[np.uint8]) -> int:
    """Payload bytes that an encoder needs while it works: before trailing zeros are dropped."""
    _, length, _ = encode_into(NativeCodec(profile), 0, 0, levels, 0)
    return length - 12


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("levels", "most"), [(2, 12), (3, 7), (4, 5), (17, 2), (256, 1)])
@pytest.mark.parametrize("start", [128, 1000, 32768, 65408])
def test_every_short_sequence(levels: int, most: int, rate: int, start: int) -> None:
    """All tensors of up to ``most`` elements, from the worst starts there are."""
    initial = (start,) * binarisation(levels).context_count
    for count in range(most + 1):
        profile = make_profile(levels, (count,), rate=rate, initial=initial)
        codec = NativeCodec(profile)
        limit = payload_max(levels, rate, count)
        for sequence in itertools.product(range(levels), repeat=count):
            flat = np.array(sequence, dtype=np.uint8)
            assert encode_into(codec, 0, 0, flat, 0)[1] - 12 <= limit, sequence


@lru_cache(maxsize=64)
def potential(rate: int, j: int, steps: int = 500) -> tuple[float, ...]:
    """What each context value is worth to somebody who wants long payloads, bits.

    Value iteration of "cost less that of a fixed code with P(one) = j / (j + 1)", over the states.
    """
    p = np.arange(1, 65536)
    one = np.log2(4096 / np.maximum((p + 8) >> 4, 1)) + math.log2(j / (j + 1))
    zero = np.log2(4096 / np.maximum(4096 - ((p + 8) >> 4), 1)) + math.log2(1 / (j + 1))
    up = p + ((65536 - p) >> rate) - 1
    down = p - (p >> rate) - 1
    worth = np.zeros(65535)
    for _ in range(steps):
        worth = np.maximum(one + worth[up], zero + worth[down])
        worth -= worth[32767]
    return (0.0, *worth.tolist())


def adversary(levels: int, rate: int, count: int, start: int, *, far: bool) -> list[int]:
    """Levels that cost most: at once (greedy), or with an eye on what follows (``far``).

    For each element every class is priced by its bins' costs and what it makes of the contexts,
    then each suffix bit by itself.
    """
    form = binarisation(levels)
    contexts = [start] * form.context_count
    classes = form.classes

    def price(context: int, bin_: int, j: int) -> float:
        p = contexts[context]
        chance = ((p + 8) >> 4) / 4096
        cost = -math.log2(chance if bin_ else 1 - chance)
        if far:
            worth = potential(rate, j)
            cost += math.log2(j / (j + 1) if bin_ else 1 / (j + 1))
            cost += worth[adapt(p, bin_, rate)] - worth[p]
        return cost

    def code(context: int, bin_: int) -> None:
        contexts[context] = adapt(contexts[context], bin_, rate)

    out = []
    for _ in range(count):
        ones = [price(k, 1, classes - 1 - k) for k in range(classes - 1)]
        sums = [0.0, *itertools.accumulate(ones)]
        costs = [
            sums[k] + (price(k, 0, classes - 1 - k) if k < classes - 1 else 0.0)
            for k in range(classes)
        ]
        last = (levels - 1) >> form.suffix_bits
        best = max(range(last + 1), key=costs.__getitem__)
        for k in range(best):
            code(k, 1)
        if best < classes - 1:
            code(best, 0)
        node = 1
        for depth in range(form.suffix_bits):
            context = form._suffix_context(best, node, depth)
            bit = int(price(context, 1, 1) > price(context, 0, 1))
            tail = form.suffix_bits - depth - 1
            if ((2 * node + bit - (2 << depth)) << tail) + (best << form.suffix_bits) >= levels:
                bit = 0
            code(context, bit)
            node = 2 * node + bit
        out.append((best << form.suffix_bits) + node - (1 << form.suffix_bits))
    return out


@pytest.mark.parametrize("rate", [5, 7])
@pytest.mark.parametrize("levels", [2, 3, 4, 8, 16, 17, 100, 256])
def test_adversaries(levels: int, rate: int) -> None:
    """Tensors made to be long stay below the bound, in several slices too."""
    for start in (128, 32768, 65408):
        initial = (start,) * binarisation(levels).context_count
        for far in (False, True):
            found = adversary(levels, rate, 2000, start, far=far)
            flat = np.array(found, dtype=np.uint8)
            for count in (1, 2, 3, 10, 100, 2000):
                profile = make_profile(levels, (count,), rate=rate, initial=initial)
                assert peak(profile, flat[:count]) <= payload_max(levels, rate, count)
            profile = make_profile(levels, (20, 100), rate=rate, slice_rows=1, initial=initial)
            size = encode_into(NativeCodec(profile), 0, 0, flat, 0)[1]
            assert size <= NativeCodec(profile).frame_max(0)


def test_the_adversary_is_a_good_one() -> None:
    """Far-sighted tensors cost more than random ones and come close to the bound."""
    for rate in RATES:
        count = 30_000
        profile = make_profile(2, (count,), rate=rate)
        flat = np.array(adversary(2, rate, count, 32768, far=True), dtype=np.uint8)
        random = np.random.default_rng(0).integers(0, 2, count).astype(np.uint8)
        limit = payload_max(2, rate, count)
        assert peak(profile, random) < peak(profile, flat) <= limit
        assert peak(profile, flat) > 0.99 * limit


def test_simple_hostile_tensors_of_a_million() -> None:
    """Alternation and bursts of every length near the adaptation's memory, at 2^20 elements."""
    index = np.arange(1 << 20)
    for levels in (2, 4, 256):
        profile = make_profile(levels, (1 << 20,))
        limit = payload_max(levels, 5, 1 << 20)
        for period in (1, 2, 3, 5, 22, 32, 45, 64, 1000):
            flat = (index // period % 2 * (levels - 1)).astype(np.uint8)
            assert peak(profile, flat) <= limit


@pytest.mark.parametrize("rate", RATES)
def test_bound_grows_and_fits_the_header(rate: int) -> None:
    """It never falls with the number of elements, and 2^20 elements of any N fit in 21 bits."""
    for levels in range(2, 257):
        sizes = [payload_max(levels, rate, n) for n in (0, 1, 2, 3, 10, 1000, 1 << 20)]
        assert sizes == sorted(sizes)
        assert sizes[-1] <= MAX_PAYLOAD


def test_a_frame_of_the_adversary_is_the_reference_s() -> None:
    flat = np.array(adversary(4, 5, 500, 32768, far=True), dtype=np.uint8)
    profile = make_profile(4, (500,))
    frame = encode_levels(profile, 0, 0, flat)
    assert NativeCodec(profile).encode(0, 0, tensor_of(profile, flat)) == frame
