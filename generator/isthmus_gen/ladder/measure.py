"""Candidates measured: what they cost in bits and what they do to the network's answers.

The inputs are in two halves, every other one. A candidate's quantiser and the coder's start are
made from one half and measured on the other, and the other way round: every input counts, and none
is measured with what was made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.decoder import ReferenceCodec, make_codec
from isthmus.interpreters import TensorInfo, dequantize
from isthmus.profile import MAX_RUNGS, Profile, TensorSpec
from isthmus_gen.calibrate import ActivationLike, Quantizer, TensorStatistics, lut_int8
from isthmus_gen.ladder.candidates import Maker, Recipe
from isthmus_gen.ladder.divergence import Answers, Losses
from isthmus_gen.progress import Progress

__all__ = ["Back", "Features", "Half", "MakeProfile", "Meter", "levels_of", "values_of"]

Floats = npt.NDArray[np.float32]
Back = Callable[[Floats], Floats]
"""The back half: answers [n, ...] for features float32 [n, *shape]."""
MakeProfile = Callable[[Sequence[Quantizer], Sequence[Floats]], Profile]
"""A profile with a rung for each quantiser, the coder's start from some features."""

_BATCH = 64
_RATE_ELEMENTS = 1 << 21
_START_ELEMENTS = 1 << 20
_REFERENCE_ELEMENTS = 1 << 15


@dataclass(frozen=True)
class Features:
    """Feature tensors as the device has them, [n, *shape], and the type they are of."""

    spec: TensorSpec
    elements: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.elements)

    def part(self, rows: npt.NDArray[np.int64] | slice) -> Features:
        """Some of the tensors."""
        return Features(self.spec, self.elements[rows])

    def real(self) -> Floats:
        """In the network's units, float32."""
        if self.spec.dtype == "float32":
            return np.asarray(self.elements, dtype=np.float32)
        info = TensorInfo(
            self.spec.name,
            self.spec.shape,
            self.elements.dtype,
            self.spec.scale,
            self.spec.zero_point,
        )
        return dequantize(self.elements, info)


def levels_of(quantizer: Quantizer, features: Features) -> npt.NDArray[np.uint8]:
    """The levels that the device sends for ``features``, uint8 of their shape."""
    if features.spec.dtype == "int8":
        table = lut_int8(quantizer, features.spec.scale, features.spec.zero_point)
        return table[features.elements.astype(np.int16) + 128]
    return quantizer.level(features.real()).astype(np.uint8)


def values_of(quantizer: Quantizer, levels: npt.NDArray[np.uint8]) -> Floats:
    """What the host makes of levels, float32."""
    return np.asarray(quantizer.values, dtype=np.float32)[levels]


@dataclass(frozen=True)
class Half:
    """One half of the inputs: quantisers made here are measured on ``rows``, the other's inputs."""

    maker: Maker
    samples: list[Floats]
    rows: npt.NDArray[np.int64]


