"""A bundle of the digits as the server's tests use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus import BackHalf, Decoder
from isthmus.interpreters import open_tflite, quantize

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Served:
    """A bundle of the digits, and frames of test pictures with their classes.

    ``answers`` are the back half's outputs for each frame, from decoder and back half alone.
    """

    path: Path
    frames: list[bytes]
    labels: list[int]
    answers: npt.NDArray[np.float32]
    decoder: Decoder

    def frame(self, index: int, sequence: int) -> bytes:
        """Picture ``index`` under another sequence number."""
        levels = self.decoder.decode(self.frames[index]).levels
        return self.decoder.codec.encode_levels(0, sequence, levels)


def make_served(data: Path, out: Path, **options: Any) -> Served:
    """The bundle made of the digits in ``data`` with more ``options`` of generate."""
    from isthmus_gen import api

    names = data / "names.txt"
    names.write_text("".join(f"digit {i}\n" for i in range(10)), encoding="utf-8")
    api.generate(
        model=str(ROOT / "examples/digits/digits.keras"),
        cut="stage2",
        calibration=str(data / "digits_calibration.npz"),
        out=str(out),
        class_names=str(names),
        **{"levels": (4,), **options},
    )
    decoder = Decoder(out)
    with np.load(data / "digits_test.npz") as test:
        x, y = test["x"][:32], test["y"][:32]
    front = open_tflite(out / "front.tflite")
    tensors = front.run(quantize(x, front.inputs[0]))[0]
    frames = [decoder.encode(one, sequence=k) for k, one in enumerate(tensors)]
    features = np.stack([decoder.decode(frame).features for frame in frames])
    return Served(out, frames, [int(c) for c in y], BackHalf(out)(features), decoder)
