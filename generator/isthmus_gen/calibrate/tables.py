"""Quantisers as integer tables: where floats end.

Each table gives exactly the level that the quantiser's float64 thresholds give; a level is the
number of thresholds that are <= x.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import OptionError
from isthmus_gen.calibrate.quantizers import Quantizer

__all__ = ["f32_keys", "lut_int8", "thresholds_f32_keys", "thresholds_i16"]


def lut_int8(quantizer: Quantizer, scale: float, zero_point: int) -> NDArray[np.uint8]:
    """uint8 [256]: the level of each int8 value q, at index q + 128.

    q stands for scale * (q - zero_point), worked out in float64 from the scale as a float32. Clip
    and quantiser together are this one table; it never falls.
    """
    _check_scale(scale, zero_point, -128, 127)
    q = np.arange(-128, 128, dtype=np.int64)
    return quantizer.level(_dequantised(q, scale, zero_point)).astype(np.uint8)


def thresholds_i16(quantizer: Quantizer, scale: float, zero_point: int) -> NDArray[np.int32]:
    """int32 [levels - 1]: for each threshold the smallest int16 q with scale*(q - zero_point) >= t.

    The value of q is that of :func:`lut_int8`. A threshold that no int16 reaches is 32768; one
    that all reach is -32768. level(q) is the number of entries <= q.
    """
    _check_scale(scale, zero_point, -32768, 32767)
    q = np.arange(-32768, 32768, dtype=np.int64)
    reached = np.searchsorted(_dequantised(q, scale, zero_point), quantizer.thresholds, side="left")
    return (reached - 32768).astype(np.int32)


def thresholds_f32_keys(quantizer: Quantizer) -> NDArray[np.uint32]:
    """uint32 [levels - 1]: the key of the smallest float32 x with x >= t, for each threshold.

    level(x) is the number of entries <= key(x), for every finite and infinite x and both zeros:
    a threshold of zero gets the key of -0.0, which comes before +0.0 and equals it. A NaN goes by
    its bits: level 0 with the sign bit set, the top level without it.
    """
    with np.errstate(over="ignore"):
        # Beyond float32 this gives an infinity, the right bound on either side.
        bound = quantizer.thresholds.astype(np.float32)
        short = bound.astype(np.float64) < quantizer.thresholds
        bound[short] = np.nextafter(bound[short], np.float32(math.inf))
    bound[bound == 0] = np.float32(-0.0)
    return f32_keys(bound)


def f32_keys(x: NDArray[np.float32]) -> NDArray[np.uint32]:
    """uint32 keys in the order of the float32 values: the bits, all turned where the sign is set,
    else with the sign bit set."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    turn = np.where(bits >> np.uint32(31) == 1, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    return bits ^ turn


def _dequantised(q: NDArray[np.int64], scale: float, zero_point: int) -> NDArray[np.float64]:
    # A float32 scale times an integer below 2**17 is exact in float64.
    return float(np.float32(scale)) * (q - zero_point).astype(np.float64)


def _check_scale(scale: float, zero_point: int, low: int, high: int) -> None:
    with np.errstate(over="ignore", under="ignore"):
        single = float(np.float32(scale))
    if not (math.isfinite(single) and single > 0):
        raise OptionError("tensor.scale", f"{scale}", allowed="a positive float32")
    if not low <= zero_point <= high:
        raise OptionError("tensor.zero_point", f"{zero_point}", allowed=f"{low}..{high}")
