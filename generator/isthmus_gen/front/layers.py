"""What the front half becomes: layers, their constants and their parameters.

Nothing here is text of C: names are C identifiers or field names, values are numbers. ``render``
turns these records into files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Layer", "Ref", "Struct", "Value", "weight_array"]


@dataclass(frozen=True)
class Array:
    """A constant of one layer: ``values`` is 1-D, or 2-D where ``ctype`` is a struct of integers.

    ``suffix`` becomes the end of its C name; ``weights`` and ``filters`` mean the same everywhere.
    """

    suffix: str
    ctype: str
    values: npt.NDArray[Any]
    element_bytes: int

    @property
    def bytes(self) -> int:
        """Flash taken by the array."""
        return int(self.values.shape[0]) * self.element_bytes


@dataclass(frozen=True)
class Ref:
    """A field that holds the address of the layer's array of that suffix."""

    suffix: str


@dataclass(frozen=True)
class Struct:
    """A nested struct of a layer's parameters, or a C array of integers (``values`` alone)."""

    values: tuple[int | Ref | Struct, ...]


Value = int | Ref | Struct


@dataclass(frozen=True)
class Layer:
    """One call of a kernel, or a view (RESHAPE) that costs nothing.

    ``inputs`` and ``output`` are tensor indices of the graph; an input may also be a Ref to one of
    the layer's own arrays (a constant operand). ``in_place`` lists the inputs whose memory the
    kernel may write its output to, from their first byte on, where it is no larger. ``overlap``
    lists inputs whose memory the output may take in part: pairs of a tensor and the least distance
    in bytes at which the output begins before it (``front.overlap``). ``scratch_bytes`` is working
    memory the plan provides.
    """

    operator: str
    place: int
    inputs: tuple[int | Ref, ...]
    output: int
    kernel: str = ""
    files: tuple[str, ...] = ()
    ctype: str = ""
    params: tuple[tuple[str, Value], ...] = ()
    arrays: tuple[Array, ...] = ()
    macs: int = 0
    in_place: tuple[int, ...] = ()
    overlap: tuple[tuple[int, int], ...] = ()
    view: bool = False
    scratch_bytes: int = 0

    @property
    def tensor_inputs(self) -> tuple[int, ...]:
        """The inputs that lie in the arena."""
        return tuple(i for i in self.inputs if isinstance(i, int))


def weight_array(weights: npt.NDArray[np.int8]) -> Array:
    """The int8 weights of a layer, flattened in the order the kernel reads them."""
    return Array("weights", "int8_t", weights.reshape(-1), 1)
