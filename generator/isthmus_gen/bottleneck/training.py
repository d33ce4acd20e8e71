"""Training of a bottleneck with the real codec in its place.

    loss = divergence from the whole network's answers (with labels: its mean with cross entropy)
           + rate weight * bits of an input's frame

Only the units are trained, unless asked otherwise; the host network always runs as in inference, so
that its normalisation statistics stay. Adam, warm-up, half a cosine down. All chance comes from the
seed: equal inputs give equal weights on one machine (another processor, TensorFlow or number of
threads may round differently).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import TrainingError
from isthmus.optional import quiet_import
from isthmus_gen.bottleneck.checkpoint import Checkpoint, State
from isthmus_gen.bottleneck.codecs import through_jpeg, through_levels
from isthmus_gen.bottleneck.collection import CutSet
from isthmus_gen.bottleneck.plan import TrainingPlan
from isthmus_gen.bottleneck.rate import RateModel
from isthmus_gen.bottleneck.start import start_units
from isthmus_gen.bottleneck.units import Inserted
from isthmus_gen.learning import learning_rate
from isthmus_gen.progress import Progress, no_progress

__all__ = ["Epoch", "Trained", "Trainer", "train"]

Floats = npt.NDArray[np.float32]
_EXTRA = 'pip install "isthmus[generate]"'
_START_INPUTS = 512
_WARM_UP = 50
_LABEL_SHARE = 0.5
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-7
_FLOOR = 1e-7


@dataclass(frozen=True)
class Epoch:
    """One pass: the mean loss in training, and loss, distortion and bits on what is held out.

    ``bits`` are those of an input under the rate term's contexts; 0 for coder "jpeg".
    """

    loss: float
    held_out: float
    distortion: float
    bits: float


@dataclass(frozen=True)
class Trained:
    """The units as trained (those of the best pass, inside ``inserted``), and how it went."""

    inserted: Inserted
    plan: TrainingPlan
    epochs: tuple[Epoch, ...]
    best: int
    started: bool

    def as_dict(self) -> dict[str, Any]:
        """For a report."""
        best = self.epochs[self.best]
        return {
            "epochs_run": len(self.epochs),
            "best_epoch": self.best + 1,
            "held_out_loss": best.held_out,
            "held_out_distortion": best.distortion,
            "held_out_bits": best.bits if self.plan.coder == "isthmus" else None,
            "started_from_components": self.started,
        }


def train(
    inserted: Inserted,
    data: CutSet,
    plan: TrainingPlan,
    progress: Progress = no_progress,
    *,
    work: Path | None = None,
    key: str = "",
) -> Trained:
    """Trains the units of ``inserted`` in place; with ``plan.train`` "all" every weight.

    ``work`` is a folder for checkpoints, one a pass: an interrupted run goes on where it was and
    ends as if it had not been interrupted. ``key`` tells networks and data apart there.
    Raises TrainingError where the loss is no longer a number; the weights are then worth nothing.
    """
    trainer = Trainer(inserted, data, plan)
    keep = Checkpoint.at(work, key, plan)
    state = keep.load(trainer.arrays())
    if state is None:
        started = trainer.start()
        state = State((), -1, trainer.arrays(), trainer.arrays(), started)
    else:
        trainer.set_arrays(state.arrays)
    while not _ended(state, plan):
        number = len(state.epochs)
        epoch = trainer.epoch(number, progress)
        if not (math.isfinite(epoch.loss) and math.isfinite(epoch.held_out)):
            wrong = epoch.held_out if math.isfinite(epoch.loss) else epoch.loss
            raise TrainingError(
                f"training, pass {number + 1}",
                f"the loss became {wrong}",
                remedy="lower --rate-weight, train the units alone, or give other data",
            )
        arrays = trainer.arrays()
        better = state.best < 0 or epoch.held_out < state.epochs[state.best].held_out
        state = State(
            (*state.epochs, epoch),
            number if better else state.best,
            arrays,
            arrays if better else state.best_arrays,
            state.started,
        )
        keep.save(state)
    trainer.set_arrays(state.best_arrays)
    return Trained(inserted, plan, state.epochs, state.best, state.started)


def _ended(state: State, plan: TrainingPlan) -> bool:
    done = len(state.epochs)
    return done >= plan.epochs or (done > 0 and done - 1 - state.best >= plan.patience)


class Trainer:
    """The variables, the optimiser's state, one pass over the data."""

    def __init__(self, inserted: Inserted, data: CutSet, plan: TrainingPlan) -> None:
        tf = quiet_import("tensorflow", _EXTRA)
        self.tf, self.inserted, self.data, self.plan = tf, inserted, data, plan
        self.divergence = data.divergence
        self.whole = plan.train == "all"
        if self.whole and data.features:
            raise ValueError("to train all weights, the inputs are needed: collect(features=False)")
        layers = inserted.whole.layers if self.whole else inserted.units
        unique = {id(v): v for layer in layers for v in layer.trainable_variables}
        self.variables = [v.value for v in unique.values()]
        self.statistics = [v.value for unit in inserted.units for v in unit.non_trainable_variables]
        self.moments = [tf.Variable(tf.zeros_like(v)) for v in self.variables for _ in range(2)]
        self.count = tf.Variable(0.0)
        channels = inserted.plan.channels
        self.rate = RateModel(tf, channels, plan.levels) if plan.coder == "isthmus" else None
        self._step = tf.function(self._update, autograph=False, reduce_retracing=True)
        self._judge = tf.function(self._measure, autograph=False, reduce_retracing=True)

    def start(self) -> bool:
        """Weights to start from; False where they stay random. Counts for the rate term."""
        some = self.data.training[:_START_INPUTS]
        features = np.concatenate(
            [np.asarray(self._features(self.data.given(i))) for i in self.data.batches(some)]
        )
        levels = self.plan.levels if self.rate is not None else 256
        done = start_units(self.inserted, features, levels, seed=self.plan.seed)
        if self.rate is not None:
            if not done:
                self._spread(features)
            for index in self.data.batches(np.arange(len(features))):
                sent = through_levels(
                    self.tf, self._reduced(features[index], False), self.plan.levels
                )[1]
                self.rate.update(self.rate.sets_of(sent), sent)
        return done

    def _spread(self, features: Floats) -> None:
        """Random units: their values spread over the levels."""
        norm = self.inserted.reduction.layers[-2]
        norm.gamma.assign(np.full(norm.gamma.shape, (self.plan.levels - 1) / 3, np.float32))
        norm.beta.assign(np.full(norm.beta.shape, (self.plan.levels - 1) / 3, np.float32))

    def arrays(self) -> list[npt.NDArray[Any]]:
        """Everything that training changes, in a fixed order."""
        return [v.numpy().copy() for v in self._all()]

    def set_arrays(self, arrays: list[npt.NDArray[Any]]) -> None:
        """The inverse of ``arrays``."""
        for variable, array in zip(self._all(), arrays, strict=True):
            variable.assign(array)

    def _all(self) -> list[Any]:
        counts = [] if self.rate is None else [self.rate.counts]
        return [*self.variables, *self.statistics, *self.moments, self.count, *counts]

    def epoch(self, number: int, progress: Progress = no_progress) -> Epoch:
        """One pass over what is not held out, in an order of its own; then what is held out."""
        training, size = self.data.training, min(self.plan.batch, len(self.data.training))
        mixed = np.random.default_rng([self.plan.seed, number]).permutation(training)
        steps = len(mixed) // size  # a short rest waits for another pass
        total = 0.0
        for step in range(steps):
            index = np.sort(mixed[step * size : (step + 1) * size])
            loss = float(self._step(*self._batch(index), self._rate(number * steps + step, steps)))
            if not math.isfinite(loss):
                return Epoch(loss, loss, loss, loss)
            total += loss
            if step % 10 == 9 or step + 1 == steps:
                progress("training", number * steps + step + 1, self.plan.epochs * steps)
        distortion, bits = self.held_out()
        held = distortion + self.plan.rate_weight * bits
        return Epoch(total / steps, held, distortion, bits)

    def held_out(self) -> tuple[float, float]:
        """Mean distortion and bits of the inputs held out."""
        sums = np.zeros(2)
        index = self.data.held_out
        for part in self.data.batches(index):
            found = self._judge(*self._batch(part))
            sums += np.array([float(value) for value in found]) * (len(part), 1)
        return float(sums[0] / len(index)), float(sums[1] / len(index))

    def _batch(self, index: npt.NDArray[np.int64]) -> tuple[Any, Any, Any]:
        labels = self.data.labels
        known = np.zeros(len(index), np.int64) if labels is None else labels[index]
        constant = self.tf.constant
        return (
            constant(self.data.given(index)),
            constant(self.data.outputs[index]),
            constant(known),
        )

    def _rate(self, step: int, steps: int) -> Any:
        size = learning_rate(self.plan.rate, step, steps * self.plan.epochs, _WARM_UP)
        return self.tf.constant(size, self.tf.float32)

    def _features(self, given: Any) -> Any:
        return given if self.data.features else self.inserted.front(given, training=False)

    def _reduced(self, features: Any, training: bool) -> Any:
        return self.inserted.reduction(features, training=training)

    def _sent(self, given: Any, training: bool) -> tuple[Any, Any, Any]:
        """The bottleneck's values, what is decoded of them, and the levels (None for JPEG)."""
        values = self._reduced(self._features(given), training)
        if self.rate is None:
            return values, through_jpeg(self.tf, values, self.plan.quality), None
        return values, *through_levels(self.tf, values, self.plan.levels)

    def _distortion(self, decoded: Any, outputs: Any, labels: Any, training: bool) -> Any:
        """How far the answers are from the whole network's and the labels: a scalar."""
        tf = self.tf
        restored = self.inserted.restoration(decoded, training=training)
        found = self.inserted.back(restored, training=False)
        if self.divergence.kind == "mse":
            return tf.reduce_mean((outputs - found) ** 2) / self.divergence.variance
        terms = outputs * (tf.math.log(outputs + _FLOOR) - tf.math.log(found + _FLOOR))
        apart = tf.reduce_sum(terms) / tf.cast(tf.shape(outputs)[0], tf.float32)
        if self.data.labels is None:
            return apart
        right = tf.gather(found, labels, batch_dims=1)
        entropy = -tf.reduce_mean(tf.math.log(right + _FLOOR))
        return (1 - _LABEL_SHARE) * apart + _LABEL_SHARE * entropy

    def _update(self, given: Any, outputs: Any, labels: Any, rate: Any) -> Any:
        tf = self.tf
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            values, decoded, sent = self._sent(given, True)
            loss = self._distortion(decoded, outputs, labels, True)
            if self.rate is not None:
                costs, sets = tf.stop_gradient(self.rate.costs()), self.rate.sets_of(sent)
                bits = self.rate.soft_bits(costs, sets, values)
                count = tf.cast(tf.shape(given)[0], tf.float32)
                loss += self.plan.rate_weight * bits / count
        self._adam(tape.gradient(loss, self.variables), rate)
        if self.rate is not None:
            self.rate.update(sets, sent)
        return loss

    def _measure(self, given: Any, outputs: Any, labels: Any) -> tuple[Any, Any]:
        """Mean distortion of a batch, and its bits together."""
        _, decoded, sent = self._sent(given, False)
        distortion = self._distortion(decoded, outputs, labels, False)
        if self.rate is None:
            return distortion, self.tf.constant(0.0)
        return distortion, self.rate.bits(self.rate.costs(), self.rate.sets_of(sent), sent)

    def _adam(self, gradients: Any, rate: Any) -> None:
        """Adam (Kingma and Ba 2015), with its correction of the first steps' bias."""
        tf = self.tf
        self.count.assign_add(1.0)
        size = rate * tf.sqrt(1.0 - _BETA2**self.count) / (1.0 - _BETA1**self.count)
        for place, (variable, gradient) in enumerate(zip(self.variables, gradients, strict=True)):
            if gradient is None:  # a weight that the answers do not depend on
                continue
            mean, square = self.moments[2 * place], self.moments[2 * place + 1]
            mean.assign(_BETA1 * mean + (1.0 - _BETA1) * gradient)
            square.assign(_BETA2 * square + (1.0 - _BETA2) * gradient**2)
            variable.assign_sub(size * mean / (tf.sqrt(square) + _EPSILON))
