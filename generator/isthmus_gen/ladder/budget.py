"""What the encoder must know of a ladder to keep a byte budget in two passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from isthmus.decoder import Backend, make_codec
from isthmus.profile import Profile

__all__ = ["RATIO_BITS", "budget_ratios", "ratios_of"]

RATIO_BITS = 12
"""Fractional bits of a ratio."""
_MARGIN = 0.05
_LARGEST = 0xFFFF


def budget_ratios(
    profile: Profile, tensors: Sequence[npt.NDArray[Any]], *, backend: Backend = "auto"
) -> tuple[int, ...]:
    """For each rung the largest size(rung) / size(rung 0) seen, with a margin, in Q12.

    ``tensors`` are calibration tensors of the profile's shape and dtype (or float32); sizes are
    those of whole frames. An encoder that has coded rung 0 in s bytes may expect rung k to take at
    most ``(s * ratio[k] + 4095) >> 12``. The first ratio is 4096; none is below 1 or above 65535.
    """
    codec = make_codec(profile, backend)
    sizes = [
        [len(codec.encode(rung, 0, tensor)) for rung in range(len(profile.rungs))]
        for tensor in tensors
    ]
    return ratios_of(sizes, len(profile.rungs))


def ratios_of(sizes: Sequence[Sequence[int]], rungs: int) -> tuple[int, ...]:
    """Q12 ratios from the frames' sizes [tensor][rung]; 1 for every rung where nothing was seen.

    The margin is one twentieth: a rung that was seen to take half of rung 0 at most is expected to
    take 0.525 of it at most.

    >>> ratios_of([[100, 50], [200, 80]], 2)
    (4096, 2151)
    """
    out = [1 << RATIO_BITS]
    for rung in range(1, rungs):
        most = max((row[rung] / row[0] for row in sizes), default=1.0)
        scaled = (most * (1.0 + _MARGIN)) * (1 << RATIO_BITS)
        out.append(min(_LARGEST, max(1, -int(-scaled // 1))))
    return tuple(out)
