"""The numpy network against Keras, and the look-up of values against loops."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from restoration_cases import uniform_profile

from isthmus.errors import DataDtypeError, DataShapeError, OptionError
from isthmus.restore import Restorer, RungRestorer
from isthmus.restore_net import MAX_PLANES, RestorerNet, as_planes

SHAPES = [(5, 7, 3), (1, 4, 2), (9, 6), (6,)]


def _random_net(
    rng: np.random.Generator, shape: tuple[int, ...], levels: int, losses: bool
) -> RestorerNet:
    channels = shape[-1]
    planes = channels * (levels - 1 if levels - 1 <= MAX_PLANES else 1) + losses
    rows, positions, _ = as_planes(shape)
    size = (3 if rows > 1 else 1, 3 if positions > 1 else 1)
    widths = (planes, 4, 5, channels)
    layers = tuple(
        (
            rng.standard_normal((*size, a, b)).astype(np.float32),
            rng.standard_normal(b).astype(np.float32),
        )
        for a, b in itertools.pairwise(widths)
    )
    return RestorerNet(layers, rng.random(channels).astype(np.float32), losses)


def _keras(net: RestorerNet, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    import keras

    h = keras.Input(x.shape[1:])
    model_input = h
    for number, (kernel, bias) in enumerate(net.layers):
        last = number + 1 == len(net.layers)
        layer = keras.layers.Conv2D(
            bias.size, kernel.shape[:2], padding="same", activation=None if last else "relu"
        )
        h = layer(h)
        layer.set_weights([kernel, bias])
    return np.asarray(keras.Model(model_input, h)(x)) * net.scale


def _planes(levels: npt.NDArray[np.uint8], count: int, lost: Any) -> npt.NDArray[np.float32]:
    """The network's input, element by element."""
    n, h, w, c = levels.shape
    split = count - 1 <= MAX_PLANES
    out = np.zeros((n, h, w, c * (count - 1 if split else 1)), dtype=np.float32)
    for place in np.ndindex(n, h, w, c):
        if lost is not None and lost[place[:3]]:
            continue
        level = int(levels[place])
        if split:
            for k in range(1, count):
                out[(*place[:3], (k - 1) * c + place[3])] = float(level >= k)
        else:
            out[place] = level / (count - 1)
    return out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("levels", "losses"), [(2, False), (3, True), (12, False), (12, True)])
def test_the_network_is_what_keras_computes(
    shape: tuple[int, ...], levels: int, losses: bool
) -> None:
    rng = np.random.default_rng(3)
    net = _random_net(rng, shape, levels, losses)
    given = rng.integers(0, levels, (4, *as_planes(shape))).astype(np.uint8)
    lost = rng.random(given.shape[:3]) < 0.4 if losses else None
    x = _planes(given, levels, lost)
    if lost is not None:
        x = np.concatenate([x, lost[..., np.newaxis].astype(np.float32)], axis=-1)
    found = net(given, levels, lost)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, _keras(net, x), rtol=1e-4, atol=1e-4)


def test_frames_of_a_batch_do_not_touch() -> None:
    rng = np.random.default_rng(4)
    shape = (40, 40, 8)  # so large that a batch goes in several parts
    net = _random_net(rng, shape, 3, False)
    levels = rng.integers(0, 3, (9, *shape)).astype(np.uint8)
    whole = net(levels, 3)
    for index in range(9):
        np.testing.assert_allclose(whole[index], net(levels[index : index + 1], 3)[0], atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_features_are_value_plus_network_and_means_where_nothing_came(
    shape: tuple[int, ...],
) -> None:
    rng = np.random.default_rng(5)
    values = rng.random((3, shape[-1])).astype(np.float32)
    mean = rng.random(shape[-1]).astype(np.float32)
    levels = rng.integers(0, 3, (2, *shape)).astype(np.uint8)
    restorer = Restorer(uniform_profile(shape, 1.0, 3))
    restorer.rungs = (RungRestorer("centroids", values, mean),)
    missing = rng.random(levels.shape) < 0.3
    found = restorer.restore(levels, 0, missing)
    for place in np.ndindex(*levels.shape):
        expected = mean[place[-1]] if missing[place] else values[levels[place], place[-1]]
        assert found[place] == expected
    net = _random_net(rng, shape, 3, False)
    restorer.rungs = (RungRestorer("conv", values, mean, net),)
    added = net(levels.reshape(2, *as_planes(shape)), 3).reshape(levels.shape)
    plain = np.take_along_axis(values, levels.reshape(-1, shape[-1]), 0).reshape(levels.shape)
    np.testing.assert_array_equal(restorer.restore(levels, 0), plain + added)
    np.testing.assert_allclose(restorer(levels[1], 0), (plain + added)[1], atol=1e-4)


def test_without_a_restorer_a_level_is_the_profiles_value() -> None:
    profile = uniform_profile((4, 3), 1.0, 3)
    restorer = Restorer(profile)
    levels = np.array([[0, 1, 2]] * 4, dtype=np.uint8)
    assert restorer.kinds == ("values",)
    assert restorer.restore(levels, 0).tolist() == [[0.0, 0.5, 1.0]] * 4
    row = np.array([True, False, False, False])[:, np.newaxis]
    assert restorer.restore(levels, 0, row)[:2].tolist() == [[0.0] * 3, [0.0, 0.5, 1.0]]


def test_wrong_arguments_are_named() -> None:
    restorer = Restorer(uniform_profile((4, 3), 1.0, 3))
    levels = np.zeros((4, 3), dtype=np.uint8)
    with pytest.raises(DataShapeError, match="levels"):
        restorer.restore(levels[:3], 0)
    with pytest.raises(DataShapeError, match="missing"):
        restorer.restore(levels, 0, np.zeros(5, dtype=np.bool_))
    with pytest.raises(DataDtypeError, match="missing"):
        restorer.restore(levels, 0, levels)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="auto, none"):
        Restorer(restorer.profile, "some")  # type: ignore[arg-type]
