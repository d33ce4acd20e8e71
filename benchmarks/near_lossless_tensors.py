"""The int8 feature tensors of the near-lossless comparison: real front halves on real inputs.

Each tensor is what the device would hold: the int8 front half that ``isthmus generate`` makes of
the network and the calibration inputs, run by its golden interpreter. The cuts are those of
:mod:`benchmarks.rate_models`, and those at which the front halves' own tests cut the networks of
MLPerf Tiny and ResNet-20. Calibration inputs and measured inputs never overlap.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.rate_models import TASKS as RATE_TASKS
from benchmarks.rate_models import Part, Task
from isthmus.interpreters import TensorInfo, quantize
from isthmus_gen.front import plan_front
from isthmus_gen.golden import run_golden
from isthmus_gen.models import ActivationInfo, LoadedModel, load_model, resolve_cut

__all__ = ["BOUNDS", "TASKS", "Grid", "Int8Cut", "int8_cuts"]

Int8 = npt.NDArray[np.int8]
Array8 = npt.NDArray[np.uint8]
#: The bounds that are compared: how far a decoded value may lie from the device's.
BOUNDS = (0, 1, 2, 4)
_ROUNDING = "tflm"
_QUICK = 4
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)


@dataclass(frozen=True)
class _Normalised(Task):
    """A network that takes ImageNet's normalisation of colours."""

    def given(self, x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return ((x / np.float32(255) - _MEAN) / _DEVIATION).astype(np.float32)


@dataclass(frozen=True)
class Grid:
    """int8 values on the multiples of 2 D + 1 about the zero point; D = 0 leaves all 256.

    The nearest value of the grid is never more than ``bound`` away; levels count it from the
    lowest.
    """

    bound: int
    zero_point: int

    @property
    def count(self) -> int:
        """Levels that there are."""
        return int(self.levels(np.array([127], dtype=np.int8))[0]) + 1

    def levels(self, values: Int8) -> Array8:
        """Levels of int8 values."""
        return (self._cell(values.astype(np.int64)) - self._first).astype(np.uint8)

    def values(self, levels: Array8) -> Int8:
        """The int8 values that levels stand for; those beyond int8 are its ends."""
        cells = levels.astype(np.int64) + self._first
        found = self.zero_point + cells * (2 * self.bound + 1)
        return np.clip(found, -128, 127).astype(np.int8)

    def _cell(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.asarray((values - self.zero_point + self.bound) // (2 * self.bound + 1))

    @property
    def _first(self) -> int:
        return int(self._cell(np.array([-128]))[0])


@dataclass(frozen=True)
class Int8Cut:
    """The tensors of one cut: int8 [n, height, width, channels]; a vector is one row, one column.

    A value's real is ``scale * (value - zero_point)``; ``activation`` is the function whose values
    they are, ``shape`` the tensor's own, without the batch.
    """

    task: Task
    name: str
    shape: tuple[int, ...]
    activation: ActivationInfo
    scale: float
    zero_point: int
    calibration: Int8
    test: Int8


def _tasks() -> tuple[Task, ...]:
    rate = {task.name: task for task in RATE_TASKS}
    resnet20 = _Normalised(
        "resnet20", "ResNet-20, CIFAR-10", "models/resnet20_cifar10_nchw.onnx",
        ("layer1.0.out", "layer2.0.out", "flatten_82"),
        Part("cifar10/train_lossless_8068.npz", 500), Part("cifar10/test_lossless_500.npz", 500),
        (32, 32),
    )  # fmt: skip
    return (
        replace(rate["resnet8"], cuts=("activation_2", "activation_4", "activation_6", "flatten")),
        replace(
            rate["vww"], cuts=("activation_7", "activation_11", "activation_15", "activation_22")
        ),
        replace(
            rate["kws"], cuts=("activation_2", "activation_3", "activation_6", "average_pooling2d")
        ),
        resnet20,
        replace(rate["yolo_fastest"], cuts=("L34_add", "L57_add", "L59_leaky")),
    )


#: The networks, each with its cuts.
TASKS = _tasks()


def int8_cuts(task: Task, data: Path, *, most: int = 100, quick: bool = False) -> Iterator[Int8Cut]:
    """Each cut of ``task`` with the tensors of at most ``most`` test inputs.

    ``quick`` takes the first cut and four inputs of each part.
    """
    known = 8 * _QUICK if quick else task.calibration.most
    calibration, _ = task.calibration.load(data, task.size, known)
    test, _ = task.test.load(data, task.size, min(_QUICK if quick else most, task.test.most))
    with tempfile.TemporaryDirectory() as folder:
        model = _model(data / task.model, Path(folder))
        for name in task.cuts[:1] if quick else task.cuts:
            yield _cut(task, model, name, calibration, test)


def _cut(
    task: Task, model: LoadedModel, name: str, calibration: npt.NDArray[Any], test: npt.NDArray[Any]
) -> Int8Cut:
    cut = resolve_cut(model, name)
    floats = task.given(calibration)
    front, why = model.front_int8(cut, [x[None] for x in floats])
    if front is None:
        raise RuntimeError(f"{task.name} {name}: no int8 front half: {why}")
    plan = plan_front(front, rounding=_ROUNDING)
    entry = TensorInfo("x", (1,), np.dtype(np.int8), plan.input_scale, plan.input_zero_point)

    def tensors(x: npt.NDArray[np.float32]) -> Int8:
        made = run_golden(front, quantize(x, entry), _ROUNDING)
        return made.reshape(len(made), *(1,) * (3 - len(cut.shape)), *cut.shape)

    return Int8Cut(
        task,
        name,
        tuple(cut.shape),
        model.activation(cut),
        plan.output_scale,
        plan.output_zero_point,
        tensors(floats),
        tensors(task.given(test)),
    )


def _model(path: Path, folder: Path) -> LoadedModel:
    """The network; of several outputs the last, on whose way every common tensor lies."""
    if path.suffix == ".onnx":
        import onnx

        graph = onnx.load(str(path)).graph
        if len(graph.output) > 1:
            one = folder / "one_output.onnx"
            names = [graph.output[-1].name]
            onnx.utils.extract_model(str(path), str(one), [graph.input[0].name], names)
            return load_model(one)
    return load_model(path)
