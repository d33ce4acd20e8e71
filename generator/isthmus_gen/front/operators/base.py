"""What every operator's lowering needs: its tensors, checked, and one way to refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import ModelOperatorError
from isthmus_gen.front.flatbuffer import Graph, Operator, Tensor, load_schema
from isthmus_gen.front.layers import Layer, Struct
from isthmus_gen.front.quantize import (
    INT8_MAX,
    INT8_MIN,
    activation_range,
    quantize_multiplier,
)

__all__ = ["OperatorRow", "Request", "Window", "same_padding", "window"]


@dataclass(frozen=True)
class Request:
    """One operator to lower: the graph around it and the rounding profile (tflm or litert).

    ``depth`` counts the operators behind this one for whose sake it is lowered.
    """

    graph: Graph
    operator: Operator
    rounding: str = "tflm"
    depth: int = 0

    def refuse(self, what: str, *, allowed: str = "", remedy: str = "") -> ModelOperatorError:
        """The error that names this operator, its place and what to do."""
        return ModelOperatorError(
            self.operator.path,
            what,
            allowed=allowed,
            remedy=remedy or "cut the network before this operator or change the layer",
        )

    def option(self, name: str, default: Any = 0) -> Any:
        """An option of the operator; ``default`` where the file leaves it out."""
        value = self.operator.options.get(name, default)
        return default if value is None else value

    def tensor(self, index: int) -> Tensor:
        """Tensor ``index`` of the graph."""
        return self.graph.tensors[index]

    def optional_input(self, position: int) -> Tensor | None:
        """Input ``position`` or None where it is absent."""
        inputs = self.operator.inputs
        if position >= len(inputs) or inputs[position] < 0:
            return None
        return self.tensor(inputs[position])

    def int8(self, tensor: Tensor | None, role: str) -> Tensor:
        """``tensor`` if it is int8 with one scale and batch 1, else a refusal."""
        if tensor is None:
            raise self.refuse(f"the {role} is missing")
        if tensor.dtype != "INT8":
            raise self.refuse(
                f"the {role} {tensor.name!r} is {tensor.dtype.lower()}",
                allowed="int8",
                remedy="convert with full int8 quantisation (inference_input_type and "
                "inference_output_type int8, TFLITE_BUILTINS_INT8)",
            )
        if tensor.scales.size != 1 or not 0 < float(tensor.scale) < math.inf:
            raise self.refuse(f"the {role} {tensor.name!r} has no scale", allowed="one scale > 0")
        if not INT8_MIN <= tensor.zero_point <= INT8_MAX:
            raise self.refuse(f"the {role} {tensor.name!r} has the zero point {tensor.zero_point}")
        if any(size < 1 for size in tensor.shape) or tensor.elements >= 1 << 31:
            raise self.refuse(
                f"the {role} {tensor.name!r} has the shape {tensor.shape}",
                allowed="fixed sizes, below 2 GiB",
                remedy="convert with batch_shape=(1, ...)",
            )
        return tensor

    def input(self, position: int = 0) -> Tensor:
        """Input ``position``, which must be an int8 tensor that is computed, not constant."""
        found = self.int8(self.optional_input(position), "input")
        if found.data is not None:
            raise self.refuse(f"the input {found.name!r} is a constant")
        return found

    def output(self) -> Tensor:
        """The only output, int8."""
        if len(self.operator.outputs) != 1:
            raise self.refuse(f"{len(self.operator.outputs)} outputs", allowed="one")
        return self.int8(self.tensor(self.operator.outputs[0]), "output")

    def spatial(self, tensor: Tensor, role: str) -> tuple[int, int, int]:
        """Height, width and channels of a 4-D tensor with batch 1."""
        if len(tensor.shape) != 4 or tensor.shape[0] != 1:
            raise self.refuse(
                f"the {role} {tensor.name!r} has the shape {tensor.shape}",
                allowed="(1, height, width, channels)",
                remedy="convert with batch_shape=(1, ...)",
            )
        return tensor.shape[1], tensor.shape[2], tensor.shape[3]

    def constant(self, position: int, dtype: str, role: str) -> npt.NDArray[Any]:
        """Input ``position``, which must be a constant of type ``dtype``."""
        found = self.optional_input(position)
        if found is None or found.data is None or found.dtype != dtype:
            raise self.refuse(f"the {role} is not a constant of type {dtype.lower()}")
        return found.data

    def integers(self, position: int, role: str) -> list[int]:
        """Input ``position``, a constant of int32 or int64, as a list."""
        found = self.optional_input(position)
        dtype = "INT64" if found is not None and found.dtype == "INT64" else "INT32"
        return [int(value) for value in self.constant(position, dtype, role).reshape(-1)]

    def multiplier(self, real: float) -> tuple[int, int]:
        """``real`` as a Q0.31 number and a power of two that 32-bit kernels can shift by."""
        if not 0 <= real < 1 << 30:
            raise self.refuse(f"the scales' ratio is {real!r}", allowed="0 to 2**30")
        return quantize_multiplier(real)

    def same_quantisation(self, source: Tensor, target: Tensor) -> None:
        """Refuses where input and output do not share scale and zero point."""
        if source.scale != target.scale or source.zero_point != target.zero_point:
            raise self.refuse(
                "input and output are quantised differently",
                allowed="the same scale and zero point",
            )

    def activation(self, output: Tensor) -> tuple[int, int]:
        """Clamp of the output under the fused activation."""
        number = int(self.option("fusedActivationFunction"))
        kinds = vars(load_schema().ActivationFunctionType)
        name = next((k for k, v in kinds.items() if v == number and isinstance(v, int)), "")
        found = activation_range(name, output.scale, output.zero_point)
        if found is None:
            raise self.refuse(
                f"the fused activation {name or number} is not supported",
                allowed="NONE, RELU, RELU6, RELU_N1_TO_1",
            )
        return found

    def output_struct(self, output: Tensor) -> Struct:
        """``isth_k_output`` of the operator's output."""
        return Struct(self.output_values(output))

    def output_values(self, output: Tensor) -> tuple[int, int, int]:
        """Zero point, smallest and largest level of the operator's output."""
        low, high = self.activation(output)
        return output.zero_point, low, high

    def bias(self, position: int, channels: int) -> npt.NDArray[np.int64]:
        """The int32 bias, or zeros where the operator has none; int64 [channels]."""
        if self.optional_input(position) is None:
            return np.zeros(channels, dtype=np.int64)
        values = self.constant(position, "INT32", "bias").reshape(-1).astype(np.int64)
        if values.size != channels:
            raise self.refuse(f"the bias has {values.size} entries", allowed=str(channels))
        return values

    def filter_scales(self, weights: Tensor, channels: int, axis: int) -> npt.NDArray[np.float32]:
        """One weight scale a channel; refuses zero points that are not zero."""
        if np.any(weights.zero_points != 0):
            raise self.refuse("the weights have a zero point", allowed="symmetric weights")
        if weights.scales.size == 1:
            return np.repeat(weights.scales, channels)
        if weights.scales.size != channels or weights.axis != axis:
            raise self.refuse(
                f"{weights.scales.size} weight scales on axis {weights.axis}",
                allowed=f"1, or {channels} on axis {axis}",
            )
        return weights.scales


