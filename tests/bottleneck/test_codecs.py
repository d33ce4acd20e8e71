"""The codecs of the training: JPEG against Pillow, gradients, the rate term by hand."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest

from isthmus_gen.bottleneck import jpeg_code, jpeg_scan_bytes, through_jpeg, through_levels, tile
from isthmus_gen.bottleneck.rate import RateModel, level_classes


def _tensorflow() -> Any:
    import tensorflow

    return tensorflow


def test_levels_and_their_gradient() -> None:
    tf = _tensorflow()
    x = tf.Variable([[0.0, 0.49, 0.5, 1.2, 2.5, 3.0, 7.0]])
    with tf.GradientTape() as tape:
        decoded, levels = through_levels(tf, x, 4)
        total = tf.reduce_sum(decoded * tf.constant([[1.0, 2, 3, 4, 5, 6, 7]]))
    assert levels.numpy().tolist() == [[0, 0, 1, 1, 3, 3, 3]]
    assert decoded.numpy().tolist() == [[0, 0, 1, 1, 3, 3, 3]]
    assert tape.gradient(total, x).numpy().tolist() == [[1, 2, 3, 4, 5, 6, 7]]


@pytest.mark.parametrize(("channels", "across"), [(1, 1), (2, 2), (3, 2), (5, 4), (10, 4), (12, 4)])
def test_tiles(channels: int, across: int) -> None:
    """Channel k stands in row k // across, column k % across."""
    tensor = np.random.default_rng(1).integers(1, 256, (3, 4, channels), dtype=np.uint8)
    picture = tile(tensor)
    assert picture.shape == (3 * math.ceil(channels / across), 4 * across)
    for k in range(channels):
        top, left = 3 * (k // across), 4 * (k % across)
        assert (picture[top : top + 3, left : left + 4] == tensor[:, :, k]).all()
    assert np.count_nonzero(picture) == tensor.size


def _independent(features: Any, quality: int) -> Any:
    """Minimum to maximum in 255 steps, tiles, Pillow there and back: written anew."""
    from PIL import Image

    height, width, count = features.shape
    across = 2 ** math.ceil(math.log2(count) / 2)
    picture = Image.new("L", (across * width, -(-count // across) * height))
    low, high = float(features.min()), float(features.max())
    for k in range(count):
        for row in range(height):
            for column in range(width):
                value = (float(features[row, column, k]) - low) / (high - low) * 255
                place = ((k % across) * width + column, (k // across) * height + row)
                picture.putpixel(place, round(value))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    found = Image.open(file)
    out = np.empty(features.shape)
    for k in range(count):
        for row in range(height):
            for column in range(width):
                place = ((k % across) * width + column, (k // across) * height + row)
                out[row, column, k] = found.getpixel(place) / 255 * (high - low) + low
    return out, file.getvalue()


@pytest.mark.parametrize(("channels", "quality"), [(5, 20), (2, 90)])
def test_jpeg_is_pillows(channels: int, quality: int) -> None:
    tf = _tensorflow()
    rng = np.random.default_rng(2)
    batch = np.maximum(rng.normal(0.3, 1, (3, 6, 7, channels)), 0).astype(np.float32)
    x = tf.Variable(batch)
    weights = rng.normal(0, 1, batch.shape).astype(np.float32)
    with tf.GradientTape() as tape:
        decoded = through_jpeg(tf, x, quality)
        total = tf.reduce_sum(decoded * weights)
    for one, found in zip(batch, decoded.numpy(), strict=True):
        wanted, file = _independent(one, quality)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
        assert jpeg_code(one, quality)[1] == file
    assert float(np.abs(decoded.numpy() - batch).max()) > 0.01  # it is no identity
    np.testing.assert_array_equal(tape.gradient(total, x).numpy(), weights)


def test_jpeg_of_one_value() -> None:
    """Nothing to scale: the value comes back as it was."""
    decoded, _ = jpeg_code(np.full((4, 4, 3), 2.5, np.float32), 20)
    assert (decoded == 2.5).all()


def test_coded_data_alone() -> None:
    """What stands between the end of the scan's header and the end marker."""
    content = jpeg_code(np.random.default_rng(3).random((8, 8, 4)).astype(np.float32), 50)[1]
    scan = content.index(b"\xff\xda")
    assert content[scan + 2 : scan + 4] == b"\x00\x08"  # one component: eight bytes
    assert content.endswith(b"\xff\xd9")
    assert jpeg_scan_bytes(content) == len(content[scan + 2 + 8 : -2])


def _bits_by_hand(counts: Any, levels: Any, classes: Any, count: int) -> float:
    """-log2 P of each level under the class above and to the left and the channel, one by one."""
    number = max(classes) + 1
    total = 0.0
    for picture in levels:
        for row in range(picture.shape[0]):
            for column in range(picture.shape[1]):
                for channel in range(picture.shape[2]):
                    up = classes[picture[row - 1, column, channel] if row else count]
                    left = classes[picture[row, column - 1, channel] if column else count]
                    seen = counts[channel, up * number + left]
                    parent = counts[channel].sum(axis=0) + 0.5
                    parent = parent / parent.sum()
                    level = picture[row, column, channel]
                    share = (seen[level] + 6 * parent[level]) / (seen.sum() + 6)
                    total -= math.log2(share)
    return total


def test_the_rate_is_that_of_the_contexts() -> None:
    tf = _tensorflow()
    rng = np.random.default_rng(6)
    levels = rng.integers(0, 3, (2, 4, 3, 2)).astype(np.int32)
    rate = RateModel(tf, 2, 3)
    rate.update(rate.sets_of(levels), levels)
    counts = rate.counts.numpy()
    assert counts.sum() == levels.size
    # channel 1, the corner: outside is class 3 on both sides, four classes
    corner = np.bincount(levels[:, 0, 0, 1], minlength=3)
    assert counts[1, 3 * 4 + 3].tolist() == corner.tolist()
    sets = rate.sets_of(levels)
    found = float(rate.bits(rate.costs(), sets, levels))
    wanted = _bits_by_hand(counts.astype(np.float64), levels, level_classes(3).tolist(), 3)
    assert found == pytest.approx(wanted, rel=1e-5)
    soft = float(rate.soft_bits(rate.costs(), sets, tf.cast(levels, tf.float32)))
    assert soft == pytest.approx(wanted, rel=1e-5)


def test_the_rates_gradient_is_the_step_between_levels() -> None:
    """Between two levels a feature costs what lies between; outside the range nothing changes."""
    tf = _tensorflow()
    rate = RateModel(tf, 1, 3)
    levels = np.zeros((1, 1, 1, 1), np.int32)
    rate.counts.assign(np.broadcast_to([8.0, 4.0, 2.0], rate.counts.shape))
    costs = rate.costs().numpy().reshape(-1, 3)[0]
    sets = rate.sets_of(levels)
    for value, slope in ((0.4, costs[1] - costs[0]), (1.7, costs[2] - costs[1]), (5.0, 0), (-1, 0)):
        x = tf.Variable(np.full((1, 1, 1, 1), value, np.float32))
        with tf.GradientTape() as tape:
            bits = rate.soft_bits(rate.costs(), sets, x)
        assert float(tape.gradient(bits, x)[0, 0, 0, 0]) == pytest.approx(float(slope), abs=1e-6)


def test_classes_of_many_levels() -> None:
    classes = level_classes(256).tolist()
    assert classes[:6] == [0, 1, 2, 2, 3, 3]
    assert (classes[255], classes[256]) == (8, 9)
