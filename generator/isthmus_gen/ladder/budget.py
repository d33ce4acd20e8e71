"""What the encoder must know of a ladder to keep a byte budget in two passes.

The better way of two: begin with the rung that the budget alone suggests. With ``starts`` and
``ratios`` of :func:`budget_table` and a budget of B bytes,

    g = the first rung with starts[g] <= B, else the last one;  code rung g: s bytes
    k = the first rung that fits, else the last one: rung g itself fits if s <= B, another one if
        (s * ratios[g][k] + 4095) >> 12 <= B
    if k is not g, code rung k

needs one pass for most frames. ResNet-8 after stage 2, a ladder of four rungs, 600 calibration
pictures, 500 test pictures times 60 budgets between the shortest frame of the last rung and the
longest of the first: a better rung would have fitted in 1.3 % of the frames that fit at all, 68 %
need one pass, one of 24,542 was too long. Rung 0 first, by its ratios alone: 16 %, 21 %, none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.decoder import Backend, make_codec
from isthmus.profile import Profile

__all__ = [
    "RATIO_BITS",
    "BudgetTable",
    "budget_table",
    "frame_sizes",
    "table_of",
    "with_budget",
]

RATIO_BITS = 12
"""Fractional bits of a ratio."""
BUDGET_TENSORS = 600
"""Tensors that are coded with every rung to make the table."""
_MARGIN = 0.02
_START_SHARE = 0.10
_LARGEST = 0xFFFF


@dataclass(frozen=True)
class BudgetTable:
    """How long frames are, in the rungs' order.

    starts  bytes that one frame in ten does not exceed, for each rung
    ratios  [g][k]: the largest size(k) / size(g) seen, and one fiftieth more, in Q12; 1..65535
    """

    starts: tuple[int, ...]
    ratios: tuple[tuple[int, ...], ...]


def budget_table(
    profile: Profile, tensors: Sequence[npt.NDArray[Any]], *, backend: Backend = "auto"
) -> BudgetTable:
    """The table of a profile's ladder from calibration tensors.

    ``tensors`` have the profile's shape and dtype (or are float32); sizes are those of whole
    frames, headers included.
    """
    return table_of(frame_sizes(profile, tensors, backend=backend), len(profile.rungs))


def with_budget(profile: Profile, tensors: Sequence[npt.NDArray[Any]]) -> Profile:
    """The profile with the table of its ladder, from at most ``BUDGET_TENSORS`` of ``tensors``.

    A ladder of one rung needs none. The runtime's `isth_encode_budget` reads the table.
    """
    if len(profile.rungs) == 1:
        return profile
    table = budget_table(profile, tensors[:BUDGET_TENSORS])
    rungs = tuple(
        dataclasses.replace(rung, budget_start=start, size_ratios=ratios)
        for rung, start, ratios in zip(profile.rungs, table.starts, table.ratios, strict=True)
    )
    return dataclasses.replace(profile, rungs=rungs)


def frame_sizes(
    profile: Profile, tensors: Sequence[npt.NDArray[Any]], *, backend: Backend = "auto"
) -> list[list[int]]:
    """Bytes of each tensor's frame at each rung, [tensor][rung]."""
    codec = make_codec(profile, backend)
    rungs = range(len(profile.rungs))
    return [[len(codec.encode(rung, 0, tensor)) for rung in rungs] for tensor in tensors]


def table_of(sizes: Sequence[Sequence[int]], rungs: int) -> BudgetTable:
    """The table from frame sizes [tensor][rung]; zeros and ratios of 1 where nothing was seen.

    >>> table_of([[100, 50], [200, 80]], 2)
    BudgetTable(starts=(100, 50), ratios=((4096, 2089), (10445, 4096)))
    """
    if not sizes:
        return BudgetTable((0,) * rungs, ((1 << RATIO_BITS,) * rungs,) * rungs)
    seen = np.asarray(sizes, dtype=np.int64)
    starts = np.percentile(seen, 100 * _START_SHARE, axis=0, method="inverted_cdf")
    ratios = [
        tuple(1 << RATIO_BITS if g == k else _q12(seen[:, k] / seen[:, g]) for k in range(rungs))
        for g in range(rungs)
    ]
    return BudgetTable(tuple(int(size) for size in starts), tuple(ratios))


def _q12(seen: npt.NDArray[np.float64]) -> int:
    scaled = float(seen.max()) * (1.0 + _MARGIN) * (1 << RATIO_BITS)
    return min(_LARGEST, max(1, math.ceil(scaled)))
