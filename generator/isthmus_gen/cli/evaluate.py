"""``isthmus evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from isthmus.bundle import Bundle
from isthmus.cli.console import Output, progress_bar, table

__all__ = ["register", "show_evaluation"]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A bundle, as `isthmus generate` writes it.")],
    data: Annotated[Path, typer.Option(help="Inputs and labels, .npz with x and y.")],
    limit: Annotated[int, typer.Option(help="Inputs to use; 0: all.")] = 0,
    report: Annotated[
        Path | None, typer.Option(help="Write report.html (plots inside) to this file.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Write the plots as PNG files to this directory.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Accuracy of the whole network, the halves, the int8 front and the decoded path, and bits.

    \b
    Example:
        isthmus evaluate resnet8 --data test.npz --report report.html
    """
    from isthmus_gen.data import load_data
    from isthmus_gen.emit.writer import check_file
    from isthmus_gen.evaluate import evaluate_bundle, save_plots, write_report

    opened = Bundle.open(bundle)
    shape = [int(size) for size in opened.profile.extra["input"]["shape"]]
    loaded = load_data(data, input_shape=shape, limit=limit or None)
    if report is not None:
        check_file(report, "--report")
    if plots is not None:
        check_file(plots / "rate_accuracy.png", "--plots")
    with progress_bar() as progress:
        result = evaluate_bundle(opened, loaded, progress=progress)
    values = result.as_dict()
    Output(json).result(values, lambda console: show_evaluation(console, values))
    if report is not None:
        write_report(report, opened, result)
        if not json:
            typer.echo(f"report -> {report}")
    for file in [] if plots is None else save_plots(result, plots):
        if not json:
            typer.echo(f"plot -> {file}")


def show_evaluation(console: Console, values: dict[str, Any]) -> None:
    """Accuracies, then a line a rung."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f} %"

    names = [
        ("whole network", "accuracy_whole"),
        ("float halves", "accuracy_halves"),
        ("int8 front, not coded", "accuracy_front_int8"),
        ("decoded", "accuracy_decoded"),
    ]
    console.print(
        table(
            f"{values['inputs']} inputs",
            [("path", "left"), ("accuracy", "right")],
            [(name, percent(values[key])) for name, key in names],
        )
    )
    rows = [
        (
            str(index),
            str(rung["levels"]),
            f"{rung['bits_per_element']:.3f}",
            f"{rung['bytes_per_input']:.1f}",
            percent(rung["accuracy_decoded"]),
        )
        for index, rung in enumerate(values["rungs"])
    ]
    columns = [
        ("rung", "right"), ("levels", "right"), ("bits per element", "right"),
        ("bytes per input", "right"), ("accuracy decoded", "right"),
    ]  # fmt: skip
    console.print(table("", columns, rows))
