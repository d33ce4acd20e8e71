"""The benchmark that recomputes the published tables: what it prints, and that it can fail."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[2] / "benchmarks" / "paper_tables.py"


@pytest.fixture
def tables() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("paper_tables_under_test", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_every_figure_agrees(tables: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main(["--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["agree"] == report["total"] == len(report["figures"])
    found = {(f["table"], f["name"]): f["found"] for f in report["figures"]}
    assert found["activation model", "YOLOv3 layer 12, lam"] == "2.3899515"
    assert found["c_max, c_min = 0", "ResNet-50 layer 21, N = 8"] == "12.492"
    assert found["ECSQ", "runs in which J never rises"] == "120 of 120"
    assert {f["mark"] for f in report["figures"]} == {"R", "D"}


def test_a_figure_that_disagrees_is_named(
    tables: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ECSQ_LEVELS", ())
    monkeypatch.setattr(tables, "RANGES", {})
    monkeypatch.setitem(tables.UNIT_RANGES, 4, "3.486402")
    assert tables.main([]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "DISAGREES" in line]
    assert len(lines) == 1
    assert lines[0].split() == ["z_N", "N", "=", "4", "D", "3.486402", "3.486401", "DISAGREES"]
