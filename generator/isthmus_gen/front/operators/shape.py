"""RESHAPE, PAD, MEAN, the pools and SOFTMAX."""

from __future__ import annotations

import numpy as np

from isthmus_gen.front.layers import Array, Layer, Ref, Struct
from isthmus_gen.front.operators.base import Request, window
from isthmus_gen.front.quantize import INT8_MAX, INT8_MIN, exponential_table, mean_multiplier

__all__ = [
    "lower_average_pool",
    "lower_max_pool",
    "lower_mean",
    "lower_pad",
    "lower_reshape",
    "lower_softmax",
]

_SOFTMAX_DEPTH_MAX = 4095
_MEAN_MAX = (1 << 23) - 1
"""Elements whose sum fits int32: zero points and values add up to 128 each, partial sums too."""


def lower_reshape(request: Request) -> Layer:
    """RESHAPE: the output is the input's memory under another shape."""
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


def lower_pad(request: Request) -> Layer:
    """PAD with the zero point, up to four axes."""
    x, y = request.input(), request.output()
    request.same_quantisation(x, y)
    amounts = request.constant(1, "INT32", "padding")
    rank = len(x.shape)
    if rank > 4 or amounts.shape != (rank, 2) or np.any(amounts < 0):
        raise request.refuse(f"paddings of shape {amounts.shape} for {rank} axes")
    expected = tuple(n + int(p[0]) + int(p[1]) for n, p in zip(x.shape, amounts, strict=True))
    if expected != y.shape:
        raise request.refuse(f"the output has the shape {y.shape}", allowed=str(expected))
    lead = (1,) * (4 - rank)
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel="isth_k_pad",
        files=("isth_k_common.h", "isth_k_pad.h", "isth_k_pad.c"),
        ctype="isth_k_pad_layer",
        params=(
            ("value", y.zero_point),
            ("in", Struct(lead + x.shape)),
            ("out", Struct(lead + y.shape)),
            ("before", Struct((0,) * (4 - rank) + tuple(int(p[0]) for p in amounts))),
        ),
    )


def lower_mean(request: Request) -> Layer:
    """MEAN over axes that are neighbours, kept or dropped."""
    x, y = request.input(), request.output()
    rank = len(x.shape)
    raw = request.constant(1, "INT32", "list of axes").reshape(-1)
    axes = sorted({int(a) % rank for a in raw if -rank <= int(a) < rank})
    if not axes or len(axes) > raw.size or axes != list(range(axes[0], axes[-1] + 1)):
        raise request.refuse(f"axes {[int(a) for a in raw]}", allowed="neighbouring axes")
    outer = int(np.prod(x.shape[: axes[0]], dtype=np.int64))
    reduced = int(np.prod(x.shape[axes[0] : axes[-1] + 1], dtype=np.int64))
    inner = int(np.prod(x.shape[axes[-1] + 1 :], dtype=np.int64))
    if y.elements != outer * inner:
        raise request.refuse(f"shapes {x.shape} and {y.shape}", allowed=f"{outer * inner} elements")
    if reduced > _MEAN_MAX:
        raise request.refuse(f"the mean of {reduced} elements", allowed=f"up to {_MEAN_MAX}")
    ratio = request.multiplier(float(x.scale) / float(y.scale))
    multiplier, shift = mean_multiplier(*ratio, reduced)
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
            ("zero_sum", x.zero_point * reduced),
            ("multiplier", multiplier),
            ("shift", shift),
        ),
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
