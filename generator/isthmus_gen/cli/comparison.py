"""The one table of several bundles, on a terminal of any width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from isthmus.cli.console import table

if TYPE_CHECKING:
    from isthmus_gen.evaluate import Comparison

__all__ = ["fitting_columns", "show_comparison"]

#: What is left out first where the terminal is too narrow: numbers of columns.
_LEAST_WANTED = (6, 11, 9, 10, 0, 5)
_PADDING = 2


def show_comparison(console: Console, comparison: Comparison) -> None:
    """The table, as many of its columns as the console has room for, and what they mean."""
    from isthmus_gen.evaluate.comparison_report import (
        COMPARISON_HEAD,
        TEXT_COLUMNS,
        comparison_table,
    )

    first = comparison.evaluations[0]
    heads = [_two_lines(name) for name in COMPARISON_HEAD]
    lines = comparison_table(comparison.rows)
    kept = fitting_columns([heads, *lines], console.width)
    columns = [(heads[n], "left" if n < TEXT_COLUMNS else "right") for n in kept]
    rows = [[line[n] for n in kept] for line in lines]
    console.print(table(f"{first.model}, {first.inputs} inputs", columns, rows))
    console.print("bit / element: of the network's own tensor at the cut", style="dim")
    console.print("against whole: points of accuracy against the whole network", style="dim")
    left_out = [COMPARISON_HEAD[n] for n in range(len(COMPARISON_HEAD)) if n not in kept]
    if left_out:
        console.print(f"no room for: {', '.join(left_out)}", style="dim")


def fitting_columns(
    lines: list[list[str]], width: int, least_wanted: Sequence[int] = _LEAST_WANTED
) -> list[int]:
    """Numbers of the columns of ``lines`` that fit into ``width`` characters together."""
    needed = {
        n: _PADDING + max(len(part) for line in lines for part in line[n].split("\n"))
        for n in range(len(lines[0]))
    }
    for number in least_wanted:
        if sum(needed.values()) <= width:
            break
        del needed[number]
    return list(needed)


def _two_lines(head: str) -> str:
    """A heading of several words broken near its middle."""
    words = head.split(" ")
    if len(words) == 1:
        return head
    cut = min(
        reversed(range(1, len(words))),
        key=lambda n: max(len(" ".join(words[:n])), len(" ".join(words[n:]))),
    )
    return " ".join(words[:cut]) + "\n" + " ".join(words[cut:])
