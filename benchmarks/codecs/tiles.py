"""Channels side by side in one 8-bit picture, as codecs of pictures take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.codecs.base import Array8

__all__ = ["EightBit", "Tiling"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tiling:
    """The layout of a tensor [height, width, channels]: ``columns`` tiles side by side, row by row.

    Of all layouts without an empty tile :meth:`near_square` takes the one whose picture is nearest
    to a square, which for 2^k square channels is the grid of Choi and Bajic (MMSP 2018): the
    shortest borders and the fewest blocks that are cut off.
    """

    height: int
    width: int
    channels: int
    columns: int

    @classmethod
    def near_square(cls, shape: tuple[int, ...]) -> Tiling:
        """The layout for a tensor of ``shape``; ValueError unless it has three dimensions."""
        if len(shape) != 3:
            raise ValueError(f"a tensor of shape {shape} is not tiled")
        height, width, channels = shape

        def stretch(columns: int) -> tuple[float, int]:
            across, down = columns * width, channels // columns * height
            return max(across / down, down / across), -columns  # wide before high

        divisors = [n for n in range(1, channels + 1) if channels % n == 0]
        return cls(height, width, channels, min(divisors, key=stretch))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.channels // self.columns * self.height, self.columns * self.width

    def tile(self, tensors: Array8) -> Array8:
        """[n, height, width, channels] -> pictures [n, *size]."""
        grid = tensors.reshape(-1, self.height, self.width, self._rows, self.columns)
        pictures = np.ascontiguousarray(grid.transpose(0, 3, 1, 4, 2))
        return np.asarray(pictures.reshape(-1, *self.size), dtype=np.uint8)

    def untile(self, pictures: Array8) -> Array8:
        """The inverse of :meth:`tile`."""
        grid = pictures.reshape(-1, self._rows, self.height, self.columns, self.width)
        back = np.ascontiguousarray(grid.transpose(0, 2, 4, 1, 3))
        return back.reshape(-1, self.height, self.width, self.channels)

    @property
    def _rows(self) -> int:
        return self.channels // self.columns


@dataclass(frozen=True)
class EightBit:
    """Features as 0..255: clipped to ``low``..``high``, which both sides know, then 256 steps."""

    low: float
    high: float

    def forward(self, features: Floats) -> Array8:
        """float32 -> uint8, to the nearest step."""
        scaled = (features - np.float32(self.low)) * np.float32(255 / (self.high - self.low))
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)

    def back(self, values: Array8) -> Floats:
        """uint8 -> float32."""
        step = np.float32((self.high - self.low) / 255)
        return (np.float32(self.low) + values.astype(np.float32) * step).astype(np.float32)
