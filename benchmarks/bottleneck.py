"""A learned bottleneck after each stage of ResNet-8: bytes and accuracy, JPEG beside our coder.

    python -m benchmarks.bottleneck [--stage N ...] [--point WORDS ...] [--again] [--quick] [--json]

The units are trained on 20,000 training pictures, the network stays as it is; accuracy and bytes
are those of 5,248 test pictures. Bytes of ours are whole frames with their header; of JPEG the
coded data alone, as published sizes must be. Features are the float network's: what an int8 front
half changes is told by ``isthmus evaluate`` of a bundle. Each point is kept as soon as it is
measured, and a run goes on with those that are missing (--again: measures them anew); within a
point, training goes on where it was interrupted, in build/bottleneck.

ISTHMUS_DATA names the folder of models and data sets (default: ../shared/data).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.bottleneck_text import PICTURE_QUALITY, failures, text_of
from benchmarks.sections import write_section
from isthmus_gen.bottleneck import (
    CutSet,
    TrainingPlan,
    collect,
    evaluate,
    insert,
    jpeg_scan_bytes,
    train,
)
from isthmus_gen.data import Preprocessing, load_data
from isthmus_gen.models import load_model, resolve_cut

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "bottleneck.json"
WORK = ROOT / "build" / "bottleneck"
MODEL = "models/resnet8_jpeg.keras"
TRAIN = "cifar10/train_jpeg_20000_packed.npz"
TEST = "cifar10/test_jpeg_5248.npz"
_QUICK_TRAIN, _QUICK_TEST = 256, 64


@dataclass(frozen=True)
class Stage:
    """A cut after a stage, and the points that are measured there."""

    number: int
    cut: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Point:
    """A bottleneck: C channels, stride s, and what it is trained with."""

    channels: int
    stride: int
    plan: TrainingPlan

    @property
    def words(self) -> str:
        """As ``--point`` takes it."""
        plan = self.plan
        if plan.coder == "jpeg":
            return f"jpeg C={self.channels} s={self.stride} Q={plan.quality}"
        rate = f"{plan.rate_weight:g}"
        return f"isthmus C={self.channels} s={self.stride} N={plan.levels} rate={rate}"


def _ours(
    channels: int, weight: float, *, stride: int = 2, levels: int = 8, epochs: int = 12
) -> Point:
    plan = TrainingPlan(levels=levels, rate_weight=weight, epochs=epochs)
    return Point(channels, stride, plan)


def _jpeg(channels: int, quality: int, *, stride: int = 2, epochs: int = 12) -> Point:
    return Point(channels, stride, TrainingPlan(coder="jpeg", quality=quality, epochs=epochs))


STAGES = (
    Stage(1, "activation_2", (
        _ours(16, 1e-5), _ours(16, 1.25e-5), _ours(16, 1.5e-5), _ours(16, 4e-5),
        _jpeg(16, 20), _jpeg(8, 20),
    )),
    Stage(2, "activation_4", (
        _ours(32, 3e-5), _ours(32, 6e-5), _ours(32, 1.2e-4),
        _jpeg(32, 50), _jpeg(32, 20), _jpeg(16, 20),
    )),
    Stage(3, "activation_6", (
        _ours(16, 5e-4, stride=8), _ours(16, 2e-4, stride=8), _ours(32, 2e-4, stride=8),
        _ours(16, 5e-4, stride=4), _ours(32, 1e-4, stride=4),
        _jpeg(16, 20), _jpeg(8, 20), _jpeg(16, 20, stride=4), _jpeg(32, 20, stride=8),
    )),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What one point does.

    bytes     mean of a test picture; ``file_bytes`` of JPEG with headers and tables
    raw       bytes of the features as float32 at the cut
    accuracy  through the bottleneck; ``whole``: the network itself, same pictures
    picture_file, picture_data   the picture itself as JPEG of quality 75, and its coded data alone
    lost      pictures that only the network itself gets right; ``gained`` the other way round
    """

    stage: int
    point: str
    coder: str
    shape: tuple[int, int, int]
    raw: int
    inputs: int
    bytes: float
    file_bytes: float | None
    picture_file: float
    picture_data: float
    accuracy: float
    whole: float
    lost: int
    gained: int
    trained_on: int
    epochs: int
    seconds: float


