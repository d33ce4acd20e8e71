"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus_gen.front.depthwise import depthwise_form
from isthmus_gen.front.filters import FilterTable, filter_table, paired_weights
from isthmus_gen.front.flatbuffer import Tensor
from isthmus_gen.front.layers import (
    Array,
    Layer,
    Ref,
    Struct,
    Value,
    weight_array,
)
from isthmus_gen.front.operators.base import Request, Window, window
from isthmus_gen.front.overlap import window_distance

__all__ = ["MATMUL_FILES", "lower_conv", "lower_dense", "lower_depthwise"]

MATMUL_FILES = (
    "isth_k_common.h",
    "isth_k_dsp.h",
    "isth_k_gather.h",
    "isth_k_matmul.h",
    "isth_k_matmul.c",
    "isth_k_matmul_dsp.h",
    "isth_k_matmul_mve.h",
    "isth_k_matmul_neon.h",
    "isth_k_matmul_portable.h",
    "isth_k_matmul_thumb1.h",
)


def _weights(request: Request, rank: int) -> tuple[Tensor, npt.NDArray[np.int8]]:
    tensor = request.optional_input(1)
    data = request.constant(1, "INT8", "weight tensor")
    if tensor is None or data.ndim != rank:
        raise request.refuse(f"the weights have {data.ndim} axes", allowed=str(rank))
    return tensor, data


def _multipliers(
    request: Request, x: Tensor, scales: npt.NDArray[np.float32], y: Tensor
) -> list[tuple[int, int]]:
    # PopulateConvolutionQuantizationParams: float32 scales, float64 product and quotient.
    return [request.multiplier(float(x.scale) * float(s) / float(y.scale)) for s in scales]


def _window(request: Request, x: Tensor, y: Tensor, kernel: tuple[int, int]) -> Window:
    dilation = (
        int(request.option("dilationHFactor", 1)),
        int(request.option("dilationWFactor", 1)),
    )
    return window(request, x, y, kernel, dilation)


def _window_fields(x: Tensor, geometry: Window) -> tuple[tuple[str, Value], ...]:
    """What CONV_2D and DEPTHWISE_CONV_2D share behind their weights, channels and output."""
    return (
        ("input_zero", x.zero_point),
        ("in_c", geometry.in_c),
        ("out_c", geometry.out_c),
        *geometry.fields(),
        ("dilation_h", geometry.dilation[0]),
        ("dilation_w", geometry.dilation[1]),
    )


