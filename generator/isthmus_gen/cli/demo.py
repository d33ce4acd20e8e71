"""``isthmus demo``: the main job on the packaged digits network, with pip packages alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from isthmus.cli.console import Output, progress_bar
from isthmus_gen.cli.evaluate import show_evaluation
from isthmus_gen.cli.generate import show_report
from isthmus_gen.cli.verify import show_targets

__all__ = ["register"]

_TARGETS = ("host", "cortex-m0plus", "cortex-m3", "cortex-m4f", "cortex-m33")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Directory for data, bundle and report.")] = Path(
        "demo-out"
    ),
    codec: Annotated[
        str, typer.Option(help="lightweight, near-lossless or bottleneck (trains, a minute).")
    ] = "lightweight",
    inputs: Annotated[int, typer.Option(help="Pictures each target runs.")] = 16,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """From a trained network to emulated firmware and back, on handwritten digits.

    Cuts the packaged network, writes the bundle to OUT/digits, runs its firmware on this machine
    and on emulated Cortex-M cores, decodes, and writes OUT/report.html. With another codec than
    lightweight the bundle is OUT/digits-CODEC and the report OUT/report-CODEC.html.

    \b
    Examples:
        isthmus demo --out demo-out
        isthmus demo --codec near-lossless
    """
    from isthmus_gen.demo import run_demo

    with progress_bar() as progress:
        made = run_demo(out, _TARGETS, inputs, progress, codec=codec)

    def show(console: Console) -> None:
        show_report(console, made.bundle.path, made.report)
        console.print()
        show_targets(console, made.targets)
        console.print()
        show_evaluation(console, made.evaluation)
        console.print(f"\nreport -> {made.report_file}")

    Output(json).result(
        {
            "out": str(out),
            "bundle": str(made.bundle.path),
            "report": str(made.report_file),
            "targets": made.targets,
            "evaluation": made.evaluation,
        },
        show,
    )
