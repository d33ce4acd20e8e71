"""The state of the second codec's coder: an interval of exact integers, with nothing in flight."""

from __future__ import annotations

from fractions import Fraction


class RefusedError(Exception):
    """A frame that must not be decoded, with the number of the reason."""

    def __init__(self, code: int) -> None:
        super().__init__(f"status {code}")
        self.code = code


class Interval:
    """[low, low + width) in units of 2^-32 * 256^-shifts; everything exact."""

    def __init__(self) -> None:
        self.low = 0
        self.width = 2**32 - 1
        self.shifts = 0

    def split(self, chance: int) -> int:
        """Width of the zero's part, which comes first; ``chance`` of a one in 1/65536."""
        return self.width - self.width // 4096 * ((chance + 8) // 16)

    def copy(self) -> Interval:
        """The same state, to come back to."""
        out = Interval()
        out.low, out.width, out.shifts = self.low, self.width, self.shifts
        return out

    def narrow(self, chance: int, one: bool) -> None:
        """Keeps the part of a bin."""
        zero = self.split(chance)
        if one:
            self.low += zero
            self.width -= zero
        else:
            self.width = zero
        while self.width < 2**24:
            self.low *= 256
            self.width *= 256
            self.shifts += 1

    def shortest(self) -> bytes:
        """Of the byte strings that, with zeros after them, lie inside: the shortest, then least."""
        unit = 2**32 * 256**self.shifts
        size = 0
        while True:
            number = -(-self.low * 256**size // unit)
            if number * unit < (self.low + self.width) * 256**size:
                return number.to_bytes(size, "big") if size else b""
            size += 1

    def flushed(self) -> bytes:
        """The same with the zero bytes that the coder's window and flush leave at the end."""
        size = self.shifts + (0 < self.low % 2**32 <= 2**32 - self.width)
        return self.shortest().ljust(size, b"\0")

    def state(self) -> tuple[int, int, int]:
        """What a coder with a 32-bit window holds here."""
        return self.low % 2**32, self.width, self.shifts

    def keep(self, start: int, size: int, bits: int) -> None:
        """Keeps ``size`` of 2^bits parts, from number ``start`` on (chapter 13.2)."""
        part = self.width // 2**bits
        self.low += part * start
        self.width = part * size
        while self.width < 2**24:
            self.low *= 256
            self.width *= 256
            self.shifts += 1

    def part_of(self, number: int, size: int, bits: int) -> int:
        """Which of the parts holds the payload ``number`` of ``size`` bytes."""
        beyond = Fraction(number * 2**32 * 256**self.shifts, 256**size) - self.low
        return int(beyond / (self.width // 2**bits))
