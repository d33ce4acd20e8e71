"""Cell centroids: the mean feature of each level, in each channel as far as samples suffice."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

__all__ = ["cell_centroids"]

#: A channel's cell counts as much as this many samples of all channels' cell.
_PRIOR = 16.0


def cell_centroids(
    batches: Iterable[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]],
    published: npt.NDArray[np.float32],
    channels: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Values float32 [N, channels] and means float32 [channels] of (levels, features) batches.

    A channel's value is the mean of its cell, drawn towards the mean of the same cell over all
    channels with the weight of 16 samples; a cell that was never seen keeps its ``published``
    value. The channel is the last axis of both arrays.
    """
    count = len(published)
    number = np.zeros((count, channels))
    total = np.zeros((count, channels))
    each = np.arange(channels)
    for levels, features in batches:
        place = (levels.astype(np.int64) * channels + each).reshape(-1)
        flat = features.astype(np.float64).reshape(-1)
        size = count * channels
        number += np.bincount(place, minlength=size).reshape(count, channels)
        total += np.bincount(place, weights=flat, minlength=size).reshape(count, channels)
    seen = number.sum(axis=1, keepdims=True)
    pooled = np.where(
        seen > 0, total.sum(axis=1, keepdims=True) / np.maximum(seen, 1), published[:, np.newaxis]
    )
    values = (total + _PRIOR * pooled) / (number + _PRIOR)
    means = total.sum(axis=0) / np.maximum(number.sum(axis=0), 1)
    return values.astype(np.float32), means.astype(np.float32)