@dataclass(frozen=True)
class OperatorRow:
    """One line of the operator table.

    ``lower`` checks the operator and returns its layer, or several that run one after the other
    (SPLIT: one a result; CONCATENATION: one an input), or raises ModelOperatorError; ``resolver``
    is the method that registers it with TensorFlow Lite Micro's op resolver, empty where it has
    none.
    """

    name: str
    resolver: str
    lower: Callable[[Request], Layer | tuple[Layer, ...]]


def same_padding(size: int, out: int, stride: int, kernel: int, dilation: int) -> int:
    """Elements padded before the first under SAME: half of the total, rounded down.

    >>> same_padding(32, 16, 2, 3, 1), same_padding(32, 32, 1, 3, 1)
    (0, 1)
    """
    reach = (kernel - 1) * dilation + 1
    return max(0, (out - 1) * stride + reach - size) // 2


@dataclass(frozen=True)
class Window:
    """A kernel that moves over a picture; pairs are (height, width), ``before`` is the padding."""

    in_size: tuple[int, int]
    in_c: int
    out_size: tuple[int, int]
    out_c: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]

    def fields(self) -> tuple[tuple[str, int], ...]:
        """What every kernel with a window has in its layer."""
        pairs = (
            ("in_h", "in_w", self.in_size),
            ("out_h", "out_w", self.out_size),
            ("kernel_h", "kernel_w", self.kernel),
            ("stride_h", "stride_w", self.stride),
            ("pad_top", "pad_left", self.before),
        )
        return tuple(item for h, w, pair in pairs for item in ((h, pair[0]), (w, pair[1])))


def window(
    request: Request,
    x: Tensor,
    y: Tensor,
    kernel: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> Window:
    """The window of an operator from ``x`` to ``y``, the output's shape checked against it."""
    in_h, in_w, in_c = request.spatial(x, "input")
    out_h, out_w, out_c = request.spatial(y, "output")
    size, out = (in_h, in_w), (out_h, out_w)
    stride = (int(request.option("strideH")), int(request.option("strideW")))
    same = int(request.option("padding")) == int(load_schema().Padding.SAME)
    before = [0, 0]
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        if stride[axis] < 1 or dilation[axis] < 1 or kernel[axis] < 1:
            raise request.refuse("a stride, dilation or kernel size below 1")
        room = size[axis] if same else size[axis] - reach + 1
        expected = -(-room // stride[axis])
        if expected != out[axis]:
            raise request.refuse(f"the output has the size {out[axis]}", allowed=str(expected))
        if same:
            before[axis] = same_padding(
                size[axis], out[axis], stride[axis], kernel[axis], dilation[axis]
            )
    return Window(size, in_c, out, out_c, kernel, stride, dilation, (before[0], before[1]))
