"""What every command shares: results, errors, progress bars, exit codes.

0  done
1  the firmware and the reference differ, or a check failed
2  the command line itself is wrong
3  bad input: a file, a model, data, a frame, a target
4  something that is needed is not installed
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["Output", "progress_bar", "table"]

_WIDE = 140


class Output:
    """Prints one command's result: for people, or one JSON object on standard output."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        terminal = sys.stdout.isatty()
        # a file or a pipe has no width of its own; do not cut tables to a terminal's
        self._console = Console(width=None if terminal else _WIDE, highlight=False)

    def result(self, data: dict[str, Any], show: Callable[[Console], None]) -> None:
        """``data`` as JSON with ``--json``, else whatever ``show`` prints."""
        if self.as_json:
            sys.stdout.write(json.dumps(data, allow_nan=False) + "\n")
        else:
            show(self._console)


def table(title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> Table:
    """An aligned table; ``columns`` are (heading, "left" | "right") pairs."""
    out = Table(title=title or None, title_justify="left", header_style="bold", box=None)
    for name, justify in columns:
        right = justify == "right"
        out.add_column(name, justify="right" if right else "left", no_wrap=right)
    for row in rows:
        out.add_row(*row)
    return out


@contextmanager
def progress_bar(enabled: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """A callback ``(stage, done, total)`` that draws bars on standard error, one a stage.

    Nothing is drawn where standard error is not a terminal.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not (enabled and console.is_terminal),
    )
    tasks: dict[str, Any] = {}

    def update(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(stage, total=total)
        bar.update(tasks[stage], completed=done, total=total)

    with bar:
        yield update
