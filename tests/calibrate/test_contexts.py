"""The trainer of context sets: what it finds in tensors whose structure is known.

Entropies are worked out here from the chains that made the tensors, not from the trainer's counts.
"""

from __future__ import annotations

import math
import time

import numpy as np
import numpy.typing as npt
import pytest

from isthmus.binarisation import binarisation
from isthmus.codec.start import choose_start
from isthmus.native import NativeCodec
from isthmus.profile import Contexts, Profile, Rung, TensorSpec
from isthmus_gen.contexts import (
    ContextDesign,
    choose_neighbour_rate,
    design_contexts,
    neighbour_step,
)

Levels = npt.NDArray[np.uint8]


def spec(*shape: int) -> TensorSpec:
    return TensorSpec("features", shape, "float32", 1.0, 0)


def chain(
    transition: npt.NDArray[np.float64], lines: int, length: int, seed: int
) -> tuple[Levels, float]:
    """``lines`` runs of a stationary Markov chain, and its entropy in bits a symbol."""
    rng = np.random.default_rng(seed)
    values, vectors = np.linalg.eig(transition.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary /= stationary.sum()
    entropy = -float((stationary[:, None] * transition * np.log2(transition)).sum())
    out = np.empty((lines, length), dtype=np.uint8)
    out[:, 0] = rng.choice(len(transition), lines, p=stationary)
    cumulative = transition.cumsum(axis=1)
    for k in range(1, length):
        drawn = rng.random(lines)[:, None]
        out[:, k] = np.minimum((drawn > cumulative[out[:, k - 1]]).sum(axis=1), len(transition) - 1)
    return out, entropy


SLOW = np.array([[0.90, 0.06, 0.02, 0.02], [0.25, 0.65, 0.05, 0.05],
                 [0.05, 0.15, 0.70, 0.10], [0.05, 0.05, 0.20, 0.70]])  # fmt: skip


def entropy_of(levels: Levels) -> float:
    """Bits an element of the shares of four levels that occur."""
    shares = np.bincount(levels.reshape(-1), minlength=4) / levels.size
    return -float((shares * np.log2(shares)).sum())


def code_bits(tensor: TensorSpec, levels: int, design: ContextDesign | None,
              train: list[Levels], test: list[Levels]) -> float:  # fmt: skip
    """Bits an element of real frames, headers left out; scheme "paper" without a design."""
    if design is None:
        rate, initial = choose_start(levels, train)
    else:
        rate, initial = choose_neighbour_rate(tensor, levels, design, train), design.initial
    profile = profile_of(tensor, levels, rate, initial, design.contexts if design else None)
    codec = NativeCodec(profile)
    total = sum(len(codec.encode_levels(0, 0, one.reshape(-1))) - 12 for one in test)
    return 8 * total / (len(test) * tensor.elements)


def profile_of(
    tensor: TensorSpec, levels: int, rate: int, initial: tuple[int, ...], contexts: Contexts | None
) -> Profile:
    """A profile with this coder; read back, so that its fields are in range."""
    steps = tuple(float(n) for n in range(levels))
    rung = Rung(
        levels=levels, clip=(0.0, steps[-1]), quantizer="uniform", thresholds=steps[1:],
        values=steps, rate=rate, initial=initial, table_i8=None, thresholds_i16=None,
        thresholds_f32=tuple(range(1, levels)), payload_max=(1 << 21) - 1, contexts=contexts,
    )  # fmt: skip
    return Profile.from_dict(Profile(tensor, (rung,), max(1, tensor.rows)).as_dict())


def test_a_chain_along_the_row() -> None:
    """Each channel a chain along the row: bits near its conditional entropy, coded bits too."""
    tensor = spec(12, 40, 3)
    lines, entropy = chain(SLOW, 40 * 12 * 3, 40, seed=1)
    # [tensor, row, channel, place] -> rows of places of channels
    tensors = list(lines.reshape(40, 12, 3, 40).transpose(0, 1, 3, 2))
    design = design_contexts(tensor, 4, tensors[:30])
    plain = entropy_of(np.stack(tensors[:30]))
    assert entropy < 0.75 * plain
    assert design.bits == pytest.approx(entropy, rel=0.05)
    assert design.plain_bits == pytest.approx(plain, rel=0.01)
    assert design.contexts.step == 3
    assert code_bits(tensor, 4, design, tensors[:30], tensors[30:]) < 1.06 * entropy
    assert code_bits(tensor, 4, None, tensors[:30], tensors[30:]) > 1.2 * entropy


def test_a_chain_down_the_columns() -> None:
    """The same from row to row: only the level above foretells."""
    tensor = spec(40, 9, 4)
    lines, entropy = chain(SLOW, 40 * 36, 40, seed=2)
    tensors = list(lines.reshape(40, 36, 40).transpose(0, 2, 1).reshape(40, 40, 9, 4))
    design = design_contexts(tensor, 4, tensors[:30])
    assert design.bits == pytest.approx(entropy, rel=0.06)
    assert code_bits(tensor, 4, design, tensors[:30], tensors[30:]) < 1.07 * entropy


def test_channels_of_two_kinds() -> None:
    """Channels nearly always 0 and channels nearly always 3, mixed: told apart by clusters."""
    rng = np.random.default_rng(3)
    tensor = spec(8, 8, 16)
    kinds = rng.permutation([0] * 8 + [1] * 8)
    shares = np.array([[0.91, 0.03, 0.03, 0.03], [0.03, 0.03, 0.03, 0.91]])[kinds]
    entropy = -float((shares[0] * np.log2(shares[0])).sum())
    drawn = [[rng.choice(4, (8, 8), p=share) for share in shares] for _ in range(60)]
    tensors = [np.stack(channels, axis=-1).astype(np.uint8) for channels in drawn]
    design = design_contexts(tensor, 4, tensors[:50])
    of_kind = [entropy_of(np.stack(tensors[:50])[..., kinds == kind]) for kind in (0, 1)]
    assert design.bits == pytest.approx(sum(of_kind) / 2, rel=0.003)
    clusters = design.contexts.clusters
    assert len(clusters) == 16
    groups = [{c for c, kind in zip(clusters, kinds, strict=True) if kind == k} for k in (0, 1)]
    assert not groups[0] & groups[1]
    assert code_bits(tensor, 4, design, tensors[:50], tensors[50:]) < 1.08 * entropy


@pytest.mark.parametrize("levels", [2, 4, 8, 20, 256])
@pytest.mark.parametrize("allowed", [64, 512, 4096, 1 << 17])
def test_memory_is_obeyed(levels: int, allowed: int) -> None:
    """Two bytes a context; less than one set cannot be had. Every design is a valid profile."""
    tensor = spec(6, 6, 24)
    lines, _ = chain(SLOW, 24 * 6 * 10, 6, seed=4)
    tensors = list((lines.reshape(10, 6, 6, 24).astype(int) * levels // 4).astype(np.uint8))
    design = design_contexts(tensor, levels, tensors, context_bytes=allowed)
    bins = binarisation(levels).context_count
    assert len(design.initial) == design.contexts.sets * bins
    assert 2 * len(design.initial) <= max(allowed, 2 * bins)
    assert all(state % 256 == 128 for state in design.initial)
    profile_of(tensor, levels, 5, design.initial, design.contexts)


def test_more_memory_is_not_worse() -> None:
    tensor = spec(8, 16, 12)
    lines, _ = chain(SLOW, 30 * 8 * 12, 16, seed=5)
    tensors = list(lines.reshape(30, 8, 12, 16).transpose(0, 1, 3, 2))
    bits = [
        design_contexts(tensor, 4, tensors, context_bytes=allowed).bits
        for allowed in (8, 64, 512, 4096)
    ]
    assert bits == sorted(bits, reverse=True)
    assert bits[0] > bits[-1] * 1.2


def test_it_is_deterministic() -> None:
    tensor = spec(6, 6, 24)
    rng = np.random.default_rng(6)
    tensors = [rng.integers(0, 4, tensor.shape).astype(np.uint8) for _ in range(8)]
    first = design_contexts(tensor, 4, tensors)
    assert design_contexts(tensor, 4, [each.copy() for each in tensors]) == first
    assert design_contexts(tensor, 4, [each.reshape(-1) for each in tensors]) == first


SHAPES = [(0,), (1,), (40,), (7, 9), (4, 0), (0, 3, 4), (5, 4, 6), (2, 3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("number", [0, 1, 5])
@pytest.mark.parametrize("restarts", [0.0, 0.4])
def test_every_rank_and_few_tensors(shape: tuple[int, ...], number: int, restarts: float) -> None:
    """None, one, or some tensors of any rank, and of no elements: a design that codes them."""
    tensor = spec(*shape)
    rng = np.random.default_rng(7)
    tensors = [rng.integers(0, 5, shape).astype(np.uint8) for _ in range(number)]
    design = design_contexts(tensor, 5, tensors, restarts=restarts)
    assert math.isfinite(design.bits)
    assert 1 <= design.contexts.step <= max(1, tensor.row_elements)
    rate = choose_neighbour_rate(tensor, 5, design, tensors)
    codec = NativeCodec(profile_of(tensor, 5, rate, design.initial, design.contexts))
    for each in tensors:
        frame = codec.encode_levels(0, 0, each.reshape(-1))
        assert np.array_equal(codec.decode(frame).levels, each)


@pytest.mark.parametrize("value", [0, 2, 3])
def test_constant_tensors_cost_nothing(value: int) -> None:
    tensor = spec(8, 8, 8)
    tensors = [np.full(tensor.shape, value, np.uint8) for _ in range(6)]
    design = design_contexts(tensor, 4, tensors)
    assert design.bits < 0.02
    assert code_bits(tensor, 4, design, tensors, tensors) < 0.05
    assert design.contexts.sets <= 2, "nothing more is there to learn"


@pytest.mark.parametrize("levels", [2, 4, 8, 20])
@pytest.mark.parametrize("kind", ["even", "skewed"])
def test_noise_costs_no_more_than_in_scheme_paper(levels: int, kind: str) -> None:
    """Where there is nothing to find, real frames are longer by a fraction of a percent at most."""
    tensor = spec(10, 10, 16)
    rng = np.random.default_rng(8)
    shares = np.full(levels, 1 / levels) if kind == "even" else 0.5 ** np.arange(levels)
    shares /= shares.sum()
    tensors = [rng.choice(levels, tensor.shape, p=shares).astype(np.uint8) for _ in range(24)]
    design = design_contexts(tensor, levels, tensors[:16])
    ours = code_bits(tensor, levels, design, tensors[:16], tensors[16:])
    paper = code_bits(tensor, levels, None, tensors[:16], tensors[16:])
    entropy = -float((shares * np.log2(shares)).sum())
    assert ours <= paper * 1.005 + 0.005
    assert ours == pytest.approx(entropy, rel=0.02)


def test_steps() -> None:
    """The channels where a row has positions; in tensors of rank 1 and 2 the element before."""
    assert [neighbour_step(spec(*shape)) for shape in ((9,), (4, 9), (4, 9, 3), (2, 4, 9, 5))] == [
        1, 1, 3, 5,
    ]  # fmt: skip


def test_a_thousand_channels_within_seconds() -> None:
    """Large tensors of many channels, as the last stages of networks have them."""
    rng = np.random.default_rng(9)
    tensor = spec(7, 7, 1024)
    means = rng.random(1024) ** 2
    tensors = [np.minimum(rng.poisson(means, (7, 7, 1024)), 3).astype(np.uint8) for _ in range(24)]
    begin = time.process_time()
    design = design_contexts(tensor, 4, tensors)
    assert time.process_time() - begin < 30
    assert len(design.contexts.clusters) == 1024
    assert design.bits < 0.93 * design.plain_bits
    assert 2 * len(design.initial) <= 4096
