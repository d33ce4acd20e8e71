"""What no one foresaw: its exit code, its line; and the mode of what is written."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from isthmus.cli import app, frames


def broken(*_: object) -> None:
    raise ZeroDivisionError("division\nby zero")


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_defect_is_no_mismatch(
    digits: Any, isth: Any, frame: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """70, not Python's 1: that is what firmware and reference that differ end with."""
    monkeypatch.delenv("ISTHMUS_TRACEBACK", raising=False)
    monkeypatch.setattr(frames, "_read", broken)
    ran = isth("inspect", frame, *words)
    assert ran.code == 70
    line = "internal error: ZeroDivisionError: division by zero; set ISTHMUS_TRACEBACK=1 to see"
    assert ran.err == f"error: isthmus: {line} where\n"
    if words:
        assert ran.data["error"]["name"] == "internal"
        assert ran.data["error"]["what"] == "ZeroDivisionError: division by zero"
    else:
        assert ran.out == ""


def test_where_a_defect_is(isth: Any, frame: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_TRACEBACK", "1")
    monkeypatch.setattr(frames, "_read", broken)
    ran = isth("inspect", frame)
    assert ran.code == 70
    assert ran.err.startswith("Traceback")
    assert "in broken" in ran.err
    assert ran.err.splitlines()[-1].startswith("error: isthmus: internal error: ZeroDivision")


def test_a_defect_in_a_package_s_commands(isth: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that adds commands and cannot be imported."""
    monkeypatch.setattr(app, "entry_points", broken_entry_points)
    assert isth("inspect", "x").code == 70


def broken_entry_points(group: str) -> None:
    raise ImportError(f"no {group}")


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_outputs_honour_the_umask(
    digits: Any, isth: Any, frame: Path, tensor: Path, tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        assert isth("decode", digits.bundle, frame, "--out", tmp_path / "out.npy").code == 0
        assert isth("encode", digits.bundle, tensor, "--out", tmp_path / "out.isth").code == 0
    finally:
        os.umask(before)
    for name in ("out.npy", "out.isth"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask
