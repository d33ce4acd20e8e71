"""What signing costs a microcontroller: isth_sign for a packet and for a frame, SHA-256 a byte.

    python -m benchmarks.seal_cost [--json] [--check] [--core NAME]

Counts are retired instructions under Unicorn, gcc at -O2. A unit is sealed where it lies (the
encoder wrote it behind the seal's twelve bytes) with a tag of eight bytes; every sealed unit is
compared with Python's. Taking the key is counted apart: it is done once. ``--check`` counts again,
writes nothing, and exits with 1 if a figure moved by more than 1 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.cost_rows import changes, read_rows, write_rows
from benchmarks.encoder_rivals import figures_of
from isthmus.native.build import runtime_dir
from isthmus.seal import seal
from isthmus_gen.resources import template_root
from isthmus_gen.targets import Target, load_target
from isthmus_gen.verify import Layout, find_toolchain, run_firmware
from isthmus_gen.verify.workshop import Workshop

ROOT = Path(__file__).resolve().parents[1]
CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4f", "cortex-m33")
#: Bytes of a unit: a packet whose sealed form fits 244 bytes, one of 244, a frame.
UNITS = (224, 244, 1100)
TAG_BYTES = 8
HASH_BYTES = 4096
UNITS_COUNTED = 2
_DRIVER = Path(__file__).with_name("drivers") / "seal_cost.c"
_SOURCES = ("isth_seal.c", "isth_sha256.c")
_HEADERS = ("isth_seal.h", "isth_sha256.h", "isth_status.h")


@dataclass(frozen=True)
class Row:
    """One step on one core: "sign" a unit, or "hash" whole blocks. Sizes in bytes.

    RAM is the sealer, which holds the key; ``key_instructions`` is what taking the key costs.
    """

    step: str
    unit_bytes: int
    core: str
    compiler: str
    instructions: int
    key_instructions: int
    code_bytes: int
    table_bytes: int
    ram_bytes: int
    stack_bytes: int

    @property
    def key(self) -> tuple[str, int, str]:
        """What names the row."""
        return self.step, self.unit_bytes, self.core


def main(arguments: list[str] | None = None) -> int:
    """Measure and write, or check; 0 unless a checked figure moved."""
    parser = argparse.ArgumentParser(prog="benchmarks.seal_cost", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--check", action="store_true", help="compare with what is kept")
    parser.add_argument("--core", action="append", choices=CORES, help="only this core")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    options = parser.parse_args(arguments)
    if options.core and not (options.check or options.json):
        parser.error("a part of the figures is only for --check or --json: all of them are kept")
    kept = options.out / "results" / "seal_cost.json"
    if options.check and not kept.is_file():
        parser.error(f"{kept} is not there: run without --check first")
    found = list(measure(options.core or CORES))
    changed: list[str] = []
    if options.check:
        changed = changes(load_results(kept), found)
        print("\n".join(changed) or "no figure moved", file=sys.stderr)
    elif not options.core:
        write_results(found, options.out)
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in found], "changed": changed}, indent=1))
    elif not options.check:
        print(table(found))
    return 1 if changed else 0


def measure(cores: Sequence[str]) -> Iterator[Row]:
    """The rows of ``cores``. Raises ToolMissingError where gcc or Unicorn is missing."""
    with tempfile.TemporaryDirectory(prefix="isthmus-seal-") as name:
        source = Path(name) / "src"
        source.mkdir()
        for file in (*_SOURCES, *_HEADERS):
            (source / file).write_bytes((runtime_dir() / file).read_bytes())
        header = template_root() / "harness" / "harness.h"
        (source / header.name).write_bytes(header.read_bytes())
        for core in cores:
            target = load_target(core)
            yield measure_step(target, source, "hash", HASH_BYTES)
            for unit_bytes in UNITS:
                yield measure_step(target, source, "sign", unit_bytes)


def measure_step(target: Target, source: Path, step: str, unit_bytes: int) -> Row:
    """One row. ValueError where a sealed unit is not what Python makes of it."""
    signs = step == "sign"
    defines = [f"UNIT_BYTES={unit_bytes}u", f"TAG_BYTES={TAG_BYTES if signs else 0}"]
    defines += [] if signs else ["HASH_ALONE=1"]
    shop = Workshop(source, "src", target, find_toolchain(target, "gcc"), source.parent / "build")
    tree = [shop.object(source / file, harness=False) for file in _SOURCES]
    driver = shop.object(_DRIVER, harness=True, defines=defines)
    empty = shop.object(_DRIVER, harness=True, defines=[*defines, "HARNESS_EMPTY=1"])
    build, figures = figures_of(
        shop, tree, driver, empty, target.memory, ("isth_sign", "isth_hmac"),
        Layout(unit_bytes, 4, unit_bytes + 64, 1, True), "unicorn",
    )  # fmt: skip
    units = np.random.default_rng(1).integers(-128, 128, (UNITS_COUNTED, unit_bytes), np.int8)
    run = run_firmware(build, units, counted=len(units))
    if signs:
        key = bytes(range(32))
        # the key is taken anew before each, so the counter begins again too
        wanted = [seal(key, 7, 1000, unit.tobytes(), TAG_BYTES) for unit in units]
        if any(run.statuses) or run.frames != wanted:
            raise ValueError(f"{target.name}: a sealed unit is not Python's")
    assert run.encode_instructions is not None  # Unicorn counts on every core of CORES
    assert run.front_instructions is not None
    return Row(
        step, unit_bytes, target.name, figures.compiler, run.encode_instructions,
        run.front_instructions, figures.code_bytes, figures.table_bytes, figures.ram_bytes,
        max(figures.stack_bytes, run.stack_used_bytes or 0),
    )  # fmt: skip


def load_results(path: Path) -> list[Row]:
    """The rows that a results file holds."""
    return read_rows(Row, path)


def write_results(rows: Sequence[Row], out: Path) -> None:
    """results/seal_cost.json and the section of RESULTS.md, which is made from that file."""
    from benchmarks.sections import write_section

    file = out / "results" / "seal_cost.json"
    write_rows(rows, Row, file)
    write_section(out / "RESULTS.md", "seal_cost", section(load_results(file)))


_INTRODUCTION = """## What signing costs

