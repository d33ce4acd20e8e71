"""Operators that only move elements: slices, splits, concatenations, transpositions, repetitions.

Each becomes copies between two strided views of one shape. Neighbouring axes are merged, so that
the runs of the kernel are long and its four loops are enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isthmus_gen.front.flatbuffer import Tensor
from isthmus_gen.front.layers import Array, Layer, Ref, Struct
from isthmus_gen.front.operators.base import Request

__all__ = [
    "View",
    "copy_layer",
    "lower_batches",
    "lower_concatenation",
    "lower_depth_to_space",
    "lower_pack",
    "lower_slice",
    "lower_space_to_depth",
    "lower_split",
    "lower_split_v",
    "lower_strided_slice",
    "lower_tile",
    "lower_transpose",
    "lower_unpack",
    "merged_axes",
]

_AXES = 4


@dataclass(frozen=True)
class View:
    """Some elements of a tensor: the first one, and the step along each axis (0 repeats)."""

    start: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> View:
        """Every element of a tensor of that shape.

        >>> View.whole((2, 3, 4)).steps
        (12, 4, 1)
        """
        steps = [1] * len(shape)
        for axis in range(len(shape) - 2, -1, -1):
            steps[axis] = steps[axis + 1] * shape[axis + 1]
        return cls(0, shape, tuple(steps))

    def cut(self, axis: int, begin: int, size: int, step: int = 1) -> View:
        """``size`` indices of ``axis`` from ``begin`` on."""
        shape, steps = list(self.shape), list(self.steps)
        start = self.start + begin * steps[axis]
        shape[axis], steps[axis] = size, steps[axis] * step
        return View(start, tuple(shape), tuple(steps))

    def drop(self, axes: set[int]) -> View:
        """Without ``axes``, each of size 1."""
        kept = [i for i in range(len(self.shape)) if i not in axes]
        return View(
            self.start, tuple(self.shape[i] for i in kept), tuple(self.steps[i] for i in kept)
        )

    def order(self, axes: tuple[int, ...]) -> View:
        """The axes in another order."""
        return View(
            self.start, tuple(self.shape[i] for i in axes), tuple(self.steps[i] for i in axes)
        )


def merged_axes(
    shape: tuple[int, ...], *steps: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """The same walk over fewer axes: those of size 1 dropped, neighbours merged where all can.

    >>> merged_axes((1, 4, 2, 3), (24, 6, 3, 1), (48, 12, 3, 1))
    ((4, 6), ((6, 1), (12, 1)))
    """
    sizes: list[int] = []
    kept: list[list[int]] = [[] for _ in steps]
    for axis in range(len(shape) - 1, -1, -1):
        size = shape[axis]
        if size == 1:
            continue
        if sizes and all(s[axis] == k[0] * sizes[0] for s, k in zip(steps, kept, strict=True)):
            sizes[0] *= size
            continue
        sizes.insert(0, size)
        for target, step in zip(kept, steps, strict=True):
            target.insert(0, step[axis])
    return tuple(sizes), tuple(tuple(k) for k in kept)


def _forward(sizes: tuple[int, ...], x_steps: tuple[int, ...], y: View, target: Tensor) -> bool:
    """Whether all of ``target`` is written in order, from elements of x in their order.

    Element p of the output then lies at or before the one that it is read from.
    """
    nested = (s * n for s, n in zip(x_steps[1:], sizes[1:], strict=True))
    return (
        y == View.whole(target.shape)
        and all(step > 0 for step in x_steps)
        and all(outer >= inner for outer, inner in zip(x_steps, nested, strict=False))
    )


def copy_layer(request: Request, source: Tensor, x: View, target: Tensor, y: View) -> Layer:
    """The layer that copies ``x`` of ``source`` to ``y`` of ``target``: a view where nothing moves.

    Raises ModelOperatorError where the two differ in shape or quantisation, or where the walk needs
    more loops than the kernel has.
    """
    if x.shape != y.shape:
        raise request.refuse(f"the output has the shape {y.shape}", allowed=str(x.shape))
    request.same_quantisation(source, target)
    sizes, (x_steps, y_steps) = merged_axes(x.shape, x.steps, y.steps)
    place: dict[str, Any] = {"operator": request.operator.name, "place": request.operator.place}
    operand: int | Ref = source.index
    arrays: tuple[Array, ...] = ()
    if source.data is not None:
        operand = Ref("operand")
        arrays = (Array("operand", "int8_t", source.data.reshape(-1), 1),)
    elif source.elements == target.elements and (x_steps, y_steps) in (((), ()), ((1,), (1,))):
        return Layer(inputs=(source.index,), output=target.index, view=True, **place)
    if len(sizes) > _AXES:
        raise request.refuse(
            f"{len(sizes)} axes that cannot be merged, from {source.shape} to {target.shape}",
            allowed=f"up to {_AXES}",
        )
    lead = _AXES - len(sizes)
    return Layer(
        **place,
        inputs=(operand,),
        output=target.index,
        kernel="isth_k_copy",
        files=("isth_k_common.h", "isth_k_run.h", "isth_k_copy.h", "isth_k_copy.c"),
        ctype="isth_k_copy_layer",
        params=(
            ("from", x.start),
            ("to", y.start),
            ("size", Struct((1,) * lead + sizes)),
            ("x_step", Struct((1,) * lead + x_steps)),
            ("y_step", Struct((1,) * lead + y_steps)),
        ),
        arrays=arrays,
        in_place=(source.index,) if _forward(sizes, x_steps, y, target) and not arrays else (),
    )


def _axis(request: Request, value: int, rank: int) -> int:
    if not -rank <= value < rank:
        raise request.refuse(f"the axis {value}", allowed=f"{-rank} to {rank - 1}")
    return value % rank


def _outputs(request: Request) -> list[Tensor]:
    return [request.int8(request.tensor(i), "output") for i in request.operator.outputs]


def _is_read(request: Request, tensor: Tensor) -> bool:
    graph = request.graph
    return tensor.index in graph.outputs or any(tensor.index in o.inputs for o in graph.operators)


def _begin_and_size(x: Tensor, begin: list[int], size: list[int]) -> list[int]:
    return [n - b if s == -1 else s for n, b, s in zip(x.shape, begin, size, strict=True)]


def lower_slice(request: Request) -> Layer:
    """SLICE with constant begin and size; -1 is the rest of an axis."""
    x, y = request.input(), request.output()
    begin, size = request.integers(1, "begin"), request.integers(2, "size")
    if not len(begin) == len(size) == len(x.shape):
        raise request.refuse(f"begin {begin} and size {size} for {len(x.shape)} axes")
    size = _begin_and_size(x, begin, size)
    view = View.whole(x.shape)
    for axis, (first, count) in enumerate(zip(begin, size, strict=True)):
        if first < 0 or count < 1 or first + count > x.shape[axis]:
            raise request.refuse(f"begin {begin} and size {size}", allowed=f"inside {x.shape}")
        view = view.cut(axis, first, count)
    return copy_layer(request, x, view, y, View.whole(y.shape))


def lower_strided_slice(request: Request) -> Layer:
    """STRIDED_SLICE with constant begin, end and strides; begin, end and shrink masks."""
    x, y = request.input(), request.output()
    begin, end, strides = (
        request.integers(position, role)
        for position, role in ((1, "begin"), (2, "end"), (3, "list of strides"))
    )
    if not len(begin) == len(end) == len(strides) == len(x.shape):
        raise request.refuse(f"begin {begin} for {len(x.shape)} axes", allowed="one entry an axis")
    for option in ("ellipsisMask", "newAxisMask", "offset"):
        if int(request.option(option)):
            raise request.refuse(f"the option {option}", allowed="begin, end and shrink masks")
    begin_mask, end_mask, shrink = (
        int(request.option(name)) for name in ("beginMask", "endMask", "shrinkAxisMask")
    )
    view, gone = View.whole(x.shape), set()
    for axis, size in enumerate(x.shape):
        bit = 1 << axis
        first: int | None = None if begin_mask & bit else begin[axis]
        last: int | None = None if end_mask & bit else end[axis]
        step = strides[axis]
        if shrink & bit:
            gone.add(axis)
            position = begin[axis] + size if begin[axis] < 0 else begin[axis]
            if begin_mask & bit or step < 1 or not 0 <= position < size:
                raise request.refuse(f"the index {begin[axis]} of an axis of {size}")
            first, last, step = position, position + 1, 1
        if step == 0:
            raise request.refuse("a stride of 0")
        taken = range(*slice(first, last, step).indices(size))
        if not taken:
            raise request.refuse(f"nothing is left of axis {axis}")
        view = view.cut(axis, taken.start, len(taken), step)
    return copy_layer(request, x, view.drop(gone), y, View.whole(y.shape))


def _split(request: Request, x: Tensor, axis: int, sizes: list[int]) -> tuple[Layer, ...]:
    outputs = _outputs(request)
    if len(sizes) != len(outputs) or min(sizes) < 1 or sum(sizes) != x.shape[axis]:
        raise request.refuse(f"sizes {sizes} for {len(outputs)} outputs and axis {x.shape[axis]}")
    layers, begin = [], 0
    for y, size in zip(outputs, sizes, strict=True):
        if _is_read(request, y):
            view = View.whole(x.shape).cut(axis, begin, size)
            layers.append(copy_layer(request, x, view, y, View.whole(y.shape)))
        begin += size
    return tuple(layers)


def _one(request: Request, position: int, role: str) -> int:
    found = request.integers(position, role)
    if len(found) != 1:
        raise request.refuse(f"{len(found)} entries in the {role}", allowed="one")
    return found[0]


def lower_split(request: Request) -> tuple[Layer, ...]:
    """SPLIT into equal parts; parts that nobody reads cost nothing."""
    x, count = request.input(1), len(request.operator.outputs)
    axis = _axis(request, _one(request, 0, "axis"), len(x.shape))
    return _split(request, x, axis, [x.shape[axis] // count] * count)


def lower_split_v(request: Request) -> tuple[Layer, ...]:
    """SPLIT_V; one size may be -1, the rest."""
    x, sizes = request.input(), request.integers(1, "list of sizes")
    axis = _axis(request, _one(request, 2, "axis"), len(x.shape))
    if sizes.count(-1) == 1:
        rest = x.shape[axis] - sum(sizes) - 1
        sizes = [rest if size == -1 else size for size in sizes]
    return _split(request, x, axis, sizes or [0])


def lower_unpack(request: Request) -> tuple[Layer, ...]:
    """UNPACK: one output for each index of an axis."""
    x = request.input()
    axis = _axis(request, int(request.option("axis")), len(x.shape))
    outputs = _outputs(request)
    if len(outputs) != x.shape[axis]:
        raise request.refuse(f"{len(outputs)} outputs", allowed=str(x.shape[axis]))
    return tuple(
        copy_layer(
            request, x, View.whole(x.shape).cut(axis, i, 1).drop({axis}), y, View.whole(y.shape)
        )
        for i, y in enumerate(outputs)
        if _is_read(request, y)
    )


def _joined(request: Request) -> list[Tensor]:
    found = [
        request.int8(request.optional_input(position), f"input {position}")
        for position in range(len(request.operator.inputs))
    ]
    if all(x.data is not None for x in found):
        raise request.refuse("every input is a constant")
    return found


def lower_concatenation(request: Request) -> tuple[Layer, ...]:
    """CONCATENATION of any number of tensors and constants along one axis."""
    inputs, y = _joined(request), request.output()
    rank = len(y.shape)
    axis = _axis(request, int(request.option("axis")), rank)
    if int(request.option("fusedActivationFunction")):
        raise request.refuse("a fused activation", allowed="none")
    if (
        any(len(x.shape) != rank for x in inputs)
        or sum(x.shape[axis] for x in inputs) != (y.shape[axis])
    ):
        raise request.refuse(f"shapes {[x.shape for x in inputs]}", allowed=f"parts of {y.shape}")
    layers, begin = [], 0
    for x in inputs:
        view = View.whole(y.shape).cut(axis, begin, x.shape[axis])
        layers.append(copy_layer(request, x, View.whole(x.shape), y, view))
        begin += x.shape[axis]
    return tuple(layers)


def lower_pack(request: Request) -> tuple[Layer, ...]:
    """PACK: tensors and constants of one shape along a new axis."""
    inputs, y = _joined(request), request.output()
    axis = _axis(request, int(request.option("axis")), len(y.shape))
    if len(inputs) != y.shape[axis]:
        raise request.refuse(f"{len(inputs)} inputs", allowed=str(y.shape[axis]))
    return tuple(
        copy_layer(
            request, x, View.whole(x.shape), y, View.whole(y.shape).cut(axis, i, 1).drop({axis})
        )
        for i, x in enumerate(inputs)
    )


def lower_transpose(request: Request) -> Layer:
    """TRANSPOSE with a constant permutation."""
    x, y = request.input(), request.output()
    axes = tuple(a % len(x.shape) for a in request.integers(1, "permutation"))
    if sorted(axes) != list(range(len(x.shape))):
        raise request.refuse(f"the permutation {axes}", allowed=f"of {len(x.shape)} axes")
    return copy_layer(request, x, View.whole(x.shape).order(axes), y, View.whole(y.shape))


def lower_tile(request: Request) -> Layer:
    """TILE with constant multiples."""
    x, y = request.input(), request.output()
    multiples = request.integers(1, "list of multiples")
    if len(multiples) != len(x.shape) or min(multiples, default=1) < 1:
        raise request.refuse(f"multiples {multiples}", allowed=f"{len(x.shape)} numbers above 0")
    view = View.whole(x.shape)
    shape = [n for pair in zip(multiples, x.shape, strict=True) for n in pair]
    steps = [n for step in view.steps for n in (0, step)]
    expected = tuple(m * n for m, n in zip(multiples, x.shape, strict=True))
    if expected != y.shape:
        raise request.refuse(f"the output has the shape {y.shape}", allowed=str(expected))
    repeated = View(0, tuple(shape), tuple(steps))
    return copy_layer(request, x, repeated, y, View.whole(tuple(shape)))


def lower_batches(request: Request) -> Layer:
    """SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND that ``front.dilation`` could not fold: refused."""
    raise request.refuse(
        "it is not part of a dilated convolution",
        allowed="both around one CONV_2D or DEPTHWISE_CONV_2D of stride 1",
        remedy="write the dilation as an option of the convolution",
    )


def _blocks(request: Request, deep: Tensor, wide: Tensor) -> tuple[View, View]:
    """Both sides of DEPTH_TO_SPACE as (row, row of block, column, column of block, channel)."""
    block = int(request.option("blockSize"))
    height, width, channels = request.spatial(wide, "wider side")
    if block < 1 or height % block or width % block:
        raise request.refuse(f"blocks of {block} in {height}x{width}")
    rows, columns = height // block, width // block
    expected = (1, rows, columns, channels * block * block)
    if deep.shape != expected:
        raise request.refuse(f"shapes {deep.shape} and {wide.shape}", allowed=str(expected))
    flat = View.whole((rows, columns, block, block, channels)).order((0, 2, 1, 3, 4))
    return flat, View.whole(flat.shape)


def lower_depth_to_space(request: Request) -> Layer:
    """DEPTH_TO_SPACE: channels become blocks of the picture."""
    x, y = request.input(), request.output()
    deep, wide = _blocks(request, x, y)
    return copy_layer(request, x, deep, y, wide)


def lower_space_to_depth(request: Request) -> Layer:
    """SPACE_TO_DEPTH: blocks of the picture become channels."""
    x, y = request.input(), request.output()
    deep, wide = _blocks(request, y, x)
    return copy_layer(request, x, wide, y, deep)
