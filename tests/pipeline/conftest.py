"""Small networks, their data, and bundles made from them, once a session."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# The helpers beside this file (tests are no package).
sys.path.insert(0, str(Path(__file__).resolve().parent))

from pipeline_networks import NETWORKS


@pytest.fixture(scope="session")
def digits_data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The digits as .npz files: train, calibration, test."""
    from isthmus_gen.digits import write_digits_npz

    return write_digits_npz(tmp_path_factory.mktemp("digits_data"))


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``network("conv1d")``: the path of a small network, written on first use."""
    root = tmp_path_factory.mktemp("networks")
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = NETWORKS[name](root)
        return made[name]

    return get


@pytest.fixture(scope="session")
def random_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``random_data((16, 3))``: 48 seeded inputs of that shape, as .npz."""
    root = tmp_path_factory.mktemp("random")

    def make(shape: tuple[int, ...]) -> Path:
        path = root / f"{'x'.join(map(str, shape))}.npz"
        if not path.exists():
            x = np.random.default_rng(7).normal(0.0, 1.0, (48, *shape)).astype(np.float32)
            np.savez(path, x=x)
        return path

    return make


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """``make_bundle(model=..., cut=..., calibration=...)`` -> Generated, in a place of its own."""
    from isthmus_gen.options import make_options
    from isthmus_gen.pipeline import generate

    def make(out: Path | None = None, **options: Any) -> Any:
        place = out or tmp_path_factory.mktemp("bundles") / "bundle"
        return generate(make_options({"out": place, **options}))

    return make
