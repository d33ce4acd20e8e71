"""Both halves composed equal the whole.

Flatbuffers: in every element, on the reference kernels. Keras: the converter folds batch
normalisation, so within float rounding: 2e-5 of the largest value of the whole network's output.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import (
    CutIllegalError,
    DataEmptyError,
    DataNotFiniteError,
    DataShapeError,
    ModelOperatorError,
)
from isthmus.interpreters import dequantize, open_keras, open_tflite, quantize
from isthmus_gen.models import Halves, LoadedModel, load_model, resolve_cut
from isthmus_gen.models.flatbuffer import parse

# Keras saves weights by a call that numpy 2 deprecates; the tests here save models.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

KERAS_TOLERANCE = 2e-5


def spread(model: LoadedModel, count: int) -> list[str]:
    """The first, the last and some legal cuts between them."""
    legal = [c.name for c in model.cuts() if c.legal]
    return [legal[round(i * (len(legal) - 1) / (count - 1))] for i in range(count)]


def composed_float(halves: Halves, x: Any) -> Any:
    assert halves.front_float is not None
    features = open_tflite(halves.front_float, engine="litert_ref").run(x)[0]
    return open_tflite(halves.back, engine="litert_ref").run(features)[0]


@pytest.mark.parametrize("network", ["resnet8", "kws", "vww_96", "ad01"])
def test_int8_flatbuffer_halves_equal_the_whole(tiny: Any, pictures: Any, network: str) -> None:
    model = tiny(f"{network}_int8.tflite")
    whole = open_tflite(model.content, engine="litert_ref")
    q = quantize(pictures[network], whole.inputs[0])
    expected = whole.run(q)[0]
    for name in spread(model, 5):
        halves = model.split(name)
        assert halves.front_int8 is not None
        assert halves.front_float is None
        front = open_tflite(halves.front_int8, engine="litert_ref")
        back = open_tflite(halves.back, engine="litert_ref")
        features = front.run(q)[0]
        assert features.dtype == np.int8
        assert (front.outputs[0].scale, front.outputs[0].zero_point) == (
            back.inputs[0].scale,
            back.inputs[0].zero_point,
        )
        assert np.array_equal(back.run(features)[0], expected)
        assert np.array_equal(
            model.features(name, pictures[network]), dequantize(features, front.outputs[0])
        )


@pytest.mark.parametrize("network", ["resnet8", "kws", "vww_96", "ad01"])
def test_float_flatbuffer_halves_equal_the_whole(tiny: Any, pictures: Any, network: str) -> None:
    model = tiny(f"{network}_float.tflite")
    expected = model.predict(pictures[network])
    for name in spread(model, 4):
        halves = model.split(name)
        assert halves.front_int8 is None
        assert np.array_equal(composed_float(halves, pictures[network]), expected)


@pytest.mark.parametrize(
    "name", ["resnet8.keras", "resnet8_legacy.h5", "kws.keras", "vww_96.keras", "ad01.keras"]
)
def test_keras_halves_equal_the_whole(tiny: Any, pictures: Any, name: str) -> None:
    model = tiny(name)
    x = pictures[next(n for n in pictures if name.startswith(n))]
    expected = model.predict(x)
    bound = KERAS_TOLERANCE * float(np.abs(expected).max())
    cuts = (
        ["activation_4", "activation_2", "activation_6"] if "resnet" in name else spread(model, 4)
    )
    for cut in cuts:
        features = model.features(cut, x)
        assert features.shape == (len(x), *resolve_cut(model, cut).shape)
        np.testing.assert_allclose(model.back(cut, features), expected, rtol=0, atol=bound)
    for cut in cuts if name == "resnet8.keras" else cuts[1:2]:  # a conversion takes seconds
        composed = composed_float(model.split(cut), x)
        np.testing.assert_allclose(composed, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("name", ["resnet8.keras", "resnet8_float.tflite"])
def test_int8_front_of_a_float_network(tiny: Any, pictures: Any, tflm: Any, name: str) -> None:
    """The int8 front is close to the float one, runs on TFLM, and both have batch 1."""
    model, x = tiny(name), pictures["resnet8"]
    cut = "activation_4" if name.endswith("keras") else "model/activation_4/Relu"
    halves = model.split(cut, [p[None] for p in x])
    assert halves.notes == ()
    assert halves.front_int8 is not None
    front = open_tflite(halves.front_int8, engine="litert_ref")
    assert front.inputs[0].shape == (1, 32, 32, 3)
    assert front.outputs[0].shape == (1, 16, 16, 32)
    assert front.inputs[0].dtype == front.outputs[0].dtype == np.int8
    assert (front.inputs[0].scale, front.inputs[0].zero_point) == (1.0, -128)  # pictures 0..255
    assert front.outputs[0].zero_point == -128  # after ReLU nothing is negative
    features = model.features(cut, x)
    error = front.run_float(x)[0] - features
    assert np.sqrt(np.mean(error**2)) < 2 * front.outputs[0].scale
    golden = front.run(quantize(x, front.inputs[0]))[0]
    micro = open_tflite(halves.front_int8, engine=tflm)
    assert np.array_equal(micro.run(quantize(x, micro.inputs[0]))[0], golden)
    back = open_tflite(halves.back)
    answer = back.run_float(front.run_float(x)[0])[0]
    assert np.array_equal(answer.argmax(1), model.predict(x).argmax(1))


def test_back_half_takes_any_batch(tiny: Any, pictures: Any) -> None:
    model, x = tiny("resnet8.keras"), pictures["resnet8"]
    back = open_tflite(model.split("activation_4").back, engine="litert_ref")
    assert back.inputs[0].shape == (-1, 16, 16, 32)
    features = model.features("activation_4", x)
    singles = [back.run(f[None])[0] for f in features]
    assert np.array_equal(back.run(features)[0], np.concatenate(singles))


@pytest.mark.parametrize("name", ["resnet8.keras", "resnet8_float.tflite", "resnet8_int8.tflite"])
def test_same_input_same_bytes(tiny: Any, data_dir: Path, pictures: Any, name: str) -> None:
    cut = "activation_6" if name.endswith("keras") else "model/activation_6/Relu"
    inputs = [p[None] for p in pictures["resnet8"][:4]]
    again = load_model(data_dir / "models" / "mlperf_tiny" / name)
    first, second = tiny(name).split(cut, inputs), again.split(cut, iter(inputs))
    assert first == second
    for content in (first.front_int8, first.front_float, first.back):
        if content is not None:
            model = parse(content, "half")
            assert [m.name for m in model.metadata] == [b"min_runtime_version"]
            assert not model.signatureDefs


def test_halves_hold_only_what_they_need(tiny: Any) -> None:
    """Weights are not kept twice, and every constant lies at a multiple of 16 bytes."""
    model = tiny("resnet8_int8.tflite")
    halves = model.split("model/activation_4/Relu")
    parts = [parse(c, "half") for c in (halves.front_int8, halves.back)]
    constants = [[bytes(b.data) for b in p.buffers if b.data is not None] for p in parts]
    whole = {bytes(b.data) for b in parse(model.content, "whole").buffers if b.data is not None}
    assert all(c in whole for side in constants for c in side)
    assert [len(p.subgraphs[0].operators) for p in parts] == [8, 8]
    for content, side in zip((halves.front_int8, halves.back), constants, strict=True):
        large = [c for c in side if len(c) >= 64]
        assert large
        assert all(content.index(c) % 16 == 0 for c in large)


def test_leaky_relu_and_sequential(leaky_file: Path) -> None:
    model = load_model(leaky_file)
    x = np.random.default_rng(3).normal(0, 1, (20, 8, 8, 2)).astype(np.float32)
    halves = model.split("leaky", [p[None] for p in x])
    np.testing.assert_allclose(composed_float(halves, x), model.predict(x), rtol=0, atol=1e-5)
    assert halves.front_int8 is not None
    front = open_tflite(halves.front_int8, engine="litert_ref")
    features = front.run_float(x)[0]
    assert features.min() < 0
    assert np.abs(features - model.features("leaky", x)).max() < 4 * front.outputs[0].scale


def test_uint8_pictures_with_rescaling(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    keras.Sequential(
        [
            keras.Input((8, 8, 3), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    ).save(tmp_path / "pictures.keras")
    model = load_model(tmp_path / "pictures.keras")
    x = np.random.default_rng(4).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    halves = model.split("conv", [p[None].astype(np.float32) for p in x])
    assert model.input_dtype == "uint8"
    composed = composed_float(halves, x.astype(np.float32))
    np.testing.assert_allclose(composed, model.predict(x), rtol=0, atol=1e-5)
    assert open_tflite(halves.front_int8 or b"").inputs[0].dtype == np.int8


def test_saved_model_goes_by_the_flatbuffer(leaky_file: Path, keras: Any, tmp_path: Path) -> None:
    keras_model = load_model(leaky_file)
    keras.models.load_model(leaky_file, compile=False).export(tmp_path / "saved", verbose=False)
    model = load_model(tmp_path / "saved", engine="litert_ref")
    assert (model.kind, model.input_shape, model.output_shape) == ("savedmodel", (8, 8, 2), (3,))
    x = np.random.default_rng(3).normal(0, 1, (20, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), keras_model.predict(x), rtol=0, atol=1e-5)
    cut = next(c for c in model.cuts() if c.operator == "LEAKY_RELU")
    assert model.activation(cut).slope == pytest.approx(0.1, rel=1e-6)  # kept as float32
    halves = model.split(cut, [p[None] for p in x])
    assert np.array_equal(composed_float(halves, x), model.predict(x))
    front = open_tflite(halves.front_int8 or b"", engine="litert_ref")
    assert np.abs(front.run_float(x)[0] - model.features(cut, x)).max() < 4 * front.outputs[0].scale


def test_operators_the_converter_refuses(keras: Any, tmp_path: Path) -> None:
    """In the front: an error with the nearest cut that works. In the back: a Keras back half."""
    layers = keras.layers
    given = keras.Input((8,))
    value = layers.Dense(8, activation="relu", name="first")(given)
    value = keras.ops.erfinv(layers.Dense(8, activation="relu", name="second")(value) * 0.01)
    value = layers.Dense(4, activation="relu", name="third")(value)
    keras.Model(given, layers.Dense(2)(value)).save(tmp_path / "erfinv.keras")
    model = load_model(tmp_path / "erfinv.keras")
    x = np.random.default_rng(1).random((4, 8)).astype(np.float32)
    with pytest.raises(ModelOperatorError) as caught:
        model.split("third")
    assert str(caught.value) == (
        "cut: 'third': the converter refuses it: operator Erfinv; "
        "nearest legal cut: multiply (before)"
    )
    halves = model.split("second")
    assert halves.back_suffix == ".keras"
    assert "Erfinv" in halves.notes[-1]
    assert halves == load_model(tmp_path / "erfinv.keras").split("second")  # no date, no address
    (tmp_path / "back.keras").write_bytes(halves.back)
    back = open_keras(tmp_path / "back.keras")
    features = open_tflite(halves.front_float or b"").run(x)[0]
    np.testing.assert_allclose(back.run(features)[0], model.predict(x), rtol=1e-5)


def test_dynamic_range_networks_have_no_int8_front(tiny: Any, pictures: Any) -> None:
    """The float kws.tflite keeps int8 weights: it is cut as it is, and says why not int8."""
    model = tiny("kws_float.tflite")
    halves = model.split(spread(model, 3)[1], [p[None] for p in pictures["kws"]])
    assert halves.front_int8 is None
    assert "dynamic-range quantisation" in halves.notes[0]


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning")
def test_int8_network_with_float_ends(tiny: Any, pictures: Any, keras: Any, tmp_path: Path) -> None:
    """A leading QUANTIZE is left to the caller, so the front starts with int8."""
    import tensorflow as tf

    whole = keras.models.load_model(Path(tiny("resnet8.keras").path), compile=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(whole)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([p[None]] for p in pictures["resnet8"])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    path = tmp_path / "float_ends.tflite"
    path.write_bytes(converter.convert())
    model = load_model(path)
    assert (model.kind, model.input_dtype) == ("tflite_int8", "float32")
    cut = next(c for c in model.cuts() if c.legal and c.shape == (16, 16, 32))
    halves = model.split(cut)
    assert "QUANTIZE" in halves.notes[0]
    front = open_tflite(halves.front_int8 or b"", engine="litert_ref")
    back = open_tflite(halves.back, engine="litert_ref")
    assert front.inputs[0].dtype == np.int8
    features = front.run(quantize(pictures["resnet8"], front.inputs[0]))[0]
    assert np.array_equal(back.run(features)[0], model.predict(pictures["resnet8"]))


def test_representative_inputs_are_checked(tiny: Any) -> None:
    model = tiny("resnet8.keras")
    with pytest.raises(DataEmptyError, match="representative: no inputs"):
        model.split("activation_4", [])
    with pytest.raises(DataShapeError, match=r"representative\[0\]: shape \[32, 32, 3\]"):
        model.split("activation_4", [np.zeros((32, 32, 3), np.float32)])
    bad = np.full((1, 32, 32, 3), np.nan, np.float32)
    with pytest.raises(DataNotFiniteError, match=r"representative\[0\]"):
        model.split("activation_4", [bad])
    with pytest.raises(CutIllegalError):
        model.split("conv2d_4", [])
    with pytest.raises(DataShapeError, match=r"x: shape \[2, 32, 32\]; allowed: \[n, 32, 32, 3\]"):
        model.predict(np.zeros((2, 32, 32)))
