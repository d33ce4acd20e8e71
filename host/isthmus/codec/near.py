"""The levels of a near-lossless slice, in plain Python (BITSTREAM.md, 13); normative.

A walk follows the elements of one slice in coding order, as :mod:`isthmus.codec.walk` does for the
lightweight codec. It keeps the classes of one row of what was coded, and of the position up and to
the left, so that each element's distribution follows from its neighbours and its channel. It
watches the length too: past a limit the rest of the slice is coded **flat**, every level as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isthmus.codec.arithmetic import Reader, Writer
from isthmus.codec.walk import CHECK_ELEMENTS, SLACK_BYTES
from isthmus.errors import LevelError, PayloadError
from isthmus.trained import ESCAPE, FREQUENCY_BITS, FREQUENCY_SUM, MAX_CELLS, Trained

__all__ = ["NearTables", "NearWalk", "near_tables"]


#: ISTH_GUESSES of the runtime.
_GUESSES = 4


class NearWalk:
    """The elements of one slice, from element ``start`` of the tensor on.

    ``slack`` as SLACK_BYTES; ``flat`` starts the slice flat.
    """

    def __init__(
        self,
        trained: Trained,
        row_elements: int,
        *,
        start: int = 0,
        slack: int = SLACK_BYTES,
        flat: bool = False,
    ) -> None:
        self.flat = flat
        self._trained = trained
        self._levels = len(trained.symbols)
        self._starts = trained.starts()
        self._levels_of = {
            symbol: level for level, symbol in enumerate(trained.symbols) if symbol != ESCAPE
        }
        self._outside = trained.classes[-1]
        self._row_elements = row_elements
        self._column = start % row_elements if row_elements else 0
        self._row = [self._outside] * (trained.channels + row_elements)
        self._up_left = [self._outside] * trained.channels
        self._allowed = slack << 8

    def put_levels(self, writer: Writer, levels: npt.NDArray[np.uint8]) -> None:
        """Codes flat ``levels``, the next of the slice; LevelError where one is not below N."""
        for position, level in enumerate(levels.tolist()):
            if level >= self._levels:
                raise LevelError(f"levels[{position}]", f"is {level}", allowed=f"< {self._levels}")
            self._put(writer, level)
            self.go_on(level, writer.shifts)

    def take_levels(self, reader: Reader, elements: int, path: str) -> npt.NDArray[np.uint8]:
        """The next ``elements`` levels of the slice; LevelError or PayloadError."""
        levels = np.empty(elements, dtype=np.uint8)
        for position in range(elements):
            level = self._take(reader, f"{path}.payload[{position}]")
            levels[position] = level
            self.go_on(level, reader.shifts)
        return levels

    def ideal_bits(self, level: int) -> float:
        """Bits that the next element would take at its distribution's own estimate."""
        trained = self._trained
        if self.flat:
            return float(trained.level_bits)
        symbol = trained.symbols[level]
        frequency = trained.frequencies[self._distribution()][symbol]
        escaped = trained.level_bits if symbol == ESCAPE else 0
        return FREQUENCY_BITS - float(np.log2(frequency)) + escaped

    def _distribution(self) -> int:
        """Number of the distribution of the element at the column."""
        trained = self._trained
        channel = self._column % trained.channels
        left = self._row[self._column]
        up = self._row[self._column + trained.channels]
        cell = trained.cells[
            (up * trained.class_count + left) * trained.class_count + self._up_left[channel]
        ]
        return trained.choices[channel * trained.cell_count + cell]

    def _put(self, writer: Writer, level: int) -> None:
        trained = self._trained
        if not self.flat:
            number = self._distribution()
            symbol = trained.symbols[level]
            writer.write_part(
                self._starts[number][symbol], trained.frequencies[number][symbol], FREQUENCY_BITS
            )
            if symbol != ESCAPE:
                return
        writer.write_part(level, 1, trained.level_bits)

    def _take(self, reader: Reader, path: str) -> int:
        trained = self._trained
        if not self.flat:
            number = self._distribution()
            value = reader.read_part(FREQUENCY_BITS, FREQUENCY_SUM)
            starts = self._starts[number]
            symbol = max(index for index, start in enumerate(starts) if start <= value)
            reader.take_part(starts[symbol], trained.frequencies[number][symbol], FREQUENCY_BITS)
            if symbol != ESCAPE:
                return self._levels_of[symbol]
        level = reader.read_part(trained.level_bits, 1 << trained.level_bits)
        if level >= self._levels:
            raise LevelError(path, f"is level {level}", allowed=f"< {self._levels}")
        if not self.flat and trained.symbols[level] != ESCAPE:
            raise PayloadError(path, f"escapes to level {level}, which has a symbol of its own")
        reader.take_part(level, 1, trained.level_bits)
        return level

    def go_on(self, level: int, shifts: int) -> None:
        """Goes on past an element of ``level``; ``shifts`` bytes have left the coder since."""
        trained = self._trained
        column, channels = self._column, trained.channels
        channel = column % channels
        self._up_left[channel] = self._row[column + channels]
        self._row[column + channels] = trained.classes[level]
        self._column = column + 1
        if self._column == self._row_elements:
            self._column = 0
            self._up_left = [self._outside] * channels
        self._allowed += 32 * trained.level_bits
        looks = (channel + 1) % CHECK_ELEMENTS == 0 or channel + 1 == channels
        if looks and shifts << 8 > self._allowed:
            self.flat = True


