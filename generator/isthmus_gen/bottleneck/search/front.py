"""Points of a search: what was measured, which are on the front, which go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from isthmus_gen.bottleneck.search.candidates import Candidate
from isthmus_gen.bottleneck.search.cost import Cost

__all__ = ["Point", "cheapest", "over_budget", "pareto", "survivors"]


@dataclass(frozen=True)
class Point:
    """A candidate as trained and measured on the inputs held out.

    bytes       mean of a frame, its header included
    bits        of such a frame for each element of the network's own tensor at the cut
    accuracy    share of right answers; None without labels
    agreement   share of answers that are the whole network's; None where they are no classes
    loss        the whole network's accuracy less this one's; without labels the share of answers
                that changed; of other outputs their relative error
    epochs      passes that were asked for; ``best_epoch`` the one whose weights these are, from 1
    network     name of the trained network's file
    """

    candidate: Candidate
    cost: Cost
    bytes: float
    bits: float
    accuracy: float | None
    agreement: float | None
    loss: float
    epochs: int
    best_epoch: int
    network: str

    def as_dict(self) -> dict[str, Any]:
        """Flat, for JSON."""
        return {
            **self.candidate.as_dict(),
            "bytes": self.bytes,
            "bits_per_element": self.bits,
            "accuracy": self.accuracy,
            "agreement": self.agreement,
            "loss": self.loss,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "network": self.network,
            "cost": self.cost.as_dict(),
        }


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in bytes and loss, the cheapest first.

    Of points equal in both the one first in order of cut, channels and stride stays.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.bytes, p.loss, p.candidate)):
        if not front or point.loss < front[-1].loss:
            front.append(point)
    return front


def survivors(points: Sequence[Point]) -> list[Candidate]:
    """The better half: the front, then the front of what is left, until half are chosen.

    No point of the front is left out, be it more than half; of a later front that would be too many
    those of the least loss are taken.
    """
    half = -(-len(points) // 2)
    chosen: list[Point] = []
    left = list(points)
    while len(chosen) < half:
        layer = pareto(left)
        room = half - len(chosen)
        chosen += layer if not chosen else sorted(layer, key=lambda p: p.loss)[:room]
        left = [point for point in left if point not in layer]
    names = {point.candidate for point in chosen}
    return [point.candidate for point in points if point.candidate in names]


def cheapest(points: Sequence[Point], max_loss: float) -> Point | None:
    """The point of the fewest bytes that loses at most ``max_loss`` points (per cent), or None."""
    return next((p for p in pareto(points) if p.loss <= max_loss / 100), None)


def over_budget(cost: Cost, ram: int | None, instructions: int | None) -> str:
    """Why a candidate does not fit; empty where it does."""
    reasons = []
    if ram is not None and cost.ram > ram:
        reasons.append(f"needs {cost.ram:,} bytes of RAM, {cost.ram - ram:,} too many")
    count = cost.instructions
    if instructions is not None and count is not None and count > instructions:
        reasons.append(f"takes {count:,} instructions, {count - instructions:,} too many")
    return "; ".join(reasons)
