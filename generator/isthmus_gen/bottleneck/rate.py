"""Bits of a bottleneck's levels under the contexts of the frames, as a term of the loss.

A level's class of probabilities is chosen by the levels to the left and above and by the channel,
as in the bitstream's scheme "neighbour"; probabilities are counted in the batches seen of late. So
that the features can be moved, a value between two levels costs what lies between their bits. The
coder's contexts adapt within a frame, and this counts without: what it says is a little more. Ours.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["RateModel", "level_classes"]

_KEEP = 0.95
_PRIOR = 6.0
_EACH = 6


def level_classes(levels: int) -> npt.NDArray[np.int32]:
    """Class of each level 0..N-1 as a neighbour, and last that of a place outside the tensor.

    Every level its own up to six of them; of more, classes that double in width.

    >>> level_classes(4).tolist()
    [0, 1, 2, 3, 4]
    >>> level_classes(9).tolist()
    [0, 1, 2, 2, 3, 3, 3, 3, 4, 5]
    """
    if levels <= _EACH:
        own = list(range(levels))
    else:
        own = [level.bit_length() for level in range(levels)]
    return np.array([*own, max(own) + 1], dtype=np.int32)


class RateModel:
    """Counts of levels by channel and neighbours' classes; ``counts`` is a TensorFlow variable."""

    def __init__(self, tf: Any, channels: int, levels: int) -> None:
        self.tf, self.channels, self.levels = tf, channels, levels
        self.classes = level_classes(levels)
        self.number = int(self.classes.max()) + 1
        self.sets = self.number**2
        size = (channels, self.sets, levels)
        self.counts = tf.Variable(tf.zeros(size), trainable=False, name="rate_counts")

    def costs(self) -> Any:
        """Bits of every level in every set: float32 [channels * sets * levels].

        A set that was seen seldom leans on its channel's.
        """
        tf = self.tf
        parent = tf.reduce_sum(self.counts, axis=1, keepdims=True)
        parent = (parent + 0.5) / (tf.reduce_sum(parent, -1, keepdims=True) + 0.5 * self.levels)
        total = tf.reduce_sum(self.counts, -1, keepdims=True) + _PRIOR
        bits = -tf.math.log((self.counts + _PRIOR * parent) / total) / math.log(2.0)
        return tf.reshape(bits, [-1])

    def sets_of(self, sent: Any) -> Any:
        """For levels int32 [n, h, w, C] where the costs of each one's set begin: int32."""
        tf, outside = self.tf, self.levels
        up = tf.pad(sent[:, :-1], [[0, 0], [1, 0], [0, 0], [0, 0]], constant_values=outside)
        left = tf.pad(sent[:, :, :-1], [[0, 0], [0, 0], [1, 0], [0, 0]], constant_values=outside)
        lookup = tf.constant(self.classes)
        chosen = tf.gather(lookup, up) * self.number + tf.gather(lookup, left)
        return (tf.range(self.channels) * self.sets + chosen) * self.levels

    def bits(self, costs: Any, sets: Any, sent: Any) -> Any:
        """Bits of all the levels together: a float32 scalar."""
        return self.tf.reduce_sum(self.tf.gather(costs, sets + sent))

    def soft_bits(self, costs: Any, sets: Any, features: Any) -> Any:
        """The same for features between levels, differentiable in them inside the range."""
        tf = self.tf
        inside = tf.clip_by_value(features, 0.0, self.levels - 1.0)
        below = tf.clip_by_value(tf.cast(tf.floor(inside), tf.int32), 0, self.levels - 2)
        part = inside - tf.cast(below, tf.float32)
        low, high = tf.gather(costs, sets + below), tf.gather(costs, sets + below + 1)
        return tf.reduce_sum((1.0 - part) * low + part * high)

    def update(self, sets: Any, sent: Any) -> None:
        """Counts a batch, and lets what was counted before fade."""
        tf = self.tf
        size = self.channels * self.sets * self.levels
        found = tf.math.bincount(
            tf.reshape(sets + sent, [-1]), minlength=size, maxlength=size, dtype=tf.float32
        )
        self.counts.assign(_KEEP * self.counts + tf.reshape(found, self.counts.shape))
