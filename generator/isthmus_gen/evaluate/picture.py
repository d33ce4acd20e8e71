"""What features reveal: the input's picture out of each rung, where the bundle has a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.picture import PictureDecoder, open_picture
from isthmus_gen.picture import as_pictures, psnr, ssim

__all__ = ["PictureMeter", "PictureResult", "PictureRung"]

Pictures = npt.NDArray[np.uint8]
_EXAMPLES = 8


@dataclass(frozen=True)
class PictureRung:
    """How near one rung's pictures come to the inputs.

    ``psnr_db`` and ``ssim`` are means over the inputs; SSIM is None for pictures under 11 pixels.
    ``examples`` are the pictures of the first inputs.
    """

    rung: int
    psnr_db: float
    ssim: float | None
    examples: Pictures


@dataclass(frozen=True)
class PictureResult:
    """The pictures of an evaluated bundle: ``examples`` are inputs, values 0..``peak``."""

    inputs: int
    peak: int
    examples: Pictures
    rungs: tuple[PictureRung, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, without the pictures."""
        return {
            "inputs": self.inputs,
            "peak": self.peak,
            "rungs": [
                {"rung": one.rung, "psnr_db": one.psnr_db, "ssim": one.ssim} for one in self.rungs
            ],
        }


class PictureMeter:
    """Pictures from the levels of every rung, beside the inputs; memory is a few numbers each."""

    def __init__(self, decoder: PictureDecoder, rungs: Sequence[int]) -> None:
        self._decoder = decoder
        self._rungs = tuple(rungs)
        self._psnr: list[list[float]] = [[] for _ in rungs]
        self._ssim: list[list[float]] = [[] for _ in rungs]
        self._shown: list[Pictures] = [np.zeros((0, *decoder.shape), np.uint8) for _ in rungs]
        self._inputs = np.zeros((0, *decoder.shape), np.uint8)
        self._none = False

    @classmethod
    def of(cls, bundle: Bundle, rungs: Sequence[int]) -> PictureMeter | None:
        """A meter for ``rungs``, or None where the bundle has no picture decoder."""
        decoder = open_picture(bundle)
        return None if decoder is None else cls(decoder, rungs)

    def add(self, x: npt.NDArray[Any], levels: Sequence[npt.NDArray[np.uint8]]) -> None:
        """Raw inputs [n, ...], and their decoded levels uint8 [n, *shape] of each rung."""
        truth = as_pictures(x)
        if truth is None or truth.shape[1:] != self._decoder.shape:
            self._none = True
            return
        peak = self._decoder.peak
        room = _EXAMPLES - len(self._inputs)
        self._inputs = np.concatenate([self._inputs, truth[:room]])
        for k, (rung, one) in enumerate(zip(self._rungs, levels, strict=True)):
            found = self._decoder.of_levels(one, rung)
            self._psnr[k] += psnr(found, truth, peak).tolist()
            alike = ssim(found, truth, peak)
            self._ssim[k] += [] if alike is None else alike.tolist()
            self._shown[k] = np.concatenate([self._shown[k], found[:room]])

    def result(self) -> PictureResult | None:
        """The figures so far, or None where inputs were no pictures."""
        if self._none or not self._psnr[0]:
            return None
        rungs = tuple(
            PictureRung(
                rung,
                float(np.mean(self._psnr[k])),
                float(np.mean(self._ssim[k])) if self._ssim[k] else None,
                self._shown[k],
            )
            for k, rung in enumerate(self._rungs)
        )
        return PictureResult(len(self._psnr[0]), self._decoder.peak, self._inputs, rungs)
