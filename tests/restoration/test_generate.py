"""``generate --restorer``: what it adds to a bundle, and that it changes nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.bundle import MANIFEST
from isthmus.errors import OptionError
from isthmus.restore import RESTORER, RESTORER_ARRAYS
from isthmus_gen import api
from isthmus_gen.digits import (
    DIGITS_DEFAULT_CUT,
    DIGITS_PREPROCESSING,
    digits_model_path,
    write_digits_npz,
)
from isthmus_gen.options import make_options


def _files(root: Path) -> dict[str, bytes]:
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def test_a_restorer_changes_no_byte_that_is_sent(tmp_path: Path) -> None:
    data = write_digits_npz(tmp_path / "data")

    def make(restorer: str) -> Any:
        return api.generate(
            model=digits_model_path(), cut=DIGITS_DEFAULT_CUT, calibration=data["calibration"],
            out=tmp_path / restorer, levels=(3, 2), preprocess=DIGITS_PREPROCESSING,
            quantizer="ecsq-zero", lam=0.05, restorer=restorer,
        )  # fmt: skip

    plain, restored = make("none"), make("centroids")
    before, after = _files(tmp_path / "none"), _files(tmp_path / "centroids")
    assert set(after) - set(before) == {RESTORER, RESTORER_ARRAYS}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"report.json", MANIFEST}
    assert restored.bundle.profile.digest == plain.bundle.profile.digest
    assert "restorer" not in plain.report
    told = json.loads(after["report.json"])["restorer"]
    assert [rung["used"] for rung in told["rungs"]] == ["centroids"] * 2
    assert (told["inputs"], told["held_out_inputs"]) == (180, 20)
    # evaluate takes the restorer: the same frames, another error
    first, second = (
        api.evaluate(tmp_path / name, data=data["test"], limit=60) for name in ("none", "centroids")
    )
    for a, b in zip(first.rungs, second.rungs, strict=True):
        assert a.bits_per_element == b.bits_per_element
        assert b.feature_mse < a.feature_mse


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("restorer", "best", "one of none, auto, centroids, conv"),
        ("restorer_loss", 1.0, "a number, 0 to 0.9"),
        ("restorer_epochs", 0, "an integer, 1 to 1000"),
    ],
)
def test_wrong_options_are_named(option: str, value: Any, allowed: str) -> None:
    with pytest.raises(OptionError) as caught:
        make_options(
            {"model": "m.keras", "cut": "c", "calibration": "x.npz", "out": "o", option: value}
        )
    assert caught.value.path == f"--{option.replace('_', '-')}"
    assert caught.value.allowed == allowed
