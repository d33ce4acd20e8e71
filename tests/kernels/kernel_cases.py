"""Layers at random, one operator each, and the outputs that an engine gives for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "front"))

from engines import litert_outputs, tflm_outputs
from model_builder import ModelBuilder
from operator_cases import Rng, random_int8, random_scale, random_zero

from isthmus_gen.front.flatbuffer import Graph, read_graph
from isthmus_gen.front.layers import Layer
from isthmus_gen.front.operators import OPERATORS, Request

SAMPLES = 2
MACS_MOST = 60_000
WEIGHTS_MOST = 60_000

# Widths of planes around those that have instructions of their own, and of vectors.
WIDTHS = (
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    12,
    13,
    14,
    15,
    16,
    17,
    28,
    29,
    30,
    31,
    32,
    33,
    61,
    62,
    63,
    64,
    70,
)


@dataclass(frozen=True)
class Case:
    """One layer: ``inputs`` int8 [samples, elements] by tensor, ``wanted`` likewise."""

    number: int
    graph: Graph
    layer: Layer
    inputs: dict[int, np.ndarray]
    wanted: np.ndarray


@dataclass(frozen=True)
class _Numbers:
    """Scales, zero points, bias and weights of a layer with weights."""

    x_scale: float
    x_zero: int
    scales: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    y_scale: float
    y_zero: int
    activation: int


def _numbers(rng: Rng, shape: tuple[int, ...], filters: int, *, each: bool) -> _Numbers:
    """At random, so that every mode of a layer's end comes up, and sums that are ties."""
    taps = int(np.prod(shape)) // filters
    weights = random_int8(rng, shape)
    weights[weights == -128] = -127
    x_scale = random_scale(rng)
    count = filters if each else 1
    scales = np.array([random_scale(rng) for _ in range(count)], dtype=np.float32)
    y_scale = x_scale * float(scales.max()) * 74 * 74 * np.sqrt(taps) / rng.uniform(30, 200)
    bias = rng.integers(-9000, 9000, filters)
    form = rng.random()
    if form < 0.35:
        # Powers of two: the multiplier is one half, and halves are often exactly met.
        x_scale = 2.0 ** -int(rng.integers(3, 7))
        scales = np.array([2.0 ** -int(rng.integers(4, 8)) for _ in range(count)], dtype=np.float32)
        if rng.random() < 0.5:
            y_scale = x_scale * float(scales.max()) * 2.0 ** int(rng.integers(-1, 5))
            weights = np.sign(weights) * (np.abs(weights) % 3)
            bias = rng.integers(-20, 21, filters)
        else:
            y_scale = 2.0 ** round(np.log2(y_scale))
    elif form < 0.42:
        bias[rng.integers(0, filters)] = int(rng.integers(-(2**30), 2**30))
    elif form < 0.48:
        bias = rng.integers(-(2**29), 2**29, filters)
        y_scale *= 2.0**10
    y_zero = -128 if rng.random() < 0.4 else random_zero(rng)
    activation = int(rng.choice([0, 0, 0, 0, 1, 1, 2, 3]))
    return _Numbers(
        x_scale=x_scale,
        x_zero=random_zero(rng),
        scales=scales,
        weights=weights.astype(np.int8),
        bias=bias.astype(np.int32),
        y_scale=y_scale,
        y_zero=y_zero,
        activation=activation,
    )


