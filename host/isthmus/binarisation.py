"""Levels to bins: truncated unary up to sixteen levels, a suffix code above (BITSTREAM.md, 5).

The unary code with one context a bin is the one of Cohen, Choi and Bajic (OJCAS 2021); the suffix
for more than sixteen levels is Isthmus's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["MAX_CLASSES", "Binarisation", "binarisation"]

MAX_CLASSES = 16


@dataclass(frozen=True)
class Binarisation:
    """How levels ``0 .. levels - 1`` become bins, and which context each bin uses.

    ``classes`` unary classes of ``2 ** suffix_bits`` levels each. Contexts are numbered: first the
    ``classes - 1`` of the unary part, then the ``2 ** suffix_bits - 1`` of class 0's tree, then one
    for each suffix bit of the other classes.
    """

    levels: int
    classes: int
    suffix_bits: int

    @property
    def context_count(self) -> int:
        """Contexts needed: 1 (N = 2) to 34 (N = 256)."""
        suffix = (1 << self.suffix_bits) - 1 + self.suffix_bits
        return self.classes - 1 + suffix

    def bins(self, level: int) -> list[tuple[int, int]]:
        """The bins of ``level`` as (context number, bin) pairs, in coding order."""
        chosen = level >> self.suffix_bits
        out = [(index, 1) for index in range(chosen)]
        if chosen < self.classes - 1:
            out.append((chosen, 0))
        node = 1
        for depth in range(self.suffix_bits):
            bit = (level >> (self.suffix_bits - 1 - depth)) & 1
            out.append((self._suffix_context(chosen, node, depth), bit))
            node = 2 * node + bit
        return out

    def read(self, next_bin: Callable[[int], int]) -> int:
        """The level whose bins ``next_bin(context)`` delivers; may be >= ``levels`` (damaged)."""
        chosen = 0
        while chosen < self.classes - 1 and next_bin(chosen):
            chosen += 1
        node = 1
        for depth in range(self.suffix_bits):
            node = 2 * node + next_bin(self._suffix_context(chosen, node, depth))
        return (chosen << self.suffix_bits) + node - (1 << self.suffix_bits)

    def _suffix_context(self, chosen: int, node: int, depth: int) -> int:
        if chosen == 0:
            return self.classes - 1 + node - 1
        return self.classes - 1 + (1 << self.suffix_bits) - 1 + depth


def binarisation(levels: int) -> Binarisation:
    """The binarisation of ``levels`` (2..256): the fewest suffix bits that leave 16 classes."""
    if not 2 <= levels <= 256:
        raise ValueError(f"levels must be 2..256, not {levels}")
    suffix_bits = 0
    while ((levels - 1) >> suffix_bits) + 1 > MAX_CLASSES:
        suffix_bits += 1
    return Binarisation(levels, ((levels - 1) >> suffix_bits) + 1, suffix_bits)
