"""What is counted of one bundle: totals since the start, and a ring of seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.errors import IsthmusError
from isthmus.profile import Profile
from isthmus.server.histogram import BITS, SECONDS
from isthmus.server.types import Answer, Origin

__all__ = [
    "HISTORY",
    "STAGES",
    "Item",
    "ModelCounts",
    "Ring",
    "Served",
    "clips_below",
    "end_shares",
]

Item = tuple[Origin, Answer, npt.NDArray[np.uint8], "npt.NDArray[np.bool_] | None"]
"""An answered frame: its levels, and which of them arrived where not all did."""

STAGES = ("queue", "decode", "compute", "total")
HISTORY = 120
"""Whole seconds that are kept."""

_MINUTE = 60
_SUMS = 5
_REPORT_LIMIT = 16 << 20
_FOLD = 512  # frames that wait to be sorted into buckets
_FIELDS = len(STAGES) + 1
_nonzero = np.count_nonzero


class Served(Protocol):
    """What the monitor reads of a bundle that is served."""

    name: str
    version: str
    profile: Profile
    labels: tuple[str, ...]
    outputs: list[tuple[str, tuple[int, ...]]]


class Ring:
    """Numbers [second, ...] of the last HISTORY seconds and of the one that runs."""

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._rows: npt.NDArray[Any] = np.zeros((HISTORY + 1, *shape), dtype)
        self._second = 0

    def at(self, second: int) -> npt.NDArray[Any]:
        """The row of ``second``, never one before the last that was asked for."""
        behind = second - self._second
        if behind > 0:
            if behind > HISTORY:
                self._rows[:] = 0
            else:
                for missed in range(self._second + 1, second + 1):
                    self._rows[missed % len(self._rows)] = 0
            self._second = second
        row: npt.NDArray[Any] = self._rows[self._second % len(self._rows)]
        return row

    def last(self, second: int, count: int = HISTORY) -> npt.NDArray[Any]:
        """The rows of the ``count`` whole seconds before ``second``, oldest first."""
        self.at(second)
        return self._rows[np.arange(self._second - count, self._second) % len(self._rows)]


class ModelCounts:
    """Counts of one bundle. ``add`` is called for every batch and is meant to cost little."""

    def __init__(self, served: Served) -> None:
        self.served = served
        rungs = served.profile.rungs
        self.links: dict[str, int] = {}
        self.stage_counts = np.zeros((len(STAGES), SECONDS.buckets), np.int64)
        self.stage_sums = np.zeros(len(STAGES))
        self.bit_counts = np.zeros(BITS.buckets, np.int64)
        self.bit_sum = 0.0
        self.frames = 0
        self.slices_lost = 0
        self.concealed = 0
        self.calibrated = _calibrated(served)
        self.bottom_clips = [clips_below(served.profile, k) for k in range(len(rungs))]
        self._tops = [rung.levels - 1 for rung in rungs]
        self._stages = Ring((len(STAGES), SECONDS.buckets), np.int32)
        # Frames, bits, elements, concealed elements, slices lost; then for each rung elements,
        # those in the first cell and those in the last.
        self._sums = Ring((_SUMS + 3 * len(rungs),), np.float64)
        self._pending: list[float] = []
        self._second = 0

    def add(self, items: Sequence[Item], second: int) -> None:
        """Counts the frames of a batch."""
        if second != self._second:
            self.fold()  # what waits belongs to the second before
            self._second = second
        pending, links = self._pending, self.links
        bits, elements, concealed, lost = 0.0, 0, 0, 0
        cells = [0] * (3 * len(self._tops))
        for origin, answer, levels, received in items:
            times, count, size = answer.timings, answer.elements, 8.0 * answer.frame_bytes
            pending += (
                times.queue, times.decode, times.compute, times.total,
                size / count if count else 0.0,
            )  # fmt: skip
            link, rung = origin.link, answer.rung
            links[link] = links.get(link, 0) + 1
            bits += size
            elements += count
            concealed += answer.concealed
            lost += answer.slices_lost
            seen = levels if received is None else levels[received]
            cells[3 * rung] += seen.size
            cells[3 * rung + 2] += int(_nonzero(seen == self._tops[rung]))
            if self.bottom_clips[rung]:
                cells[3 * rung + 1] += int(_nonzero(seen == 0))
        self.frames += len(items)
        self.slices_lost += lost
        self.concealed += concealed
        sums = self._sums.at(second)
        sums += [len(items), bits, elements, concealed, lost, *cells]
        if len(pending) >= _FOLD * _FIELDS:
            self.fold()

    def lost(self, slices: int, second: int) -> None:
        """Slices of frames that were not answered."""
        self.slices_lost += slices
        self._sums.at(second)[4] += slices

    def stages(self, second: int, count: int = HISTORY) -> npt.NDArray[np.int32]:
        """Buckets of durations [count, stages, buckets] of the whole seconds before ``second``."""
        self.fold()
        return self._stages.last(second, count)

    def sums(self, second: int, count: int = HISTORY) -> npt.NDArray[np.float64]:
        """[count, 5]: frames, bits, elements, concealed elements and slices lost, by second."""
        return self._sums.last(second, count)[:, :_SUMS]

    def cells(self, second: int) -> list[tuple[float | None, float | None]]:
        """For each rung the shares of elements in the first and last cell, over a minute.

        The running second counts too. None where no element came, and for a first cell below which
        nothing is clipped.
        """
        running = self._sums.at(second)
        total = (self._sums.last(second, _MINUTE - 1).sum(axis=0) + running)[_SUMS:].reshape(-1, 3)
        out: list[tuple[float | None, float | None]] = []
        for rung, (elements, first, last) in enumerate(total.tolist()):
            if not elements:
                out.append((None, None))
                continue
            low = first / elements if self.bottom_clips[rung] else None
            out.append((low, last / elements))
        return out

    def fold(self) -> None:
        """Sorts what waits into buckets, so that the totals hold every frame."""
        if not self._pending:
            return
        values = np.array(self._pending).reshape(-1, _FIELDS)
        self._pending.clear()
        counts = np.stack([SECONDS.count(values[:, k]) for k in range(len(STAGES))])
        self.stage_counts += counts
        self.stage_sums += values[:, : len(STAGES)].sum(axis=0)
        ring = self._stages.at(self._second)
        ring += counts.astype(np.int32)
        self.bit_counts += BITS.count(values[:, -1])
        self.bit_sum += float(values[:, -1].sum())


def clips_below(profile: Profile, rung: int) -> bool:
    """Whether elements can lie below a rung's clip range, so that its first cell clips.

    An int8 tensor after a ReLU cannot hold less than 0, where its range begins.
    """
    low = profile.rungs[rung].clip[0]
    tensor = profile.tensor
    if tensor.dtype == "int8":
        return tensor.scale * (-128 - tensor.zero_point) < low
    return low != 0.0


def end_shares(report: Any, rungs: int) -> list[tuple[float, float] | None]:
    """From a bundle's report, for each rung the calibration's shares in the first and last cell."""
    out: list[tuple[float, float] | None] = [None] * rungs
    entries = report.get("rungs") if isinstance(report, Mapping) else None
    if not isinstance(entries, Sequence):
        return out
    for rung, entry in enumerate(entries[:rungs]):
        shares = entry.get("end_shares") if isinstance(entry, Mapping) else None
        if (
            isinstance(shares, list)
            and len(shares) == 2
            and all(isinstance(one, int | float) and 0 <= one <= 1 for one in shares)
        ):
            out[rung] = (float(shares[0]), float(shares[1]))
    return out


def _calibrated(served: Served) -> list[tuple[float, float] | None]:
    """What the bundle's report tells; nothing where there is no report of such a kind."""
    rungs = len(served.profile.rungs)
    bundle = getattr(served, "bundle", None)
    if not isinstance(bundle, Bundle) or "report.json" not in bundle.files:
        return [None] * rungs
    try:
        return end_shares(json.loads(bundle.read("report.json", limit=_REPORT_LIMIT)), rungs)
    except (IsthmusError, ValueError, RecursionError):
        return [None] * rungs
