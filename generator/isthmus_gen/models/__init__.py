"""Load a trained network, list where it can be cut, and cut it in two.

    model = load_model("resnet8.keras")
    cut = resolve_cut(model, "activation_4")
    halves = model.split(cut, representative)

A SavedModel is converted to a float flatbuffer first and cut there: Keras 3 does not load that
format, and its tensors then go by flatbuffer names. An ONNX file is read into Keras layers,
channels last.
"""

from __future__ import annotations

from pathlib import Path

from isthmus.errors import ModelFileError, ModelLoadError
from isthmus.interpreters import Engine
from isthmus.optional import read_model_bytes
from isthmus_gen.models.base import Halves, LoadedModel, resolve_cut
from isthmus_gen.models.convert import saved_model_to_tflite
from isthmus_gen.models.graph import ActivationInfo, Cut
from isthmus_gen.models.keras_model import KerasFileModel
from isthmus_gen.models.tflite_model import FlatbufferModel

__all__ = [
    "ActivationInfo",
    "Cut",
    "FlatbufferModel",
    "Halves",
    "KerasFileModel",
    "LoadedModel",
    "load_model",
    "resolve_cut",
]

FORMATS = ".keras, .h5, .tflite, .onnx or a SavedModel folder"


def load_model(path: str | Path, *, engine: Engine = "auto") -> LoadedModel:
    """Load a trained network. ``engine`` runs flatbuffers (``isthmus.interpreters``).

    Raises ModelFileError (nothing there), ModelLoadError (with what to do), MissingExtraError.
    """
    place = Path(path)
    if place.is_dir():
        if not (place / "saved_model.pb").is_file():
            raise ModelFileError(str(path), "a folder without saved_model.pb", allowed=FORMATS)
        content = saved_model_to_tflite(place)
        return FlatbufferModel(place, content, kind="savedmodel", engine=engine)
    suffix = place.suffix.lower()
    if not place.exists():
        raise ModelFileError(str(path), "no such file", remedy="check the path")
    if suffix == ".tflite":
        return FlatbufferModel(place, read_model_bytes(place), engine=engine)
    if suffix in (".keras", ".h5", ".hdf5", ".onnx"):
        return KerasFileModel(place)
    raise ModelLoadError(str(path), f"format {suffix or 'without suffix'!r}", allowed=FORMATS)
