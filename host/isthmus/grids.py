"""Grids of 256 steps, one for each channel of a near-lossless rung (BITSTREAM.md, 13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.fields import FieldReader

__all__ = ["Grids", "grids_dict", "read_grids"]

#: No end of a grid may lie further from zero than this; float32 holds all between.
_FARTHEST = 2.0**126


@dataclass(frozen=True)
class Grids:
    """Where the steps of each channel lie: value ``v`` in steps is ``origins[c] + scales[c] * v``.

    origins  float64 [C]
    scales   float64 [C], above zero
    """

    origins: tuple[float, ...]
    scales: tuple[float, ...]

    @property
    def channels(self) -> int:
        """C; element i of a row is of channel i % C."""
        return len(self.origins)

    def reals(self, steps: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The real values of ``steps`` [n] in each channel, float64 [C, n]."""
        rising = np.asarray(steps, np.float64)
        return np.asarray(self.origins)[:, None] + np.asarray(self.scales)[:, None] * rising


def grids_dict(grids: Grids) -> dict[str, Any]:
    """The grids as JSON-ready data."""
    return {"origins": list(grids.origins), "scales": list(grids.scales)}


def read_grids(read: FieldReader, row_elements: int) -> Grids:
    """The grids in ``read``; BundleFormatError names the field that is wrong."""
    read.only("origins", "scales")
    count = len(read.sequence("scales", 1, max(1, row_elements)))
    scales = read.reals("scales", count, _FARTHEST / 256)
    for index, scale in enumerate(scales):
        if scale <= 0.0:
            raise read.fail(f"scales[{index}]", scale, "a number above 0")
    return Grids(read.reals("origins", count, _FARTHEST), scales)
