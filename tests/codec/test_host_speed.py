"""The kept figures of the host's speed, and how they are made of times.

Speed itself is not measured here: other work on the machine would decide the answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def speed(repo_root: Path) -> Iterator[ModuleType]:
    """The module benchmarks.host_speed."""
    sys.path.insert(0, str(repo_root))
    from benchmarks import host_speed

    yield host_speed
    sys.path.remove(str(repo_root))


@pytest.fixture(scope="module")
def kept(repo_root: Path) -> dict[str, Any]:
    path = repo_root / "benchmarks" / "results" / "host_speed.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
    return found


def test_the_goal_is_met_by_the_kept_figures(speed: ModuleType, kept: dict[str, Any]) -> None:
    decoding = {
        (row["name"], row["threads"]): row["median"]
        for row in kept["rows"]
        if row["task"] == "decode" and row["name"].startswith(speed.OURS)
    }
    assert set(decoding) == {
        (name, threads)
        for threads in (1, 2)
        for name in (
            "isthmus neighbour",
            "isthmus paper",
            *(f"near-lossless, D = {bound}" for bound in (0, 1, 2, 4)),
        )
    }
    for (name, threads), median in decoding.items():
        assert median >= speed.GOAL * threads
        assert median >= 0.9 * threads * decoding[name, 1]


def test_the_section_is_printed_from_the_kept_figures(
    kept: dict[str, Any], speed: ModuleType, repo_root: Path
) -> None:
    from benchmarks.host_speed_text import section
    from benchmarks.sections import read_section

    assert speed.LEVELS == 4
    printed = read_section(repo_root / "benchmarks" / "RESULTS.md", "host_speed")
    assert printed == section(kept)


def test_every_frame_is_done_once(speed: ModuleType) -> None:
    done: list[int] = []
    for threads in (1, 2):
        done.clear()
        one = speed.Contestant("x", "decode", threads, 1.0, done.extend)
        with ThreadPoolExecutor(2) as pool:
            cpu, wall = speed.timed(one, 7, pool)
        assert sorted(done) == list(range(7))
        assert cpu >= 0
        assert wall > 0


def test_figures_of_times(speed: ModuleType) -> None:
    one = speed.Contestant("x", "decode", 1, 1.25, list)
    speeds = np.array([[10.0, 1.0], [20.0, 2.0], [40.0, 3.0]])
    found = speed.speed_of(one, speeds, np.array([20.0, 20.0, 20.0]))
    assert (found.low, found.median, found.high) == (15.0, 20.0, 30.0)
    assert (found.ratio, found.wall, found.bits) == (1.0, 2.0, 1.25)
