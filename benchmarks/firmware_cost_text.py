"""The tables of the firmware's cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.firmware_cost import Row

__all__ = ["section"]

_INTRODUCTION = """## What the firmware costs

Written by `python -m benchmarks.firmware_cost`; the figures are in `results/firmware_cost.json`.

Counts are retired instructions, not cycles: QEMU runs one instruction a nanosecond of its own time,
and the core's timer (RISC-V: its counter) is read around each step. Means over eight test pictures;
every tensor was compared with the reference.
{compilers}.

- front: instructions of the int8 front half (millions), and a multiply-accumulate.
- encode: instructions of the coder for one element of the tensor, with N levels; bin: for one coded
  bin (an element has one at N = 2, up to N - 1 above). Share: the coder's part of the whole, N = 4.
- flash: what the tree adds to a program, with its weights (of which: weights and their scales).
- RAM: arena (bound: what no memory plan of these layers can go below), encoder with its contexts,
  frame buffer for the longest frame that any tensor can make. The ladder here has rungs of 2, 4, 8
  and 16 levels, so its buffer is that of 16.
- stack: the deepest chain of calls of front half or coder, from the compiler's frame sizes."""


def section(rows: Sequence[Row]) -> str:
    """The section of RESULTS.md."""
    compilers = sorted({row.compiler for row in rows})
    parts = [_INTRODUCTION.format(compilers="Compilers, at -O2: " + ", ".join(compilers))]
    for network, cut in dict.fromkeys((row.network, row.cut) for row in rows):
        of_cut = [row for row in rows if (row.network, row.cut) == (network, cut)]
        first = of_cut[0]
        parts.append(
            f"### {network}, `{cut}`: {first.elements:,} elements,"
            f" {first.macs / 1e6:.2f} million multiply-accumulates\n\n"
            f"{_instructions(of_cut)}\n\n{_memory(of_cut)}"
        )
    return "\n\n".join(parts)


def _instructions(rows: Sequence[Row]) -> str:
    head = ["core", "compiler", "front, M", "a MAC"]
    head += [f"encode N={n}" for n in (2, 4, 8, 16)] + [f"bin N={n}" for n in (2, 4, 8, 16)]
    body = [
        [
            row.core,
            row.compiler.removeprefix("arm-none-eabi-").removeprefix("riscv64-unknown-elf-"),
            f"{row.front / 1e6:.3f}",
            f"{row.front_per_mac:.2f}",
            *(f"{getattr(row, f'encode_{n}'):.1f}" for n in (2, 4, 8, 16)),
            *(f"{getattr(row, f'bin_{n}'):.1f}" for n in (2, 4, 8, 16)),
            f"{100 * row.encode_share:.2f} %",
        ]
        for row in rows
    ]
    return aligned([*head, "share"], body)


def _memory(rows: Sequence[Row]) -> str:
    head = ["core", "compiler", "flash", "weights", "RAM", "arena", "bound", "encoder"]
    head += ["frame N=4", "frame N=16", "stack"]
    body = [
        [
            row.core,
            row.compiler.removeprefix("arm-none-eabi-").removeprefix("riscv64-unknown-elf-"),
            *(
                f"{value:,}"
                for value in (
                    row.flash_bytes, row.flash_weights_bytes, row.ram_bytes, row.arena_bytes,
                    row.arena_bound_bytes, row.encoder_bytes, row.frame_4_bytes,
                    row.frame_16_bytes, row.stack_bytes,
                )
            ),
        ]
        for row in rows
    ]  # fmt: skip
    return aligned(head, body)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose source lines up as well; columns after the first two to the right.

    >>> print(aligned(["a", "b", "c"], [["1", "2", "333"]]))
    | a   | b   |    c |
    | --- | --- | ---: |
    | 1   | 2   |  333 |
    """
    widths = [
        max(3 if k < 2 else 4, *(len(line[k]) for line in [head, *rows])) for k in range(len(head))
    ]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if k < 2 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * w if k < 2 else "-" * (w - 1) + ":" for k, w in enumerate(widths)]
    return "\n".join([line(head), line(rule), *(line(row) for row in rows)])
