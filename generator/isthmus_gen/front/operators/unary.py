"""Operators that map each int8 value by itself: a table made here, one kernel for all.

Activations as operators of their own, and QUANTIZE from int8 to int8.
"""

from __future__ import annotations

import numpy as np

from isthmus_gen.front.activations import (
    hard_swish,
    leaky_relu,
    logistic,
    scale_ratio,
    tanh,
)
from isthmus_gen.front.flatbuffer import Tensor
from isthmus_gen.front.layers import Layer
from isthmus_gen.front.operators.base import Request
from isthmus_gen.front.operators.tables import table_layer
from isthmus_gen.front.quantize import INT8_MAX, requantize, round_half_away

__all__ = [
    "lower_hard_swish",
    "lower_leaky_relu",
    "lower_logistic",
    "lower_quantize",
    "lower_relu",
    "lower_relu6",
    "lower_relu_0_to_1",
    "lower_relu_n1_to_1",
    "lower_tanh",
]

_SCALE_MIN = 2.0**-27
"""Below it the fixed-point functions would need a left shift that int32 does not hold."""


def _clamped(request: Request, low: float, high: float | None) -> Layer:
    """Requantised, then kept within the real numbers ``low`` and ``high``."""
    x, y = request.input(), request.output()
    multiplier, shift = request.multiplier(scale_ratio(request.rounding, y.scale, x.scale))
    if high is not None and high / float(y.scale) >= 1 << 30:
        raise request.refuse(f"the output's scale is {y.scale}", allowed=f"above {high} / 2**30")

    def level(real: float) -> int:
        return y.zero_point + round_half_away(float(np.float32(real) / y.scale))

    bottom = level(low)
    top = INT8_MAX if high is None else level(high)
    return table_layer(
        request,
        x,
        y,
        lambda v: min(
            top, max(bottom, y.zero_point + requantize(v - x.zero_point, multiplier, shift))
        ),
    )


def lower_relu(request: Request) -> Layer:
    """RELU as an operator of its own: requantised, then cut at the output's zero."""
    return _clamped(request, 0, None)


def lower_relu6(request: Request) -> Layer:
    """RELU6 as an operator of its own. LiteRT requantises; TensorFlow Lite Micro only clamps."""
    if request.rounding == "tflm":
        request.same_quantisation(request.input(), request.output())
    return _clamped(request, 0, 6)


def _litert_alone(request: Request) -> None:
    if request.rounding == "tflm":
        raise request.refuse(
            "TensorFlow Lite Micro has no such operator",
            allowed="the rounding profile litert",
            remedy="choose that profile, use RELU or RELU6, or cut the network before it",
        )


def lower_relu_n1_to_1(request: Request) -> Layer:
    """RELU_N1_TO_1 as an operator of its own, which LiteRT alone has."""
    _litert_alone(request)
    return _clamped(request, -1, 1)


def lower_relu_0_to_1(request: Request) -> Layer:
    """RELU_0_TO_1 as an operator of its own, which LiteRT alone has."""
    _litert_alone(request)
    return _clamped(request, 0, 1)


def lower_quantize(request: Request) -> Layer:
    """QUANTIZE from int8 to int8 (requantisation)."""
    x, y = request.input(), request.output()
    multiplier, shift = request.multiplier(float(x.scale) / float(y.scale))
    return table_layer(
        request, x, y, lambda v: y.zero_point + requantize(v - x.zero_point, multiplier, shift)
    )


def lower_leaky_relu(request: Request) -> Layer:
    """LEAKY_RELU; the slope may be negative or above one."""
    x, y = request.input(), request.output()
    slope = np.float32(request.option("alpha", 0.0))
    if not np.isfinite(slope):
        raise request.refuse(f"the slope is {slope}", allowed="a finite number")
    for factor in (np.float32(1), abs(slope)):  # refuses what 32 bits cannot shift
        request.multiplier(scale_ratio(request.rounding, y.scale, x.scale, factor))
    value_of = leaky_relu(request.rounding, (x.scale, x.zero_point), (y.scale, y.zero_point), slope)
    return table_layer(request, x, y, value_of)


def lower_hard_swish(request: Request) -> Layer:
    """HARD_SWISH."""
    x, y = request.input(), request.output()
    value_of = hard_swish((x.scale, x.zero_point), (y.scale, y.zero_point))
    if value_of is None:
        raise request.refuse(
            f"the scales are {x.scale} and {y.scale}",
            allowed="an input above 2e-7, and a ratio of input to output from 2**-9 to below 128",
        )
    return table_layer(request, x, y, value_of)


def _into_unit(request: Request, scale: float, zero: int) -> tuple[Tensor, Tensor]:
    x, y = request.input(), request.output()
    if y.scale != np.float32(scale) or y.zero_point != zero:
        raise request.refuse(
            f"the output's scale is {y.scale}, its zero point {y.zero_point}",
            allowed=f"{scale} and {zero}",
            remedy="convert the model again: converters always write these",
        )
    if not _SCALE_MIN < float(x.scale) < 1 << 20:
        raise request.refuse(f"the input's scale is {x.scale}", allowed="2**-27 to 2**20")
    return x, y


def lower_logistic(request: Request) -> Layer:
    """LOGISTIC (sigmoid)."""
    x, y = _into_unit(request, 1 / 256, -128)
    return table_layer(request, x, y, logistic(request.rounding, x.scale, x.zero_point))


def lower_tanh(request: Request) -> Layer:
    """TANH."""
    x, y = _into_unit(request, 1 / 128, 0)
    return table_layer(request, x, y, tanh(request.rounding, x.scale, x.zero_point))
