"""Offsets for buffers whose lifetimes are known: as little memory as can be found.

Two buffers alive at a common step lie apart, or, where an :class:`Overlap` allows it, the output
lies at least a distance before the source. A placement puts one buffer after the other at the
lowest offset that is free; every best plan is the result of some order, since any plan can be
pushed down in the order of its offsets. So orders are searched: the usual ones first, then changes
around the buffers that reach highest, with a fixed seed and a fixed number of tries.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["ALIGNMENT", "Buffer", "Overlap", "lower_bound", "plan_buffers"]

ALIGNMENT = 16
_TRIES = 60_000
"""Buffers placed by one search; a second or less."""


@dataclass(frozen=True)
class Buffer:
    """Memory wanted: ``size`` bytes, alive from step ``first`` to step ``last``, both included."""

    key: int
    size: int
    first: int
    last: int

    def overlaps(self, other: Buffer) -> bool:
        """Whether the two are alive at a common step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Overlap:
    """``output`` may share memory with ``source`` if it begins ``distance`` bytes before it.

    With ``distance`` None it must begin at the very same byte, and be no longer. Keys of buffers;
    it counts only where the source dies at the step at which the output is born.
    """

    output: int
    source: int
    distance: int | None


def _units(size: int) -> int:
    return -(-size // ALIGNMENT)


class _Problem:
    """The buffers in units of the alignment, and which offsets they forbid each other.

    With buffer j at offset o, offsets above o - a and below o + b are forbidden to buffer i, for
    each (j, a, b) in ``near[i]``; offset o itself is allowed where j is in ``twins[i]``.
    """

    def __init__(self, buffers: Sequence[Buffer], overlaps: Sequence[Overlap]) -> None:
        self.buffers = buffers
        self.sizes = [_units(b.size) for b in buffers]
        allowed = _allowed(buffers, overlaps)
        same = _same(buffers, overlaps)
        self.near: list[list[tuple[int, int, int]]] = [[] for _ in buffers]
        self.twins: list[set[int]] = [set() for _ in buffers]
        for i, one in enumerate(buffers):
            for j in range(i):
                other = buffers[j]
                if not one.overlaps(other):
                    continue
                below, above = self.sizes[i], self.sizes[j]
                as_output = allowed.get((one.key, other.key))
                as_source = allowed.get((other.key, one.key))
                if as_output is not None:
                    below = min(below, as_output)
                if as_source is not None:
                    above = min(above, as_source)
                self.near[i].append((j, below, above))
                self.near[j].append((i, above, below))
                if (one.key, other.key) in same or (other.key, one.key) in same:
                    self.twins[i].add(j)
                    self.twins[j].add(i)

    def place(self, order: Sequence[int]) -> tuple[list[int], int]:
        """Offsets and the end of the highest buffer, placed in ``order``."""
        offsets = [-1] * len(self.sizes)
        top = 0
        for i in order:
            taken = [
                (offsets[j] - below, offsets[j] + above)
                for j, below, above in self.near[i]
                if offsets[j] >= 0
            ]
            taken.sort()
            at = 0
            for low, high in taken:
                if at <= low:
                    break
                if at < high:
                    at = high
            if self.twins[i]:
                at = min(at, self._beside_twin(i, offsets, at))
            offsets[i] = at
            top = max(top, at + self.sizes[i])
        return offsets, top

    def _beside_twin(self, i: int, offsets: Sequence[int], default: int) -> int:
        """The lowest offset of a twin of ``i`` that no other buffer forbids."""
        best = default
        for twin in self.twins[i]:
            at = offsets[twin]
            if 0 <= at < best and all(
                offsets[j] < 0 or j == twin or not offsets[j] - below < at < offsets[j] + above
                for j, below, above in self.near[i]
            ):
                best = at
        return best

    def improve(self, order: list[int], bound: int, tries: int) -> tuple[list[int], int]:
        """The best placement found by changing ``order``; never worse than ``order`` itself."""
        chance = random.Random(len(order)).random
        offsets, top = self.place(order)
        best = (offsets, top)
        for _ in range(tries):
            if best[1] <= bound:
                break
            changed = self._change(order, offsets, top, chance)
            found, height = self.place(changed)
            if height <= top:  # sideways moves too: most changes do not lower the top at once
                order, offsets, top = changed, found, height
            if height < best[1]:
                best = (found, height)
        return best

    def _change(
        self, order: list[int], offsets: list[int], top: int, chance: Callable[[], float]
    ) -> list[int]:
        """One of the highest buffers, or one in its way, at an earlier or later place."""
        highest = [i for i in order if offsets[i] + self.sizes[i] == top]
        moved = highest[int(chance() * len(highest))]
        near = self.near[moved]
        if near and chance() < 0.5:
            moved = near[int(chance() * len(near))][0]
        changed = [i for i in order if i != moved]
        changed.insert(int(chance() * len(order)), moved)
        return changed


def _meets_once(output: Buffer, source: Buffer) -> bool:
    return output.key != source.key and output.first == source.last > source.first


def _allowed(buffers: Sequence[Buffer], overlaps: Sequence[Overlap]) -> dict[tuple[int, int], int]:
    """Distances in units by (output, source) where the two meet at one step alone."""
    by_key = {b.key: b for b in buffers}
    found: dict[tuple[int, int], int] = {}
    for item in overlaps:
        pair = (item.output, item.source)
        if item.distance is not None and _meets_once(by_key[pair[0]], by_key[pair[1]]):
            found[pair] = max(found.get(pair, 0), _units(item.distance))
    return found


def _same(buffers: Sequence[Buffer], overlaps: Sequence[Overlap]) -> set[tuple[int, int]]:
    """The pairs (output, source) that may begin at the same byte."""
    by_key = {b.key: b for b in buffers}
    return {
        (item.output, item.source)
        for item in overlaps
        if item.distance is None
        and by_key[item.output].size <= by_key[item.source].size
        and _meets_once(by_key[item.output], by_key[item.source])
    }


def lower_bound(buffers: Sequence[Buffer], overlaps: Sequence[Overlap] = ()) -> int:
    """Bytes that no plan can go below: the most that is needed at one step.

    At the step where an output is born each source that it may overlap counts less what the two
    can share at most, all in all no more than the output.

    >>> lower_bound([Buffer(0, 16, 0, 1), Buffer(1, 32, 1, 2)], [Overlap(1, 0, 16)])
    32
    """
    sizes = {b.key: _units(b.size) for b in buffers}
    shared = {output: sizes[output] for output, _ in _same(buffers, overlaps)}
    for (output, source), apart in _allowed(buffers, overlaps).items():
        together = max(sizes[output], apart + sizes[source])
        saved = max(0, sizes[output] + sizes[source] - together)
        shared[output] = min(sizes[output], shared.get(output, 0) + saved)
    most = 0
    for step in {b.first for b in buffers}:
        alive = sum(sizes[b.key] for b in buffers if b.first <= step <= b.last)
        most = max(most, alive - sum(shared.get(b.key, 0) for b in buffers if b.first == step))
    return most * ALIGNMENT


_ORDERS: tuple[Callable[[Buffer], tuple[int, ...]], ...] = (
    lambda b: (-b.size, b.first, b.key),
    lambda b: (b.first, -b.size, b.key),
    lambda b: (-b.last, -b.size, b.key),
    lambda b: (b.first - b.last, -b.size, b.key),
    lambda b: (-b.size * (b.last - b.first + 1), b.first, b.key),
)


def plan_buffers(
    buffers: Sequence[Buffer], overlaps: Sequence[Overlap] = (), bound: int | None = None
) -> tuple[dict[int, int], int, int]:
    """Offsets by key, bytes of the arena, and its lower bound.

    ``bound`` ends the search when it is reached; by default the lower bound of these buffers.

    >>> offsets, total, bound = plan_buffers(
    ...     [Buffer(0, 16, 0, 1), Buffer(1, 32, 1, 2), Buffer(2, 16, 2, 3)]
    ... )
    >>> offsets, total, bound
    ({0: 32, 1: 0, 2: 32}, 48, 48)
    """
    bound = lower_bound(buffers, overlaps) if bound is None else bound
    if not buffers:
        return {}, 0, bound
    goal = _units(bound)
    orders = [sorted(range(len(buffers)), key=lambda i: order(buffers[i])) for order in _ORDERS]
    apart = _Problem(buffers, ())
    best = min((apart.place(order) for order in orders), key=lambda found: found[1])
    if overlaps:
        shared = _Problem(buffers, overlaps)
        best = min([best, *(shared.place(order) for order in orders)], key=lambda found: found[1])
    else:
        shared = apart
    if best[1] > goal:
        ranked = sorted(orders, key=lambda order: shared.place(order)[1])
        tries = _TRIES // len(buffers) // 3
        found = [shared.improve(order, goal, tries) for order in ranked[:3]]
        best = min([best, *found], key=lambda item: item[1])
    offsets, top = best
    return (
        {b.key: at * ALIGNMENT for b, at in zip(buffers, offsets, strict=True)},
        top * ALIGNMENT,
        bound,
    )
