"""generate --codec near-lossless: ranks, odd calibration sets, the report, wrong options."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from whole_path import check_whole_path

from isthmus.errors import OptionError
from isthmus_gen.options import make_options

SMALL = {"limit": 32, "codec": "near-lossless"}

RANKS = {
    "flat": ("flat", "features", (8, 8, 1), (64,)),
    "conv1d": ("conv1d", "features", (32, 3), (16, 8)),
}


@pytest.mark.parametrize("name", RANKS)
def test_ranks(name: str, network: Any, random_data: Any, make_bundle: Any) -> None:
    source, cut, given, shape = RANKS[name]
    made = make_bundle(
        model=network(source), cut=cut, calibration=random_data(given), bounds=(0, 2),
        codec="near-lossless",
    )  # fmt: skip
    assert made.bundle.profile.tensor.shape == shape
    check_whole_path(made.bundle.path, exact_front=name != "flat")


def test_negative_features_lie_on_the_grid_too(
    network: Any, random_data: Any, make_bundle: Any
) -> None:
    for min_max in ("tensor", "channel"):
        made = make_bundle(
            model=network("leaky"), cut="features", calibration=random_data((8, 8, 1)),
            element="float32", bounds=(0, 1), min_max=min_max, codec="near-lossless",
        )  # fmt: skip
        rungs = made.bundle.profile.rungs
        assert rungs[0].clip == pytest.approx(
            (made.report["feature_min"], made.report["feature_max"])
        )
        check_whole_path(made.bundle.path)


@pytest.mark.parametrize(("element", "inputs"), [("int8", 2), ("float32", 1)])
def test_one_or_two_calibration_inputs_are_enough(
    element: str, inputs: int, network: Any, digits_data: Any, make_bundle: Any
) -> None:
    made = make_bundle(
        model=network("digits"), cut="stage2", calibration=digits_data["calibration"],
        element=element, bounds=(0, 9), codec="near-lossless", limit=inputs, vectors=1,
    )  # fmt: skip
    assert made.report["calibration_inputs"] == inputs
    assert all(rung["coded_bits"] < 8.01 for rung in made.report["rungs"])
    check_whole_path(made.bundle.path)


@pytest.mark.parametrize("min_max", ["tensor", "channel"])
def test_a_tensor_that_is_always_the_same(
    min_max: str, network: Any, make_bundle: Any, tmp_path: Any
) -> None:
    same = np.zeros((8, 8, 8, 1), np.float32)
    np.savez(tmp_path / "same.npz", x=same)
    made = make_bundle(
        model=network("leaky"), cut="features", calibration=tmp_path / "same.npz",
        element="float32", min_max=min_max, codec="near-lossless",
    )  # fmt: skip
    check_whole_path(made.bundle.path)


def test_the_report_says_what_codes_the_levels(
    network: Any, digits_data: Any, make_bundle: Any
) -> None:
    made = make_bundle(
        model=network("digits"), cut="stage2", calibration=digits_data["calibration"],
        bounds=(0, 4), **SMALL,
    )  # fmt: skip
    report = json.loads((made.bundle.path / "report.json").read_text())
    assert " ".join(report["command"]) == (
        "isthmus generate digits.keras --cut stage2 --calibration digits_calibration.npz"
        " --target host --codec near-lossless --bounds 0,4 --limit 32 --out bundle"
    )
    fine, coarse = report["rungs"]
    assert (fine["bound"], fine["levels"]) == (0, 256)
    # nine steps in one take at most log2(9) bits away; the rest is what training does not find
    assert fine["coded_bits"] - 3.17 - 0.2 < coarse["coded_bits"] < fine["coded_bits"] - 1
    for rung, row in zip(made.bundle.profile.rungs, report["rungs"], strict=True):
        trained = rung.trained
        assert trained is not None
        assert row["context_sets"] == len(trained.frequencies)
        source = (made.bundle.firmware / "src" / "isth_tables.c").read_text()
        number = made.bundle.profile.rungs.index(rung)
        taken = 0
        sizes = {"cells": 1, "choices": 2, "levels": 2, "own": 1, "starts": 2, "values": 2}
        for name, size in {**sizes, "table_i8": 1}.items():
            _, _, rest = source.partition(f"rung{number}_{name}[")
            taken += size * int(rest.partition("]")[0])
        assert row["table_bytes"] == taken


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "levels": ({"levels": (8,)}, "--levels: means nothing to --codec near-lossless"),
    "clip": ({"clip": "aciq"}, "--clip: means nothing to --codec near-lossless"),
    "lambda": ({"lam": 0.1}, "--lambda: means nothing to --codec near-lossless"),
    "max_loss": ({"max_loss": 1.0}, "--max-loss: means nothing to --codec near-lossless"),
    "restorer": ({"restorer": "auto"}, "--restorer: means nothing to --codec near-lossless"),
    "twice": ({"bounds": (1, 1)}, "--bounds: is (1, 1); allowed: rungs that differ, each bound"),
    "large": ({"bounds": (10,)}, "--bounds: is (10,); allowed: bounds are 0 to 9"),
    "none": ({"bounds": ()}, "--bounds: is (); allowed: a ladder has 1 to 8 rungs"),
    "channels": (
        {"min_max": "channel"},
        "--min-max: is channel, and an int8 front half has one scale for all channels;"
        " allowed: tensor, or --element float32",
    ),
    "bounds_elsewhere": (
        {"codec": "lightweight", "bounds": (1,)},
        "--bounds: means nothing to --codec lightweight; allowed: with --codec near-lossless",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_options_that_mean_nothing_are_refused(name: str, tmp_path: Any) -> None:
    options, words = WRONG[name]
    base = {
        "model": tmp_path / "m.keras", "cut": "c", "calibration": tmp_path / "c.npz",
        "out": tmp_path / "out", "codec": "near-lossless",
    }  # fmt: skip
    with pytest.raises(OptionError) as caught:
        make_options({**base, **options})
    assert str(caught.value).startswith(words)
