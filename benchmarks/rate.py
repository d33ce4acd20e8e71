"""Isthmus beside other codecs, on the same tensors in one run.

    python -m benchmarks.rate [--json] [--quick] [--task NAME ...] [--part PART] [--pictures N]
                           [--out FOLDER]

Every codec gets the float features of the network at the cut: no codec's figure has the int8 front
half's own loss in it. Isthmus and the lossless rivals (zstd, lz4, run-length, a range coder,
DeepCABAC, PNG) code the same levels, N = 2..8 of several quantisers and clip rules, and so have the
same accuracy at each; a rival's levels are put back by the values that lose less. Codecs of
pictures (HEVC, JPEG, WebP) get the features as 8-bit tiles, near a square, at two clip ranges:
that of the calibration set from end to end, and without its highest 0.1 percent (and lowest, where
features go below zero). The picture itself is sent as JPEG and WebP and the whole network answers.
`--part restorer` adds the frames of ``neighbour`` with a restorer on the host, trained on more of
the training set.

A rival may choose on the calibration set: layout, order, run length, dictionary, first counts.
Both sides know the tensor's shape, the quantiser and the clip range, as Isthmus's receiver knows
its profile. All bytes of an upload are counted: Isthmus's header, HEVC's parameter sets, the
headers of files. What could be told once and for all is left out of ``bytes_bare`` alone.

ISTHMUS_DATA names the folder of models and data sets (default: ../shared/data); ISTHMUS_NNCODEC the
python of an environment that has nncodec. A codec whose package is missing is named as absent.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same rounding on every processor

from benchmarks.rate_models import TASKS, Task, prepare
from benchmarks.rate_points import Plan, Point, absent, measure_cut
from benchmarks.sections import write_section

ROOT = Path(__file__).resolve().parents[1]

__all__ = ["Reference", "cheapest_within", "load_results", "main", "measure", "write_results"]


@dataclass(frozen=True)
class Reference:
    """The network without coding at one cut: ``metric`` in 0..1 on ``inputs`` inputs."""

    task: str
    title: str
    cut: str
    shape: tuple[int, ...]
    metric_name: str
    metric: float
    inputs: int
    calibration_inputs: int


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the section, the JSON and the plots; 3 without data."""
    parser = argparse.ArgumentParser(prog="benchmarks.rate", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="a few inputs and settings, a test")
    parser.add_argument(
        "--task", action="append", choices=[task.name for task in TASKS], metavar="NAME",
        help="measure these networks alone; the results file keeps the others",
    )  # fmt: skip
    parser.add_argument(
        "--part", choices=("all", "isthmus", "rivals", "restorer"), default="all",
        help="measure these codecs alone (restorer: trains, minutes for each point); the results"
        " file keeps the others",
    )  # fmt: skip
    parser.add_argument("--pictures", type=int, default=None, help="test inputs at most")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    options = parser.parse_args(arguments)
    data = Path(os.environ.get("ISTHMUS_DATA") or ROOT.parent / "shared" / "data")
    if not (data / "models").is_dir():
        print(f"no data at {data}: set ISTHMUS_DATA to their folder", file=sys.stderr)
        return 3
    missing = absent()
    for name, remedy in missing.items():
        print(f"absent: {name} ({remedy})", file=sys.stderr)
    wanted = [task for task in TASKS if not options.task or task.name in options.task]
    plan = Plan(list(missing), options.part, options.quick)
    points: list[Point] = []
    references: list[Reference] = []
    for task in wanted:
        found = measure(task, data, plan, most=options.pictures)
        points += found[0]
        references += found[1]
    points, references = _kept(points, references, plan, wanted, options.out)
    write_results(points, references, missing, options.out)
    if options.json:
        told = {
            "references": [asdict(r) for r in references],
            "absent": missing,
            "points": [asdict(p) for p in points],
        }
        print(json.dumps(told))
    return 0


