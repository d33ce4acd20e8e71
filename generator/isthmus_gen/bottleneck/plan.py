"""How a bottleneck is trained, checked in one place."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from isthmus.errors import OptionError

__all__ = ["TrainingPlan"]


@dataclass(frozen=True)
class TrainingPlan:
    """What stands in the bottleneck while it is trained, and how long. OptionError when made wrong.

    coder         "isthmus" (levels, and a rate term) or "jpeg" (8 bits, tiled; a comparison only)
    levels        N of coder "isthmus", 2..256
    quality       of coder "jpeg", 1..100
    rate_weight   what a bit of an input's frame costs in the loss (nats, or its like) of an input
    train         "units": the host network stays bit for bit as it was; "all": its weights are
                  trained too, its normalisation statistics stay
    epochs        passes over the inputs that are not held out
    patience      passes without a better loss on the inputs held out, then training ends
    batch, rate   inputs of a step; Adam's largest step
    seed          of the units' weights and the order of the inputs
    """

    coder: str = "isthmus"
    levels: int = 8
    quality: int = 20
    rate_weight: float = 1e-4
    train: str = "units"
    epochs: int = 20
    patience: int = 8
    batch: int = 64
    rate: float = 3e-3
    seed: int = 1

    def __post_init__(self) -> None:
        for option, value, allowed in (
            ("--coder", self.coder, ("isthmus", "jpeg")),
            ("--train", self.train, ("units", "all")),
        ):
            if value not in allowed:
                raise OptionError(
                    option, f"is {value!r:.60}", allowed=f"one of {', '.join(allowed)}"
                )
        for option, number, low, high in (
            ("--levels", self.levels, 2, 256),
            ("--quality", self.quality, 1, 100),
            ("--epochs", self.epochs, 1, 10_000),
            ("--patience", self.patience, 1, 10_000),
            ("--batch", self.batch, 1, 65_536),
            ("--seed", self.seed, 0, 2**31 - 1),
        ):
            if not low <= number <= high:
                raise OptionError(option, f"is {number}", allowed=f"an integer, {low} to {high}")
        for option, real in (("--rate-weight", self.rate_weight), ("--rate", self.rate)):
            if not (math.isfinite(real) and real >= 0):
                raise OptionError(option, f"is {real:g}", allowed="a number, 0 or more")

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, for a report; those of the other coder are left out."""
        out = asdict(self)
        for name in ("quality",) if self.coder == "isthmus" else ("levels", "rate_weight"):
            del out[name]
        return out
