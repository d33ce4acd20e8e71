"""Rate against accuracy with a restorer on the host: what ``neighbour`` needs, and ``paper``.

    python -m benchmarks.restoration [--case NAME ...] [--design WORDS ...] [--epochs N] [--json]

Features of the float network at the cut, quantised, coded into frames and decoded by the values of
the profile, by cell centroids and by a trained network (``isthmus generate --restorer``); the back
half answers. The restorer sees unlabelled training pictures alone; the points lost are paired, on
the same test pictures, with the standard error of their mean. Bits are those of whole frames,
headers included. Training takes minutes a design; results are kept by design, so that a run of
one leaves the others as they are. TensorFlow's own threads and kernels are used as they come:
another machine may differ in the last digits of a loss.

ISTHMUS_DATA names the folder of models and data sets (default: ../shared/data).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.sections import markdown_table, write_section
from isthmus.decoder import make_codec
from isthmus.profile import Profile, TensorSpec
from isthmus_gen.calibrate import TensorStatistics
from isthmus_gen.codec_design import design_rungs, profile_of
from isthmus_gen.data import load_data
from isthmus_gen.models import LoadedModel, load_model, resolve_cut
from isthmus_gen.options import make_options
from isthmus_gen.restoration import BackRunner, FeatureSet, make_restorer

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "restoration.json"
MEMORY = 700 << 20
_BATCH = 64
_STATISTICS = 1000
_SAMPLES = 400

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Design:
    """A quantiser: ``clip`` is a rule of ``--clip`` or a percentile, as "p99.9"."""

    scheme: str
    levels: int
    quantizer: str
    clip: str
    lam: float | None = None

    @property
    def words(self) -> str:
        """As ``--design`` takes it."""
        rate = "" if self.lam is None else f" {self.lam:g}"
        return f"{self.scheme} {self.levels} {self.quantizer}{rate} {self.clip}"


@dataclass(frozen=True)
class Case:
    """A network and a cut of it; designs of ``paper`` are measured without training."""

    name: str
    model: str
    cut: str
    train: str
    test: str
    designs: tuple[Design, ...]
    epochs: int = 12


@dataclass(frozen=True)
class Row:
    """What one design does: points of accuracy lost, and the standard error of that mean.

    ``restored`` is None for ``paper``; ``seconds`` are those of training and choosing.
    """

    case: str
    design: str
    scheme: str
    elements: int
    thresholds: tuple[float, ...]
    inputs: int
    accuracy: float
    bits: float
    values: tuple[float, float]
    centroids: tuple[float, float] | None = None
    restored: tuple[float, float] | None = None
    held_out: float | None = None
    steps: int = 0
    trained_on: int = 0
    seconds: float = 0.0


def _paper(*settings: tuple[int, str]) -> tuple[Design, ...]:
    return tuple(Design("paper", levels, "uniform", clip) for levels, clip in settings)


_GRID = [(n, clip) for n in (4, 5, 6) for clip in ("p99.5", "p99.9")]
_JPEG = ("cifar10/train_jpeg_20000_packed.npz", "cifar10/test_jpeg_5248.npz")
CASES = (
    Case(
        "resnet8_jpeg stage 2", "models/resnet8_jpeg.keras", "activation_4", *_JPEG,
        (
            *_paper(*_GRID),
            Design("neighbour", 3, "uniform", "p97"),
            Design("neighbour", 3, "ecsq", "model", 0.4),
        ),
    ),
    Case(
        "resnet8 stage 2", "models/mlperf_tiny/resnet8.keras", "activation_4",
        "cifar10/train_lossless_8068.npz", "cifar10/test_lossless_500.npz",
        (
            *_paper(*_GRID),
            Design("neighbour", 3, "ecsq", "model", 0.5),
            Design("neighbour", 3, "ecsq", "model", 0.65),
            Design("neighbour", 3, "ecsq", "model", 0.8),
        ),
        epochs=20,
    ),
)  # fmt: skip


class Measurement:
    """Features of one case, and the figures of its designs."""

    def __init__(self, case: Case, data: Path) -> None:
        self.case = case
        self.model: LoadedModel = load_model(data / case.model)
        self.cut = resolve_cut(self.model, case.cut)
        self.graph = self.model.back_graph(self.cut)
        self.back = BackRunner(self._answers, self.graph)
        self._train_file = data / case.train
        self.features, self.labels = self._features(data / case.test, None)
        self.expected = self._answers(self.features)
        self.right = self.expected.argmax(axis=1) == self.labels

    @cached_property
    def training(self) -> FeatureSet:
        """As many training pictures as the memory holds, without their labels."""
        features, _ = self._features(self._train_file, MEMORY // (4 * self.cut.elements))
        return FeatureSet(features, self._answers(features))

    def _features(self, file: Path, most: int | None) -> tuple[Floats, npt.NDArray[Any]]:
        data = load_data(file, input_shape=list(self.model.input_shape), limit=most)
        out = np.empty((len(data), *self.cut.shape), dtype=np.float32)
        done = 0
        for x, _ in data.batches(_BATCH):
            out[done : done + len(x)] = self.model.features(self.cut, x.astype(np.float32))
            done += len(x)
        return out, np.asarray(data.y).reshape(-1)

    def _answers(self, features: Floats) -> Floats:
        parts = [
            np.asarray(self.graph(features[i : i + _BATCH], training=False))
            for i in range(0, len(features), _BATCH)
        ]
        return np.concatenate(parts)

    def profile(self, design: Design) -> Profile:
        """The profile that ``isthmus generate`` makes of this design, for float features."""
        some = self.training.features[:_STATISTICS]
        clip = design.clip
        if clip.startswith("p"):
            clip = f"{np.quantile(some, float(clip[1:]) / 100):.9g}"
        options = make_options(
            {
                "model": "network", "cut": self.cut.name, "calibration": "data", "out": "none",
                "levels": (design.levels,), "clip": clip, "quantizer": design.quantizer,
                "lam": design.lam, "scheme": design.scheme, "element": "float32",
            }
        )  # fmt: skip
        tensor = TensorSpec(self.cut.name, self.cut.shape, "float32", 1.0, 0)
        activation = self.model.activation(self.cut)
        designs = design_rungs(options, tensor, self._statistics, activation, list(some[:_SAMPLES]))
        return profile_of(options, tensor, designs)

    @cached_property
    def _statistics(self) -> TensorStatistics:
        statistics = TensorStatistics(self.cut.shape)
        statistics.update(self.training.features[:_STATISTICS])
        return statistics

    def row(self, design: Design, epochs: int) -> Row:
        """The figures of one design."""
        profile = self.profile(design)
        codec = make_codec(profile)
        rung = profile.rungs[0]
        levels = np.empty(self.features.shape, dtype=np.uint8)
        size = 0
        for index, tensor in enumerate(self.features):
            frame = codec.encode(0, index & 0xFFFF, tensor)
            size += len(frame)
            levels[index] = codec.decode(frame).levels
        row = Row(
            case=self.case.name,
            design=design.words,
            scheme=design.scheme,
            elements=self.cut.elements,
            thresholds=rung.thresholds,
            inputs=len(levels),
            accuracy=float(self.right.mean()),
            bits=8 * size / levels.size,
            values=self._lost(rung.values_array()[levels]),
        )
        if design.scheme == "paper":
            return row
        start = time.monotonic()
        made = [
            make_restorer(profile, self.training, self.back, use=use, epochs=epochs)
            for use in ("centroids", "conv")
        ]
        seconds = time.monotonic() - start
        entry = made[1].report["rungs"][0]
        lost = []
        for one in made:
            parts = [one.rungs[0](levels[i : i + _BATCH]) for i in range(0, len(levels), _BATCH)]
            lost.append(self._lost(np.concatenate(parts)))
        return replace(
            row, centroids=lost[0], restored=lost[1], held_out=entry["held_out"]["conv"],
            steps=entry["steps"], trained_on=made[1].report["inputs"], seconds=round(seconds, 1),
        )  # fmt: skip

    def _lost(self, features: Floats) -> tuple[float, float]:
        """Points lost and their standard error, paired by picture."""
        right = self._answers(features).argmax(axis=1) == self.labels
        lost = self.right.astype(np.float64) - right
        return float(100 * lost.mean()), float(100 * lost.std() / np.sqrt(len(lost)))


def cheapest(rows: Sequence[Row], case: str, scheme: str, points: float = 1.0) -> Row | None:
    """The row of least bits that loses at most ``points``; restored where there is a restorer."""
    fits = [
        row
        for row in rows
        if row.case == case and row.scheme == scheme and (row.restored or row.values)[0] <= points
    ]
    return min(fits, key=lambda row: row.bits) if fits else None


def text_of(rows: Sequence[Row]) -> str:
    """The section of RESULTS.md."""

    def figure(pair: tuple[float, float] | None) -> str:
        return "-" if pair is None else f"{pair[0]:.2f} ± {pair[1]:.2f}"

    lines = [
        "## Restoration on the host",
        "",
        "Written by `python -m benchmarks.restoration`; ours, not published. Points of accuracy"
        " lost on the same test pictures, with the standard error of the paired mean; bits per"
        " element of whole frames. The network is trained on unlabelled training pictures.",
        "",
    ]
    for case in dict.fromkeys(row.case for row in rows):
        own = sorted((r for r in rows if r.case == case), key=lambda r: (r.scheme, r.bits))
        lines += [f"### {case}: {own[0].inputs} pictures, {100 * own[0].accuracy:.2f} %", ""]
        cells = [
            [
                row.design, f"{row.bits:.3f}", figure(row.values), figure(row.centroids),
                figure(row.restored), f"{row.seconds:.0f}" if row.restored else "-",
            ]
            for row in own
        ]  # fmt: skip
        head = ["design", "bits", "values", "centroids", "network", "training, s"]
        lines += [markdown_table(head, cells), ""]
        paper, ours = cheapest(rows, case, "paper"), cheapest(rows, case, "neighbour")
        if paper and ours:
            lines += [
                f"At most one point lost: `paper` {paper.bits:.3f} bits ({paper.design}),"
                f" `neighbour` with a restorer {ours.bits:.3f} ({ours.design}):"
                f" {ours.bits / paper.bits:.2f} of it.",
                "",
            ]
    return "\n".join(lines)


def load_rows(path: Path = RESULTS) -> list[Row]:
    """The rows of earlier runs."""
    if not path.is_file():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))["rows"]
    pairs = ("thresholds", "values", "centroids", "restored")
    return [
        Row(**{k: tuple(v) if k in pairs and v is not None else v for k, v in row.items()})
        for row in found
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure the cases and designs named, or all; keep what others have measured."""
    parser = argparse.ArgumentParser(prog="benchmarks.restoration", description=__doc__)
    parser.add_argument("--case", nargs="*", default=[case.name for case in CASES])
    parser.add_argument("--design", nargs="*", help="as the table names them")
    parser.add_argument("--scheme", choices=("paper", "neighbour"), help="those of one scheme")
    parser.add_argument("--epochs", type=int, help="instead of the case's own")
    parser.add_argument("--json", action="store_true", help="print the rows")
    asked = parser.parse_args(arguments)
    data = Path(os.environ.get("ISTHMUS_DATA") or ROOT.parent / "shared" / "data")
    for case in CASES:
        if case.name not in asked.case:
            continue
        measurement = Measurement(case, data)
        for design in case.designs:
            if asked.design is not None and design.words not in asked.design:
                continue
            if asked.scheme is not None and design.scheme != asked.scheme:
                continue
            row = measurement.row(design, asked.epochs or case.epochs)
            print(f"{case.name}, {row.design}: {row.bits:.3f} bits", file=sys.stderr, flush=True)
            known = [r for r in load_rows() if (r.case, r.design) != (row.case, row.design)]
            rows = [*known, row]
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"rows": [asdict(r) for r in rows]}, indent=1) + "\n"
            RESULTS.write_text(text, encoding="utf-8")
            write_section(ROOT / "benchmarks" / "RESULTS.md", "restoration", text_of(rows))
    if asked.json:
        print(json.dumps([asdict(row) for row in load_rows()], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
