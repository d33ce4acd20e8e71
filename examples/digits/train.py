"""Train the embedded digits network and write ``digits.keras`` beside this file.

    python examples/digits/train.py            (or: make digits)

Seeded and deterministic on one machine; about a minute on two cores. The network is a residual
one of three stages, 8 x 8 x 16, 4 x 4 x 32 and 2 x 2 x 32, in the manner of MLPerf Tiny's
ResNet-8 and of the same operators: convolution, addition, ReLU, average pooling, dense, softmax.
The weights kept are those of the last epoch: neither the calibration nor the test part chooses.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from isthmus_gen.digits import DigitsPart, load_digits_split

SEED = 20210426
EPOCHS = 40
BATCH = 32
STAGES = ((16, 1), (32, 2), (32, 2))


def residual_stage(x: Any, filters: int, stride: int, name: str) -> Any:
    """conv-BN-ReLU-conv-BN plus the shortcut; the stage's output tensor carries ``name``."""
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = keras.layers.Conv2D(
            filters, 1, strides=stride, padding="same", name=f"{name}_shortcut"
        )(x)
    x = keras.layers.Conv2D(
        filters, 3, strides=stride, padding="same", use_bias=False, name=f"{name}_conv1"
    )(x)
    x = keras.layers.BatchNormalization(name=f"{name}_norm1")(x)
    x = keras.layers.ReLU(name=f"{name}_relu1")(x)
    x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv2")(x)
    x = keras.layers.BatchNormalization(name=f"{name}_norm2")(x)
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=name)(x)


def build() -> Any:
    """The untrained network: float32 [n, 8, 8, 1] in 0..16 -> probabilities [n, 10]."""
    inputs = keras.Input((8, 8, 1), name="picture")
    x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = keras.layers.BatchNormalization(name="stem_norm")(x)
    x = keras.layers.ReLU(name="stem")(x)
    for number, (filters, stride) in enumerate(STAGES, start=1):
        x = residual_stage(x, filters, stride, f"stage{number}")
    x = keras.layers.AveragePooling2D(2, name="pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    outputs = keras.layers.Dense(10, activation="softmax", name="digit")(x)
    return keras.Model(inputs, outputs, name="digits")


def augmented(part: DigitsPart, rng: np.random.Generator) -> NDArray[np.float32]:
    """One epoch's pictures: each moved by -1, 0 or 1 pixel both ways, ink scaled by 0.8..1.2."""
    padded = np.pad(part.x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shift = rng.integers(0, 3, size=(len(part), 2))
    moved = np.stack([padded[i, r : r + 8, c : c + 8] for i, (r, c) in enumerate(shift.tolist())])
    ink = rng.uniform(0.8, 1.2, size=(len(part), 1, 1, 1))
    return np.clip(moved * ink, 0, 16).astype(np.float32)


def train(epochs: int) -> tuple[Any, float]:
    """The trained network and its accuracy on the test part."""
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    learn, _, test = load_digits_split()
    rng = np.random.default_rng(SEED)
    network = build()
    steps = -(-len(learn) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * steps)
    network.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=1e-3),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
    )
    targets = np.eye(10, dtype=np.float32)[learn.y]
    for epoch in range(epochs):
        history = network.fit(augmented(learn, rng), targets, batch_size=BATCH, verbose=0)
        print(f"epoch {epoch + 1}/{epochs}: loss {history.history['loss'][-1]:.4f}", flush=True)
    guess = np.argmax(network.predict(test.x, batch_size=100, verbose=0), axis=1)
    return network, float(np.mean(guess == test.y))


def bare_copy(network: Any) -> Any:
    """The network without its training state, so that the file holds weights alone."""
    copy = build()
    copy.set_weights(network.get_weights())
    return copy


def pack(path: Path) -> None:
    """Rewrite the archive compressed and without times: smaller, and the same bytes each time."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    # Keras names shared objects by their address in memory: number them instead.
    numbers: dict[bytes, bytes] = {}
    members["config.json"] = re.sub(
        rb'(?<="shared_object_id": )\d+',
        lambda match: numbers.setdefault(match[0], b"%d" % len(numbers)),
        members["config.json"],
    )
    metadata = json.loads(members["metadata.json"])
    metadata.pop("date_saved", None)
    members["metadata.json"] = json.dumps(metadata, sort_keys=True).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)


def main() -> None:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Train the embedded digits network.")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, default=here / "digits.keras")
    options = parser.parse_args()
    network, accuracy = train(options.epochs)
    bare_copy(network).save(options.out)
    pack(options.out)
    size = options.out.stat().st_size
    print(f"{options.out.name}: {size} bytes, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
