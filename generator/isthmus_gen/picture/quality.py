"""How near two pictures are: PSNR, and the structural similarity of Wang et al. (2004)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["PSNR_MOST", "SSIM_WINDOW", "psnr", "ssim"]

Floats = npt.NDArray[np.float64]
PSNR_MOST = 100.0
"""Stands for the PSNR of equal pictures, in dB, which is infinite."""
SSIM_WINDOW = 11
"""Rows and columns of the window, the least that pictures need."""
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


def psnr(a: npt.NDArray[Any], b: npt.NDArray[Any], peak: float = 255.0) -> Floats:
    """PSNR float64 [n] in dB of pictures [n, height, width, channels] with values 0..``peak``.

    10 log10(peak^2 / MSE) of each pair, at most 100 dB.
    """
    error = (a.astype(np.float64) - b.astype(np.float64)).reshape(len(a), -1)
    mean = np.maximum((error**2).mean(axis=1), 1e-30)
    out: Floats = np.minimum(10 * np.log10(peak * peak / mean), PSNR_MOST)
    return out


def ssim(a: npt.NDArray[Any], b: npt.NDArray[Any], peak: float = 255.0) -> Floats | None:
    """SSIM float64 [n] of pictures [n, height, width, channels] with values 0..``peak``.

    As published (Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image Quality Assessment",
    IEEE Trans. Image Processing 13 (2004), 600-612): Gaussian window of 11 x 11 with a sigma of
    1.5, K1 = 0.01, K2 = 0.03, the mean over all windows that lie inside; channels are averaged.
    None for pictures smaller than the window.
    """
    if min(a.shape[1:3]) < SSIM_WINDOW:
        return None
    x, y = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    mean_x, mean_y = _blurred(x), _blurred(y)
    both = mean_x * mean_y
    squares = mean_x**2 + mean_y**2
    covariance = _blurred(x * y) - both
    variances = _blurred(x**2 + y**2) - squares
    luminance = (2 * both + c1) / (squares + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    out: Floats = (luminance * structure).mean(axis=(1, 2, 3))
    return out


def _blurred(x: Floats) -> Floats:
    """``x`` under the Gaussian window, one axis after the other, where it lies inside."""
    at = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    window = np.exp(-(at**2) / (2 * _SIGMA**2))
    window /= window.sum()
    for axis in (1, 2):
        count = x.shape[axis] - SSIM_WINDOW + 1
        x = sum(
            (weight * x.take(range(k, k + count), axis=axis) for k, weight in enumerate(window)),
            start=np.zeros(1),
        )
    return x