@dataclass(frozen=True)
class NearTables:
    """A rung's distributions as the C runtime takes them (``isth_trained``).

    cells    uint8 [256 A], cell of class up, up-left and left at 256 up + 16 up-left + left
    choices  uint16 [C * 32], where the distribution of each channel and cell begins in starts
    levels   uint16 [N], 256 times the symbol of a level, plus its class
    values   uint16 [256], the same of each int8 value, from -128 on; () without a table of int8
    own      uint8 [M], level of a symbol
    starts   uint16 [K * (M + 1)], the sum of the frequencies before each symbol, and of all
    outside  class of a place outside, plus 16 times itself
    guesses  uint8 [K * 4 * (M + 1)], the symbol at the start of each of 4 (M + 1) equal parts of
             65536
    """

    cells: tuple[int, ...]
    choices: tuple[int, ...]
    levels: tuple[int, ...]
    values: tuple[int, ...]
    own: tuple[int, ...]
    starts: tuple[int, ...]
    outside: int
    guesses: tuple[int, ...]


def near_tables(trained: Trained, table_i8: bytes | None) -> NearTables:
    """The tables of ``isth_trained`` for a near-lossless rung and its table of int8."""
    classes, cells = trained.class_count, np.frombuffer(trained.cells, np.uint8)
    wide = np.zeros((classes, 16, 16), np.uint8)
    # (up, left, up-left) -> (up, up-left, left): a byte of the row has both of the latter
    wide[:, :classes, :classes] = cells.reshape((classes,) * 3).transpose(0, 2, 1)
    choices = np.zeros((trained.channels, MAX_CELLS), np.int64)
    choices[:, : trained.cell_count] = np.frombuffer(trained.choices, np.uint8).reshape(
        trained.channels, -1
    )
    own = [0] * trained.symbol_count
    for level, symbol in enumerate(trained.symbols):
        own[symbol] = level
    own[ESCAPE] = 0
    levels = [
        symbol << 8 | class_
        for symbol, class_ in zip(trained.symbols, trained.classes[:-1], strict=True)
    ]
    return NearTables(
        cells=tuple(wide.reshape(-1).tolist()),
        choices=tuple((choices * (trained.symbol_count + 1)).reshape(-1).tolist()),
        levels=tuple(levels),
        values=tuple(levels[level] for level in table_i8 or b""),
        own=tuple(own),
        starts=tuple(start for row in trained.starts() for start in (*row, FREQUENCY_SUM)),
        outside=trained.classes[-1] * 17,
        guesses=_guesses(trained),
    )


def _guesses(trained: Trained) -> tuple[int, ...]:
    parts = _GUESSES * (trained.symbol_count + 1)
    first = -(-(np.arange(parts) << FREQUENCY_BITS) // parts)  # of value * parts >> 16 == part
    found = [np.searchsorted(row, first, side="right") - 1 for row in trained.starts()]
    return tuple(np.concatenate(found).tolist())
