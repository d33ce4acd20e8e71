"""Near-lossless coding beside lossless coders of pictures and bytes, on the same int8 tensors.

    python -m benchmarks.near_lossless [--json] [--quick] [--task NAME ...] [--part PART]
                                    [--tensors N] [--out FOLDER]

The tensors are what the int8 front halves give (:mod:`benchmarks.near_lossless_tensors`). At a
bound D > 0 they are first quantised on the grid of step 2 D + 1 through the zero point, and every
rival codes those levels without loss; JPEG-LS codes the int8 values with its own NEAR = D as well.
A rival's layout and settings are those that take the fewest bytes on calibration tensors, for each
cut and bound anew. Every code is decoded and must give its tensor back, or one within D.

``--part ours`` measures Isthmus alone and takes the rivals' sizes from the results file, which has
them for every tensor; ``--part rivals`` does the opposite.

ISTHMUS_DATA names the folder of models and data sets (default: ../shared/data). A codec whose
package is missing is named as absent.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same rounding on every processor

import numpy as np

from benchmarks.codecs.base import Array8, Codec
from benchmarks.near_lossless_ours import OURS, our_bytes, our_codecs
from benchmarks.near_lossless_rivals import Rival, absent, rivals
from benchmarks.near_lossless_tensors import BOUNDS, TASKS, Grid, Int8Cut, int8_cuts
from benchmarks.sections import write_section

ROOT = Path(__file__).resolve().parents[1]

__all__ = ["Sizes", "load_results", "main", "measure_cut", "measure_rival", "write_results"]


@dataclass(frozen=True)
class Sizes:
    """What one coder makes of the tensors of a cut at a bound.

    ``sizes`` are bytes of whole files or frames, of every ``step``-th tensor; ``header`` of them
    could be told once and for all. ``setting`` says what was chosen on calibration tensors.
    """

    task: str
    cut: str
    shape: tuple[int, ...]
    bound: int
    coder: str
    setting: str
    step: int
    header: int
    sizes: tuple[int, ...]

    @property
    def key(self) -> tuple[str, str, int]:
        """Network, cut and bound."""
        return self.task, self.cut, self.bound


def main(arguments: list[str] | None = None) -> int:
    """Measure, write section and JSON; 3 without data."""
    parser = argparse.ArgumentParser(prog="benchmarks.near_lossless", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="a few tensors of one cut, a test")
    parser.add_argument(
        "--task", action="append", choices=[task.name for task in TASKS], metavar="NAME",
        help="measure these networks alone; the results file keeps the others",
    )  # fmt: skip
    parser.add_argument(
        "--part", choices=("all", "ours", "rivals"), default="all",
        help="measure these coders alone; the results file keeps the others",
    )  # fmt: skip
    parser.add_argument("--tensors", type=int, default=50, help="test tensors of a cut, at most")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    options = parser.parse_args(arguments)
    data = Path(os.environ.get("ISTHMUS_DATA") or ROOT.parent / "shared" / "data")
    if not (data / "models").is_dir():
        print(f"no data at {data}: set ISTHMUS_DATA to their folder", file=sys.stderr)
        return 3
    missing = absent()
    for name, remedy in missing.items():
        print(f"absent: {name} ({remedy})", file=sys.stderr)
    began = time.monotonic()
    found: list[Sizes] = []
    for task in TASKS:
        if options.task and task.name not in options.task:
            continue
        for cut in int8_cuts(task, data, most=options.tensors, quick=options.quick):
            for bound in BOUNDS[:2] if options.quick else BOUNDS:
                found += measure_cut(cut, bound, options.part, list(missing))
                spent = time.monotonic() - began
                print(f"{spent:6.0f} s  {task.name} {cut.name} D = {bound}", file=sys.stderr)
        if options.quick:
            break
    results = options.out / "results" / "near_lossless.json"
    kept, known = load_results(results) if results.is_file() else ([], {})
    if options.part == "ours":
        missing = known
    write_results(_merged(kept, found, options.part), missing, options.out)
    if options.json:
        told = json.loads(results.read_text(encoding="ascii"))
        print(json.dumps(told))
    return 0


def measure_cut(
    cut: Int8Cut, bound: int, part: str = "all", without: Sequence[str] = ()
) -> list[Sizes]:
    """Every coder of ``part`` ("all", "ours" or "rivals") on one cut at one bound."""
    grid = Grid(bound, cut.zero_point)
    test, calibration = grid.levels(cut.test), grid.levels(cut.calibration)
    height, width, channels = cut.test.shape[1:]
    found = []
    if part != "ours":
        shape = (height, width, channels)
        found += [
            measure_rival(cut, bound, rival, test, calibration)
            for rival in rivals(shape, grid.count, bound, calibration, without)
        ]
    if part != "rivals":
        for codec in our_codecs(cut, bound):
            whole, bare = our_bytes(codec, test)
            found.append(_sizes(cut, bound, codec.name, codec, 1, whole, bare))
    return found


def measure_rival(
    cut: Int8Cut, bound: int, rival: Rival, test: Array8, calibration: Array8
) -> Sizes:
    """One rival on levels ``test``, its setting chosen on ``calibration``.

    RuntimeError where a code does not give its tensor back.
    """
    if rival.bound:  # it quantises itself
        test, calibration = _unsigned(cut.test), _unsigned(cut.calibration)
    codec = rival.chosen(calibration)
    given = test[:: rival.step]
    codes = codec.encode_all(given)
    difference = np.abs(codec.decode_all(codes).astype(np.int64) - given)
    if difference.max() > rival.bound:
        raise RuntimeError(
            f"{rival.name} {codec.setting}: what comes back is {difference.max()} off"
        )
    bare = [codec.bare(code) for code in codes]
    return _sizes(cut, bound, rival.name, codec, rival.step, [len(code) for code in codes], bare)


def _unsigned(values: Any) -> Array8:
    return np.asarray(values.astype(np.int64) + 128, dtype=np.uint8)


def _sizes(
    cut: Int8Cut, bound: int, name: str, codec: Codec, step: int, whole: list[int], bare: list[int]
) -> Sizes:
    headers = {a - b for a, b in zip(whole, bare, strict=True)}
    if len(headers) != 1:
        raise RuntimeError(f"{name}: headers of {sorted(headers)} bytes in one size of picture")
    return Sizes(
        cut.task.name, cut.name, cut.shape, bound, name, codec.setting, step, headers.pop(),
        tuple(whole),
    )  # fmt: skip


def _merged(kept: list[Sizes], found: list[Sizes], part: str) -> list[Sizes]:
    """``found`` and what else is known: of cuts that were not measured, and of the other part."""
    measured = {one.key for one in found}
    mine: Callable[[Sizes], bool] = {
        "all": lambda one: True,
        "ours": lambda one: one.coder in OURS,
        "rivals": lambda one: one.coder not in OURS,
    }[part]
    others = [one for one in kept if one.key not in measured or not mine(one)]
    order = [(task.name, cut) for task in TASKS for cut in task.cuts]
    rank = {name: number for number, name in enumerate(OURS)}
    everything = [*found, *others]
    everything.sort(
        key=lambda one: (
            order.index((one.task, one.cut)),
            one.bound,
            rank.get(one.coder, len(rank)),
        )
    )
    return everything


def load_results(path: Path) -> tuple[list[Sizes], dict[str, str]]:
    """What a results file holds: all sizes, and the codecs that were absent."""
    found = json.loads(path.read_text(encoding="ascii"))
    sizes = [
        Sizes(**{**one, "shape": tuple(one["shape"]), "sizes": tuple(one["sizes"])})
        for one in found["sizes"]
    ]
    return sizes, found["absent"]


def write_results(sizes: list[Sizes], missing: dict[str, str], out: Path) -> None:
    """RESULTS.md's section and results/near_lossless.json, the section from the file."""
    from benchmarks.near_lossless_text import section, summary

    file = out / "results" / "near_lossless.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    lists = {
        "summary": [_line(row) for row in summary(sizes)],
        "sizes": [_line(asdict(one)) for one in sizes],
    }
    parts = [f'"absent": {json.dumps(missing)}']
    parts += [f'"{key}": [\n' + ",\n".join(rows) + "\n]" for key, rows in lists.items()]
    file.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="ascii")
    write_section(out / "RESULTS.md", "near_lossless", section(*load_results(file)))


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, separators=(",", ":"))


if __name__ == "__main__":
    sys.exit(main())
