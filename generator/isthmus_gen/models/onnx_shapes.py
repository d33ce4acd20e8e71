"""ONNX operators that pool, pad, slice, resize and flatten, as Keras layers."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from isthmus_gen.models.onnx_nodes import Builder, Node, Value, window_pads

__all__ = ["SHAPE_READERS"]

Reader = Callable[[Builder, Node], Value]


def _pool(build: Builder, node: Node) -> Value:
    x = node.ordered(0, (2, 3))
    size = [int(n) for n in node.attributes["kernel_shape"]]
    mode, pads, strides, dilations = window_pads(node, x.space, size)
    if max(dilations) > 1:
        raise node.refuse(f"dilations {dilations}", allowed="1")
    if node.attributes.get("ceil_mode", 0):
        rest = [
            (n + sum(pad) - k) % s
            for n, pad, k, s in zip(x.space, pads, size, strides, strict=True)
        ]
        if mode != "same" and any(rest):
            raise node.refuse("ceil_mode that adds an output", allowed="ceil_mode 0")
    padded = any(pair != (0, 0) for pair in pads)
    average = node.operator == "AveragePool"
    counted = bool(node.attributes.get("count_include_pad", 0))
    if average and mode == "same" and counted:
        raise node.refuse("count_include_pad with these pads", allowed="count_include_pad 0")
    if padded and not (counted if average else x.rectified):
        raise node.refuse(
            f"pads {pads}",
            allowed="those of SAME, pads that are counted (average), or after a ReLU (maximum)",
        )
    kind = f"{'Average' if average else 'Max'}Pooling{len(size)}D"
    layer = getattr(build.layers, kind)(
        tuple(size), strides=tuple(strides), padding=mode, name=build.name(node.name)
    )
    made = build.add(node, layer, build.zeros(node, x, pads))
    return build.result(made, rectified=x.rectified)


def _global_pool(build: Builder, node: Node) -> Value:
    x = node.ordered(0, (2, 3))
    keep = True
    if node.operator == "ReduceMean":
        rank = len(x.shape) + 1
        axes = sorted(n % rank for n in node.integers("axes", 1, None))
        keep = bool(node.attributes.get("keepdims", 1))
        if axes != list(range(2, rank)):
            raise node.refuse(f"reduces the axes {axes}", allowed=f"{list(range(2, rank))}")
    kind = "Max" if node.operator == "GlobalMaxPool" else "Average"
    layer = getattr(build.layers, f"Global{kind}Pooling{len(x.space)}D")(
        keepdims=keep, name=build.name(node.name)
    )
    return build.result(build.add(node, layer, x.tensor), rectified=x.rectified)


def _flat(build: Builder, node: Node) -> Value:
    x = node.ordered()
    if len(x.shape) == 1:
        return x
    layer = build.layers.Flatten(name=build.name(node.name))
    order = x.shape if x.shape[0] > 1 and prod(x.space) > 1 else ()
    return Value(build.add(node, layer, x.tensor), (prod(x.shape),), order, x.rectified)


def _flatten(build: Builder, node: Node) -> Value:
    if int(node.attributes.get("axis", 1)) != 1:
        raise node.refuse(f"axis {node.attributes['axis']}", allowed="1")
    return _flat(build, node)


def _reshape(build: Builder, node: Node) -> Value:
    x = node.value()
    wanted = [int(n) for n in node.weights(1).reshape(-1)]
    if len(wanted) != 2 or wanted[1] not in (-1, prod(x.shape)):
        raise node.refuse(f"to the shape {wanted}", allowed="(batch, features)")
    return _flat(build, node)


def _squeeze(build: Builder, node: Node) -> Value:
    x = node.ordered(0, (2, 3))
    rank = len(x.shape) + 1
    axes = sorted(n % rank for n in node.integers("axes", 1, ()))
    if axes != list(range(2, rank)) or prod(x.space) != 1:
        raise node.refuse(f"squeezes the axes {axes} of {x.shape}", allowed="all of space, size 1")
    return _flat(build, node)


def _pad(build: Builder, node: Node) -> Value:
    x = node.ordered(0, (3,))
    mode = node.attributes.get("mode", b"constant")
    value = node.attributes.get("value", node.constant(2))
    flat = node.integers("pads", 1, None)
    if mode not in (b"constant", "constant") or (value is not None and np.any(value)):
        raise node.refuse("pads with other values than zero", allowed="mode constant, value 0")
    if len(flat) != 8 or min(flat) < 0 or flat[0] or flat[4]:
        raise node.refuse(f"pads {flat}", allowed="8 pads, none negative, none on the batch")
    channels, *space = zip(flat[1:4], flat[5:8], strict=True)
    given = build.zeros(node, x, space)
    if channels == (0, 0):
        return Value(given, (x.shape[0], *(int(n) for n in given.shape[1:3])), (), x.rectified)
    # Told that channels come first, the layer pads its last two axes, whatever they are: here W
    # and C. There is no layer that pads channels by name, and free functions have no stable names.
    layer = build.layers.ZeroPadding2D(
        ((0, 0), channels), data_format="channels_first", name=build.name(node.name)
    )
    return build.result(build.add(node, layer, given), rectified=x.rectified)


def _slice(build: Builder, node: Node) -> Value:
    """A crop, then every n-th position: max pooling of one element, which moves values only."""
    x = node.ordered(0, (3,))
    starts = node.integers("starts", 1, None)
    ends = node.integers("ends", 2, None)
    axes = node.integers("axes", 3, range(len(starts)))
    steps = node.integers("steps", 4, [1] * len(starts))
    crop, stride = [(0, 0), (0, 0)], [1, 1]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis % 4
        size = 0 if place == 0 else x.shape[place - 1]
        first, last, _ = slice(start, end).indices(size)
        if (first, last) == (0, size) and step == 1:
            continue
        if place < 2 or step < 1 or last <= first:
            raise node.refuse(
                f"axis {axis} from {start} to {end} in steps of {step}",
                allowed="height and width, steps above 0",
            )
        crop[place - 2], stride[place - 2] = (first, size - last), step
    given, layers = x.tensor, build.layers
    if crop != [(0, 0), (0, 0)]:
        last_step = stride == [1, 1]
        name = build.name(node.name if last_step else f"{node.name}_crop")
        given = build.add(node, layers.Cropping2D(tuple(crop), name=name), given)
    if stride != [1, 1]:
        layer = layers.MaxPooling2D(1, strides=tuple(stride), name=build.name(node.name))
        given = build.add(node, layer, given)
    return build.result(given, rectified=x.rectified)


def _resize(build: Builder, node: Node) -> Value:
    x = node.ordered(0, (3,))
    factors = _factors(node, x)
    mode = _text(node, "mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise node.refuse(f"mode {mode}", allowed="nearest, linear")
    old = node.operator == "Upsample"
    where = _text(node, "coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    # By whole factors these take the same neighbours: the centre of each source element.
    nearest = _text(node, "nearest_mode", "floor" if old else "round_prefer_floor")
    halves = ("half_pixel", "pytorch_half_pixel")
    fits = (
        (where in halves and nearest.startswith("round"))
        or (where == "asymmetric" and nearest == "floor")
        if mode == "nearest"
        else where in halves
    )
    if not fits:
        raise node.refuse(
            f"{mode} with {where} coordinates",
            allowed="half_pixel, or nearest with asymmetric and floor",
        )
    # UpSampling2D becomes TILE, which the reference engines do not have; this becomes a resize.
    height, width = (n * factor for n, factor in zip(x.space, factors, strict=True))
    kind = "nearest" if mode == "nearest" else "bilinear"
    layer = build.layers.Resizing(height, width, interpolation=kind, name=build.name(node.name))
    return build.result(build.add(node, layer, x.tensor), rectified=x.rectified)


def _factors(node: Node, x: Value) -> tuple[int, int]:
    """Whole factors of height and width, from ``scales`` or from ``sizes``."""
    scales: Any = node.attributes.get("scales")
    if scales is None:
        scales = node.constant(1 if node.operator == "Upsample" or len(node.inputs) == 2 else 2)
    sizes = node.constant(3)
    if sizes is not None and sizes.size == 4:
        scales = [1.0, *(float(n) / m for n, m in zip(sizes[1:], x.shape, strict=True))]
    found = [] if scales is None else [float(v) for v in np.asarray(scales).reshape(-1)]
    whole = [int(v) for v in found]
    if len(found) != 4 or found != whole or whole[:2] != [1, 1] or min(whole) < 1:
        raise node.refuse(f"scales {found}", allowed="1, 1 and two whole factors")
    return whole[2], whole[3]


def _text(node: Node, name: str, default: str) -> str:
    found = node.attributes.get(name, default)
    return found.decode() if isinstance(found, bytes) else str(found)


SHAPE_READERS: dict[str, Reader] = {
    "AveragePool": _pool,
    "Flatten": _flatten,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "MaxPool": _pool,
    "Pad": _pad,
    "ReduceMean": _global_pool,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Upsample": _resize,
}
