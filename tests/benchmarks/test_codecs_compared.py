"""The comparison of codecs: its tables are made from its rows, and the kept ones are complete."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.codecs_compared import (
    CODECS,
    NETWORKS,
    Found,
    load_results,
    main,
    write_results,
)
from benchmarks.codecs_compared_text import cheapest, draw, section
from benchmarks.rate_models import TASKS
from benchmarks.sections import read_section

from isthmus_gen.evaluate import Interval, Row

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "codecs_compared.json"


def rung(codec: str, size: float, lost: float, **more: object) -> Row:
    row = Row(
        kind="rung", codec=codec, cut="c", setting=f"{codec} {size:g}", bundle=0, name="b", rung=0,
        levels=4, inputs=10, bytes_per_input=size, percentiles={"min": 1, "max": 9},
        bits_per_element=1.0, bits_per_element_sent=2.0, accuracy=round(0.9 - lost, 4),
        delta=Interval(-lost, -0.5, 0.5), agreement=0.9, macs_device=12_000_000,
        flash_bytes=1000, ram_bytes=2000,
    )  # fmt: skip
    return replace(row, **more)  # type: ignore[arg-type]


ROWS = (
    rung("lightweight", 100.0, 0.03),
    rung("lightweight", 200.0, 0.01),
    rung("near-lossless", 900.0, 0.0, bundle=1, bound=0),
    rung("bottleneck", 50.0, 0.015, bundle=2, channels=4, stride=2),
    Row(kind="whole", codec="", cut="", setting="", inputs=10, accuracy=0.9, macs_device=20),
    Row(
        kind="rival", codec="", cut="", setting="PNG", inputs=10, bytes_per_input=700.0,
        accuracy=0.9, delta=Interval(0.0, -0.1, 0.1), agreement=1.0,
    ),
)  # fmt: skip
FOUND = Found("net", "A network", 10, 20, 3000, {"c": (2, 2, 8)}, ROWS)


def test_the_cheapest_within_a_loss() -> None:
    assert cheapest(ROWS[:2], 0.01) == ROWS[1]
    assert cheapest(ROWS[:2], 0.03) == ROWS[0]
    assert cheapest(ROWS[:2], 0.0) is None
    assert cheapest(ROWS, 0.02) == ROWS[3]


def test_results_are_written_and_read_back(tmp_path: Path) -> None:
    write_results([FOUND], tmp_path)
    assert load_results(tmp_path / "results" / "codecs_compared.json") == [FOUND]
    text = read_section(tmp_path / "RESULTS.md", "codecs_compared")
    assert "10 test inputs, 20 for calibration, 3,000 to train bottlenecks. Cuts: c 2x2x8." in text
    line = "200 (lightweight 200) | 900 (near-lossless 900) | – | 700 (PNG)"
    assert f"| 1 | c | {line} |" in text
    assert "| 2 | c |" in text
    assert "50 (bottleneck 50)" in text
    assert "| whole network |  |  | – |" in text
    svg = (tmp_path / "results" / "codecs_net.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert load_results(tmp_path / "none.json") == []


def test_a_small_run(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--quick", "--network", "resnet8", "--codec", "lightweight", "--json"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    (told,) = json.loads(capsys.readouterr().out)["networks"]
    rungs = [row for row in told["rows"] if row["kind"] == "rung"]
    assert {(row["codec"], row["cut"]) for row in rungs} == {("lightweight", "activation_2")}
    assert sorted(row["levels"] for row in rungs) == [2, 3, 4, 6, 8]
    # 32 x 32 x 16 elements
    for row in rungs:
        assert row["bits_per_element"] == pytest.approx(row["bytes_per_input"] * 8 / 16384)
    raw = next(row for row in told["rows"] if row["setting"] == "raw")
    assert raw["bytes_per_input"] == 3 * 32 * 32
    (kept,) = load_results(tmp_path / "results" / "codecs_compared.json")
    assert kept.shapes == {"activation_2": (32, 32, 16)}


def test_no_network_is_tested_on_what_it_was_trained_on() -> None:
    for network in NETWORKS:
        (task,) = (task for task in TASKS if task.name == network.task)
        assert task.test.file != task.calibration.file
        assert task.training is None or task.training.file != task.test.file


def test_the_kept_section_is_that_of_the_kept_results() -> None:
    kept = load_results(RESULTS)
    assert read_section(ROOT / "benchmarks" / "RESULTS.md", "codecs_compared") == section(kept)
    assert sorted(draw(kept)) == sorted(path.name for path in RESULTS.parent.glob("codecs_*.svg"))


def test_every_codec_is_kept_at_every_cut() -> None:
    kept = {found.network: found for found in load_results(RESULTS)}
    for network in NETWORKS:
        rows = kept[network.task].rows
        for cut in network.bottlenecks:
            assert {row.codec for row in rows if row.cut == cut} == set(CODECS)
        assert sum(row.kind == "whole" for row in rows) == 1
        assert sum(row.kind == "rival" for row in rows) == 12
        assert {row.inputs for row in rows} == {kept[network.task].inputs}
