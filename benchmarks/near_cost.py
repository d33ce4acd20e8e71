"""What near-lossless coding costs a microcontroller, at three cuts and four bounds.

    python -m benchmarks.near_cost [--json] [--check] [--core NAME] [--cut NAME]

ResNet-8 after its three stages, real pictures, bounds 0, 1, 2 and 4. Counts are retired
instructions for one element, counted as ``encoder_cost`` counts them: from the int8 tensor to the
whole frame with header and checksum, gcc at -O2, under QEMU. Every frame is compared with the
reference's. ``--check`` counts again, writes nothing, and exits with 1 if a figure moved by more
than 1 %.

ISTHMUS_DATA names the folder of models and data sets (default: ../shared/data).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same rounding on every processor

from benchmarks.cost_rows import changes, read_rows, write_rows
from benchmarks.encoder_cost import CORES, measure_isthmus, write_tree
from isthmus.profile import Profile
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import generate
from isthmus_gen.targets import load_target
from isthmus_gen.verification import make_references

ROOT = Path(__file__).resolve().parents[1]
#: The cut after each stage.
CUTS = ("activation_2", "activation_4", "activation_6")
BOUNDS = (0, 1, 2, 4)
PICTURES = 8
CALIBRATION = 1500
#: Instructions for an element on Cortex-M4 at bound 0.
GOAL = 40.0


@dataclass(frozen=True)
class Row:
    """The encoder of one cut and bound on one core. Instructions and bits are of one element.

    Sizes in bytes: code and constants in flash, RAM without input and output buffers, stack.
    """

    cut: str
    bound: int
    core: str
    compiler: str
    instructions: float
    bits: float
    code_bytes: int
    table_bytes: int
    ram_bytes: int
    stack_bytes: int

    @property
    def key(self) -> tuple[str, int, str]:
        """What names the row."""
        return self.cut, self.bound, self.core


def main(arguments: list[str] | None = None) -> int:
    """Measure and write, or check; 0 unless a checked figure moved."""
    parser = argparse.ArgumentParser(prog="benchmarks.near_cost", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--check", action="store_true", help="compare with what is kept")
    parser.add_argument("--core", action="append", choices=CORES, help="only this core")
    parser.add_argument("--cut", action="append", choices=CUTS, help="only this cut")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    options = parser.parse_args(arguments)
    partial = bool(options.core or options.cut)
    if partial and not (options.check or options.json):
        parser.error("a part of the figures is only for --check or --json: all of them are kept")
    kept = options.out / "results" / "near_cost.json"
    if options.check and not kept.is_file():
        parser.error(f"{kept} is not there: run without --check first")
    found = []
    for row in measure(options.core or CORES, options.cut or CUTS):
        print(*row.key, row.instructions, file=sys.stderr)
        found.append(row)
    changed: list[str] = []
    if options.check:
        changed = changes(load_results(kept), found)
        print("\n".join(changed) or "no figure moved", file=sys.stderr)
    elif not partial:
        write_results(found, options.out)
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in found], "changed": changed}, indent=1))
    elif not options.check:
        from benchmarks.near_cost_text import section

        print(section(found))
    return 1 if changed else 0


def measure(
    cores: Sequence[str], cuts: Sequence[str] = CUTS, bounds: Sequence[int] = BOUNDS
) -> Iterator[Row]:
    """The rows of ``cores``, ``cuts`` and ``bounds``.

    Raises ToolMissingError where a compiler or QEMU is missing, DataFileError where the data is
    not there.
    """
    with tempfile.TemporaryDirectory(prefix="isthmus-near-") as name:
        work = Path(name)
        for cut in cuts:
            profile, tensors = prepared(cut, bounds, work / f"bundle-{cut}")
            for rung in profile.rungs:
                alone = replace(profile, rungs=(replace(rung, size_ratios=(), budget_start=0),))
                folder = work / f"{cut}-{rung.bound}"
                write_tree(alone, folder)
                for core in cores:
                    figures = measure_isthmus(alone, folder, load_target(core), tensors)
                    assert rung.bound is not None  # rungs of near-lossless have one
                    yield Row(cut, rung.bound, core, **asdict(figures))


def prepared(
    cut: str, bounds: Sequence[int], out: Path, pictures: int = PICTURES
) -> tuple[Profile, npt.NDArray[np.int8]]:
    """The near-lossless profile of ResNet-8 cut there, and int8 tensors [pictures, *shape]."""
    data = Path(os.environ.get("ISTHMUS_DATA") or ROOT.parent / "shared" / "data")
    made = generate(
        make_options(
            {
                "model": data / "models/mlperf_tiny/resnet8.keras",
                "cut": cut,
                "calibration": data / "cifar10/train_lossless_8068.npz",
                "out": out,
                "codec": "near-lossless",
                "bounds": tuple(bounds),
                "limit": CALIBRATION,
            }
        )
    )
    found = make_references(made.bundle, data / "cifar10/test_lossless_500.npz", pictures)
    return made.bundle.profile, found.tensors


def load_results(path: Path) -> list[Row]:
    """The rows that a results file holds."""
    return read_rows(Row, path)


def write_results(rows: Sequence[Row], out: Path) -> None:
    """results/near_cost.json and the section of RESULTS.md, which is made from that file."""
    from benchmarks.near_cost_text import section
    from benchmarks.sections import write_section

    file = out / "results" / "near_cost.json"
    write_rows(rows, Row, file)
    write_section(out / "RESULTS.md", "near_cost", section(load_results(file)))


if __name__ == "__main__":
    sys.exit(main())