class Measurement:
    """A stage's features and answers, collected once for all of its points."""

    def __init__(self, stage: Stage, data: Path, quick: bool) -> None:
        self.stage, self.quick, self.data = stage, quick, data
        self.train = self._collect(TRAIN, _QUICK_TRAIN if quick else None)
        self.test = self._collect(TEST, _QUICK_TEST if quick else None)
        self.picture = _picture_bytes(data / TEST, len(self.test))

    def _collect(self, file: str, limit: int | None) -> CutSet:
        model = load_model(self.data / MODEL)
        cut = resolve_cut(model, self.stage.cut)
        return collect(model, cut, load_data(self.data / file, limit=limit), Preprocessing())

    def row(self, point: Point) -> Row:
        """Trains and measures one point."""
        begin = time.monotonic()
        model = load_model(self.data / MODEL)
        inserted = insert(model, self.stage.cut, point.channels, point.stride)
        plan = replace(point.plan, epochs=1) if self.quick else point.plan
        key = f"{self.stage.cut} {point.words} {len(self.train)}"
        trained = train(inserted, self.train, plan, _told(point), work=WORK, key=key)
        figures = evaluate(inserted, plan, self.train, self.test)
        assert figures.accuracy is not None  # the set has labels
        assert figures.whole is not None
        return Row(
            self.stage.number, point.words, plan.coder, inserted.shape,
            4 * inserted.cut.elements, figures.inputs, figures.bytes, figures.file_bytes,
            *self.picture, figures.accuracy, figures.whole, figures.lost, figures.gained,
            len(self.train.training), len(trained.epochs), round(time.monotonic() - begin, 1),
        )  # fmt: skip


def _picture_bytes(file: Path, count: int) -> tuple[float, float]:
    """Mean bytes of the pictures as JPEG files, and of their coded data alone."""
    from PIL import Image

    whole = data = 0
    for picture in load_data(file, limit=count).x:
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "JPEG", quality=PICTURE_QUALITY)
        whole += len(out.getvalue())
        data += jpeg_scan_bytes(out.getvalue())
    return whole / count, data / count


def _told(point: Point) -> Any:
    def progress(stage: str, done: int, total: int, /) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else "\r"
            print(f"{point.words}: {stage} {done:,} of {total:,}  ", end=end, file=sys.stderr)

    return progress


def load_rows(path: Path = RESULTS) -> list[Row]:
    """The rows of earlier runs, without those whose point is in STAGES no longer."""
    if not path.is_file():
        return []
    points = {(stage.number, point.words) for stage in STAGES for point in stage.points}
    found = json.loads(path.read_text(encoding="utf-8"))["rows"]
    rows = [Row(**{**row, "shape": tuple(row["shape"])}) for row in found]
    return [row for row in rows if (row.stage, row.point) in points]


def save_rows(rows: Sequence[Row], path: Path = RESULTS) -> None:
    """Written aside, then renamed; in the order of STAGES."""
    order = {(s.number, p.words): i for s in STAGES for i, p in enumerate(s.points)}
    known = sorted(rows, key=lambda row: (row.stage, order.get((row.stage, row.point), 99)))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(
        json.dumps({"rows": [asdict(row) for row in known]}, indent=1) + "\n", encoding="utf-8"
    )
    aside.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing; 1 where a figure is not what it should be."""
    parser = argparse.ArgumentParser(prog="benchmarks.bottleneck", description=__doc__)
    numbers = [stage.number for stage in STAGES]
    parser.add_argument("--stage", nargs="*", type=int, choices=numbers, default=numbers)
    parser.add_argument("--point", nargs="*", help="as the table names them")
    parser.add_argument("--again", action="store_true", help="also what is there already")
    parser.add_argument("--quick", action="store_true", help="one pass, few pictures, not kept")
    parser.add_argument("--json", action="store_true", help="print the rows")
    asked = parser.parse_args(arguments)
    data = Path(os.environ.get("ISTHMUS_DATA") or ROOT.parent / "shared" / "data")
    quick: list[Row] = []
    for stage in (one for one in STAGES if one.number in asked.stage):
        there = {(row.stage, row.point) for row in load_rows()}
        points = [
            point
            for point in stage.points
            if (asked.point is None or point.words in asked.point)
            and (asked.again or asked.quick or (stage.number, point.words) not in there)
        ]
        if asked.quick:  # one of each coder
            points = list({point.plan.coder: point for point in points}.values())
        measurement = Measurement(stage, data, asked.quick) if points else None
        for point in points:
            assert measurement is not None
            row = measurement.row(point)
            print(
                f"stage {row.stage}, {row.point}: {row.bytes:.1f} bytes,"
                f" {100 * row.accuracy:.2f} %", file=sys.stderr, flush=True,
            )  # fmt: skip
            if asked.quick:
                quick.append(row)
                continue
            others = [r for r in load_rows() if (r.stage, r.point) != (row.stage, row.point)]
            save_rows([*others, row])
            write_section(ROOT / "benchmarks" / "RESULTS.md", "bottleneck", text_of(load_rows()))
    rows = quick if asked.quick else load_rows()
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    found = [] if asked.quick else failures(rows)
    for one in found:
        print(one, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
