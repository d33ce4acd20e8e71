"""The tables of what the front half costs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.firmware_cost_text import aligned
from benchmarks.front_yardsticks import GOALS, MODEL, SPREAD_GOAL, YARDSTICKS

if TYPE_CHECKING:
    from benchmarks.front_cost import LayerFacts, Results, Row
    from isthmus_gen.verify import FrontCost

__all__ = ["layer_table", "plain", "section", "spread"]

_BY_LAYER = (("vww_96", "visual wake words"), ("kws", "keyword spotting"))
_BY_LAYER_CORES = ("cortex-m4f", "cortex-m55")
#: Layers with less of the network's multiply-accumulates are left out of worst over best.
_WEIGHTY = 0.001

_INTRODUCTION = """## What the front half costs, whole networks

Written by `python -m benchmarks.front_cost`; the figures are in `results/front_cost.json`.

The four networks of MLPerf Tiny, whole, as published in int8, each built alone, without profile or
coder. Counts are retired instructions of one inference, not cycles: QEMU runs one instruction a
nanosecond of its own time, and the core's timer (RISC-V: its counter) is read before each layer.
Means over two seeded random inputs; pictures and sounds of the test sets give the same counts
within 0.1 %. Every output was compared with the tflite-micro wheel's. Sizes are those of a build
without the readings.
{compilers}.
On ARM Linux (aarch64) no counter is to be had under QEMU's user mode, so it is left out.

- code: flash beside the constants, library functions included; constants: weights, tables, layers.
- arena: all of the RAM; bound: what no memory plan of these layers can go below.
- stack: the deepest chain of calls, from the compiler's frame sizes and the call graph; what the
  compiler's own library takes (64-bit arithmetic on the Cortex-M0+) is stated by no compiler and
  is not in it."""

_YARDSTICK_NOTE = """### ResNet-8: millions of instructions beside other engines

