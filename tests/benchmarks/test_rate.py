"""The rivals' comparison: statistics by hand, a small run, and what the kept results say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from benchmarks.rate import (
    Reference,
    cheapest_within,
    load_results,
    main,
    write_results,
)
from benchmarks.rate_models import TASKS, Part
from benchmarks.rate_points import Plan, Point, search
from benchmarks.rate_score import Score, TopOne, difference
from benchmarks.rate_text import draw, front, section
from benchmarks.sections import read_section

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "rate.json"


def point(codec: str, size: float, loss: float, setting: str = "") -> Point:
    return Point("t", "c", codec, setting, 10, size, size, size / 8, 0.9 - loss, loss, 0.01)


def test_the_error_of_a_mean_is_the_paired_one() -> None:
    labels = np.array([0, 1, 0, 1, 1, 0, 0, 1, 0, 0])
    other = np.array([0, 1, 0, 0, 1, 1, 0, 1, 0, 1])
    whole = TopOne(labels).score(np.eye(2, dtype=np.float32)[labels])
    mine = TopOne(labels).score(np.eye(2, dtype=np.float32)[other])
    loss, error = difference(whole, mine)
    paired = (other != labels).astype(float)
    assert (whole.value, mine.value) == (1.0, 0.7)
    assert loss == pytest.approx(0.3)
    assert error == pytest.approx(paired.std(ddof=1) / math.sqrt(10))


def test_the_jackknife_by_hand() -> None:
    # Differences without each of three inputs: 0, 0.1, 0.2; their squared deviations sum to
    # 0.02, and 2/3 of that is the variance.
    without = np.array([0.5, 0.6, 0.7])
    found = difference(Score(0.6, without), Score(0.5, np.full(3, 0.5)))
    assert found == pytest.approx((0.1, math.sqrt(0.02 * 2 / 3)))


def test_the_cheapest_point_within_the_limit_and_nothing_between() -> None:
    points = [
        point("a", 100, 0.03),
        point("a", 300, 0.0),
        point("a", 200, 0.01 + 1e-12, "taken"),
        point("b", 10, 0.011),
    ]
    found = cheapest_within(points, 0.01)
    assert found["a"] is points[2]
    assert found["b"] is None


def test_the_search_goes_down_to_single_steps_at_the_limit() -> None:
    # Losses fall by a point for ten steps of quality; the limit of one point lies at 57.
    tried = []

    def measure(quality: int) -> Point:
        tried.append(quality)
        return point("a", quality, (67 - quality) / 1000)

    found = list(search(measure, (10, 40, 70, 90)))
    assert tried == [10, 40, 70, 90, 55, 62, 58, 56, 57]
    assert cheapest_within(found, 0.01)["a"] == point("a", 57, 0.01)
    # The other way round (QP), with points that are known, and where nothing keeps the limit.
    known = {30: point("a", 5, 0.02), 20: point("a", 9, 0.0)}
    again = list(search(lambda qp: point("a", qp, 0.02), (30, 20), known=known))
    assert [p.bytes for p in again] == [25, 22, 21]
    assert len(list(search(lambda q: point("a", q, 0.5), (10, 90)))) == 2


def test_the_front_leaves_out_what_a_cheaper_point_matches() -> None:
    points = [point("a", 3, 0.1), point("a", 1, 0.2), point("a", 2, 0.2), point("a", 4, 0.1)]
    assert [p.bytes for p in front(points)] == [1, 3]


def test_parts_share_the_codecs_out() -> None:
    names = ("Isthmus paper", "Isthmus neighbour + restorer", "lz4")
    measured = {
        part: [Plan((), part).measures(name) for name in names]
        for part in ("all", "isthmus", "rivals", "restorer")
    }
    assert measured == {
        "all": [True, False, True],
        "isthmus": [True, False, False],
        "rivals": [False, False, True],
        "restorer": [False, True, False],
    }


def test_fifths_and_others_share_no_input(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.arange(23, dtype=np.float32)[:, None], y=np.arange(23))
    fifth, _ = Part("x.npz", 99, "fifth").load(tmp_path, None, 99)
    others, labels = Part("x.npz", 99, "others").load(tmp_path, None, 99)
    assert fifth[:, 0].tolist() == [0, 5, 10, 15, 20]
    assert sorted([*fifth[:, 0], *others[:, 0]]) == list(range(23))
    assert labels is not None
    assert labels.tolist() == others[:, 0].tolist()
    few, _ = Part("x.npz", 3).load(tmp_path, None, 3)
    assert few[:, 0].tolist() == [0, 11, 22]  # spread from end to end


def test_calibration_and_test_inputs_are_not_the_same() -> None:
    for task in TASKS:
        if task.calibration.file == task.test.file:
            assert {task.calibration.which, task.test.which} == {"fifth", "others"}
        if task.training is not None:
            assert task.training.file != task.test.file


def test_a_small_run_and_a_part_of_it_again(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(folder: str, *more: str) -> str:
        code = main(["--quick", "--task", "kws", "--json", "--out", str(tmp_path / folder), *more])
        assert code == 0
        return capsys.readouterr().out

    told = json.loads(run("one"))
    points = [Point(**entry) for entry in told["points"]]
    codecs = {p.codec for p in points}
    assert {"Isthmus paper", "Isthmus neighbour", "run-length", "PNG of levels"} <= codecs
    assert {"JPEG on tiles", "WebP on tiles", "PNG of 8-bit tiles"} <= codecs
    assert not codecs & set(told["absent"])
    for p in points:
        elements = next(math.prod(r["shape"]) for r in told["references"] if r["cut"] == p.cut)
        assert p.bits == 8 * p.bytes / elements
        assert 0 < p.bytes_bare <= p.bytes
    # Lossless codecs of one setting have the accuracy of its levels, all of them the same.
    by_setting: dict[tuple[str, str], set[float]] = {}
    for p in points:
        if p.setting.startswith("N "):
            by_setting.setdefault((p.cut, p.setting), set()).add(p.metric)
    assert all(len(found) == 1 for found in by_setting.values())
    # Measured again, a part is what it was, and the other codecs' points stay where they were.
    again = json.loads(run("one", "--part", "isthmus"))["points"]
    ours = [p for p in told["points"] if p["codec"].startswith("Isthmus")]
    assert again[: len(ours)] == ours
    assert len(again) == len(points)


def test_results_are_written_and_read_back(tmp_path: Path) -> None:
    reference = Reference("t", "title", "c", (2, 2, 2), "top-1", 0.9, 10, 5)
    points = [point("Isthmus paper", 8, 0.0), point("lz4", 4, 0.5)]
    write_results(points, [reference], {"HEVC on tiles": "install it"}, tmp_path)
    found = load_results(tmp_path / "results" / "rate.json")
    assert found == (points, [reference], {"HEVC on tiles": "install it"})
    text = read_section(tmp_path / "RESULTS.md", "rate")
    assert "Absent in this run: HEVC on tiles." in text
    assert "| lz4 | none |" in text
    assert "<svg" in (tmp_path / "results" / "rate_t.svg").read_text(encoding="utf-8")


def test_the_kept_section_is_that_of_the_kept_results() -> None:
    kept = load_results(RESULTS)
    assert read_section(ROOT / "benchmarks" / "RESULTS.md", "rate") == section(*kept).strip()
    assert sorted(draw(kept[0], kept[1])) == sorted(
        path.name for path in RESULTS.parent.glob("rate_*.svg") if path.stem != "rate_accuracy"
    )


def test_every_network_and_cut_of_the_comparison_is_kept() -> None:
    points, references, missing = load_results(RESULTS)
    assert missing == {}
    wanted = [(task.name, cut) for task in TASKS for cut in task.cuts]
    assert [(r.task, r.cut) for r in references] == wanted
    for task, cut in wanted:
        codecs = {p.codec for p in points if (p.task, p.cut) == (task, cut)}
        assert len(codecs - {"Isthmus neighbour + restorer"}) >= 14


def test_neighbour_is_never_above_paper_at_equal_levels() -> None:
    points, _, _ = load_results(RESULTS)
    size = {(p.task, p.cut, p.codec, p.setting): p.bytes for p in points}
    shares = {
        key: found / size[key[0], key[1], "Isthmus paper", key[3]]
        for key, found in size.items()
        if key[2] == "Isthmus neighbour"
    }
    assert len(shares) >= 9 * 7
    assert max(shares.values()) <= 1.0
