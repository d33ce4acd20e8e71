"""``isthmus evaluate`` with several bundles, and with one as ever."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_cases import in_the_way
from rich.console import Console

LIMIT = 30
ROW_KEYS = {
    "kind", "codec", "cut", "setting", "bundle", "name", "rung", "levels", "bound", "channels",
    "stride", "inputs", "bytes_per_input", "bytes_percentiles", "bits_per_element",
    "bits_per_element_sent", "accuracy", "delta", "agreement", "macs_device", "flash_bytes",
    "ram_bytes",
}  # fmt: skip


@pytest.fixture(scope="module")
def other(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits cut at their first stage, in eight levels."""
    from isthmus_gen.options import make_options
    from isthmus_gen.pipeline import generate

    out = tmp_path_factory.mktemp("other") / "early"
    generate(
        make_options(
            {
                "model": digits.model,
                "cut": "stage1",
                "calibration": digits.calibration,
                "levels": (8,),
                "limit": 60,
                "out": out,
            }
        )
    )
    return out


def _evaluate(digits: Any, *bundles: Path, options: tuple[object, ...] = ()) -> list[Any]:
    return ["evaluate", *bundles, "--data", digits.test, "--limit", LIMIT, *options]


def test_json_of_several(digits: Any, other: Path, isth: Any, tmp_path: Path) -> None:
    report, plots = tmp_path / "report.html", tmp_path / "plots"
    ran = isth(
        *_evaluate(digits, digits.bundle, other),
        "--json", "--report", report, "--plots", plots,
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    assert set(ran.data) == {"bundles", "rows"}
    alone = [isth(*_evaluate(digits, one), "--json").data for one in (digits.bundle, other)]
    for joint, single in zip(ran.data["bundles"], alone, strict=True):
        assert joint.pop("bundle") in ("bundle", "early")
        assert joint == single
    rows = ran.data["rows"]
    assert all(set(row) == ROW_KEYS for row in rows)
    rungs = [rung for single in alone for rung in single["rungs"]]
    assert [row["bytes_per_input"] for row in rows[:4]] == [r["bytes_per_input"] for r in rungs]
    assert [row["accuracy"] for row in rows[:4]] == [r["accuracy_decoded"] for r in rungs]
    assert [row["kind"] for row in rows[4:]] == ["whole", "rival", "rival"]
    assert report.read_text(encoding="utf-8").count("<h1>") == 3
    assert (plots / "codecs.png").is_file()
    assert (plots / "bundle_1" / "rate_accuracy.png").is_file()


def test_table_of_several(digits: Any, other: Path, isth: Any, tmp_path: Path) -> None:
    ran = isth(*_evaluate(digits, digits.bundle, other, options=("--plots", tmp_path / "p")))
    assert (ran.code, ran.err) == (0, "")
    text = ran.out.splitlines()
    assert text[0].strip() == f"digits.keras, {LIMIT} inputs"
    heads = [re.split(r"\s{2,}", line.strip()) for line in text[1:3]]
    assert heads[0] == ["bytes /", "bit /", "of its", "against", "95 %", "same", "device"]
    assert heads[1][:6] == ["bundle", "codec", "cut", "rung", "input", "element"]
    lines = [re.split(r"\s{2,}", line.strip()) for line in text]
    assert [line[:4] for line in lines[3:7]] == [
        *(["bundle", "lightweight", "stage2", f"N = {levels}"] for levels in (4, 2, 8)),
        ["early", "lightweight", "stage1", "N = 8"],
    ]
    assert [line[0] for line in lines[7:10]] == ["whole network", "the picture", "the picture"]
    assert not any("no room" in line for line in text)
    assert lines[-1][-1].startswith("plot -> ")


def test_one_bundle_has_one_object_and_its_codec(digits: Any, isth: Any) -> None:
    ran = isth(*_evaluate(digits, digits.bundle), "--json")
    assert ran.data["codec"] == "lightweight"
    assert not {"bundles", "rows", "bottleneck"} & set(ran.data)
    text = isth(*_evaluate(digits, digits.bundle)).out
    assert text.splitlines()[0].strip() == f"{LIMIT} inputs, codec lightweight"


def test_other_networks_are_refused(digits: Any, isth: Any, tmp_path: Path) -> None:
    from isthmus.bundle import file_digest

    copy = tmp_path / "copy"
    shutil.copytree(digits.bundle, copy)
    network = copy / "model" / digits.model.name
    network.write_bytes(network.read_bytes() + b"other")
    manifest = json.loads((copy / "manifest.json").read_bytes())
    manifest["files"][f"model/{network.name}"] = file_digest(network.read_bytes())
    (copy / "manifest.json").write_text(json.dumps(manifest))
    report = tmp_path / "report.html"
    ran = isth(*_evaluate(digits, digits.bundle, copy, options=("--report", report)))
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert line.startswith("error: BUNDLE: ")
    assert "holds another network" in line
    assert "one by one" in line
    assert not report.exists()


def test_a_missing_second_bundle_is_named(digits: Any, isth: Any, tmp_path: Path) -> None:
    ran = isth(*_evaluate(digits, digits.bundle, tmp_path / "none"), "--json")
    assert ran.code == 3
    assert ran.data["error"]["path"] == str(tmp_path / "none")


def test_files_in_the_way_are_found_first(
    digits: Any, other: Path, isth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("evaluated before the place of its files was looked at")

    monkeypatch.setattr("isthmus_gen.evaluate.compare_bundles", never)
    ran = isth(
        *_evaluate(digits, digits.bundle, other),
        "--plots", in_the_way(tmp_path), "--json",
    )  # fmt: skip
    assert ran.code == 3
    assert ran.data["error"]["name"] == "output"
    assert ran.data["error"]["path"].endswith("codecs.png")


def test_an_unknown_codec_of_the_demo_is_refused(isth: Any, tmp_path: Path) -> None:
    ran = isth("demo", "--out", tmp_path / "out", "--codec", "jpeg", "--json")
    assert ran.code == 2
    assert ran.data["error"]["path"] == "--codec"
    assert "lightweight" in ran.data["error"]["allowed"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (200, ""),
        (110, "no room for: of its own, device MACs"),
        (80, "no room for: of its own, 95 % interval, same answer, device MACs"),
    ],
)
def test_a_narrow_terminal_leaves_columns_out_and_cuts_none(
    digits: Any, other: Path, width: int, left_out: str
) -> None:
    from isthmus_gen.cli.comparison import show_comparison
    from isthmus_gen.data import load_data
    from isthmus_gen.evaluate import compare_bundles

    found = compare_bundles([digits.bundle, other], load_data(digits.test, limit=4))
    out = io.StringIO()
    show_comparison(Console(file=out, width=width), found)
    text = out.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for rung in found.evaluations[0].rungs:
        assert f"{rung.bytes_per_input:,.1f}" in text
    last = text.splitlines()[-1]
    assert last == left_out if left_out else "no room" not in text
