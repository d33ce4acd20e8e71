"""Training of the convolutional restorer, from the network's own features alone: no labels.

    loss = divergence of the back half's outputs + 0.05 mean ((features - restored) / scale)^2

The first term is left out where the back half cannot be differentiated. Adam, warm-up and cosine
decay; weights and the order of the inputs come from numpy's generator, so that equal inputs give
equal weights on one machine (another number of threads or processor may round differently).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.optional import quiet_import
from isthmus.restore_net import MAX_PLANES, RestorerNet, as_planes
from isthmus_gen.learning import learning_rate, shuffled_batches
from isthmus_gen.progress import Progress, no_progress
from isthmus_gen.restoration.back import BackRunner, Divergence
from isthmus_gen.restoration.collection import FeatureSet

__all__ = ["TrainedNet", "TrainingPlan", "plan_training", "train_net"]

Floats = npt.NDArray[np.float32]
_FEATURE_WEIGHT = 0.05
_LEAST_STEPS, _MOST_STEPS = 400, 6000
_MOST_MACS = 6e13
_SHORT = 1000
_WARM_UP = 100
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-7
_FLOOR = 1e-7


@dataclass(frozen=True)
class TrainingPlan:
    """How long and with what a restorer is trained.

    widths   filters of each layer, the last one the tensor's channels
    kernel   rows and positions of every kernel
    steps    batches seen
    losses   probability that a slice is missing; 0 trains without the plane of missing positions
    """

    widths: tuple[int, ...]
    kernel: tuple[int, int]
    steps: int
    batch: int = 64
    rate: float = 1e-3
    losses: float = 0.0
    seed: int = 1


@dataclass(frozen=True)
class TrainedNet:
    """A trained network and the values [N, channels] to which it adds."""

    net: RestorerNet
    values: Floats


def plan_training(
    shape: tuple[int, ...],
    levels: int,
    inputs: int,
    *,
    epochs: int = 6,
    losses: float = 0.0,
    width: int = 64,
    batch: int = 64,
    seed: int = 1,
) -> TrainingPlan:
    """Three layers of 3x3 (of 3 along one axis, or dense, where the tensor has no more axes).

    ``epochs`` passes over ``inputs``, but not fewer than 400 and not more than 6,000 steps, nor
    more than 6e13 multiply-accumulates: minutes on two cores.
    """
    rows, positions, channels = as_planes(shape)
    kernel = (3 if rows > 1 else 1, 3 if positions > 1 else 1)
    planes = channels * (levels - 1 if levels - 1 <= MAX_PLANES else 1) + (losses > 0)
    widths = (width, width, channels)
    pairs = sum(a * b for a, b in zip((planes, *widths), widths, strict=False))
    cost = 3 * kernel[0] * kernel[1] * pairs * rows * positions
    steps = max(_LEAST_STEPS, min(_MOST_STEPS, math.ceil(epochs * inputs / batch)))
    steps = max(1, min(steps, int(_MOST_MACS // max(1, cost * batch))))
    rate = 2e-3 if steps < _SHORT else 1e-3
    return TrainingPlan(widths, kernel, steps, batch, rate, losses, seed)


def train_net(
    features: FeatureSet,
    levels_of: Callable[[Floats], npt.NDArray[np.uint8]],
    start: tuple[Floats, Floats],
    back: BackRunner,
    divergence: Divergence,
    plan: TrainingPlan,
    progress: Progress = no_progress,
    stage: str = "training the restorer",
) -> TrainedNet:
    """A network trained on the inputs of ``features`` that are not held out.

    ``levels_of`` quantises features float32 [n, *shape] as the device does; ``start`` holds values
    float32 [N, channels] and means [channels]: untrained, the restorer gives almost exactly those.
    """
    tf = quiet_import("tensorflow", 'pip install "isthmus[gen]"')
    rng = np.random.default_rng(plan.seed)
    scale = np.maximum(features.features.reshape(-1, len(start[1])).std(axis=0), 1e-6)
    trainer = _Trainer(tf, scale.astype(np.float32), start, back, divergence, plan, rng)
    order = shuffled_batches(rng, features.training, plan.batch)
    planes = as_planes(features.features.shape[1:])
    for step in range(plan.steps):
        index = next(order)
        x = features.features[index]
        levels = levels_of(x).reshape(len(x), *planes)
        missing = _missing(rng, levels.shape[:3], plan.losses)
        trainer.step(
            x,
            levels,
            missing,
            features.outputs[index],
            learning_rate(plan.rate, step, plan.steps, _WARM_UP),
        )
        if step % 10 == 9 or step + 1 == plan.steps:
            progress(stage, step + 1, plan.steps)
    return trainer.result()


def _missing(
    rng: np.random.Generator, shape: tuple[int, int, int], losses: float
) -> npt.NDArray[np.float32]:
    """1 where a position [n, h, w] is missing: runs in the order of transmission.

    Every second frame arrives whole. The others are cut at random into 2 to 16 slices, each lost
    with probability ``losses``.
    """
    out = np.zeros((shape[0], shape[1] * shape[2]), dtype=np.float32)
    units = out.shape[1]
    if losses > 0:
        for frame in out[1::2]:
            ends = np.sort(rng.integers(0, units + 1, rng.integers(1, 16)))
            for first, last in zip((0, *ends), (*ends, units), strict=True):
                if rng.random() < losses:
                    frame[first:last] = 1.0
    return out.reshape(shape)


class _Trainer:
    """Variables, the optimiser's state and one step of it."""

    def __init__(
        self,
        tf: Any,
        scale: Floats,
        start: tuple[Floats, Floats],
        back: BackRunner,
        divergence: Divergence,
        plan: TrainingPlan,
        rng: np.random.Generator,
    ) -> None:
        self.tf, self.back, self.divergence, self.plan = tf, back, divergence, plan
        values, self.mean = start
        self.scale, self.levels = scale, len(values)
        self.values = tf.Variable(values)
        width = values.shape[1] * (self.levels - 1 if self.levels - 1 <= MAX_PLANES else 1)
        width += plan.losses > 0
        self.layers: list[tuple[Any, Any]] = []
        for number, filters in enumerate(plan.widths):
            last = number + 1 == len(plan.widths)
            size = (*plan.kernel, width, filters)
            spread = 0.005 if last else math.sqrt(2.0 / (plan.kernel[0] * plan.kernel[1] * width))
            kernel = (rng.standard_normal(size) * spread).astype(np.float32)
            self.layers.append((tf.Variable(kernel), tf.Variable(np.zeros(filters, np.float32))))
            width = filters
        self.variables = [self.values, *(v for layer in self.layers for v in layer)]
        self.moments = [
            (tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in self.variables
        ]
        self.count = tf.Variable(0.0)
        self._step = tf.function(self._update, reduce_retracing=True)

    def step(
        self,
        x: Floats,
        levels: npt.NDArray[np.uint8],
        missing: Floats,
        outputs: Floats,
        rate: float,
    ) -> None:
        """One batch: features and outputs as they are without coding, levels as they are sent."""
        constant = self.tf.constant
        self._step(
            constant(x), constant(levels), constant(missing), constant(outputs), constant(rate)
        )

    def _restored(self, levels: Any, missing: Any) -> Any:
        """What :class:`isthmus.restore.RungRestorer` computes, in TensorFlow."""
        tf = self.tf
        there = 1.0 - missing[..., tf.newaxis]
        planes = [tf.cast(levels >= k, tf.float32) * there for k in range(1, self.levels)]
        base = self.values[0] + tf.zeros_like(planes[0])
        for k, plane in enumerate(planes, 1):
            base += (self.values[k] - self.values[k - 1]) * plane
        base = base * there + self.mean * (1.0 - there)
        if self.levels - 1 > MAX_PLANES:
            planes = [tf.cast(levels, tf.float32) * there / (self.levels - 1)]
        h = tf.concat([*planes, 1.0 - there] if self.plan.losses > 0 else planes, axis=-1)
        for number, (kernel, bias) in enumerate(self.layers):
            h = tf.nn.conv2d(tf.nn.relu(h) if number else h, kernel, 1, "SAME") + bias
        return base + h * self.scale

    def _loss(self, x: Any, levels: Any, missing: Any, outputs: Any) -> Any:
        tf = self.tf
        restored = self._restored(levels, missing)
        wanted = tf.reshape(x, tf.shape(restored))
        error = tf.reduce_mean(((restored - wanted) / self.scale) ** 2)
        if self.back.graph is None:
            return error
        found = self.back.graph(tf.reshape(restored, tf.shape(x)), training=False)
        if self.divergence.kind == "kl":
            terms = outputs * (tf.math.log(outputs + _FLOOR) - tf.math.log(found + _FLOOR))
            apart = tf.reduce_sum(terms) / tf.cast(tf.shape(x)[0], tf.float32)
        else:
            apart = tf.reduce_mean((outputs - found) ** 2) / self.divergence.variance
        return apart + _FEATURE_WEIGHT * error

    def _update(self, x: Any, levels: Any, missing: Any, outputs: Any, rate: Any) -> None:
        """Adam (Kingma and Ba 2015), with its correction of the first steps' bias."""
        tf = self.tf
        with tf.GradientTape() as tape:
            loss = self._loss(x, levels, missing, outputs)
        gradients = tape.gradient(loss, self.variables)
        self.count.assign_add(1.0)
        size = rate * tf.sqrt(1.0 - _BETA2**self.count) / (1.0 - _BETA1**self.count)
        for variable, gradient, (mean, square) in zip(
            self.variables, gradients, self.moments, strict=True
        ):
            mean.assign(_BETA1 * mean + (1.0 - _BETA1) * gradient)
            square.assign(_BETA2 * square + (1.0 - _BETA2) * gradient**2)
            variable.assign_sub(size * mean / (tf.sqrt(square) + _EPSILON))

    def result(self) -> TrainedNet:
        """The weights as numpy arrays."""
        layers = tuple((kernel.numpy(), bias.numpy()) for kernel, bias in self.layers)
        net = RestorerNet(layers, self.scale, self.plan.losses > 0)
        return TrainedNet(net, self.values.numpy())
