"""The small network and its data, once a session."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# The helpers beside this file (tests are no package).
sys.path.insert(0, str(Path(__file__).resolve().parent))

from bottleneck_cases import write_data, write_network


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``network.keras``, ``linear.keras``, ``data.npz`` and ``labelled.npz``."""
    root = tmp_path_factory.mktemp("bottleneck")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras copies weights as numpy 2 warns
        write_network(root / "network.keras")
        write_network(root / "linear.keras", rectified=False)
    write_data(root / "data.npz")
    write_data(root / "labelled.npz", labels=True)
    return root


@pytest.fixture
def setting(folder: Path) -> Callable[..., Any]:
    """``setting(channels, stride, ...)`` -> (model, inserted, collected), freshly loaded."""
    from isthmus_gen.bottleneck import collect, insert
    from isthmus_gen.data import Preprocessing, load_data
    from isthmus_gen.models import load_model, resolve_cut

    def make(
        channels: int = 3, stride: int = 2, *, network: str = "network", data: str = "data",
        features: bool | None = None,
    ) -> Any:  # fmt: skip
        model = load_model(folder / f"{network}.keras")
        cut = resolve_cut(model, "middle")
        found = collect(
            model, cut, load_data(folder / f"{data}.npz"), Preprocessing(), features=features
        )
        return model, insert(model, cut, channels, stride), found

    return make
