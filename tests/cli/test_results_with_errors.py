"""Commands that print a result and find something wrong: one JSON object, and the exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.bundle import MANIFEST, Bundle, file_digest, make_manifest
from isthmus.codec.reference import encode_levels
from isthmus_gen.resources import target_root


def _differing(bundle: Path) -> None:
    """The bundle with one level of its C table changed, and a manifest that hides it."""
    source = bundle / "firmware" / "src" / "isth_tables.c"
    text = source.read_text()
    row = text.index("_table_i8[256] = {")
    start = text.index("\n", row) + 1
    # int8 -128 is a zero of the ReLU, level 0, in every tensor
    assert text[start:].lstrip().startswith("0,")
    at = text.index("0,", start)
    source.write_text(f"{text[:at]}1,{text[at + 2 :]}")
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"]["firmware/src/isth_tables.c"] = file_digest(source.read_bytes())
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def test_a_mismatch_is_one_object(digits: Any, isth: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(digits.bundle, bundle)
    _differing(bundle)
    ran = isth("verify", bundle, "--target", "host", "--inputs", 6, "--json")
    assert ran.code == 1
    assert ran.data["targets"][0]["mismatches_bytes"] > 0
    assert ran.data["error"]["name"] == "mismatch"
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1


def test_a_bundle_keeps_the_target_it_was_made_for(digits: Any, isth: Any, tmp_path: Path) -> None:
    text = (target_root() / "host.toml").read_text()
    board = tmp_path / "myboard.toml"
    board.write_text(text.replace('name = "host"', 'name = "myboard"'))
    made = isth(*digits.generate(tmp_path / "own", target=board))
    assert made.code == 0, made.err
    board.unlink()
    ran = isth("verify", tmp_path / "own", "--inputs", 2, "--json")
    assert ran.code == 0, ran.err
    assert [row["name"] for row in ran.data["targets"]] == ["myboard"]


def test_an_added_source_is_refused(digits: Any, isth: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(digits.bundle, bundle)
    (bundle / "firmware" / "src" / "isth_more.c").write_text("int isth_more;\n")
    ran = isth("verify", bundle, "--target", "host", "--inputs", 1)
    assert ran.code == 3
    assert "isth_more.c: was added after the tree was generated" in ran.err


@pytest.fixture(scope="module")
def sliced(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """(the digits bundle with its profile cut into slices of three rows, a frame of it)."""
    from dataclasses import replace

    root = tmp_path_factory.mktemp("sliced") / "bundle"
    shutil.copytree(digits.bundle, root)
    profile = replace(Bundle.open(root).profile, slice_rows=3)
    (root / "profile.json").write_bytes(profile.canonical())
    (root / MANIFEST).write_bytes(make_manifest(profile, {}))
    levels = np.arange(profile.tensor.elements, dtype=np.uint8) % 4
    return root, encode_levels(profile, 0, 7, levels)


def test_every_slice_is_explained(sliced: Any, isth: Any, tmp_path: Path) -> None:
    bundle, frame = sliced
    file = tmp_path / "frame.isth"
    file.write_bytes(frame)
    seen = isth("inspect", file, "--bundle", bundle, "--json")
    assert seen.code == 0, seen.err
    assert seen.data["slices"] == 2
    assert seen.data["header_bytes"] == 28
    assert seen.data["header_bytes"] + seen.data["payload_bytes"] == len(frame)
    assert [row["value"] for row in seen.data["fields"] if row["field"] == "slice"] == [0, 1]
    payloads = [row for row in seen.data["fields"] if row["field"] == "payload"]
    assert payloads[-1]["offset"] + payloads[-1]["bytes"] == len(frame)


@pytest.mark.parametrize(
    ("change", "name"),
    [(lambda f: f[:-1], "truncated"), (lambda f: f + b"\0", "trailing")],
)
def test_wrong_lengths_show_without_a_bundle(
    change: Any, name: str, sliced: Any, isth: Any, tmp_path: Path
) -> None:
    file = tmp_path / "frame.isth"
    file.write_bytes(change(sliced[1]))
    seen = isth("inspect", file, "--json")
    assert seen.code == 3
    assert seen.data["error"]["name"] == name
    assert seen.data["slices"] == 2


def test_a_report_that_cannot_be_written_is_refused_first(
    digits: Any, isth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the evaluation, which may take minutes, and not after it."""

    def never(*arguments: object, **options: object) -> None:
        pytest.fail("the evaluation was started")

    monkeypatch.setattr("isthmus_gen.evaluate.evaluate_bundle", never)
    (tmp_path / "file").write_text("")
    ran = isth(
        "evaluate", digits.bundle, "--data", digits.test, "--report", tmp_path / "file" / "r.html"
    )
    assert ran.code == 3
    assert "cannot be written" in ran.err


def test_a_rule_that_was_changed_is_noted(digits: Any, isth: Any, tmp_path: Path) -> None:
    """The clip rule "model" has no model for pooled features: the user is told what was taken."""
    made = isth(*digits.generate(tmp_path / "pooled", cut="pool", clip="model"), "--json")
    assert made.code == 0, made.err
    assert any("empirical instead of model" in note for note in made.data["notes"])


def test_plots_are_written(digits: Any, isth: Any, tmp_path: Path) -> None:
    ran = isth(
        "evaluate", digits.bundle, "--data", digits.test, "--limit", 40, "--plots", tmp_path / "p"
    )
    assert ran.code == 0, ran.err
    files = sorted((tmp_path / "p").iterdir())
    assert [file.name for file in files] == [
        "bytes.png", "features.png", "levels.png", "rate_accuracy.png",
    ]  # fmt: skip
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert ran.out.count("plot -> ") == 4
