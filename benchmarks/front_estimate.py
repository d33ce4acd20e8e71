"""Instructions of an int8 front half from its plan alone: coefficients, and how far they are off.

    python -m benchmarks.front_estimate [--write]

Fits, for every core of ``results/front_cost.json`` (gcc) and every kernel of the front half, a sum
of non-negative coefficients times what the plan knows of a layer (products, outputs, positions,
inputs, weights) to the counted instructions of the layers of four networks, by least relative
squares. ``--write`` writes the table that ``isthmus bottleneck-search`` estimates with where no
compiler is installed.

ISTHMUS_DATA names the folder of models (default: ../shared/data).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.front_cost import MODELS, ROOT, Results, load_results, model_path
from isthmus_gen.bottleneck.search.estimate import FEATURES, estimate, layer_features
from isthmus_gen.front import plan_front

TABLE = ROOT / "generator" / "isthmus_gen" / "bottleneck" / "search" / "estimate_table.py"
RESULTS = ROOT / "benchmarks" / "results" / "front_cost.json"
_HEAD = '''"""Instructions of a layer on each core: coefficients of what its plan says.

Written by `python -m benchmarks.front_estimate --write` from counted instructions.
"""

from __future__ import annotations

__all__ = ["COEFFICIENTS"]

#: By core, kernel and feature of a layer.
COEFFICIENTS: dict[str, dict[str, dict[str, float]]] = {
'''

Table = dict[str, dict[str, dict[str, float]]]


def main(arguments: list[str] | None = None) -> int:
    """Fit, print the errors, and write with ``--write``; 0."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.front_estimate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help="write the table")
    options = parser.parse_args(arguments)
    results = load_results(RESULTS)
    table = fit(results)
    for core, row in errors(results, table).items():
        print(core.ljust(14), *(f"{name} {100 * error:+.1f} %" for name, error in row.items()))
    if options.write:
        TABLE.write_text(source(table), encoding="ascii")
    return 0


def fit(results: Results) -> Table:
    """Coefficients of every core and kernel."""
    layers: dict[str, dict[str, list[tuple[dict[str, float], int]]]] = {}
    plans = {model: plan_front(model_path(model).read_bytes()) for model in MODELS}
    for row in results.rows:
        if row.key[2] != "gcc":
            continue
        kernels = layers.setdefault(row.core, {})
        for layer, count in zip(layer_features(plans[row.model]), row.layers, strict=True):
            if layer.kernel:
                kernels.setdefault(layer.kernel, []).append((layer.values, count))
    return {
        core: {kernel: _fit_kernel(kernel, found) for kernel, found in sorted(kernels.items())}
        for core, kernels in sorted(layers.items())
    }


def _fit_kernel(kernel: str, found: Sequence[tuple[dict[str, float], int]]) -> dict[str, float]:
    names = FEATURES.get(kernel, FEATURES[""])
    given = np.array([[values[name] for name in names] for values, _ in found], dtype=np.float64)
    counts = np.array([count for _, count in found], dtype=np.float64)
    solved = non_negative(given / counts[:, None], np.ones(len(counts)))
    return {name: round(float(x), 3) for name, x in zip(names, solved, strict=True) if x > 0}


def non_negative(
    matrix: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Least squares without negative coefficients: the best over all choices of columns."""
    columns = matrix.shape[1]
    best, least = np.zeros(columns), float(wanted @ wanted)
    for choice in range(1, 1 << columns):
        used = [i for i in range(columns) if choice >> i & 1]
        solved = np.linalg.lstsq(matrix[:, used], wanted, rcond=None)[0]
        error = float(((matrix[:, used] @ solved - wanted) ** 2).sum())
        if (solved >= 0).all() and error < least - 1e-12:
            best, least = np.zeros(columns), error
            best[used] = solved
    return best


def errors(results: Results, table: Table) -> dict[str, dict[str, float]]:
    """By core and network: estimate over count, less 1, of the whole network (gcc)."""
    out: dict[str, dict[str, float]] = {}
    for row in results.rows:
        if row.key[2] == "gcc":
            plan = plan_front(model_path(row.model).read_bytes())
            found = estimate(plan, table[row.core])
            out.setdefault(row.core, {})[row.model] = found / row.instructions - 1
    return out


def source(table: Table) -> str:
    """The table as a module."""
    lines = []
    for core, kernels in table.items():
        lines.append(f'    "{core}": {{')
        for kernel, values in kernels.items():
            inner = ", ".join(f'"{name}": {value!r}' for name, value in values.items())
            line = f'        "{kernel}": {{{inner}}},'
            if len(line) > 100:
                broken = [f'            "{name}": {value!r},' for name, value in values.items()]
                line = "\n".join([f'        "{kernel}": {{', *broken, "        },"])
            lines.append(line)
        lines.append("    },")
    return _HEAD + "\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main())
