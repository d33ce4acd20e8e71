"""Where training starts: units that already send the features' principal components.

The strided filters become the principal components of the features' patches, the 1x1 convolution
sends the first C of them, and the transposed convolution is the least-squares way back. The ReLUs
between see values two deviations above zero, so that at first little is lost by them. Ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus_gen.bottleneck.units import Inserted

__all__ = ["start_units"]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_LIFT = 2.0
_RIDGE = 1e-3
_MOST_PATCHES = 40_000
#: Above this size of a patch the components would take longer to find than training gains.
_MOST_VALUES = 2304


def start_units(inserted: Inserted, features: Floats, levels: int, *, seed: int = 1) -> bool:
    """Sets the units' weights from ``features`` float32 [n, H, W, c]; levels are 0..``levels``-1.

    False, and nothing is changed, where a patch has too many values for it.
    """
    plan, host = inserted.plan, inserted.cut.shape[2]
    if plan.kernel**2 * host > _MOST_VALUES:
        return False
    rng = np.random.default_rng(seed)
    conv, norm, _, mix, mix_norm, _ = inserted.reduction.layers[1:7]
    patches = _patches(features, plan.kernel, plan.stride)
    sample = patches.reshape(-1, patches.shape[-1]).astype(np.float64)
    if len(sample) > _MOST_PATCHES:
        sample = sample[np.sort(rng.choice(len(sample), _MOST_PATCHES, replace=False))]
    _, vectors = np.linalg.eigh(np.cov(sample, rowvar=False))
    basis = vectors[:, ::-1][:, :host]
    basis = basis * np.where(basis.sum(axis=0) < 0, -1.0, 1.0)
    if basis.shape[1] < host:  # fewer values than filters: the others stay as they are
        return False
    conv.kernel.assign(basis.reshape(conv.kernel.shape).astype(np.float32))
    _lift(norm, patches @ basis, 1.0, _LIFT)
    hidden = np.maximum(_apply(norm, patches @ basis), 0)
    chosen = mix.kernel.numpy().copy()
    same = min(host, plan.channels)
    chosen[0, 0, :, :same] = np.eye(host, same)
    mix.kernel.assign(chosen)
    sent = hidden @ chosen[0, 0].astype(np.float64)
    _lift(mix_norm, sent, (levels - 1) / 4, (levels - 1) / 2)
    sent = np.clip(np.floor(_apply(mix_norm, sent) + 0.5), 0, levels - 1)
    _start_restoration(inserted, features, sent)
    return True


def _start_restoration(inserted: Inserted, features: Floats, sent: Doubles) -> None:
    """The way back from decoded values [n, h, w, C] to the features, by least squares."""
    plan, host = inserted.plan, inserted.cut.shape[2]
    mix, norm, _, conv, last = inserted.restoration.layers[1:6]
    chosen = mix.kernel.numpy().copy()
    same = min(host, plan.channels)
    chosen[0, 0, :, :same] = np.eye(plan.channels, same)
    mix.kernel.assign(chosen)
    values = sent @ chosen[0, 0].astype(np.float64)
    _lift(norm, values, 1.0, _LIFT)
    hidden = np.maximum(_apply(norm, values), 0)
    kernel = _way_back(hidden, features, plan.kernel, plan.stride)
    conv.kernel.assign(np.swapaxes(kernel, 2, 3).astype(np.float32))
    found = np.asarray(conv(hidden.astype(np.float32)), dtype=np.float64)
    spread = found.std(axis=(0, 1, 2))
    _lift(last, found, spread, features.mean(axis=(0, 1, 2), dtype=np.float64))


def _patches(features: Floats, size: int, stride: int) -> Floats:
    """What each strided filter sees: [n, h, w, size * size * c], zeros outside ("same")."""
    sides = [-(-side // stride) for side in features.shape[1:3]]
    pads = []
    for out, side in zip(sides, features.shape[1:3], strict=True):
        total = max(0, (out - 1) * stride + size - side)
        pads.append((total // 2, total - total // 2))
    padded = np.pad(features, ((0, 0), *pads, (0, 0)))
    taps = [
        padded[:, i : i + stride * (sides[0] - 1) + 1 : stride,
               j : j + stride * (sides[1] - 1) + 1 : stride]
        for i in range(size) for j in range(size)
    ]  # fmt: skip
    return np.concatenate(taps, axis=-1)


def _lift(norm: Any, values: Doubles, spread: Any, mean: Any) -> None:
    """A normalisation that gives ``values`` [..., channels] this deviation and mean."""
    channels = values.shape[-1]
    flat = values.reshape(-1, channels)
    norm.moving_mean.assign(flat.mean(axis=0).astype(np.float32))
    norm.moving_variance.assign(flat.var(axis=0).astype(np.float32))
    norm.gamma.assign(np.broadcast_to(spread, channels).astype(np.float32))
    norm.beta.assign(np.broadcast_to(mean, channels).astype(np.float32))


def _apply(norm: Any, values: Doubles) -> Doubles:
    """The normalisation with the statistics that it has."""
    mean, variance, gamma, beta = (
        np.asarray(part, dtype=np.float64)
        for part in (norm.moving_mean, norm.moving_variance, norm.gamma, norm.beta)
    )
    out: Doubles = (values - mean) / np.sqrt(variance + norm.epsilon) * gamma + beta
    return out


def _way_back(hidden: Doubles, features: Floats, size: int, stride: int) -> Doubles:
    """Filters [size, size, c, c] whose transposed convolution of ``hidden`` is near ``features``.

    The features' means are left out: normalisation adds them. A position's offset within the stride
    decides which taps reach it; each offset is solved alone, with zeros outside as the layer has.
    """
    host = features.shape[-1]
    kernel = np.zeros((size, size, host, host))
    before = max(0, size - stride) // 2
    wanted = features.astype(np.float64) - features.mean(axis=(0, 1, 2), dtype=np.float64)
    margin = size  # taps may take positions so far outside
    padded = np.pad(hidden, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    places = [np.arange(side) for side in features.shape[1:3]]
    for row, column in np.ndindex(stride, stride):
        here = [
            place[(place + before) % stride == offset]
            for place, offset in zip(places, (row, column), strict=True)
        ]
        taps = [(i, j) for i in range(row, size, stride) for j in range(column, size, stride)]
        if not taps or not all(len(one) for one in here):
            continue
        # place p takes tap t of hidden position (p + before - t) / stride
        parts = [
            padded[:, (here[0] + before - i) // stride + margin]
            [:, :, (here[1] + before - j) // stride + margin]
            for i, j in taps
        ]  # fmt: skip
        given = np.concatenate(parts, axis=-1)
        given = given.reshape(-1, given.shape[-1])
        target = wanted[:, here[0]][:, :, here[1]].reshape(-1, host)
        square = given.T @ given
        square += np.eye(len(square)) * (_RIDGE * max(np.trace(square) / len(square), 1e-9))
        solved = np.linalg.solve(square, given.T @ target)
        for (i, j), part in zip(taps, np.split(solved, len(taps)), strict=True):
            kernel[i, j] = part
    return kernel
