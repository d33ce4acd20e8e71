"""The back half of a network that was cut, opened to run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from isthmus.interpreters import InferenceModel, open_keras, open_onnx, open_tflite
from isthmus_gen.models.base import Halves

__all__ = ["open_back_half"]


def open_back_half(halves: Halves) -> InferenceModel:
    """The interpreter that fits the file's kind; MissingExtraError where it is not installed."""
    if halves.back_suffix == ".tflite":
        return open_tflite(halves.back)
    if halves.back_suffix == ".onnx":
        return open_onnx(halves.back)
    with tempfile.TemporaryDirectory(prefix="isthmus-") as folder:
        file = Path(folder) / f"back{halves.back_suffix}"
        file.write_bytes(halves.back)
        return open_keras(file)
