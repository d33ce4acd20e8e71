"""The rate-accuracy benchmark: its committed results, and a small run against the reference."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.codec import encode_frame
from isthmus.profile import Profile
from isthmus_gen.models import load_model


@pytest.fixture
def benchmark(repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """benchmarks.rate_accuracy, imported from the checkout."""
    monkeypatch.syspath_prepend(str(repo_root))
    return importlib.import_module("benchmarks.rate_accuracy")


@pytest.fixture
def sections(repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repo_root))
    return importlib.import_module("benchmarks.sections")


def test_the_committed_section_is_made_of_the_committed_figures(
    benchmark: Any, sections: Any, repo_root: Path
) -> None:
    text = importlib.import_module("benchmarks.rate_accuracy_text")
    results = repo_root / "benchmarks" / "results" / "rate_accuracy.json"
    rows, references = benchmark.load_results(results)
    kept = sections.read_section(repo_root / "benchmarks" / "RESULTS.md", "rate_accuracy")
    assert kept == text.section(rows, references).strip()
    ladders = {(r.network, r.stage, r.quantizer, r.clip) for r in rows}
    assert len(ladders) == 2 * 3 * 3 * 2
    assert len(rows) == 7 * len(ladders)


def test_the_committed_figures_meet_the_goal(benchmark: Any, repo_root: Path) -> None:
    rows, references = benchmark.load_results(
        repo_root / "benchmarks" / "results" / "rate_accuracy.json"
    )
    assert benchmark.goal_met(rows)
    whole = {(r.network, r.stage): r.accuracy_whole for r in references}
    for row in benchmark.goal_rows(rows):
        assert row.accuracy_centroid >= whole[row.network, row.stage] - 0.01
    for row in rows:
        elements = {"stage 1": 16384, "stage 2": 8192, "stage 3": 4096}[row.stage]
        header = row.bits_per_element - row.bits_per_element_payload
        assert header == pytest.approx(96 / elements, abs=2e-5)
        assert row.bytes_per_input * 8 / elements == pytest.approx(row.bits_per_element, rel=1e-4)


def test_a_missed_goal_is_seen(benchmark: Any, repo_root: Path) -> None:
    rows, _ = benchmark.load_results(repo_root / "benchmarks" / "results" / "rate_accuracy.json")
    worse = [replace(row, delta_centroid=-0.0101) for row in rows]
    assert not benchmark.goal_met(worse)


def test_a_small_run(
    benchmark: Any, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "LEVELS", (2, 8))
    monkeypatch.setattr(benchmark, "QUANTIZERS", ("uniform",))
    monkeypatch.setattr(benchmark, "CLIPS", ("model",))
    network = replace(benchmark.NETWORKS[0], calibration_inputs=128)
    model = load_model(data_dir / network.model)
    prepared = benchmark.prepare(network, model, "stage 3", "activation_6", data_dir, 24)
    rows = list(benchmark.measure(prepared))
    reference = benchmark.reference(prepared, model)
    assert [row.levels for row in rows] == [2, 8]
    assert reference.accuracy_whole == float(
        (prepared.whole.argmax(axis=1) == prepared.labels).mean()
    )
    assert rows[1].accuracy_centroid >= reference.accuracy_whole - 0.1
    assert rows[0].bits_per_element < rows[1].bits_per_element

    # The same frames from the normative codec.
    options = benchmark.make_options(
        {
            "model": network.model,
            "calibration": network.calibration,
            "out": "not-written",
            "cut": "activation_6",
            "levels": (2, 8),
        }
    )
    designs = benchmark.design_rungs(
        options, prepared.tensor, prepared.statistics, prepared.activation, prepared.samples
    )
    profile = Profile(prepared.tensor, tuple(d.rung for d in designs), prepared.tensor.rows)
    for number, row in enumerate(rows):
        lengths = [len(encode_frame(profile, number, 0, tensor)) for tensor in prepared.tensors]
        assert row.bits_per_element == 8 * sum(lengths) / prepared.tensors.size
        assert row.bytes_per_input == np.mean(lengths)

    benchmark.write_results(rows, [reference], tmp_path)
    assert "### resnet8, stage 3" in (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    kept, _ = benchmark.load_results(tmp_path / "results" / "rate_accuracy.json")
    assert [row.levels for row in kept] == [2, 8]
    assert (tmp_path / "results" / "rate_accuracy.svg").read_text(encoding="utf-8").count("<g") > 20


def test_without_data(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path / "none"))
    assert benchmark.main(["--out", str(tmp_path / "out")]) == 3
    assert "ISTHMUS_DATA" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sections_leave_each_other_alone(sections: Any, tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    sections.write_section(file, "one", "first")
    sections.write_section(file, "two", "second\n\nlines")
    sections.write_section(file, "one", "changed")
    text = file.read_text(encoding="utf-8")
    assert sections.read_section(file, "one") == "changed"
    assert sections.read_section(file, "two") == "second\n\nlines"
    assert text.startswith("# Results")
    assert "first" not in text
    sections.write_section(file, "one", "changed")
    assert file.read_text(encoding="utf-8") == text


def test_a_section_without_its_end(sections: Any, tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    file.write_text("<!-- one: begin -->\nx\n", encoding="utf-8")
    with pytest.raises(ValueError, match="without"):
        sections.write_section(file, "one", "y")
