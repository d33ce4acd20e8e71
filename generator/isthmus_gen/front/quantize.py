"""The reference kernels' fixed-point arithmetic, in exact Python integers and IEEE float64.

Formulas are those of TensorFlow Lite's ``quantization_util`` and of gemmlowp's ``fixedpoint``; the
generated C carries out the same integer steps, so the numbers computed here must be theirs too.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = [
    "INT8_MAX",
    "INT8_MIN",
    "activation_range",
    "exp_on_negative",
    "exponential_table",
    "high_multiply",
    "mean_multiplier",
    "quantize_multiplier",
    "requantize",
    "round_half_away",
    "round_shift",
    "same_results",
    "wrap_int32",
]

INT8_MIN = -128
INT8_MAX = 127
_INT32_MAX = (1 << 31) - 1


def round_half_away(value: float) -> int:
    """``std::round``: to the nearest integer, halves away from zero.

    >>> [round_half_away(v) for v in (0.5, -0.5, 1.4999, -2.5)]
    [1, -1, 1, -3]
    """
    whole = math.floor(abs(value))
    rounded = whole + 1 if abs(value) - whole >= 0.5 else whole
    return rounded if value >= 0 else -rounded


def wrap_int32(value: int) -> int:
    """``value`` modulo 2**32 as a signed number: what 32-bit hardware holds.

    >>> wrap_int32(2**31), wrap_int32(-1)
    (-2147483648, -1)
    """
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """``QuantizeMultiplier``: ``real`` as a Q0.31 number and a power of two.

    >>> quantize_multiplier(0.5), quantize_multiplier(1.0), quantize_multiplier(0.0)
    ((1073741824, 0), (1073741824, 1), (0, 0))
    """
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    fixed = round_half_away(fraction * (1 << 31))
    if fixed == 1 << 31:
        fixed //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    return fixed, shift


def high_multiply(a: int, b: int) -> int:
    """``SaturatingRoundingDoublingHighMul``: two Q0.31 numbers multiplied, halves rounded up.

    >>> high_multiply(1 << 30, 1 << 30) == 1 << 29
    True
    """
    # Its truncating division of a nudged product equals this floor.
    if a == b == -(1 << 31):
        return _INT32_MAX
    return (a * b + (1 << 30)) >> 31


def round_shift(value: int, exponent: int) -> int:
    """``RoundingDivideByPOT``: over a power of two, halves away from zero.

    >>> round_shift(6, 2), round_shift(-6, 2)
    (2, -2)
    """
    half = (1 << exponent) >> 1
    magnitude = (abs(value) + half) >> exponent
    return magnitude if value >= 0 else -magnitude


def requantize(value: int, multiplier: int, shift: int) -> int:
    """``MultiplyByQuantizedMultiplier`` with double rounding.

    >>> requantize(100, *quantize_multiplier(0.25)), requantize(-10, *quantize_multiplier(0.25))
    (25, -3)
    """
    left, right = (shift, 0) if shift > 0 else (0, -shift)
    return round_shift(high_multiply(wrap_int32(value << left), multiplier), right)


def same_results(first: tuple[int, int], second: tuple[int, int], reach: int) -> bool:
    """Whether two multipliers requantise every value of -reach..reach alike; reach below 2**20.

    >>> same_results(quantize_multiplier(0.3), quantize_multiplier(0.3 + 1e-9), 100)
    True
    >>> same_results(quantize_multiplier(0.3), quantize_multiplier(0.31), 100)
    False
    """
    values = np.arange(-reach, reach + 1, dtype=np.int64)
    results = []
    for multiplier, shift in (first, second):
        if shift > 10:  # the values would leave int32
            return first == second
        high = ((values << max(shift, 0)) * multiplier + (1 << 30)) >> 31
        half = (1 << max(-shift, 0)) >> 1
        results.append(np.sign(high) * ((np.abs(high) + half) >> max(-shift, 0)))
    return bool(np.array_equal(*results))


def activation_range(activation: str, scale: np.float32, zero_point: int) -> tuple[int, int] | None:
    """``CalculateActivationRangeQuantized`` for int8; None for an activation it does not know.

    ``activation`` is the schema's name: NONE, RELU, RELU6 or RELU_N1_TO_1.

    >>> activation_range("RELU6", np.float32(0.05), -128)
    (-128, -8)
    """
    bounds: dict[str, tuple[float | None, float | None]] = {
        "NONE": (None, None),
        "RELU": (0.0, None),
        "RELU6": (0.0, 6.0),
        "RELU_N1_TO_1": (-1.0, 1.0),
    }
    if activation not in bounds:
        return None
    low, high = bounds[activation]

    def level(real: float) -> int:
        return zero_point + round_half_away(float(np.float32(real) / np.float32(scale)))

    minimum = INT8_MIN if low is None else max(INT8_MIN, level(low))
    maximum = INT8_MAX if high is None else min(INT8_MAX, level(high))
    return minimum, maximum


def mean_multiplier(multiplier: int, shift: int, count: int) -> tuple[int, int]:
    """The multiplier of MEAN: that of the scales over ``count``, as ``QuantizedMeanOrSum`` does."""
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << extra) // count, shift - extra


_EXP_STEPS = (
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)


def exp_on_negative(value: int, integer_bits: int = 5) -> int:
    """``exp_on_negative_values`` of gemmlowp: 31 bits, ``integer_bits`` of them whole, to Q0.31.

    >>> exp_on_negative(0) == (1 << 31) - 1
    True
    """
    if value == 0:
        return _INT32_MAX
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    low = (value & (quarter - 1)) - quarter
    # exp on [-1/4, 0), a Taylor polynomial around -1/8
    x = (low << integer_bits) + (1 << 28)
    x2 = high_multiply(x, x)
    x3 = high_multiply(x2, x)
    x4 = high_multiply(x2, x2)
    inner = high_multiply(round_shift(x4, 2) + x3, 715827883) + x2
    result = 1895147668 + high_multiply(1895147668, x + round_shift(inner, 1))
    remainder = low - value
    for exponent, factor in _EXP_STEPS:
        if exponent < integer_bits and remainder & (1 << (fraction_bits + exponent)):
            result = high_multiply(result, factor)
    return result


def exponential_table(beta: float, scale: np.float32) -> npt.NDArray[np.int32]:
    """exp(-beta * scale * d) in Q0.31 for d = 0..255, as int8 SOFTMAX computes it; int32 [256].

    Entries the reference leaves out (below its ``diff_min``) are zero, which adds the same.
    """
    integer_bits = 5
    real = min(beta * float(scale) * (1 << (31 - integer_bits)), float((1 << 31) - 1))
    multiplier, left = quantize_multiplier(real)
    left = max(left, 0)
    radius = math.floor(((1 << integer_bits) - 1) * (1 << (31 - integer_bits)) / (1 << left))
    table = np.zeros(256, dtype=np.int32)
    for difference in range(256):
        if difference <= radius:
            table[difference] = exp_on_negative(
                high_multiply(-difference * (1 << left), multiplier)
            )
    return table
