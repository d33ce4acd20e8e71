"""What the reference kernels make of each int8 value: activations as tables of 256 entries.

TensorFlow Lite Micro and LiteRT differ: in whether a ratio of scales is taken in float32 or
float64, and in LOGISTIC and TANH, which the former computes with gemmlowp's fixed-point functions
and the latter in float32. ``rounding`` says whose arithmetic is meant. All results are clamped to
int8; the tables are indexed by the value + 128.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from isthmus_gen.front.quantize import (
    INT8_MAX,
    INT8_MIN,
    exp_on_negative,
    high_multiply,
    quantize_multiplier,
    requantize,
    round_half_away,
    round_shift,
    wrap_int32,
)

__all__ = [
    "hard_swish",
    "int8_table",
    "leaky_relu",
    "logistic",
    "scale_ratio",
    "tanh",
]

_INT32_MAX = (1 << 31) - 1
_Map = Callable[[int], int]


def int8_table(value_of: _Map) -> tuple[int, ...]:
    """``value_of`` at each int8 value, clamped to int8.

    >>> int8_table(lambda v: 2 * v)[126:131]
    (-4, -2, 0, 2, 4)
    """
    return tuple(
        min(INT8_MAX, max(INT8_MIN, value_of(level))) for level in range(INT8_MIN, INT8_MAX + 1)
    )


def scale_ratio(rounding: str, over: np.float32, *factors: np.float32) -> float:
    """The product of ``factors`` over ``over``: float32 steps for ``litert``, float64 for ``tflm``.

    >>> ratio = np.float32(0.1), np.float32(0.3)
    >>> scale_ratio("tflm", *ratio) == scale_ratio("litert", *ratio)
    False
    """
    kind = np.float32 if rounding == "litert" else np.float64
    product = kind(1)
    for factor in factors:
        product = kind(product * kind(factor))
    return float(kind(product / kind(over)))


# Fixed-point functions of gemmlowp: Q0.31 unless said otherwise.


def _newton_reciprocal(value: int) -> int:
    """1 / ((1 + value) / 2) in Q2.29 for a value of 0..1 in Q0.31: three steps of Newton."""
    half_denominator = (value + _INT32_MAX + 1) >> 1  # RoundingHalfSum, both positive
    x = 1515870810 + high_multiply(half_denominator, -1010580540)  # 48/17 - 32/17 d
    for _ in range(3):
        rest = (1 << 29) - high_multiply(half_denominator, x)
        x += _saturate(high_multiply(x, rest) << 2)
    return x


def _saturate(value: int) -> int:
    return min(_INT32_MAX, max(-(1 << 31), value))


def _logistic_fixed(value: int) -> int:
    """``gemmlowp::logistic``: Q4.27 to Q0.31."""
    if value == 0:
        return 1 << 30
    # x is 2 / (1 + e) in Q2.29, that is 1 / (1 + e) in Q1.30, twice which is Q0.31
    positive = _saturate(_newton_reciprocal(exp_on_negative(-abs(value), 4)) << 1)
    return positive if value > 0 else _INT32_MAX - positive


def _tanh_fixed(value: int) -> int:
    """``gemmlowp::tanh``: Q4.27 to Q0.31."""
    if value == 0:
        return 0
    # the same bits with one more whole bit are twice the value
    reciprocal = _newton_reciprocal(exp_on_negative(-abs(value), 5))
    positive = _saturate((reciprocal - (1 << 29)) << 2)
    return positive if value > 0 else -positive


def _fixed(scale: np.float32, zero: int, shape: _Map, shift: int, offset: int) -> _Map:
    """int8 LOGISTIC and TANH of TensorFlow Lite Micro, beyond a radius at their ends."""
    multiplier, left = quantize_multiplier(float(scale) * (1 << 27))
    radius = math.floor(15 * (1 << 27) / (1 << left))

    def value_of(level: int) -> int:
        centred = level - zero
        if centred <= -radius:
            return INT8_MIN
        if centred >= radius:
            return INT8_MAX
        return round_shift(shape(requantize(centred, multiplier, left)), shift) + offset

    return value_of


def _float_table(
    scale: np.float32, zero: int, shape: Callable[[np.float32], np.float32], levels: int, bias: int
) -> _Map:
    """LiteRT's ``PopulateLookupTable``: float32 throughout, the function correctly rounded.

    The engine takes exp and tanh from the C library it runs on, whose results may be off in the
    last of 24 bits; that shows only where a value lies that close to the middle of two levels.
    """

    def value_of(level: int) -> int:
        transformed = shape(np.float32(scale * np.float32(level - zero)))
        return round_half_away(float(np.float32(transformed * np.float32(levels)))) + bias

    return value_of


def _exp32(value: np.float32) -> np.float32:
    # above 88.72 float32 ends and the quotient is zero
    return np.float32(math.exp(float(value))) if value < 88.7 else np.float32(np.inf)


def logistic(rounding: str, scale: np.float32, zero: int) -> _Map:
    """LOGISTIC; the output has the scale 1/256 and the zero point -128. ``scale`` > 2**-27."""
    if rounding == "tflm":
        return _fixed(scale, zero, _logistic_fixed, 23, INT8_MIN)
    one = np.float32(1)
    return _float_table(
        scale, zero, lambda x: np.float32(one / np.float32(one + _exp32(-x))), 256, INT8_MIN
    )


def tanh(rounding: str, scale: np.float32, zero: int) -> _Map:
    """TANH; the output has the scale 1/128 and the zero point 0. ``scale`` > 2**-27."""
    if rounding == "tflm":
        return _fixed(scale, zero, _tanh_fixed, 24, 0)
    return _float_table(scale, zero, lambda x: np.float32(math.tanh(float(x))), 128, 0)


def leaky_relu(
    rounding: str,
    x: tuple[np.float32, int],
    y: tuple[np.float32, int],
    slope: np.float32,
) -> _Map:
    """LEAKY_RELU; ``x`` and ``y`` are scale and zero point. A negative slope is allowed."""
    identity = quantize_multiplier(scale_ratio(rounding, y[0], x[0]))
    below = quantize_multiplier(scale_ratio(rounding, y[0], x[0], slope))

    def value_of(level: int) -> int:
        centred = level - x[1]
        return y[1] + requantize(centred, *(identity if centred >= 0 else below))

    return value_of


def _int16_multiplier(real: float) -> tuple[int, int]:
    """``QuantizeMultiplier`` and ``DownScaleInt32ToInt16Multiplier``."""
    multiplier, shift = quantize_multiplier(real)
    half = 1 << 15
    return ((1 << 15) - 1 if multiplier >= _INT32_MAX - half else (multiplier + half) >> 16), shift


def _high_multiply_int16(a: int, b: int) -> int:
    return (a * b + (1 << 14)) >> 15


def _saturate_int16(value: int) -> int:
    return min((1 << 15) - 1, max(-(1 << 15), value))


def hard_swish(x: tuple[np.float32, int], y: tuple[np.float32, int]) -> _Map | None:
    """HARD_SWISH in 16-bit fixed point; ``x`` and ``y`` are scale and zero point.

    None where the ratios leave the references' range: the output's needs a left shift, or one of
    them a right shift of 16 bits or more.
    """
    fine = np.float32(np.float32(1 / 128) * x[0])
    unit = np.float32(np.float32(3) / np.float32(32768))
    out_multiplier, out_shift = _int16_multiplier(float(np.float32(fine / y[0])))
    ramp_multiplier, ramp_shift = _int16_multiplier(float(np.float32(fine / unit)))
    if not (-15 <= out_shift <= 0 and -15 <= ramp_shift <= 31):
        return None

    def value_of(level: int) -> int:
        centred = (level - x[1]) * 128
        ramp = centred
        if ramp_shift > 0:
            ramp = _saturate_int16(ramp << (ramp_shift - 1))
        ramp = _high_multiply_int16(ramp, ramp_multiplier)
        if ramp_shift > 0:
            ramp = _saturate_int16(ramp << 1)
        elif ramp_shift < 0:
            ramp = round_shift(ramp, -ramp_shift)
        # from [-1, 1] to [0, 1], then times the value; this division truncates
        product = ((ramp + (1 << 15)) >> 1) * _high_multiply_int16(centred, out_multiplier)
        whole = abs(product) >> 15
        found = round_shift(whole if product >= 0 else -whole, -out_shift) + y[1]
        return wrap_int32(found << 16) >> 16

    return value_of
