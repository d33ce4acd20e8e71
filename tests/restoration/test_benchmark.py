"""benchmarks.restoration: its reading of rows, and that the kept figures show what they should."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import restoration
from benchmarks.restoration import Row, cheapest, load_rows, text_of
from benchmarks.sections import read_section

CASE = "resnet8_jpeg stage 2"


def _row(design: str, bits: float, lost: float, *, restored: float | None = None) -> Row:
    return Row(
        case="some", design=design, scheme=design.split()[0], elements=8, thresholds=(0.5,),
        inputs=10, accuracy=0.5, bits=bits, values=(lost, 0.1),
        restored=None if restored is None else (restored, 0.1),
    )  # fmt: skip


def test_the_cheapest_within_a_point_counts_the_restorer() -> None:
    rows = [
        _row("paper a", 2.0, 0.9), _row("paper b", 1.0, 1.1), _row("neighbour c", 0.9, 9.0),
        _row("neighbour d", 0.8, 9.0, restored=1.0), _row("neighbour e", 0.7, 9.0, restored=1.01),
    ]  # fmt: skip
    paper, ours = cheapest(rows, "some", "paper"), cheapest(rows, "some", "neighbour")
    assert paper is not None
    assert ours is not None
    assert (paper.design, ours.design) == ("paper a", "neighbour d")
    assert cheapest(rows, "other", "paper") is None
    assert "0.800 (neighbour d): 0.40 of it." in text_of(rows)


def test_unknown_cases_measure_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoration, "RESULTS", tmp_path / "none.json")
    assert restoration.main(["--case", "no such"]) == 0
    assert load_rows(tmp_path / "none.json") == []


def test_the_kept_figures_hold_the_promise(repo_root: Path) -> None:
    rows = load_rows()
    paper, ours = cheapest(rows, CASE, "paper"), cheapest(rows, CASE, "neighbour")
    assert paper is not None
    assert ours is not None
    assert ours.restored is not None
    assert ours.inputs == paper.inputs == 5248
    assert ours.bits <= 0.6 * paper.bits
    written = read_section(repo_root / "benchmarks" / "RESULTS.md", "restoration")
    assert written.strip() == text_of(rows).strip()
