"""Networks of every kind and rank that the pipeline takes, small and with seeded weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _keras() -> Any:
    import keras

    keras.utils.set_random_seed(11)
    return keras


def _digits_model() -> Any:
    import keras

    from isthmus_gen.digits import digits_model_path

    return keras.models.load_model(digits_model_path(), compile=False)


def save_network(model: Any, path: Path) -> Path:
    """Writes a Keras network without its warnings; the path."""
    with warnings.catch_warnings():
        # Keras calls .h5 legacy, and converts fresh weights in a way that numpy deprecates
        warnings.simplefilter("ignore")
        model.save(path)
    return path


def digits_keras(root: Path) -> Path:
    """The packaged network."""
    from isthmus_gen.digits import digits_model_path

    del root
    return digits_model_path()


def digits_h5(root: Path) -> Path:
    """The packaged network as .h5."""
    return save_network(_digits_model(), root / "digits.h5")


def digits_savedmodel(root: Path) -> Path:
    """The packaged network as a SavedModel folder."""
    _digits_model().export(root / "digits_saved", verbose=False)
    return root / "digits_saved"


def digits_float_tflite(root: Path) -> Path:
    """The packaged network as a float .tflite."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(_digits_model())
    path = root / "digits_float.tflite"
    path.write_bytes(converter.convert())
    return path


def flat(root: Path) -> Path:
    """A convolution, then flattened: the cut ``features`` has shape (64,)."""
    keras = _keras()
    layers = keras.layers
    return save_network(
        keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
                layers.Flatten(name="flattened"),
                layers.Dense(64, activation="relu", name="features"),
                layers.Dense(10),
            ]
        ),
        root / "flat.keras",
    )


def conv1d(root: Path) -> Path:
    """One-dimensional convolutions: the cut ``features`` has shape (16, 8)."""
    keras = _keras()
    layers = keras.layers
    return save_network(
        keras.Sequential(
            [
                keras.Input((32, 3)),
                layers.Conv1D(8, 3, padding="same", activation="relu"),
                layers.Conv1D(8, 3, strides=2, padding="same", activation="relu", name="features"),
                layers.GlobalAveragePooling1D(),
                layers.Dense(5),
            ]
        ),
        root / "conv1d.keras",
    )


def leaky(root: Path) -> Path:
    """Leaky ReLU with slope 0.1: the cut ``features`` holds negative values."""
    keras = _keras()
    layers = keras.layers
    return save_network(
        keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Conv2D(8, 3, padding="same"),
                layers.LeakyReLU(negative_slope=0.1, name="features"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(4),
            ]
        ),
        root / "leaky.keras",
    )


def elu(root: Path) -> Path:
    """ELU: the cut ``features`` is behind an operator that has no int8 form."""
    keras = _keras()
    layers = keras.layers
    return save_network(
        keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Conv2D(8, 3, padding="same"),
                layers.ELU(name="features"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(4),
            ]
        ),
        root / "elu.keras",
    )


NETWORKS: dict[str, Callable[[Path], Path]] = {
    "digits": digits_keras,
    "digits_h5": digits_h5,
    "digits_savedmodel": digits_savedmodel,
    "digits_float_tflite": digits_float_tflite,
    "flat": flat,
    "conv1d": conv1d,
    "leaky": leaky,
    "elu": elu,
}
