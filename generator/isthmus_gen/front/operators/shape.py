"""RESHAPE and its like, PAD, MEAN, REDUCE_MAX, the pools and SOFTMAX."""

from __future__ import annotations

import numpy as np

from isthmus_gen.front.flatbuffer import Tensor
from isthmus_gen.front.layers import Array, Layer, Ref, Struct
from isthmus_gen.front.operators.base import Request, window
from isthmus_gen.front.overlap import pad_distance, window_distance
from isthmus_gen.front.quantize import INT8_MAX, INT8_MIN, exponential_table, mean_multiplier

__all__ = [
    "lower_average_pool",
    "lower_max_pool",
    "lower_mean",
    "lower_pad",
    "lower_reduce_max",
    "lower_reshape",
    "lower_softmax",
]

_SOFTMAX_DEPTH_MAX = 4095
_PAD_AXES = 4
_MEAN_MAX = (1 << 23) - 1
"""Elements whose sum fits int32: zero points and values add up to 128 each, partial sums too."""


def lower_reshape(request: Request) -> Layer:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the output is the input's memory under another shape."""
    x, y = request.input(), request.output()
    if x.elements != y.elements:
        raise request.refuse(f"shapes {x.shape} and {y.shape}", allowed="equal element counts")
    request.same_quantisation(x, y)
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        view=True,
    )


def _merged_padding(
    shape: tuple[int, ...], before: list[int], after: list[int]
) -> list[tuple[int, int, int]]:
    """(input, output, before) of each axis that is left when unpadded ones join the one before.

    >>> _merged_padding((1, 4, 5, 3), [0, 1, 2, 0], [0, 1, 2, 0])
    [(4, 6, 1), (15, 27, 6)]
    """
    axes: list[tuple[int, int, int]] = []
    for size, first, last in zip(shape, before, after, strict=True):
        if axes and first == last == 0:
            wide, out, start = axes.pop()
            axes.append((wide * size, out * size, start * size))
        elif size + first + last > 1:
            axes.append((size, first + size + last, first))
    return axes


def lower_pad(request: Request) -> Layer:
    """PAD with the zero point, PADV2 with a constant."""
    x, y = request.input(), request.output()
    request.same_quantisation(x, y)
    rank, amounts = len(x.shape), request.integers(1, "padding")
    before, after = amounts[::2], amounts[1::2]
    if len(amounts) != 2 * rank or min(amounts, default=0) < 0:
        raise request.refuse(f"paddings {amounts} for {rank} axes")
    expected = tuple(sum(n) for n in zip(x.shape, before, after, strict=True))
    if expected != y.shape:
        raise request.refuse(f"the output has the shape {y.shape}", allowed=str(expected))
    value = y.zero_point
    if request.operator.name == "PADV2":
        request.same_quantisation(request.int8(request.optional_input(2), "value"), y)
        value = int(request.constant(2, "INT8", "value").reshape(-1)[0])
    axes = _merged_padding(x.shape, before, after)
    if len(axes) > _PAD_AXES:
        raise request.refuse(f"{len(axes)} padded axes", allowed=f"up to {_PAD_AXES}")
    axes = [(1, 1, 0)] * (_PAD_AXES - len(axes)) + axes
    small, wide, start = (tuple(n[i] for n in axes) for i in range(3))
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel="isth_k_pad",
        files=("isth_k_common.h", "isth_k_run.h", "isth_k_pad.h", "isth_k_pad.c"),
        ctype="isth_k_pad_layer",
        params=(
            ("value", value),
            ("in", Struct(small)),
            ("out", Struct(wide)),
            ("before", Struct(start)),
        ),
        overlap=((x.index, pad_distance(small, wide, start)),),
    )


def _reduction(request: Request, x: Tensor, y: Tensor) -> tuple[int, int, int, int]:
    """The input as (outer, reduced, inner, tail); the second and the last are reduced."""
    rank, raw = len(x.shape), request.integers(1, "list of axes")
    if not raw or any(not -rank <= a < rank for a in raw):
        raise request.refuse(f"axes {raw}", allowed=f"{-rank} to {rank - 1}, at least one")
    gone = {a % rank for a in raw}
    groups: list[tuple[bool, int]] = [(False, 1)]
    for axis, size in enumerate(x.shape):
        if size > 1 and groups[-1][0] == (axis in gone):
            groups[-1] = (groups[-1][0], groups[-1][1] * size)
        elif size > 1:
            groups.append((axis in gone, size))
    sizes = [size for _, size in groups] + [1] * (4 - len(groups))
    outer, reduced, inner, tail = sizes[:4]
    if len(sizes) > 4:
        raise request.refuse(f"axes {raw} of {x.shape}", allowed="one or two groups of neighbours")
    if y.elements != outer * inner:
        raise request.refuse(f"shapes {x.shape} and {y.shape}", allowed=f"{outer * inner} elements")
    return outer, reduced, inner, tail


