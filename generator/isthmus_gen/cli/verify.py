"""``isthmus verify``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from isthmus.bundle import Bundle
from isthmus.cli.console import Output, progress_bar, table
from isthmus.errors import MismatchError

__all__ = ["register", "show_targets"]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("verify")(verify)


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle, as `isthmus generate` writes it.")],
    target: Annotated[
        list[str] | None, typer.Option(help="Target to run on; repeat it for several.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Inputs to use, .npz.")] = None,
    inputs: Annotated[int, typer.Option(help="How many inputs.")] = 8,
    rung: Annotated[int, typer.Option(help="Rung of the ladder to encode with.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Build the firmware, run it natively or emulated, compare every stage with the reference.

    Exits with 1 where an element or a byte differs.

    \b
    Example:
        isthmus verify resnet8 --target host --target cortex-m4f --data test.npz --inputs 64
    """
    from isthmus_gen.verification import verify_bundle

    opened = Bundle.open(bundle)
    with progress_bar() as progress:
        results = verify_bundle(
            opened, target or [], data=data, count=inputs, rung=rung, progress=progress
        )
    rows = [result.as_dict() for result in results]
    bad = [row["name"] for row in rows if row["mismatches_front"] or row["mismatches_bytes"]]
    error = None
    if bad:
        error = MismatchError(
            str(bundle),
            f"firmware and reference differ on {', '.join(bad)}",
            remedy="see the first mismatch in the notes; report it with the bundle",
        )
    Output(json).result({"targets": rows}, lambda console: show_targets(console, rows), error)


def show_targets(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The results as a table."""

    def number(value: Any, form: str = ",") -> str:
        return "-" if value is None else format(value, form)

    cells = [
        (
            row["name"],
            str(row["inputs"]),
            number(row["mismatches_front"]),
            number(row["mismatches_bytes"]),
            number(row["front_instructions"]),
            number(row["encode_instructions_per_element"], ".1f"),
            number(row["flash_bytes"]),
            number(row["ram_bytes"]),
            number(row["stack_bytes"]),
        )
        for row in rows
    ]
    columns = [
        ("target", "left"), ("inputs", "right"), ("front\ndiffs", "right"),
        ("byte\ndiffs", "right"), ("front\ninstructions", "right"),
        ("encode instr.\nan element", "right"), ("flash\nbytes", "right"),
        ("RAM\nbytes", "right"), ("stack\nbytes", "right"),
    ]  # fmt: skip
    console.print(table("", columns, cells))
    for row in rows:
        for note in row.get("notes", ()):
            console.print(f"{row['name']}: {note}")
