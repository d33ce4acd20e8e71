"""The kept figures of the server, and that RESULTS.md prints them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import mqtt_kill, server_load_text, server_soak_text
from benchmarks.sections import read_section

#: How each benchmark's section is made of its results.
SECTIONS = {
    "server_load": server_load_text.section,
    "mqtt_kill": mqtt_kill.section,
    "server_soak": server_soak_text.section,
}


def kept(root: Path, name: str) -> dict[str, Any]:
    """The results of a benchmark."""
    path = root / "benchmarks" / "results" / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
    return found


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_the_section_is_printed_from_the_kept_figures(repo_root: Path, name: str) -> None:
    printed = read_section(repo_root / "benchmarks" / "RESULTS.md", name)
    assert printed == SECTIONS[name](kept(repo_root, name)).strip()


def test_what_the_server_reaches(repo_root: Path) -> None:
    found = kept(repo_root, "server_load")
    most = {name: rows[-1]["frames_per_s"] for name, rows in found["servers"].items()}
    assert set(most) == {"isthmus", "identity", "fastapi", "fastapi2", "litserve"}
    ahead = sorted(n for n in ("fastapi", "fastapi2", "litserve") if most["isthmus"] > most[n])
    assert found["ahead_of"] == ahead
    assert {"fastapi", "litserve"} <= set(ahead)
    assert found["share_of_bare"] >= 0.8
    assert all(
        row["clients"] == c
        for rows in found["servers"].values()
        for row, c in zip(rows, (1, 16, 64), strict=True)
    )


def test_every_acknowledged_frame_was_answered(repo_root: Path) -> None:
    found = kept(repo_root, "mqtt_kill")
    assert (found["frames"], found["kills"]) == (10_000, 20)
    assert found["acknowledged"] == found["answered"] == 10_000
    assert (found["unanswered"], found["wrong"], found["refused"]) == (0, 0, 0)
