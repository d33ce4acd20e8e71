"""What a bottleneck is trained and measured on: cut features, the network's answers, labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import DataEmptyError
from isthmus_gen.data import DataSet, Preprocessing
from isthmus_gen.models import Cut, LoadedModel
from isthmus_gen.progress import Progress, no_progress
from isthmus_gen.restoration import Divergence

__all__ = ["CutSet", "collect"]

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
#: Bytes of cut features kept in memory; of larger sets the inputs are kept and run again.
MEMORY = 2 << 30
_BATCH = 128
_HELD_OUT_EVERY = 10


@dataclass(frozen=True)
class CutSet:
    """Inputs of a network at a cut.

    x         raw inputs [n, ...], or cut features float32 [n, H, W, c] where ``features``
    outputs   the whole network's answers float32 [n, ...], before anything was trained
    labels    int64 [n], or None: without labels, or where the answers are no distribution
    """

    x: npt.NDArray[Any]
    features: bool
    outputs: Floats
    labels: Indices | None
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.x)

    @property
    def held_out(self) -> Indices:
        """Every tenth input, of fewer than ten the last: no weight is trained on it."""
        return np.arange(min(_HELD_OUT_EVERY, len(self)) - 1, len(self), _HELD_OUT_EVERY)

    @property
    def training(self) -> Indices:
        """The other inputs."""
        return np.setdiff1d(np.arange(len(self)), self.held_out)

    @cached_property
    def divergence(self) -> Divergence:
        """How answers are compared with ``outputs``."""
        return Divergence.of(self.outputs)

    def given(self, index: Indices) -> Floats:
        """Inputs as the front half (or, for features, the reduction) takes them."""
        rows = self.x[index]
        return rows if self.features else self.preprocessing.apply(rows)

    def batches(self, index: Indices, size: int = _BATCH) -> Iterator[Indices]:
        """``index`` in pieces."""
        for begin in range(0, len(index), size):
            yield index[begin : begin + size]


def collect(
    model: LoadedModel,
    cut: Cut,
    data: DataSet,
    preprocessing: Preprocessing,
    progress: Progress = no_progress,
    *,
    features: bool | None = None,
    memory: int = MEMORY,
) -> CutSet:
    """One pass of the network over ``data``, to be made before any of its weights is trained.

    ``features``: keep cut features (None: where they fit ``memory`` bytes), so that training never
    runs the front half again; else the inputs. DataEmptyError for fewer than two inputs.
    """
    if len(data) < 2:
        raise DataEmptyError(
            str(data.path), f"holds {len(data)} input", allowed="2 or more",
            remedy="training holds some out; hundreds are usual",
        )  # fmt: skip
    keep = 4 * cut.elements * len(data) <= memory if features is None else features
    kept: npt.NDArray[Any] = np.empty((len(data), *cut.shape), np.float32) if keep else data.x
    outputs: list[Floats] = []
    done = 0
    for x, _ in data.batches(_BATCH):
        given = preprocessing.apply(x)
        if keep:
            kept[done : done + len(x)] = model.features(cut, given)
        outputs.append(model.predict(given))
        done += len(x)
        progress("running the network", done, len(data))
    answers = np.concatenate(outputs)
    return CutSet(kept, keep, answers, _labels(data, answers), preprocessing)


def _labels(data: DataSet, answers: Floats) -> Indices | None:
    """Labels as class numbers where the answers are a distribution over classes, else None."""
    if data.y is None or answers.ndim != 2 or Divergence.of(answers).kind != "kl":
        return None
    from isthmus_gen.evaluate.statistics import check_labels

    return check_labels(data.y[: len(answers)], answers.shape[1], str(data.path)).reshape(-1)
