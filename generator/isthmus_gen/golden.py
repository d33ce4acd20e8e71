"""The golden model of a front half: the reference kernels of TensorFlow Lite, element for element.

Profile ``tflm`` is TensorFlow Lite Micro's arithmetic, ``litert`` LiteRT's reference kernels. The
two differ only in FULLY_CONNECTED (docs/DESIGN.md); where no tflite-micro wheel is installed
LiteRT's kernels therefore stand in for ``tflm`` in networks without that operator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import MissingExtraError
from isthmus.interpreters import TfliteModel, open_tflite, tflite_schema

__all__ = ["open_golden", "run_golden"]

_DIFFERING = "FULLY_CONNECTED"


def open_golden(tflite: bytes, rounding: str) -> TfliteModel:
    """The interpreter whose int8 results are right by definition for a rounding profile.

    MissingExtraError where it is not installed and nothing equal to it is.
    """
    if rounding == "litert":
        return open_tflite(tflite, engine="litert_ref")
    try:
        return open_tflite(tflite, engine="tflm")
    except MissingExtraError:
        if _DIFFERING in _operators(tflite):
            raise
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


def _operators(tflite: bytes) -> set[str]:
    schema = tflite_schema()
    model = schema.ModelT.InitFromPackedBuf(tflite, 0)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    used = {op.opcodeIndex for op in model.subgraphs[0].operators}
    codes = [
        max(model.operatorCodes[i].builtinCode, model.operatorCodes[i].deprecatedBuiltinCode)
        for i in used
    ]
    return {names[code] for code in codes}
