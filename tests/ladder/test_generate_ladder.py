"""``isthmus generate --rungs`` and ``--max-loss`` on the digits, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.bundle import Bundle
from isthmus.errors import OptionError
from isthmus_gen.data import load_data
from isthmus_gen.digits import DIGITS_DEFAULT_CUT, digits_model_path, write_digits_npz
from isthmus_gen.evaluate import Evaluation, evaluate_bundle
from isthmus_gen.evaluate.ladder import ladder_section
from isthmus_gen.evaluate.report import render_report
from isthmus_gen.ladder import candidate_recipes
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import Generated, generate

BASE: dict[str, Any] = {"model": "m.keras", "cut": "c", "calibration": "d.npz", "out": "o"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_digits_npz(tmp_path_factory.mktemp("digits"))


def made(digits: dict[str, Path], out: Path, **options: Any) -> Generated:
    """A bundle; the search has a third of its candidates, to be quick."""
    every = candidate_recipes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isthmus_gen.ladder.search.candidate_recipes", lambda: every[::3])
        return generate(
            make_options(
                {
                    "model": digits_model_path(),
                    "cut": DIGITS_DEFAULT_CUT,
                    "calibration": digits["calibration"],
                    "out": out,
                    **options,
                }
            )
        )


@pytest.fixture(scope="module")
def labelled(digits: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """Three rungs, the first with at most one point lost."""
    return made(digits, tmp_path_factory.mktemp("labelled") / "b", rungs=3, max_loss=1.0)


@pytest.fixture(scope="module")
def unlabelled(digits: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """One rung, chosen without labels."""
    folder = tmp_path_factory.mktemp("unlabelled")
    file = folder / "inputs.npz"
    np.savez(file, x=load_data(digits["calibration"]).x)
    return made({**digits, "calibration": file}, folder / "b", max_loss=1.0)


def measured(bundle: Bundle, digits: dict[str, Path]) -> Evaluation:
    return evaluate_bundle(bundle, load_data(digits["test"]), rival_limit=0)


def test_max_loss_keeps_its_word_on_other_pictures(
    labelled: Generated, digits: dict[str, Path]
) -> None:
    result = measured(labelled.bundle, digits)
    front = result.front_int8
    assert front is not None
    assert front.accuracy is not None
    first = result.rungs[0].accuracy_decoded
    assert first is not None
    assert front.accuracy - first <= 0.01
    # the ladder goes on below, each rung in fewer bytes
    sizes = [rung.bytes_per_input for rung in result.rungs]
    assert len(sizes) == 3
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 1.2 * sizes[2]
    # what was told of the rate holds on these pictures, too
    told = [p for p in labelled.report["ladder"]["points"] if p["rung"] is not None]
    for point in told:
        assert result.rungs[point["rung"]].bits_per_element == pytest.approx(
            point["bits_per_element"], rel=0.05
        )


def test_without_labels_max_loss_keeps_its_word_too(
    unlabelled: Generated, digits: dict[str, Path]
) -> None:
    ladder = unlabelled.report["ladder"]
    assert ladder["measure"] == "changed"
    assert len(unlabelled.bundle.profile.rungs) == 1
    result = measured(unlabelled.bundle, digits)
    front, rung = result.front_int8, result.rungs[0]
    assert front is not None
    assert front.accuracy is not None
    assert rung.accuracy_decoded is not None
    assert front.accuracy - rung.accuracy_decoded <= 0.01
    # two hundred inputs tell a share of one per cent to about one per cent
    assert rung.agreement_decoded is not None
    assert rung.agreement_decoded >= 0.98


def test_labels_may_only_make_it_cheaper(labelled: Generated, unlabelled: Generated) -> None:
    def first(report: dict[str, Any]) -> float:
        return next(
            float(p["bits_per_element"]) for p in report["ladder"]["points"] if p["rung"] == 0
        )

    assert first(labelled.report) <= first(unlabelled.report)


def test_the_command_asks_for_it_again(labelled: Generated) -> None:
    words = labelled.report["command"]
    assert "--levels" not in words
    assert words[words.index("--rungs") + 1] == "3"
    assert words[words.index("--max-loss") + 1] == "1.0"


def test_the_report_shows_the_front_and_the_rungs(labelled: Generated) -> None:
    bundle = labelled.bundle
    report = json.loads(bundle.read("report.json"))
    points = report["ladder"]["points"]
    assert sorted(p["rung"] for p in points if p["rung"] is not None) == [0, 1, 2]
    text = render_report(bundle)
    assert "How the ladder was chosen" in text
    for point in points:
        shown = f"<td>{point['bits_per_element']:.3f}</td>"
        assert (shown in text) or not point["front"]


def test_a_ladder_by_hand_has_no_such_section() -> None:
    assert ladder_section({"rungs": []}) == ""


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("--levels", {"levels": (4,)}),
        ("--clip", {"clip": "empirical"}),
        ("--quantizer", {"quantizer": "ecsq"}),
    ],
)
@pytest.mark.parametrize("asked", ["--rungs", "--max-loss"])
def test_what_is_searched_cannot_be_given(option: str, given: dict[str, Any], asked: str) -> None:
    search = {"--rungs": {"rungs": 2}, "--max-loss": {"max_loss": 1.0}}[asked]
    with pytest.raises(OptionError) as caught:
        make_options({**BASE, **given, **search})
    assert caught.value.path == option
    assert f"cannot be given with {asked}" in str(caught.value)
    assert f"leave out {option} or {asked}" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "option"),
    [
        ("rungs", 0, "--rungs"),
        ("rungs", 9, "--rungs"),
        ("max_loss", -1.0, "--max-loss"),
        ("max_loss", float("nan"), "--max-loss"),
        ("max_loss", 101, "--max-loss"),
    ],
)
def test_numbers_out_of_range(field: str, value: Any, option: str) -> None:
    with pytest.raises(OptionError) as caught:
        make_options({**BASE, field: value})
    assert caught.value.path == option


def test_levels_alone_stay_as_they_were() -> None:
    assert make_options({**BASE, "levels": (8, 4)}).levels == (8, 4)
    assert not make_options(BASE).searches
    assert make_options(BASE).levels == (4,)
