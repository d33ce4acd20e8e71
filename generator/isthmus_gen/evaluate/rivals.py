"""The two honest end points of a cut: send the picture, or run everything on the device.

A cut is worth its trouble only against these. Pictures are sent raw, as PNG, or as JPEG and WebP at
a few qualities, and the whole network answers from what arrives.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import MissingExtraError
from isthmus_gen.data import DataSet
from isthmus_gen.evaluate.statistics import Interval, Tally
from isthmus_gen.picture import as_pictures
from isthmus_gen.progress import Progress, no_progress

__all__ = ["Rival", "as_pictures", "jpeg_scan_bytes", "measure_rivals"]

_LOSSY = (("jpeg", (90, 75, 50, 25, 10)), ("webp", (90, 75, 50, 25, 10)))
_BATCH = 64

Predict = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Rival:
    """Pictures sent in one format; accuracies in 0..1.

    ``bytes_per_input`` is the mean size of whole files; ``bytes_without_tables`` leaves out what a
    JPEG file says again in every picture (None for other formats). ``delta`` is the accuracy less
    the whole network's on the same pictures.
    """

    format: str
    quality: int | None
    inputs: int
    bytes_per_input: float
    bytes_without_tables: float | None
    accuracy: float | None
    agreement: float | None
    delta: Interval | None = None

    @property
    def name(self) -> str:
        """As tables and plots call it."""
        label = {"raw": "raw", "png": "PNG", "jpeg": "JPEG", "webp": "WebP"}[self.format]
        return label if self.quality is None else f"{label} {self.quality}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "format": self.format,
            "quality": self.quality,
            "inputs": self.inputs,
            "bytes_per_input": self.bytes_per_input,
            "bytes_without_tables": self.bytes_without_tables,
            "accuracy": self.accuracy,
            "agreement": self.agreement,
        }


def measure_rivals(
    data: DataSet,
    predict: Predict,
    labels: npt.NDArray[np.int64] | None,
    *,
    limit: int,
    progress: Progress = no_progress,
) -> tuple[Rival, ...]:
    """Sizes and the whole network's answers for the first ``limit`` inputs, if they are pictures.

    ``predict`` takes raw inputs [n, ...]. Lossy formats are tried on uint8 inputs alone: in other
    sets 0..255 is not what the pictures span. Raises MissingExtraError without Pillow.
    """
    count = min(limit, len(data))
    lossless: dict[str, int] = {"raw": 0, "png": 0}
    sizes = {(kind, quality): [0, 0] for kind, choices in _LOSSY for quality in choices}
    tallies = {key: Tally() for key in sizes}
    base = Tally()
    done = 0
    lossy = False
    for x, _ in data.batches(_BATCH):
        x = x[: count - done]
        pictures = as_pictures(x)
        if pictures is None:
            return ()
        truth = None if labels is None else labels[done : done + len(x)]
        whole = predict(x)
        base.add(whole, whole, truth)
        lossless["raw"] += int(pictures.size)
        lossless["png"] += sum(len(_encode(picture, "png", None)) for picture in pictures)
        lossy = x.dtype == np.uint8
        for (kind, quality), size in sizes.items() if lossy else ():
            files = [_encode(picture, kind, quality) for picture in pictures]
            size[0] += sum(len(file) for file in files)
            if kind == "jpeg":
                size[1] += sum(jpeg_scan_bytes(file) for file in files)
            arrived = np.stack(
                [
                    _decode(file, picture.shape)
                    for file, picture in zip(files, pictures, strict=True)
                ]
            )
            tallies[kind, quality].add(predict(arrived), whole, truth)
        done += len(x)
        progress("sending pictures", done, count)
        if done >= count:
            break
    out = [
        Rival(kind, None, done, total / done, None, base.accuracy, base.agreement, base.interval)
        for kind, total in lossless.items()
    ]
    for (kind, quality), size in sizes.items() if lossy else ():
        tally = tallies[kind, quality]
        bare = size[1] / done if kind == "jpeg" else None
        out.append(
            Rival(
                kind,
                quality,
                done,
                size[0] / done,
                bare,
                tally.accuracy,
                tally.agreement,
                tally.interval,
            )
        )
    return tuple(out)


def jpeg_scan_bytes(file: bytes) -> int:
    """Bytes of a JPEG file that no receiver can know beforehand: its entropy-coded scans.

    Everything else (markers, quantisation and Huffman tables, sizes, JFIF) is left out.
    """
    at, total = 2, 0
    while at + 4 <= len(file) and file[at + 1] != 0xD9:
        marker = file[at + 1]
        at += 2 + int.from_bytes(file[at + 2 : at + 4], "big")
        if marker != 0xDA:
            continue
        begin = at
        # In a scan 0xFF is followed by 0x00 or a restart marker; anything else ends it.
        while not (file[at] == 0xFF and file[at + 1] != 0 and not 0xD0 <= file[at + 1] <= 0xD7):
            at += 1
        total += at - begin
    return total


def _encode(picture: npt.NDArray[np.uint8], kind: str, quality: int | None) -> bytes:
    image_module = _pillow()
    image = image_module.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    out = io.BytesIO()
    if kind == "png":
        image.save(out, "PNG", optimize=True)
    elif kind == "jpeg":
        image.save(out, "JPEG", quality=quality, optimize=True)
    else:
        image.save(out, "WEBP", quality=quality, method=6)
    return out.getvalue()


def _decode(file: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    with _pillow().open(io.BytesIO(file)) as image:
        picture = image.convert("L" if shape[2] == 1 else "RGB")
    return np.asarray(picture, dtype=np.uint8).reshape(shape)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(
            "pillow", "is not installed", remedy='pip install "isthmus[generate]"'
        ) from error
    return Image
