"""``isthmus key``: the key of one device, for its firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from isthmus.cli.console import Output

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("key")(key)


def key(
    secret_file: Annotated[Path, typer.Option(help="The fleet's secret: hex digits, or raw.")],
    device: Annotated[int, typer.Option(min=0, max=0xFFFFFFFF, help="The device's number.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print a device's key, as hex and as a C array: what its firmware signs with.

    \b
    Example:
        isthmus key --secret-file fleet.secret --device 7
    """
    from isthmus.server.keys import device_key, read_secret

    made = device_key(read_secret(secret_file), device)

    def show(console: Console) -> None:
        console.print(f"/* device {device}: {made.hex()} */")
        console.print(c_array(made))

    Output(json).result({"device": device, "key": made.hex(), "c": c_array(made)}, show)


def c_array(key_bytes: bytes) -> str:
    """``key_bytes`` as a definition in C, eight to a line."""
    lines = [
        "    " + ", ".join(f"0x{value:02x}" for value in key_bytes[at : at + 8]) + ","
        for at in range(0, len(key_bytes), 8)
    ]
    return "\n".join([f"static const uint8_t device_key[{len(key_bytes)}] = {{", *lines, "};"])