def _kept(
    points: list[Point], references: list[Reference], plan: Plan, wanted: list[Task], out: Path
) -> tuple[list[Point], list[Reference]]:
    """These and what the results file has of other networks and codecs, in the usual order.

    Points of a network stay only where it was measured on as many inputs: else their losses would
    not be comparable.
    """
    names = [task.name for task in TASKS]
    file = out / "results" / "rate.json"
    if file.is_file():
        old_points, old_references, _ = load_results(file)
        done = {(r.task, r.inputs) for r in references}
        ours = {task.name for task in wanted}
        points = points + [
            p
            for p in old_points
            if p.task not in ours or ((p.task, p.inputs) in done and not plan.measures(p.codec))
        ]
        references = references + [r for r in old_references if r.task not in ours]
    return (
        sorted(points, key=lambda p: names.index(p.task)),
        sorted(references, key=lambda r: names.index(r.task)),
    )


def measure(
    task: Task, data: Path, plan: Plan, *, most: int | None = None
) -> tuple[list[Point], list[Reference]]:
    """Every point of one network."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr)

    points: list[Point] = []
    references: list[Reference] = []
    for cut in prepare(task, data, quick=plan.quick, most=most):
        whole = cut.scorer.score(cut.whole(cut.inputs))
        say(f"{task.name} {cut.name}: {len(cut.inputs)} inputs, whole network {whole.value:.4f}")
        references.append(
            Reference(
                task.name, task.title, cut.name, cut.shape, task.metric, whole.value,
                len(cut.inputs), len(cut.calibration),
            )
        )  # fmt: skip
        points += measure_cut(cut, whole, plan, say)
    return points, references


def cheapest_within(points: list[Point], loss: float) -> dict[str, Point | None]:
    """For each codec its cheapest measured point that loses at most ``loss``, or None.

    Nothing is interpolated. Losses are differences of accuracies in steps of one input, so what
    is a whole number of points has a rounding error alone: 1e-9 forgives it.
    """
    found: dict[str, Point | None] = {}
    for point in points:
        best = found.setdefault(point.codec, None)
        if point.loss <= loss + 1e-9 and (best is None or point.bytes < best.bytes):
            found[point.codec] = point
    return found


def load_results(path: Path) -> tuple[list[Point], list[Reference], dict[str, str]]:
    """What a results file holds."""
    found = json.loads(path.read_text(encoding="ascii"))
    points = [Point(**dict(zip(found["columns"], row, strict=True))) for row in found["points"]]
    references = [
        Reference(**{**entry, "shape": tuple(entry["shape"])}) for entry in found["references"]
    ]
    return points, references, found["absent"]


def write_results(
    points: list[Point], references: list[Reference], missing: dict[str, str], out: Path
) -> None:
    """RESULTS.md's section, results/rate.json and a plot for each cut.

    Section and plots are made from the file, so that a test can make them again.
    """
    from benchmarks.rate_text import draw, section

    folder = out / "results"
    folder.mkdir(parents=True, exist_ok=True)
    lists: dict[str, list[Any]] = {
        "references": [_rounded(asdict(r)) for r in references],
        "points": [list(_rounded(asdict(p)).values()) for p in points],
    }
    columns = [field.name for field in fields(Point)]
    lines = [f'"columns": {json.dumps(columns)}', f'"absent": {json.dumps(missing)}']
    lines += [
        f'"{key}": [\n' + ",\n".join(json.dumps(entry) for entry in entries) + "\n]"
        for key, entries in lists.items()
    ]
    file = folder / "rate.json"
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="ascii")
    kept = load_results(file)
    for name, drawing in draw(kept[0], kept[1]).items():
        (folder / name).write_text(drawing, encoding="utf-8")
    write_section(out / "RESULTS.md", "rate", section(*kept))


def _rounded(entry: dict[str, Any]) -> dict[str, Any]:
    """Floats to six digits: more is noise, and makes every change of the file a large one."""
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in entry.items()}


if __name__ == "__main__":
    sys.exit(main())
