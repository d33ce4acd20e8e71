"""Bundles to evaluate, made once for all tests of this folder."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isthmus.bundle import Bundle
from isthmus_gen.data import DataSet, load_data
from isthmus_gen.digits import (
    DIGITS_DEFAULT_CUT,
    digits_model_path,
    write_digits_npz,
)
from isthmus_gen.evaluate import Evaluation, evaluate_bundle
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import generate

# The helper beside this file (tests are no package).
sys.path.insert(0, str(Path(__file__).resolve().parent))

Make = Callable[..., Bundle]
DIGITS = 100


@pytest.fixture(scope="session")
def make_bundle() -> Make:
    """``make_bundle(model=..., cut=..., calibration=..., out=..., **options)``, model included."""

    def make(**options: Any) -> Bundle:
        bundle = generate(make_options(options)).bundle
        name = str(bundle.profile.extra["model"]["name"])
        copy = bundle.path / "model" / name
        if not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(options["model"], copy)
        return bundle

    return make


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The digits as files, by part."""
    return write_digits_npz(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def digits_bundle(
    make_bundle: Make, digits: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """The digits network with a ladder of three rungs."""
    return make_bundle(
        model=digits_model_path(),
        cut=DIGITS_DEFAULT_CUT,
        calibration=digits["calibration"],
        levels=(4, 8, 2),
        out=tmp_path_factory.mktemp("bundle") / "digits",
    )


@pytest.fixture(scope="session")
def digits_data(digits: dict[str, Path]) -> DataSet:
    """The first test digits."""
    return load_data(digits["test"], limit=DIGITS)


@pytest.fixture(scope="session")
def digits_evaluation(digits_bundle: Bundle, digits_data: DataSet) -> Evaluation:
    """The digits bundle, evaluated."""
    return evaluate_bundle(digits_bundle, digits_data)
