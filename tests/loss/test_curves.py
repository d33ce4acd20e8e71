"""Accuracy against loss on a small bundle, and what the benchmark keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.loss import Measured, helps, load_results, write_results
from benchmarks.loss_text import draw, section
from benchmarks.sections import read_section

from isthmus.errors import DataShapeError, OptionError
from isthmus_gen.data import load_data
from isthmus_gen.digits import write_digits_npz
from isthmus_gen.loss import LossCurves, LossPoint, loss_curves
from isthmus_gen.loss.curves import channel_mask, channel_packets
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import generate

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The digits' bundle in four slices, and 120 test pictures."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits_npz(folder)
    bundle = generate(
        make_options(
            {
                "model": ROOT / "examples" / "digits" / "digits.keras",
                "cut": "stage2",
                "calibration": folder / "digits_calibration.npz",
                "limit": 64,
                "slice_rows": 1,
                "out": folder / "bundle",
            }
        )
    ).bundle
    return bundle, load_data(folder / "digits_test.npz", need_labels=True, limit=120)


def test_curves_of_a_bundle(digits: Any) -> None:
    bundle, data = digits
    found = loss_curves(bundle, data, losses=(0.0, 0.5), bursts=(None,), repeats=2)
    assert (found.inputs, found.repeats) == (120, 2)
    assert found.packets == {"slices": 4, "channels": 32}
    assert found.accuracy > 0.9
    by_key = {(p.packets, p.loss, p.method): p for p in found.points}
    methods = {"slices": 4, "channels": 5}
    assert len(by_key) == len(found.points) == 2 * sum(methods.values())
    for (packets, loss, _), point in by_key.items():
        if loss == 0:
            assert (point.lost, point.accuracy) == (0.0, found.accuracy)
            assert (point.delta, point.low, point.high) == (0.0, 0.0, 0.0)
        else:
            sent = 2 * 120 * found.packets[packets]
            assert abs(point.lost - 0.5) < 4.5 * (0.25 / sent) ** 0.5
            assert point.low <= point.delta <= point.high
            assert point.delta < -0.02
    # half of the slices as zeros: guessing must not be what is measured
    assert by_key["slices", 0.5, "nearest"].accuracy > by_key["slices", 0.5, "zero"].accuracy
    again = loss_curves(bundle, data, losses=(0.0, 0.5), bursts=(None,), repeats=2)
    assert again == found


def test_what_is_refused(digits: Any, tmp_path: Path) -> None:
    bundle, data = digits
    with pytest.raises(OptionError, match="packets, repeats"):
        loss_curves(bundle, data, packets=("rows",))
    np.savez(tmp_path / "bare.npz", x=data.x[:2])
    with pytest.raises(DataShapeError, match="has no labels"):
        loss_curves(bundle, load_data(tmp_path / "bare.npz"))


def test_channel_packets_by_hand() -> None:
    """5 rows of 2 channels, 4 rows a packet: channel 0's rows 0-3 and 4, then channel 1's."""
    assert channel_packets((5, 3, 2), 4) == 4
    assert channel_packets((5, 3), 4) == 0
    mask = channel_mask((5, 3, 2), np.array([False, True, True, False]), 4)
    assert mask[:4, :, 0].all()
    assert not mask[4, :, 0].any()
    assert not mask[:4, :, 1].any()
    assert mask[4, :, 1].all()


def made_up() -> Measured:
    points = tuple(
        LossPoint("slices", burst, loss, method, loss, 0.8 - loss * share, -loss * share, -0.5, 0.1)
        for burst in (None, 5.0)
        for loss in (0.01, 0.3)
        for method, share in (("zero", 1.0), ("nearest", 0.5))
    )
    curves = LossCurves(10, 1, 0.8, {"slices": 4, "channels": 8}, (200.5, 240), points)
    return Measured("a network", "cut", (4, 2, 2), "paper", 4, curves)


def test_results_are_written_and_read(tmp_path: Path) -> None:
    write_results([made_up()], tmp_path)
    assert load_results(tmp_path / "results" / "loss.json") == [made_up()]
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| packets, independent | nearest row | 79.50 | -0.50 ± 30.00 | 65.00 | -15.00" in text
    assert (tmp_path / "results" / "loss.svg").read_text().startswith("<svg")


def test_concealment_must_help() -> None:
    good = made_up()
    assert helps(good)
    worse = tuple(
        LossPoint(**{**vars(p), "accuracy": 0.1}) if p.method == "nearest" else p
        for p in good.curves.points
    )
    curves = LossCurves(**{**vars(good.curves), "points": worse})
    assert not helps(Measured(**{**vars(good), "curves": curves}))


def test_the_kept_figures_are_the_section_s_and_the_plot_s() -> None:
    folder = ROOT / "benchmarks"
    kept = load_results(folder / "results" / "loss.json")
    assert read_section(folder / "RESULTS.md", "loss") == section(kept)
    assert (folder / "results" / "loss.svg").read_text(encoding="utf-8") == draw(kept)
    for entry in kept:
        losses = {p.loss for p in entry.curves.points}
        assert losses == {0.01, 0.05, 0.1, 0.3}
        assert helps(entry)
    names = json.loads((folder / "results" / "loss.json").read_text())["networks"]
    assert [entry["network"] for entry in names] == [
        f"{network}{restored}"
        for network in ("resnet8_jpeg", "vww_96")
        for restored in ("", " with a restorer")
    ]
