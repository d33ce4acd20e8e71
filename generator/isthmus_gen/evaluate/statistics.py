"""Small statistics of an evaluation: classes, paired differences, distributions of lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import DataDtypeError, DataShapeError

__all__ = ["Interval", "Tally", "check_labels", "paired_interval", "percentiles", "top_class"]

_Z95 = 1.959963984540054
_PERCENTS = (5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class Interval:
    """A difference of two accuracies and its 95 % interval, all in 0..1 (fractions)."""

    delta: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return {"delta": self.delta, "low": self.low, "high": self.high}


def paired_interval(gained: int, lost: int, count: int) -> Interval:
    """The difference (gained - lost) / count and its 95 % interval for matched pairs.

    ``gained`` inputs are right with the second network alone, ``lost`` with the first alone. The
    interval is Agresti and Min's (Statistics in Medicine 24, 2005): Wald's after adding one half
    to each of the four cells, which keeps its cover where few pairs differ.
    """
    n, b, c = count + 2.0, gained + 0.5, lost + 0.5
    centre = (b - c) / n
    half = _Z95 * math.sqrt((b + c) - (b - c) ** 2 / n) / n
    return Interval((gained - lost) / count, max(-1.0, centre - half), min(1.0, centre + half))


def percentiles(lengths: npt.NDArray[np.int64]) -> dict[str, int]:
    """Percentiles of lengths that occur, with ``min`` and ``max``; keys ``p5`` to ``p99``."""
    found = np.percentile(lengths, _PERCENTS, method="inverted_cdf")
    inner = {f"p{percent}": int(value) for percent, value in zip(_PERCENTS, found, strict=True)}
    return {"min": int(lengths.min()), **inner, "max": int(lengths.max())}


def top_class(outputs: npt.NDArray[np.float32]) -> npt.NDArray[np.int64] | None:
    """The class int64 [n] that outputs [n, classes] answer, or None where they are no classes.

    A single output counts as the probability of class 1.
    """
    flat = outputs.reshape(len(outputs), -1)
    if outputs.ndim > 2 and math.prod(outputs.shape[1:]) != max(outputs.shape[1:]):
        return None
    if flat.shape[1] == 1:
        return np.asarray(flat[:, 0] >= 0.5, dtype=np.int64)
    return np.asarray(flat.argmax(axis=1), dtype=np.int64)


def check_labels(y: npt.NDArray[Any], classes: int, path: str) -> npt.NDArray[np.int64]:
    """Labels as int64 [n]: integers [n] or [n, 1] below ``classes``, or one-hot [n, classes].

    Raises DataShapeError or DataDtypeError with the path of the labels.
    """
    labels = y
    if y.ndim == 2 and y.shape[1] == classes and classes > 1:
        labels = y.argmax(axis=1)
    elif y.ndim == 2 and y.shape[1] == 1:
        labels = y[:, 0]
    if labels.ndim != 1:
        raise DataShapeError(
            f"{path}: y", f"has shape {list(y.shape)}", allowed=f"[n] or one-hot [n, {classes}]"
        )
    whole = np.asarray(labels, dtype=np.int64)
    if (whole != labels).any():
        raise DataDtypeError(f"{path}: y", "holds fractions", allowed="class numbers")
    limit = max(classes, 2)
    if whole.size and (whole.min() < 0 or whole.max() >= limit):
        raise DataShapeError(
            f"{path}: y",
            f"holds classes {whole.min()}..{whole.max()}",
            allowed=f"0..{limit - 1}, the network's outputs",
            remedy="number the labels as the network's outputs are numbered",
        )
    return whole


class Tally:
    """Right answers of one path, beside those of the whole network on the same inputs."""

    def __init__(self) -> None:
        self.inputs = self.labelled = self.right = self.gained = self.lost = 0
        self.classed = self.agreed = 0
        self._error = self._power = 0.0

    def add(
        self,
        outputs: npt.NDArray[np.float32],
        whole: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64] | None,
    ) -> None:
        """A batch: outputs [n, ...] of this path and of the whole network, labels [n] or None."""
        self.inputs += len(outputs)
        difference = outputs.astype(np.float64) - whole
        self._error += float((difference**2).sum())
        self._power += float((whole.astype(np.float64) ** 2).sum())
        mine, reference = top_class(outputs), top_class(whole)
        if mine is None or reference is None:
            return
        self.classed += len(mine)
        self.agreed += int((mine == reference).sum())
        if labels is None:
            return
        good, base = mine == labels, reference == labels
        self.labelled += len(labels)
        self.right += int(good.sum())
        self.gained += int((good & ~base).sum())
        self.lost += int((base & ~good).sum())

    @property
    def accuracy(self) -> float | None:
        """Share of right answers, 0..1; None without labels."""
        return self.right / self.labelled if self.labelled else None

    @property
    def agreement(self) -> float | None:
        """Share of inputs whose first class is the whole network's; None without classes."""
        return self.agreed / self.classed if self.classed else None

    @property
    def output_error(self) -> float:
        """Root mean square of the outputs' difference over that of the whole network's outputs."""
        return math.sqrt(self._error / self._power) if self._power else 0.0

    @property
    def interval(self) -> Interval | None:
        """Accuracy less the whole network's, with its paired 95 % interval."""
        return paired_interval(self.gained, self.lost, self.labelled) if self.labelled else None
