"""Bundles, devices and frames that a monitor is fed with: nothing is trained or decoded."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.profile import Profile, Rung, TensorSpec
from isthmus.server.types import Answer, Origin, Timings, Top

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
Item = tuple[Origin, Answer, npt.NDArray[np.uint8], Any]


def rung(levels: int, clip: tuple[float, float]) -> Rung:
    """A rung with values from one end of the clip range to the other."""
    values = tuple(float(v) for v in np.linspace(*clip, levels))
    middles = tuple((a + b) / 2 for a, b in itertools.pairwise(values))
    return Rung(
        levels=levels, clip=clip, quantizer="uniform", thresholds=middles, values=values, rate=5,
        initial=(32768,) * (levels - 1), table_i8=None, thresholds_i16=None,
        thresholds_f32=tuple(range(levels - 1)), payload_max=1000,
    )  # fmt: skip


@dataclass
class FakeServed:
    """What the monitor reads of a bundle."""

    name: str = "digits"
    version: str = "0123456789ab"
    shape: tuple[int, ...] = (4, 4, 32)
    rungs: tuple[Rung, ...] = (rung(4, (0.0, 3.0)),)
    labels: tuple[str, ...] = DIGITS
    outputs: list[tuple[str, tuple[int, ...]]] = field(default_factory=lambda: [("scores", (10,))])

    @property
    def profile(self) -> Profile:
        """A profile with float elements."""
        tensor = TensorSpec("features", self.shape, "float32", 1.0, 0)
        return Profile(tensor, self.rungs, self.shape[0])


@dataclass
class FakeFleet:
    """The bundles of a service."""

    served: list[Any]

    def models(self) -> list[Any]:
        """All of them."""
        return self.served


@dataclass
class FakeService:
    """What monitor and dashboard ask a service."""

    fleet: FakeFleet
    ready: bool = True
    waiting: int = 0


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def frame(
    served: FakeServed,
    device: str,
    sequence: int = 0,
    *,
    link: str = "http",
    levels: npt.NDArray[np.uint8] | None = None,
    received: npt.NDArray[np.bool_] | None = None,
    values: tuple[float, ...] | None = None,
    frame_bytes: int = 64,
    rung: int = 0,
    timings: Timings | None = None,
    slices_lost: int = 0,
) -> Item:
    """An answered frame as the engine hands it to the monitor."""
    if levels is None:
        levels = np.zeros(served.shape, np.uint8)
    scores = np.zeros(10, np.float32) if values is None else np.array(values, np.float32)
    best = int(scores.argmax())
    elements = int(np.prod(served.shape))
    answer = Answer(
        served.name, served.version, device, sequence, rung,
        {served.outputs[0][0]: scores},
        (Top(best, float(scores[best]), served.labels[best] if served.labels else ""),),
        frame_bytes, elements,
        0 if received is None else int((~received).sum()), slices_lost,
        timings or Timings(0.001, 0.002, 0.003, 0.006),
    )  # fmt: skip
    return Origin(link, device), answer, levels, received
