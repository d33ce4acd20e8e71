"""What the int8 front half costs on a core, by network and by layer, beside other engines.

    python -m benchmarks.front_cost [--json] [--check] [--model NAME] [--core NAME]
                                    [--compiler KIND]
    python -m benchmarks.front_cost --layers --model resnet8 --core cortex-m4f

The networks are the four of MLPerf Tiny, whole, int8 as published; a path to another .tflite may
stand in a name's place. Counts are retired instructions of one inference, not cycles, mean over
two seeded inputs, by QEMU (``-icount shift=0``) or the ``--emulator`` asked for. Every output is
compared with the tflite-micro wheel's.

``--layers`` prints tables by layer and keeps nothing. ``--check`` counts again and compares with
what is kept; it names each figure that moved by more than 1 % and exits with 1 if there is one.
Without either everything is measured and kept.

ISTHMUS_DATA names the folder of models (default: ../shared/data).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.front_yardsticks import MODEL, YARDSTICKS
from isthmus.errors import DataDtypeError, IsthmusError
from isthmus.interpreters import open_tflite
from isthmus.optional import read_model_bytes
from isthmus_gen.front import plan_front
from isthmus_gen.front.build import shape_text
from isthmus_gen.front.figures import layer_figures
from isthmus_gen.targets import load_target
from isthmus_gen.verify import FrontCost, compiler_names, front_cost

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("resnet8", "vww_96", "kws", "ad01")
CORES = (
    "cortex-m0plus", "cortex-m3", "cortex-m4f", "cortex-m33", "cortex-m55", "cortex-m7", "rv32imac",
)  # fmt: skip
COMPILERS = ("gcc", "zig")
INPUTS = 2
SEED = 7
TOLERANCE = 0.01


@dataclass(frozen=True)
class Row:
    """One network on one core with one compiler. Sizes in bytes, counts in retired instructions.

    Flash is ``code_bytes`` and ``constant_bytes`` (weights, tables, the structs of layers). RAM is
    the arena; ``arena_bound_bytes`` is what no plan of these layers can go below. ``layers`` are
    the instructions of each layer, in the order of ``Results.models[model]``.
    """

    model: str
    core: str
    compiler: str
    macs: int
    instructions: int
    per_mac: float
    code_bytes: int
    constant_bytes: int
    arena_bytes: int
    arena_bound_bytes: int
    stack_bytes: int
    layers: list[int]

    @property
    def key(self) -> tuple[str, str, str]:
        """What names the row; the compiler without its version."""
        return self.model, self.core, "zig" if self.compiler.startswith("zig") else "gcc"


@dataclass(frozen=True)
class LayerFacts:
    """What is the same on every core: operator, output shape without batch, sizes in bytes."""

    operator: str
    shape: str
    macs: int
    constant_bytes: int
    alive_bytes: int
    scratch_bytes: int


@dataclass(frozen=True)
class Results:
    """What is kept: the layers of every network, and one row for each measurement."""

    models: dict[str, list[LayerFacts]]
    rows: list[Row]


def main(arguments: list[str] | None = None) -> int:
    """Measure and write, check, or print by layer; 0 unless a checked figure moved."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.front_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--check", action="store_true", help="compare with what is kept")
    parser.add_argument("--layers", action="store_true", help="print by layer, keep nothing")
    parser.add_argument(
        "--model", action="append", help="only this one: " + ", ".join(MODELS) + ", or a .tflite"
    )
    parser.add_argument("--core", action="append", choices=CORES, help="only this core")
    parser.add_argument("--compiler", action="append", choices=COMPILERS, help="only this one")
    parser.add_argument("--emulator", choices=("qemu-system", "unicorn"), default="qemu-system")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    options = parser.parse_args(arguments)
    models = options.model or MODELS
    cores = options.core or CORES
    partial = bool(options.model or options.core or options.compiler)
    kept = options.out / "results" / "front_cost.json"
    if options.check and not kept.is_file():
        parser.error(f"{kept} is not there: run without --check first")
    try:
        if options.layers:
            return print_layers(models, cores, options.compiler or ("gcc",), options.emulator)
        if partial and not (options.check or options.json):
            parser.error("a part of the figures is only for --layers, --check or --json")
        rows = []
        for row in measure(models, cores, options.compiler or COMPILERS):
            print(" ".join(row.key), row.instructions, file=sys.stderr)
            rows.append(row)
        found = Results({model: facts(model) for model in models}, rows)
    except IsthmusError as error:
        print(error, file=sys.stderr)
        return 2
    changed: list[str] = []
    if options.check:
        changed = changes(load_results(kept), found)
        print("\n".join(changed) or "no figure moved", file=sys.stderr)
    elif not partial:
        write_results(found, options.out)
    if options.json:
        made = {"engine": "isthmus", **as_json(found), "changed": changed}
        yardsticks = [asdict(yardstick) for yardstick in YARDSTICKS]
        made["yardsticks_recorded_earlier"] = {"model": MODEL, "rows": yardsticks}
        print(json.dumps(made, indent=1))
    return 1 if changed else 0


