"""Operators that move, window or reduce, randomised: the generated C equals both engines.

Nothing here rounds differently in the two profiles, so one build is held to TensorFlow Lite Micro
and to LiteRT's reference kernels at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from operator_cases import (
    Case,
    Rng,
    random_inputs,
    random_int8,
    random_scale,
    random_shape,
    random_zero,
)


def concatenation(builder: Any, rng: Rng) -> Any:
    """Two to five parts, of which some are constants and one may come twice."""
    case = Case(builder, rng, random_shape(rng))
    axis = int(rng.integers(1, 4))
    parts, total = [], 0
    for index in range(int(rng.integers(2, 6))):
        shape = list(case.shape)
        if index == 0 or rng.random() < 0.4:
            parts.append(case.x)
        else:
            shape[axis] = int(rng.integers(1, 5))
            parts.append(case.tensor(shape, data=random_int8(rng, tuple(shape))))
        total += shape[axis]
    rng.shuffle(parts)
    out = list(case.shape)
    out[axis] = total
    signed = axis - 4 if rng.random() < 0.3 else axis
    y = case.operator("CONCATENATION", parts, out, "ConcatenationOptions", axis=signed)
    return case.done(y)


def slice_(builder: Any, rng: Rng) -> Any:
    case = Case(builder, rng, random_shape(rng))
    begin = [int(rng.integers(0, n)) for n in case.shape]
    size = [int(rng.integers(1, n - b + 1)) for n, b in zip(case.shape, begin, strict=True)]
    given = [
        -1 if b + s == n and rng.random() < 0.5 else s
        for n, b, s in zip(case.shape, begin, size, strict=True)
    ]
    dtype = str(rng.choice(["INT32", "INT64"]))
    inputs = [case.x, case.integers(begin, dtype), case.integers(given, dtype)]
    return case.done(case.operator("SLICE", inputs, size, "SliceOptions"))


def strided_slice(builder: Any, rng: Rng) -> Any:
    """Any begin, end, stride and mask that leaves something; numpy says what."""
    while True:
        shape = (1, *random_shape(rng))
        begin = [int(rng.integers(-n, n)) for n in shape]
        end = [int(rng.integers(-n - 1, n + 2)) for n in shape]
        strides = [int(rng.choice([1, 1, 2, 3, -1, -2])) for _ in shape]
        begin_mask, end_mask = (int(v) for v in rng.integers(0, 16, 2))
        shrink = int(rng.choice([0, 0, 2, 4, 8]))
        index: list[Any] = []
        for axis in range(4):
            bit = 1 << axis
            first = None if begin_mask & bit else begin[axis]
            last = None if end_mask & bit else end[axis]
            if shrink & bit:
                strides[axis] = 1
                begin_mask &= ~bit
                index.append(begin[axis])
            else:
                index.append(slice(first, last, strides[axis]))
        picked = np.zeros(shape)[tuple(index)]
        if picked.size and picked.ndim >= 2 and picked.shape[0] == 1:
            break
    case = Case(builder, rng, shape[1:])
    inputs = [case.x, *(case.integers(v) for v in (begin, end, strides))]
    y = case.operator(
        "STRIDED_SLICE",
        inputs,
        picked.shape,
        "StridedSliceOptions",
        beginMask=begin_mask,
        endMask=end_mask,
        shrinkAxisMask=shrink,
    )
    return case.done(y)


def _rejoined(case: Case, parts: Sequence[int], shape: Sequence[int], axis: int) -> Any:
    """The parts in another order along ``axis``: one output again."""
    shuffled = [int(i) for i in case.rng.permutation(parts)]
    return case.done(
        case.operator("CONCATENATION", shuffled, shape, "ConcatenationOptions", axis=axis)
    )


def split(builder: Any, rng: Rng) -> Any:
    count, axis = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    shape = list(random_shape(rng))
    part = [1, *shape]
    shape[axis - 1] *= count
    case = Case(builder, rng, shape)
    parts = [case.tensor(part) for _ in range(count)]
    where = case.integers(axis - 4 if rng.random() < 0.3 else axis)
    case.model.operator("SPLIT", [where, case.x], parts, "SplitOptions", numSplits=count)
    return _rejoined(case, parts, case.shape, axis)


def split_v(builder: Any, rng: Rng) -> Any:
    axis = int(rng.integers(1, 4))
    sizes = [int(n) for n in rng.integers(1, 4, int(rng.integers(1, 5)))]
    shape = list(random_shape(rng))
    shape[axis - 1] = sum(sizes)
    case = Case(builder, rng, shape)
    parts = []
    for size in sizes:
        part = [1, *shape]
        part[axis] = size
        parts.append(case.tensor(part))
    if rng.random() < 0.5:
        sizes[int(rng.integers(0, len(sizes)))] = -1
    inputs = [case.x, case.integers(sizes), case.integers(axis)]
    case.model.operator("SPLIT_V", inputs, parts, "SplitVOptions", numSplits=len(sizes))
    return _rejoined(case, parts, case.shape, axis)


def unpack_and_pack(builder: Any, rng: Rng) -> Any:
    case = Case(builder, rng, random_shape(rng, high=4))
    axis = int(rng.integers(1, 4))
    count = case.shape[axis]
    rest = [n for i, n in enumerate(case.shape) if i != axis]
    parts = [case.tensor(rest) for _ in range(count)]
    case.model.operator("UNPACK", [case.x], parts, "UnpackOptions", num=count, axis=axis)
    used = [int(i) for i in rng.choice(parts, int(rng.integers(1, count + 1)))]
    if rng.random() < 0.5:
        used.append(case.tensor(rest, data=random_int8(rng, tuple(rest))))
    target = int(rng.integers(1, 4))
    out = rest.copy()
    out.insert(target, len(used))
    y = case.operator(
        "PACK", used, out, "PackOptions", valuesCount=len(used), axis=target - 4 * (target == 3)
    )
    return case.done(y)


def transpose(builder: Any, rng: Rng) -> Any:
    case = Case(builder, rng, random_shape(rng))
    order = [0, *(int(i) for i in rng.permutation([1, 2, 3]))]
    inputs = [case.x, case.integers(order)]
    return case.done(
        case.operator("TRANSPOSE", inputs, [case.shape[i] for i in order], "TransposeOptions")
    )


def tile(builder: Any, rng: Rng) -> Any:
    case = Case(builder, rng, random_shape(rng, high=4))
    times = [1, *(int(n) for n in rng.integers(1, 4, 3))]
    times[2 if times[3] > 1 else 3] = 1  # the kernel's four loops
    out = [n * t for n, t in zip(case.shape, times, strict=True)]
    return case.done(case.operator("TILE", [case.x, case.integers(times)], out, "TileOptions"))


def _blocks(builder: Any, rng: Rng, name: str) -> Any:
    block = int(rng.integers(1, 4))
    height, width, channels = random_shape(rng, high=4)
    deep = (1, height, width, channels * block * block)
    wide = (1, height * block, width * block, channels)
    source, target = (deep, wide) if name == "DEPTH_TO_SPACE" else (wide, deep)
    case = Case(builder, rng, source[1:])
    kind = "DepthToSpaceOptions" if name == "DEPTH_TO_SPACE" else "SpaceToDepthOptions"
    return case.done(case.operator(name, [case.x], target, kind, blockSize=block))


def depth_to_space(builder: Any, rng: Rng) -> Any:
    return _blocks(builder, rng, "DEPTH_TO_SPACE")


def space_to_depth(builder: Any, rng: Rng) -> Any:
    return _blocks(builder, rng, "SPACE_TO_DEPTH")


def padv2(builder: Any, rng: Rng) -> Any:
    case = Case(builder, rng, random_shape(rng))
    amounts = np.zeros((4, 2), dtype=np.int32)
    amounts[1:] = rng.integers(0, 4, (3, 2)) * rng.integers(0, 2, (3, 1))
    value = case.tensor((1,), data=random_int8(rng, (1,)))
    out = np.array(case.shape) + amounts.sum(axis=1)
    inputs = [case.x, case.integers(amounts), value]
    return case.done(case.operator("PADV2", inputs, out, "PadV2Options"))


def pad_of_three_axes(builder: Any, rng: Rng) -> Any:
    """The causal padding of a 1-D convolution."""
    case = Case(builder, rng, random_shape(rng, 2))
    amounts = [[0, 0], [int(rng.integers(0, 6)), int(rng.integers(0, 3))], [0, 0]]
    out = np.array(case.shape) + np.sum(amounts, axis=1)
    return case.done(case.operator("PAD", [case.x, case.integers(amounts)], out, "PadOptions"))


def squeeze_and_expand(builder: Any, rng: Rng) -> Any:
    length, channels = random_shape(rng, 2)
    case = Case(builder, rng, (length, 1, channels))
    middle = case.operator(
        "SQUEEZE", [case.x], (1, length, channels), "SqueezeOptions", squeezeDims=[2]
    )
    y = case.operator(
        "EXPAND_DIMS", [middle, case.integers([1])], (1, 1, length, channels), "ExpandDimsOptions"
    )
    return case.done(y)


_AXES: list[list[int]] = [[1], [2], [3], [1, 2], [-3, -2], [2, 3], [1, 3], [3, 1], [1, 2, 3], [-1]]


def _reduced(builder: Any, rng: Rng, name: str) -> Any:
    shape = (1, *random_shape(rng, high=8))
    axes = _AXES[int(rng.integers(0, len(_AXES)))]
    case = Case(builder, rng, shape[1:])
    gone, keep = {a % 4 for a in axes}, bool(rng.integers(0, 2)) or len(axes) == 3
    out = [1 if i in gone else n for i, n in enumerate(shape) if keep or i not in gone]
    y_scale, y_zero = case.scale, case.zero
    if name == "MEAN" and rng.random() < 0.6:
        y_scale, y_zero = case.scale * rng.uniform(0.2, 3), random_zero(rng)
    y = case.model.tensor(out, y_scale, y_zero)
    case.model.operator(name, [case.x, case.integers(axes)], [y], "ReducerOptions", keepDims=keep)
    return case.done(y)


def mean(builder: Any, rng: Rng) -> Any:
    return _reduced(builder, rng, "MEAN")


def reduce_max(builder: Any, rng: Rng) -> Any:
    return _reduced(builder, rng, "REDUCE_MAX")


def _resized(builder: Any, rng: Rng, name: str) -> Any:
    case = Case(builder, rng, random_shape(rng, high=7))
    out = [int(n) for n in rng.integers(1, 16, 2)]
    if rng.random() < 0.3:
        out = [case.shape[1] * 2, case.shape[2] * 3]
    corners, centers = [(False, False), (True, False), (False, True)][int(rng.integers(0, 3))]
    kind = "ResizeBilinearOptions" if "BILINEAR" in name else "ResizeNearestNeighborOptions"
    y = case.operator(
        name,
        [case.x, case.integers(out)],
        (1, *out, case.shape[3]),
        kind,
        alignCorners=corners,
        halfPixelCenters=centers,
    )
    return case.done(y)


def resize_bilinear(builder: Any, rng: Rng) -> Any:
    return _resized(builder, rng, "RESIZE_BILINEAR")


def resize_nearest(builder: Any, rng: Rng) -> Any:
    return _resized(builder, rng, "RESIZE_NEAREST_NEIGHBOR")


def _transposed(builder: Any, rng: Rng, *, biased: bool) -> Any:
    """SAME and VALID, with any output that has an input of this size."""
    size, kernel, stride = rng.integers(1, 7, 2), rng.integers(1, 5, 2), rng.integers(1, 4, 2)
    same = bool(rng.integers(0, 2))
    out = size * stride if same else (size - 1) * stride + kernel
    if rng.random() < 0.3:
        out = out + (-1 if same else 1) * rng.integers(0, 2, 2) * (stride - 1)
    in_c, out_c = int(rng.integers(1, 7)), int(rng.choice([1, 2, 3, 4, 5, 8, 9]))
    shape = (out_c, int(kernel[0]), int(kernel[1]), in_c)
    x_scale = random_scale(rng)
    scales = np.array([random_scale(rng) for _ in range(out_c)], dtype=np.float32)
    if rng.random() < 0.3:
        scales = scales[:1].repeat(out_c)
    taps = int(np.prod(shape)) // out_c
    y_scale = x_scale * float(scales.max()) * 74 * 74 * np.sqrt(taps) / rng.uniform(30, 200)
    model = builder()
    x = model.tensor((1, *size, in_c), x_scale, random_zero(rng))
    w = model.tensor(shape, scales, data=random_int8(rng, shape))
    full = (1, *(int(n) for n in out), out_c)
    s = model.tensor((4,), dtype="INT32", data=np.array(full, dtype=np.int32))
    inputs = [s, w, x]
    if biased:
        bias = rng.integers(-9000, 9000, out_c).astype(np.int32)
        inputs.append(model.tensor((out_c,), x_scale * scales, dtype="INT32", data=bias))
    y = model.tensor(full, y_scale, random_zero(rng))
    model.operator(
        "TRANSPOSE_CONV",
        inputs,
        [y],
        "TransposeConvOptions",
        padding=0 if same else 1,
        strideH=int(stride[0]),
        strideW=int(stride[1]),
    )
    return model.build([x], [y]), random_inputs(rng, *size, in_c)


def transpose_conv(builder: Any, rng: Rng) -> Any:
    return _transposed(builder, rng, biased=True)


def transpose_conv_without_bias(builder: Any, rng: Rng) -> Any:
    return _transposed(builder, rng, biased=False)


def dilated_by_batches(builder: Any, rng: Rng) -> Any:
    """SPACE_TO_BATCH_ND, a convolution, BATCH_TO_SPACE_ND: SAME, VALID or causal, either axis."""
    deep = bool(rng.integers(0, 2))
    size, block, kernel = rng.integers(2, 8, 2), rng.integers(1, 4, 2), rng.integers(1, 4, 2)
    form = str(rng.choice(["same", "valid", "causal"]))
    reach = (kernel - 1) * block + 1
    size = np.maximum(size, reach)
    total = np.zeros(2, dtype=np.int64) if form == "valid" else reach - 1
    before = total // 2 if form == "same" else total
    added = np.stack([before, total - before], axis=1)
    crops = np.zeros((2, 2), dtype=np.int64)
    crops[:, 1] = -(size + total) % block
    added[:, 1] += crops[:, 1]
    parts = (size + added.sum(axis=1)) // block
    out = parts - kernel + 1
    in_c, batch = int(rng.integers(1, 4)), int(block.prod())
    out_c = in_c if deep else int(rng.integers(1, 5))
    case = Case(builder, rng, (*(int(n) for n in size), in_c))
    inputs = [case.x, case.integers(block), case.integers(added)]
    dealt = case.operator(
        "SPACE_TO_BATCH_ND", inputs, (batch, *parts, in_c), "SpaceToBatchNDOptions"
    )
    shape = (1, *kernel, in_c) if deep else (out_c, *kernel, in_c)
    scales = np.array([random_scale(rng) for _ in range(out_c)], dtype=np.float32)
    w = case.model.tensor(shape, scales, data=random_int8(rng, shape), axis=3 if deep else 0)
    bias = rng.integers(-900, 900, out_c).astype(np.int32)
    b = case.model.tensor((out_c,), case.scale * scales, dtype="INT32", data=bias)
    y_scale, y_zero = case.scale * float(scales.max()) * 74 * 20, random_zero(rng)
    made = case.model.tensor((batch, *out, out_c), y_scale, y_zero)
    case.model.operator(
        "DEPTHWISE_CONV_2D" if deep else "CONV_2D",
        [dealt, w, b],
        [made],
        "DepthwiseConv2DOptions" if deep else "Conv2DOptions",
        padding=1,
        strideH=1,
        strideW=1,
        dilationHFactor=1,
        dilationWFactor=1,
        **({"depthMultiplier": 1} if deep else {}),
    )
    final = out * block - crops.sum(axis=1)
    y = case.model.tensor((1, *final, out_c), y_scale, y_zero)
    inputs = [made, case.integers(block), case.integers(crops)]
    case.model.operator("BATCH_TO_SPACE_ND", inputs, [y], "BatchToSpaceNDOptions")
    return case.done(y)


CASES = [
    concatenation,
    depth_to_space,
    dilated_by_batches,
    mean,
    pad_of_three_axes,
    padv2,
    reduce_max,
    resize_bilinear,
    resize_nearest,
    slice_,
    space_to_depth,
    split,
    split_v,
    squeeze_and_expand,
    strided_slice,
    tile,
    transpose,
    transpose_conv,
    transpose_conv_without_bias,
    unpack_and_pack,
]

# The wheel has no TILE, and its SPACE_TO_BATCH_ND pads with whatever lies in memory (TensorFlow
# Lite's pads with the zero point).
LITERT_ALONE = [dilated_by_batches, tile]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_equals_both_engines(
    case: Callable[..., Any],
    seed: int,
    new_model: Any,
    run_c: Any,
    run_tflm: Any,
    run_litert: Any,
) -> None:
    rng = np.random.default_rng([seed, CASES.index(case)])
    tflite, x = case(new_model, rng)
    y = run_c(tflite, x, ("tflm", "litert")[seed % 2])
    np.testing.assert_array_equal(y, run_litert(tflite, x))
    if case not in LITERT_ALONE:
        np.testing.assert_array_equal(y, run_tflm(tflite, x))
