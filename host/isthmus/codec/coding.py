"""Levels through the plain-Python coder, with the contexts that a walk names; normative."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from isthmus.codec.arithmetic import FinalState, Reader, Writer
from isthmus.codec.walk import Walk
from isthmus.errors import LevelError
from isthmus.rung import Rung

__all__ = ["put_levels", "take_levels"]


def put_levels(walk: Walk, writer: Writer, levels: npt.NDArray[np.uint8]) -> None:
    """Codes flat ``levels``, the next of a slice; LevelError where one is not below N."""
    form = walk.form
    bins = [form.bins(level) for level in range(form.levels)]
    for position, level in enumerate(levels.tolist()):
        if level >= form.levels:
            raise LevelError(f"levels[{position}]", f"is {level}", allowed=f"< {form.levels}")
        base = walk.base
        for context, bin_ in bins[level]:
            writer.write(base + context, bin_)
        walk.put(level, writer.shifts)


def take_levels(
    walk: Walk, rung: Rung, payload: bytes, elements: int, path: str
) -> tuple[npt.NDArray[np.uint8], FinalState]:
    """As :func:`decode_payload`, for the slice that ``walk`` stands at the start of."""
    reader = Reader(payload, walk.contexts, rung.rate, f"{path}.payload")
    levels = np.empty(elements, dtype=np.uint8)
    for position in range(elements):
        base = walk.base
        level = walk.form.read(partial(_read_bin, reader, base))
        if level >= rung.levels:
            raise LevelError(
                f"{path}.payload[{position}]", f"is level {level}", allowed=f"< {rung.levels}"
            )
        levels[position] = level
        walk.put(level, reader.shifts)
    return levels, reader.finish()


def _read_bin(reader: Reader, base: int, context: int) -> int:
    return reader.read(base + context)
