"""What the features reveal: the input's picture out of each rung, where the bundle has a decoder."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.errors import MissingExtraError
from isthmus.picture import PictureDecoder, open_picture
from isthmus_gen.evaluate.html import Markup, join, paragraph, table
from isthmus_gen.evaluate.plots import BLUE, ORANGE, new_figure, png_bytes, svg_text
from isthmus_gen.picture import as_pictures, psnr, ssim

if TYPE_CHECKING:
    from isthmus_gen.evaluate.result import Evaluation

__all__ = [
    "PRIVACY", "PictureMeter", "PictureResult", "PictureRung", "draw_psnr", "picture_files",
    "picture_section",
]  # fmt: skip

PRIVACY = (
    "Features reveal the picture. A small decoder, trained on the calibration set alone, makes the "
    "pictures below from the very frames that are sent: whoever holds frames and the bundle, or "
    "enough pictures with their features to train on, sees what the device saw. Frames deserve the "
    "protection that the pictures themselves would get."
)
Pictures = npt.NDArray[np.uint8]
_EXAMPLES = 8
_SIDE = 96  # pixels of an example, about
_GAP = 4


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


def picture_section(evaluation: Evaluation, prefix: str = "") -> Markup:
    """The report's section; nothing where the bundle has no picture decoder."""
    found = evaluation.picture
    if found is None:
        return Markup("")
    plot = svg_text(draw_psnr(evaluation), prefix=f"{prefix}picture-")
    head = ["rung", "levels", "bit / element", "bytes / input", "PSNR, dB", "SSIM"]
    rows = [
        [
            str(one.rung),
            str(sent.levels),
            f"{sent.bits_per_element:.3f}",
            f"{sent.bytes_per_input:,.1f}",
            f"{one.psnr_db:.2f}",
            "–" if one.ssim is None else f"{one.ssim:.3f}",
        ]
        for one, sent in zip(found.rungs, evaluation.rungs, strict=True)
    ]
    return join(
        [
            Markup("<h2>What the features reveal</h2>"),
            paragraph(PRIVACY),
            paragraph(
                f"PSNR (peak {found.peak}) and SSIM (Wang et al. 2004) between the input and the "
                f"picture out of its decoded frame, means over {found.inputs:,} inputs. The decoder"
                " is one for all rungs."
            ),
            table(head, rows, text_columns=0),
            Markup(
                f'<div class="plots"><figure>{plot}<figcaption>Likeness of the picture against the '
                "bits that were sent, for every rung.</figcaption></figure></div>"
            ),
            _strips(evaluation, found),
        ]
    )


def _strips(evaluation: Evaluation, found: PictureResult) -> Markup:
    """The first inputs, and below each what every rung makes of it."""
    lines = [["the input", _image(found.examples, found.peak, "the first inputs")]]
    for one, sent in zip(found.rungs, evaluation.rungs, strict=True):
        name = f"rung {one.rung}, {sent.bits_per_element:.2f} bit"
        lines.append([name, _image(one.examples, found.peak, f"pictures from {name}")])
    return table(["pictures", ""], lines, text_columns=2)


def _image(pictures: Pictures, peak: int, name: str) -> Markup:
    data = base64.b64encode(_png(_strip(pictures, peak))).decode("ascii")
    return Markup(f'<img alt="{name}" src="data:image/png;base64,{data}">')


def _strip(pictures: Pictures, peak: int) -> Pictures:
    """Pictures [n, h, w, c] side by side on white, small ones enlarged by a whole factor."""
    shown = (pictures * (255.0 / peak) + 0.5).astype(np.uint8)
    factor = max(1, _SIDE // max(1, shown.shape[1]))
    shown = shown.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, channels = shown.shape
    out = np.full((height, count * (width + _GAP) - _GAP, channels), 255, dtype=np.uint8)
    for number, one in enumerate(shown):
        out[:, number * (width + _GAP) :][:, :width] = one
    return out


def _png(picture: Pictures) -> bytes:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(
            "pillow", "is not installed", remedy='pip install "isthmus[generate]"'
        ) from error
    out = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(out, "PNG")
    return out.getvalue()


def draw_psnr(evaluation: Evaluation) -> Any:
    """PSNR, and SSIM where there is one, against bits per element; a point a rung."""
    found = evaluation.picture
    assert found is not None
    points = sorted(
        (sent.bits_per_element, one.psnr_db, one.ssim, sent.levels)
        for one, sent in zip(found.rungs, evaluation.rungs, strict=True)
    )
    bits = [point[0] for point in points]
    alike = [point[2] for point in points if point[2] is not None]
    figure, axes = new_figure(6.4, 3.6, 1, 2 if alike else 1)
    axis = axes[0][0]
    axis.plot(bits, [point[1] for point in points], marker="o", color=BLUE)
    for place, value, _, levels in points:
        axis.annotate(
            f"N = {levels}", (place, value), xytext=(0, 7), textcoords="offset points",
            ha="center", fontsize=8,
        )  # fmt: skip
    axis.set_ylabel("PSNR, dB")
    if alike:
        axes[0][1].plot(bits, alike, marker="o", color=ORANGE)
        axes[0][1].set_ylabel("SSIM")
        axes[0][1].set_ylim(0, 1)
    for one in axes[0]:
        one.set_xlabel("bits per element")
        one.margins(0.15)
        if len(bits) == 1:
            one.set_xlim(0, 2 * bits[0])
    return figure


def picture_files(evaluation: Evaluation) -> dict[str, bytes]:
    """PNG files by name: the plot, and the input's pictures above those of each rung."""
    found = evaluation.picture
    if found is None:
        return {}
    rows = [_strip(p, found.peak) for p in (found.examples, *(one.examples for one in found.rungs))]
    gap = np.full((_GAP, *rows[0].shape[1:]), 255, dtype=np.uint8)
    tall = np.concatenate([part for row in rows for part in (row, gap)][:-1])
    return {"picture_psnr.png": png_bytes(draw_psnr(evaluation)), "pictures.png": _png(tall)}
