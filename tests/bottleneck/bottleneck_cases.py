"""A network small enough to be trained in a second, and its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (7, 5, 2)
CLASSES = 3


def write_network(path: Path, *, rectified: bool = True) -> Path:
    """7x5x2 -> 7x5x6 (``middle``) -> three classes, with normalisation on either side."""
    import keras

    def seed(number: int) -> Any:
        return keras.initializers.GlorotUniform(seed=number)

    x = given = keras.Input(SHAPE, name="given")
    x = keras.layers.Conv2D(6, 3, padding="same", kernel_initializer=seed(1), name="first")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Activation("relu" if rectified else "linear", name="middle")(x)
    x = keras.layers.Conv2D(4, 3, strides=2, kernel_initializer=seed(2), name="second")(x)
    x = keras.layers.BatchNormalization(name="second_norm")(x)
    x = keras.layers.Flatten(name="flat")(x)
    x = keras.layers.Dense(CLASSES, "softmax", kernel_initializer=seed(3), name="answer")(x)
    model = keras.Model(given, x)
    rng = np.random.default_rng(5)
    for name in ("norm", "second_norm"):
        layer = model.get_layer(name)
        layer.moving_mean.assign(rng.normal(0, 0.1, layer.moving_mean.shape))
        layer.moving_variance.assign(rng.uniform(0.5, 2, layer.moving_variance.shape))
    model.save(path)
    return path


def write_data(path: Path, *, count: int = 60, labels: bool = False) -> Path:
    """Seeded inputs."""
    rng = np.random.default_rng(3)
    arrays = {"x": rng.normal(0, 1, (count, *SHAPE)).astype(np.float32)}
    if labels:
        arrays["y"] = rng.integers(0, CLASSES, count)
    np.savez(path, **arrays)
    return path
