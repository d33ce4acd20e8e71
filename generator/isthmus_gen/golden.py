"""The golden model of a front half: the reference kernels of TensorFlow Lite, element for element.

Profile ``tflm`` is TensorFlow Lite Micro's arithmetic, ``litert`` LiteRT's reference kernels. The
two differ in a few operators (docs/DESIGN.md). Where no tflite-micro wheel is installed, or where
it lacks an operator (TILE), LiteRT's kernels therefore stand in for ``tflm`` if both come to the
same constants for a network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import MissingExtraError, ModelError, ModelLoadError
from isthmus.interpreters import TfliteModel, open_tflite
from isthmus_gen.front import ROUNDINGS, plan_front

__all__ = ["open_golden", "run_golden"]


def open_golden(tflite: bytes, rounding: str) -> TfliteModel:
    """The interpreter whose int8 results are right by definition for a rounding profile.

    MissingExtraError where it is not installed and nothing equal to it is, ModelLoadError where it
    does not take the network.
    """
    if rounding == "litert":
        return open_tflite(tflite, engine="litert_ref")
    try:
        return open_tflite(tflite, engine="tflm")
    except (MissingExtraError, ModelLoadError) as error:
        if not _profiles_agree(tflite):
            if isinstance(error, MissingExtraError):
                raise
            raise ModelLoadError(error.path, error.what, remedy="take --rounding litert") from error
    return open_tflite(tflite, engine="litert_ref")


def run_golden(
    tflite: bytes,
    inputs: npt.NDArray[Any],
    rounding: str,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[Any]:
    """The front half's output for ``inputs`` [n, ...], in its own dtype; float fronts too."""
    floats = inputs.dtype == np.float32
    model = open_tflite(tflite) if floats else open_golden(tflite, rounding)
    out = []
    for index in range(len(inputs)):
        out.append(model.run(inputs[index : index + 1])[0])
        if progress is not None:
            progress(index + 1, len(inputs))
    return np.concatenate(out)


def _profiles_agree(tflite: bytes) -> bool:
    """Whether the layers of a front half, each held to its own engine, are the same in both."""
    try:
        plans = [plan_front(tflite, rounding=rounding) for rounding in ROUNDINGS]
    except ModelError:
        return False
    found = [
        [
            (layer.kernel, layer.params, [a.values.tobytes() for a in layer.arrays])
            for layer in plan.layers
        ]
        for plan in plans
    ]
    return all(layers == found[0] for layers in found)
