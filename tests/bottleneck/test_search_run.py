"""The search itself: budget, resumption, results, the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from isthmus.errors import BudgetError, IsthmusError, OptionError
from isthmus_gen.bottleneck.search import SearchPlan, SearchResult, run, search_bottlenecks
from isthmus_gen.bottleneck.search.report import render_search, search_rows
from isthmus_gen.data import Preprocessing, load_data
from isthmus_gen.models import load_model
from isthmus_gen.progress import Progress, no_progress

PLAN = SearchPlan(channels=(1, 2, 3), strides=(2,), epochs=2, first_epochs=1, max_loss=100.0)


def _search(
    folder: Path, work: Path, plan: SearchPlan = PLAN, progress: Progress = no_progress
) -> SearchResult:
    return search_bottlenecks(
        load_model(folder / "network.keras"), ["middle"], load_data(folder / "labelled.npz"), plan,
        Preprocessing(), progress, work=work, count=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchResult, Path]:
    """A search that nothing interrupted, and its folder."""
    work = tmp_path_factory.mktemp("search") / "work"
    return _search(folder, work), work


def test_what_a_search_gives(whole: tuple[SearchResult, Path], folder: Path) -> None:
    from isthmus_gen.bottleneck.trained_file import read_account

    result, work = whole
    assert [p.candidate.channels for p in result.points] == [1, 2, 3]
    assert (result.inputs, result.held_out, result.labelled) == (60, 6, True)
    assert all(p.bits == 8 * p.bytes / (7 * 5 * 6) for p in result.points)
    assert result.whole is not None
    right = [round(6 * p.accuracy) for p in result.points if p.accuracy is not None]
    assert [p.loss for p in result.points] == [(round(6 * result.whole) - n) / 6 for n in right]
    assert sum(p.epochs == 2 for p in result.points) >= 2  # half of three, or more on the front
    for point in result.points:
        beaten = any(
            (o.bytes <= point.bytes and o.loss <= point.loss and o.candidate < point.candidate)
            or (o.bytes < point.bytes and o.loss <= point.loss)
            or (o.bytes <= point.bytes and o.loss < point.loss)
            for o in result.points
        )  # fmt: skip
        assert (point in result.front) == (not beaten)
        account = read_account(work / point.network)
        assert account["figures"]["bytes"] == point.bytes
        assert account["plan"]["epochs"] == point.epochs
    assert result.chosen == min(result.points, key=lambda p: p.bytes)
    assert str(folder) not in json.dumps(result.as_dict())


def test_an_interrupted_search_goes_on_to_the_same_result(
    whole: tuple[SearchResult, Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while the second candidate is trained: the first is not trained again."""
    result, finished = whole
    trained: list[tuple[int, int]] = []
    make = run.make_bottleneck

    def counted(*words: Any, **more: Any) -> Any:
        trained.append((words[3], words[5].epochs))
        return make(*words, **more)

    monkeypatch.setattr(run, "make_bottleneck", counted)

    def interrupt(stage: str, done: int, total: int, /) -> None:
        if stage == "middle C=2 s=2, 1 passes (2 of 3): measuring":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _search(folder, tmp_path, progress=interrupt)
    assert trained == [(1, 1), (2, 1)]
    again = _search(folder, tmp_path)
    assert trained[2:4] == [(2, 1), (3, 1)]
    assert again.as_dict() == result.as_dict()
    for point in result.points:
        assert (tmp_path / point.network).read_bytes() == (finished / point.network).read_bytes()
    trained.clear()
    assert _search(folder, tmp_path).as_dict() == result.as_dict()
    assert trained == []
    (tmp_path / result.points[0].network).write_bytes(b"edited")
    assert _search(folder, tmp_path).as_dict() == result.as_dict()
    assert {channels for channels, _ in trained} == {1}


