"""``isthmus decode --conceal`` on files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from codec_profiles import level_patterns, make_profile

from isthmus.bundle import make_manifest
from isthmus.cli.app import run
from isthmus.conceal import conceal
from isthmus.conceal_slices import cut_frame
from isthmus.decoder import Decoder

PROFILE = make_profile(4, (6, 3, 2), slice_rows=2)
LEVELS = level_patterns(4, 36, seed=3)["random"].reshape(6, 3, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle ``b``; ``whole.isth``, and ``part.isth`` without its second slice."""
    files = {"profile.json": PROFILE.canonical()}
    (tmp_path / "b").mkdir()
    (tmp_path / "b/profile.json").write_bytes(files["profile.json"])
    (tmp_path / "b/manifest.json").write_bytes(make_manifest(PROFILE, files))
    parts = cut_frame(Decoder(PROFILE, "reference").codec.encode_levels(0, 5, LEVELS))
    (tmp_path / "whole.isth").write_bytes(b"".join(parts))
    (tmp_path / "part.isth").write_bytes(parts[0] + parts[2])
    bad = parts[0] + parts[1][:-1] + bytes([parts[1][-1] ^ 4]) + parts[2]
    (tmp_path / "bad.isth").write_bytes(bad)
    return tmp_path


def decode(folder: Path, names: list[str], *more: str) -> int:
    frames = [str(folder / name) for name in names]
    return run(["decode", str(folder / "b"), *frames, "--out", str(folder / "out.npy"), *more])


@pytest.mark.parametrize("name", ["part.isth", "bad.isth"])
def test_a_missing_slice_is_concealed(folder: Path, name: str, capsys: Any) -> None:
    assert decode(folder, [name], "--conceal", "nearest", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["missing_elements"] == [12]
    assert [error["name"] for error in data["errors"]] == ["checksum"] * (name == "bad.isth")
    mask = np.ones((6, 3, 2), np.bool_)
    mask[2:4] = False
    expected = conceal(LEVELS.astype(np.float32), mask, "nearest")
    assert np.array_equal(np.load(folder / "out.npy"), expected)


def test_whole_frames_are_what_they_were(folder: Path, capsys: Any) -> None:
    assert decode(folder, ["whole.isth", "part.isth"], "--conceal", "auto", "--levels") == 0
    assert "12 of 72 elements concealed" in capsys.readouterr().out
    found = np.load(folder / "out.npy")
    assert np.array_equal(found[0], LEVELS)
    assert np.array_equal(found[1][4:], LEVELS[4:])


def test_without_the_option_it_is_refused(folder: Path, capsys: Any) -> None:
    assert decode(folder, ["part.isth"]) == 3
    assert "frame.slices[1]" in capsys.readouterr().err
    assert not (folder / "out.npy").exists()


def test_an_unknown_method(folder: Path, capsys: Any) -> None:
    assert decode(folder, ["part.isth"], "--conceal", "median") == 2
    assert "--conceal: is 'median'; allowed: auto, restore, zero" in capsys.readouterr().err
