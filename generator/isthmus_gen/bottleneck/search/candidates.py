"""What is searched: places, channels and strides, and what a candidate may take of the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from isthmus.errors import CutIllegalError, OptionError
from isthmus_gen.bottleneck.plan import TrainingPlan
from isthmus_gen.bottleneck.units import UnitPlan
from isthmus_gen.models import Cut, LoadedModel, resolve_cut

__all__ = ["Candidate", "SearchPlan", "candidates", "default_cuts", "parse_numbers"]

#: Cuts that are searched where none are named.
MOST_CUTS = 4


@dataclass(frozen=True, order=True)
class Candidate:
    """A bottleneck of ``channels`` and ``stride`` at the cut of that name."""

    cut: str
    channels: int
    stride: int

    def __str__(self) -> str:
        return f"{self.cut} C={self.channels} s={self.stride}"

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class SearchPlan:
    """What is searched for. OptionError when made wrong.

    channels, strides   of the units, each combined with each and every cut
    levels              N of the coder
    rate_weight         what a bit of a frame costs in the training's loss
    epochs              passes of the training whose result counts
    first_epochs        passes after which the better half is chosen; ``epochs`` or more: no choice
    patience, seed      as of :class:`TrainingPlan`
    target              a target's name or file
    ram                 bytes that arena, encoder and frame buffer may take; None: no limit
    instructions        that front half and coder may take for an input; None: no limit
    max_loss            points (per cent) that the answer may lose; None: not asked
    """

    channels: tuple[int, ...] = (1, 2, 4, 8)
    strides: tuple[int, ...] = (2, 4)
    levels: int = 4
    rate_weight: float = 2e-5
    epochs: int = 12
    first_epochs: int = 3
    patience: int = 8
    seed: int = 1
    target: str = "cortex-m4f"
    ram: int | None = None
    instructions: int | None = None
    max_loss: float | None = None

    def __post_init__(self) -> None:
        self.training(self.epochs)
        if not 1 <= self.first_epochs <= 10_000:
            raise OptionError(
                "--first-epochs", f"is {self.first_epochs}", allowed="an integer, 1 to 10000"
            )
        for option, numbers, most in (
            ("--channels", self.channels, 1024),
            ("--strides", self.strides, 16),
        ):
            if not numbers or len(set(numbers)) < len(numbers):
                raise OptionError(
                    option, "names a number twice" if numbers else "names none",
                    allowed=f"integers, 1 to {most}, each once",
                )  # fmt: skip
            for number in numbers:
                if not 1 <= number <= most:
                    raise OptionError(option, f"is {number}", allowed=f"integers, 1 to {most}")
        for option, limit in (("--ram", self.ram), ("--instructions", self.instructions)):
            if limit is not None and limit < 1:
                raise OptionError(option, f"is {limit}", allowed="an integer, 1 or more")
        if self.max_loss is not None and not 0 <= self.max_loss <= 100:
            raise OptionError("--max-loss", f"is {self.max_loss:g}", allowed="a number, 0 to 100")

    def training(self, epochs: int) -> TrainingPlan:
        """How a candidate is trained for so many passes."""
        return TrainingPlan(
            levels=self.levels, rate_weight=self.rate_weight, epochs=epochs,
            patience=self.patience, seed=self.seed,
        )  # fmt: skip

    @property
    def halves(self) -> bool:
        """Whether there is a short training first."""
        return self.first_epochs < self.epochs

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self) | {"channels": list(self.channels), "strides": list(self.strides)}


def parse_numbers(option: str, text: str) -> tuple[int, ...]:
    """``1,2,4`` as integers; OptionError otherwise.

    >>> parse_numbers("--channels", "1,2,4")
    (1, 2, 4)
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise OptionError(option, f"is {text!r:.60}", allowed="integers, as in 2,4") from None


def default_cuts(model: LoadedModel, strides: Sequence[int]) -> list[Cut]:
    """At most four legal cuts of rank 3 that take every stride, spread over the network's work.

    Of cuts behind the same multiply-accumulates (a convolution, its normalisation, its activation)
    the last stands for all: on the device they are one layer.
    """
    last: dict[int, Cut] = {}
    for cut in model.cuts():
        if cut.legal and len(cut.shape) == 3 and min(cut.shape[:2]) >= max(strides):
            last[cut.macs_before] = cut
    found = list(last.values())
    if len(found) <= MOST_CUTS:
        return found
    places = sorted({round(i * (len(found) - 1) / (MOST_CUTS - 1)) for i in range(MOST_CUTS)})
    return [found[place] for place in places]


def candidates(
    model: LoadedModel, cuts: Sequence[str], plan: SearchPlan
) -> tuple[dict[str, Cut], list[Candidate]]:
    """The cuts by name and every combination, in the order given.

    No ``cuts``: those of :func:`default_cuts`. CutUnknownError, CutIllegalError and OptionError
    for what cannot take units; a cut that is named twice counts once.
    """
    if cuts:
        places = [resolve_cut(model, name) for name in cuts]
        for cut, stride in product(places, plan.strides):
            UnitPlan(plan.channels[0], stride).check(cut.shape)
    else:
        places = default_cuts(model, plan.strides)
    if not places:
        raise CutIllegalError(
            "--cuts",
            "the network has no legal cut of height x width x channels that takes "
            f"stride {max(plan.strides)}",
            remedy="give smaller --strides; `isthmus cuts` lists the network's cuts",
        )
    named = {cut.name: cut for cut in places}
    return named, [
        Candidate(name, channels, stride)
        for name, stride, channels in product(named, plan.strides, plan.channels)
    ]
