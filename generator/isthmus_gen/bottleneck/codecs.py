"""The codecs that stand in the bottleneck while it is trained: real ones, with gradient 1.

Quantising and coding have a gradient of zero almost everywhere; in training that of the identity is
taken instead, as published (BottleNet, ISLPED 2019).
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.optional import quiet_import

__all__ = [
    "jpeg_code",
    "jpeg_scan_bytes",
    "levels_forward",
    "through_jpeg",
    "through_levels",
    "tile",
    "untile",
]

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
_EXTRA = 'pip install "isthmus[generate]"'


def levels_forward(tf: Any, features: Any, levels: int) -> Any:
    """Levels int32 of features float32, uniform over the range 0..N-1; zero stays exactly zero."""
    inside = tf.clip_by_value(features, 0.0, levels - 1.0)
    # once more as integers: what is no number is a level all the same, and shows in the loss
    return tf.clip_by_value(tf.cast(tf.floor(inside + 0.5), tf.int32), 0, levels - 1)


def through_levels(tf: Any, features: Any, levels: int) -> tuple[Any, Any]:
    """Decoded values float32, whose gradient is 1, and levels int32, both of the features' shape.

    The device clips and rounds in the same way; a level's value is the level itself.
    """
    sent = levels_forward(tf, features, levels)
    return features + tf.stop_gradient(tf.cast(sent, features.dtype) - features), sent


def through_jpeg(tf: Any, features: Any, quality: int) -> Any:
    """Decoded values float32 of features [n, h, w, C], whose gradient is 1.

    Each input is scaled to 8 bits by its own minimum and maximum, its channels tiled to one
    grey picture, coded and decoded by JPEG (published; how the tiles are laid out too).
    """

    def run(batch: Any) -> Floats:
        return np.stack([jpeg_code(one, quality)[0] for one in batch.numpy()])

    decoded = tf.py_function(run, [features], tf.float32)
    decoded.set_shape(features.shape)
    return features + tf.stop_gradient(decoded - features)


def jpeg_code(features: Floats, quality: int) -> tuple[Floats, bytes]:
    """What JPEG makes of one tensor [h, w, C]: decoded values and the file."""
    image = quiet_import("PIL.Image", _EXTRA)
    low, high = float(features.min()), float(features.max())
    span = high - low
    eight = np.zeros(features.shape, np.uint8)
    if span > 0 and math.isfinite(span):
        eight = np.rint((features.astype(np.float64) - low) * (255.0 / span)).astype(np.uint8)
    file = io.BytesIO()
    image.fromarray(tile(eight)).save(file, "JPEG", quality=quality, optimize=False)
    content = file.getvalue()
    decoded = untile(np.asarray(image.open(io.BytesIO(content))), features.shape[2])
    return (decoded.astype(np.float64) * (span / 255.0) + low).astype(np.float32), content


def tile(channels: Bytes) -> Bytes:
    """[h, w, C] as one picture: a grid 2^ceil(log2(C) / 2) tiles wide; what is left over is 0."""
    height, width, count = channels.shape
    across = _across(count)
    down = -(-count // across)
    grid = np.zeros((down * across, height, width), np.uint8)
    grid[:count] = np.moveaxis(channels, 2, 0)
    rows = grid.reshape(down, across, height, width).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(rows.reshape(down * height, across * width))


def untile(picture: Bytes, count: int) -> Bytes:
    """The ``count`` channels [h, w, C] of a picture that ``tile`` made."""
    across = _across(count)
    down = -(-count // across)
    height, width = picture.shape[0] // down, picture.shape[1] // across
    grid = picture.reshape(down, height, across, width).transpose(0, 2, 1, 3)
    return np.moveaxis(grid.reshape(-1, height, width)[:count], 0, 2)


def jpeg_scan_bytes(content: bytes) -> int:
    """Bytes of a baseline JPEG's coded data alone, without the tables and headers before it.

    Published sizes must be those: they are smaller than the headers of any JPEG file.
    """
    place = 2
    while content[place + 1] != 0xDA:
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return len(content) - place - 2


def _across(count: int) -> int:
    """Tiles of a row: 2^ceil(log2(C) / 2).

    >>> [_across(count) for count in (1, 2, 4, 5, 10, 16, 17)]
    [1, 2, 2, 4, 4, 4, 8]
    """
    return 1 << math.ceil(math.log2(count) / 2) if count > 1 else 1
