"""Every operator, randomised: the generated C equals the reference kernels in every element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from operator_cases import (
    Rng,
    random_geometry,
    random_inputs,
    random_int8,
    random_scale,
    random_zero,
)


def _convolution(
    builder: Any, rng: Rng, name: str, *, ones: bool = False, biased: bool = True
) -> Any:
    same = bool(rng.integers(0, 2))
    g = random_geometry(rng, same)
    if ones:
        g["kernel"], g["dilation"] = np.array([1, 1]), np.array([1, 1])
        g["out"] = -(-g["size"] // g["stride"])
    in_c = int(rng.choice([1, 2, 3, 4, 5, 8]))
    extra: dict[str, int] = {}
    if name == "DEPTHWISE_CONV_2D":
        out_c = in_c * int(rng.choice([1, 1, 2, 3]))
        shape, axis = (1, *g["kernel"], out_c), 3
        extra = {"depthMultiplier": out_c // in_c}
    else:
        groups = 2 if in_c % 2 == 0 and not ones and rng.random() < 0.25 else 1
        out_c = groups * int(rng.choice([1, 2, 3, 5]))
        shape, axis = (out_c, *g["kernel"], in_c // groups), 0
    taps = int(np.prod(shape)) // out_c
    x_scale, x_zero = random_scale(rng), random_zero(rng)
    per_channel = rng.random() < 0.8 or name == "DEPTHWISE_CONV_2D"
    scales = np.array(
        [random_scale(rng) for _ in range(out_c if per_channel else 1)], dtype=np.float32
    )
    y_scale = x_scale * float(scales.max()) * 74 * 74 * np.sqrt(taps) / rng.uniform(30, 200)
    model = builder()
    x = model.tensor((1, *g["size"], in_c), x_scale, x_zero)
    w = model.tensor(shape, scales, data=random_int8(rng, shape), axis=axis)
    inputs = [x, w]
    bias = rng.integers(-9000, 9000, out_c).astype(np.int32)
    if biased:
        inputs.append(
            model.tensor((out_c,), np.float32(x_scale) * scales, dtype="INT32", data=bias)
        )
    y = model.tensor((1, *g["out"], out_c), y_scale, random_zero(rng))
    kind = "DepthwiseConv2DOptions" if name == "DEPTHWISE_CONV_2D" else "Conv2DOptions"
    model.operator(
        name,
        inputs,
        [y],
        kind,
        padding=0 if same else 1,
        strideH=int(g["stride"][0]),
        strideW=int(g["stride"][1]),
        dilationHFactor=int(g["dilation"][0]),
        dilationWFactor=int(g["dilation"][1]),
        fusedActivationFunction=int(rng.choice([0, 1, 2, 3])),
        **extra,
    )
    return model.build([x], [y]), random_inputs(rng, *g["size"], in_c)


def conv(builder: Any, rng: Rng) -> Any:
    return _convolution(builder, rng, "CONV_2D")


def conv_without_bias(builder: Any, rng: Rng) -> Any:
    return _convolution(builder, rng, "CONV_2D", biased=False)


def conv_1x1(builder: Any, rng: Rng) -> Any:
    return _convolution(builder, rng, "CONV_2D", ones=True)


def depthwise(builder: Any, rng: Rng) -> Any:
    return _convolution(builder, rng, "DEPTHWISE_CONV_2D")


def dense(builder: Any, rng: Rng) -> Any:
    in_c, out_c = int(rng.integers(1, 70)), int(rng.integers(1, 12))
    x_scale = random_scale(rng)
    per_channel = rng.random() < 0.5
    scales = np.array(
        [random_scale(rng) for _ in range(out_c if per_channel else 1)], dtype=np.float32
    )
    model = builder()
    x = model.tensor((1, in_c), x_scale, random_zero(rng))
    w = model.tensor((out_c, in_c), scales, data=random_int8(rng, (out_c, in_c)))
    bias = rng.integers(-9000, 9000, out_c).astype(np.int32)
    b = model.tensor((out_c,), np.float32(x_scale) * scales, dtype="INT32", data=bias)
    y_scale = x_scale * float(scales.max()) * 74 * 74 * np.sqrt(in_c) / rng.uniform(30, 200)
    y = model.tensor((1, out_c), y_scale, random_zero(rng))
    model.operator(
        "FULLY_CONNECTED",
        [x, w, b] if rng.random() < 0.8 else [x, w, -1],
        [y],
        "FullyConnectedOptions",
        fusedActivationFunction=int(rng.choice([0, 1, 3])),
    )
    return model.build([x], [y]), random_inputs(rng, in_c)


def add(builder: Any, rng: Rng) -> Any:
    """x + (x - constant), x + x, or x + constant of a shorter shape."""
    shape = tuple(int(n) for n in rng.integers(1, 7, 3))
    x_scale = random_scale(rng)
    model = builder()
    x = model.tensor((1, *shape), x_scale, random_zero(rng))
    kind = int(rng.integers(0, 3))
    if kind == 0:
        other = model.tensor((1, *shape), x_scale * rng.uniform(0.2, 5), random_zero(rng))
        # not of x alone, or the sum would become a table of x
        values = model.tensor(shape, x_scale, random_zero(rng), data=random_int8(rng, shape))
        model.operator("SUB", [x, values], [other], "SubOptions")
    elif kind == 1:
        other = x
    else:
        tail = shape[int(rng.integers(0, 3)) :]
        other = model.tensor(tail, random_scale(rng), random_zero(rng), data=random_int8(rng, tail))
    y = model.tensor((1, *shape), x_scale * rng.uniform(0.3, 4), random_zero(rng))
    pair = [x, other] if rng.random() < 0.5 else [other, x]
    model.operator(
        "ADD", pair, [y], "AddOptions", fusedActivationFunction=int(rng.choice([0, 1, 3]))
    )
    return model.build([x], [y]), random_inputs(rng, *shape)


def _pool(builder: Any, rng: Rng, name: str) -> Any:
    same = bool(rng.integers(0, 2))
    g = random_geometry(rng, same)
    g["dilation"] = np.array([1, 1])
    size, kernel, stride = g["size"], g["kernel"], g["stride"]
    out = -(-size // stride) if same else (size - kernel) // stride + 1
    channels = int(rng.integers(1, 6))
    scale, zero = random_scale(rng), random_zero(rng)
    model = builder()
    x = model.tensor((1, *size, channels), scale, zero)
    y = model.tensor((1, *out, channels), scale, zero)
    model.operator(
        name,
        [x],
        [y],
        "Pool2DOptions",
        padding=0 if same else 1,
        strideH=int(stride[0]),
        strideW=int(stride[1]),
        filterHeight=int(kernel[0]),
        filterWidth=int(kernel[1]),
        fusedActivationFunction=int(rng.choice([0, 1, 3])),
    )
    return model.build([x], [y]), random_inputs(rng, *size, channels)


def average_pool(builder: Any, rng: Rng) -> Any:
    return _pool(builder, rng, "AVERAGE_POOL_2D")


def max_pool(builder: Any, rng: Rng) -> Any:
    return _pool(builder, rng, "MAX_POOL_2D")


def mean(builder: Any, rng: Rng) -> Any:
    shape = tuple(int(n) for n in rng.integers(1, 9, 3))
    axes = [[1, 2], [2, 1], [1], [3], [2, 3], [-2, -3]][int(rng.integers(0, 6))]
    scale, zero = random_scale(rng), random_zero(rng)
    keep = bool(rng.integers(0, 2))
    full = (1, *shape)
    gone = {a % 4 for a in axes}
    out = [1 if i in gone else n for i, n in enumerate(full) if keep or i not in gone]
    same = rng.random() < 0.5
    model = builder()
    x = model.tensor(full, scale, zero)
    axis = model.tensor((len(axes),), dtype="INT32", data=np.array(axes, dtype=np.int32))
    y_scale, y_zero = (scale, zero) if same else (scale * rng.uniform(0.3, 2), random_zero(rng))
    y = model.tensor(out, y_scale, y_zero)
    model.operator("MEAN", [x, axis], [y], "ReducerOptions", keepDims=keep)
    return model.build([x], [y]), random_inputs(rng, *shape)


def pad(builder: Any, rng: Rng) -> Any:
    shape = tuple(int(n) for n in rng.integers(1, 7, 3))
    amounts = np.zeros((4, 2), dtype=np.int32)
    amounts[1:] = rng.integers(0, 4, (3, 2))
    scale, zero = random_scale(rng), random_zero(rng)
    model = builder()
    x = model.tensor((1, *shape), scale, zero)
    p = model.tensor((4, 2), dtype="INT32", data=amounts)
    y = model.tensor(np.array([1, *shape]) + amounts.sum(axis=1), scale, zero)
    model.operator("PAD", [x, p], [y], "PadOptions")
    return model.build([x], [y]), random_inputs(rng, *shape)


def _single(builder: Any, rng: Rng, name: str, *, same: bool) -> Any:
    length = int(rng.integers(1, 300))
    scale, zero = random_scale(rng), random_zero(rng)
    model = builder()
    x = model.tensor((1, length), scale, zero)
    y_scale, y_zero = (scale, zero) if same else (scale * rng.uniform(0.3, 3), random_zero(rng))
    y = model.tensor((1, length), y_scale, y_zero)
    model.operator(name, [x], [y], "QuantizeOptions" if name == "QUANTIZE" else "")
    return model.build([x], [y]), random_inputs(rng, length)


def relu(builder: Any, rng: Rng) -> Any:
    return _single(builder, rng, "RELU", same=False)


def relu6(builder: Any, rng: Rng) -> Any:
    return _single(builder, rng, "RELU6", same=True)


def quantize(builder: Any, rng: Rng) -> Any:
    return _single(builder, rng, "QUANTIZE", same=False)


def softmax(builder: Any, rng: Rng) -> Any:
    depth = int(rng.choice([1, 2, 10, 12, 100, 400]))
    model = builder()
    x = model.tensor((1, depth), random_scale(rng, 0.001, 0.5), random_zero(rng))
    y = model.tensor((1, depth), 1 / 256, -128)
    model.operator("SOFTMAX", [x], [y], "SoftmaxOptions", beta=float(rng.choice([1.0, 0.5])))
    return model.build([x], [y]), random_inputs(rng, depth)


def reshape(builder: Any, rng: Rng) -> Any:
    h, w, c = (int(n) for n in rng.integers(1, 7, 3))
    scale, zero = random_scale(rng), random_zero(rng)
    model = builder()
    x = model.tensor((1, h, w, c), scale, zero)
    shape = np.array([1, h * w * c], dtype=np.int32)
    s = model.tensor((2,), dtype="INT32", data=shape)
    y = model.tensor(shape, scale, zero)
    model.operator("RESHAPE", [x, s], [y], "ReshapeOptions", newShape=[int(n) for n in shape])
    return model.build([x], [y]), random_inputs(rng, h, w, c)


CASES = [
    add,
    average_pool,
    conv,
    conv_1x1,
    dense,
    depthwise,
    max_pool,
    mean,
    pad,
    quantize,
    relu,
    relu6,
    reshape,
    softmax,
]


# LiteRT refuses an int8 convolution without a bias; the wheel crashes on a depthwise one.
TFLM_CASES = [*CASES, conv_without_bias]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("case", TFLM_CASES, ids=lambda c: c.__name__)
def test_equals_tflm(
    case: Callable[..., Any], seed: int, new_model: Any, run_c: Any, run_tflm: Any
) -> None:
    rng = np.random.default_rng([seed, TFLM_CASES.index(case)])
    tflite, x = case(new_model, rng)
    np.testing.assert_array_equal(run_c(tflite, x), run_tflm(tflite, x))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_litert_profile_equals_builtin_ref(
    case: Callable[..., Any], seed: int, new_model: Any, run_c: Any, run_litert: Any
) -> None:
    rng = np.random.default_rng([100 + seed, CASES.index(case)])
    tflite, x = case(new_model, rng)
    np.testing.assert_array_equal(run_c(tflite, x, "litert"), run_litert(tflite, x))


def test_the_two_profiles_differ_where_they_should(
    new_model: Any, run_c: Any, run_tflm: Any, run_litert: Any
) -> None:
    """One rounding or two in FULLY_CONNECTED: rare, but each profile follows its own engine."""
    rng = np.random.default_rng(7)
    model = new_model()
    source, target = model.tensor((1, 5), 0.1, 3), model.tensor((1, 4), 1.7331, -2)
    w = model.tensor((4, 5), 0.1, data=random_int8(rng, (4, 5)))
    b = model.tensor((4,), 0.01, dtype="INT32", data=np.zeros(4, dtype=np.int32))
    model.operator("FULLY_CONNECTED", [source, w, b], [target], "FullyConnectedOptions")
    tflite = model.build([source], [target])
    x = random_int8(rng, (2000, 5))
    twice, once = run_c(tflite, x, "tflm"), run_c(tflite, x, "litert")
    np.testing.assert_array_equal(twice, run_tflm(tflite, x))
    np.testing.assert_array_equal(once, run_litert(tflite, x))
    assert np.any(twice != once)


@pytest.mark.parametrize("channels", [1, 8])
def test_halves_that_are_met_exactly(
    channels: int, new_model: Any, run_c: Any, run_tflm: Any, run_litert: Any
) -> None:
    """A multiplier of a quarter: LiteRT's single rounding takes halves away from zero."""
    model = new_model()
    scales = np.full(channels, 2.0**-5, dtype=np.float32)
    source, target = model.tensor((1, 8), 2.0**-4, 0), model.tensor((1, 8), 2.0**-7, 0)
    w = model.tensor((8, 8), scales, data=np.eye(8, dtype=np.int8))
    b = model.tensor((8,), scales / 16, dtype="INT32", data=np.zeros(8, dtype=np.int32))
    model.operator("FULLY_CONNECTED", [source, w, b], [target], "FullyConnectedOptions")
    tflite = model.build([source], [target])
    x = np.array([[-14, -10, -6, -2, 2, 6, 10, 14]], dtype=np.int8)
    once = run_c(tflite, x, "litert")
    assert once.tolist() == [[-4, -3, -2, -1, 1, 2, 3, 4]]
    np.testing.assert_array_equal(once, run_litert(tflite, x))
    np.testing.assert_array_equal(run_c(tflite, x, "tflm"), run_tflm(tflite, x))
