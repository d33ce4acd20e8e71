"""Values to levels without floating-point arithmetic (BITSTREAM.md, 4).

int8    a table of 256 levels, indexed by value + 128
int16   thresholds; level = number of thresholds <= value
float32 thresholds on ordered keys: the value's bits, flipped so that they sort as unsigned
        integers. -0.0 sorts just below +0.0, positive NaNs above +inf, negative NaNs below -inf.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import DataDtypeError, DataShapeError, LevelError
from isthmus.profile import Profile, Rung

__all__ = ["check_levels", "float32_keys", "levels_of"]


def float32_keys(values: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """Ordered keys of float32 values, same shape, uint32.

    >>> [hex(k) for k in float32_keys([-1.0, -0.0, 0.0, 1.0])]
    ['0x407fffff', '0x7fffffff', '0x80000000', '0xbf800000']
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    sign = (bits & np.uint32(0x80000000)) != 0
    return np.where(sign, ~bits, bits | np.uint32(0x80000000)).astype(np.uint32)


def levels_of(profile: Profile, rung: Rung, tensor: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The levels of a tensor of the profile's shape, flattened, uint8 [elements].

    ``tensor`` is int8, int16 or float32; DataDtypeError where the profile has no tables for its
    dtype, DataShapeError where its shape is another.
    """
    if tuple(tensor.shape) != profile.tensor.shape:
        raise DataShapeError(
            "tensor", f"has shape {tuple(tensor.shape)}", allowed=str(profile.tensor.shape)
        )
    flat = np.ascontiguousarray(tensor).reshape(-1)
    if flat.dtype == np.int8 and rung.table_i8 is not None:
        table = np.frombuffer(rung.table_i8, dtype=np.uint8)
        found: npt.NDArray[np.uint8] = table[flat.view(np.uint8) ^ np.uint8(0x80)]
        return found
    if flat.dtype == np.int16 and rung.thresholds_i16 is not None:
        return _reached(rung, np.asarray(rung.thresholds_i16, np.int32), flat.astype(np.int32))
    if flat.dtype == np.float32:
        return _reached(rung, np.asarray(rung.thresholds_f32, np.uint32), float32_keys(flat))
    raise DataDtypeError(
        "tensor",
        f"has dtype {flat.dtype}",
        allowed=f"{profile.tensor.dtype} or float32",
        remedy="give the tensor as the front half writes it",
    )


def _reached(
    rung: Rung, thresholds: npt.NDArray[Any], flat: npt.NDArray[Any]
) -> npt.NDArray[np.uint8]:
    """How many thresholds each value reaches: the tensor's, or those of its channel."""
    if rung.grids is None:
        return np.searchsorted(thresholds, flat, side="right").astype(np.uint8)
    channels = rung.grids.channels
    out = np.empty((len(flat) // channels, channels), np.uint8)
    for channel, row in enumerate(thresholds.reshape(channels, -1)):
        out[:, channel] = np.searchsorted(row, flat[channel::channels], side="right")
    return out.reshape(-1)


def check_levels(profile: Profile, rung: Rung, levels: npt.NDArray[Any]) -> None:
    """DataDtypeError or DataShapeError where ``levels`` are not uint8, one for each element.

    LevelError, with its place in the tensor, where one is not below the rung's N.
    """
    if levels.dtype != np.uint8:
        raise DataDtypeError("levels", f"have dtype {levels.dtype}", allowed="uint8")
    if levels.size != profile.tensor.elements:
        raise DataShapeError(
            "levels", f"has {levels.size} elements", allowed=str(profile.tensor.elements)
        )
    if levels.size and int(levels.max()) >= rung.levels:
        place = int(np.argmax(levels.reshape(-1) >= rung.levels))
        found = int(levels.reshape(-1)[place])
        raise LevelError(f"levels[{place}]", f"is {found}", allowed=f"< {rung.levels}")
