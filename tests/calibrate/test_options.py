"""What a user may ask for, and what the one-line error says where it may not be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import OptionError
from isthmus.profile import TensorSpec
from isthmus_gen.calibrate import TensorStatistics
from isthmus_gen.codec_design import design_rungs
from isthmus_gen.models import ActivationInfo
from isthmus_gen.options import GenerateOptions, make_options


def options(**values: Any) -> GenerateOptions:
    return make_options(
        {"model": "m.keras", "cut": "c", "calibration": "x.npz", "out": "o", **values}
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"slice_rows": -1}, "--slice-rows: is -1; allowed: an integer, 0 or more"),
        ({"limit": -3}, "--limit: is -3; allowed: an integer, 0 or more"),
        ({"vectors": 0}, "--vectors: is 0; allowed: an integer, 1 to 64"),
        ({"vectors": "two"}, "--vectors: is 'two'; allowed: an integer, 1 to 64"),
        (
            {"quantizer": "ecsq", "lam": float("nan")},
            "--lambda: is nan; allowed: a number, 0 or more",
        ),
        ({"quantizer": "ecsq", "lam": -1}, "--lambda: is -1; allowed: a number, 0 or more"),
        ({"c_min": "one"}, "--c-min: is 'one'; allowed: one of auto, zero, free"),
        ({"element": "int4"}, "--element: is 'int4'; allowed: one of auto, int8, int16, float32"),
        ({"levels": (4, 4)}, "--levels: is (4, 4); allowed: rungs that differ, each N once"),
        ({"levels": (4, "x")}, "--levels: is 'x'; allowed: integers, 2 to 256"),
        ({"speed": 1}, "--speed: is no option; see isthmus generate --help"),
        (
            {"lam": 0.1},
            "--lambda: is 0.1, and a uniform quantiser has none; "
            "allowed: with --quantizer ecsq or ecsq-zero",
        ),
        (
            {"clip": "aciq", "c_min": "free"},
            "--c-min: is free with the clip rule aciq; "
            "allowed: auto or zero; free with the rules model and empirical alone",
        ),
        (
            {"clip": "1:2", "c_min": "zero"},
            "--c-min: is zero with a fixed range from 1; allowed: auto with C_MIN:C_MAX",
        ),
    ],
)
def test_wrong_options(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(OptionError) as caught:
        options(**values)
    assert str(caught.value) == expected


def test_options_that_fit_together() -> None:
    assert options().c_min == "auto"
    assert options(clip="3", c_min="zero").command()[-4:] == ["--c-min", "zero", "--out", "bundle"]
    assert options(quantizer="ecsq", lam=0.0).lam == 0


def test_a_rule_that_was_changed_is_noted() -> None:
    features = np.random.default_rng(0).normal(0, 1, (40, 32)).astype(np.float32)
    statistics = TensorStatistics((32,))
    statistics.update(features)
    tensor = TensorSpec("c", (32,), "float32", 1.0, 0)
    wanted = options(levels=(4, 8))
    changed, same = (
        design_rungs(wanted, tensor, seen, activation, list(features))
        for seen, activation in (
            (statistics, ActivationInfo("linear", 1.0)),
            (_rectified(features), ActivationInfo("relu")),
        )
    )
    assert [design.report["notes"] for design in changed] == [
        [
            f"{levels} levels: empirical instead of model: no model for linear features, only for "
            "relu and leaky_relu; c_min free: linear features have no floor at zero"
        ]
        for levels in (4, 8)
    ]
    assert [design.report["notes"] for design in same] == [[], []]


def _rectified(features: np.ndarray) -> TensorStatistics:
    statistics = TensorStatistics((32,))
    statistics.update(np.maximum(features, 0))
    return statistics
