"""The tables of the encoder's cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.sections import markdown_table

if TYPE_CHECKING:
    from benchmarks.encoder_cost import Row

__all__ = ["aligned", "section"]

_HEAD = (
    "encoder", "input", "instructions", "bits", "code", "tables", "RAM", "stack",
)  # fmt: skip
_INTRODUCTION = """## What the encoder costs beside general compressors

Written by `python -m benchmarks.encoder_cost`; the figures are in `results/encoder_cost.json`.
Features of ResNet-8 after stage 2 (16x16x32, 8,192 elements), means over eight test pictures.
{compilers}, at -O2, counted under QEMU: retired instructions, not cycles, for one element.

- Isthmus: from the int8 tensor to the whole frame: quantiser, contexts, coder, header, checksum.
  Every frame is compared with the reference's. Bits: the frame with its 12 bytes of header.
  neighbour: up to 4 KB for contexts; neighbour-1k: up to 1 KB, so fewer clusters of channels.
- heatshrink 0.4.1 and lz4 1.9.4 (`LZ4_compress_fast`), as C from the packages heatshrink2 0.15.0
  and lz4 4.4.5: from levels that are there already, one to a byte or packed to whole bits (2 bits
  at N = 4), to their bytes, with no header or checksum. What they wrote is decoded and compared.
- code: what flash holds more, less constants; tables: those constants. RAM: the encoder's own, so
  without input and output buffers. stack: the deepest chain of calls."""


def section(rows: Sequence[Row]) -> str:
    """The section of RESULTS.md."""
    compilers = sorted({row.compiler for row in rows})
    parts = [_INTRODUCTION.format(compilers=", ".join(compilers))]
    for core in dict.fromkeys(row.core for row in rows):
        for levels in sorted({row.levels for row in rows if row.core == core}):
            chosen = [row for row in rows if (row.core, row.levels) == (core, levels)]
            table = markdown_table(_HEAD, [_cells(row) for row in chosen])
            parts.append(f"### {core}, N = {levels}\n\n{table}")
    return "\n\n".join(parts)


def aligned(rows: Sequence[Row]) -> str:
    """The same figures in columns, for a terminal."""
    body = [
        (row.core, str(row.levels), *_cells(row))
        for row in sorted(rows, key=lambda row: (row.core, row.levels))
    ]
    table = [("core", "N", *_HEAD), *body]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 2, 3) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        f"{row.codec} {row.variant}", row.source, f"{row.instructions:.1f}", f"{row.bits:.3f}",
        f"{row.code_bytes:,}", f"{row.table_bytes:,}", f"{row.ram_bytes:,}", f"{row.stack_bytes:,}",
    )  # fmt: skip
