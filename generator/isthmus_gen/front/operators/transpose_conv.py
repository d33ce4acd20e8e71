"""TRANSPOSE_CONV."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from isthmus_gen.front.filters import filter_table, paired_weights
from isthmus_gen.front.flatbuffer import load_schema
from isthmus_gen.front.layers import Array, Layer, Ref, Struct
from isthmus_gen.front.operators.base import Request, same_padding
from isthmus_gen.front.operators.weights import MATMUL_FILES

__all__ = ["lower_transpose_conv", "phases"]

_PHASES_MAX = 256


def phases(
    weights: npt.NDArray[np.int8], stride_h: int, stride_w: int
) -> list[npt.NDArray[np.int8]]:
    """The filters [out_c, inputs] of each phase, in the order of the kernel.

    Phase (i, j) has the taps i, i + stride_h, ... of the rows, and likewise of the columns; the
    last of them meets the first input. One without taps gets one of zeros.
    """
    found = []
    for i in range(stride_h):
        for j in range(stride_w):
            part = weights[:, i::stride_h, j::stride_w][:, ::-1, ::-1]
            missing = [(0, max(0, 1 - size)) for size in part.shape]
            found.append(np.pad(part, missing).reshape(weights.shape[0], -1))
    return found


def lower_transpose_conv(request: Request) -> Layer:
    """TRANSPOSE_CONV: inputs are the output's shape, weights, the tensor and perhaps a bias."""
    x, y = request.input(2), request.output()
    in_h, in_w, in_c = request.spatial(x, "input")
    out_h, out_w, out_c = request.spatial(y, "output")
    if request.integers(0, "output shape") != list(y.shape):
        raise request.refuse(f"the output has the shape {y.shape}", allowed="that of input 0")
    tensor, weights = request.optional_input(1), request.constant(1, "INT8", "weight tensor")
    if tensor is None or weights.ndim != 4 or weights.shape[::3] != (out_c, in_c):
        raise request.refuse(f"weights of shape {weights.shape} for {in_c} to {out_c} channels")
    if int(request.option("fusedActivationFunction")):
        raise request.refuse("a fused activation", allowed="none")
    kernel_h, kernel_w = weights.shape[1:3]
    stride_h, stride_w = int(request.option("strideH")), int(request.option("strideW"))
    if min(stride_h, stride_w, kernel_h, kernel_w) < 1:
        raise request.refuse("a stride or kernel size below 1")
    if stride_h * stride_w > _PHASES_MAX:
        raise request.refuse(
            f"strides of {stride_h} and {stride_w}", allowed=f"a product up to {_PHASES_MAX}"
        )
    same = int(request.option("padding")) == int(load_schema().Padding.SAME)
    ends = (0, 0) if same else (kernel_h - 1, kernel_w - 1)
    expected = (-(-(out_h - ends[0]) // stride_h), -(-(out_w - ends[1]) // stride_w))
    if expected != (in_h, in_w):
        raise request.refuse(f"the input is {in_h}x{in_w}", allowed=f"{expected[0]}x{expected[1]}")
    before = (0, 0)
    if same:
        # ComputePaddingHeightWidth with the roles of input and output exchanged.
        before = (
            same_padding(out_h, in_h, stride_h, kernel_h, 1),
            same_padding(out_w, in_w, stride_w, kernel_w, 1),
        )
    parts = phases(weights, stride_h, stride_w)
    most = max(part.shape[1] for part in parts)
    multipliers = [
        request.multiplier(float(x.scale) * float(scale) / float(y.scale))
        for scale in request.filter_scales(tensor, out_c, 0)
    ]
    # One table for all phases, so that they share a mode; zeros behind their weights add nothing.
    table = filter_table(
        np.tile(request.bias(3, out_c), len(parts)),
        np.concatenate([np.pad(part, ((0, 0), (0, most - part.shape[1]))) for part in parts]),
        x.zero_point,
        multipliers * len(parts),
        request.output_values(y),
    )
    filters = Struct(
        (
            Ref("weights"),
            Ref("filters"),
            Struct(table.output),
            table.mode,
            out_c,
            most,
            -(-most // 4),
        )
    )
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel="isth_k_transpose_conv",
        files=(*MATMUL_FILES, "isth_k_transpose_conv.h", "isth_k_transpose_conv.c"),
        ctype="isth_k_transpose_conv_layer",
        params=(
            ("filters", filters),
            ("input_zero", x.zero_point),
            ("in_c", in_c),
            ("out_c", out_c),
            ("in_h", in_h),
            ("in_w", in_w),
            ("out_h", out_h),
            ("out_w", out_w),
            ("kernel_h", kernel_h),
            ("kernel_w", kernel_w),
            ("stride_h", stride_h),
            ("stride_w", stride_w),
            ("pad_top", before[0]),
            ("pad_left", before[1]),
        ),
        arrays=(
            Array("weights", "int8_t", np.concatenate([paired_weights(p) for p in parts]), 1),
            Array("filters", "isth_k_filter", table.rows(len(parts)), 16),
        ),
        macs=in_h * in_w * out_c * kernel_h * kernel_w * in_c,
        scratch_bytes=20 * -(-most // 4),
    )
