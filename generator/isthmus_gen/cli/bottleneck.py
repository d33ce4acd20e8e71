"""``isthmus bottleneck``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from isthmus.cli.console import Output, progress_bar, table

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("bottleneck")(bottleneck)


def bottleneck(
    model: Annotated[Path, typer.Argument(help=".keras or .h5.")],
    cut: Annotated[str, typer.Option(help="Tensor to replace; `isthmus cuts` lists them.")],
    data: Annotated[
        Path, typer.Option(help=".npz with x, or packed pictures; y, if there, is used.")
    ],
    channels: Annotated[int, typer.Option(help="Channels of the bottleneck; 1..1024.")],
    out: Annotated[Path, typer.Option(help="The trained network, .keras.")],
    stride: Annotated[int, typer.Option(help="Its sides are smaller by this; 1..16.")] = 2,
    coder: Annotated[
        str, typer.Option(help="isthmus, or jpeg (as published; a comparison on the host).")
    ] = "isthmus",
    levels: Annotated[int, typer.Option(help="isthmus: levels N; 2..256.")] = 8,
    rate_weight: Annotated[
        float, typer.Option(help="isthmus: what a bit of a frame costs in the loss.")
    ] = 1e-4,
    quality: Annotated[int, typer.Option(help="jpeg: quality; 1..100.")] = 20,
    train: Annotated[
        str, typer.Option(help="units: the network itself stays as it is; or all its weights.")
    ] = "units",
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 20,
    patience: Annotated[
        int, typer.Option(help="Stop after so many passes that are no better on data held out.")
    ] = 8,
    seed: Annotated[int, typer.Option(help="Of the units' weights and the order.")] = 1,
    preprocess: Annotated[
        str, typer.Option(help="none, unit (x/255), signed (x/127.5-1) or SCALE,OFFSET.")
    ] = "none",
    limit: Annotated[int, typer.Option(help="Inputs to use; 0: all.")] = 0,
    work: Annotated[
        Path | None, typer.Option(help="Folder where an interrupted training goes on.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a bottleneck of a few channels in the place of a cut tensor, with the real codec.

    \b
    Example:
        isthmus bottleneck resnet8.keras --cut activation_4 --data train.npz --channels 32 \\
            --out resnet8_b32.keras
    """
    from isthmus_gen.bottleneck import TrainingPlan
    from isthmus_gen.bottleneck.making import make_bottleneck
    from isthmus_gen.bottleneck.trained_file import check_out, write_trained
    from isthmus_gen.data import Preprocessing, load_data
    from isthmus_gen.models import load_model

    check_out(out)
    plan = TrainingPlan(
        coder=coder, levels=levels, quality=quality, rate_weight=rate_weight, train=train,
        epochs=epochs, patience=patience, seed=seed,
    )  # fmt: skip
    preprocessing = Preprocessing.parse(preprocess)
    loaded = load_model(model)
    shape = [None if size < 0 else size for size in loaded.input_shape]
    inputs = load_data(data, input_shape=shape, limit=limit or None)
    with progress_bar() as progress:
        made = make_bottleneck(
            loaded, cut, inputs, channels, stride, plan, preprocessing, progress, work=work
        )
    write_trained(out, made.content)
    values = {"out": str(out), **made.account}
    Output(json).result(values, lambda console: _show(console, values))


def _show(console: Console, values: dict[str, Any]) -> None:
    """A short account of a bottleneck that was trained."""
    figures, training, plan = values["figures"], values["training"], values["plan"]
    jpeg = plan["coder"] == "jpeg"
    console.print(
        f"{values['model']} at {values['cut']}: {values['channels']} channels, stride "
        f"{values['stride']}, coder {plan['coder']}; pass {training['best_epoch']} of "
        f"{training['epochs_run']} was the best"
    )

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f} %"

    rows = [
        ("bytes of JPEG data, without tables" if jpeg else "bytes of a frame",
         f"{figures['bytes']:.1f}"),
        *([("bytes of a JPEG file", f"{figures['file_bytes']:.1f}")] if jpeg else []),
        ("accuracy of the whole network", percent(figures["whole"])),
        ("accuracy through the bottleneck", percent(figures["accuracy"])),
        ("answers that stay the same", percent(figures["agreement"])),
    ]  # fmt: skip
    title = f"{figures['inputs']:,} inputs held out, float features"
    console.print(table(title, [("", "left"), ("", "right")], rows))
    console.print(f"network -> {values['out']}")
