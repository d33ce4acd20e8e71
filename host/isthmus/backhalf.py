"""The back half of the network, run on decoded features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.errors import BundleFormatError, DataShapeError
from isthmus.interpreters import Engine, InferenceModel, open_keras, open_onnx, open_tflite

__all__ = ["BackHalf"]


class BackHalf:
    """Runs a bundle's back half: ``.tflite``, ``.keras`` or ``.onnx``, whichever it holds.

        answers = BackHalf("out/resnet8")(decoder.decode(frame).features)

    ``engine`` chooses the .tflite interpreter; a back half with int8 input gets the features
    quantised by that input's own scale and zero point.
    """

    def __init__(
        self, bundle: Bundle | str | Path, *, engine: Engine = "auto", threads: int = 1
    ) -> None:
        if not isinstance(bundle, Bundle):
            bundle = Bundle.open(bundle)
        self.shape = bundle.profile.tensor.shape
        entry = bundle.profile.extra.get("back")
        name = entry.get("file") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise BundleFormatError("profile.extra.back.file", "is missing")
        content = bundle.read(name)
        self.model = self._open(bundle.path / name, content, engine, threads)

    @staticmethod
    def _open(path: Path, content: bytes, engine: Engine, threads: int) -> InferenceModel:
        if path.suffix == ".tflite":
            return open_tflite(content, engine=engine, threads=threads)
        if path.suffix == ".onnx":
            return open_onnx(content, threads=threads)
        if path.suffix in (".keras", ".h5"):
            return open_keras(path)
        raise BundleFormatError(
            "profile.extra.back.file", f"is {path.name}", allowed=".tflite, .keras, .onnx"
        )

    def __call__(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Answers float32 [n, ...] for features float32 [n, *shape]; one tensor gives [...]."""
        single = features.shape == self.shape
        batch = features[np.newaxis] if single else features
        if batch.shape[1:] != self.shape:
            raise DataShapeError(
                "features", f"have shape {features.shape}", allowed=f"[n, {self.shape}]"
            )
        out = self.model.run_float(batch)[0]
        return out[0] if single else out
