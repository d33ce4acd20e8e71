"""What the encoder costs a microcontroller, beside general compressors on the same levels.

    python -m benchmarks.encoder_cost [--json] [--check] [--core NAME] [--scheme NAME] [--no-rivals]

Schemes: "paper"; "neighbour" with 4 KB for contexts; "neighbour-1k" with 1 KB.
ResNet-8 after stage 2 (16x16x32), real pictures, levels of the ladder's rungs. Counts are retired
instructions for one element, counted as ``firmware_cost`` counts them (QEMU, ``-icount shift=0``),
with gcc at -O2. Isthmus's count starts at the int8 tensor and ends at the whole frame: quantiser,
contexts, coder, header and checksum. heatshrink and lz4 (``benchmarks.encoder_rivals``) are given
the levels, one to a byte or packed to whole bits, and theirs ends at their bytes without a header.
``--check`` counts again, writes nothing, and exits with 1 if a figure moved by more than 1 %.

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
from benchmarks.encoder_rivals import RIVALS, Figures, figures_of, measure_rival
from isthmus.bundle import Bundle
from isthmus.codec import encode_frame
from isthmus.codec.quantise import levels_of
from isthmus.codec.reference import frame_bytes_max
from isthmus.profile import Profile
from isthmus_gen.emit.environment import make_environment
from isthmus_gen.emit.tree import TreeInput, render_tree
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import generate
from isthmus_gen.targets import QemuSystemEmulator, Target, load_target
from isthmus_gen.verification import make_references
from isthmus_gen.verify import Layout, find_emulator, find_toolchain, run_firmware
from isthmus_gen.verify.workshop import Workshop

ROOT = Path(__file__).resolve().parents[1]
CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4f", "cortex-m33", "cortex-m55", "rv32imac")
#: What ``generate`` is told for each variant of the coder.
SCHEMES: dict[str, dict[str, object]] = {
    "paper": {"scheme": "paper"},
    "neighbour": {"scheme": "neighbour", "context_bytes": 4096},
    "neighbour-1k": {"scheme": "neighbour", "context_bytes": 1024},
}
LEVELS = (2, 4, 8)
RIVAL_LEVELS = {"cortex-m4f": LEVELS}  # elsewhere N = 4 alone
PICTURES = 8
CALIBRATION = 1500


@dataclass(frozen=True)
class Row:
    """One encoder on one core. Instructions and bits are of one element, sizes in bytes.

    ``source`` is what goes in: the int8 tensor, or levels, one to a byte or packed. RAM is the
    encoder's memory without input and output buffers.
    """

    codec: str
    variant: str
    source: str
    levels: int
    core: str
    compiler: str
    instructions: float
    bits: float
    code_bytes: int
    table_bytes: int
    ram_bytes: int
    stack_bytes: int

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        """What names the row."""
        return self.codec, self.variant, self.source, self.levels, self.core


def main(arguments: list[str] | None = None) -> int:
    """Measure and write, or check; 0 unless a checked figure moved."""
    parser = argparse.ArgumentParser(prog="benchmarks.encoder_cost", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--check", action="store_true", help="compare with what is kept")
    parser.add_argument("--core", action="append", choices=CORES, help="only this core")
    parser.add_argument(
        "--scheme", action="append", choices=tuple(SCHEMES), help="only this scheme"
    )
    parser.add_argument("--no-rivals", action="store_true", help="Isthmus alone")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    options = parser.parse_args(arguments)
    partial = bool(options.core or options.scheme or options.no_rivals)
    if partial and not (options.check or options.json):
        parser.error("a part of the figures is only for --check or --json: all of them are kept")
    kept = options.out / "results" / "encoder_cost.json"
    if options.check and not kept.is_file():
        parser.error(f"{kept} is not there: run without --check first")
    found = []
    for row in measure(
        options.core or CORES, options.scheme or tuple(SCHEMES), rivals=not options.no_rivals
    ):
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
        from benchmarks.encoder_cost_text import aligned

        print(aligned(found))
    return 1 if changed else 0


def measure(
    cores: Sequence[str],
    schemes: Sequence[str] = tuple(SCHEMES),
    levels: Sequence[int] = LEVELS,
    *,
    rivals: bool = True,
) -> Iterator[Row]:
    """The rows of ``cores`` and ``schemes``, and of the other compressors.

    Raises ToolMissingError where a compiler, QEMU or a source distribution is missing,
    DataFileError where the data is not there.
    """
    with tempfile.TemporaryDirectory(prefix="isthmus-encoder-") as name:
        work = Path(name)
        for scheme in schemes:
            profile, tensors = prepared(scheme, levels, work)
            for rung in profile.rungs:
                alone = replace(profile, rungs=(replace(rung, size_ratios=(), budget_start=0),))
                folder = work / f"{scheme}-{rung.levels}"
                write_tree(alone, folder)
                for core in cores:
                    figures = measure_isthmus(alone, folder, load_target(core), tensors)
                    yield _row("isthmus", scheme, "int8 tensor", rung.levels, core, figures)
        if not rivals:
            return
        for rung in profile.rungs:
            symbols = np.stack([levels_of(profile, rung, tensor) for tensor in tensors])
            symbols = symbols.reshape(len(tensors), -1)
            for source, inputs in sources(symbols, rung.levels).items():
                for rival in RIVALS:
                    for core in cores:
                        if rung.levels in RIVAL_LEVELS.get(core, (4,)):
                            figures = measure_rival(
                                rival, load_target(core), inputs, symbols.shape[1],
                                work / "rivals" / core,
                            )  # fmt: skip
                            yield _row(
                                rival.codec, rival.variant, source, rung.levels, core, figures
                            )


def _row(codec: str, variant: str, source: str, levels: int, core: str, found: Figures) -> Row:
    return Row(codec, variant, source, levels, core, **asdict(found))


def prepared(
    scheme: str, levels: Sequence[int], work: Path, pictures: int = PICTURES
) -> tuple[Profile, npt.NDArray[np.int8]]:
    """The profile of ResNet-8 cut after stage 2, and int8 tensors [pictures, 16, 16, 32]."""
    data = Path(os.environ.get("ISTHMUS_DATA") or ROOT.parent / "shared" / "data")
    made = generate(
        make_options(
            {
                "model": data / "models/mlperf_tiny/resnet8.keras",
                "cut": "activation_4",
                "calibration": data / "cifar10/train_lossless_8068.npz",
                "out": work / f"bundle-{scheme}",
                "levels": tuple(levels),
                "limit": CALIBRATION,
                **SCHEMES[scheme],
            }
        )
    )
    bundle: Bundle = made.bundle
    found = make_references(bundle, data / "cifar10/test_lossless_500.npz", pictures)
    return bundle.profile, found.tensors


def write_tree(profile: Profile, folder: Path) -> None:
    """The firmware of ``profile`` without a front half."""
    for name, content in render_tree(
        TreeInput(profile, "host", "cost"), make_environment()
    ).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def measure_isthmus(
    profile: Profile, folder: Path, target: Target, tensors: npt.NDArray[np.int8]
) -> Figures:
    """The encoder of a profile of one rung on ``target``; every frame is compared with Python's.

    Raises BuildError, EmulationError and ToolMissingError; ValueError where a frame is wrong.
    """
    source = folder / "src"
    machine = find_emulator(target, "qemu-system")
    assert isinstance(machine, QemuSystemEmulator)
    shop = Workshop(source, "src", target, find_toolchain(target, "gcc"), folder / "build")
    harness = shop.harness_dir / "harness.c"
    tree = [shop.object(path, harness=False) for path in sorted(source.glob("*.c"))]
    step = shop.object(harness, harness=True)
    empty = shop.object(harness, harness=True, defines=("HARNESS_EMPTY=1",))
    elements = profile.tensor.elements
    build, figures = figures_of(
        shop, tree, step, empty, machine.memory or target.memory, ("isth_encode_tensor",),
        Layout(elements, elements, frame_bytes_max(profile), 1, False),
    )  # fmt: skip
    run = run_firmware(build, tensors)
    wanted = [encode_frame(profile, 0, index, tensor) for index, tensor in enumerate(tensors)]
    if any(run.statuses) or run.frames != wanted:
        raise ValueError(f"{target.name}: a frame is not the reference's")
    assert run.encode_instructions is not None  # every machine of CORES has a counter
    return replace(
        figures,
        instructions=round(run.encode_instructions / elements, 2),
        bits=round(8 * sum(map(len, wanted)) / (len(wanted) * elements), 4),
    )


def sources(levels: npt.NDArray[np.uint8], count: int) -> dict[str, npt.NDArray[np.uint8]]:
    """``levels`` uint8 [n, elements] below ``count`` as the compressors get them, by name.

    Packed: 1, 2 or 4 bits a level, the first in the low bits.
    """
    bits = {2: 1, 4: 2}.get(count, 4)
    parts = levels.reshape(len(levels), -1, 8 // bits).astype(np.uint8)
    packed = np.zeros(parts.shape[:2], dtype=np.uint8)
    for place in range(8 // bits):
        packed |= parts[:, :, place] << np.uint8(place * bits)
    return {"a byte a level": np.ascontiguousarray(levels), f"{bits} bits a level": packed}


def load_results(path: Path) -> list[Row]:
    """The rows that a results file holds."""
    return read_rows(Row, path)


def write_results(rows: Sequence[Row], out: Path) -> None:
    """results/encoder_cost.json and the section of RESULTS.md, which is made from that file."""
    from benchmarks.encoder_cost_text import section
    from benchmarks.sections import write_section

    file = out / "results" / "encoder_cost.json"
    write_rows(rows, Row, file)
    write_section(out / "RESULTS.md", "encoder_cost", section(load_results(file)))


if __name__ == "__main__":
    sys.exit(main())
