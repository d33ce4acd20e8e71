"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus_gen.front.flatbuffer import Tensor
from isthmus_gen.front.layers import Array, Layer, Ref, Value, channel_array, weight_array
from isthmus_gen.front.operators.base import Request, Window, window
from isthmus_gen.front.quantize import wrap_int32

__all__ = ["lower_conv", "lower_dense", "lower_depthwise"]

_BLOCK = ("isth_k_common.h", "isth_k_block.h")


def _weights(request: Request, rank: int) -> tuple[Tensor, npt.NDArray[np.int8]]:
    tensor = request.optional_input(1)
    data = request.constant(1, "INT8", "weight tensor")
    if tensor is None or data.ndim != rank:
        raise request.refuse(f"the weights have {data.ndim} axes", allowed=str(rank))
    return tensor, data


def _fold(
    bias: npt.NDArray[np.int64], weights: npt.NDArray[np.int8], zero: int
) -> npt.NDArray[np.int64]:
    """``bias - zero * sum(weights)`` modulo 2**32; ``weights`` is [channels, taps]."""
    sums = weights.astype(np.int64).sum(axis=1)
    return np.array(
        [wrap_int32(int(b) - zero * int(s)) for b, s in zip(bias, sums, strict=True)],
        dtype=np.int64,
    )


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
    bias = request.bias(2, out_c)
    scales = request.filter_scales(tensor, out_c, 0)
    folded = _fold(bias, weights.reshape(out_c, -1), x.zero_point)
    arrays = (
        weight_array(weights),
        channel_array(bias, folded, _multipliers(request, x, scales, y)),
    )
    head: tuple[tuple[str, Value], ...] = (
        ("weights", Ref("weights")),
        ("channels", Ref("channels")),
        ("output", request.output_struct(y)),
    )
    common: dict[str, Any] = {
        "operator": request.operator.name,
        "place": request.operator.place,
        "inputs": (x.index,),
        "output": y.index,
        "arrays": arrays,
        "macs": positions * out_c * kernel_h * kernel_w * filter_c,
    }
    if kernel_h == kernel_w == 1 and filter_c == in_c:
        (_, in_w), (stride_h, stride_w) = geometry.in_size, geometry.stride
        flat = stride_h == stride_w == 1
        return Layer(
            kernel="isth_k_conv_1x1",
            files=(*_BLOCK, "isth_k_conv_1x1.h", "isth_k_conv_1x1.c"),
            ctype="isth_k_conv_1x1_layer",
            params=(
                *head,
                ("rows", 1 if flat else geometry.out_size[0]),
                ("columns", positions if flat else geometry.out_size[1]),
                ("x_row", stride_h * in_w * in_c),
                ("x_column", stride_w * in_c),
                ("in_c", in_c),
                ("out_c", out_c),
            ),
            **common,
        )
    return Layer(
        kernel="isth_k_conv_2d",
        files=(*_BLOCK, "isth_k_conv_2d.h", "isth_k_conv_2d.c"),
        ctype="isth_k_conv_2d_layer",
        params=(
            *head,
            *_window_fields(x, geometry),
            ("groups", in_c // filter_c),
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
    bias = request.bias(2, out_c)
    scales = request.filter_scales(tensor, out_c, 3)
    folded = _fold(bias, weights.reshape(-1, out_c).T, x.zero_point)
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel="isth_k_depthwise",
        files=("isth_k_common.h", "isth_k_depthwise.h", "isth_k_depthwise.c"),
        ctype="isth_k_depthwise_layer",
        params=(
            ("weights", Ref("weights")),
            ("channels", Ref("channels")),
            ("output", request.output_struct(y)),
            *_window_fields(x, geometry),
            ("multiplier", out_c // in_c),
        ),
        arrays=(
            weight_array(weights),
            channel_array(bias, folded, _multipliers(request, x, scales, y)),
        ),
        macs=positions * out_c * kernel_h * kernel_w,
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
    bias = request.bias(2, out_c)
    scales = request.filter_scales(tensor, out_c, 0)
    if tensor.scales.size == 1:
        # GetQuantizedConvolutionMultipler multiplies the two scales in float32.
        product = float(np.float32(x.scale) * np.float32(scales[0]))
        multipliers = [request.multiplier(product / float(y.scale))] * out_c
    else:
        multipliers = _multipliers(request, x, scales, y)
    arrays: tuple[Array, ...] = (
        weight_array(weights),
        channel_array(bias, _fold(bias, weights, x.zero_point), multipliers),
    )
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel="isth_k_dense",
        files=("isth_k_common.h", "isth_k_dense.h", "isth_k_dense.c"),
        ctype="isth_k_dense_layer",
        params=(
            ("weights", Ref("weights")),
            ("channels", Ref("channels")),
            ("output", request.output_struct(y)),
            ("rows", x.elements // in_c),
            ("in_c", in_c),
            ("out_c", out_c),
            ("single_rounding", 1 if request.rounding == "litert" else 0),
        ),
        arrays=arrays,
        macs=y.elements * in_c,
    )
