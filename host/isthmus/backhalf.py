"""The back half of the network, run on decoded features."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.errors import BundleFormatError, DataDtypeError, DataShapeError, ModelLoadError
from isthmus.interpreters import Engine, InferenceModel, open_keras, open_onnx, open_tflite
from isthmus.model_files import check_h5, check_keras, check_onnx, check_tflite

__all__ = ["BackHalf"]

_FILE_MAX = 2 << 30


class BackHalf:
    """Runs a bundle's back half: ``.tflite``, ``.keras`` or ``.onnx``, whichever it holds.

        answers = BackHalf("out/resnet8")(decoder.decode(frame).features)

    ``engine`` chooses the .tflite interpreter; a back half with int8 input gets the features
    quantised by that input's own scale and zero point. The file must have the digest that the
    profile states, and be data alone (isthmus.model_files): BundleEditedError, BundleFormatError,
    and what the engines raise.
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
        if name not in bundle.halves:
            raise BundleFormatError("profile.extra.back.sha256", "is missing")
        content = bundle.read(name, limit=_FILE_MAX)
        self.model = self._open(bundle.path / name, content, engine, threads)
        if len(self.model.inputs) != 1:
            raise BundleFormatError(
                str(bundle.path / name),
                f"has {len(self.model.inputs)} inputs",
                allowed="one, for the feature tensor",
            )

    @staticmethod
    def _open(path: Path, content: bytes, engine: Engine, threads: int) -> InferenceModel:
        if path.suffix == ".tflite":
            check_tflite(content, str(path))
            return open_tflite(content, engine=engine, threads=threads)
        if path.suffix == ".onnx":
            check_onnx(content, str(path))
            return open_onnx(content, threads=threads)
        if path.suffix in (".keras", ".h5"):
            (check_keras if path.suffix == ".keras" else check_h5)(content, str(path))
            return _open_keras(path, content)
        raise BundleFormatError(
            "profile.extra.back.file", f"is {path.name}", allowed=".tflite, .keras, .onnx"
        )

    def __call__(self, features: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Answers float32 [n, ...] for features float32 [n, *shape]; one tensor gives [...].

        ``features`` may be anything numpy makes an array of; DataShapeError, DataDtypeError.
        """
        try:
            given = np.asarray(features, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise DataDtypeError(
                "features", f"are no array of numbers ({error})", allowed=f"[n, {self.shape}]"
            ) from error
        single = given.shape == self.shape
        batch = given[np.newaxis] if single else given
        if batch.shape[1:] != self.shape:
            raise DataShapeError(
                "features", f"have shape {given.shape}", allowed=f"[n, {self.shape}]"
            )
        out = self.model.run_float(batch)[0]
        return out[0] if single else out


def _open_keras(path: Path, content: bytes) -> InferenceModel:
    """A Keras model of exactly ``content``: Keras opens files alone, and ``path`` may change."""
    with tempfile.TemporaryDirectory(prefix="isthmus-") as folder:
        copy = Path(folder) / f"back{path.suffix}"
        copy.write_bytes(content)
        try:
            return open_keras(copy)
        except ModelLoadError as error:
            raise ModelLoadError(str(path), error.what, remedy=error.remedy) from error
