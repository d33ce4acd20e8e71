"""What the ONNX reader keeps of a file: nodes, constants, and tensors as Keras holds them.

ONNX keeps channels second, Keras and the device keep them last. Every tensor here has its ONNX
shape beside the Keras tensor, so an axis of the one can be named in the other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import ModelOperatorError

__all__ = ["REMEDY", "Array", "Builder", "Node", "Value", "layer_name", "window_pads"]

REMEDY = "convert it by another tool (onnx2tf) and give the .tflite"
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Value:
    """A computed tensor: ``shape`` is ONNX's, without batch (C, H, W), (C, L) or (features,).

    ``flat`` is the (C, H, W) that was flattened into this tensor: its elements lie in the order of
    Keras, H W C, and whoever multiplies them by weights must permute those. ``rectified`` marks
    values that are never negative.
    """

    tensor: Any
    shape: tuple[int, ...]
    flat: tuple[int, ...] = ()
    rectified: bool = False

    @property
    def space(self) -> tuple[int, ...]:
        """The sizes after the channels."""
        return self.shape[1:]


@dataclass(frozen=True)
class Node:
    """One ONNX node. ``inputs`` holds a Value, an array, or None where the input is left out."""

    operator: str
    name: str
    attributes: Mapping[str, Any]
    inputs: tuple[Value | Array | None, ...]
    where: str

    def refuse(self, what: str, *, allowed: str = "", remedy: str = REMEDY) -> ModelOperatorError:
        """The error that names this node."""
        return ModelOperatorError(
            f"{self.where}: {self.operator} {self.name!r}", what, allowed=allowed, remedy=remedy
        )

    def value(self, position: int = 0, ranks: Sequence[int] = (1, 2, 3)) -> Value:
        """Input ``position``, computed, its rank without batch one of ``ranks``."""
        found = self.inputs[position] if position < len(self.inputs) else None
        if not isinstance(found, Value):
            raise self.refuse(f"input {position} is a constant", allowed="a computed tensor")
        if len(found.shape) not in ranks:
            raise self.refuse(
                f"input {position} has the rank {len(found.shape) + 1}",
                allowed=" or ".join(str(rank + 1) for rank in ranks),
            )
        return found

    def ordered(self, position: int = 0, ranks: Sequence[int] = (1, 2, 3)) -> Value:
        """As ``value``, but not a flattened tensor whose elements lie in another order."""
        found = self.value(position, ranks)
        if found.flat:
            raise self.refuse("takes flattened features", allowed="Gemm or MatMul after Flatten")
        return found

    def constant(self, position: int) -> Array | None:
        """Input ``position`` as an array; None where it is left out. Refuses a computed one."""
        found = self.inputs[position] if position < len(self.inputs) else None
        if isinstance(found, Value):
            raise self.refuse(f"input {position} is computed", allowed="a constant")
        return found

    def weights(self, position: int) -> Array:
        """Input ``position`` as an array; refuses where it is left out."""
        found = self.constant(position)
        if found is None:
            raise self.refuse(f"input {position} is left out", allowed="a constant")
        return found

    def integers(self, name: str, position: int, default: Sequence[int] | None) -> list[int]:
        """Integers that older files keep in attribute ``name`` and newer ones in an input."""
        found = self.attributes.get(name)
        if found is None and position >= 0:
            found = self.constant(position)
        if found is None:
            if default is None:
                raise self.refuse(f"{name} is left out")
            return list(default)
        return [int(n) for n in np.asarray(found).reshape(-1)]

    def axis(self, number: int, rank: int) -> int:
        """An ONNX axis of a tensor of ``rank`` (with batch) as that of the Keras tensor."""
        number = number + rank if number < 0 else number
        if not 0 < number < rank:
            raise self.refuse(f"works on axis {number}", allowed=f"1 to {rank - 1}")
        return rank - 1 if number == 1 else number - 1


@dataclass
class Builder:
    """Makes Keras layers and names them after the ONNX tensors."""

    keras: Any
    names: dict[str, str] = field(default_factory=dict)

    @property
    def layers(self) -> Any:
        """``keras.layers``."""
        return self.keras.layers

    def name(self, tensor: str) -> str:
        """A layer name for an ONNX tensor, unlike all others; ``names`` keeps where it is from."""
        plain = layer_name(tensor)
        chosen, number = plain, 1
        while chosen in self.names:
            chosen, number = f"{plain}_{number}", number + 1
        self.names[chosen] = tensor
        return chosen

    def add(self, node: Node, layer: Any, *given: Any, weights: Sequence[Array] = ()) -> Any:
        """Calls ``layer`` on the Keras tensors and fills in its weights."""
        try:
            result = layer(given[0] if len(given) == 1 else list(given))
            if weights:
                layer.set_weights([np.asarray(w, dtype=np.float32) for w in weights])
        except (ValueError, TypeError) as error:
            text = " ".join(str(error).split())
            raise node.refuse(f"Keras refuses it: {text[:200]}") from error
        return result

    def result(self, tensor: Any, **marks: Any) -> Value:
        """A Keras tensor as a Value."""
        sizes = [int(size) for size in tensor.shape[1:]]
        return Value(tensor, (sizes[-1], *sizes[:-1]), **marks)

    def zeros(self, node: Node, value: Value, pads: Sequence[tuple[int, int]]) -> Any:
        """``value`` with zeros before and after on its spatial axes."""
        if all(pair == (0, 0) for pair in pads):
            return value.tensor
        name = self.name(f"{node.name}_pad")
        if len(pads) == 1:
            layer = self.layers.ZeroPadding1D(tuple(pads[0]), name=name)
        else:
            layer = self.layers.ZeroPadding2D(tuple(pads), name=name)
        return self.add(node, layer, value.tensor)


def layer_name(tensor: str) -> str:
    """An ONNX tensor's name with the characters that Keras takes.

    >>> layer_name("/layer1/0/Conv_output_0")
    'layer1_0_Conv_output_0'
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", tensor).strip("_.") or "tensor"


def window_pads(
    node: Node, size: Sequence[int], kernel: Sequence[int]
) -> tuple[str, list[tuple[int, int]], list[int], list[int]]:
    """Padding mode of Keras, the zeros it does not stand for, strides and dilations.

    ``same`` is chosen where it means the very pads that the node asks for.
    """
    count = len(size)
    strides = [int(n) for n in node.attributes.get("strides", [1] * count)]
    dilations = [int(n) for n in node.attributes.get("dilations", [1] * count)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    total = [
        max(0, (math.ceil(n / s) - 1) * s + r - n)
        for n, s, r in zip(size, strides, reach, strict=True)
    ]
    upper = [(t // 2, t - t // 2) for t in total]
    mode = node.attributes.get("auto_pad", b"NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else str(mode)
    if mode == "SAME_UPPER":
        return "same", [(0, 0)] * count, strides, dilations
    flat = [int(n) for n in node.attributes.get("pads", [0] * 2 * count)]
    pads = list(zip(flat[:count], flat[count:], strict=True))
    if mode == "SAME_LOWER":
        pads = [(after, before) for before, after in upper]
    elif mode == "VALID":
        pads = [(0, 0)] * count
    if any(n < 0 for pair in pads for n in pair):
        raise node.refuse("negative pads")
    if pads == upper and any(total):
        return "same", [(0, 0)] * count, strides, dilations
    return "valid", pads, strides, dilations