Measured here are the rows of Isthmus. The rows marked * were recorded earlier, from other sources,
and are not measured by this program: the sources of TensorFlow Lite Micro and CMSIS-NN are not to
be had from the package registries that this project uses (PyPI, Debian, npm), and the vendor's tool
is closed. They are of gcc 12.2 at -O2 under QEMU too; those of the vendor's tool are cycles, worked
out from its MLPerf Tiny v1.3 times and the clock (cycles = ms x MHz). Beside the weights, TFLM had
46 KB of code on the M4, with CMSIS-NN 80 KB, and an arena of 54.3 KB. Goal: what Isthmus with gcc
is to reach."""


_BY_LAYER_TEXT = (
    "Worst over best, instructions for a multiply-accumulate: {ratios}; to reach: below {goal}."
    " Layers with less than 0.1 % of the multiply-accumulates are not compared. The worst are"
    " depthwise: with nine products an output, its requantisation and its copy to a plane weigh"
    " half an instruction a product each, and on planes of 3x3 outputs so does the work for each"
    " channel and row; a 1x1 convolution of 128 inputs has none of that. Sizes in bytes;"
    " alive: what of the arena is in use while the layer runs, its scratch counted."
)


def section(results: Results) -> str:
    """The section of RESULTS.md."""
    compilers = ", ".join(sorted({row.compiler for row in results.rows}))
    parts = [_INTRODUCTION.format(compilers=f"Compilers, at -O2: {compilers}")]
    parts.append(f"{_YARDSTICK_NOTE}\n\n{_engines(results.rows)}")
    for model, layers in results.models.items():
        macs = sum(layer.macs for layer in layers)
        rows = [row for row in results.rows if row.model == model]
        title = f"### {model}: {macs / 1e6:.2f} million multiply-accumulates"
        parts.append(f"{title}\n\n{_cores(rows)}")
    for model, name in _BY_LAYER:
        if model in results.models:
            parts.append(_by_layer(results, model, name))
    return "\n\n".join(parts)


def _engines(rows: Sequence[Row]) -> str:
    cores = list(GOALS)
    body = []
    for family in ("gcc", "zig"):
        counts = {row.core: row.instructions for row in rows if row.key[::2] == (MODEL, family)}
        cells = (f"{counts[core] / 1e6:.2f}" if core in counts else "" for core in cores)
        body.append([f"Isthmus, {family}", "measured", *cells])
    goals = (f"{GOALS[core] / 1e6:.2f}" for core in cores)
    body.append(["goal", "", *goals])
    for engine in dict.fromkeys(yardstick.engine for yardstick in YARDSTICKS):
        line = []
        for core in cores:
            found = [y for y in YARDSTICKS if (y.engine, y.core) == (engine, core)]
            number = (found[0].instructions or found[0].cycles or 0) if found else 0
            unit = " cycles" if found and found[0].cycles else ""
            line.append(f"{number / 1e6:.2f}{unit}" if number else "")
        body.append([f"{engine} *", "recorded", *line])
    return aligned(["engine", "", *cores], body)


def _short(compiler: str) -> str:
    return compiler.removeprefix("arm-none-eabi-").removeprefix("riscv64-unknown-elf-")


def _cores(rows: Sequence[Row]) -> str:
    head = ["core", "compiler", "instructions, M", "a MAC", "code", "constants", "arena", "bound"]
    body = [
        [
            row.core,
            _short(row.compiler),
            f"{row.instructions / 1e6:.3f}",
            f"{row.per_mac:.3f}",
            *(
                f"{value:,}"
                for value in (
                    row.code_bytes, row.constant_bytes, row.arena_bytes, row.arena_bound_bytes,
                    row.stack_bytes,
                )
            ),
        ]
        for row in rows
    ]  # fmt: skip
    return aligned([*head, "stack"], body)


def spread(layers: Sequence[LayerFacts], counts: Sequence[int]) -> tuple[float, int, int]:
    """The most instructions for a multiply-accumulate over the fewest, and the two layers.

    Left out are layers without multiply-accumulates and those with less than 0.1 % of the
    network's, where a dozen results are all that there is to do.
    """
    floor = _WEIGHTY * sum(layer.macs for layer in layers)
    rates = {
        index: count / layer.macs
        for index, (layer, count) in enumerate(zip(layers, counts, strict=True))
        if layer.macs and layer.macs >= floor
    }
    worst, best = max(rates, key=lambda i: rates[i]), min(rates, key=lambda i: rates[i])
    return rates[worst] / rates[best], worst, best


def _by_layer(results: Results, model: str, name: str) -> str:
    layers = results.models[model]
    counts = {row.core: row.layers for row in results.rows if row.key[::2] == (model, "gcc")}
    cores = [core for core in _BY_LAYER_CORES if core in counts]
    head = ["layer", "operator", "output", "MACs", "constants", "alive", "scratch"]
    for core in cores:
        head += [core.removeprefix("cortex-").upper(), "a MAC"]
    body = []
    for index, layer in enumerate(layers):
        line = [str(index), layer.operator, layer.shape]
        line += [
            f"{value:,}"
            for value in (
                layer.macs, layer.constant_bytes, layer.alive_bytes, layer.scratch_bytes
            )
        ]  # fmt: skip
        for core in cores:
            count = counts[core][index]
            line += [f"{count:,}", f"{count / layer.macs:.2f}" if layer.macs else ""]
        body.append(line)
    ratios = []
    for core in cores:
        ratio, worst, best = spread(layers, counts[core])
        name_of_core = core.removeprefix("cortex-").upper()
        ratios.append(f"{ratio:.2f} on the {name_of_core} (layer {worst} over layer {best})")
    text = _BY_LAYER_TEXT.format(ratios=" and ".join(ratios), goal=f"{SPREAD_GOAL:g}")
    title = f"### By layer: {name} (`{model}`), gcc"
    return f"{title}\n\n{textwrap.fill(text, 100)}\n\n{aligned(head, body)}"


def layer_table(cost: FrontCost) -> str:
    """One line a layer and one for the whole, for a terminal."""
    total = cost.instructions or 0
    head = ["", "operator", "kernel", "output", "MACs", "instructions", "a MAC", "share"]
    head += ["constants", "alive", "scratch", "stack"]
    body = []
    for layer in cost.layers:
        count = layer.instructions or 0
        body.append(
            [
                str(layer.plan.index),
                layer.plan.operator,
                layer.plan.kernel.removeprefix("isth_k_"),
                "x".join(map(str, layer.plan.shape)),
                f"{layer.plan.macs:,}",
                f"{count:,}",
                f"{count / layer.plan.macs:.3f}" if layer.plan.macs else "",
                f"{100 * count / total:.1f} %" if total else "",
                f"{layer.flash_constant_bytes or 0:,}",
                f"{layer.plan.alive_bytes:,}",
                f"{layer.plan.scratch_bytes:,}",
                "" if layer.stack_bytes is None else str(layer.stack_bytes),
            ]
        )
    body.append(
        [
            "", "whole", "", "",
            f"{cost.macs:,}",
            f"{total:,}",
            f"{total / cost.macs:.3f}" if cost.macs else "",
            "",
            f"{cost.constant_bytes or 0:,}",
            f"{cost.arena_bytes:,}",
            "",
            "" if cost.stack_bytes is None else str(cost.stack_bytes),
        ]
    )  # fmt: skip
    note = f"code {cost.code_bytes or 0:,} bytes, arena {cost.arena_bytes:,}"
    return f"{plain(head, body, left=4)}\n{note} (bound {cost.arena_bound_bytes:,})"


def plain(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    """Columns that line up, the first ``left`` to the left.

    >>> print(plain(["a", "b"], [["1", "22"], ["3", "4"]], left=1))
    a   b
    1  22
    3   4
    """
    widths = [max(len(line[k]) for line in [head, *rows]) for k in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    return "\n".join(line(cells) for cells in [head, *rows])
