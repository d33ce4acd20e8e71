"""What the tests of operators draw at random: scales, zero points, values, shapes, models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Rng = np.random.Generator
INPUTS = 4


def random_scale(rng: Rng, low: float = 0.002, high: float = 0.2) -> float:
    """A float32 scale between the two, uniform in its logarithm."""
    return float(np.float32(np.exp(rng.uniform(np.log(low), np.log(high)))))


def random_zero(rng: Rng) -> int:
    """A zero point: an end of the range, zero, or any."""
    return int(rng.choice([-128, 127, 0, int(rng.integers(-128, 128))]))


def random_int8(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform int8 values."""
    return rng.integers(-128, 128, shape, dtype=np.int8)


def random_inputs(rng: Rng, *shape: int) -> np.ndarray:
    """Uniform noise, both extremes, and a narrow band."""
    x = random_int8(rng, (INPUTS, *shape))
    x[1], x[2] = -128, 127
    x[3] = np.clip(x[3] // 16 + int(rng.integers(-100, 100)), -128, 127)
    return x


def random_geometry(rng: Rng, same: bool) -> dict[str, Any]:
    """Kernel, stride, dilation and sizes of one picture, and the output they give."""
    kernel = rng.integers(1, 5, 2)
    dilation = rng.integers(1, 3, 2) if rng.random() < 0.3 else np.array([1, 1])
    # A schema rule of the converter: dilation and stride exclude each other.
    stride = np.array([1, 1]) if dilation.max() > 1 else rng.integers(1, 4, 2)
    reach = (kernel - 1) * dilation + 1
    size = rng.integers(1, 12, 2) if same else reach + rng.integers(0, 9, 2)
    out = -(-size // stride) if same else (size - reach) // stride + 1
    return {"kernel": kernel, "dilation": dilation, "stride": stride, "size": size, "out": out}


def random_shape(rng: Rng, rank: int = 3, high: int = 6) -> tuple[int, ...]:
    """A shape behind batch 1; ones appear often."""
    return tuple(int(n) for n in np.maximum(1, rng.integers(0, high + 1, rank)))


class Case:
    """One model under construction: every tensor has the same scale and zero point."""

    def __init__(self, builder: Any, rng: Rng, shape: Sequence[int]) -> None:
        self.model, self.rng = builder(), rng
        self.scale, self.zero = random_scale(rng), random_zero(rng)
        self.shape = (1, *shape)
        self.x = self.tensor(self.shape)

    def tensor(self, shape: Sequence[int], **more: Any) -> int:
        """An int8 tensor."""
        return int(self.model.tensor(shape, self.scale, self.zero, **more))

    def integers(self, values: Any, dtype: str = "INT32") -> int:
        """A constant of integers; a number is a scalar."""
        data = np.array(values, dtype=np.dtype(dtype.lower()))
        return int(self.model.tensor(data.shape, dtype=dtype, data=data))

    def operator(
        self, name: str, inputs: Sequence[int], shape: Sequence[int], kind: str = "", **options: Any
    ) -> int:
        """An operator with one output of ``shape``; returns the output."""
        y = self.tensor(shape)
        self.model.operator(name, inputs, [y], kind, **options)
        return y

    def done(self, y: int) -> tuple[bytes, np.ndarray]:
        """The model and what it is run on."""
        return self.model.build([self.x], [y]), random_inputs(self.rng, *self.shape[1:])
