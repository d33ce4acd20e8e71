"""Keras layers as the converter writes them: 1-D convolutions, transposed ones, changes of size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from isthmus.interpreters import open_tflite
from isthmus_gen.models.convert import keras_to_tflite

Build = Callable[[Any], Sequence[Any]]

# Layers of a 20x3 sequence.
SEQUENCES: dict[str, Build] = {
    "valid": lambda k: [k.Conv1D(4, 3, activation="relu")],
    "same": lambda k: [k.Conv1D(4, 3, strides=2, padding="same")],
    "groups": lambda k: [k.Conv1D(4, 1), k.Conv1D(6, 3, groups=2)],
    "causal": lambda k: [
        k.Conv1D(8, 3, padding="causal", activation="relu"),
        k.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="relu"),
        k.Conv1D(5, 2, padding="causal", dilation_rate=4),
        k.GlobalAveragePooling1D(),
        k.Dense(3),
    ],
    "dilated": lambda k: [
        k.Conv1D(4, 3, dilation_rate=3),
        k.Conv1D(4, 3, padding="same", dilation_rate=2),
    ],
    "depthwise": lambda k: [
        k.DepthwiseConv1D(3, padding="same", depth_multiplier=2),
        k.DepthwiseConv1D(3, strides=2),
        k.DepthwiseConv1D(2, dilation_rate=2),
    ],
    "separable": lambda k: [
        k.SeparableConv1D(4, 3, padding="same", activation="relu"),
        k.SeparableConv1D(5, 3, strides=2),
    ],
    "pools": lambda k: [
        k.MaxPooling1D(2),
        k.AveragePooling1D(3, strides=2, padding="same"),
        k.MaxPooling1D(3, strides=1, padding="same"),
    ],
    "global_max": lambda k: [k.Conv1D(4, 2), k.GlobalMaxPooling1D()],
    "transposed": lambda k: [
        k.Conv1DTranspose(5, 3, strides=2),
        k.Conv1DTranspose(4, 4, strides=3, padding="same", activation="relu"),
    ],
    "extrema": lambda k: [
        lambda x: k.Maximum()([k.Conv1D(4, 1)(x), k.Conv1D(4, 1)(x)]),
        lambda x: k.Minimum()([x, k.Conv1D(1, 3, padding="same")(x)]),
    ],
    "edges": lambda k: [k.ZeroPadding1D((2, 1)), k.Cropping1D((1, 4)), k.Permute((2, 1))],
    "repeated": lambda k: [k.UpSampling1D(3)],
}

# Layers of an 8x6x3 picture.
PICTURES: dict[str, Build] = {
    "dilated": lambda k: [
        k.Conv2D(4, 3, padding="same", dilation_rate=2),
        k.DepthwiseConv2D(3, dilation_rate=(2, 1)),
    ],
    "transposed": lambda k: [
        k.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu"),
        k.Conv2DTranspose(2, 2, strides=(1, 2), use_bias=False),
    ],
    "bilinear": lambda k: [k.UpSampling2D(2, interpolation="bilinear")],
    "nearest": lambda k: [k.UpSampling2D((2, 3))],
    "edges": lambda k: [
        k.ZeroPadding2D(((1, 2), (0, 3))),
        k.Cropping2D(((1, 0), (2, 1))),
        k.Permute((3, 1, 2)),
    ],
    "global_max": lambda k: [k.GlobalMaxPooling2D(keepdims=True)],
}

CASES = [
    *((name, (20, 3), build) for name, build in SEQUENCES.items()),
    *((f"picture_{name}", (8, 6, 3), build) for name, build in PICTURES.items()),
    ("vector", (6,), lambda k: [k.RepeatVector(3)]),
]

# TensorFlow 2.21 writes TILE in its version 3: LiteRT 2.3 ends at 2, and the wheel has none.
REPEATED = ("repeated", "picture_nearest", "vector")


def _converted(shape: tuple[int, ...], build: Build, rng: np.random.Generator) -> bytes:
    import keras

    keras.utils.set_random_seed(5)
    x = given = keras.Input(batch_shape=(1, *shape))
    for layer in build(keras.layers):
        x = layer(x)
    samples = [rng.normal(size=(1, *shape)).astype(np.float32) for _ in range(4)]
    return keras_to_tflite(
        keras.Model(given, x), input_name="in", output_name="out", representative=samples
    )


@pytest.mark.parametrize(("name", "shape", "build"), CASES, ids=[case[0] for case in CASES])
def test_layers_equal_both_engines(
    name: str,
    shape: tuple[int, ...],
    build: Build,
    run_c: Any,
    run_tflm: Any,
    run_litert: Any,
    require_package: Callable[[str], None],
) -> None:
    require_package("keras")
    rng = np.random.default_rng(1)
    tflite = _converted(shape, build, rng)
    x = rng.integers(-128, 128, (4, *shape), dtype=np.int8)
    y = run_c(tflite, x, "litert")
    if name in REPEATED:
        model = open_tflite(tflite, engine="tensorflow")
        expected = [model.run(row.reshape(1, *shape))[0].reshape(-1) for row in x]
        np.testing.assert_array_equal(y, np.stack(expected))
        return
    np.testing.assert_array_equal(y, run_litert(tflite, x))
    np.testing.assert_array_equal(run_c(tflite, x, "tflm"), run_tflm(tflite, x))
