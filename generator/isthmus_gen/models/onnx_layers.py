"""ONNX operators as Keras layers, one function each; ``READERS`` is the table.

Only layers are used, no Lambda and no free functions, so the model saves as ``.keras`` and every
tensor has the name that it had in the ONNX file.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from isthmus_gen.models.onnx_nodes import Array, Builder, Node, Value, window_pads
from isthmus_gen.models.onnx_shapes import SHAPE_READERS

__all__ = ["READERS"]

Reader = Callable[[Builder, Node], Value]


def _conv(build: Builder, node: Node) -> Value:
    x = node.ordered(0, (2, 3))
    kernel = node.weights(1)
    bias = node.constant(2)
    groups = int(node.attributes.get("group", 1))
    size = kernel.shape[2:]
    mode, pads, strides, dilations = window_pads(node, x.space, size)
    if max(strides) > 1 and max(dilations) > 1:
        raise node.refuse(f"strides {strides} with dilations {dilations}", allowed="one of the two")
    given = build.zeros(node, x, pads)
    common = {
        "kernel_size": tuple(size), "strides": tuple(strides), "padding": mode,
        "dilation_rate": tuple(dilations), "use_bias": bias is not None,
        "name": build.name(node.name),
    }  # fmt: skip
    layers, plane = build.layers, len(size) == 2
    spatial = tuple(range(2, kernel.ndim))
    if groups == x.shape[0] > 1:
        kind = layers.DepthwiseConv2D if plane else layers.DepthwiseConv1D
        if plane and strides[0] != strides[1]:
            raise node.refuse(f"depthwise with strides {strides}", allowed="equal strides")
        times = kernel.shape[0] // groups
        layer = kind(depth_multiplier=times, **common)
        turned = kernel.reshape(groups, times, *size).transpose(*spatial, 0, 1)
    else:
        kind = layers.Conv2D if plane else layers.Conv1D
        layer = kind(filters=kernel.shape[0], groups=groups, **common)
        turned = kernel.transpose(*spatial, 1, 0)
    weights = [turned] if bias is None else [turned, bias]
    return build.result(build.add(node, layer, given, weights=weights))


def _normalise(build: Builder, node: Node) -> Value:
    x = node.ordered()
    scale, shift, mean, variance = (node.weights(i) for i in (1, 2, 3, 4))
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    layer = build.layers.BatchNormalization(epsilon=epsilon, name=build.name(node.name))
    return build.result(build.add(node, layer, x.tensor, weights=[scale, shift, mean, variance]))


def _dense(build: Builder, node: Node) -> Value:
    x = node.value(0, (1,))
    weights, bias = node.weights(1), node.constant(2)
    factors = (node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0))
    if node.attributes.get("transA", 0) or factors != (1.0, 1.0):
        raise node.refuse("transA, alpha or beta", allowed="transA 0, alpha 1, beta 1")
    matrix = weights.T if node.attributes.get("transB", 0) else weights
    if x.flat:  # rows in the order C H W, features in the order H W C
        channels, *space = x.flat
        axes = (*range(1, len(x.flat)), 0, len(x.flat))
        matrix = matrix.reshape(channels, *space, -1).transpose(axes).reshape(matrix.shape)
    name = build.name(node.name)
    layer = build.layers.Dense(matrix.shape[1], use_bias=bias is not None, name=name)
    filled = [matrix] if bias is None else [matrix, np.broadcast_to(bias, (matrix.shape[1],))]
    return build.result(build.add(node, layer, x.tensor, weights=filled))


def _map(build: Builder, node: Node, layer: object, rectified: bool = False) -> Value:
    """A layer that maps each value by itself: flattened features keep their order."""
    x = node.value()
    return Value(build.add(node, layer, x.tensor), x.shape, x.flat, rectified)


def _activation(kind: str, rectified: bool = False) -> Reader:
    def read(build: Builder, node: Node) -> Value:
        layer = build.layers.Activation(kind, name=build.name(node.name))
        return _map(build, node, layer, rectified)

    return read


def _relu(build: Builder, node: Node) -> Value:
    return _map(build, node, build.layers.ReLU(name=build.name(node.name)), True)


def _leaky_relu(build: Builder, node: Node) -> Value:
    slope = float(node.attributes.get("alpha", 0.01))
    return _map(build, node, build.layers.LeakyReLU(slope, name=build.name(node.name)))


def _clip(build: Builder, node: Node) -> Value:
    def bound(name: str, position: int) -> float | None:
        found = node.attributes.get(name, node.constant(position))
        return None if found is None else float(np.asarray(found).reshape(()))

    low, high = bound("min", 1), bound("max", 2)
    if low != 0.0 or (high is not None and high <= 0):
        raise node.refuse(f"clips to {low} .. {high}", allowed="0 to a positive maximum")
    layer = build.layers.ReLU(max_value=high, name=build.name(node.name))
    return _map(build, node, layer, True)


def _prelu(build: Builder, node: Node) -> Value:
    x = node.ordered()
    slope = node.weights(1)
    shared = list(range(1, len(x.shape)))
    layer = build.layers.PReLU(shared_axes=shared or None, name=build.name(node.name))
    filled = np.broadcast_to(slope.reshape(-1), (x.shape[0],)).reshape(*[1] * len(shared), -1)
    return build.result(build.add(node, layer, x.tensor, weights=[filled]))


def _hard_sigmoid(build: Builder, node: Node) -> Value:
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    if abs(alpha - 1 / 6) > 1e-6 or beta != 0.5:
        raise node.refuse(f"alpha {alpha}, beta {beta}", allowed="alpha 1/6, beta 0.5")
    return _activation("hard_sigmoid", True)(build, node)


def _softmax(build: Builder, node: Node) -> Value:
    x = node.ordered()
    rank = len(x.shape) + 1
    axis = node.axis(int(node.attributes.get("axis", -1)), rank)
    layer = build.layers.Softmax(axis=axis, name=build.name(node.name))
    return build.result(build.add(node, layer, x.tensor), rectified=True)


def _per_channel(node: Node, x: Value, constant: Array) -> float | list[float]:
    """A constant operand as one number or one a channel."""
    if constant.size == 1:
        return float(constant.reshape(()))
    shape = (1,) * (len(x.shape) + 1 - constant.ndim) + constant.shape
    if x.flat or shape != (1, x.shape[0], *[1] * len(x.space)):
        raise node.refuse(
            f"a constant of the shape {constant.shape}", allowed="one number, or one a channel"
        )
    return [float(v) for v in constant.reshape(-1)]


def _with_constant(build: Builder, node: Node, x: Value, constant: Array, first: bool) -> Value:
    number = np.asarray(_per_channel(node, x, constant), dtype=np.float64)
    scale, offset = np.ones_like(number), np.zeros_like(number)
    if node.operator == "Mul":
        scale = number
    elif node.operator == "Div" and not first and bool(np.all(number)):
        scale = 1 / number
    elif node.operator == "Add":
        offset = number
    elif node.operator == "Sub":
        scale, offset = (-scale, number) if first else (scale, -number)
    else:
        raise node.refuse("divides a constant, or by zero", allowed="division by a constant")
    layer = build.layers.Rescaling(
        scale.tolist(), offset=offset.tolist(), name=build.name(node.name)
    )
    return Value(build.add(node, layer, x.tensor), x.shape, x.flat)


def _combine(build: Builder, node: Node) -> Value:
    """Add, Sub, Mul, Div of two tensors, or of a tensor and a constant."""
    left, right = node.inputs[:2]
    if isinstance(left, Value) and isinstance(right, Value):
        if left.flat != right.flat or len(left.shape) != len(right.shape):
            raise node.refuse(f"shapes {left.shape} and {right.shape}", allowed="equal ranks")
        kinds = {"Add": "Add", "Sub": "Subtract", "Mul": "Multiply"}
        if node.operator not in kinds:
            raise node.refuse("divides by a computed tensor", allowed="division by a constant")
        layer = getattr(build.layers, kinds[node.operator])(name=build.name(node.name))
        made = build.result(build.add(node, layer, left.tensor, right.tensor))
        both = left.rectified and right.rectified and node.operator != "Sub"
        return Value(made.tensor, made.shape, left.flat, both)
    if isinstance(left, Value) and right is not None:
        return _with_constant(build, node, left, np.asarray(right), False)
    if isinstance(right, Value) and left is not None:
        return _with_constant(build, node, right, np.asarray(left), True)
    raise node.refuse("an operand is left out")


def _concat(build: Builder, node: Node) -> Value:
    parts = [node.ordered(i) for i in range(len(node.inputs))]
    rank = len(parts[0].shape) + 1
    axis = node.axis(int(node.attributes.get("axis", 1)), rank)
    layer = build.layers.Concatenate(axis=axis, name=build.name(node.name))
    made = build.add(node, layer, *[part.tensor for part in parts])
    return build.result(made, rectified=all(part.rectified for part in parts))


def _same(build: Builder, node: Node) -> Value:
    return node.value()


READERS: dict[str, Reader] = {
    "Add": _combine,
    "BatchNormalization": _normalise,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _combine,
    "Dropout": _same,
    "Gemm": _dense,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _activation("hard_swish"),
    "Identity": _same,
    "LeakyRelu": _leaky_relu,
    "MatMul": _dense,
    "Mul": _combine,
    "PRelu": _prelu,
    "Relu": _relu,
    "Sigmoid": _activation("sigmoid", True),
    "Softmax": _softmax,
    "Sub": _combine,
    "Tanh": _activation("tanh"),
    **SHAPE_READERS,
}
