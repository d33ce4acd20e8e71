"""A ladder for ``isthmus generate``: the search on what the bundle's own halves compute."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import DataError
from isthmus.interpreters import (
    open_tflite,
    quantize,
)
from isthmus.profile import Profile, TensorSpec
from isthmus_gen.calibrate import Quantizer, TensorStatistics
from isthmus_gen.codec_design import design_rungs, profile_of
from isthmus_gen.cutting import as_elements
from isthmus_gen.data import DataSet, Preprocessing
from isthmus_gen.evaluate.statistics import check_labels
from isthmus_gen.ladder.measure import Features
from isthmus_gen.ladder.search import Choice, search_ladder
from isthmus_gen.models import ActivationInfo, Halves, LoadedModel
from isthmus_gen.models.halves import open_back_half
from isthmus_gen.options import GenerateOptions
from isthmus_gen.progress import Progress, no_progress

__all__ = ["choose_ladder"]

Floats = npt.NDArray[np.float32]
_BATCH = 64
_MOST_INPUTS = 2048
_MOST_ELEMENTS = 1 << 24


def choose_ladder(
    options: GenerateOptions,
    model: LoadedModel,
    halves: Halves,
    tensor: TensorSpec,
    activation: ActivationInfo,
    data: DataSet,
    preprocessing: Preprocessing,
    progress: Progress = no_progress,
) -> Choice:
    """The quantisers that ``--rungs`` and ``--max-loss`` ask for, and how they were chosen.

    Looks at the first inputs of the calibration set: at most 2,048, and at most 2**24 elements of
    the feature tensor. They go through the device's half as it will be (int8 in LiteRT's kernels,
    or the float one), so that a candidate is judged by its own loss and not by that of int8.
    Labels are taken where the set has them and they number the network's classes.
    """
    most = max(2, min(_MOST_INPUTS, _MOST_ELEMENTS // max(1, tensor.elements), len(data)))
    features = Features(tensor, _tensors(halves, tensor, data, preprocessing, most, progress))
    back = open_back_half(halves)
    labels, note = _labels(model, data, len(features))

    def make_profile(quantizers: Sequence[Quantizer], samples: Sequence[Floats]) -> Profile:
        statistics = TensorStatistics(tensor.shape)  # the quantisers are there: not looked at
        designs = design_rungs(
            options, tensor, statistics, activation, samples, quantizers=quantizers
        )
        return profile_of(options, tensor, designs)

    choice = search_ladder(
        features,
        lambda real: back.run_float(real)[0],
        activation,
        make_profile,
        rungs=options.rungs or 1,
        max_loss=None if options.max_loss is None else options.max_loss / 100,
        labels=labels,
        input_shape=tuple(model.input_shape),
        progress=progress,
        c_min=options.c_min,
        rate_term=options.rate_term,
        centroid=options.values == "centroid",
    )
    if note:
        choice.report["notes"].append(note)
    return choice


def _tensors(
    halves: Halves,
    tensor: TensorSpec,
    data: DataSet,
    preprocessing: Preprocessing,
    most: int,
    progress: Progress,
) -> npt.NDArray[Any]:
    """The device's feature tensors of the first ``most`` inputs, [n, *shape]."""
    run = _front(halves, tensor)
    found: list[npt.NDArray[Any]] = []
    done = 0
    for x, _ in data.batches(_BATCH):
        part = run(preprocessing.apply(x[: most - done]))
        found.append(part.reshape(len(part), *tensor.shape))
        done += len(part)
        progress("running the front half", done, most)
        if done >= most:
            break
    return np.concatenate(found)


def _front(halves: Halves, tensor: TensorSpec) -> Callable[[Floats], npt.NDArray[Any]]:
    if tensor.dtype != "int8":
        assert halves.front_float is not None  # choose_front() refuses the rest
        floats = open_tflite(halves.front_float)
        return lambda x: as_elements(tensor, floats.run(x)[0])
    assert halves.front_int8 is not None
    model = open_tflite(halves.front_int8)

    def run(x: Floats) -> npt.NDArray[Any]:
        given = quantize(x, model.inputs[0])
        # its shapes may be fixed to one input
        return np.concatenate([model.run(given[i : i + 1])[0] for i in range(len(given))])

    return run


def _labels(
    model: LoadedModel, data: DataSet, count: int
) -> tuple[npt.NDArray[np.int64] | None, str]:
    """The classes of the first inputs, or None and, where there is a ``y``, why not."""
    if data.y is None:
        return None, ""
    try:
        return check_labels(
            data.y[:count], math.prod(max(1, size) for size in model.output_shape), str(data.path)
        ), ""
    except DataError as error:
        return None, f"labels were not used: {error.path} {error.what}"
