"""What the benchmark makes of its rows, and that it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.bottleneck import STAGES, Row
from benchmarks.bottleneck_text import (
    best_within,
    bytes_at,
    compare,
    data_bytes,
    failures,
    lost_points,
    text_of,
)

ROOT = Path(__file__).resolve().parents[2]
OURS = Row(
    2, "isthmus a", "isthmus", (8, 8, 4), 8400, 1000, 62.0, None, 900.0, 500.0,
    0.83, 0.85, 30, 10, 5000, 10, 1.0,
)  # fmt: skip
LARGER = replace(OURS, point="isthmus b", bytes=92.0, accuracy=0.84, lost=12, gained=2)
JPEG = replace(
    OURS, point="jpeg", coder="jpeg", bytes=100.0, file_bytes=400.0, accuracy=0.835, lost=20,
    gained=5,
)  # fmt: skip


def test_lost_points() -> None:
    """30 lost and 10 gained of 1,000: two points; the deviation of -1, 0, 1 by hand."""
    mean, error = lost_points(OURS)
    assert mean == 2.0
    assert error == pytest.approx(100 * ((0.04 - 0.02**2) / 1000) ** 0.5)


def test_bytes_at_an_accuracy() -> None:
    rows = [LARGER, OURS]
    assert (data_bytes(OURS), data_bytes(JPEG)) == (50.0, 100.0)
    assert bytes_at(rows, 0.835) == pytest.approx(65.0)  # half way between 50 and 80
    assert bytes_at(rows, 0.80) == 50.0
    assert bytes_at(rows, 0.841) is None
    worse = replace(OURS, bytes=80.0, accuracy=0.82)  # more bytes, fewer right: on no line
    assert bytes_at([*rows, worse], 0.835) == pytest.approx(65.0)


def test_targets() -> None:
    """At most two points lost: ours 50 bytes of data, JPEG's 100 (1.5 points lost)."""
    assert best_within([LARGER, OURS, JPEG], 2) == OURS
    assert best_within([LARGER, OURS, JPEG], 2, "jpeg") == JPEG
    assert failures([LARGER, OURS, JPEG]) == []
    assert compare([LARGER, OURS, JPEG], 2) == [(JPEG, pytest.approx(65.0))]
    too_many = [replace(row, raw=4000) for row in (LARGER, OURS)]
    assert failures(too_many) == ["stage 2: 62.0 bytes are more than 1/84 of 4000"]
    assert failures([LARGER, OURS, replace(JPEG, bytes=70.0)]) == [  # 65 at its accuracy
        "stage 2: 0.93 of the bytes of jpeg"
    ]
    assert failures([OURS, JPEG]) == ["stage 2: no point of ours is as accurate as jpeg"]
    assert failures([replace(OURS, lost=31)]) == [
        "stage 2: no point of ours loses at most 2 points"
    ]


def test_the_section() -> None:
    text = text_of([OURS, LARGER, JPEG])
    assert "1/84 of them 100 bytes" in text
    assert "| isthmus a | 8x8x4 | 62.0 | 50.0 | - | 135 | 49.5 | 83.00 | 2.00 ± 0.63 |" in text
    assert "jpeg: 0.65, with our header 0.77." in text
    assert "JPEG is not measured here yet." in text_of([OURS, LARGER])
    assert "No point of JPEG loses so little." in text_of([OURS, replace(JPEG, lost=26)])
    assert "ours are 0.50 of it data to data, and 0.62 with our header" in text


def test_points_have_names_of_their_own() -> None:
    for stage in STAGES:
        names = [point.words for point in stage.points]
        assert len(set(names)) == len(names)
        assert {point.plan.coder for point in stage.points} == {"isthmus", "jpeg"}


def test_what_was_measured_is_what_is_written() -> None:
    """Rows are those of points, the section is that of the rows and tells what is amiss.

    Points that are not measured yet have no row: ``make bottleneck-figures`` goes on with them.
    """
    from benchmarks.bottleneck import load_rows
    from benchmarks.sections import read_section

    rows = load_rows()
    points = [(stage.number, point.words) for stage in STAGES for point in stage.points]
    there = [(row.stage, row.point) for row in rows]
    assert there
    assert there == [point for point in points if point in there]
    stored = json.loads((ROOT / "benchmarks" / "results" / "bottleneck.json").read_bytes())
    assert len(stored["rows"]) == len(rows)
    section = read_section(ROOT / "benchmarks" / "RESULTS.md", "bottleneck")
    assert section == text_of(rows).strip()
    assert [line[2:] for line in section.splitlines() if line.startswith("- ")] == failures(rows)


def test_it_runs(data_dir: Path) -> None:
    """One point of each coder after stage 3, one pass, a few pictures; nothing is kept."""
    before = (ROOT / "benchmarks" / "results" / "bottleneck.json").read_bytes()
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.bottleneck", "--quick", "--json", "--stage", "3"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    rows = json.loads(ran.stdout)
    assert {row["coder"] for row in rows} == {"isthmus", "jpeg"}
    assert all(row["inputs"] == 64 and row["bytes"] > 0 for row in rows)
    assert (ROOT / "benchmarks" / "results" / "bottleneck.json").read_bytes() == before
