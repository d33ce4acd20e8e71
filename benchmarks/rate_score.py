"""How good answers are, and how sure a difference is: top-1 and AP50, with the paired jackknife."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.detection import Head, average_precision, decode_heads, match
from isthmus_gen.evaluate.statistics import top_class

__all__ = ["Detector", "Score", "Scorer", "TopOne", "difference"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """A metric in 0..1 over n inputs, and its value [n] with each input left out."""

    value: float
    without: Floats


def difference(reference: Score, other: Score) -> tuple[float, float]:
    """Reference less other, and the standard error of that difference on the same inputs.

    The error is the jackknife's (Efron and Stein 1981); for a mean over inputs it is the textbook
    one, the deviation of the paired differences over sqrt(n).
    """
    n = len(reference.without)
    spread = reference.without - other.without
    variance = (n - 1) / n * float(((spread - spread.mean()) ** 2).sum())
    return reference.value - other.value, math.sqrt(variance)


class Scorer(ABC):
    """Scores a network's answers to the test set."""

    @abstractmethod
    def score(self, answers: Any) -> Score:
        """The score of all answers, in the order of the set."""


class TopOne(Scorer):
    """Share of inputs whose highest output is the label; answers are float32 [n, classes]."""

    def __init__(self, labels: npt.NDArray[Any]) -> None:
        self._labels = labels.astype(np.int64)

    def score(self, answers: Any) -> Score:
        right = np.asarray(top_class(answers) == self._labels, dtype=np.float64)
        n = len(right)
        return Score(float(right.mean()), (right.sum() - right) / max(1, n - 1))


class Detector(Scorer):
    """AP50; answers are the outputs of the heads, each [n, channels, rows, columns]."""

    def __init__(
        self, heads: Sequence[Head], size: int, truth: Sequence[tuple[Floats, Any]]
    ) -> None:
        self._heads = heads
        self._size = size
        self._truth = truth

    def score(self, answers: Any) -> Score:
        found = decode_heads(answers, self._heads, self._size)
        matched = match(found, self._truth, self._heads[0].classes)
        without = [average_precision(matched, one) for one in range(len(found))]
        return Score(average_precision(matched), np.array(without))
