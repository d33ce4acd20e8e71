"""Levels to features: the rung's reconstruction values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from isthmus.profile import Profile

__all__ = ["Restorer"]


class Restorer:
    """Turns levels into float features by the value of each level."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._values = [rung.values_array() for rung in profile.rungs]

    def __call__(self, levels: npt.NDArray[np.uint8], rung: int) -> npt.NDArray[np.float32]:
        """Features, float32 of the shape of ``levels`` (any shape, uint8 below the rung's N)."""
        return self._values[rung][levels]
