"""What the firmware costs: instructions, flash, RAM and stack, by network, cut, core and compiler.

    python -m benchmarks.firmware_cost [--json] [--check] [--core NAME] [--compiler KIND]

Counts are retired instructions, not cycles: of the front half the mean over the pictures, of the
coder (scheme paper; benchmarks.encoder_cost has both) the mean over the pictures for each number of
levels, divided by the elements of the tensor.
QEMU counts them (``-icount shift=0``). ``--check`` counts again and compares with what is kept; it
writes nothing, names each figure that moved by more than 1 %, and exits with 1 if there is one.

ISTHMUS_DATA names the folder of models and data sets (default: ../shared/data).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same rounding on every processor

from benchmarks.cost_rows import changes, read_rows, write_rows
from isthmus.binarisation import binarisation
from isthmus.bundle import Bundle
from isthmus.codec.quantise import levels_of
from isthmus_gen.digits import digits_model_path, write_digits_npz
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import generate
from isthmus_gen.targets import load_target
from isthmus_gen.verification import References, make_references
from isthmus_gen.verify import build_tree, compiler_names, run_firmware

ROOT = Path(__file__).resolve().parents[1]
LEVELS = (4, 2, 8, 16)  # the ladder; its first rung is the default one
CORES = (
    "cortex-m0plus", "cortex-m3", "cortex-m4f", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imac",
)  # fmt: skip
PICTURES = 8
CALIBRATION = 256


@dataclass(frozen=True)
class Subject:
    """A network and one cut of it."""

    network: str
    cut: str
    model: Path
    calibration: Path
    test: Path


@dataclass(frozen=True)
class Row:
    """One network, cut, core and compiler. Sizes are in bytes, counts in retired instructions.

    ``encode_N`` is per element with N levels, ``bin_N`` per coded bin. ``encode_share`` is the
    coder's part, with 4 levels, of front half and coder together. Flash is the tree's, its
    ``flash_weights_bytes`` are weights and their scales. RAM is arena, encoder and frame buffer;
    ``frame_N_bytes`` the longest frame that any tensor can make with N levels (the ladder's buffer
    is that of the largest N). ``arena_bound_bytes`` is what no plan of the layers can go below.
    """

    network: str
    cut: str
    core: str
    compiler: str
    elements: int
    macs: int
    front: int
    front_per_mac: float
    encode_2: float
    encode_4: float
    encode_8: float
    encode_16: float
    bin_2: float
    bin_4: float
    bin_8: float
    bin_16: float
    encode_share: float
    flash_bytes: int
    flash_weights_bytes: int
    ram_bytes: int
    arena_bytes: int
    arena_bound_bytes: int
    encoder_bytes: int
    frame_4_bytes: int
    frame_16_bytes: int
    stack_bytes: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names the row; the compiler without its version."""
        return self.network, self.cut, self.core, family(self.compiler)


def family(compiler: str) -> str:
    """``zig`` or ``gcc``, from a compiler's label."""
    return "zig" if compiler.startswith("zig") else "gcc"


def main(arguments: list[str] | None = None) -> int:
    """Measure and write, or check; 0 unless a checked figure moved."""
    parser = argparse.ArgumentParser(prog="benchmarks.firmware_cost", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--check", action="store_true", help="compare with what is kept")
    parser.add_argument("--core", action="append", choices=CORES, help="only this core")
    parser.add_argument("--compiler", action="append", choices=("gcc", "zig"), help="only this one")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    options = parser.parse_args(arguments)
    partial = bool(options.core or options.compiler)
    if partial and not (options.check or options.json):
        parser.error("a part of the figures is only for --check or --json: all of them are kept")
    kept = options.out / "results" / "firmware_cost.json"
    if options.check and not kept.is_file():
        parser.error(f"{kept} is not there: run without --check first")
    found = []
    for row in measure(options.core or CORES, options.compiler or ("gcc", "zig")):
        print(" ".join(row.key), file=sys.stderr)
        found.append(row)
    changed: list[str] = []
    if options.check:
        changed = changes(load_results(kept), found)
        print("\n".join(changed) or "no figure moved", file=sys.stderr)
    elif not partial:
        write_results(found, options.out)
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in found], "changed": changed}, indent=1))
    return 1 if changed else 0


def subjects(folder: Path) -> list[Subject]:
    """The cuts that are measured; the digits' files are written to ``folder``."""
    digits = write_digits_npz(folder)
    data = Path(os.environ.get("ISTHMUS_DATA") or ROOT.parent / "shared" / "data")
    resnet8 = data / "models/mlperf_tiny/resnet8.keras"
    cifar = data / "cifar10"
    train, test = cifar / "train_lossless_8068.npz", cifar / "test_lossless_500.npz"
    return [
        *(
            Subject("resnet8", cut, resnet8, train, test)
            for cut in ("activation_2", "activation_4", "activation_6")
        ),
        Subject("digits", "stage2", digits_model_path(), digits["calibration"], digits["test"]),
    ]


