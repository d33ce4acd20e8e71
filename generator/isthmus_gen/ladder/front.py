"""The front of rate against loss, and which of its points become rungs.

The loss of a point is told by three numbers. Its **divergence** moves little from set to set and
orders the points. Its **loss** is what a user cares for: the share of answers that changed, or
with labels the share of right answers lost, or the divergence itself where outputs are no classes.
Its **bound** is the loss with a margin for the few inputs it was counted on:

- one standard error is added (one half added to each count, after Agresti and Min);
- before that the loss is raised to what points of its divergence lose by the isotonic fit over
  all points, so that a point that was lucky with the inputs at hand is not preferred.

Changed answers bound lost ones, so with labels the smaller of both bounds counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from isthmus_gen.ladder.candidates import Recipe
from isthmus_gen.ladder.divergence import Losses

__all__ = ["Point", "bounded", "isotonic", "make_point", "pareto", "pick_rungs"]

#: The last rung of a ladder loses at most this much more than the first, of answers or power.
SPAN = 0.10


@dataclass(frozen=True)
class Point:
    """A candidate as measured.

    bits         per element, whole frames, headers included
    divergence   mean; ``divergence_se`` its standard error
    changed      share of answers that changed; None where outputs are no classes
    lost         share of right answers lost less gained; None without labels
    loss         the one of these that counts
    bound        loss with its margin
    inputs       inputs measured
    """

    recipe: Recipe
    bits: float
    divergence: float
    divergence_se: float
    changed: float | None
    lost: float | None
    loss: float
    bound: float
    inputs: int
    gains_and_losses: int = 0


def make_point(recipe: Recipe, bits: float, losses: Losses) -> Point:
    """The point of a candidate; ``bound`` is for the time being the loss itself."""
    n = len(losses.divergence)
    mean = float(losses.divergence.mean())
    spread = float(losses.divergence.std(ddof=1)) if n > 1 else 0.0
    changed = None if losses.changed is None else float(losses.changed.mean())
    lost = None if losses.lost is None else float(losses.lost.mean(dtype=np.float64))
    loss = lost if lost is not None else changed if changed is not None else mean
    pairs = 0 if losses.lost is None else int(np.count_nonzero(losses.lost))
    return Point(
        recipe, bits, mean, spread / math.sqrt(n), changed, lost, loss, loss, n, pairs
    )  # fmt: skip


def bounded(points: Sequence[Point]) -> list[Point]:
    """The points with their bounds."""
    if not points or points[0].changed is None:
        return [replace(p, bound=p.divergence + p.divergence_se) for p in points]
    order = np.argsort([p.divergence for p in points], kind="stable")
    fits = [_fit(points, order, [_number(p.changed) for p in points])]
    labelled = all(p.lost is not None for p in points)
    if labelled:
        fits.append(_fit(points, order, [_number(p.lost) for p in points]))
    out = []
    for index, point in enumerate(points):
        n = point.inputs
        count = max(_number(point.changed), fits[0][index]) * n
        share = (count + 0.5) / (n + 1.0)
        bound = share + math.sqrt(share * (1.0 - share) / (n + 1.0))
        if labelled:
            centre = max(_number(point.lost), fits[1][index]) * n / (n + 2.0)
            pairs = point.gains_and_losses + 1.0
            error = math.sqrt(max(0.0, pairs / (n + 2.0) - centre**2) / (n + 2.0))
            bound = min(bound, centre + error)
        out.append(replace(point, bound=bound))
    return out


def _number(value: float | None) -> float:
    assert value is not None
    return value


def _fit(
    points: Sequence[Point], order: npt.NDArray[np.int64], values: list[float]
) -> npt.NDArray[np.float64]:
    fitted = np.empty(len(points))
    fitted[order] = isotonic(np.asarray(values)[order])
    return fitted


def isotonic(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The never falling row next to ``values`` in squares (pool adjacent violators).

    >>> isotonic(np.array([1.0, 3.0, 2.0, 4.0])).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    sums: list[float] = []
    sizes: list[int] = []
    for value in values.tolist():
        sums.append(value)
        sizes.append(1)
        while len(sums) > 1 and sums[-2] * sizes[-1] > sums[-1] * sizes[-2]:
            last, size = sums.pop(), sizes.pop()
            sums[-1] += last
            sizes[-1] += size
    return np.repeat(np.asarray(sums) / np.asarray(sizes), sizes)


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in bits and divergence, dearest (and best) first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.bits, p.divergence, p.recipe)):
        if not front or point.divergence < front[-1].divergence:
            front.append(point)
    return front[::-1]


def pick_rungs(
    front: Sequence[Point], count: int, max_loss: float | None
) -> tuple[list[Point], list[str]]:
    """At most ``count`` points of the front, best first, and notes on what could not be had.

    ``front`` is that of :func:`pareto`. The first rung is the cheapest point whose bound is at
    most ``max_loss`` (a share); without it, the cheapest that cannot be told from the best point:
    whose loss is within the best one's bound, or for outputs that are no classes the cheapest of
    at most 1 % of error. The last is the cheapest that loses at most SPAN more than the first. The
    rungs between lie nearest to equal ratios of bits.
    """
    notes = []
    limit = max_loss
    if limit is None:
        limit = front[0].bound if front[0].changed is not None else 0.01
        fine = [p for p in front if (p.loss if front[0].changed is not None else p.bound) <= limit]
    else:
        fine = [p for p in front if p.bound <= limit]
    if not fine:
        first = min(front, key=lambda p: (p.bound, p.bits))
        notes.append(
            f"no quantiser is shown to lose at most {100 * limit:.3g}: the best loses "
            f"{100 * first.loss:.2f} on {first.inputs} inputs, {100 * first.bound:.2f} with its "
            "margin; more calibration inputs make the margin smaller"
        )
    else:
        first = fine[-1]
    worst = max(first.loss, 0.0) + SPAN
    rest = [p for p in front if p.bits < first.bits and p.loss <= worst]
    picked = [first]
    if count > 1 and rest:
        picked += _spread(first, rest, count - 1)
    if len(picked) < count:
        notes.append(f"the front has {len(picked)} rungs to choose, not {count}")
    return picked, notes


def _spread(first: Point, rest: Sequence[Point], count: int) -> list[Point]:
    """``count`` points of ``rest`` (dearest first) nearest to equal ratios of bits, the last
    included; fewer where there are no more."""
    if count >= len(rest):
        return list(rest)
    ratio = math.log(max(rest[-1].bits, 1e-9) / first.bits)
    picked: list[Point] = []
    start = 0
    for step in range(1, count + 1):
        left = count - step
        places = range(start, max(start, len(rest) - left))
        if not places:
            break
        goal = math.log(first.bits) + ratio * step / count
        best = min(places, key=lambda i: abs(math.log(max(rest[i].bits, 1e-9)) - goal))
        best = len(rest) - 1 if step == count else best
        picked.append(rest[best])
        start = best + 1
    return picked