Written by `python -m benchmarks.seal_cost`; the figures are in `results/seal_cost.json`.
`isth_sign` with the bundled SHA-256 and a tag of {tag} bytes, sealed where the unit lies.
{compilers}, at -O2, retired instructions under Unicorn. SHA-256 a byte: the
compression function over whole blocks. Key: what `isth_seal_init` takes, once. Code and tables are
those of a program that signs, beside one that does not; RAM is the sealer. A unit of {packet} bytes
has 244 when it is sealed."""


def section(rows: Sequence[Row]) -> str:
    """The section of RESULTS.md."""
    compilers = ", ".join(sorted({row.compiler for row in rows}))
    text = _INTRODUCTION.format(tag=TAG_BYTES, compilers=compilers, packet=UNITS[0])
    return f"{text}\n\n{table(rows)}"


def table(rows: Sequence[Row]) -> str:
    """A line a core."""
    from benchmarks.sections import markdown_table

    head = ["core", "SHA-256 a byte", *(f"unit of {size:,}" for size in UNITS)]
    head += ["key", "code", "tables", "RAM", "stack"]
    by_key = {row.key: row for row in rows}
    body = []
    for core in dict.fromkeys(row.core for row in rows):
        hashed = by_key["hash", HASH_BYTES, core]
        signed = [by_key["sign", size, core] for size in UNITS]
        last = signed[-1]
        body.append(
            [core, f"{hashed.instructions / HASH_BYTES:.1f}"]
            + [f"{row.instructions:,}" for row in signed]
            + [f"{last.key_instructions:,}", f"{last.code_bytes:,}", f"{last.table_bytes:,}"]
            + [f"{last.ram_bytes:,}", f"{last.stack_bytes:,}"]
        )
    return markdown_table(head, body)


if __name__ == "__main__":
    sys.exit(main())
