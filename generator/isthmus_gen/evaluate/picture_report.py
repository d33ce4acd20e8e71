"""The report's section on what features reveal: figures, a plot, and the pictures themselves."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import MissingExtraError
from isthmus_gen.evaluate.html import Markup, join, paragraph, table
from isthmus_gen.evaluate.picture import PictureResult
from isthmus_gen.evaluate.plots import BLUE, ORANGE, new_figure, png_bytes, svg_text
from isthmus_gen.evaluate.report_parts import NONE, heading
from isthmus_gen.evaluate.result import Evaluation

__all__ = ["PRIVACY", "draw_psnr", "picture_files", "picture_section"]

PRIVACY = (
    "Features reveal the picture. A small decoder, trained on the calibration set alone, makes the "
    "pictures below from the very frames that are sent: whoever holds frames and the bundle, or "
    "enough pictures with their features to train on, sees what the device saw. Frames deserve the "
    "protection that the pictures themselves would get."
)
Pictures = npt.NDArray[np.uint8]
_SIDE = 96  # pixels of an example, about
_GAP = 4


def picture_section(evaluation: Evaluation, prefix: str = "") -> Markup:
    """The report's section; nothing where the bundle has no picture decoder."""
    found = evaluation.picture
    if found is None:
        return Markup("")
    plot = svg_text(draw_psnr(evaluation), prefix=f"{prefix}picture-")
    head = ["rung", "setting", "bit / element", "bytes / input", "PSNR, dB", "SSIM"]
    rows = [
        [
            str(one.rung),
            evaluation.setting(sent),
            f"{sent.bits_per_element:.3f}",
            f"{sent.bytes_per_input:,.1f}",
            f"{one.psnr_db:.2f}",
            NONE if one.ssim is None else f"{one.ssim:.3f}",
        ]
        for one, sent in zip(found.rungs, evaluation.rungs, strict=True)
    ]
    return join(
        [
            heading("What the features reveal"),
            paragraph(PRIVACY),
            paragraph(
                f"PSNR (peak {found.peak}) and SSIM (Wang et al. 2004) between the input and the "
                f"picture out of its decoded frame, means over {found.inputs:,} inputs. The decoder"
                " is one for all rungs."
            ),
            table(head, rows, text_columns=0),
            Markup(
                f'<figure style="max-width: 44rem">{plot}<figcaption>Likeness of the picture '
                "against the bits that were sent, for every rung.</figcaption></figure>"
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
        (sent.bits_per_element, one.psnr_db, one.ssim, sent.setting)
        for one, sent in zip(found.rungs, evaluation.rungs, strict=True)
    )
    bits = [point[0] for point in points]
    alike = [point[2] for point in points if point[2] is not None]
    figure, axes = new_figure(8.0, 3.0, 1, 2 if alike else 1)
    axis = axes[0][0]
    axis.plot(bits, [point[1] for point in points], marker="o", color=BLUE)
    for place, value, _, setting in points:
        axis.annotate(
            setting, (place, value), xytext=(0, 7), textcoords="offset points",
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
