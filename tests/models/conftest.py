"""Small networks made on the spot, and the real ones loaded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.optional import quiet_import
from isthmus_gen.models import LoadedModel, load_model


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras with its import warnings held back, seeded."""
    module = quiet_import("keras", "")
    module.utils.set_random_seed(7)
    return module


@pytest.fixture(scope="session")
def tflm(require_package: Callable[[str], None]) -> str:
    """The engine name ``tflm``, whose wheel exists for Linux on x86-64 alone."""
    require_package("tflite_micro")
    return "tflm"


@pytest.fixture(scope="session")
def tiny(data_dir: Path) -> Callable[..., LoadedModel]:
    """``tiny("kws.keras")``: an MLPerf Tiny model; flatbuffers on the reference kernels."""
    loaded: dict[str, LoadedModel] = {}

    def load(name: str) -> LoadedModel:
        if name not in loaded:
            path = data_dir / "models" / "mlperf_tiny" / name
            loaded[name] = load_model(path, engine="litert_ref")
        return loaded[name]

    return load


@pytest.fixture(scope="session")
def pictures(data_dir: Path) -> Any:
    """Real inputs, float32 [12, ...], by network."""
    cifar = np.load(data_dir / "cifar10" / "test_lossless_500.npz")["x"][:12]
    vww = np.load(data_dir / "vww" / "eval_400.npz")["x"][:12]
    kws = np.load(data_dir / "kws" / "test_994_mfcc.npz")["x"][:12]
    return {
        "resnet8": cifar.astype(np.float32),
        "vww_96": vww.astype(np.float32) / np.float32(255),
        "kws": kws.astype(np.float32),
        "ad01": np.random.default_rng(5).normal(0, 8, (12, 640)).astype(np.float32),
    }


@pytest.fixture(scope="session")
def leaky_file(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sequential network with grouped convolution and leaky ReLU (slope 0.1)."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2), name="picture"),
            layers.Conv2D(4, 3, groups=2, name="grouped"),
            layers.LeakyReLU(negative_slope=0.1, name="leaky"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flat"),
            layers.Dense(3, name="answer"),
        ]
    )
    path = tmp_path_factory.mktemp("leaky") / "leaky.keras"
    model.save(path)
    return path
