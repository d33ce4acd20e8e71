"""``isthmus send``: a fleet of simulated boards that send to a server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from isthmus.bundle import Bundle
from isthmus.cli.console import Output, table
from isthmus.errors import ConfigError, MissingExtraError, OptionError

__all__ = ["register"]

_EXTRA = 'pip install "isthmus[serve]"'
_DEFAULT_COUNT = 100


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("send")(send)


def send(
    bundle: Annotated[Path, typer.Argument(help="A bundle, as `isthmus generate` writes it.")],
    to: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="http://HOST:PORT, https://, grpc://HOST:PORT, mqtt://HOST:PORT/ROOT, mqtts://, "
            "udp://HOST:PORT or serial:///dev/NAME?baud=115200.",
        ),
    ],
    devices: Annotated[int, typer.Option(min=1, max=100_000, help="Boards.")] = 1,
    rate: Annotated[float, typer.Option(help="Frames a second of each board.")] = 10.0,
    loss: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Probability that a packet or frame is not sent."),
    ] = 0.0,
    count: Annotated[
        int | None, typer.Option(min=1, help="Frames of the whole fleet; default 100.")
    ] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds to send for.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="An .npz with inputs x and classes y; default: the bundle's vectors."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The model's name on the server; default: the directory's.")
    ] = None,
    rung: Annotated[int, typer.Option(min=0, help="Rung of the ladder.")] = 0,
    connections: Annotated[
        int, typer.Option(min=0, help="HTTP, gRPC or MQTT connections; 0: as the link needs.")
    ] = 0,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the losses.")] = 0,
    secret_file: Annotated[
        Path | None, typer.Option(help="The fleet's secret: every unit is sealed.")
    ] = None,
    first_device: Annotated[
        int, typer.Option(min=0, help="Number of the first board, in seals.")
    ] = 1,
    ca: Annotated[Path | None, typer.Option(help="Certificates to trust, for TLS.")] = None,
    username: Annotated[str, typer.Option(help="At the MQTT broker.")] = "",
    password_file: Annotated[Path | None, typer.Option(help="At the MQTT broker.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Simulate boards: the emitted C, built for this machine, on real inputs, over a real link.

    \b
    Example:
        isthmus send digits --to http://127.0.0.1:8080 --devices 100 --rate 5 --duration 10
        isthmus send digits --to udp://127.0.0.1:8082 --loss 0.1 --json
    """
    _positive("--rate", rate)
    _positive("--timeout", timeout)
    if duration is not None:
        _positive("--duration", duration)
    try:
        from isthmus.server.keys import read_secret
        from isthmus.server.simulator.board import Board
        from isthmus.server.simulator.fleet import FleetOptions, run_fleet
        from isthmus.server.simulator.inputs import read_inputs
        from isthmus.server.simulator.links import LinkOptions, open_link
    except ImportError as error:
        raise MissingExtraError(str(error.name), "is not installed", remedy=_EXTRA) from error
    opened = Bundle.open(bundle)
    if rung >= len(opened.profile.rungs):
        raise OptionError("--rung", f"is {rung}", allowed=f"0..{len(opened.profile.rungs) - 1}")
    options = FleetOptions(
        devices=devices,
        rate=rate,
        count=_DEFAULT_COUNT if count is None and duration is None else count,
        duration_s=duration,
        loss=loss,
        seed=seed,
        rung=rung,
        timeout_s=timeout,
        secret=None if secret_file is None else read_secret(secret_file),
        first_device=first_device,
    )
    target = LinkOptions(
        url=to,
        name=name or bundle.resolve().name,
        devices=devices,
        connections=connections,
        ca=ca,
        username=username,
        password=_password(password_file),
        first_number=None if secret_file is None else first_device,
    )
    link = open_link(target)
    board = Board(opened)
    inputs = read_inputs(opened, board, data)
    report = asyncio.run(run_fleet(options, board, inputs, link)).as_dict()
    told = {
        "to": to, "devices": devices, "rate": rate, "loss": loss, "inputs": len(inputs),
        "source": inputs.source, "sealed": options.secret is not None,
    }  # fmt: skip
    Output(json).result({**told, **report}, lambda console: _show(console, told, report))


def _positive(option: str, value: float) -> None:
    if not 0.0 < value < 1e9:
        raise OptionError(option, f"is {value:g}", allowed="more than 0")


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"cannot be read ({error})") from error


def _show(console: Console, told: dict[str, Any], report: dict[str, Any]) -> None:
    rows = [("frames", str(report["frames"])), ("not sent (loss)", str(report["dropped"]))]
    if report["packets_dropped"] != report["dropped"]:
        rows.append(("packets not sent", str(report["packets_dropped"])))
    rows.append(("answered", str(report["answered"])))
    rows += [(f"refused: {name}", str(n)) for name, n in report["refused"].items()]
    rows += [(f"failed: {what}", str(n)) for what, n in report["failed"].items()]
    rows.append(("unanswered", str(report["unanswered"])))
    if report["unexpected_replies"]:
        rows.append(("second or strange replies", str(report["unexpected_replies"])))
    rows.append(("frames a second", f"{report['frames_per_second']:.1f}"))
    for key, what in (("latency_ms", "latency"), ("lag_ms", "simulator's own delay")):
        if report[key]["p50"] is not None:
            values = report[key]
            rows.append((f"{what} p50, p99", f"{values['p50']:.2f} ms, {values['p99']:.2f} ms"))
    if report["accuracy"] is not None:
        rows.append(("right answers", f"{100.0 * report['accuracy']:.1f} %"))
    if report["bits_per_element"] is not None:
        rows.append(("bits an element", f"{report['bits_per_element']:.3f}"))
    title = f"{told['devices']} board(s) to {told['to']}, inputs: {told['source']}"
    console.print(table(title, [("", "left"), ("", "right")], rows))
