"""Units inside a network: shapes, weights, files that load as any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import CutIllegalError, ModelLoadError, OptionError
from isthmus_gen.bottleneck import BOTTLENECK, TrainingPlan, UnitPlan, insert
from isthmus_gen.bottleneck.start import start_units
from isthmus_gen.digits import digits_model_path
from isthmus_gen.models import load_model, resolve_cut

Setting = Callable[..., Any]


@pytest.mark.parametrize(
    ("stride", "shape"), [(1, (7, 5)), (2, (4, 3)), (3, (3, 2)), (4, (2, 2)), (5, (2, 1))]
)
def test_odd_sides_come_back_whole(setting: Setting, stride: int, shape: tuple[int, int]) -> None:
    """Sides 7 and 5 divided and rounded up on the way there; cropped on the way back."""
    _, inserted, data = setting(3, stride)
    sent = inserted.reduction(data.x[:4], training=False)
    assert tuple(sent.shape) == (4, *shape, 3)
    assert inserted.shape == (*shape, 3)
    assert tuple(inserted.restoration(sent, training=False).shape) == (4, 7, 5, 6)
    assert float(np.min(sent)) >= 0


def test_filters_are_larger_than_the_stride() -> None:
    assert [UnitPlan(1, stride).kernel for stride in (1, 2, 3, 4, 5)] == [3, 3, 5, 5, 7]


def test_the_parts_are_the_whole(setting: Setting) -> None:
    """front, units and back one after the other are the network with units, to the bit."""
    _, inserted, _ = setting()
    x = np.random.default_rng(1).normal(0, 1, (5, 7, 5, 2)).astype(np.float32)
    parts = x
    for part in (inserted.front, inserted.reduction, inserted.restoration, inserted.back):
        parts = part(parts, training=False)
    np.testing.assert_array_equal(np.asarray(parts), np.asarray(inserted.whole(x, training=False)))


def test_the_last_relu_is_left_out_where_the_tensor_has_none(setting: Setting) -> None:
    names = [layer.name for layer in setting(network="linear")[1].units]
    assert names[-2:] == ["restoration_norm", "restoration_crop"]
    names = [layer.name for layer in setting()[1].units]
    assert names[-2:] == ["restoration_relu", "restoration_crop"]


def test_the_network_with_units_is_cut_as_any_other(setting: Setting, tmp_path: Path) -> None:
    from isthmus_gen.models.keras_file import keras_bytes

    _, inserted, _ = setting()
    file = tmp_path / "with.keras"
    file.write_bytes(keras_bytes(inserted.whole))
    loaded = load_model(file)
    assert resolve_cut(loaded, BOTTLENECK).shape == (4, 3, 3)
    x = np.random.default_rng(2).normal(0, 1, (3, 7, 5, 2)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(x), np.asarray(inserted.whole(x, training=False)))
    with pytest.raises(ModelLoadError, match="a layer named 'bottleneck' already"):
        insert(loaded, "restoration_relu", 2, 2)


def test_a_residual_network_keeps_its_shortcut() -> None:
    """The digits network goes on from ``stage1`` on two ways: both take the restored tensor."""
    model = load_model(digits_model_path())
    inserted = insert(model, "stage1", 4, 2)
    names = {layer.name for layer in inserted.back.layers}
    assert {"stage2_shortcut", "stage2_conv1"} <= names
    for layer in inserted.restoration.layers[1:]:
        if layer.name == "restoration_conv":
            layer.kernel.assign(np.zeros(layer.kernel.shape))
    answers = np.asarray(inserted.whole(np.zeros((1, 8, 8, 1)), training=False))
    other = np.asarray(inserted.whole(np.full((1, 8, 8, 1), 16.0), training=False))
    np.testing.assert_array_equal(answers, other)  # nothing passes beside the bottleneck


@pytest.mark.parametrize(
    ("cut", "channels", "stride", "error", "words"),
    [
        ("flat", 2, 2, CutIllegalError, "height x width x channels"),
        ("middle", 0, 2, OptionError, "--channels: is 0"),
        ("middle", 1025, 2, OptionError, "1 to 1024"),
        ("middle", 2, 0, OptionError, "--stride: is 0"),
        ("middle", 2, 6, OptionError, "1 to 5 for a tensor of 7x5"),
    ],
)
def test_what_cannot_be_inserted(
    folder: Path, cut: str, channels: int, stride: int, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        insert(load_model(folder / "network.keras"), cut, channels, stride)


def test_a_flatbuffer_is_refused(data_dir: Path) -> None:
    model = load_model(data_dir / "models" / "mlperf_tiny" / "resnet8_int8.tflite")
    with pytest.raises(ModelLoadError, match="give the Keras file") as error:
        insert(model, model.cuts()[1], 2, 2)
    assert ".keras or .h5" in str(error.value)


def test_the_start_sends_most_of_the_features(setting: Setting) -> None:
    """With as many values as there are to send, fine levels and stride 1 little is lost at once."""
    _, inserted, data = setting(6, 1)
    before = _error(inserted, data.x, 64)
    assert start_units(inserted, data.x, 64)
    after = _error(inserted, data.x, 64)
    assert before > 0.8
    assert after < 0.3


def _error(inserted: Any, features: Any, levels: int) -> float:
    """Mean squared error of the restored features over their variance."""
    sent = np.clip(np.rint(inserted.reduction(features, training=False)), 0, levels - 1)
    back = np.asarray(inserted.restoration(sent, training=False))
    return float(((back - features) ** 2).mean() / features.var())


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_way_back_is_found(stride: int) -> None:
    """Features that a transposed convolution made: least squares finds that very convolution."""
    import keras

    from isthmus_gen.bottleneck.start import _way_back

    rng = np.random.default_rng(4)
    size = UnitPlan(1, stride).kernel
    wanted = rng.normal(0, 1, (size, size, 3, 3))  # rows, columns, out, in: as Keras keeps it
    hidden = rng.normal(0, 1, (4000, 4, 3, 3))
    layer = keras.layers.Conv2DTranspose(3, size, stride, padding="same", use_bias=False)
    layer.build(hidden.shape)
    layer.kernel.assign(wanted)
    features = np.asarray(layer(hidden.astype(np.float32)))
    found = np.swapaxes(_way_back(hidden, features, size, stride), 2, 3)
    np.testing.assert_allclose(found, wanted, atol=0.02)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"coder": "png"}, "--coder: is 'png'; allowed: one of isthmus, jpeg"),
        ({"train": "none"}, "--train"),
        ({"levels": 1}, "--levels: is 1"),
        ({"quality": 101}, "--quality"),
        ({"epochs": 0}, "--epochs"),
        ({"rate_weight": float("nan")}, "--rate-weight: is nan"),
        ({"rate_weight": -1.0}, "0 or more"),
    ],
)
def test_a_plan_that_cannot_be(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        TrainingPlan(**fields)