def lower_mean(request: Request) -> Layer:
    """MEAN over one or two groups of neighbouring axes, kept or dropped."""
    x, y = request.input(), request.output()
    outer, reduced, inner, tail = _reduction(request, x, y)
    count = reduced * tail
    if count > _MEAN_MAX:
        raise request.refuse(f"the mean of {count} elements", allowed=f"up to {_MEAN_MAX}")
    ratio = request.multiplier(float(x.scale) / float(y.scale))
    multiplier, shift = mean_multiplier(*ratio, count)
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel="isth_k_mean",
        files=("isth_k_common.h", "isth_k_mean.h", "isth_k_mean.c"),
        ctype="isth_k_mean_layer",
        params=(
            ("output", Struct((y.zero_point, INT8_MIN, INT8_MAX))),
            ("outer", outer),
            ("reduced", reduced),
            ("inner", inner),
            ("tail", tail),
            ("zero_sum", x.zero_point * count),
            ("multiplier", multiplier),
            ("shift", shift),
        ),
    )


def lower_reduce_max(request: Request) -> Layer:
    """REDUCE_MAX over one or two groups of neighbouring axes, kept or dropped."""
    x, y = request.input(), request.output()
    request.same_quantisation(x, y)
    sizes = _reduction(request, x, y)
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel="isth_k_reduce_max",
        files=("isth_k_common.h", "isth_k_reduce_max.h", "isth_k_reduce_max.c"),
        ctype="isth_k_reduce_max_layer",
        params=tuple(zip(("outer", "reduced", "inner", "tail"), sizes, strict=True)),
    )


def _pool(request: Request, kind: str) -> Layer:
    x, y = request.input(), request.output()
    request.same_quantisation(x, y)
    kernel = (int(request.option("filterHeight")), int(request.option("filterWidth")))
    geometry = window(request, x, y, kernel)
    if geometry.in_c != geometry.out_c:
        raise request.refuse(
            f"{geometry.in_c} to {geometry.out_c} channels", allowed="equal channels"
        )
    minimum, maximum = request.activation(y)
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel=f"isth_k_{kind}_pool",
        files=("isth_k_common.h", "isth_k_pool.h", f"isth_k_{kind}_pool.c"),
        ctype="isth_k_pool_layer",
        params=(
            ("minimum", minimum),
            ("maximum", maximum),
            ("channels", geometry.in_c),
            *geometry.fields(),
        ),
        overlap=((x.index, window_distance(geometry)),),
    )


def lower_average_pool(request: Request) -> Layer:
    """AVERAGE_POOL_2D."""
    return _pool(request, "average")


def lower_max_pool(request: Request) -> Layer:
    """MAX_POOL_2D."""
    return _pool(request, "max")


def lower_softmax(request: Request) -> Layer:
    """SOFTMAX over the last axis, int8 to int8."""
    x, y = request.input(), request.output()
    depth = x.shape[-1] if x.shape else 1
    if x.shape != y.shape or depth > _SOFTMAX_DEPTH_MAX:
        raise request.refuse(
            f"shapes {x.shape} and {y.shape}", allowed=f"equal, last axis <= {_SOFTMAX_DEPTH_MAX}"
        )
    if y.scale != np.float32(1 / 256) or y.zero_point != INT8_MIN:
        raise request.refuse("the output's quantisation", allowed="scale 1/256, zero point -128")
    table = exponential_table(float(np.float32(request.option("beta", 1.0))), x.scale)
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel="isth_k_softmax",
        files=("isth_k_common.h", "isth_k_softmax.h", "isth_k_softmax.c"),
        ctype="isth_k_softmax_layer",
        params=(
            ("exponentials", Ref("exponentials")),
            ("rows", x.elements // depth),
            ("depth", depth),
        ),
        arrays=(Array("exponentials", "int32_t", table, 4),),
        in_place=(x.index,),
    )