def _inputs(rng: Rng, elements: int) -> np.ndarray:
    """Noise, and a narrow band or an extreme."""
    x = random_int8(rng, (SAMPLES, elements))
    kind = rng.random()
    if kind < 0.4:
        x[1] = np.clip(x[1] // 16 + int(rng.integers(-100, 100)), -128, 127)
    elif kind < 0.6:
        x[1] = int(rng.choice([-128, 127]))
    return x


Built = tuple[ModelBuilder, list[int], int]


def _with_weights(
    rng: Rng,
    name: str,
    size: Sequence[int],
    out: Sequence[int],
    shape: tuple[int, ...],
    axis: int,
    *,
    each: bool = True,
    biased: bool = True,
    **options: Any,
) -> Built:
    filters = shape[axis]
    n = _numbers(rng, shape, filters, each=each)
    model = ModelBuilder()
    x = model.tensor(size, n.x_scale, n.x_zero)
    w = model.tensor(shape, n.scales, data=n.weights, axis=axis)
    scales = np.float32(n.x_scale) * n.scales
    b = model.tensor((filters,), scales, dtype="INT32", data=n.bias) if biased else -1
    y = model.tensor(out, n.y_scale, n.y_zero)
    kind = {
        "CONV_2D": "Conv2D",
        "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
        "FULLY_CONNECTED": "FullyConnected",
    }[name]
    model.operator(
        name, [x, w, b], [y], f"{kind}Options", fusedActivationFunction=n.activation, **options
    )
    return model, [x], y


def _pair(rng: Rng, low: int, high: int) -> np.ndarray:
    return rng.integers(low, high + 1, 2)


@dataclass
class _Moves:
    """Kernel, stride, dilation and sizes, pairs of height and width."""

    kernel: np.ndarray
    stride: np.ndarray
    dilation: np.ndarray
    size: np.ndarray
    same: bool

    @property
    def out(self) -> np.ndarray:
        """The output's height and width."""
        if self.same:
            return -(-self.size // self.stride)
        reach = (self.kernel - 1) * self.dilation + 1
        return (self.size - reach) // self.stride + 1

    def options(self) -> dict[str, int]:
        """As the operators' options name them."""
        return {
            "padding": 0 if self.same else 1,
            "strideH": int(self.stride[0]),
            "strideW": int(self.stride[1]),
            "dilationHFactor": int(self.dilation[0]),
            "dilationWFactor": int(self.dilation[1]),
        }


def _moves(rng: Rng, largest: int, sizes: int, threes: float = 0.4) -> _Moves:
    kernel = _pair(rng, 1, largest)
    if rng.random() < threes:
        kernel[:] = 3
    dilated = rng.random() < 0.2
    # A schema rule of the converter: dilation and stride exclude each other.
    dilation = _pair(rng, 1, 3) if dilated else np.array([1, 1])
    stride = np.array([1, 1]) if dilated or rng.random() < 0.5 else _pair(rng, 1, 4)
    same = bool(rng.random() < 0.6)
    reach = (kernel - 1) * dilation + 1
    size = _pair(rng, 1, sizes) if same else reach + _pair(rng, 0, sizes - 1)
    return _Moves(kernel, stride, dilation, size, same)


def conv(rng: Rng) -> Built:
    """CONV_2D of any form."""
    while True:
        m = _moves(rng, 7, 9)
        groups = int(rng.choice([1, 1, 1, 1, 2, 3, 4]))
        in_c = groups * int(rng.integers(1, 40 // groups + 1))
        out_c = groups * int(rng.integers(1, 40 // groups + 1))
        shape = (out_c, *map(int, m.kernel), in_c // groups)
        if np.prod(shape) <= WEIGHTS_MOST and np.prod(shape) * np.prod(m.out) <= MACS_MOST:
            break
    size, out = (1, *m.size, in_c), (1, *m.out, out_c)
    return _with_weights(
        rng, "CONV_2D", size, out, shape, 0, each=rng.random() < 0.8, **m.options()
    )


def conv_1x1(rng: Rng) -> Built:
    """CONV_2D of one tap: any stride, odd and even numbers of positions."""
    m = _moves(rng, 1, 9)
    m.kernel = m.dilation = np.array([1, 1])
    m.same = True
    in_c, out_c = (int(n) for n in _pair(rng, 1, 40))
    shape = (out_c, 1, 1, in_c)
    size, out = (1, *m.size, in_c), (1, *m.out, out_c)
    return _with_weights(
        rng, "CONV_2D", size, out, shape, 0, each=rng.random() < 0.8, **m.options()
    )


def _depthwise(rng: Rng, m: _Moves, channels: int, multiplier: int) -> Built:
    out_c = channels * multiplier
    shape = (1, *map(int, m.kernel), out_c)
    return _with_weights(
        rng,
        "DEPTHWISE_CONV_2D",
        (1, *m.size, channels),
        (1, *m.out, out_c),
        shape,
        3,
        depthMultiplier=multiplier,
        **m.options(),
    )


def depthwise(rng: Rng) -> Built:
    """DEPTHWISE_CONV_2D of any form."""
    multiplier = int(rng.choice([1, 1, 2, 3]))
    return _depthwise(rng, _moves(rng, 7, 12, threes=0.1), int(rng.integers(1, 13)), multiplier)


def depthwise_3x3(rng: Rng) -> Built:
    """3x3 over wide and high pictures, with strides of 1, 2 and 3."""
    stride = int(rng.choice([1, 1, 1, 2, 2, 2, 3]))
    size = np.array([int(rng.integers(1, 9)), int(rng.choice(WIDTHS))])
    if rng.random() < (0.5 if stride == 1 else 0.2):  # a high one may be turned
        size = size[::-1].copy()
    same = bool(rng.random() < 0.7)
    ones = np.array([1, 1])
    m = _Moves(np.array([3, 3]), ones * stride, ones, size if same else size + 2, same)
    multiplier = int(rng.choice([1, 1, 1, 1, 2, 3]))
    return _depthwise(rng, m, int(rng.choice([1, 2, 3, 4, 5, 8])), multiplier)


def dense(rng: Rng) -> Built:
    """FULLY_CONNECTED of one row or several."""
    in_c, out_c = int(rng.integers(1, 140)), int(rng.integers(1, 41))
    rows = int(rng.choice([1, 1, 1, 2, 5]))
    between = (rows,) if rows > 1 else ()
    return _with_weights(
        rng,
        "FULLY_CONNECTED",
        (1, *between, in_c),
        (1, *between, out_c),
        (out_c, in_c),
        0,
        each=rng.random() < 0.5,
        keepNumDims=rows > 1,
    )


def transpose_conv(rng: Rng) -> Built:
    """TRANSPOSE_CONV, whose phases are matrix products."""
    size, kernel, stride = _pair(rng, 1, 6), _pair(rng, 1, 4), _pair(rng, 1, 3)
    same = bool(rng.integers(0, 2))
    out = size * stride if same else (size - 1) * stride + kernel
    in_c, out_c = (int(n) for n in _pair(rng, 1, 12))
    shape = (out_c, int(kernel[0]), int(kernel[1]), in_c)
    n = _numbers(rng, shape, out_c, each=True)
    model = ModelBuilder()
    x = model.tensor((1, *size, in_c), n.x_scale, n.x_zero)
    w = model.tensor(shape, n.scales, data=n.weights)
    full = (1, *(int(m) for m in out), out_c)
    s = model.tensor((4,), dtype="INT32", data=np.array(full, dtype=np.int32))
    scales = np.float32(n.x_scale) * n.scales
    b = model.tensor((out_c,), scales, dtype="INT32", data=n.bias)
    y = model.tensor(full, n.y_scale, n.y_zero)
    strides = {"strideH": int(stride[0]), "strideW": int(stride[1])}
    inputs, padding = [s, w, x, b], 0 if same else 1
    kind = "TransposeConvOptions"
    model.operator("TRANSPOSE_CONV", inputs, [y], kind, padding=padding, **strides)
    return model, [x], y


def _element_wise(rng: Rng, name: str) -> Built:
    """Two tensors, or a tensor and a constant, of shapes that stretch to each other."""
    shape = tuple(int(n) for n in rng.integers(1, 12, 3))
    forms = [shape, shape, (1, 1, shape[2]), (*shape[:2], 1), (1, shape[1], 1), (shape[0], 1, 1)]
    other = forms[int(rng.integers(0, len(forms)))]
    model = ModelBuilder()
    scale = random_scale(rng)
    powers = rng.random() < 0.3
    second = scale * (2.0 ** int(rng.integers(-3, 4)) if powers else rng.uniform(0.2, 5))
    a = model.tensor((1, *shape), scale, random_zero(rng))
    constant = name == "PRELU" or rng.random() < 0.4
    full = other if name == "PRELU" else (1, *other)
    data = random_int8(rng, full) if constant else None
    b = model.tensor(full, second, random_zero(rng), data=data)
    y_scale = scale * (2.0 ** int(rng.integers(-2, 4)) if powers else rng.uniform(0.3, 4))
    if name in ("MUL", "PRELU"):
        y_scale *= second * float(rng.choice([1, 20, 120]))
    y = model.tensor((1, *shape), y_scale, random_zero(rng))
    options = {} if name == "PRELU" else {"fusedActivationFunction": int(rng.choice([0, 0, 1, 3]))}
    kind = "" if name == "PRELU" else f"{name.title()}Options"
    pair = [a, b] if name == "PRELU" or rng.random() < 0.5 else [b, a]
    model.operator(name, pair, [y], kind, **options)
    return model, [t for t in pair if t == a or not constant], y


def _pool(rng: Rng, name: str) -> Built:
    m = _moves(rng, 7, 12)
    m.dilation = np.array([1, 1])
    channels = int(rng.integers(1, 41))
    scale, zero = random_scale(rng), random_zero(rng)
    model = ModelBuilder()
    x = model.tensor((1, *m.size, channels), scale, zero)
    y = model.tensor((1, *m.out, channels), scale, zero)
    options = {key: n for key, n in m.options().items() if not key.startswith("dilation")}
    kernel = {"filterHeight": int(m.kernel[0]), "filterWidth": int(m.kernel[1])}
    activation = int(rng.choice([0, 0, 1, 3]))
    kind = "Pool2DOptions"
    model.operator(name, [x], [y], kind, **options, **kernel, fusedActivationFunction=activation)
    return model, [x], y


def average_pool(rng: Rng) -> Built:
    """AVERAGE_POOL_2D."""
    return _pool(rng, "AVERAGE_POOL_2D")


def max_pool(rng: Rng) -> Built:
    """MAX_POOL_2D."""
    return _pool(rng, "MAX_POOL_2D")


def add(rng: Rng) -> Built:
    """ADD."""
    return _element_wise(rng, "ADD")


def sub(rng: Rng) -> Built:
    """SUB."""
    return _element_wise(rng, "SUB")


def mul(rng: Rng) -> Built:
    """MUL."""
    return _element_wise(rng, "MUL")


def prelu(rng: Rng) -> Built:
    """PRELU."""
    return _element_wise(rng, "PRELU")


FAMILIES: tuple[Callable[[Rng], Built], ...] = (
    conv,
    conv_1x1,
    conv,
    depthwise,
    depthwise_3x3,
    depthwise_3x3,
    dense,
    add,
    mul,
    conv,
    conv_1x1,
    depthwise,
    depthwise_3x3,
    sub,
    dense,
    prelu,
    transpose_conv,
    average_pool,
    max_pool,
)


def make_case(number: int) -> Case:
    """Case ``number``: odd ones are LiteRT's (and its rounding), even ones tflite-micro's."""
    rng = np.random.default_rng([20_000, number])
    model, tensors, y = FAMILIES[number // 2 % len(FAMILIES)](rng)
    tflite = model.build(tensors, [y])
    graph = read_graph(tflite)
    operator = graph.operators[0]
    rounding = "litert" if number % 2 else "tflm"
    lowered = OPERATORS[operator.name].lower(Request(graph, operator, rounding))
    layer = lowered if isinstance(lowered, Layer) else lowered[0]
    inputs = {t: _inputs(rng, graph.tensors[t].elements) for t in graph.inputs}
    outputs = litert_outputs if number % 2 else tflm_outputs
    wanted = outputs(tflite, *(inputs[t] for t in graph.inputs))
    return Case(number, graph, layer, inputs, wanted)
