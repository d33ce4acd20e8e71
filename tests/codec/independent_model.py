"""The probabilities of the second codec, written from docs/BITSTREAM.md, chapters 5 and 6.

A model looks everything up anew for each element: the neighbours in the list of levels, the
context set from its three numbers, the starting state in the profile's text.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any


def code_words(levels: int) -> list[tuple[tuple[int, int], ...]]:
    """For each level its (context, bin) pairs, by writing the whole code book down.

    All code words of the classes' suffixes exist, also those of levels that do not: a decoder can
    meet them.
    """
    bits = suffix_bits(levels)
    classes = -(-levels // 2**bits)
    words = []
    for number in range(classes * 2**bits):
        group, rest = divmod(number, 2**bits)
        word = [(k, 1) for k in range(group)]
        if group != classes - 1:
            word.append((group, 0))
        text = f"{rest:0{bits}b}" if bits else ""
        for depth, digit in enumerate(text):
            if group == 0:
                # the node of a complete tree: as many before it as shallower nodes and left ones
                context = classes - 1 + (2**depth - 1) + int("0" + text[:depth], 2)
            else:
                context = classes - 1 + (2**bits - 1) + depth
            word.append((context, int(digit)))
        words.append(tuple(word))
    return words


def suffix_bits(levels: int) -> int:
    """The low bits of a level that are not coded in unary."""
    return next(b for b in range(9) if -(-levels // 2**b) <= 16)


def thirty_seconds(levels: int) -> int:
    """What a level costs with codes of equal length, in 1/32 bit, rounded up."""
    bits = suffix_bits(levels)
    target = (-(-levels // 2**bits)) ** 32
    cost = 0
    while 2**cost < target:
        cost += 1
    return cost + 32 * bits


class Chances:
    """The contexts of one set."""

    def __init__(self, initial: list[int], rate: int) -> None:
        self.values = list(initial)
        self.divisor = 2**rate

    def learn(self, context: int, one: bool) -> None:
        value = self.values[context]
        step = (65536 - value) // self.divisor if one else -(value // self.divisor)
        self.values[context] = value + step


class Model:
    """The context sets of one slice or packet, from the tensor's element number ``start`` on."""

    def __init__(
        self, profile: dict[str, Any], rung: int, start: int, *, flat: bool = False
    ) -> None:
        self.profile = profile
        self.rung: dict[str, Any] = profile["rungs"][rung]
        shape = profile["tensor"]["shape"]
        self.row = 1
        for size in shape[1:] if len(shape) > 1 else shape:
            self.row *= size
        self.start = start
        self.levels: list[int] = []
        self.words = code_words(self.rung["levels"])
        self.bins = 1 + max(context for word in self.words for context, _ in word)
        self.used: dict[int, Chances] = {}
        self.flat: Chances | None = None
        if flat:
            self.go_flat()

    def copy(self) -> Model:
        """The same state, to come back to."""
        out = Model.__new__(Model)
        out.__dict__.update(self.__dict__)
        out.levels = list(self.levels)
        rate = self.rung["rate"]
        out.used = {key: Chances(old.values, rate) for key, old in self.used.items()}
        out.flat = None if self.flat is None else Chances(self.flat.values, rate)
        return out

    def chances(self) -> Chances:
        """The set that the next element uses."""
        if self.flat is not None:
            return self.flat
        number = self.set_number()
        if number not in self.used:
            self.used[number] = Chances(self.starting(number), self.rung["rate"])
        return self.used[number]

    def set_number(self) -> int:
        """Which set it is: 0 in scheme "paper"."""
        choice = self.rung.get("contexts")
        if choice is None:
            return 0
        place = self.start + len(self.levels)
        column = place % self.row
        classes = choice["classes"]
        up = self.neighbour(place - self.row) if place >= self.row else None
        left = self.neighbour(place - choice["step"]) if column >= choice["step"] else None
        total = max(classes) + 1
        cluster = choice["clusters"][column % len(choice["clusters"])]
        above, before = (classes[-1 if level is None else level] for level in (up, left))
        return int((cluster * total + above) * total + before)

    def neighbour(self, place: int) -> int | None:
        """The level there; None outside this slice or packet."""
        return self.levels[place - self.start] if place >= self.start else None

    def starting(self, number: int) -> list[int]:
        """The states of one set in the profile."""
        given = self.rung["initial"]
        own = slice(number * self.bins, (number + 1) * self.bins)
        if isinstance(given, str):
            return [256 * byte + 128 for byte in bytes.fromhex(given)[own]]
        return list(given[own])

    def go_flat(self) -> None:
        """From here on one set, at which all classes are as likely as each other."""
        classes = -(-self.rung["levels"] // 2 ** suffix_bits(self.rung["levels"]))
        even = [Fraction(classes - 1 - k, classes - k) for k in range(classes - 1)]
        states = [int(65536 * share) for share in even]
        states += [32768] * (self.bins - len(states))
        self.flat = Chances(states, self.rung["rate"])

    def coded(self, level: int, shifts: int) -> None:
        """An element is done, ``shifts`` bytes have left the coder: is it time to be flat?"""
        self.levels.append(level)
        choice = self.rung.get("contexts")
        if choice is None or self.flat is not None:
            return
        channels = len(choice["clusters"])
        channel = (self.start + len(self.levels) - 1) % self.row % channels
        if channel != channels - 1 and (channel + 1) % 32 != 0:
            return
        packets = self.profile.get("packets")
        slack = 64 if packets is None else min(64, packets["bytes"] // 8)
        cost = thirty_seconds(self.rung["levels"])
        if 256 * shifts > 256 * slack + len(self.levels) * cost:
            self.go_flat()
