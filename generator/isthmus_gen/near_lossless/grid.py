"""The quantiser of a bound D: a grid of step 2D + 1 through zero.

An int8 front half has quantised already: its 256 values are the finest grid. A float or int16 front
takes the published one (Choi and Bajic, MMSP 2018), 256 steps from the calibration set's minimum to
its maximum, or the same of every channel. A bound above 0 is Isthmus's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isthmus.grids import Grids
from isthmus.profile import TensorSpec
from isthmus_gen.calibrate import ClipRange, Quantizer, TensorStatistics

__all__ = ["Grid", "make_channel_grid", "make_grid"]

_STEPS = 255


@dataclass(frozen=True)
class Grid:
    """256 steps of ``scale`` from ``origin``, and every 2D + 1 of them a level.

    A value x is step (x - origin) / scale, rounded, 0 .. 255; ``zero`` is the step next to 0.
    ``channels`` has the origin and scale of every channel, ``origin`` and ``scale`` are 0 and 1
    then; step 0 is a level of all channels, whatever stands for 0 in each.
    """

    bound: int
    origin: float
    scale: float
    zero: int
    rule: str
    channels: Grids | None = None

    @property
    def pitch(self) -> int:
        """Steps between levels: 2D + 1."""
        return 2 * self.bound + 1

    @property
    def below(self) -> int:
        """Levels below that of zero."""
        return -(-max(0, self.zero - self.bound) // self.pitch)

    @property
    def levels(self) -> int:
        """N: the levels that cover steps 0 .. 255."""
        return self.below + 1 + -(-max(0, _STEPS - self.zero - self.bound) // self.pitch)

    @property
    def blank(self) -> int:
        """The level that stands for 0, on average where channels differ."""
        if self.channels is None:
            return self.below
        low, scale = np.asarray(self.channels.origins), np.asarray(self.channels.scales)
        step = np.clip(np.floor(-low / scale + 0.5), 0, _STEPS).mean()
        return int(self.level_of_step()[int(step)])

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest real value of all steps."""
        grids = self.by_channel()
        low = min(grid.origin for grid in grids)
        return low, max(grid.origin + _STEPS * grid.scale for grid in grids)

    def by_channel(self) -> list[Grid]:
        """The grid of each channel; itself alone where all have the same."""
        if self.channels is None:
            return [self]
        return [
            Grid(self.bound, origin, scale, self.zero, self.rule)
            for origin, scale in zip(self.channels.origins, self.channels.scales, strict=True)
        ]

    def steps(self) -> npt.NDArray[np.int64]:
        """int64 [N]: the step that each level stands for, none further than D from any of its own.

        A level at an end, whose middle lies outside, stands for the last step.
        """
        centres = self.zero + self.pitch * (np.arange(self.levels) - self.below)
        return np.clip(centres, 0, _STEPS)

    def level_of_step(self) -> npt.NDArray[np.uint8]:
        """uint8 [256]: the level of each step."""
        steps = np.arange(_STEPS + 1)
        found = (steps - self.zero + self.bound) // self.pitch + self.below
        return np.clip(found, 0, self.levels - 1).astype(np.uint8)

    def quantizer(self) -> Quantizer:
        """The grid as a quantiser of real values: thresholds half-way between steps."""
        first = self.zero + self.pitch * (np.arange(1, self.levels) - self.below) - self.bound - 0.5
        low, high = self.origin, self.origin + _STEPS * self.scale
        return Quantizer(
            levels=self.levels,
            thresholds=np.asarray(self.origin + first * self.scale, np.float64),
            values=np.asarray(self.origin + self.steps() * self.scale, np.float64),
            clip=ClipRange(low, high, self.rule),
            kind="grid",
            details={"bound": self.bound, "step": self.scale},
        )


def make_grid(tensor: TensorSpec, statistics: TensorStatistics, bound: int) -> Grid:
    """The grid of ``bound`` for a tensor: its own int8 steps, or those of minimum and maximum."""
    if tensor.dtype == "int8":
        scale = float(np.float32(tensor.scale))
        zero = tensor.zero_point + 128
        return Grid(bound, -zero * scale, scale, zero, "int8")
    low, high = float(statistics.minimum), float(statistics.maximum)
    if not high > low:  # a constant tensor: any grid will do that holds it
        high = low + 1.0
    scale = (high - low) / _STEPS
    zero = int(np.clip(np.floor(-low / scale + 0.5), 0, _STEPS))
    return Grid(bound, low, scale, zero, "min-max")


def make_channel_grid(statistics: TensorStatistics, bound: int) -> Grid:
    """The grid of ``bound`` that spans the minimum and maximum of each channel."""
    low = np.asarray(statistics.channel_minimum, np.float64)
    span = np.asarray(statistics.channel_maximum, np.float64) - low
    span[span <= 0.0] = 1.0  # a constant channel: any grid will do that holds it
    grids = Grids(tuple(low.tolist()), tuple((span / _STEPS).tolist()))
    return Grid(bound, 0.0, 1.0, 0, "min-max of each channel", grids)
