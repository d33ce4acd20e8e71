"""``isthmus serve``: the decoding server beside a bundle."""

from __future__ import annotations

import json as json_text
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.errors import MissingExtraError, OptionError

if TYPE_CHECKING:
    from isthmus.server.ray_run import RayRunning
    from isthmus.server.run import Running

__all__ = ["register"]

_EXTRA = 'pip install "isthmus[serve]"'


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("serve")(serve)


def serve(
    bundles: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]BUNDLE...", help="Bundles; several generations of a name may be given."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; see docs/server.md.")] = None,
    host: Annotated[str | None, typer.Option(help="Address of HTTP, gRPC and UDP.")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port; 0 takes a free one.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC port; -1: no gRPC.")] = None,
    udp_port: Annotated[int | None, typer.Option(help="Take datagrams on this port.")] = None,
    mqtt: Annotated[str | None, typer.Option(help="Broker: HOST or HOST:PORT.")] = None,
    mqtt_root: Annotated[str | None, typer.Option(help="First part of the topics.")] = None,
    serial: Annotated[
        list[str] | None, typer.Option(metavar="PORT[:BAUD]", help="Serial port of a board.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local, or ray: spread over a Ray cluster.")
    ] = "local",
    allow_open: Annotated[
        bool,
        typer.Option("--allow-open", help="Listen beyond loopback without tokens or keys."),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object with the ports once it serves.")
    ] = False,
) -> None:
    """Take coded frames from boards, decode, batch, run the back half and answer.

    \b
    Example:
        isthmus serve digits
        isthmus serve digits --mqtt localhost:1883 --udp-port 8082
        isthmus serve resnet=out/v1 resnet=out/v2 --config server.toml
    """
    try:
        from isthmus.server.config import load_config
        from isthmus.server.logs import configure_logs
        from isthmus.server.run import run
    except ImportError as error:
        raise MissingExtraError(str(error.name), "is not installed", remedy=_EXTRA) from error
    if engine not in ("local", "ray"):
        raise OptionError("--engine", f"is {engine!r:.40}", allowed="local, ray")
    overrides = _overrides(
        bundles, host, port, grpc_port, udp_port, mqtt, mqtt_root, serial, allow_open
    )
    settings = load_config(config, **overrides)
    configure_logs(settings.log)
    if engine == "ray":
        try:
            from isthmus.server.ray_run import run_ray
        except ImportError as error:
            raise MissingExtraError(
                str(error.name), "is not installed", remedy='pip install "isthmus[ray]"'
            ) from error
        run_ray(settings, _announcer(json))
        return
    try:
        run(settings, _announcer(json))
    except ImportError as error:  # what a link needs is imported where it is opened
        raise MissingExtraError(str(error.name), "is not installed", remedy=_EXTRA) from error


def _announcer(json: bool) -> Any:
    def started(server: Running | RayRunning) -> None:
        """Tells the ports: one line, for people or for programs."""
        if json:
            line = json_text.dumps({"ports": server.ports, "models": _models(server)})
        else:
            config = server.service.config
            names = ", ".join(f"{m['name']} {m['version']}" for m in _models(server))
            places = ", ".join(f"{link} {port}" for link, port in sorted(server.ports.items()))
            line = f"serving {names} on {config.http.host}: {places}"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    return started


def _models(server: Running | RayRunning) -> list[dict[str, str]]:
    return [{"name": m.name, "version": m.version} for m in server.service.fleet.models()]


def _overrides(
    bundles: list[str] | None,
    host: str | None,
    port: int | None,
    grpc_port: int | None,
    udp_port: int | None,
    mqtt: str | None,
    mqtt_root: str | None,
    serial: list[str] | None,
    allow_open: bool,
) -> dict[str, Any]:
    """The command line as sections of the configuration."""
    out: dict[str, Any] = {}
    if bundles:
        out["bundles"] = [_bundle(text) for text in bundles]
    out["http"] = _given(host=host, port=port)
    out["grpc"] = {"enabled": False} if grpc_port == -1 else _given(host=host, port=grpc_port)
    if udp_port is not None:
        out["udp"] = _given(host=host, port=udp_port)
    out["mqtt"] = _given(**_broker(mqtt), root=mqtt_root)
    if serial:
        out["serial"] = [_serial(text) for text in serial]
    if allow_open:
        out["security"] = {"allow_open": True}
    return {name: section for name, section in out.items() if section}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _bundle(text: str) -> dict[str, Any]:
    name, equals, path = text.partition("=")
    if equals and "/" not in name:
        return {"name": name, "path": path}
    return {"path": text}


def _broker(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::([0-9]{1,5}))?", text)
    if found is None:
        raise OptionError("--mqtt", f"is {text!r:.80}", allowed="HOST, HOST:PORT or [IPv6]:PORT")
    number = found[3]
    return _given(host=found[1] or found[2], port=int(number) if number else None)


def _serial(text: str) -> dict[str, Any]:
    port, colon, baud = text.rpartition(":")
    if colon and baud.isdecimal():
        return {"port": port, "baud": int(baud)}
    return {"port": text}
