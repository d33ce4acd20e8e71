"""The tables of what near-lossless coding costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.sections import markdown_table

if TYPE_CHECKING:
    from benchmarks.near_cost import Row

__all__ = ["section"]

#: The tensor of each cut.
_SHAPES = {"activation_2": "32x32x16", "activation_4": "16x16x32", "activation_6": "8x8x64"}
_INTRODUCTION = """## What near-lossless coding costs a microcontroller

Written by `python -m benchmarks.near_cost`; the figures are in `results/near_cost.json`.
ResNet-8 after each of its stages, means over eight test pictures, distributions trained on 1,500
pictures. D is the bound: no value is decoded further than D int8 steps from the device's.
{compilers}, at -O2, counted under QEMU: retired instructions, not cycles, for one element, from the
int8 tensor to the whole frame. Every frame is compared with the reference's.

- bits: the frame with its 12 bytes of header, for one element.
- code: what flash holds of the encoder, less constants; tables: those constants, the trained
  distributions above all. RAM: the encoder's own, without input and output buffers. stack: the
  deepest chain of calls."""


def section(rows: Sequence[Row]) -> str:
    """The section of RESULTS.md."""
    cores = list(dict.fromkeys(row.core for row in rows))
    compilers = sorted({row.compiler for row in rows})
    parts = [_INTRODUCTION.format(compilers=", ".join(compilers))]
    places = list(dict.fromkeys((row.cut, row.bound) for row in rows))
    found = {row.key: row for row in rows}
    body = [
        [
            _place(cut),
            str(bound),
            *(f"{found[cut, bound, core].instructions:.1f}" for core in cores),
        ]
        for cut, bound in places
    ]
    parts.append(
        "### Instructions for one element\n\n" + markdown_table(["cut", "D", *cores], body)
    )
    core = "cortex-m4f" if "cortex-m4f" in cores else cores[0]
    head = ("cut", "D", "bits", "code", "tables", "RAM", "stack")
    sizes = [
        [
            _place(row.cut), str(row.bound), f"{row.bits:.3f}", f"{row.code_bytes:,}",
            f"{row.table_bytes:,}", f"{row.ram_bytes:,}", f"{row.stack_bytes:,}",
        ]
        for row in (found[cut, bound, core] for cut, bound in places)
    ]  # fmt: skip
    parts.append(f"### Bits and memory, {core}\n\n" + markdown_table(head, sizes))
    return "\n\n".join(parts)


def _place(cut: str) -> str:
    return f"`{cut}`, {_SHAPES[cut]}"
