"""What a cut leaves: the front half for the device, the type of its tensor, the back half."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import DataShapeError, ModelFileError, ModelOperatorError, OptionError
from isthmus.interpreters import (
    InferenceModel,
    TensorInfo,
    open_keras,
    open_onnx,
    open_tflite,
    quantize,
)
from isthmus.labels import read_label_file
from isthmus.profile import TensorSpec
from isthmus_gen.calibrate import TensorStatistics
from isthmus_gen.front import FrontPlan, plan_front
from isthmus_gen.models import Cut, Halves
from isthmus_gen.models.base import FLOAT_REMEDY
from isthmus_gen.models.halves import open_back_half
from isthmus_gen.options import GenerateOptions

__all__ = ["as_elements", "choose_front", "class_names", "tensor_spec", "with_own_back"]

_INT16_MAX = 32767


def choose_front(
    halves: Halves, options: GenerateOptions, nearest: Callable[[], str | None]
) -> FrontPlan | None:
    """The plan of the int8 front half in C, or None where the device runs a float front half.

    OptionError where ``--element`` asks for a front half that the network does not give,
    ModelOperatorError where no C is there for an operator; ``nearest`` then finds a cut that works.
    """
    plan = _choose(halves, options, nearest)
    if plan is None and options.stream_rows:
        raise OptionError(
            "--stream-rows",
            "the device runs the front half in float, by an interpreter",
            allowed="where the front half is int8 and C",
            remedy="leave the option out",
        )
    return plan


def _choose(
    halves: Halves, options: GenerateOptions, nearest: Callable[[], str | None]
) -> FrontPlan | None:
    if options.element in ("float32", "int16"):
        if halves.front_float is None:
            raise OptionError(
                "--element", f"is {options.element}", allowed="int8: the network is int8 already"
            )
        return None
    if halves.front_int8 is None:
        if options.element == "int8":
            raise ModelOperatorError(
                str(options.model),
                "; ".join(halves.notes) or "cannot be made int8",
                remedy=_advice(nearest(), halves),
            )
        return None
    try:
        return plan_front(halves.front_int8, rounding=options.rounding, by_rows=options.stream_rows)
    except ModelOperatorError as error:
        # the front half's own names are the converter's; say it in those of the user's network
        name = nearest()
        raise ModelOperatorError(
            error.path, error.what, allowed=error.allowed, remedy=_advice(name, halves)
        ) from error


def _advice(name: str | None, halves: Halves) -> str:
    """What to do where the front half cannot be made in C; ``name`` is a cut that works."""
    floats = FLOAT_REMEDY if halves.front_float is not None else ""
    if name is not None:
        return f"cut at {name!r}, which works" + (f", {floats}" if floats else "")
    if floats:
        return f"no earlier cut works; {floats.removeprefix('or ')}"
    return "no earlier cut works; replace that operator"


def tensor_spec(
    cut: Cut, plan: FrontPlan | None, options: GenerateOptions, statistics: TensorStatistics
) -> TensorSpec:
    """The feature tensor as the device holds it.

    int8 takes scale and zero point of the front half's output. int16 has zero point 0 and the
    scale that maps the largest magnitude of the calibration set to 32767.
    """
    shape = tuple(cut.shape)
    if plan is not None:
        if plan.output_shape != shape:
            raise DataShapeError(
                f"cut {cut.name}", f"becomes {plan.output_shape} in int8", allowed=str(shape)
            )
        return TensorSpec(cut.name, shape, "int8", plan.output_scale, plan.output_zero_point)
    if options.element == "int16":
        largest = max(abs(float(statistics.minimum)), abs(float(statistics.maximum)))
        scale = float(np.float32(largest / _INT16_MAX)) if largest > 0 else 1.0
        return TensorSpec(cut.name, shape, "int16", scale, 0)
    return TensorSpec(cut.name, shape, "float32", 1.0, 0)


def as_elements(tensor: TensorSpec, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Float features [n, *shape] as the device's elements; int8 tensors pass as they are."""
    if tensor.dtype != "int16" or features.dtype != np.float32:
        return features
    info = TensorInfo(
        tensor.name, tensor.shape, np.dtype(np.int16), tensor.scale, tensor.zero_point
    )
    return quantize(features, info)


def with_own_back(halves: Halves, options: GenerateOptions, cut: Cut) -> Halves:
    """``halves`` with the back half of ``--back``, if there is one and it takes the cut tensor."""
    if options.back is None:
        return halves
    model = _open_back(options.back)
    taken = model.inputs[0].shape[1:]
    if len(model.inputs) != 1 or tuple(taken) != tuple(cut.shape):
        raise DataShapeError(
            f"--back {options.back}",
            f"takes {len(model.inputs)} input(s), the first of shape {list(taken)}",
            allowed=f"one input of shape {list(cut.shape)}, channels last",
        )
    return replace(halves, back=options.back.read_bytes(), back_suffix=options.back.suffix)


def class_names(halves: Halves, options: GenerateOptions) -> tuple[str, ...]:
    """The names of ``--class-names``, one for each value of the back half's first output.

    () where there are none; OptionError where they are not well formed or not so many.
    """
    if options.class_names is None:
        return ()
    try:
        labels = read_label_file(options.class_names)
    except OptionError as error:
        path = error.path.replace("labels", "--class-names", 1)
        raise OptionError(path, error.what, allowed=error.allowed, remedy=error.remedy) from None
    output = open_back_half(halves).outputs[0]
    values = math.prod(output.shape[1:])
    if values > 0 and len(labels) != values:
        raise OptionError(
            f"--class-names {options.class_names}",
            f"holds {len(labels)} names",
            allowed=f"{values}, one for each value of the output {output.name!r}",
        )
    return labels


def _open_back(path: Path) -> InferenceModel:
    if not path.is_file():
        raise ModelFileError(f"--back {path}", "no such file", remedy="give a model file")
    if path.suffix == ".tflite":
        return open_tflite(path)
    if path.suffix == ".onnx":
        return open_onnx(path)
    if path.suffix in (".keras", ".h5"):
        return open_keras(path)
    raise OptionError("--back", f"is {path.name}", allowed=".tflite, .keras, .h5 or .onnx")
