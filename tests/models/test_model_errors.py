"""What cannot be loaded, and what the one-line error says to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import ModelFileError, ModelLoadError, ModelOperatorError
from isthmus_gen.models import load_model

# Keras saves weights by a call that numpy 2 deprecates; the tests here save models.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_nothing_there(tmp_path: Path) -> None:
    for name in ("none.keras", "none.tflite", "none.h5"):
        with pytest.raises(ModelFileError, match="no such file"):
            load_model(tmp_path / name)
    with pytest.raises(ModelFileError, match=r"a folder without saved_model\.pb"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("model.pt", b"", r"format '\.pt'; allowed: \.keras, \.h5, \.tflite, \.onnx"),
        ("model.tflite", b"no flatbuffer", "no TFL3 identifier.*; convert the network again"),
        (
            "model.tflite",
            b"\x30\0\0\0TFL3" + b"\xff" * 50,
            "damaged flatbuffer: .*; convert the network again",
        ),
        ("model.keras", b"no zip", r"neither a \.keras nor an \.h5 model"),
        ("model.h5", b"", r"neither a \.keras nor an \.h5 model"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelLoadError, match=expected) as caught:
        load_model(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_truncated_flatbuffer(data_dir: Path, tmp_path: Path) -> None:
    whole = (data_dir / "models" / "mlperf_tiny" / "ad01_int8.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelLoadError, match="; convert the network again, or copy the file again"):
        load_model(tmp_path / "cut.tflite")


def test_lambda_layers_never_run(keras: Any, tmp_path: Path) -> None:
    """Both formats are refused before Keras would restore the code."""
    trap = keras.layers.Lambda(lambda x: x * 2)
    model = keras.Sequential([keras.Input((4,)), trap, keras.layers.Dense(2)])
    for name in ("lambda.keras", "lambda.h5"):
        model.save(tmp_path / name)
        with pytest.raises(ModelLoadError, match=r"holds a Lambda layer.*replace it by a Keras"):
            load_model(tmp_path / name)


def test_old_depthwise_file_says_what_to_do(data_dir: Path, tmp_path: Path, keras: Any) -> None:
    """Keras 2.x wrote a key ``groups`` for DepthwiseConv2D; such a file is made here by hand."""
    import h5py

    path = tmp_path / "old.h5"
    source = data_dir / "models" / "mlperf_tiny" / "kws.keras"
    keras.models.load_model(source, compile=False).save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "DepthwiseConv2D":
                layer["config"]["groups"] = 1
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ModelLoadError) as caught:
        load_model(path)
    assert str(caught.value) == (
        f"{path}: an old file: its DepthwiseConv2D has the key 'groups', which Keras 3 refuses; "
        "re-save it as a SavedModel with the Keras that wrote it (pip install tf_keras; "
        "tf_keras.models.load_model(FILE).export(DIR)) and give that folder"
    )


def test_custom_objects_say_what_to_do(keras: Any, tmp_path: Path) -> None:
    class Doubling(keras.layers.Layer):  # type: ignore[misc]
        def call(self, value: Any) -> Any:
            return value * 2

    model = keras.Sequential([keras.Input((4,)), Doubling(), keras.layers.Dense(2)])
    for name in ("custom.keras", "custom.h5"):
        model.save(tmp_path / name)
        with pytest.raises(ModelLoadError) as caught:
            load_model(tmp_path / name)
        assert str(caught.value) == (
            f"{tmp_path / name}: holds the custom object 'Doubling', which Keras does not know; "
            "export it where that class is defined (model.export(DIR)) and give that folder"
        )


def test_weights_alone(keras: Any, tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.create_dataset("kernel", data=np.zeros(3))
    with pytest.raises(ModelLoadError, match="weights but no architecture; save the whole model"):
        load_model(tmp_path / "weights.h5")


def test_two_inputs_or_outputs(keras: Any, tmp_path: Path) -> None:
    left, right = keras.Input((4,)), keras.Input((4,))
    added = keras.layers.Add()([left, right])
    keras.Model([left, right], keras.layers.Dense(2)(added)).save(tmp_path / "two_in.keras")
    with pytest.raises(ModelLoadError, match="2 inputs; save the network with one input"):
        load_model(tmp_path / "two_in.keras")
    hidden = keras.layers.Dense(3)(left)
    keras.Model(left, [hidden, keras.layers.Dense(2)(hidden)]).save(tmp_path / "two_out.keras")
    with pytest.raises(ModelLoadError, match="2 outputs; save the network with one output"):
        load_model(tmp_path / "two_out.keras")


def test_model_without_convolution_or_activation(keras: Any, tmp_path: Path) -> None:
    keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), keras.layers.Dense(2)]).save(
        tmp_path / "dense.keras"
    )
    cuts = load_model(tmp_path / "dense.keras").cuts()
    assert [(c.legal, c.macs_before) for c in cuts] == [(False, 0), (True, 24), (False, 32)]


def test_open_dimensions_have_no_numbers(keras: Any, tmp_path: Path, capsys: Any) -> None:
    from isthmus_gen.cli.generate import cuts

    path = tmp_path / "open.keras"
    given = keras.Input((None, 6))
    keras.Sequential([given, keras.layers.Dense(4), keras.layers.Dense(2)]).save(path)
    cuts(path, json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["input_shape"] == [None, 6]
    assert [c["shape"] for c in found["cuts"]] == [[None, 6], [None, 4], [None, 2]]
    for key in ("elements", "bytes", "macs_before", "macs_total"):
        assert [c[key] for c in found["cuts"]] == [None] * 3
    cuts(path, json=False)
    table = capsys.readouterr().out
    assert "?x4" in table
    assert "-1" not in table


def test_advice_where_no_cut_works() -> None:
    from isthmus_gen.cutting import choose_front
    from isthmus_gen.models import Halves
    from isthmus_gen.options import make_options

    options = make_options(
        {"model": "m.keras", "cut": "c", "calibration": "x.npz", "out": "o", "element": "int8"}
    )
    halves = Halves(None, b"front", b"back", notes=("no int8 form",))
    floats = "take --element float32 where the device can run a float front half"
    for name, expected in (
        (None, f"no earlier cut works; {floats}"),
        ("a", f"cut at 'a', which works, or {floats}"),
    ):
        with pytest.raises(ModelOperatorError) as caught:
            choose_front(halves, options, lambda name=name: name)
        assert caught.value.remedy == expected
