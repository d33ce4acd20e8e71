"""Equal options and inputs give equal bytes: in one process, and in two with other hash seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

_PROGRAM = """
import sys
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import generate
model, calibration, out = sys.argv[1:]
generate(make_options({
    "model": model, "cut": "stage2", "calibration": calibration, "out": out,
    "levels": (4, 8), "quantizer": "ecsq", "limit": 32,
}))
"""


def _files(root: Path) -> dict[str, bytes]:
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def test_equal_options_give_equal_bytes(
    network: Any, digits_data: Any, make_bundle: Any, tmp_path: Path
) -> None:
    model, data = network("digits"), digits_data["calibration"]
    first = make_bundle(
        model=model, cut="stage2", calibration=data, out=tmp_path / "a" / "first",
        levels=(4, 8), quantizer="ecsq", limit=32,
    )  # fmt: skip
    reference = _files(first.bundle.path)
    for seed in ("0", "4242"):
        out = tmp_path / f"seed{seed}"
        env = {**os.environ, "PYTHONHASHSEED": seed}
        env["PYTHONPATH"] = os.pathsep.join((str(ROOT / "host"), str(ROOT / "generator")))
        subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(model), str(data), str(out)],
            check=True, env=env, cwd=tmp_path, timeout=300, capture_output=True,
        )  # fmt: skip
        again = _files(out)
        assert list(again) == list(reference)
        different = [name for name in again if again[name] != reference[name]]
        assert not different


def test_no_path_and_no_date_in_the_bundle(
    network: Any, digits_data: Any, make_bundle: Any, tmp_path: Path
) -> None:
    import datetime

    made = make_bundle(
        model=network("digits"), cut="stage2", calibration=digits_data["calibration"],
        out=tmp_path / "somewhere_unusual", limit=32,
    )  # fmt: skip
    year = str(datetime.datetime.now(tz=datetime.UTC).year).encode()
    for name, content in _files(made.bundle.path).items():
        if name.startswith("model/"):
            continue  # the user's own file
        assert b"somewhere_unusual" not in content, name
        assert str(tmp_path).encode() not in content, name
        assert str(ROOT).encode() not in content, name
        if name.startswith("firmware/") and not name.endswith("weights.c"):
            assert b" " + year not in content, name
            assert b"-" + year not in content, name