def _matmul(
    weights: npt.NDArray[np.int8],
    table: FilterTable,
    *,
    groups: int = 1,
) -> tuple[tuple[Array, Array], Struct]:
    """Arrays and ``isth_k_filters``; ``weights`` is [filters, inputs]."""
    count, inputs = weights.shape[0] // groups, weights.shape[1]
    arrays = (
        Array("weights", "int8_t", paired_weights(weights, groups), 1),
        Array("filters", "isth_k_filter", table.rows(groups), 16),
    )
    fields = Struct(
        (
            Ref("weights"),
            Ref("filters"),
            Struct(table.output),
            table.mode,
            count,
            inputs,
            -(-inputs // 4),
        )
    )
    return arrays, fields


def lower_conv(request: Request) -> Layer:
    """CONV_2D; a 1x1 kernel without padding gets the kernel without borders."""
    x, y = request.input(), request.output()
    tensor, weights = _weights(request, 4)
    channels, kernel_h, kernel_w, filter_c = weights.shape
    geometry = _window(request, x, y, (kernel_h, kernel_w))
    in_c, out_c = geometry.in_c, geometry.out_c
    positions = geometry.out_size[0] * geometry.out_size[1]
    if channels != out_c or in_c % filter_c or out_c % (in_c // filter_c):
        raise request.refuse(f"weights of shape {weights.shape} for {in_c} to {out_c} channels")
    groups = in_c // filter_c
    table = filter_table(
        request.bias(2, out_c),
        weights.reshape(out_c, -1),
        x.zero_point,
        _multipliers(request, x, request.filter_scales(tensor, out_c, 0), y),
        request.output_values(y),
    )
    arrays, filters = _matmul(weights.reshape(out_c, -1), table, groups=groups)
    fours = -(-kernel_h * kernel_w * filter_c // 4)
    common: dict[str, Any] = {
        "operator": request.operator.name,
        "place": request.operator.place,
        "inputs": (x.index,),
        "output": y.index,
        "arrays": arrays,
        "macs": positions * out_c * kernel_h * kernel_w * filter_c,
        # isth_k_gather.h: two columns of int16, and one of bytes where they do not come in fours
        "scratch_bytes": (20 if filter_c % 4 else 16) * fours,
        # Groups come one after the other, so that the first must leave the input whole.
        "overlap": ((x.index, window_distance(geometry)),) if groups == 1 else (),
    }
    if kernel_h == kernel_w == 1 and groups == 1:
        (_, in_w), (stride_h, stride_w) = geometry.in_size, geometry.stride
        return Layer(
            kernel="isth_k_conv_1x1",
            files=(*MATMUL_FILES, "isth_k_conv_1x1.h", "isth_k_conv_1x1.c"),
            ctype="isth_k_conv_1x1_layer",
            params=(
                ("filters", filters),
                ("rows", geometry.out_size[0]),
                ("columns", geometry.out_size[1]),
                ("x_row", stride_h * in_w * in_c),
                ("x_column", stride_w * in_c),
            ),
            **common,
        )
    return Layer(
        kernel="isth_k_conv_2d",
        files=(*MATMUL_FILES, "isth_k_conv_2d.h", "isth_k_conv_2d.c"),
        ctype="isth_k_conv_2d_layer",
        params=(
            ("filters", filters),
            *_window_fields(x, geometry),
            ("groups", groups),
        ),
        **common,
    )


def lower_depthwise(request: Request) -> Layer:
    """DEPTHWISE_CONV_2D with any multiplier."""
    x, y = request.input(), request.output()
    tensor, weights = _weights(request, 4)
    one, kernel_h, kernel_w, channels = weights.shape
    geometry = _window(request, x, y, (kernel_h, kernel_w))
    in_c, out_c = geometry.in_c, geometry.out_c
    positions = geometry.out_size[0] * geometry.out_size[1]
    if one != 1 or channels != out_c or out_c % in_c:
        raise request.refuse(f"weights of shape {weights.shape} for {in_c} to {out_c} channels")
    table = filter_table(
        request.bias(2, out_c),
        weights.reshape(-1, out_c).T,
        x.zero_point,
        _multipliers(request, x, request.filter_scales(tensor, out_c, 3), y),
        request.output_values(y),
    )
    form = depthwise_form(geometry, table.mode)
    filters = weights.reshape(kernel_h, kernel_w, out_c).transpose(2, 0, 1)
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel="isth_k_depthwise",
        files=(
            "isth_k_common.h",
            "isth_k_dsp.h",
            "isth_k_depthwise.h",
            "isth_k_depthwise.c",
            "isth_k_depthwise_dsp.h",
            "isth_k_depthwise_mve.h",
        ),
        ctype="isth_k_depthwise_layer",
        params=(
            ("weights", Ref("weights")),
            ("filters", Ref("filters")),
            ("output", Struct(table.output)),
            ("mode", table.mode),
            *_window_fields(x, form.window),
            ("multiplier", out_c // in_c),
            *form.fields(),
        ),
        arrays=(
            weight_array(form.weights(filters)),
            Array("filters", "isth_k_filter", table.rows(), 16),
        ),
        macs=positions * out_c * kernel_h * kernel_w,
        in_place=(x.index,) if in_c == out_c else (),
        scratch_bytes=form.scratch_bytes,
    )


def lower_dense(request: Request) -> Layer:
    """FULLY_CONNECTED; the leading axes of the input are rows."""
    x, y = request.input(), request.output()
    tensor, weights = _weights(request, 2)
    out_c, in_c = weights.shape
    if int(request.option("weightsFormat")) != 0:
        raise request.refuse("shuffled weights", allowed="the default format")
    if x.elements % in_c or y.elements != x.elements // in_c * out_c:
        raise request.refuse(f"weights of shape {weights.shape} for {x.elements} input elements")
    scales = request.filter_scales(tensor, out_c, 0)
    if tensor.scales.size == 1:
        # GetQuantizedConvolutionMultipler multiplies the two scales in float32.
        product = float(np.float32(x.scale) * np.float32(scales[0]))
        multipliers = [request.multiplier(product / float(y.scale))] * out_c
    else:
        multipliers = _multipliers(request, x, scales, y)
    table = filter_table(
        request.bias(2, out_c),
        weights,
        x.zero_point,
        multipliers,
        request.output_values(y),
        single_rounding=request.rounding == "litert",
    )
    arrays, filters = _matmul(weights, table)
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel="isth_k_dense",
        files=(*MATMUL_FILES, "isth_k_dense.h", "isth_k_dense.c"),
        ctype="isth_k_dense_layer",
        params=(("filters", filters), ("rows", x.elements // in_c)),
        arrays=arrays,
        macs=y.elements * in_c,
    )
