"""Which inputs are pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["as_pictures"]


def as_pictures(x: npt.NDArray[Any]) -> npt.NDArray[np.uint8] | None:
    """Inputs [n, height, width, 1 or 3] as uint8 pictures, or None where they are none.

    Arrays of another dtype count where every value is a whole number in 0..255.
    """
    if x.ndim != 4 or x.shape[3] not in (1, 3):
        return None
    if x.dtype == np.uint8:
        return x
    if x.size == 0 or x.min() < 0 or x.max() > 255 or (x != np.floor(x)).any():
        return None
    return x.astype(np.uint8)
