"""What the trainings here share: how fast they learn, and in which order they see the inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["learning_rate", "shuffled_batches"]

_LAST_RATE = 0.01


def learning_rate(top: float, step: int, steps: int, warm_up: int) -> float:
    """The rate at ``step`` of ``steps``: a linear rise to ``top``, half a cosine to a hundredth.

    The rise takes ``warm_up`` steps, or a tenth of all where these are fewer.
    """
    rise = min(warm_up, max(1, steps // 10))
    if step < rise:
        return top * (step + 1) / rise
    part = (step - rise) / max(1, steps - rise)
    return top * (_LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * part)))


def shuffled_batches(
    rng: np.random.Generator, indices: npt.NDArray[np.int64], batch: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Batches of shuffled indices without an end, pass after pass, each batch in rising order.

    A batch has at most all indices; a short rest of a pass is left out.
    """
    size = min(batch, len(indices))
    while True:
        mixed = rng.permutation(indices)
        for start in range(0, len(mixed) - size + 1, size):
            yield np.sort(mixed[start : start + size])
