"""``isthmus evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from isthmus.bundle import Bundle
from isthmus.cli.console import Output, progress_bar, table
from isthmus_gen.cli.comparison import show_comparison

if TYPE_CHECKING:
    from isthmus_gen.data import DataSet

__all__ = ["register", "show_evaluation"]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    bundles: Annotated[
        list[Path],
        typer.Argument(metavar="BUNDLE...", help="Bundles, as `isthmus generate` writes them."),
    ],
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

    Several bundles of one network (other codecs, cuts, options) are put into one table and one
    plot, beside the picture itself in other formats.

    \b
    Examples:
        isthmus evaluate resnet8 --data test.npz --report report.html
        isthmus evaluate resnet8 resnet8-near-lossless --data test.npz --plots plots
    """
    from isthmus_gen.data import load_data
    from isthmus_gen.emit.writer import check_file
    from isthmus_gen.evaluate.network import check_one_network

    opened = [Bundle.open(bundle) for bundle in bundles]
    check_one_network(opened)
    shape = [int(size) for size in opened[0].profile.extra["input"]["shape"]]
    loaded = load_data(data, input_shape=shape, limit=limit or None)
    if report is not None:
        check_file(report, "--report")
    if plots is not None:
        check_file(plots / ("rate_accuracy.png" if len(opened) == 1 else "codecs.png"), "--plots")
    run = _one if len(opened) == 1 else _several
    run(opened, loaded, report, plots, Output(json))


def _one(
    opened: list[Bundle], data: DataSet, report: Path | None, plots: Path | None, output: Output
) -> None:
    from isthmus_gen.evaluate import evaluate_bundle, save_plots, write_report

    with progress_bar() as progress:
        result = evaluate_bundle(opened[0], data, progress=progress)
    values = result.as_dict()
    output.result(values, lambda console: show_evaluation(console, values))
    if report is not None:
        write_report(report, opened[0], result)
    _say_files(output, report, [] if plots is None else save_plots(result, plots))


def _several(
    opened: list[Bundle], data: DataSet, report: Path | None, plots: Path | None, output: Output
) -> None:
    from isthmus_gen.evaluate import compare_bundles, save_comparison_plots, write_comparison

    with progress_bar() as progress:
        result = compare_bundles(opened, data, progress=progress)
    output.result(result.as_dict(), lambda console: show_comparison(console, result))
    if report is not None:
        write_comparison(report, opened, result)
    _say_files(output, report, [] if plots is None else save_comparison_plots(result, plots))


def _say_files(output: Output, report: Path | None, plots: Sequence[Path]) -> None:
    """What was written, where it is not JSON that is asked for."""
    if output.as_json:
        return
    if report is not None:
        typer.echo(f"report -> {report}")
    for file in plots:
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
            f"{values['inputs']} inputs, codec {values['codec']}",
            [("path", "left"), ("accuracy", "right")],
            [(name, percent(values[key])) for name, key in names],
        )
    )
    likeness = values.get("picture", {}).get("rungs", [])
    rows = [
        (
            str(index),
            str(rung.get("bound", rung["levels"])),
            f"{rung['bits_per_element']:.3f}",
            f"{rung['bytes_per_input']:.1f}",
            percent(rung["accuracy_decoded"]),
            *(_likeness(likeness[index]) if likeness else ()),
        )
        for index, rung in enumerate(values["rungs"])
    ]
    setting = "bound D" if "bound" in values["rungs"][0] else "levels"
    columns = [
        ("rung", "right"), (setting, "right"), ("bits per element", "right"),
        ("bytes per input", "right"), ("accuracy decoded", "right"),
        *([("picture, PSNR dB", "right"), ("SSIM", "right")] if likeness else []),
    ]  # fmt: skip
    console.print(table("", columns, rows))
    if likeness:
        console.print("the features reveal the picture: treat frames as the pictures themselves")


def _likeness(entry: dict[str, Any]) -> tuple[str, str]:
    alike = entry["ssim"]
    return f"{entry['psnr_db']:.2f}", "-" if alike is None else f"{alike:.3f}"
