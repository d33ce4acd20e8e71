"""The networks of the rivals' comparison: where each is cut, what it is calibrated and measured on.

Calibration inputs and measured inputs never overlap. Visual wake words has no training pictures
here and YOLO-Fastest no others, so they are calibrated on pictures of other sets, scaled; of the
spoken words every fifth is for calibration.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.detection import Head, corner_boxes
from benchmarks.rate_score import Detector, Scorer, TopOne
from isthmus.interpreters import InferenceModel, open_onnx, open_tflite
from isthmus_gen.data import load_data
from isthmus_gen.models import ActivationInfo, load_model, resolve_cut

__all__ = ["TASKS", "Cut", "Part", "Task", "prepare"]

Floats = npt.NDArray[np.float32]
_BATCH = 64
_QUICK = 16
_FIFTH = 5


@dataclass(frozen=True)
class Part:
    """Inputs of a file: ``most`` of them, spread over the file (sets may be sorted by class).

    ``which`` takes "all", every "fifth", or the "others". A packed file is read from its start.
    """

    file: str
    most: int
    which: str = "all"

    def load(
        self, data: Path, size: tuple[int, int] | None, most: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        """Inputs as they lie in the file, pictures scaled to ``size``, and labels."""
        packed = "packed" in self.file
        scaled = packed and size is not None
        found = load_data(
            data / self.file, limit=most if packed else None, resize=scaled,
            input_shape=(*size, 3) if scaled and size else None,
        )  # fmt: skip
        number = np.arange(len(found))
        if self.which != "all":
            number = number[(number % _FIFTH == 0) == (self.which == "fifth")]
        if len(number) > most:
            number = number[np.linspace(0, len(number) - 1, most).astype(np.int64)]
        x = found.x[number]
        if size is not None and x.shape[1:3] != size:
            x = _scaled(x, size)
        return x, None if found.y is None else found.y[number]


def _scaled(pictures: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    from PIL import Image

    wanted = (size[1], size[0])
    return np.stack(
        [
            np.asarray(Image.fromarray(one).resize(wanted, Image.Resampling.BILINEAR))
            for one in pictures
        ]
    )


@dataclass(frozen=True)
class Task:
    """A network, its cuts and its inputs.

    ``size`` is the height and width of its pictures, ``scale`` what their 0..255 are divided by;
    ``size`` is None where inputs are no pictures. ``training`` is what a restorer is trained on,
    where there is more than the calibration inputs.
    """

    name: str
    title: str
    model: str
    cuts: tuple[str, ...]
    calibration: Part
    test: Part
    size: tuple[int, int] | None = None
    scale: float = 1.0
    metric: str = "top-1"
    training: Part | None = None

    def given(self, x: npt.NDArray[Any]) -> Floats:
        """What the network takes for inputs as they lie in the file."""
        return (x.astype(np.float32) / np.float32(self.scale)).astype(np.float32)


_COCO = "coco/train2017_64_packed.npz"
_KWS = "kws/test_994_mfcc.npz"
_CIFAR = (32, 32)
TASKS = (
    Task(
        "resnet8", "ResNet-8, CIFAR-10", "models/mlperf_tiny/resnet8.keras",
        ("activation_2", "activation_4", "activation_6"),
        Part("cifar10/train_lossless_8068.npz", 1500), Part("cifar10/test_lossless_500.npz", 500),
        _CIFAR, training=Part("cifar10/train_lossless_8068.npz", 8068),
    ),
    Task(
        "resnet8_jpeg", "ResNet-8 tuned, CIFAR-10 after JPEG", "models/resnet8_jpeg.keras",
        ("activation_4",),
        Part("cifar10/train_jpeg_20000_packed.npz", 1500), Part("cifar10/test_jpeg_5248.npz", 1500),
        _CIFAR, training=Part("cifar10/train_jpeg_20000_packed.npz", 16000),
    ),
    Task(
        "vww", "visual wake words", "models/mlperf_tiny/vww_96.keras",
        ("activation_7", "activation_11"), Part(_COCO, 64), Part("vww/eval_400.npz", 400),
        (96, 96), scale=255.0,
    ),
    Task(
        "kws", "keyword spotting", "models/mlperf_tiny/kws.keras",
        ("activation_2", "activation_6"), Part(_KWS, 199, "fifth"), Part(_KWS, 400, "others"),
    ),
    Task(
        "yolo_fastest", "YOLO-Fastest, COCO", "models/yolo-fastest-1.1_nchw_f32.onnx",
        ("L59_leaky",), Part("imagenet/nips17_100_224px.npz", 100), Part(_COCO, 64),
        (320, 320), scale=255.0, metric="AP50",
    ),
)  # fmt: skip


@dataclass
class Cut:
    """A cut that is ready to be measured; features are the float network's, [n, *shape].

    ``back`` takes features, ``whole`` inputs as they lie in the file; both give what ``scorer``
    scores; ``front`` takes inputs and gives features, ``graph`` is the back half as a Keras model,
    or None where there is none. ``data`` is the folder of all sets. ``inputs`` are uint8 pictures,
    or float32 where the network takes none; ``input_range`` is that of the calibration inputs.
    """

    task: Task
    data: Path
    name: str
    shape: tuple[int, ...]
    activation: ActivationInfo
    calibration: Floats
    features: Floats
    inputs: npt.NDArray[Any]
    input_range: tuple[float, float]
    back: Callable[[Floats], Any]
    whole: Callable[[npt.NDArray[Any]], Any]
    front: Callable[[npt.NDArray[Any]], Floats]
    graph: Any
    scorer: Scorer

    @property
    def elements(self) -> int:
        """Elements of the tensor."""
        return int(np.prod(self.shape))


def prepare(
    task: Task, data: Path, *, quick: bool = False, most: int | None = None
) -> Iterator[Cut]:
    """Each cut of ``task``; ``quick``: the first, few inputs; ``most`` bounds the test set."""
    task = replace(task, cuts=task.cuts[:1]) if quick else task
    calibration, _ = task.calibration.load(
        data, task.size, min(2 * _QUICK, task.calibration.most) if quick else task.calibration.most
    )
    limit = _QUICK if quick else task.test.most
    inputs, labels = task.test.load(data, task.size, limit if most is None else most)
    make = _prepare_onnx if task.model.endswith(".onnx") else _prepare_keras
    return make(task, data, calibration, inputs, labels)


def _batched(function: Callable[[Floats], Floats], task: Task, x: npt.NDArray[Any]) -> Floats:
    parts = [function(task.given(x[i : i + _BATCH])) for i in range(0, len(x), _BATCH)]
    return np.concatenate(parts)


def _prepare_keras(
    task: Task,
    data: Path,
    calibration: npt.NDArray[Any],
    inputs: npt.NDArray[Any],
    labels: npt.NDArray[Any] | None,
) -> Iterator[Cut]:
    model = load_model(data / task.model)
    assert labels is not None  # every classifier's set has them
    scorer = TopOne(labels)
    for name in task.cuts:
        cut = resolve_cut(model, name)
        back = open_tflite(model.split(cut, int8=False).back)
        front = partial(_batched, partial(model.features, cut), task)
        yield Cut(
            task,
            data,
            name,
            tuple(cut.shape),
            model.activation(cut),
            front(calibration),
            front(inputs),
            inputs,
            (float(calibration.min()), float(calibration.max())),
            partial(_first, back),
            lambda x: _batched(model.predict, task, x),
            front,
            model.back_graph(cut),
            scorer,
        )


def _prepare_onnx(
    task: Task,
    data: Path,
    calibration: npt.NDArray[Any],
    inputs: npt.NDArray[Any],
    labels: npt.NDArray[Any] | None,
) -> Iterator[Cut]:
    """The front half by Isthmus's reader of .onnx files, the back half by ONNX Runtime.

    The reader takes one output: the last head's, on whose way every common tensor lies.
    """
    import onnx

    path = data / task.model
    given = json.loads(path.with_name("yolo-fastest-1.1.json").read_text(encoding="utf-8"))
    heads = [Head(tuple(map(tuple, h["anchors"])), h["classes"]) for h in given["heads"]]
    outputs = [head["name"] for head in given["heads"]]
    graph = onnx.load(str(path)).graph
    whole = open_onnx(path)
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / "one_head.onnx"
        onnx.utils.extract_model(str(path), str(one), [graph.input[0].name], outputs[-1:])
        model = load_model(one)
        for name in task.cuts:
            cut = resolve_cut(model, name)
            half = Path(folder) / f"{cut.index}.onnx"
            onnx.utils.extract_model(str(path), str(half), [name], outputs)
            back = open_onnx(half)
            front = partial(_batched, partial(model.features, cut), task)
            yield Cut(
                task,
                data,
                name,
                tuple(cut.shape),
                model.activation(cut),
                front(calibration),
                front(inputs),
                inputs,
                (float(calibration.min()), float(calibration.max())),
                partial(_turned, back),
                lambda x: _turned(whole, task.given(x)),
                front,
                None,
                Detector(heads, given["h"], _truth(data / task.test.file, len(inputs))),
            )


def _first(model: InferenceModel, x: Floats) -> Floats:
    return model.run_float(x)[0]


def _turned(model: InferenceModel, x: Floats) -> list[Floats]:
    """All outputs of a network that keeps channels first."""
    return model.run_float(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def _truth(path: Path, pictures: int) -> list[tuple[Any, Any]]:
    """Boxes and classes of each picture, from rows (picture, class, x, y, width, height)."""
    with np.load(path) as found:
        rows = found["boxes"].astype(np.float64)
    of = [rows[rows[:, 0] == picture] for picture in range(pictures)]
    return [(corner_boxes(one[:, 2:]), one[:, 1].astype(np.int64)) for one in of]
