"""``isthmus bottleneck-search``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from isthmus.cli.console import Output, table
from isthmus_gen.cli.comparison import fitting_columns

if TYPE_CHECKING:
    from isthmus_gen.bottleneck.search import SearchResult
    from isthmus_gen.progress import Progress as Tell

__all__ = ["register"]

#: What is left out first where the terminal is too narrow: numbers of columns.
_LEAST_WANTED = (4, 5, 7)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("bottleneck-search")(bottleneck_search)


def bottleneck_search(
    model: Annotated[Path, typer.Argument(help=".keras or .h5.")],
    data: Annotated[
        Path, typer.Option(help=".npz with x, or packed pictures; y, if there, is used.")
    ],
    out: Annotated[Path, typer.Option(help="The result, .json.")],
    cuts: Annotated[
        str, typer.Option(help="NAME,NAME,...; by default up to four legal ones, spread.")
    ] = "",
    channels: Annotated[str, typer.Option(help="Channels of the bottleneck.")] = "1,2,4,8",
    strides: Annotated[str, typer.Option(help="Its sides are smaller by these.")] = "2,4",
    levels: Annotated[int, typer.Option(help="Levels N; 2..256.")] = 4,
    target: Annotated[
        str, typer.Option(help="Target, whose RAM is the limit without --ram.")
    ] = "cortex-m4f",
    ram: Annotated[
        int | None, typer.Option(help="Bytes that arena, encoder and frame buffer may take.")
    ] = None,
    instructions: Annotated[
        int | None, typer.Option(help="Instructions that front half and coder may take.")
    ] = None,
    max_loss: Annotated[
        float | None, typer.Option(help="Name the cheapest that loses at most so many points.")
    ] = None,
    rate_weight: Annotated[
        float, typer.Option(help="What a bit of a frame costs in the loss.")
    ] = 2e-5,
    epochs: Annotated[int, typer.Option(help="Passes over the data of the better half.")] = 12,
    first_epochs: Annotated[
        int, typer.Option(help="Passes of all before; as many as --epochs: all are trained long.")
    ] = 3,
    seed: Annotated[int, typer.Option(help="Of the units' weights and the order.")] = 1,
    preprocess: Annotated[
        str, typer.Option(help="none, unit (x/255), signed (x/127.5-1) or SCALE,OFFSET.")
    ] = "none",
    limit: Annotated[int, typer.Option(help="Inputs to use; 0: all.")] = 0,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Estimate instructions, even where a compiler is.")
    ] = False,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder of trained networks, where an interrupted search goes on."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page (plot inside) to this file.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Write the plot as PNG to this directory.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Search cut, channels and stride of a bottleneck under a device's budget.

    What would not fit is told and not trained. The rest is trained shortly, the better half longer;
    the result is the front of accuracy against bytes.

    \b
    Example:
        isthmus bottleneck-search resnet8.keras --data train.npz --cuts activation_2,activation_4 \\
            --channels 4,8 --strides 2 --ram 60000 --max-loss 1 --out search.json
    """
    from isthmus_gen.bottleneck.search import SearchPlan, parse_numbers, search_bottlenecks
    from isthmus_gen.bottleneck.search.report import PLOT, write_search
    from isthmus_gen.data import Preprocessing, load_data
    from isthmus_gen.emit.writer import check_file
    from isthmus_gen.models import load_model

    plan = SearchPlan(
        channels=parse_numbers("--channels", channels),
        strides=parse_numbers("--strides", strides),
        levels=levels,
        rate_weight=rate_weight,
        epochs=epochs,
        first_epochs=first_epochs,
        seed=seed,
        target=target,
        ram=ram,
        instructions=instructions,
        max_loss=max_loss,
    )
    preprocessing = Preprocessing.parse(preprocess)
    loaded = load_model(model)
    shape = [None if size < 0 else size for size in loaded.input_shape]
    inputs = load_data(data, input_shape=shape, limit=limit or None)
    check_file(out, "--out")
    if report is not None:
        check_file(report, "--report")
    if plots is not None:
        check_file(plots / PLOT, "--plots")
    folder = out.with_suffix(".work") if work is None else work
    with _search_bar() as progress:
        result = search_bottlenecks(
            loaded, [name for name in cuts.split(",") if name], inputs, plan, preprocessing,
            progress, work=folder, count=not estimate,
        )  # fmt: skip
    files = write_search(result, out, report=report, plots_dir=plots, folder=str(folder))
    output = Output(json)
    output.result(result.as_dict(), lambda console: _show(console, result, folder))
    if not json:
        for file in files:
            typer.echo(f"-> {file}")


def _show(console: Console, result: SearchResult, folder: Path) -> None:
    """The tables, and how a bundle is made of a point."""
    from isthmus_gen.bottleneck.search.report import (
        EXCLUDED_HEAD,
        HEAD,
        chosen_text,
        excluded_rows,
        search_rows,
        search_text,
    )

    heads = ["\n".join(name.rsplit(" ", 1)) for name in HEAD]
    rows = search_rows(result)
    kept = fitting_columns([heads, *rows], console.width, _LEAST_WANTED)
    texts = (0, len(HEAD) - 1)
    columns = [(heads[n], "left" if n in texts else "right") for n in kept]
    title = f"{result.model}, {result.plan.target}"
    console.print(table(title, columns, [[row[n] for n in kept] for row in rows]))
    if len(kept) < len(HEAD):
        left_out = [HEAD[n] for n in range(len(HEAD)) if n not in kept]
        console.print(f"no room for: {', '.join(left_out)}", style="dim")
    console.print(search_text(result), style="dim")
    if result.excluded:
        last = len(EXCLUDED_HEAD) - 1
        columns = [(name, "left" if n in (0, last) else "right") for n, name in
                   enumerate(EXCLUDED_HEAD)]  # fmt: skip
        console.print(table("Over the budget", columns, excluded_rows(result)))
    if chosen_text(result):
        console.print(chosen_text(result))
    some = [result.chosen] if result.chosen is not None else list(result.front)
    console.print("the bundle of a point:" if len(some) == 1 else "the bundles of the front:")
    for point in some:
        console.print(f"  {shlex.join(result.command(point, str(folder)))}", soft_wrap=True)


@contextmanager
def _search_bar() -> Iterator[Tell]:
    """Two bars on standard error: the search with the time left, and what is being done."""
    from isthmus_gen.bottleneck.search import SEARCH

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False),
        console=console, disable=not console.is_terminal,
    )  # fmt: skip
    whole = bar.add_task("search", total=None)
    step = bar.add_task("", total=None)
    shown = ""

    def update(stage: str, done: int, total: int, /) -> None:
        nonlocal shown
        if stage == SEARCH:
            bar.update(whole, completed=done, total=total)
            return
        if stage != shown:
            shown = stage
            bar.reset(step, description=stage)
        bar.update(step, completed=done, total=total)

    with bar:
        yield update
