"""docs/fleet.md: its configuration is one, and its commands are."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from isthmus.cli.app import make_app
from isthmus.server.config import MqttConfig
from isthmus.server.simulator.links import LinkOptions, open_link

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^isthmus send .*$", TEXT, re.MULTILINE)


def test_the_configuration_is_one() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    config = MqttConfig(**tomllib.loads(block)["mqtt"])
    assert config.port == 8883
    assert (config.receive_maximum, config.session_expiry_s) == (64, 3600)
    defaults = MqttConfig.model_fields
    assert (defaults["receive_maximum"].default, defaults["session_expiry_s"].default) == (64, 3600)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_options_and_places_that_are(command: str) -> None:
    words = shlex.split(command, comments=True)
    group = typer.main.get_command(make_app())
    known = {name for one in group.commands["send"].params for name in one.opts}  # type: ignore[attr-defined]
    given = {word for word in words if word.startswith("--")}
    assert given <= known
    url = words[words.index("--to") + 1]
    if not url.startswith("https"):  # names a file of certificates
        open_link(LinkOptions(url, "digits", 1))


def test_every_option_of_the_table_is_one() -> None:
    assert len(COMMANDS) == 6
    group = typer.main.get_command(make_app())
    known = {name for one in group.commands["send"].params for name in one.opts}  # type: ignore[attr-defined]
    rows = re.findall(r"^\| (`--.*?) \|", TEXT, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"--[a-z-]+", row)}
    assert len(named) >= 12
    assert named <= known


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
