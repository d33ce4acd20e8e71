"""SIGKILL in mid-stream: the short form of `python -m benchmarks.mqtt_kill`, and its own checks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import mqtt_kill
from benchmarks.mqtt_broker import running_broker
from served import Served


def test_a_killed_server_answers_every_acknowledged_frame(
    require_tool: Callable[[str], str], tmp_path: Path, digits: Served
) -> None:
    frames = mqtt_kill.make_frames(digits.path, 1000)
    assert len({(frame.device, frame.sequence) for frame in frames}) == 1000
    with running_broker(require_tool("mosquitto"), tmp_path) as broker:
        command = mqtt_kill.server_command(digits.path, broker.port, tmp_path)
        counts = asyncio.run(
            mqtt_kill.run_kills(command, broker.port, frames, 3, 2000.0, patience_s=10.0)
        )
    assert counts.kills == 3
    assert min(counts.waiting) >= 1
    assert counts.acknowledged == counts.answered == 1000
    assert (counts.unanswered, counts.refused, counts.wrong) == (0, 0, 0)
    assert counts.good


def test_a_server_that_forgets_its_session_loses_frames_and_it_shows(
    require_tool: Callable[[str], str], tmp_path: Path, digits: Served
) -> None:
    """The count can fail: without a session what comes between two servers is lost."""
    frames = mqtt_kill.make_frames(digits.path, 300)
    with running_broker(require_tool("mosquitto"), tmp_path) as broker:
        command = mqtt_kill.server_command(digits.path, broker.port, tmp_path)
        config = tmp_path / "server.toml"
        text = config.read_text().replace("[mqtt]", "[mqtt]\nsession_expiry_s = 0")
        config.write_text(text)
        counts = asyncio.run(
            mqtt_kill.run_kills(command, broker.port, frames, 1, 1000.0, patience_s=3.0)
        )
    assert counts.kills == 1
    assert counts.acknowledged == 300
    assert counts.unanswered > 0
    assert not counts.good


@pytest.mark.parametrize(("field", "value"), [("unanswered", 1), ("wrong", 1), ("refused", 1)])
def test_anything_missing_is_no_success(field: str, value: int) -> None:
    assert mqtt_kill.Counts(10).good
    assert not mqtt_kill.Counts(10, **{field: value}).good


def test_the_recorded_run_is_the_long_one(repo_root: Path) -> None:
    found = json.loads((repo_root / "benchmarks" / "results" / "mqtt_kill.json").read_text())
    assert (found["frames"], found["kills"]) == (10_000, 20)
    assert found["acknowledged"] == found["answered"] == 10_000
    assert (found["unanswered"], found["refused"], found["wrong"]) == (0, 0, 0)
    assert len(found["waiting"]) == 20
