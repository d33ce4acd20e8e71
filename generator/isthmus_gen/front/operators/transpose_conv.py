"""TRANSPOSE_CONV."""

from __future__ import annotations

from isthmus_gen.front.flatbuffer import load_schema
from isthmus_gen.front.layers import Layer, Ref, channel_array, weight_array
from isthmus_gen.front.operators.base import Request, same_padding

__all__ = ["lower_transpose_conv"]


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
    same = int(request.option("padding")) == int(load_schema().Padding.SAME)
    ends = (0, 0) if same else (kernel_h - 1, kernel_w - 1)
    expected = (-(-(out_h - ends[0]) // stride_h), -(-(out_w - ends[1]) // stride_w))
    if expected != (in_h, in_w):
        raise request.refuse(f"the input is {in_h}x{in_w}", allowed=f"{expected[0]}x{expected[1]}")
    before = (0, 0)
    if same:
        # ComputePaddingHeightWidth with the roles of input and output exchanged.
        before = (
            same_padding(out_h, -(-out_h // stride_h), stride_h, kernel_h, 1),
            same_padding(out_w, -(-out_w // stride_w), stride_w, kernel_w, 1),
        )
    bias = request.bias(3, out_c)
    scales = request.filter_scales(tensor, out_c, 0)
    multipliers = [
        request.multiplier(float(x.scale) * float(scale) / float(y.scale)) for scale in scales
    ]
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel="isth_k_transpose_conv",
        files=("isth_k_common.h", "isth_k_transpose_conv.h", "isth_k_transpose_conv.c"),
        ctype="isth_k_transpose_conv_layer",
        params=(
            ("weights", Ref("weights")),
            ("channels", Ref("channels")),
            ("output", request.output_struct(y)),
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
        arrays=(weight_array(weights), channel_array(bias, bias, multipliers)),
        macs=in_h * in_w * out_c * kernel_h * kernel_w * in_c,
    )
