"""The tables of what the front half costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus_gen.verify import FrontCost

__all__ = ["layer_table", "plain"]


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