def test_what_is_over_the_budget_is_told_and_not_trained(
    whole: tuple[SearchResult, Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More channels take more RAM: a limit of what two need leaves out the third alone."""
    result, _ = whole
    needs = [point.cost.ram for point in result.points]
    assert needs == sorted(set(needs))
    for point in result.points:
        assert point.cost.ram == point.cost.arena + point.cost.encoder + point.cost.frame
    trained: list[int] = []
    make = run.make_bottleneck

    def counted(*words: Any, **more: Any) -> Any:
        trained.append(words[3])
        return make(*words, **more)

    monkeypatch.setattr(run, "make_bottleneck", counted)
    plan = SearchPlan(channels=(1, 2, 3), strides=(2,), epochs=1, ram=needs[0])
    found = _search(folder, tmp_path, plan)
    assert trained == [1]
    assert [p.candidate.channels for p in found.points] == [1]
    assert [one.candidate.channels for one in found.excluded] == [2, 3]
    assert f"{needs[2] - needs[0]:,} too many" in found.excluded[1].reason
    with pytest.raises(BudgetError) as error:
        _search(folder, tmp_path, SearchPlan(channels=(2, 3), strides=(2,), ram=needs[1] - 1))
    assert f"the smallest needs {needs[1]:,} bytes of RAM (middle C=2 s=2)" in str(error.value)
    few = SearchPlan(channels=(2, 3), strides=(2,), instructions=100)
    counts = [point.cost.instructions for point in result.points]
    with pytest.raises(BudgetError, match=f"the quickest takes {counts[1]:,} instructions"):
        _search(folder, tmp_path, few)
    assert trained == [1]


def test_a_target_without_counter_takes_no_limit_of_instructions(
    folder: Path, tmp_path: Path
) -> None:
    plan = SearchPlan(channels=(1,), strides=(2,), target="host", instructions=10**9)
    with pytest.raises(OptionError, match="--instructions"):
        _search(folder, tmp_path, plan)


def test_without_labels_the_answers_that_stay_count(folder: Path, tmp_path: Path) -> None:
    plan = SearchPlan(channels=(2,), strides=(4,), epochs=1, max_loss=0.0, ram=10**6)
    found = search_bottlenecks(
        load_model(folder / "network.keras"), [], load_data(folder / "data.npz"), plan,
        Preprocessing(), work=tmp_path, count=False,
    )  # fmt: skip
    (point,) = found.points
    assert (found.labelled, found.classes, found.whole) == (False, True, None)
    assert point.accuracy is None
    assert point.agreement is not None
    assert point.loss == 1 - point.agreement
    assert "answers that stay" in render_search(found)
    assert "loses at most 0: " in render_search(found)  # a limit of 0 is one
    assert search_rows(found)[0][5] == f"{100 * point.agreement:.2f} %"


def test_counts_of_an_untrained_front_half_are_those_of_the_trained_one(
    whole: tuple[SearchResult, Path], folder: Path, require_tool: Any
) -> None:
    """Instructions counted on an emulated M4F before and after training, and the RAM as built."""
    require_tool("arm-none-eabi-gcc")
    require_tool("qemu-system-arm")
    from isthmus_gen.bottleneck import insert
    from isthmus_gen.bottleneck.search.cost import cost_of
    from isthmus_gen.bottleneck.search.estimate import coder_instructions
    from isthmus_gen.options import make_options
    from isthmus_gen.pipeline import generate
    from isthmus_gen.targets import load_target
    from isthmus_gen.verification import verify_bundle

    result, work = whole
    point = result.points[2]
    model = load_model(folder / "network.keras")
    data = load_data(folder / "labelled.npz")
    target = load_target("cortex-m4f")
    inputs = [data.x[i : i + 1] for i in range(4)]
    untrained = insert(model, "middle", 3, 2)
    cost = cost_of(point.candidate, untrained, inputs, 4, target)
    assert cost.counted
    assert cost.instructions is not None
    out = work.parent / "bundle"
    options = {
        "model": folder / "network.keras", "cut": "middle", "codec": "bottleneck",
        "calibration": folder / "labelled.npz", "trained": work / point.network,
        "target": "cortex-m4f", "out": out,
    }  # fmt: skip
    made = generate(make_options(options))
    (row,) = verify_bundle(made.bundle, ["cortex-m4f"], count=2)
    figures = row.as_dict()
    front = cost.instructions - coder_instructions(4 * 3 * 3, 4, "cortex-m4f")
    assert abs(front - figures["front_instructions"]) <= 80  # two ticks of the emulated clock
    assert 0 <= cost.ram - figures["ram_bytes"] <= 544  # at most the contexts that were not chosen
    assert cost.arena == made.report["arena_bytes"]


def _command(*words: object) -> Any:
    import typer

    from isthmus_gen.cli import bottleneck_search

    app = typer.Typer()
    bottleneck_search.register(app)
    app.callback()(lambda: None)
    return CliRunner().invoke(app, ["bottleneck-search", *(str(word) for word in words)])


def _words(folder: Path, tmp_path: Path, **more: object) -> list[object]:
    given: dict[str, object] = {
        "data": folder / "labelled.npz", "out": tmp_path / "s.json", "cuts": "middle",
        "channels": "1,2,3", "strides": "2", "epochs": 2, "first-epochs": 1, "max-loss": 100,
    } | more  # fmt: skip
    pairs = [(f"--{name}", value) for name, value in given.items()]
    return [folder / "network.keras", "--estimate", *(word for pair in pairs for word in pair)]


def test_the_command(whole: tuple[SearchResult, Path], folder: Path, tmp_path: Path) -> None:
    """It takes what another search left in its folder, and says the same."""
    import shlex

    result, work = whole
    page, plots = tmp_path / "s.html", tmp_path / "plots"
    words = _words(folder, tmp_path, work=work, report=page, plots=plots)
    ran = _command(*words)
    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    assert lines[2].split()[:4] == ["cut", "C", "s", "bytes"]
    assert "the cheapest that loses at most 100: " in ran.stdout
    assert result.chosen is not None
    command = shlex.join(result.command(result.chosen, str(work)))
    assert f"  {command}" in lines
    assert (plots / "bottleneck_search.png").read_bytes()[:4] == b"\x89PNG"
    text = page.read_text(encoding="utf-8")
    assert "<svg" in text
    assert "The cheapest that loses at most 100: middle C=" in text
    assert "middle" in text
    kept = (tmp_path / "s.json").read_bytes()
    assert json.loads(kept) == result.as_dict()
    ran = _command(*words, "--json")
    assert json.loads(ran.stdout) == result.as_dict()
    assert (tmp_path / "s.json").read_bytes() == kept
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"cuts": "nowhere"}, "cut_unknown"),
        ({"cuts": "flat"}, "cut_illegal"),
        ({"channels": "many"}, "option"),
        ({"strides": "6"}, "option"),
        ({"ram": 10}, "budget"),
        ({"target": "none"}, "target_unknown"),
        ({"data": "none.npz"}, "data_file"),
        ({"work": "/dev/null/work"}, "output"),
    ],
)
def test_what_the_command_refuses(
    folder: Path, tmp_path: Path, more: dict[str, object], name: str
) -> None:
    ran = _command(*_words(folder, tmp_path, **more))
    assert isinstance(ran.exception, IsthmusError)
    assert ran.exception.name == name
    assert not (tmp_path / "s.json").exists()