def measure(
    cores: Sequence[str], compilers: Sequence[str], cuts: Sequence[str] | None = None
) -> Iterator[Row]:
    """The rows of ``cores`` and ``compilers`` (and only of ``cuts``, where they are given).

    Raises ToolMissingError where a compiler or QEMU is not installed, DataFileError where the
    data is not there.
    """
    with tempfile.TemporaryDirectory(prefix="isthmus-cost-") as name:
        work = Path(name)
        for subject in subjects(work):
            if cuts is not None and subject.cut not in cuts:
                continue
            made = generate(
                make_options(
                    {
                        "model": subject.model,
                        "cut": subject.cut,
                        "calibration": subject.calibration,
                        "out": work / f"{subject.network}-{subject.cut}",
                        "levels": LEVELS,
                        "scheme": "paper",
                        "limit": CALIBRATION,
                    }
                )
            )
            references = make_references(made.bundle, subject.test, PICTURES)
            bins = bins_per_element(made.bundle, references)
            for core in cores:
                for compiler in compilers:
                    if compiler in compiler_names(load_target(core)):
                        yield measure_one(
                            subject, made.bundle, made.report, references, bins, core, compiler,
                            work / f"{subject.network}-{subject.cut}-builds",
                        )  # fmt: skip


def bins_per_element(bundle: Bundle, references: References) -> dict[int, float]:
    """For each number of levels the bins that are coded for one element, mean over the pictures."""
    out = {}
    for rung in bundle.profile.rungs:
        form = binarisation(rung.levels)
        lengths = np.array([len(form.bins(level)) for level in range(rung.levels)])
        levels = [levels_of(bundle.profile, rung, tensor) for tensor in references.tensors]
        out[rung.levels] = float(lengths[np.stack(levels)].mean())
    return out


def measure_one(
    subject: Subject,
    bundle: Bundle,
    report: dict[str, Any],
    references: References,
    bins: dict[int, float],
    core: str,
    compiler: str,
    work: Path,
) -> Row:
    """Builds the tree, runs every rung over the pictures, and puts the figures together."""
    target = load_target(core)
    build = build_tree(bundle.firmware, target, work, compiler=compiler, emulator="qemu-system")
    rows = references.inputs.reshape(len(references.inputs), -1)
    elements = bundle.profile.tensor.elements
    encode: dict[int, float] = {}
    front = 0
    for index, rung in enumerate(bundle.profile.rungs):
        run = run_firmware(build, rows, rungs=index)
        if any(run.statuses) or not np.array_equal(
            run.tensors, references.tensors.reshape(len(rows), -1)
        ):
            raise SystemExit(f"{subject.network} {subject.cut} {core} {compiler}: wrong results")
        assert run.front_instructions is not None  # every machine of CORES has a counter
        assert run.encode_instructions is not None
        front = run.front_instructions
        encode[rung.levels] = run.encode_instructions / elements
    frames = {rung.levels: 12 + rung.payload_max for rung in bundle.profile.rungs}
    whole = front + encode[4] * elements
    assert build.flash_bytes is not None  # a bare target is always measured
    assert build.ram_bytes is not None
    assert build.arena_bytes is not None
    assert build.encoder_memory_bytes is not None
    assert build.stack_bytes is not None
    return Row(
        network=subject.network,
        cut=subject.cut,
        core=core,
        compiler=build.compiler,
        elements=elements,
        macs=int(report["macs_before"]),
        front=front,
        front_per_mac=round(front / int(report["macs_before"]), 3),
        **{f"encode_{n}": round(encode[n], 2) for n in sorted(encode)},
        **{f"bin_{n}": round(encode[n] / bins[n], 2) for n in sorted(encode)},
        encode_share=round(encode[4] * elements / whole, 5),
        flash_bytes=build.flash_bytes,
        flash_weights_bytes=int(report["constant_bytes"]),
        ram_bytes=build.ram_bytes,
        arena_bytes=build.arena_bytes,
        arena_bound_bytes=int(report["arena_lower_bound_bytes"]),
        encoder_bytes=build.encoder_memory_bytes,
        frame_4_bytes=frames[4],
        frame_16_bytes=frames[16],
        stack_bytes=build.stack_bytes,
    )


def load_results(path: Path) -> list[Row]:
    """The rows that a results file holds."""
    return read_rows(Row, path)


def write_results(rows: Sequence[Row], out: Path) -> None:
    """results/firmware_cost.json and the section of RESULTS.md, which is made from that file."""
    from benchmarks.firmware_cost_text import section
    from benchmarks.sections import write_section

    file = out / "results" / "firmware_cost.json"
    write_rows(rows, Row, file)
    write_section(out / "RESULTS.md", "firmware_cost", section(load_results(file)))


if __name__ == "__main__":
    sys.exit(main())
