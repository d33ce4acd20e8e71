"""Operators of two operands, either of them a constant, stretched as numpy does.

ADD, SUB, MUL, MAXIMUM, MINIMUM and PRELU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isthmus_gen.front.activations import scale_ratio
from isthmus_gen.front.filters import FAST, GENERAL
from isthmus_gen.front.flatbuffer import Tensor
from isthmus_gen.front.layers import Array, Layer, Ref, Struct, Value
from isthmus_gen.front.operators.base import Request
from isthmus_gen.front.operators.tables import source_of, table_layer
from isthmus_gen.front.quantize import INT8_MAX, INT8_MIN, requantize, same_results

__all__ = [
    "Broadcast",
    "lower_add",
    "lower_maximum",
    "lower_minimum",
    "lower_mul",
    "lower_prelu",
    "lower_sub",
    "merge_axes",
]

_Axes = tuple[tuple[int, bool, bool], ...]

_AXES_MAX = 4
_FAST_RIGHT_MAX = 23  # of ISTH_K_FAST: the offset still fits
_FRACTION_BITS = 20


def merge_axes(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[_Axes, tuple[int, ...]]:
    """The axes of two shapes that stretch to a common one, and that shape; ValueError if none.

    An axis is its size and whether a and b move along it. Axes of size one are left out, and
    neighbours along which both do the same are one axis.

    >>> merge_axes((1, 4, 4, 8), (1, 1, 1, 8))
    (((16, True, False), (8, True, True)), (1, 4, 4, 8))
    """
    shape = np.broadcast_shapes(a, b)
    long_a, long_b = ((1,) * (len(shape) - len(s)) + s for s in (a, b))
    axes: list[tuple[int, bool, bool]] = []
    for size, of_a, of_b in zip(shape, long_a, long_b, strict=True):
        if size == 1:
            continue
        moves = (of_a == size, of_b == size)
        if axes and axes[-1][1:] == moves:
            axes[-1] = (axes[-1][0] * size, *moves)
        else:
            axes.append((size, *moves))
    return tuple(axes) or ((1, True, True),), shape


@dataclass(frozen=True)
class Broadcast:
    """How two operands are walked: ``isth_k_broadcast`` and the steps of each."""

    shape: Struct
    a_steps: Struct
    b_steps: Struct


def _strides(axes: _Axes, operand: int) -> list[int]:
    """Elements between neighbours along each axis; 0 where the operand does not move."""
    strides, below = [], 1
    for axis in reversed(axes):
        strides.append(below if axis[operand] else 0)
        below *= axis[0] if axis[operand] else 1
    return strides[::-1]


def _broadcast(axes: _Axes) -> Broadcast:
    """The walk along ``axes``, at most four, of which a moves along the last."""
    length, _, b_moves = axes[-1]
    outer, middle, inner = ((1, False, False),) * (_AXES_MAX - len(axes)) + axes[:-1]
    steps = []
    for operand in (1, 2):
        s = _strides((outer, middle, inner, axes[-1]), operand)
        back_inner, back_middle = (inner[0] - 1) * s[2], (middle[0] - 1) * s[1]
        steps.append(Struct((s[2], s[1] - back_inner, s[0] - back_middle - back_inner)))
    runs = outer[0] * middle[0] * inner[0]
    return Broadcast(Struct((runs, length, int(not b_moves), inner[0], middle[0])), *steps)


def _operands(request: Request) -> tuple[Tensor, Tensor, Tensor]:
    a = request.int8(request.optional_input(0), "first input")
    b = request.int8(request.optional_input(1), "second input")
    y = request.output()
    if a.data is not None and b.data is not None:
        raise request.refuse("both inputs are constants", remedy="fold them into one")
    return a, b, y


def _axes(request: Request, a: Tensor, b: Tensor, y: Tensor) -> _Axes:
    try:
        axes, shape = merge_axes(a.shape, b.shape)
    except ValueError:
        raise request.refuse(
            f"shapes {a.shape} and {b.shape}", allowed="shapes that numpy's rules stretch"
        ) from None
    if shape != y.shape:
        raise request.refuse(f"the output has the shape {y.shape}", allowed=str(shape))
    if len(shape) > _AXES_MAX and a.shape != b.shape:
        raise request.refuse(
            f"shapes {a.shape} and {b.shape}", allowed=f"{_AXES_MAX} axes, or equal shapes"
        )
    return axes


def _as_table(
    request: Request, a: Tensor, b: Tensor, y: Tensor, value_of: Callable[[int, int], int]
) -> Layer | None:
    """A table where one value decides both operands, or one of them is one number.

    Both are decided by one where they are one tensor, or tables of one.
    """
    low, high = request.activation(y)

    def clamped(first: int, second: int) -> int:
        return min(high, max(low, y.zero_point + value_of(first, second)))

    if a.data is None and b.data is None and a.elements == b.elements == y.elements:
        (source, firsts), (other, seconds) = source_of(request, a), source_of(request, b)
        if source.index == other.index:
            pairs = dict(
                zip(range(INT8_MIN, INT8_MAX + 1), zip(firsts, seconds, strict=True), strict=True)
            )
            return table_layer(request, source, y, lambda v: clamped(*map(int, pairs[v])))
    if b.data is not None and b.elements == 1 and a.elements == y.elements:
        number = int(b.data.reshape(-1)[0])
        return table_layer(request, a, y, lambda v: clamped(v, number))
    if a.data is not None and a.elements == 1 and b.elements == y.elements:
        number = int(a.data.reshape(-1)[0])
        return table_layer(request, b, y, lambda v: clamped(number, v))
    return None


def _layer(
    request: Request,
    kernel: str,
    operands: tuple[Tensor, Tensor],
    y: Tensor,
    params: tuple[tuple[str, Value], ...],
) -> Layer:
    """The layer of ``kernel``; constant operands become arrays of it."""
    arrays: list[Array] = []
    inputs: list[int | Ref] = []
    for operand in operands:
        if operand.data is None:
            inputs.append(operand.index)
        else:
            arrays.append(Array("operand", "int8_t", operand.data.reshape(-1), 1))
            inputs.append(Ref("operand"))
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=tuple(inputs),
        output=y.index,
        kernel=kernel,
        files=("isth_k_common.h", "isth_k_broadcast.h", f"{kernel}.h", f"{kernel}.c"),
        ctype=f"{kernel}_layer",
        params=params,
        arrays=tuple(arrays),
        in_place=tuple(t.index for t in operands if t.data is None and t.elements == y.elements),
    )


@dataclass(frozen=True)
class _Sum:
    """Multipliers of ADD and SUB: one for each operand, one for their sum or difference."""

    a: tuple[int, int]
    b: tuple[int, int]
    result: tuple[int, int]


def _sum(request: Request, a: Tensor, b: Tensor, y: Tensor) -> _Sum:
    twice = 2 * float(max(a.scale, b.scale))
    result = request.multiplier(twice / ((1 << _FRACTION_BITS) * float(y.scale)))
    if result[1] > 0:  # QuantizeMultiplierSmallerThanOneExp
        raise request.refuse(
            f"the inputs' scales are {a.scale} and {b.scale}, the output's {y.scale}",
            allowed=f"inputs' scales up to 2**{_FRACTION_BITS - 1} times the output's",
        )
    # A ratio to twice the larger scale is at most one half: these shifts go to the right, too.
    first, second = (request.multiplier(float(t.scale) / twice) for t in (a, b))
    return _Sum(first, second, result)


def _lower_sum(request: Request, sign: int) -> Layer:
    a, b, y = _operands(request)
    axes = _axes(request, a, b, y)
    scales = _sum(request, a, b, y)

    def scaled(tensor: Tensor, value: int, scale: tuple[int, int]) -> int:
        return requantize((value - tensor.zero_point) << _FRACTION_BITS, *scale)

    def value_of(first: int, second: int) -> int:
        total = scaled(a, first, scales.a) + sign * scaled(b, second, scales.b)
        return requantize(total, *scales.result)

    table = _as_table(request, a, b, y, value_of)
    if table is not None:
        return table
    first: tuple[Tensor, tuple[int, int], int] = (a, scales.a, 1)
    second: tuple[Tensor, tuple[int, int], int] = (b, scales.b, sign)
    if _prefers_swap(axes, a, b):
        first, second = second, first
        axes = _swapped(axes)
    if axes[-1][2] and second[0].scale > first[0].scale:
        # The kernel takes the first one's scale for exactly one half where both move.
        first, second = second, first
        axes = _swapped(axes)
    return _layer(
        request,
        "isth_k_sum",
        (first[0], second[0]),
        y,
        (
            *_finish_params(scales.result, request.output_values(y)),
            *_walk_params(_broadcast(axes)),
            *((n, _sum_scale(*operand)) for n, operand in zip("ab", (first, second), strict=True)),
        ),
    )


def _sum_scale(tensor: Tensor, scale: tuple[int, int], sign: int) -> Struct:
    """``isth_k_sum_scale``."""
    multiplier, right = scale[0], -scale[1]
    return Struct((tensor.zero_point, multiplier, right, 1 << right >> 1, -1 if right else 0, sign))


def _finish_params(
    scale: tuple[int, int], output: tuple[int, int, int]
) -> tuple[tuple[str, Value], ...]:
    """``isth_k_filter``, the mode and the output, of results that stay below 2**30."""
    multiplier, right = scale[0], -scale[1]
    fast = output[1:] == (INT8_MIN, INT8_MAX) and 1 <= right <= _FAST_RIGHT_MAX
    offset = (output[0] << right) + (1 << right >> 1) if fast else 0
    return (
        ("scale", Struct((0, multiplier, right, offset))),
        ("mode", FAST if fast else GENERAL),
        ("output", Struct(output)),
    )


def _swapped(axes: _Axes) -> _Axes:
    return tuple((size, of_b, of_a) for size, of_a, of_b in axes)


def _walk_params(
    walk: Broadcast, a: str = "a_steps", b: str = "b_steps"
) -> tuple[tuple[str, Value], ...]:
    return (("shape", walk.shape), (a, walk.a_steps), (b, walk.b_steps))


def _prefers_swap(axes: _Axes, a: Tensor, b: Tensor) -> bool:
    """Whether b must come first: a does not move within a run, or b alone has all elements."""
    return not axes[-1][1] or (a.elements < b.elements and axes[-1][2])


def lower_add(request: Request) -> Layer:
    """ADD."""
    return _lower_sum(request, 1)


def lower_sub(request: Request) -> Layer:
    """SUB."""
    return _lower_sum(request, -1)


def _ratio(request: Request, reach: int, over: Tensor, *factors: Tensor) -> tuple[int, int]:
    """The multiplier of values up to ``reach`` for the product of scales over that of ``over``.

    The engines' quotients differ in their last bits. Where no value tells them apart, both profiles
    get the same, so that one engine may stand in for the other.
    """
    scales = [t.scale for t in factors]
    tflm, litert = (
        request.multiplier(scale_ratio(rounding, over.scale, *scales))
        for rounding in ("tflm", "litert")
    )
    return (
        litert if request.rounding == "litert" and not same_results(tflm, litert, reach) else tflm
    )


def lower_mul(request: Request) -> Layer:
    """MUL."""
    a, b, y = _operands(request)
    axes = _axes(request, a, b, y)
    multiplier, shift = _ratio(request, 255 * 255, y, a, b)
    table = _as_table(
        request,
        a,
        b,
        y,
        lambda u, v: requantize((u - a.zero_point) * (v - b.zero_point), multiplier, shift),
    )
    if table is not None:
        return table
    if _prefers_swap(axes, a, b):
        a, b = b, a
        axes = _swapped(axes)
    return _layer(
        request,
        "isth_k_mul",
        (a, b),
        y,
        (
            *_finish_params((multiplier, shift), request.output_values(y)),
            *_walk_params(_broadcast(axes)),
            ("a_zero", a.zero_point),
            ("b_zero", b.zero_point),
        ),
    )


def lower_prelu(request: Request) -> Layer:
    """PRELU; the slopes stretch to the input's shape, and may be computed."""
    x, slopes, y = _operands(request)
    axes = _axes(request, x, slopes, y)
    if x.data is not None or x.shape != y.shape:
        raise request.refuse(
            f"an input of shape {x.shape}", allowed=f"a tensor of the output's shape {y.shape}"
        )
    positive = _ratio(request, 255, y, x)
    negative = _ratio(request, 255 * 255, y, x, slopes)

    def value_of(value: int, slope: int) -> int:
        centred = value - x.zero_point
        if centred >= 0:
            return requantize(centred, *positive)
        return requantize(centred * (slope - slopes.zero_point), *negative)

    table = _as_table(request, x, slopes, y, value_of)
    if table is not None:
        return table
    return _layer(
        request,
        "isth_k_prelu",
        (x, slopes),
        y,
        (
            ("output", Struct((y.zero_point, INT8_MIN, INT8_MAX))),
            *_walk_params(_broadcast(axes), "x_steps", "slope_steps"),
            ("x_zero", x.zero_point),
            ("slope_zero", slopes.zero_point),
            ("multiplier", positive[0]),
            ("shift", positive[1]),
            ("slope_multiplier", negative[0]),
            ("slope_shift", negative[1]),
        ),
    )


def _lower_extremum(request: Request, choose: Callable[[int, int], int], flip: int) -> Layer:
    """The engines compare levels and pass on the chosen one, whatever the scales say."""
    a, b, y = _operands(request)
    axes = _axes(request, a, b, y)
    for operand in (a, b):
        request.same_quantisation(operand, y)
    table = _as_table(request, a, b, y, lambda u, v: choose(u, v) - y.zero_point)
    if table is not None:
        return table
    if _prefers_swap(axes, a, b):
        a, b = b, a
        axes = _swapped(axes)
    params = (*_walk_params(_broadcast(axes)), ("flip", flip))
    return _layer(request, "isth_k_extremum", (a, b), y, params)


def lower_maximum(request: Request) -> Layer:
    """MAXIMUM."""
    return _lower_extremum(request, max, 0)


def lower_minimum(request: Request) -> Layer:
    """MINIMUM."""
    return _lower_extremum(request, min, -1)
