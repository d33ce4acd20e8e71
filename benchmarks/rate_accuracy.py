"""Accuracy against bits per element: ResNet-8 on CIFAR-10, cut after stages 1, 2 and 3.

    python -m benchmarks.rate_accuracy [--json] [--limit N] [--out benchmarks]

For each cut the calibration set is gone through once and the int8 front half (the firmware's C)
once over the test pictures; every quantiser, N = 2..8, then codes the same tensors. Frames are
made and decoded by the C codec and counted with their 12 bytes of header. The reconstruction
values of a level are tried twice: those the quantiser was made with ("published") and the mean of
the calibration values in each cell ("centroid", what bundles hold by default); bits do not change.

ISTHMUS_DATA names the folder of models and data sets (default: ../shared/data).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same rounding on every processor

from benchmarks.sections import write_section
from isthmus.decoder import make_codec
from isthmus.errors import FrameError
from isthmus.interpreters import InferenceModel, TensorInfo, open_tflite, quantize
from isthmus.profile import Profile, Rung, TensorSpec
from isthmus_gen.calibrate import TensorStatistics
from isthmus_gen.codec_design import RungDesign, design_rungs
from isthmus_gen.data import DataSet, load_data
from isthmus_gen.evaluate import CompiledFront, Tally
from isthmus_gen.evaluate.rungs import header_bytes
from isthmus_gen.front import plan_front, render_front
from isthmus_gen.models import ActivationInfo, Cut, Halves, LoadedModel, load_model, resolve_cut
from isthmus_gen.options import make_options

Ints = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]

LEVELS = (2, 3, 4, 5, 6, 7, 8)
CUTS = (("stage 1", "activation_2"), ("stage 2", "activation_4"), ("stage 3", "activation_6"))
QUANTIZERS = ("uniform", "ecsq", "ecsq-zero")
CLIPS = ("model", "empirical")
_BATCH = 64
_REPRESENTATIVE = 256
_SAMPLE_ELEMENTS = 1 << 22
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Network:
    """A network, the set it is calibrated on and the set it is measured on."""

    name: str
    model: str
    calibration: str
    calibration_inputs: int | None
    test: str


NETWORKS = (
    Network(
        "resnet8",
        "models/mlperf_tiny/resnet8.keras",
        "cifar10/train_lossless_8068.npz",
        None,
        "cifar10/test_lossless_500.npz",
    ),
    Network(
        "resnet8_jpeg",
        "models/resnet8_jpeg.keras",
        "cifar10/train_jpeg_20000_packed.npz",
        8000,
        "cifar10/test_jpeg_5248.npz",
    ),
)


@dataclass(frozen=True)
class Row:
    """One quantiser at one cut. Accuracies in 0..1; deltas are against the whole network.

    ``delta_low`` and ``delta_high`` bound the paired 95 % interval of the centroid accuracy.
    """

    network: str
    stage: str
    cut: str
    quantizer: str
    clip: str
    levels: int
    c_max: float
    lam: float | None
    inputs: int
    bits_per_element: float
    bits_per_element_payload: float
    bytes_per_input: float
    accuracy_centroid: float
    delta_centroid: float
    delta_low: float
    delta_high: float
    accuracy_published: float
    delta_published: float
    feature_mse: float


@dataclass(frozen=True)
class Reference:
    """What stands against the rows of one cut: the same pictures without any coding."""

    network: str
    stage: str
    cut: str
    shape: tuple[int, ...]
    inputs: int
    calibration_inputs: int
    accuracy_whole: float
    accuracy_front_int8: float
    macs_device: int
    macs_whole: int


@dataclass
class Prepared:
    """A cut with its calibration, halves and the test set's tensors."""

    network: Network
    stage: str
    cut: Cut
    tensor: TensorSpec
    activation: ActivationInfo
    statistics: TensorStatistics
    samples: list[Floats]
    tensors: Ints
    back: InferenceModel
    whole: Floats
    labels: npt.NDArray[np.int64]


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the section, the JSON and the plot; 1 if the goal is missed, 3 without data.

    The goal: N = 8 after stage 2 of resnet8 within one point of the whole network, with each
    uniform quantiser's centroid values.
    """
    parser = argparse.ArgumentParser(prog="benchmarks.rate_accuracy", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--limit", type=int, default=None, help="test pictures (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    options = parser.parse_args(arguments)
    data = Path(os.environ.get("ISTHMUS_DATA") or ROOT.parent / "shared" / "data")
    if not (data / "models").is_dir():
        print(f"no data at {data}: set ISTHMUS_DATA to their folder", file=sys.stderr)
        return 3
    rows: list[Row] = []
    references: list[Reference] = []
    for network in NETWORKS:
        model = load_model(data / network.model)
        for stage, name in CUTS:
            began = time.monotonic()
            prepared = prepare(network, model, stage, name, data, options.limit)
            references.append(reference(prepared, model))
            rows.extend(measure(prepared))
            took = time.monotonic() - began
            print(f"{network.name}, {stage}: {took:.0f} s", file=sys.stderr)
    write_results(rows, references, options.out)
    if options.json:
        found = {"references": [asdict(r) for r in references], "rows": [asdict(r) for r in rows]}
        print(json.dumps(found))
    return 0 if goal_met(rows) else 1


def goal_rows(rows: list[Row]) -> list[Row]:
    """N = 8 after stage 2 of resnet8."""
    return [r for r in rows if (r.network, r.stage, r.levels) == ("resnet8", "stage 2", 8)]


def goal_met(rows: list[Row]) -> bool:
    """Whether N = 8 after stage 2 loses at most a point with each uniform quantiser."""
    return all(r.delta_centroid >= -0.01 for r in goal_rows(rows) if r.quantizer == "uniform")


def prepare(
    network: Network, model: LoadedModel, stage: str, name: str, data: Path, limit: int | None
) -> Prepared:
    """One pass over the calibration set and one over the test set."""
    cut = resolve_cut(model, name)
    training = load_data(data / network.calibration, limit=network.calibration_inputs)
    statistics = TensorStatistics(cut.shape, name=f"features of {name}")
    samples: list[Floats] = []
    keep = max(1, _SAMPLE_ELEMENTS // cut.elements)
    representative: list[Floats] = []
    for x, _ in training.batches(_BATCH):
        given = x.astype(np.float32)
        features = model.features(cut, given)
        statistics.update(features)
        samples.extend(features[: max(0, keep - len(samples))])
        representative += [g[np.newaxis] for g in given[: _REPRESENTATIVE - len(representative)]]
    halves = model.split(cut, representative)
    test = load_data(data / network.test, need_labels=True, limit=limit)
    tensor, tensors = run_front(halves, cut, test)
    assert test.y is not None  # need_labels
    whole = np.concatenate([model.predict(x.astype(np.float32)) for x, _ in test.batches(_BATCH)])
    return Prepared(
        network,
        stage,
        cut,
        tensor,
        model.activation(cut),
        statistics,
        samples,
        tensors,
        open_tflite(halves.back),
        whole,
        test.y.astype(np.int64),
    )


def run_front(halves: Halves, cut: Cut, test: DataSet) -> tuple[TensorSpec, Ints]:
    """The firmware's C front half on every test picture: int8 [n, *shape]."""
    assert halves.front_int8 is not None  # a Keras network with representative inputs has one
    plan = plan_front(halves.front_int8)
    shape = tuple(cut.shape)
    tensor = TensorSpec(cut.name, shape, "int8", plan.output_scale, plan.output_zero_point)
    info = TensorInfo(
        "input", plan.input_shape, np.dtype(np.int8), plan.input_scale, plan.input_zero_point
    )
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for file, content in render_front(plan).items():
            if "/" not in file:
                (Path(folder) / file).write_bytes(content)
                files.append(Path(folder) / file)
        front = CompiledFront(files)
    parts = [
        front(quantize(x.astype(np.float32), info).astype(np.int8)).reshape(-1, *shape)
        for x, _ in test.batches(_BATCH)
    ]
    return tensor, np.concatenate(parts)