class Meter:
    """Measures candidates on device tensors with a back half."""

    def __init__(
        self,
        features: Features,
        answers: Answers,
        back: Back,
        activation: ActivationLike,
        make_profile: MakeProfile,
        **options: Any,
    ) -> None:
        self.features, self.answers = features, answers
        self._back, self._make_profile = back, make_profile
        self._halves = []
        everything = np.arange(len(features))
        for parity in (0, 1):
            own = everything[everything % 2 == parity]
            statistics = TensorStatistics(features.spec.shape, name="features of one half")
            samples: list[Floats] = []
            for start in range(0, len(own), _BATCH):
                real = features.part(own[start : start + _BATCH]).real()
                statistics.update(real)
                samples += list(real)
            maker = Maker(statistics, activation, **options)
            rows = everything[everything % 2 != parity]
            self._halves.append(Half(maker, samples, rows))

    def quick(self, recipe: Recipe, inputs: int) -> tuple[float, Losses]:
        """(bits per element, losses) on the first ``inputs``, bits as an entropy.

        The entropy is that of a level given its left and its upper neighbour's, counted on the
        inputs themselves: good enough to put candidates in order, and cheap.
        """
        part = inputs // len(self._halves)
        bits, found = 0.0, []
        for half in self._halves:
            rows = half.rows[:part]
            levels, losses = self._losses(half.maker.make(recipe), rows)
            bits += neighbour_entropy(levels, recipe.levels)
            found.append(losses)
        return bits / len(self._halves), _joined(found)

    def full(
        self, recipes: Sequence[Recipe], progress: Progress
    ) -> list[tuple[Recipe, float, Losses]]:
        """Bits per element of real frames and losses, on all inputs."""
        out: list[tuple[Recipe, float, Losses]] = []
        for start in range(0, len(recipes), MAX_RUNGS):
            some = recipes[start : start + MAX_RUNGS]
            losses: list[list[Losses]] = [[] for _ in some]
            sizes = np.zeros(len(some))
            elements = 0
            for half in self._halves:
                made = [half.maker.make(recipe) for recipe in some]
                for number, quantizer in enumerate(made):
                    losses[number].append(self._losses(quantizer, half.rows)[1])
                size, seen = self._rate(half, made)
                sizes += size
                elements += seen
            out += [
                (recipe, 8 * float(size) / max(1, elements), _joined(found))
                for recipe, size, found in zip(some, sizes, losses, strict=True)
            ]
            progress("measuring rungs", min(len(recipes), start + MAX_RUNGS), len(recipes))
        return out

    def _losses(
        self, quantizer: Quantizer, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], Losses]:
        """Levels uint8 [rows, *shape] and what the answers lose by them."""
        levels, outputs = [], []
        for start in range(0, len(rows), _BATCH):
            part = levels_of(quantizer, self.features.part(rows[start : start + _BATCH]))
            levels.append(part)
            outputs.append(self._back(values_of(quantizer, part)))
        return np.concatenate(levels), self.answers.losses(np.concatenate(outputs), rows)

    def _rate(
        self, half: Half, quantizers: Sequence[Quantizer]
    ) -> tuple[npt.NDArray[np.float64], int]:
        """Bytes of the frames of each quantiser, and the elements they hold."""
        each = max(1, self.features.spec.elements)
        # fewer than the bundle's own start is made from: a little dearer, for all alike
        profile = self._make_profile(quantizers, half.samples[: max(2, _START_ELEMENTS // each)])
        codec = make_codec(profile)
        most = _REFERENCE_ELEMENTS if isinstance(codec, ReferenceCodec) else _RATE_ELEMENTS
        rows = half.rows[: max(1, most // each)]
        sizes = np.zeros(len(quantizers))
        for index in rows:
            tensor = self.features.elements[index]
            sizes += [len(codec.encode(rung, 0, tensor)) for rung in range(len(quantizers))]
        return sizes, len(rows) * each


def neighbour_entropy(levels: npt.NDArray[np.uint8], count: int) -> float:
    """Entropy in bit per element of levels [n, *shape] given the left and the upper neighbour's.

    Left is the same channel of the place before in the row, up the same place of the row above;
    outside the tensor the level counts as 0.
    """
    left, up = np.zeros_like(levels), np.zeros_like(levels)
    if levels.ndim >= 3:  # rank 2 and more: there are rows
        up[:, 1:] = levels[:, :-1]
    if levels.ndim >= 4:
        left[:, :, 1:] = levels[:, :, :-1]
    else:
        left[..., 1:] = levels[..., :-1]
    place = (up.astype(np.int64) * count + left) * count + levels
    seen = np.bincount(place.reshape(-1), minlength=count**3).reshape(-1, count).astype(np.float64)
    total = np.repeat(seen.sum(axis=1), count).reshape(seen.shape)
    some = seen > 0
    return float(-(seen[some] * np.log2(seen[some] / total[some])).sum() / max(1, levels.size))


def _joined(parts: Sequence[Losses]) -> Losses:
    changed = [part.changed for part in parts if part.changed is not None]
    lost = [part.lost for part in parts if part.lost is not None]
    return Losses(
        np.concatenate([part.divergence for part in parts]),
        np.concatenate(changed) if changed else None,
        np.concatenate(lost) if lost else None,
    )
