"""The table of the host's speed."""

from __future__ import annotations

from typing import Any

from benchmarks.sections import markdown_table

__all__ = ["section"]

_INTRODUCTION = """## How fast the host is

Written by `python -m benchmarks.host_speed`; the figures are in `results/host_speed.json`.
Features of ResNet-8 after stage 2 (16x16x32, 8,192 elements), N = 4, {frames} frames in a batch,
{repetitions} repetitions in each of which every line runs once. {machine}.

- Millions of elements a second of CPU time: median and quartiles; with two threads that of the
  slower one. ratio: to the first line of the same task, median of the ratios within a repetition.
  wall clock: the median with whatever else the machine did.
- Isthmus: from the frames to levels, checksums checked, through `NativeCodec`; encoding starts at
  the int8 tensor. near-lossless: the same tensors and codec, at the bound D. constriction: one
  static model with these levels' own frequencies, which is not sent, through its Python package.
  zstd: one stream a frame, whole bytes out, so no unpacking."""


def section(result: dict[str, Any]) -> str:
    """The section of RESULTS.md."""
    head = ("codec", "task", "threads", "bits", "M elements/s", "quartiles", "ratio", "wall clock")
    body = [
        [
            row["name"], row["task"], str(row["threads"]), f"{row['bits']:.3f}",
            f"{row['median']:.1f}", f"{row['low']:.1f}-{row['high']:.1f}", f"{row['ratio']:.2f}",
            f"{row['wall']:.1f}",
        ]
        for row in result["rows"]
    ]  # fmt: skip
    return f"{_INTRODUCTION.format(**result)}\n\n{markdown_table(head, body)}"
