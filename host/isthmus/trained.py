"""The trained distributions of a near-lossless rung (BITSTREAM.md, 13).

Levels are not cut into binary decisions: each is one symbol of a distribution with fixed
frequencies, found offline. Which distribution follows from the classes of three neighbours in the
element's channel and from the channel. The scheme is Isthmus's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isthmus.errors import BundleFormatError
from isthmus.fields import FieldReader

__all__ = [
    "ESCAPE",
    "FREQUENCY_BITS",
    "FREQUENCY_SUM",
    "MAX_CELLS",
    "MAX_CLASSES",
    "MAX_DISTRIBUTIONS",
    "MAX_ESCAPE",
    "MAX_SYMBOLS",
    "Trained",
    "read_trained",
    "trained_dict",
]

#: Symbols are parts of 2^16; the frequencies of a distribution have the sum 2^16 - 1, which fits
#: 16 bits.
FREQUENCY_BITS = 16
FREQUENCY_SUM = (1 << FREQUENCY_BITS) - 1
#: An escape is rare, so an encoder need not ask for it where no byte is due.
MAX_ESCAPE = 256
#: Classes of a neighbour, cells of a neighbourhood, distributions, and symbols with the escape.
MAX_CLASSES = 16
MAX_CELLS = 32
MAX_DISTRIBUTIONS = 255
MAX_SYMBOLS = 256
#: The symbol of the levels that have none of their own.
ESCAPE = 0


@dataclass(frozen=True)
class Trained:
    """What codes the levels of one near-lossless rung.

    channels     C; element i of a row is of channel i % C
    classes      uint8 [N + 1], class 0 .. A-1 of each level; last that of a place outside
    cells        uint8 [A^3], cell 0 .. S-1 of (up, left, up-left), up the most significant
    choices      uint8 [C * S], distribution 0 .. K-1 of each channel and cell
    symbols      uint8 [N], symbol of each level: 1 .. M-1 each once; 0, the escape, for the rest
    frequencies  uint16 [K][M], each 1 or more, of sum 2^16 - 1; the first one, at
                 most 256, is the escape's
    """

    channels: int
    classes: bytes
    cells: bytes
    choices: bytes
    symbols: bytes
    frequencies: tuple[tuple[int, ...], ...]

    @property
    def class_count(self) -> int:
        """A, the classes of a neighbour."""
        return max(self.classes) + 1

    @property
    def cell_count(self) -> int:
        """S, the cells of a neighbourhood."""
        return len(self.choices) // self.channels

    @property
    def symbol_count(self) -> int:
        """M, the symbols with the escape."""
        return len(self.frequencies[0])

    @property
    def level_bits(self) -> int:
        """Bits of a level that is sent as it is: after an escape, and where a slice is flat."""
        return (len(self.symbols) - 1).bit_length()

    def starts(self) -> list[list[int]]:
        """The sum of the frequencies before each symbol, [K][M]."""
        out = []
        for row in self.frequencies:
            at, starts = 0, []
            for frequency in row:
                starts.append(at)
                at += frequency
            out.append(starts)
        return out


def trained_dict(trained: Trained) -> dict[str, Any]:
    """The distributions as JSON-ready data."""
    return {
        "channels": trained.channels,
        "classes": trained.classes.hex(),
        "cells": trained.cells.hex(),
        "choices": trained.choices.hex(),
        "symbols": trained.symbols.hex(),
        "frequencies": [
            "".join(f"{frequency:04x}" for frequency in row) for row in trained.frequencies
        ],
    }


def read_trained(read: FieldReader, levels: int, row_elements: int) -> Trained:
    """The distributions in ``read`` for N = ``levels``; BundleFormatError names what is wrong."""
    read.only("channels", "classes", "cells", "choices", "symbols", "frequencies")
    channels = read.integer("channels", 1, max(1, row_elements))
    if row_elements % channels:
        raise read.fail("channels", channels, f"a divisor of the row's {row_elements} elements")
    rows = read.sequence("frequencies", 1, MAX_DISTRIBUTIONS)
    frequencies = tuple(_read_frequencies(read, index, row) for index, row in enumerate(rows))
    symbols = _read_bytes(read, "symbols", levels, len(frequencies[0]))
    _check_symbols(read, symbols, frequencies)
    classes = _read_bytes(read, "classes", levels + 1, MAX_CLASSES)
    cells = _read_bytes(read, "cells", (max(classes) + 1) ** 3, MAX_CELLS)
    sets = max(cells) + 1
    choices = _read_bytes(read, "choices", channels * sets, len(frequencies))
    return Trained(channels, classes, cells, choices, symbols, frequencies)


def _read_bytes(read: FieldReader, key: str, count: int, limit: int) -> bytes:
    """``count`` bytes in hex, each below ``limit``."""
    text = read.text(key)
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != count or max(found) >= limit:
        raise read.fail(key, text, f"{count} bytes in hex, each < {limit}")
    return found


def _read_frequencies(read: FieldReader, index: int, text: Any) -> tuple[int, ...]:
    path = f"frequencies[{index}]"
    try:
        data = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        data = b""
    row = tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data) & ~1, 2))
    if (
        len(data) % 2
        or not 2 <= len(row) <= MAX_SYMBOLS
        or min(row) < 1
        or sum(row) != FREQUENCY_SUM
    ):
        raise read.fail(path, text, "2 to 256 numbers of 4 hex digits, 1 or more, of sum 65535")
    if row[ESCAPE] > MAX_ESCAPE:
        raise read.fail(path, text, f"a first number of at most {MAX_ESCAPE}")
    return row


def _check_symbols(
    read: FieldReader, symbols: bytes, frequencies: tuple[tuple[int, ...], ...]
) -> None:
    """Every distribution has a frequency for each symbol, and each symbol one level."""
    count = len(frequencies[0])
    for index, row in enumerate(frequencies):
        if len(row) != count:
            raise BundleFormatError(
                f"{read.path}.frequencies[{index}]", f"has {len(row)} entries", allowed=str(count)
            )
    own = sorted(symbol for symbol in symbols if symbol != ESCAPE)
    if own != list(range(1, count)):
        raise read.fail("symbols", symbols.hex(), f"each of 1..{count - 1} once, else {ESCAPE}")