def real(tensor: TensorSpec, q: Ints) -> Floats:
    """int8 tensors as float32 features."""
    centred = q.astype(np.int32) - np.int32(tensor.zero_point)
    return (centred.astype(np.float32) * np.float32(tensor.scale)).astype(np.float32)


def batches(prepared: Prepared) -> Iterator[slice]:
    for begin in range(0, len(prepared.tensors), _BATCH):
        yield slice(begin, min(begin + _BATCH, len(prepared.tensors)))


def reference(prepared: Prepared, model: LoadedModel) -> Reference:
    """Accuracy without coding on the same pictures."""
    whole, front = Tally(), Tally()
    for at in batches(prepared):
        answers, labels = prepared.whole[at], prepared.labels[at]
        whole.add(answers, answers, labels)
        given = real(prepared.tensor, prepared.tensors[at])
        front.add(prepared.back.run_float(given)[0], answers, labels)
    return Reference(
        prepared.network.name,
        prepared.stage,
        prepared.cut.name,
        prepared.tensor.shape,
        len(prepared.tensors),
        prepared.statistics.inputs,
        whole.right / whole.labelled,
        front.right / front.labelled,
        prepared.cut.macs_before,
        prepared.cut.macs_total,
    )


def measure(prepared: Prepared) -> Iterator[Row]:
    """Every quantiser and clip rule: a ladder of seven rungs each."""
    for quantizer in QUANTIZERS:
        for clip in CLIPS:
            options = make_options(
                {
                    "model": prepared.network.model,
                    "calibration": prepared.network.calibration,
                    "out": "not-written",
                    "cut": prepared.cut.name,
                    "levels": LEVELS,
                    "clip": clip,
                    "quantizer": quantizer,
                }
            )
            designs = design_rungs(
                options,
                prepared.tensor,
                prepared.statistics,
                prepared.activation,
                prepared.samples,
            )
            profile = Profile(prepared.tensor, tuple(d.rung for d in designs), prepared.tensor.rows)
            for index, design in enumerate(designs):
                yield measure_rung(prepared, profile, index, design, clip)


