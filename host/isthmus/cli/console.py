"""What every command shares: results, errors, progress bars, exit codes.

0  done
1  the firmware and the reference differ, or a check failed
2  the command line itself is wrong
3  bad input: a file, a model, data, a frame, a target
4  something that is needed is not installed
70  an internal error: a defect of Isthmus; ISTHMUS_TRACEBACK=1 shows where
130, 141  interrupted, and nobody reads the output any more
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from isthmus.errors import IsthmusError

__all__ = ["Output", "progress_bar", "table"]

_UNBOUNDED = 1 << 16


class Output:
    """Prints one command's result: for people, or one JSON object on standard output."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def result(
        self,
        data: dict[str, Any],
        show: Callable[[Console], None],
        error: IsthmusError | None = None,
    ) -> None:
        """``data`` as JSON with ``--json``, else whatever ``show`` prints.

        ``error`` is a finding that the result shows and the exit code must tell: it joins the one
        JSON object and is raised after it.
        """
        if self.as_json:
            found = {} if error is None else {"error": error.as_dict()}
            sys.stdout.write(json.dumps({**data, **found}, allow_nan=False) + "\n")
        elif sys.stdout.isatty():
            show(Console(highlight=False))
        else:
            sys.stdout.write(_unbounded(show))
        if error is not None:
            error.printed = True
            raise error


def _unbounded(show: Callable[[Console], None]) -> str:
    """What ``show`` prints, for a file or a pipe: these have no width to cut or wrap lines to."""
    text = io.StringIO()
    show(Console(file=text, width=_UNBOUNDED, highlight=False))
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


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