def model_path(name: str) -> Path:
    """The file of a network of MLPerf Tiny, or the path itself."""
    if name not in MODELS:
        return Path(name)
    data = Path(os.environ.get("ISTHMUS_DATA") or ROOT.parent / "shared" / "data")
    return data / "models" / "mlperf_tiny" / f"{name}_int8.tflite"


@cache
def subject(path: Path) -> tuple[bytes, npt.NDArray[np.int8]]:
    """A network and its inputs int8 [n, *shape]: noise, and fainter noise."""
    tflite = read_model_bytes(path)
    shape = plan_front(tflite).input_shape
    inputs = np.random.default_rng(SEED).integers(-128, 128, (INPUTS, *shape), dtype=np.int8)
    inputs[1:] = np.clip(inputs[1:] // 8 + 20, -128, 127)  # so that the answer is another
    return tflite, inputs


@cache
def golden(path: Path) -> npt.NDArray[np.int8]:
    """What the tflite-micro wheel makes of the inputs, int8 [n, output bytes].

    Raises MissingExtraError and ModelLoadError where the wheel is not there or refuses the network,
    DataDtypeError for one that does not begin and end with int8.
    """
    tflite, inputs = subject(path)
    oracle = open_tflite(tflite, engine="tflm")
    if any(end.dtype != np.int8 for end in (*oracle.inputs, *oracle.outputs)):
        raise DataDtypeError(str(path), "does not begin and end with int8", allowed="int8")
    return np.array([oracle.run(x[np.newaxis])[0].reshape(-1) for x in inputs], dtype=np.int8)


def facts(model: str) -> list[LayerFacts]:
    """The layers of a network as the plan has them."""
    return [
        LayerFacts(
            layer.operator,
            shape_text(layer.shape),
            layer.macs,
            layer.constant_bytes,
            layer.alive_bytes,
            layer.scratch_bytes,
        )
        for layer in layer_figures(plan_front(subject(model_path(model))[0]))
    ]


def cost_of(
    model: str, core: str, compiler: str, emulator: str, work: Path | None = None
) -> FrontCost:
    """The figures of one network on one core.

    Raises ToolMissingError where a compiler or an emulator is not installed.
    """
    tflite, inputs = subject(model_path(model))
    return front_cost(
        tflite, load_target(core), inputs, compiler=compiler, emulator=emulator, work_dir=work
    )


def wrong_elements(model: str, cost: FrontCost) -> int:
    """How many output elements differ from the tflite-micro wheel's; raises what golden does."""
    return int(np.count_nonzero(cost.outputs != golden(model_path(model))))


def measure(models: Sequence[str], cores: Sequence[str], compilers: Sequence[str]) -> Iterator[Row]:
    """The rows of all that are given; SystemExit where an output is wrong."""
    with tempfile.TemporaryDirectory(prefix="isthmus-front-cost-") as name:
        for model in models:
            for core in cores:
                for compiler in compilers:
                    if compiler not in compiler_names(load_target(core)):
                        continue
                    cost = cost_of(model, core, compiler, "qemu-system", Path(name))
                    wrong = wrong_elements(model, cost)
                    if wrong:
                        raise SystemExit(f"{model} {core} {compiler}: {wrong} wrong elements")
                    yield row_of(model, core, cost)


def row_of(model: str, core: str, cost: FrontCost) -> Row:
    """What is kept of one measurement."""
    if cost.variable_bytes:
        raise SystemExit(f"{model} {core}: {cost.variable_bytes} bytes of variables")
    assert cost.instructions is not None  # every machine of CORES has a counter
    assert cost.code_bytes is not None  # and is bare, so that its flash is measured
    assert cost.constant_bytes is not None
    assert cost.stack_bytes is not None  # no kernel recurses
    return Row(
        model=model,
        core=core,
        compiler=cost.compiler,
        macs=cost.macs,
        instructions=cost.instructions,
        per_mac=round(cost.instructions / cost.macs, 3),
        code_bytes=cost.code_bytes,
        constant_bytes=cost.constant_bytes,
        arena_bytes=cost.arena_bytes,
        arena_bound_bytes=cost.arena_bound_bytes,
        stack_bytes=cost.stack_bytes,
        layers=[layer.instructions or 0 for layer in cost.layers],
    )


def print_layers(
    models: Sequence[str], cores: Sequence[str], compilers: Sequence[str], emulator: str
) -> int:
    """A table by layer for each network, core and compiler; 1 where an output is wrong."""
    from benchmarks.front_cost_text import layer_table

    bad = 0
    for model in models:
        for core in cores:
            for compiler in compilers:
                cost = cost_of(model, core, compiler, emulator)
                print(f"{Path(model).stem}, {core}, {cost.compiler}, {cost.emulator}")
                print(layer_table(cost))
                try:
                    wrong = wrong_elements(model, cost)
                    verdict = f"WRONG: {wrong} elements differ" if wrong else "equal"
                except IsthmusError as error:
                    wrong, verdict = 0, f"not compared, {error}"
                print(f"outputs and tflite-micro's, {INPUTS} inputs: {verdict}")
                print("\n".join(cost.warnings), flush=True)
                bad += wrong
    return 1 if bad else 0


def changes(kept: Results, found: Results) -> list[str]:
    """The figures of ``found`` that differ from ``kept`` by more than 1 %, one line each."""
    by_key = {row.key: row for row in kept.rows}
    out = []
    for row in found.rows:
        before = by_key.get(row.key)
        name = " ".join(row.key)
        if before is None:
            out.append(f"{name}: not in the results")
            continue
        for field in fields(Row):
            old, new = getattr(before, field.name), getattr(row, field.name)
            if not isinstance(new, int | float) or abs(new - old) <= TOLERANCE * abs(old):
                continue
            out.append(f"{name}: {field.name} was {old}, is {new}")
    for model, layers in found.models.items():
        if layers != kept.models.get(model):
            out.append(f"{model}: its layers are planned differently")
    return out


def as_json(results: Results) -> dict[str, Any]:
    """The results as one JSON object; layers and rows are lists under their columns."""
    return {
        "layer_columns": [field.name for field in fields(LayerFacts)],
        "models": {k: [list(asdict(x).values()) for x in v] for k, v in results.models.items()},
        "columns": [field.name for field in fields(Row)],
        "rows": [list(asdict(row).values()) for row in results.rows],
    }


def load_results(path: Path) -> Results:
    """What a results file holds. Raises OSError where it is not there."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
    layer_names, names = found["layer_columns"], found["columns"]
    return Results(
        models={
            model: [LayerFacts(**dict(zip(layer_names, x, strict=True))) for x in layers]
            for model, layers in found["models"].items()
        },
        rows=[Row(**dict(zip(names, values, strict=True))) for values in found["rows"]],
    )


def write_results(results: Results, out: Path) -> None:
    """results/front_cost.json and the section of RESULTS.md, which is made from that file."""
    from benchmarks.front_cost_text import section
    from benchmarks.sections import write_section

    made = as_json(results)
    models = [
        f"{json.dumps(model)}: [\n" + ",\n".join(map(json.dumps, layers)) + "\n]"
        for model, layers in made["models"].items()
    ]
    text = (
        f'{{\n"layer_columns": {json.dumps(made["layer_columns"])},\n'
        + '"models": {\n'
        + ",\n".join(models)
        + f'\n}},\n"columns": {json.dumps(made["columns"])},\n"rows": [\n'
        + ",\n".join(map(json.dumps, made["rows"]))
        + "\n]\n}\n"
    )
    file = out / "results" / "front_cost.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")
    write_section(out / "RESULTS.md", "front_cost", section(load_results(file)))


if __name__ == "__main__":
    sys.exit(main())