def measure_rung(
    prepared: Prepared, profile: Profile, index: int, design: RungDesign, clip: str
) -> Row:
    """All test tensors through one rung: encoded, decoded, answered."""
    codec = make_codec(profile)
    rung: Rung = profile.rungs[index]
    centroid = rung.values_array()
    published = design.quantizer.values.astype(np.float32)
    mine, plain = Tally(), Tally()
    total, headers, squares = 0, 0, 0.0
    for at in batches(prepared):
        tensors = prepared.tensors[at]
        frames = [codec.encode(index, n, tensor) for n, tensor in enumerate(tensors)]
        total += sum(len(frame) for frame in frames)
        headers += sum(header_bytes(frame) for frame in frames)
        levels = np.empty(tensors.shape, dtype=np.uint8)
        for n, decoded in enumerate(codec.decode_batch(frames)):
            if isinstance(decoded, FrameError):
                raise decoded
            levels[n] = decoded.levels
        answers, labels = prepared.whole[at], prepared.labels[at]
        features = centroid[levels]
        difference = (features - real(prepared.tensor, tensors)).astype(np.float64)
        squares += float((difference**2).sum())
        mine.add(prepared.back.run_float(features)[0], answers, labels)
        plain.add(prepared.back.run_float(published[levels])[0], answers, labels)
    count = len(prepared.tensors)
    elements = prepared.tensors.size
    interval, other = mine.interval, plain.interval
    assert interval is not None  # the sets are labelled
    assert other is not None
    lam = design.quantizer.details.get("lambda")
    return Row(
        prepared.network.name,
        prepared.stage,
        prepared.cut.name,
        rung.quantizer,
        clip,
        rung.levels,
        rung.clip[1],
        float(lam) if isinstance(lam, float) else None,
        count,
        8 * total / elements,
        8 * (total - headers) / elements,
        total / count,
        mine.right / count,
        interval.delta,
        interval.low,
        interval.high,
        plain.right / count,
        other.delta,
        squares / elements,
    )


def load_results(path: Path) -> tuple[list[Row], list[Reference]]:
    """What a results file holds."""
    found = json.loads(path.read_text(encoding="ascii"))
    rows = [Row(**dict(zip(found["columns"], values, strict=True))) for values in found["rows"]]
    references = [
        Reference(**{**entry, "shape": tuple(entry["shape"])}) for entry in found["references"]
    ]
    return rows, references


def write_results(rows: list[Row], references: list[Reference], out: Path) -> None:
    """RESULTS.md's section, results/rate_accuracy.json and results/rate_accuracy.svg.

    Section and plot are made from the file, so that a test can make them again.
    """
    from benchmarks.rate_accuracy_text import draw, section

    folder = out / "results"
    folder.mkdir(parents=True, exist_ok=True)
    columns = [field.name for field in fields(Row)]
    lists: dict[str, list[Any]] = {
        "references": [_rounded(asdict(r)) for r in references],
        "rows": [list(_rounded(asdict(r)).values()) for r in rows],
    }
    lines = [f'"columns": {json.dumps(columns)}'] + [
        f'"{key}": [\n' + ",\n".join(json.dumps(entry) for entry in entries) + "\n]"
        for key, entries in lists.items()
    ]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    file = folder / "rate_accuracy.json"
    file.write_text(text, encoding="ascii")
    kept = load_results(file)
    (folder / "rate_accuracy.svg").write_text(draw(*kept), encoding="utf-8")
    write_section(out / "RESULTS.md", "rate_accuracy", section(*kept))


def _rounded(entry: dict[str, Any]) -> dict[str, Any]:
    """Floats to six digits: more is noise, and makes every change of the file a large one."""
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in entry.items()}


if __name__ == "__main__":
    sys.exit(main())
