"""The feature tensor as the device makes it, for what is trained on its very values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.interpreters import TensorInfo, quantize
from isthmus.profile import TensorSpec
from isthmus_gen.cutting import as_elements
from isthmus_gen.data import DataSet, Preprocessing
from isthmus_gen.front import FrontPlan
from isthmus_gen.golden import run_golden
from isthmus_gen.models import Halves
from isthmus_gen.progress import Progress

__all__ = ["device_tensors"]

_BATCH = 64
#: Elements that are made at most; more teach little.
_ELEMENTS = 1 << 22
_FEWEST = 64


def device_tensors(
    tensor: TensorSpec,
    halves: Halves,
    plan: FrontPlan | None,
    rounding: str,
    data: DataSet,
    preprocessing: Preprocessing,
    samples: Sequence[npt.NDArray[np.float32]],
    progress: Progress,
) -> list[npt.NDArray[Any]]:
    """Tensors of the calibration set in the tensor's dtype and shape, at least 64 if there are.

    Of an int8 front half the golden model makes them, element for element as the device does;
    of a float one they are ``samples``, as int16 where that is the dtype.
    """
    limit = max(_FEWEST, _ELEMENTS // max(1, tensor.elements))
    if plan is None or halves.front_int8 is None:
        return [as_elements(tensor, one) for one in samples[:limit]]
    info = TensorInfo(
        "input", tuple(plan.input_shape), np.dtype(np.int8), plan.input_scale,
        plan.input_zero_point,
    )  # fmt: skip
    out: list[npt.NDArray[Any]] = []
    total = min(limit, len(data))
    for x, _ in data.batches(_BATCH):
        given = quantize(preprocessing.apply(x[: total - len(out)]), info).astype(np.int8)
        out.extend(run_golden(halves.front_int8, given, rounding))
        progress("running the int8 front half", len(out), total)
        if len(out) >= total:
            break
    return out
