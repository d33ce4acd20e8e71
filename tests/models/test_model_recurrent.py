"""Loops in a network: no int8 front half (TensorFlow's calibrator would crash), costs counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import ModelOperatorError
from isthmus.interpreters import open_tflite
from isthmus_gen.models import convert, load_model

# Keras saves weights by a call that numpy 2 deprecates; the tests here save models.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STEPS, INPUTS, UNITS = 20, 6, 8
X = np.random.default_rng(0).normal(size=(4, STEPS, INPUTS)).astype(np.float32)


@pytest.fixture
def recurrent(keras: Any, tmp_path: Path) -> Any:
    def load(layer: Any) -> Any:
        path = tmp_path / "recurrent.keras"
        keras.Sequential([keras.Input((STEPS, INPUTS)), layer, keras.layers.Dense(3)]).save(path)
        return load_model(path)

    return load


def test_a_loop_gives_a_float_front_and_says_why(keras: Any, recurrent: Any) -> None:
    model = recurrent(keras.layers.LSTM(UNITS, name="l"))
    halves = model.split("l", [x[None] for x in X])
    assert halves.front_int8 is None
    assert halves.notes == (
        "no int8 form of the front half: the operator WHILE cannot be quantised",
    )
    front, back = open_tflite(halves.front_float), open_tflite(halves.back)
    features = np.concatenate([front.run(x[None])[0] for x in X])
    np.testing.assert_allclose(features, model.features("l", X), atol=1e-5)
    np.testing.assert_allclose(back.run(features)[0], model.predict(X), atol=1e-5)


def test_the_quantiser_of_flatbuffers_refuses_a_loop(keras: Any, recurrent: Any) -> None:
    content = recurrent(keras.layers.GRU(UNITS, name="l")).split("l").front_float
    with pytest.raises(ModelOperatorError, match="operator WHILE cannot be quantised; cut before"):
        convert.quantize_tflite(content, [X[:1]], input_name="x", output_name="y")


@pytest.mark.parametrize("name", ["resnet8.keras", "resnet8_float.tflite"])
def test_without_int8_nothing_is_quantised(
    tiny: Any, pictures: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **options: Any) -> bytes:
        assert options.get("representative") is None
        return original(*_, **options)

    original = convert.keras_to_tflite
    monkeypatch.setattr("isthmus_gen.models.keras_model.keras_to_tflite", refuse)
    monkeypatch.setattr("isthmus_gen.models.tflite_model.quantize_tflite", pytest.fail)
    model = tiny(name)
    cut = next(c for c in model.cuts() if c.legal and c.shape == (16, 16, 32))
    halves = model.split(cut, [p[None] for p in pictures["resnet8"]], int8=False)
    assert (halves.front_int8, halves.notes) == (None, ())
    assert halves.front_float is not None


# Per step: inputs and state times the matrices of the gates, 4, 3 or 1 of them.
@pytest.mark.parametrize(
    ("kind", "gates", "options"),
    [
        ("LSTM", 4, {}),
        ("LSTM", 4, {"return_sequences": True}),
        ("GRU", 3, {}),
        ("SimpleRNN", 1, {}),
    ],
)
def test_recurrent_layers_count(
    keras: Any, recurrent: Any, kind: str, gates: int, options: dict[str, Any]
) -> None:
    def layer() -> Any:
        return getattr(keras.layers, kind)(UNITS, name="l", **options)

    one = STEPS * gates * UNITS * (INPUTS + UNITS)
    places = STEPS if options else 1
    cut = next(c for c in recurrent(layer()).cuts() if c.name == "l")
    assert (cut.macs_before, cut.macs_total) == (one, one + places * UNITS * 3)
    both = next(c for c in recurrent(keras.layers.Bidirectional(layer())).cuts()[1:])
    assert both.macs_before == 2 * one


def test_attention_and_layers_over_time_count(keras: Any, tmp_path: Path) -> None:
    given = keras.Input((STEPS, INPUTS))
    attention = keras.layers.MultiHeadAttention(2, 5, value_dim=3, name="a")
    value = attention(given, given)
    value = keras.layers.TimeDistributed(keras.layers.Dense(4), name="t")(value)
    keras.Model(given, keras.layers.Flatten()(value)).save(tmp_path / "attention.keras")
    cuts = {c.name: c.macs_before for c in load_model(tmp_path / "attention.keras").cuts()}
    projections = STEPS * INPUTS * (5 + 5 + 3)
    expected = 2 * (projections + STEPS * STEPS * (5 + 3) + STEPS * 3 * INPUTS)
    assert cuts["a"] == expected
    assert cuts["t"] == expected + STEPS * INPUTS * 4
