"""ADD, and the operators that map each int8 value by itself (RELU, RELU6, QUANTIZE)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from isthmus_gen.front.flatbuffer import Tensor
from isthmus_gen.front.layers import Array, Layer, Ref, Struct
from isthmus_gen.front.operators.base import Request
from isthmus_gen.front.quantize import (
    INT8_MAX,
    INT8_MIN,
    requantize,
    round_half_away,
)

__all__ = ["lower_add", "lower_quantize", "lower_relu", "lower_relu6"]

_FRACTION_BITS = 20


def _broadcast(request: Request, a: Tensor, b: Tensor) -> None:
    """Refuses unless b, less its leading ones, is the end of a's shape."""
    tail = b.shape
    while tail and tail[0] == 1:
        tail = tail[1:]
    if tail != a.shape[len(a.shape) - len(tail) :]:
        raise request.refuse(
            f"shapes {a.shape} and {b.shape}",
            allowed="equal shapes, or one that is the end of the other",
        )


def _operand(request: Request, tensor: Tensor, twice: float) -> Struct:
    """``isth_k_add_scale``: the ratio is at most one half, so the shift goes to the right."""
    multiplier, shift = request.multiplier(float(tensor.scale) / twice)
    return Struct((tensor.zero_point, multiplier, -shift))


def lower_add(request: Request) -> Layer:
    """ADD of two tensors, or of a tensor and a constant; the shorter one may repeat."""
    first = request.int8(request.optional_input(0), "first input")
    second = request.int8(request.optional_input(1), "second input")
    y = request.output()
    a, b = (first, second) if first.elements >= second.elements else (second, first)
    if a.data is not None:
        a, b = b, a
    if a.data is not None or a.elements < b.elements:
        raise request.refuse("the larger operand is a constant")
    _broadcast(request, a, b)
    twice = 2 * float(max(a.scale, b.scale))
    sum_multiplier, sum_shift = request.multiplier(twice / ((1 << _FRACTION_BITS) * float(y.scale)))
    if sum_shift > 0:  # QuantizeMultiplierSmallerThanOneExp
        raise request.refuse("the sum's scale is far larger than the output's")
    arrays: tuple[Array, ...] = ()
    operand: int | Ref = b.index
    if b.data is not None:
        arrays = (Array("operand", "int8_t", b.data.reshape(-1), 1),)
        operand = Ref("operand")
    repeats = a.elements // b.elements
    alone = isinstance(operand, int) and repeats == 1
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(a.index, operand),
        output=y.index,
        kernel="isth_k_add",
        files=("isth_k_common.h", "isth_k_add.h", "isth_k_add.c"),
        ctype="isth_k_add_layer",
        params=(
            ("output", request.output_struct(y)),
            ("a", _operand(request, a, twice)),
            ("b", _operand(request, b, twice)),
            ("multiplier", sum_multiplier),
            ("right", -sum_shift),
            ("repeats", repeats),
            ("length", b.elements),
        ),
        arrays=arrays,
        in_place=(a.index, b.index) if alone else (a.index,),
    )


def _table(request: Request, value_of: Callable[[int], int]) -> Layer:
    x, y = request.input(), request.output()
    if x.elements != y.elements:
        raise request.refuse(f"shapes {x.shape} and {y.shape}", allowed="equal shapes")
    values = [
        min(INT8_MAX, max(INT8_MIN, value_of(level))) for level in range(INT8_MIN, INT8_MAX + 1)
    ]
    common: dict[str, Any] = {"files": ("isth_k_common.h", "isth_k_lut.h", "isth_k_lut.c")}
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel="isth_k_lut",
        ctype="isth_k_lut_layer",
        params=(("table", Ref("table")), ("length", x.elements)),
        arrays=(Array("table", "int8_t", np.array(values, dtype=np.int8), 1),),
        in_place=(x.index,),
        **common,
    )


def lower_relu(request: Request) -> Layer:
    """RELU as an operator of its own: requantised, then cut at the output's zero."""
    x, y = request.input(), request.output()
    multiplier, shift = request.multiplier(float(x.scale) / float(y.scale))
    return _table(
        request,
        lambda v: max(y.zero_point, y.zero_point + requantize(v - x.zero_point, multiplier, shift)),
    )


def lower_relu6(request: Request) -> Layer:
    """RELU6 as an operator of its own: a clamp; both sides share scale and zero point."""
    x, y = request.input(), request.output()
    request.same_quantisation(x, y)
    six = x.zero_point + round_half_away(float(np.float32(6.0) / x.scale))
    top = min(six, INT8_MAX)
    return _table(request, lambda v: min(top, max(x.zero_point, v)))


def lower_quantize(request: Request) -> Layer:
    """QUANTIZE from int8 to int8 (requantisation)."""
    x, y = request.input(), request.output()
    multiplier, shift = request.multiplier(float(x.scale) / float(y.scale))
    return _table(request, lambda v: y.zero_point + requantize(v - x.zero_point, multiplier, shift))
