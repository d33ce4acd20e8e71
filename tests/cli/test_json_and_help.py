"""What every command prints: one JSON object with known keys, complete tables, complete help."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

COMMANDS = (
    "cuts", "generate", "verify", "evaluate", "encode", "decode", "inspect", "key",
    "targets", "demo",
)  # fmt: skip
SNAKE = re.compile(r"[a-z][a-z0-9_]*")


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(_keys(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(_keys(item) for item in value))
    return set()


def _snake(data: dict[str, Any]) -> None:
    wrong = sorted(key for key in _keys(data) if not SNAKE.fullmatch(key))
    assert not wrong


def test_cuts(digits: Any, isth: Any) -> None:
    ran = isth("cuts", digits.model, "--json")
    assert (ran.code, ran.err) == (0, "")
    _snake(ran.data)
    assert ran.data["input_shape"] == [8, 8, 1]
    rows = {row["name"]: row for row in ran.data["cuts"]}
    stage2 = rows["stage2"]
    assert (stage2["shape"], stage2["elements"], stage2["bytes"]) == ([4, 4, 32], 512, 512)
    assert stage2["legal"] is True
    assert stage2["crossing_tensors"] == 1
    # 3x3 and 1x1 convolutions of the network's own sizes, and its dense layer, by hand
    stem = 64 * 9 * 1 * 16
    stage1 = 2 * 64 * 9 * 16 * 16
    tail = 16 * 9 * 16 * 32 + 16 * 9 * 32 * 32 + 16 * 16 * 32
    last = 2 * 4 * 9 * 32 * 32 + 4 * 32 * 32
    assert stage2["macs_before"] == stem + stage1 + tail
    assert stage2["macs_total"] == stem + stage1 + tail + last + 32 * 10
    inside = rows["stage2_conv1"]
    assert inside["legal"] is False
    assert inside["crossing_tensors"] == 2
    assert "stage1" in inside["reason"]


def test_generate(digits: Any, isth: Any, tmp_path: Path) -> None:
    ran = isth(*digits.generate(tmp_path / "out", limit=16, levels="4,2"), "--json")
    assert (ran.code, ran.err) == (0, "")
    _snake(ran.data)
    wanted = {
        "model", "cut", "target", "digest", "macs_before", "macs_total", "tensor_shape",
        "tensor_elements", "tensor_dtype", "calibration_inputs", "rungs", "flash_bytes",
        "ram_bytes", "stack_bytes", "arena_bytes", "notes", "out",
    }  # fmt: skip
    assert wanted <= set(ran.data)
    assert [rung["levels"] for rung in ran.data["rungs"]] == [4, 2]
    assert ran.data["calibration_inputs"] == 16


def test_verify(digits: Any, isth: Any) -> None:
    ran = isth("verify", digits.bundle, "--target", "host", "--inputs", 3, "--rung", 1, "--json")
    assert (ran.code, ran.err) == (0, "")
    _snake(ran.data)
    assert set(ran.data) == {"targets"}
    (row,) = ran.data["targets"]
    wanted = {
        "name", "mismatches_front", "mismatches_bytes", "inputs", "front_instructions",
        "encode_instructions_per_element", "flash_bytes", "ram_bytes", "stack_bytes",
    }  # fmt: skip
    assert wanted <= set(row)
    assert (row["name"], row["inputs"]) == ("host", 3)
    assert (row["mismatches_front"], row["mismatches_bytes"]) == (0, 0)


def test_verify_emulated(digits: Any, isth: Any, require_package: Any) -> None:
    require_package("unicorn")
    require_package("ziglang")
    ran = isth(
        "verify", digits.bundle, "--target", "cortex-m4f", "--data", digits.test, "--inputs", 2,
        "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    (row,) = ran.data["targets"]
    assert (row["mismatches_front"], row["mismatches_bytes"]) == (0, 0)
    assert row["front_instructions"] > 500_000  # the cut has 533,504 MACs in front
    assert 1 < row["encode_instructions_per_element"] < 100
    assert row["flash_bytes"] > 0
    assert row["ram_bytes"] > 0
    assert row["stack_bytes"] > 0


def test_evaluate(digits: Any, isth: Any, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    ran = isth(
        "evaluate", digits.bundle, "--data", digits.test, "--limit", 40, "--report", report,
        "--json",
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    _snake(ran.data)
    data = ran.data
    for key in ("accuracy_whole", "accuracy_halves", "accuracy_front_int8", "accuracy_decoded"):
        assert 0.5 < data[key] <= 1.0
    assert data["inputs"] == 40
    assert data["bits_per_element"] * 512 / 8 == pytest.approx(data["bytes_per_input"])
    assert [rung["levels"] for rung in data["rungs"]] == [4, 2, 8]
    assert report.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html")


def test_evaluate_without_labels_measures_agreement_alone(
    digits: Any, isth: Any, tmp_path: Path
) -> None:
    with np.load(digits.test) as archive:
        np.savez(tmp_path / "x.npz", x=archive["x"][:8])
    ran = isth("evaluate", digits.bundle, "--data", tmp_path / "x.npz", "--json")
    assert ran.code == 0, ran.err
    assert ran.data["accuracy_whole"] is None
    assert ran.data["accuracy_decoded"] is None
    assert any("no labels" in note for note in ran.data["notes"])
    assert " -" in isth("evaluate", digits.bundle, "--data", tmp_path / "x.npz").out


def test_encode_decode_inspect(digits: Any, isth: Any, tensor: Path, tmp_path: Path) -> None:
    frame, features, levels = tmp_path / "f.isth", tmp_path / "f.npy", tmp_path / "l.npy"
    made = isth("encode", digits.bundle, tensor, "--out", frame, "--json")
    assert (made.code, made.err) == (0, "")
    assert set(made.data) == {"frames", "bytes", "bits_per_element", "out"}
    assert made.data["bytes"] == frame.stat().st_size
    assert made.data["bits_per_element"] == 8 * frame.stat().st_size / 512
    assert frame.read_bytes() == (digits.bundle / "vectors" / "0_rung0_frame.bin").read_bytes()

    read = isth("decode", digits.bundle, frame, "--out", features, "--json")
    assert (read.code, read.err) == (0, "")
    assert read.data["shape"] == [4, 4, 32]
    assert (read.data["rungs"], read.data["sequences"]) == ([0], [0])
    assert np.load(features).dtype == np.float32
    assert isth("decode", digits.bundle, frame, "--levels", "--out", levels).code == 0
    kept = (digits.bundle / "vectors" / "0_rung0_levels.bin").read_bytes()
    assert np.load(levels).tobytes() == kept

    seen = isth("inspect", frame, "--bundle", digits.bundle, "--json")
    assert (seen.code, seen.err) == (0, "")
    _snake(seen.data)
    assert seen.data["error"] is None
    assert (
        seen.data["level_counts"] == np.bincount(np.load(levels).reshape(-1), minlength=4).tolist()
    )
    covered = sorted({(row["offset"], row["bytes"]) for row in seen.data["fields"]})
    assert covered[-1][0] + covered[-1][1] == frame.stat().st_size


def test_several_tensors_become_a_directory(digits: Any, isth: Any, tmp_path: Path) -> None:
    batch = np.arange(3 * 512, dtype=np.int64).reshape(3, 4, 4, 32).astype(np.int8)
    np.save(tmp_path / "b.npy", batch)
    made = isth(
        "encode", digits.bundle, tmp_path / "b.npy", "--out", tmp_path / "frames", "--rung", 2,
        "--sequence", 65535, "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    frames = sorted((tmp_path / "frames").iterdir())
    assert len(frames) == made.data["frames"] == 3
    read = isth("decode", digits.bundle, *frames, "--out", tmp_path / "o.npy", "--json")
    assert read.data["sequences"] == [65535, 0, 1]
    assert read.data["rungs"] == [2, 2, 2]
    assert np.load(tmp_path / "o.npy").shape == (3, 4, 4, 32)


def test_inspect_says_why_a_frame_is_refused(digits: Any, isth: Any, frame: Path) -> None:
    data = bytearray(frame.read_bytes())
    data[-1] ^= 1
    frame.write_bytes(bytes(data))
    seen = isth("inspect", frame, "--bundle", digits.bundle, "--json")
    assert seen.code == 3
    assert seen.data["error"]["name"] == "checksum"
    assert "code 8 (checksum)" in isth("inspect", frame, "--bundle", digits.bundle).out


def test_targets(isth: Any, repo_root: Path) -> None:
    ran = isth("targets", "--json")
    _snake(ran.data)
    names = [row["name"] for row in ran.data["targets"]]
    assert names == sorted(path.stem for path in (repo_root / "targets").glob("*.toml"))


def test_tables_are_whole_in_a_pipe(digits: Any, isth_process: Any, isth: Any) -> None:
    """Every row on one line, nothing cut, whatever the terminal of the caller."""
    rows = isth("cuts", digits.model, "--json").data["cuts"]
    out = isth_process("cuts", digits.model).out
    lines = out.splitlines()
    assert len(lines) == len(rows) + 1
    for row, line in zip(rows, lines[1:], strict=True):
        assert line.split()[0] == row["name"]
        assert row["reason"] in line
        assert "…" not in line
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, isth: Any) -> None:
    ran = isth(command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"Usage: isthmus {command}" in ran.out
    options = re.findall(r"^  (--[a-z-]+)(.*(?:\n {8,}.*)*)", ran.out, re.MULTILINE)
    assert "--json" in [name for name, _ in options]
    for name, text in options:
        words = re.sub(r"\[[^]]*\]|\b[A-Z]+\b", "", text)
        assert len(words.split()) >= 2, f"{command} {name} is not described"


def test_help_lists_every_command(isth: Any) -> None:
    ran = isth("--help")
    assert ran.code == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\S", ran.out, re.MULTILINE)


def test_version(isth: Any) -> None:
    from isthmus import __version__

    ran = isth("--version")
    assert (ran.code, ran.err) == (0, "")
    assert __version__ in ran.out


def test_a_reader_that_leaves_is_no_traceback(
    digits: Any, isth: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isthmus.cli import app

    def broken(self: object, *arguments: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("isthmus.cli.console.Output.result", broken)
    monkeypatch.setattr(app.sys, "stderr", type("Sink", (), {"close": lambda self: None})())
    assert app.run(["targets"]) == 141
