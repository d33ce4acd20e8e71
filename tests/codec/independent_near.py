"""Near-lossless coding a second time, written from docs/BITSTREAM.md, chapter 13.

As in independent_codec.py an interval is two exact integers and a payload one rational number. A
neighbour is a place in the grid [row, position, channel] that is looked up among all levels so far;
a symbol's part is summed up anew for each element.
"""

from __future__ import annotations

import itertools
from typing import Any

from independent_interval import Interval, RefusedError

OUTSIDE = -1


def hex_pairs(text: str) -> list[int]:
    """Bytes that were written as two digits each."""
    return [int(text[at : at + 2], 16) for at in range(0, len(text), 2)]


def plain_bits(levels: int) -> int:
    """The smallest L with 2^L >= N."""
    return next(bits for bits in range(9) if 2**bits >= levels)


class NearModel:
    """One slice or packet, from the tensor's element number ``start`` on."""

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
        self.flat = flat
        self.levels: list[int] = []
        self.bits = plain_bits(self.rung["levels"])
        self.tables = self.rung["trained"]
        self.classes, self.cells, self.choices, self.symbols = (
            hex_pairs(self.tables[name]) for name in ("classes", "cells", "choices", "symbols")
        )
        self.frequencies = [
            [int(text[at : at + 4], 16) for at in range(0, len(text), 4)]
            for text in self.tables["frequencies"]
        ]

    def copy(self) -> NearModel:
        """The same state, to come back to."""
        out = NearModel.__new__(NearModel)
        out.__dict__.update(self.__dict__)
        out.levels = list(self.levels)
        return out

    def place(self) -> tuple[int, int, int]:
        """(row, position, channel) of the next element."""
        row, column = divmod(self.start + len(self.levels), self.row)
        return row, *divmod(column, self.tables["channels"])

    def class_at(self, row: int, position: int, channel: int) -> int:
        """The class of the neighbour there."""
        at = row * self.row + position * self.tables["channels"] + channel - self.start
        if row < 0 or position < 0 or at < 0:
            return self.classes[OUTSIDE]
        return self.classes[self.levels[at]]

    def sizes(self) -> list[int]:
        """The frequencies for the next element."""
        row, position, channel = self.place()
        count = max(self.classes) + 1
        number = 0
        for place in ((row - 1, position), (row, position - 1), (row - 1, position - 1)):
            number = number * count + self.class_at(*place, channel)
        cell = self.cells[number]
        return self.frequencies[self.choices[channel * (max(self.cells) + 1) + cell]]

    def parts(self, level: int) -> list[tuple[int, int, int]]:
        """(start, size, b) of every part that the level takes here."""
        plain = (level, 1, self.bits)
        if self.flat:
            return [plain]
        symbol, sizes = self.symbols[level], self.sizes()
        own = (sum(sizes[:symbol]), sizes[symbol], 16)
        return [own] if symbol else [own, plain]

    def coded(self, level: int, shifts: int) -> None:
        """An element is done, ``shifts`` bytes have left the coder: is it time to be flat?"""
        *_, channel = self.place()
        self.levels.append(level)
        if channel != self.tables["channels"] - 1 and channel % 32 != 31:
            return
        packets = self.profile["packets"]
        slack = 64 if packets is None else min(64, packets["bytes"] // 8)
        if 256 * shifts > 256 * slack + len(self.levels) * 32 * self.bits:
            self.flat = True

    def code(self, interval: Interval, levels: list[int]) -> None:
        """Codes elements into ``interval``."""
        for level in levels:
            for start, size, bits in self.parts(level):
                interval.keep(start, size, bits)
            self.coded(level, interval.shifts)

    def take(self, interval: Interval, number: int, size: int, count: int) -> None:
        """Decodes ``count`` elements of the payload ``number``, of ``size`` bytes."""
        for _ in range(count):
            symbol = 0
            if not self.flat:
                sizes = self.sizes()
                value = interval.part_of(number, size, 16)
                if value >= sum(sizes):
                    raise RefusedError(10)
                symbol = sum(edge <= value for edge in itertools.accumulate(sizes))
                interval.keep(sum(sizes[:symbol]), sizes[symbol], 16)
            level = self.symbols.index(symbol) if symbol else self.plain(interval, number, size)
            self.coded(level, interval.shifts)

    def plain(self, interval: Interval, number: int, size: int) -> int:
        """A level that is sent as it is."""
        value = interval.part_of(number, size, self.bits)
        if value >= 2**self.bits:
            raise RefusedError(10)
        if value >= self.rung["levels"]:
            raise RefusedError(11)
        if not self.flat and self.symbols[value]:
            raise RefusedError(10)
        interval.keep(value, 1, self.bits)
        return value
