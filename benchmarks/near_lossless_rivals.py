"""The rivals of the near-lossless comparison: who takes part, with which layouts, on how much."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.codecs import hevc, packed
from benchmarks.codecs.base import Array8, Codec, cheapest
from benchmarks.codecs.lossless import (
    PICTURE_LAYOUTS,
    HevcLossless,
    JpegLs,
    JpegXl,
    LosslessPng,
    LosslessWebP,
    Lzma,
    OnPicture,
    absent_imagecodecs,
    picture_tiling,
)

__all__ = ["Rival", "absent", "rivals"]

Shape = tuple[int, int, int]
#: Slow coders get every fifth tensor, half as many calibration tensors and no layout of lines.
_SLOW = 5
_CHOOSE = 4
_ORDERS = (packed.Layout(planes=True, packed=False), packed.Layout(planes=False, packed=False))
_NEEDS = {
    "JPEG-LS": "imagecodecs",
    "JPEG XL": "imagecodecs",
    "HEVC lossless": "HEVC",
    "zstd -19": "zstandard",
}


@dataclass(frozen=True)
class Rival:
    """A coder with its settings, of which the cheapest on calibration tensors is taken.

    It is measured on every ``step``-th tensor. One with ``bound`` > 0 codes the int8 values (+128)
    and each comes back within that bound; the others code levels exactly.
    """

    name: str
    candidates: tuple[Codec, ...]
    step: int = 1
    bound: int = 0

    def chosen(self, calibration: Array8) -> Codec:
        """The cheapest candidate on a few tensors that are spread over ``calibration``."""
        few = _CHOOSE if self.step == 1 else _CHOOSE // 2
        at = np.linspace(0, len(calibration) - 1, min(few, len(calibration))).astype(np.int64)
        return cheapest(self.candidates, list(calibration[at]))


def absent() -> dict[str, str]:
    """Codecs that are not installed, with what installs them."""
    reasons = {
        "HEVC": hevc.absent(),
        "imagecodecs": absent_imagecodecs(),
        "zstandard": packed.absent_zstd(),
    }
    return {name: reason for name, reason in reasons.items() if reason}


def rivals(
    shape: Shape, levels: int, bound: int, calibration: Array8, without: Sequence[str] = ()
) -> list[Rival]:
    """Every rival for tensors [height, width, channels] of so many ``levels`` at ``bound``.

    ``calibration`` holds levels [n, *shape]; ``without`` names the packages that are absent.
    """
    made = [
        _pictures(shape, LosslessPng, "adaptive"),
        _pictures(shape, LosslessPng, "none"),
    ]
    found = [
        Rival("PNG", tuple(itertools.chain(*made))),
        _rival("JPEG-LS", shape, JpegLs),
        _rival("WebP lossless", shape, LosslessWebP, step=_SLOW),
        _rival("JPEG XL effort 9", shape, partial(JpegXl, 9), step=_SLOW),
        _rival("JPEG XL effort 10", shape, partial(JpegXl, 10)),
        Rival("HEVC lossless", _hevc(shape) if "HEVC" not in without else ()),
        Rival("LZMA", _lzma(shape, levels)),
    ]
    if "zstandard" not in without:
        found += [
            Rival("zstd -19", tuple(packed.Zstd(_said(o), levels, shape, o) for o in _ORDERS)),
            Rival("zstd -19, dictionary", _dictionaries(shape, levels, calibration)),
        ]
    if bound:
        near = _rival("JPEG-LS NEAR=D", shape, partial(JpegLs, bound))
        found.append(Rival(near.name, near.candidates, bound=bound))
    missing = [name for name, package in _NEEDS.items() if package in without]
    return [r for r in found if r.candidates and not r.name.startswith(tuple(missing))]


def _rival(name: str, shape: Shape, make: Callable[[], Codec], step: int = 1) -> Rival:
    made = _pictures(shape, make)
    return Rival(name, made if step == 1 else made[:3], step)


def _pictures(shape: Shape, make: Callable[..., Codec], *arguments: str) -> tuple[Codec, ...]:
    """One coder for each layout; layouts that come to the same picture count once."""
    tilings = {picture_tiling(layout, shape): layout for layout in reversed(PICTURE_LAYOUTS)}
    return tuple(
        OnPicture(make(*arguments), layout, shape)
        for layout in PICTURE_LAYOUTS
        if layout in tilings.values()
    )


def _hevc(shape: Shape) -> tuple[Codec, ...]:
    return tuple(
        OnPicture(HevcLossless(picture_tiling(layout, shape).size), layout, shape)
        for layout in PICTURE_LAYOUTS
    )


def _lzma(shape: Shape, levels: int) -> tuple[Codec, ...]:
    return tuple(
        Lzma(f"lc {bits}, {_said(order)}", levels, shape, order, bits)
        for order in _ORDERS
        for bits in (0, 3)
    )


def _dictionaries(shape: Shape, levels: int, calibration: Array8) -> tuple[Codec, ...]:
    """zstd with a dictionary, where the calibration set is large enough to train one."""
    import zstandard

    made: list[Codec] = []
    for order in _ORDERS:
        try:
            made.append(packed.ZstdDictionary(_said(order), levels, shape, order, calibration))
        except zstandard.ZstdError:  # too few or too small samples
            return ()
    return tuple(made)


def _said(order: packed.Layout) -> str:
    return "by channel" if order.planes else "by position"
