"""Levels through the plain-Python coder, along the walk of their rung; normative."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from isthmus.codec.arithmetic import FinalState, Reader, Writer
from isthmus.codec.near import NearWalk
from isthmus.codec.walk import SLACK_BYTES, Walk
from isthmus.errors import LevelError
from isthmus.rung import Rung

__all__ = ["AnyWalk", "open_walk", "open_writer", "put_levels", "take_levels"]

AnyWalk = Walk | NearWalk


def open_walk(
    rung: Rung,
    row_elements: int,
    *,
    start: int = 0,
    slack: int = SLACK_BYTES,
    flat: bool = False,
) -> AnyWalk:
    """The walk over a slice of ``rung`` that begins with element ``start``."""
    if rung.trained is not None:
        return NearWalk(rung.trained, row_elements, start=start, slack=slack, flat=flat)
    return Walk(rung, row_elements, start=start, slack=slack, flat=flat)


def open_writer(walk: AnyWalk, rung: Rung) -> Writer:
    """A writer for the levels of ``walk``, which has just been opened."""
    return Writer([] if isinstance(walk, NearWalk) else walk.contexts, rung.rate)


def put_levels(walk: AnyWalk, writer: Writer, levels: npt.NDArray[np.uint8]) -> None:
    """Codes flat ``levels``, the next of a slice; LevelError where one is not below N."""
    if isinstance(walk, NearWalk):
        walk.put_levels(writer, levels)
        return
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
    walk: AnyWalk, rung: Rung, payload: bytes, elements: int, path: str
) -> tuple[npt.NDArray[np.uint8], FinalState]:
    """As :func:`decode_payload`, for the slice that ``walk`` stands at the start of."""
    if isinstance(walk, NearWalk):
        reader = Reader(payload, [], 0, f"{path}.payload")
        return walk.take_levels(reader, elements, path), reader.finish()
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
