"""``isthmus cuts``, ``generate`` and ``targets``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from isthmus.cli.console import Output, progress_bar, table
from isthmus_gen.cli.rung_table import grid_line, rung_table

if TYPE_CHECKING:
    from isthmus_gen.support import CutSupport

__all__ = ["register", "show_report"]

ModelArgument = Annotated[
    Path, typer.Argument(help=".keras, .h5, SavedModel folder, .tflite or .onnx.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("cuts")(cuts)
    app.command("generate")(generate)
    app.command("targets")(targets)


def cuts(
    model: ModelArgument,
    operators: Annotated[
        bool,
        typer.Option(
            "--operators",
            help="Say for each legal cut which operators of its front half generated C lacks. A "
            "float network is converted to int8 for it (seconds); int8 .tflite files tell always.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """List every tensor of a network: can it be cut there, and if not, why not.

    \b
    Example:
        isthmus cuts resnet8.keras --operators
    """
    from isthmus_gen.models import load_model
    from isthmus_gen.support import cut_support

    loaded = load_model(model)
    rows = loaded.cuts()
    support: dict[str, CutSupport] = {}
    looked = operators or loaded.kind == "tflite_int8"
    if looked:
        with progress_bar() as progress:
            support = cut_support(loaded, progress=progress)
    # Where a dimension is open, sizes are not known and costs cannot be counted.
    is_open = any(-1 in cut.shape for cut in rows)
    data = {
        "model": loaded.path.name,
        "kind": loaded.kind,
        "input_shape": _sizes(loaded.input_shape),
        "output_shape": _sizes(loaded.output_shape),
        "cuts": [
            {
                "name": cut.name,
                "operator": cut.operator,
                "shape": _sizes(cut.shape),
                "elements": None if -1 in cut.shape else cut.elements,
                "bytes": None if -1 in cut.shape else cut.bytes,
                "macs_before": None if is_open else cut.macs_before,
                "macs_total": None if is_open else cut.macs_total,
                "crossing_tensors": cut.crossing,
                "legal": cut.legal,
                "reason": cut.reason,
                **_support_data(support.get(cut.name)),
            }
            for cut in rows
        ],
    }

    def show(console: Console) -> None:
        columns = [
            ("cut", "left"), ("shape", "right"), ("bytes", "right"), ("MACs before", "right"),
            ("share", "right"), ("live", "right"),
            *([("C", "left")] if looked else []), ("legal", "left"),
        ]  # fmt: skip
        cells = [
            (
                cut.name,
                "x".join("?" if size < 0 else str(size) for size in cut.shape),
                "?" if -1 in cut.shape else f"{cut.bytes:,}",
                "?" if is_open else f"{cut.macs_before:,}",
                "?" if is_open else f"{cut.macs_before / max(1, cut.macs_total):.0%}",
                str(cut.crossing),
                *([str(support.get(cut.name, "-"))] if looked else []),
                "yes" if cut.legal else f"no: {cut.reason}",
            )
            for cut in rows
        ]
        console.print(table("", columns, cells))

    Output(json).result(data, show)


def _support_data(support: CutSupport | None) -> dict[str, Any]:
    """What generated C lacks, for JSON; null where nobody looked or the cut is not legal."""
    if support is None:
        return {"generated_c": None, "unsupported": None, "no_int8": None}
    return {
        "generated_c": support.generated,
        "unsupported": [
            {"operator": found.operator, "count": found.count, "why": found.why}
            for found in support.operators
        ],
        "no_int8": support.reason or None,
    }


def _sizes(shape: tuple[int, ...]) -> list[int | None]:
    """A shape for JSON; null for an open dimension."""
    return [None if size < 0 else size for size in shape]


def generate(
    model: ModelArgument,
    cut: Annotated[str, typer.Option(help="Tensor to cut at; `isthmus cuts` lists them.")],
    calibration: Annotated[Path, typer.Option(help=".npz with x, or packed pictures.")],
    out: Annotated[Path, typer.Option(help="Directory of the bundle.")],
    target: Annotated[str, typer.Option(help="Target name or TOML file.")] = "host",
    codec: Annotated[
        str, typer.Option(help="lightweight, near-lossless or bottleneck.")
    ] = "lightweight",
    bounds: Annotated[
        str | None,
        typer.Option(
            help="near-lossless: D, or D,D,... for a ladder; no decoded value is further than D of "
            "256 steps from the device's; 0 by default, which is lossless."
        ),
    ] = None,
    min_max: Annotated[
        str,
        typer.Option(help="near-lossless from floats: minimum and maximum per tensor or channel."),
    ] = "tensor",
    channels: Annotated[int | None, typer.Option(help="bottleneck: its channels; 1..1024.")] = None,
    stride: Annotated[
        int | None, typer.Option(help="bottleneck: its sides are smaller by this; 1..16; else 2.")
    ] = None,
    trained: Annotated[
        Path | None,
        typer.Option(help="bottleneck: a network that `isthmus bottleneck` wrote; else trained."),
    ] = None,
    rate_weight: Annotated[
        float, typer.Option(help="bottleneck: what a bit of a frame costs in the training's loss.")
    ] = 1e-4,
    bottleneck_epochs: Annotated[
        int, typer.Option(help="bottleneck: passes of its training over the calibration set.")
    ] = 20,
    work: Annotated[
        Path | None,
        typer.Option(help="bottleneck: folder where an interrupted training goes on."),
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option(help="N, or N,N,... for a ladder of rungs; 2..256; 4 by default."),
    ] = None,
    rungs: Annotated[
        int | None,
        typer.Option(help="Find a ladder of so many rungs by measuring accuracy and rate; 1..8."),
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            help="The first rung is the cheapest that loses at most so many points of accuracy; "
            "without labels, of answers that stay the same."
        ),
    ] = None,
    scheme: Annotated[
        str,
        typer.Option(
            help="The coder's contexts: neighbour (chosen by neighbours and channel, trained), or "
            "paper (one for each bin; least code)."
        ),
    ] = "neighbour",
    context_bytes: Annotated[
        int, typer.Option(help="RAM for contexts, bytes; 0: what the target says.")
    ] = 0,
    clip: Annotated[
        str, typer.Option(help="model, empirical, aciq, C_MAX or C_MIN:C_MAX.")
    ] = "model",
    c_min: Annotated[
        str,
        typer.Option(
            help="auto (zero if rectified or never negative, else free), zero, or free "
            "(rules model and empirical)."
        ),
    ] = "auto",
    quantizer: Annotated[str, typer.Option(help="uniform, ecsq or ecsq-zero.")] = "uniform",
    lam: Annotated[
        float | None, typer.Option("--lambda", help="Lambda of ECSQ, features squared per bit.")
    ] = None,
    rate_term: Annotated[str, typer.Option(help="ECSQ's rate: entropy or unary.")] = "entropy",
    values: Annotated[
        str, typer.Option(help="Reconstruction: published grid, or centroid of each cell.")
    ] = "published",
    preprocess: Annotated[
        str, typer.Option(help="none, unit (x/255), signed (x/127.5-1) or SCALE,OFFSET.")
    ] = "none",
    slice_rows: Annotated[
        int, typer.Option(help="Rows of a slice (14 bytes of header each); 0: one slice.")
    ] = 0,
    mtu: Annotated[
        int,
        typer.Option(
            help="Cut frames into packets of at most so many bytes (12 of header each), decodable "
            "alone; 0: do not."
        ),
    ] = 0,
    element: Annotated[
        str, typer.Option(help="Elements on the device: auto, int8, int16 or float32.")
    ] = "auto",
    back: Annotated[
        Path | None, typer.Option(help="A back half of your own: .tflite, .keras or .onnx.")
    ] = None,
    rounding: Annotated[str, typer.Option(help="Rounding profile: tflm or litert.")] = "tflm",
    stream_rows: Annotated[
        bool,
        typer.Option(
            "--stream-rows",
            help="Run the last layers of the front half and the coder row by row: less RAM where "
            "the feature tensor counts, the same frames.",
        ),
    ] = False,
    restorer: Annotated[
        str,
        typer.Option(
            help="How the host restores features: none, centroids, conv (a network trained on the "
            "calibration set; minutes), or auto: the best of them. The frames are the same."
        ),
    ] = "none",
    restorer_epochs: Annotated[
        int, typer.Option(help="Passes over the calibration set in the network's training.")
    ] = 6,
    restorer_loss: Annotated[
        float, typer.Option(help="Train the network with this share of slices missing; 0..0.9.")
    ] = 0.0,
    reconstruct_input: Annotated[
        bool,
        typer.Option(
            "--reconstruct-input",
            help="Also train a decoder from decoded features to the input's picture (minutes), for "
            "a server's page and the report. The frames are the same.",
        ),
    ] = False,
    picture_epochs: Annotated[
        int, typer.Option(help="Passes over the calibration set in that decoder's training.")
    ] = 20,
    class_names: Annotated[
        Path | None,
        typer.Option(help="Names of the classes, one a line, for a server's answers."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Calibration inputs to use; 0: all.")] = 0,
    vectors: Annotated[int, typer.Option(help="Inputs kept as bring-up vectors.")] = 2,
    ray: Annotated[
        str,
        typer.Option(
            help="Calibrate on a Ray cluster: local, auto or HOST:PORT. The bundle is the same."
        ),
    ] = "",
    json: JsonOption = False,
) -> None:
    """Calibrate, quantise, cut and emit: writes a bundle with firmware and back half.

    \b
    Example:
        isthmus generate resnet8.keras --cut activation_4 --calibration pictures.npz \\
            --target cortex-m4f --levels 4,8 --out resnet8
    """
    from isthmus_gen.options import make_options, parse_bounds, parse_levels
    from isthmus_gen.pipeline import generate as run

    options = make_options(
        {
            "model": model,
            "cut": cut,
            "calibration": calibration,
            "out": out,
            "target": target,
            "codec": codec,
            "min_max": min_max,
            **({} if bounds is None else {"bounds": parse_bounds(bounds)}),
            **({} if levels is None else {"levels": parse_levels(levels)}),
            "channels": channels,
            "stride": stride,
            "trained": trained,
            "rate_weight": rate_weight,
            "bottleneck_epochs": bottleneck_epochs,
            "rungs": rungs,
            "max_loss": max_loss,
            "scheme": scheme,
            "context_bytes": context_bytes,
            "clip": clip,
            "c_min": c_min,
            "quantizer": quantizer,
            "lam": lam,
            "rate_term": rate_term,
            "values": values,
            "preprocess": preprocess,
            "slice_rows": slice_rows,
            "mtu": mtu,
            "element": element,
            "back": back,
            "rounding": rounding,
            "stream_rows": stream_rows,
            "restorer": restorer,
            "restorer_epochs": restorer_epochs,
            "restorer_loss": restorer_loss,
            "reconstruct_input": reconstruct_input,
            "picture_epochs": picture_epochs,
            "class_names": class_names,
            "limit": limit,
            "vectors": vectors,
        }
    )
    with progress_bar() as progress:
        made = run(options, progress, ray=ray, work=work)
    data = {"out": str(out), **made.report}
    Output(json).result(data, lambda console: show_report(console, out, made.report))


def show_report(console: Console, out: Path, report: dict[str, Any]) -> None:
    """A short account of a bundle that was written."""
    shape = "x".join(str(size) for size in report["tensor_shape"])
    console.print(
        f"{report['model']} cut at {report['cut']}: {shape} {report['tensor_dtype']}, "
        f"{report['macs_before']:,} of {report['macs_total']:,} MACs in front"
    )
    console.print(rung_table(report["rungs"]))
    if grid := grid_line(report["rungs"]):
        console.print(grid)
    if "ladder" in report:
        _show_front(console, report["ladder"])
    if report.get("footprint_measured"):
        sizes = [
            f"{name} {report[key]:,}"
            for name, key in (
                ("flash", "flash_bytes"), ("RAM", "ram_bytes"), ("stack", "stack_bytes"),
            )
            if report.get(key) is not None
        ]  # fmt: skip
        console.print(f"{report['target']}: {', '.join(sizes)} bytes ({report['compiler']})")
    for index, entry in enumerate(report.get("restorer", {}).get("rungs", [])):
        held = ", ".join(f"{name} {value:.4g}" for name, value in entry["held_out"].items())
        console.print(f"restorer of rung {index}: {entry['used']} (divergence held out: {held})")
    for index, entry in enumerate(report.get("picture", {}).get("rungs", [])):
        alike = "" if entry["ssim"] is None else f", SSIM {entry['ssim']:.3f}"
        console.print(
            f"picture from rung {index}: PSNR {entry['psnr_db']:.2f} dB{alike} on inputs held out: "
            "the features reveal the picture"
        )
    if "arena_bytes" in report:
        arena, bound = report["arena_bytes"], report["arena_lower_bound_bytes"]
        console.print(f"arena of the front half: {arena:,} bytes (lower bound {bound:,})")
    for note in report["notes"]:
        console.print(f"note: {note}")
    console.print(f"bundle {report['digest'][:16]} -> {out}")


def _show_front(console: Console, ladder: dict[str, Any]) -> None:
    """What the rungs were chosen from."""
    from isthmus_gen.evaluate.ladder import FRONT_HEAD, front_rows

    console.print(
        f"front of {ladder['candidates']} quantisers on {ladder['inputs']:,} inputs; loss: "
        f"{ladder['measure_text']}"
    )
    columns = [(name, "left" if "range" in name else "right") for name in FRONT_HEAD]
    console.print(table("", columns, [tuple(row) for row in front_rows(ladder)]))


def targets(json: JsonOption = False) -> None:
    """List the targets: cores, boards, and what they hold.

    \b
    Example:
        isthmus targets --json
    """
    from isthmus_gen.targets import list_targets, load_target

    loaded = [load_target(name) for name in list_targets()]
    rows: list[dict[str, Any]] = [
        {
            "name": target.name,
            "title": target.title,
            "core": target.core,
            "flash_bytes": None if target.memory is None else target.memory.flash_bytes,
            "ram_bytes": None if target.memory is None else target.memory.ram_bytes,
            "stack_bytes": None if target.memory is None else target.memory.stack_bytes,
        }
        for target in loaded
    ]

    def show(console: Console) -> None:
        def size(value: int | None) -> str:
            return "-" if value is None else f"{value // 1024:,} KB"

        cells = [
            (t["name"], t["title"], size(t["flash_bytes"]), size(t["ram_bytes"])) for t in rows
        ]
        columns = [("target", "left"), ("what", "left"), ("flash", "right"), ("RAM", "right")]
        console.print(table("", columns, cells))

    Output(json).result({"targets": rows}, show)
