"""PSNR and SSIM against TensorFlow's own, and by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from isthmus_gen.picture import psnr, ssim

Pictures = npt.NDArray[np.uint8]


def pairs(shape: tuple[int, ...], noise: float) -> tuple[Pictures, Pictures]:
    """Smooth pictures, and the same with noise."""
    rng = np.random.default_rng(7)
    rough = rng.uniform(0, 255, shape)
    for axis in (1, 2):
        rough = sum(np.roll(rough, k, axis) for k in range(5)) / 5
    a = np.rint(rough).astype(np.uint8)
    b = np.clip(np.rint(a + rng.normal(0, noise, shape)), 0, 255).astype(np.uint8)
    return a, b


@pytest.mark.parametrize("noise", [0.0, 3.0, 40.0])
@pytest.mark.parametrize("shape", [(4, 32, 32, 3), (2, 11, 17, 1), (3, 96, 64, 3)])
def test_ssim_and_psnr_are_tensorflows(shape: tuple[int, ...], noise: float) -> None:
    import tensorflow as tf

    a, b = pairs(shape, noise)
    theirs = tf.image.ssim(
        tf.constant(a, tf.float64), tf.constant(b, tf.float64), 255.0, filter_size=11,
        filter_sigma=1.5, k1=0.01, k2=0.03,
    )  # fmt: skip
    ours = ssim(a, b)
    assert ours is not None
    assert ours == pytest.approx(theirs.numpy(), abs=2e-5)
    if noise:
        assert psnr(a, b) == pytest.approx(tf.image.psnr(a, b, 255).numpy(), rel=1e-5)


def test_psnr_by_hand() -> None:
    a = np.full((1, 4, 4, 1), 100, np.uint8)
    assert psnr(a, a + 16) == pytest.approx([10 * math.log10(255 * 255 / 256)])
    assert psnr(a - 98, a - 96, 16) == pytest.approx([10 * math.log10(16 * 16 / 4)])
    assert psnr(a, a).tolist() == [100.0]


def test_ssim_by_hand() -> None:
    """Of flat pictures only the term of luminance is left."""
    a = np.full((1, 12, 12, 1), 100, np.uint8)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert ssim(a, a + 50) == pytest.approx([expected])
    assert ssim(a, a) == pytest.approx([1.0])


def test_pictures_smaller_than_the_window_have_no_ssim() -> None:
    a = np.zeros((1, 10, 32, 1), np.uint8)
    assert ssim(a, a) is None
