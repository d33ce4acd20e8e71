"""The network from features to the picture, and its training by mean squared error.

    features -> normalised -> 1x1 to the width -> two residual blocks
             -> [nearest neighbours doubled, 3x3] until the picture's size -> a residual block
             -> 3x3 to the channels -> sigmoid

Adam, warm-up and half a cosine; the weights of the epoch with the least error on the inputs that
are watched are kept, and five epochs without a better one end it. Weights and the order of the
inputs are seeded: equal inputs give equal weights on one machine (another number of threads or
another processor may round differently).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.optional import quiet_import
from isthmus_gen.learning import learning_rate, shuffled_batches
from isthmus_gen.picture.collection import PictureSet
from isthmus_gen.progress import Progress, no_progress

__all__ = ["PicturePlan", "TrainedPicture", "plan_picture", "train_picture"]

Floats = npt.NDArray[np.float32]
LevelsOf = Callable[[int, Floats], Floats]
_EXTRA = 'pip install "isthmus[generate]"'
_LEAST_STEPS = 300
_LEAST_EPOCH = 25
_MOST_MACS = 2e13
_WARM_UP = 50
_PATIENCE = 5
_MEASURED = 256


@dataclass(frozen=True)
class PicturePlan:
    """How long and with what a picture decoder is trained.

    widths   filters at the features' size and after each doubling of it
    steps    batches in all, ``epoch`` of them between two looks at the inputs that are watched
    macs     multiply-accumulates of one picture
    """

    features: tuple[int, int, int]
    picture: tuple[int, int, int]
    widths: tuple[int, ...]
    steps: int
    epoch: int
    macs: int
    batch: int = 32
    rate: float = 2e-3
    seed: int = 1


@dataclass(frozen=True)
class TrainedPicture:
    """The Keras model: features float32 [n, *shape] -> float32 [n, h, w, c] in 0..1; its steps."""

    model: Any
    steps: int
    best_mse: float


def plan_picture(
    features: tuple[int, int, int],
    picture: tuple[int, int, int],
    inputs: int,
    *,
    epochs: int = 20,
    batch: int = 32,
    seed: int = 1,
) -> PicturePlan:
    """``epochs`` passes over ``inputs``, at least 300 steps, at most 2e13 multiply-accumulates.

    The bound is minutes on two cores. A map of up to 256 positions has 64 filters, one of up to
    1,024 has 32, one of up to 4,096 has 24, a larger one 16.
    """
    height, width, _ = features
    sizes = [(height, width)]
    while 2 * sizes[-1][0] <= picture[0] and 2 * sizes[-1][1] <= picture[1]:
        sizes.append((2 * sizes[-1][0], 2 * sizes[-1][1]))
    widths = tuple(_width(rows * columns) for rows, columns in sizes)
    macs = _macs(features, picture, sizes, widths)
    batch = min(batch, inputs)
    epoch = max(_LEAST_EPOCH, inputs // batch)
    steps = max(_LEAST_STEPS, epochs * max(1, inputs // batch))
    steps = max(1, min(steps, int(_MOST_MACS // (3 * macs * batch))))
    return PicturePlan(features, picture, widths, steps, min(epoch, steps), macs, batch, seed=seed)


def _width(positions: int) -> int:
    bounds = ((256, 64), (1024, 32), (4096, 24))
    return next((width for most, width in bounds if positions <= most), 16)


def _macs(
    features: tuple[int, int, int],
    picture: tuple[int, int, int],
    sizes: list[tuple[int, int]],
    widths: tuple[int, ...],
) -> int:
    """Multiply-accumulates of the network that ``_build`` makes."""
    areas = [rows * columns for rows, columns in sizes]
    total = areas[0] * widths[0] * (features[2] + 4 * 9 * widths[0])
    for area, before, here in zip(areas[1:], widths, widths[1:], strict=False):
        total += area * 9 * before * here
    last = picture[0] * picture[1]
    return total + last * 9 * widths[-1] * (2 * widths[-1] + picture[2])


def train_picture(
    pairs: PictureSet,
    decoded: LevelsOf,
    rungs: int,
    plan: PicturePlan,
    progress: Progress = no_progress,
    stage: str = "training the picture decoder",
) -> TrainedPicture:
    """A decoder trained on the inputs of ``pairs`` that are neither watched nor held out.

    ``decoded(rung, features)`` gives features as the host decodes them, both float32 [n, *shape].
    With several ``rungs`` batches go through each in turn.
    """
    tf = quiet_import("tensorflow", _EXTRA)
    keras = quiet_import("keras", _EXTRA)
    rng = np.random.default_rng(plan.seed)
    model = _build(keras, pairs, plan)
    step = _stepper(tf, keras, model)
    order = shuffled_batches(rng, pairs.training, plan.batch)
    best, kept, since, done = math.inf, model.get_weights(), 0, 0
    while done < plan.steps:
        index = next(order)
        x = decoded(done % rungs, pairs.features[index])
        step(x, _wanted(pairs, index), learning_rate(plan.rate, done, plan.steps, _WARM_UP))
        done += 1
        if done % 10 == 0 or done == plan.steps:
            progress(stage, done, plan.steps)
        if done % plan.epoch and done != plan.steps:
            continue
        found = _watch(model, pairs, decoded, rungs)
        if found < best:
            best, kept, since = found, model.get_weights(), 0
        else:
            since += 1
            if since >= _PATIENCE:
                break
    progress(stage, plan.steps, plan.steps)
    model.set_weights(kept)
    return TrainedPicture(model, done, best)


def _wanted(pairs: PictureSet, index: npt.NDArray[np.int64]) -> Floats:
    return pairs.pictures[index].astype(np.float32) / np.float32(pairs.peak)


def _build(keras: Any, pairs: PictureSet, plan: PicturePlan) -> Any:
    """The network with seeded weights; every layer has a name of its own."""
    layers = keras.layers
    number = 0

    def conv(x: Any, filters: int, size: int = 3, bias: Any = "zeros", gain: float = 2.0) -> Any:
        nonlocal number
        number += 1
        seeded = keras.initializers.VarianceScaling(gain, seed=1000 * plan.seed + number)
        return layers.Conv2D(
            filters, size, padding="same", kernel_initializer=seeded, bias_initializer=bias,
            name=f"picture_conv{number}",
        )(x)  # fmt: skip

    def relu(x: Any) -> Any:
        nonlocal number
        number += 1
        return layers.ReLU(name=f"picture_relu{number}")(x)

    def block(x: Any, filters: int) -> Any:
        nonlocal number
        inner = conv(relu(conv(x, filters)), filters, gain=0.2)
        number += 1
        return relu(layers.Add(name=f"picture_add{number}")([x, inner]))

    given = keras.Input(plan.features, name="features")
    sample = pairs.features[pairs.training].reshape(-1, plan.features[2])
    x = layers.Normalization(
        mean=sample.mean(axis=0, dtype=np.float64),
        variance=np.maximum(sample.var(axis=0, dtype=np.float64), 1e-6),
        name="picture_normal",
    )(given)
    x = relu(conv(x, plan.widths[0], 1))
    x = block(block(x, plan.widths[0]), plan.widths[0])
    for k, filters in enumerate(plan.widths[1:], 1):
        # Resizing, since UpSampling2D twice gives shapes that the converter to .tflite loses
        size = (plan.features[0] << k, plan.features[1] << k)
        x = layers.Resizing(*size, interpolation="nearest", name=f"picture_up{k}")(x)
        x = relu(conv(x, filters))
    height, width, channels = plan.picture
    if tuple(x.shape[1:3]) != (height, width):
        x = layers.Resizing(height, width, interpolation="bilinear", name="picture_size")(x)
    x = block(x, plan.widths[-1])
    share = np.clip(pairs.pictures[pairs.training].mean() / pairs.peak, 0.01, 0.99)
    start = keras.initializers.Constant(float(np.log(share / (1 - share))))
    x = conv(x, channels, bias=start, gain=0.2)
    return keras.Model(given, layers.Activation("sigmoid", name="picture")(x))


def _stepper(tf: Any, keras: Any, model: Any) -> Callable[[Floats, Floats, float], None]:
    """One step of Adam (Kingma and Ba 2015) on the mean squared error."""
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def update(x: Any, wanted: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - wanted) ** 2)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    def step(x: Floats, wanted: Floats, rate: float) -> None:
        optimizer.learning_rate.assign(rate)
        update(tf.constant(x), tf.constant(wanted))

    return step


def _watch(model: Any, pairs: PictureSet, decoded: LevelsOf, rungs: int) -> float:
    """The mean squared error on the inputs that are watched, over all rungs; of a peak of 1."""
    total = count = 0.0
    index = pairs.watched[:_MEASURED]
    for rung in range(rungs):
        for start in range(0, len(index), 64):
            part = index[start : start + 64]
            found = np.asarray(model(decoded(rung, pairs.features[part]), training=False))
            total += float(((found - _wanted(pairs, part)).astype(np.float64) ** 2).sum())
            count += found.size
    return total / count
