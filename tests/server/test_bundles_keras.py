"""Back halves of Keras: data alone. See test_bundles_are_data.py."""

from __future__ import annotations

import io
import json
import marshal
import pickle
import zipfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_attacks import forged, refusal
from served import ROOT, Served

from isthmus.backhalf import BackHalf
from isthmus.errors import BundleFormatError
from isthmus.model_files import check_keras, check_tflite

keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")

SHAPE = (4, 4, 32)
#: Keras and numpy of today, when a network is saved.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_the_real_networks_pass(digits: Served, tmp_path: Path) -> None:
    """What the checks let through still opens, and is the same network."""
    content = keras_bytes(tmp_path)
    bundle = forged(digits, tmp_path / "good", "back.keras", content)
    features = np.stack([digits.decoder.decode(f).features for f in digits.frames[:2]])
    expected = keras.models.load_model(tmp_path / "saved.keras").predict(features, verbose=0)
    np.testing.assert_allclose(BackHalf(bundle)(features), expected, rtol=1e-5, atol=1e-6)
    model = (ROOT / "examples/digits/digits.keras").read_bytes()
    check_keras(model, "digits.keras")
    check_tflite((digits.path / "back.tflite").read_bytes(), "back.tflite")


def network() -> Any:
    """A small Keras network that fits the digits' features."""
    x = keras.Input(SHAPE)
    y = keras.layers.Dense(10)(keras.layers.Flatten()(x))
    return keras.Model(x, y)


def keras_bytes(tmp_path: Path, model: Any = None) -> bytes:
    file = tmp_path / "saved.keras"
    (model or network()).save(file)
    return file.read_bytes()


def rezipped(content: bytes, change: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """The archive with members replaced and added."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", method) as new:
        members = {name: old.read(name) for name in old.namelist()} | change
        for name, data in members.items():
            new.writestr(name, data)
    return out.getvalue()


def with_layer(content: bytes, layer: dict[str, Any]) -> bytes:
    """The archive whose configuration has the layer in the place of its Dense one."""
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        config = json.loads(old.read("config.json"))
    for node in config["config"]["layers"]:
        if node["class_name"] == "Dense":
            layer = {**node, **layer, "name": node["name"]}
            node.clear()
            node.update(layer)
    return rezipped(content, {"config.json": json.dumps(config).encode()})


def code_of(path: Path) -> list[Any]:
    """Marshalled code as Keras keeps it in a Lambda, which makes the file ``path``."""
    source = f"lambda x: (open({str(path)!r}, 'w').close(), x)[1]"
    code = marshal.dumps(eval(source).__code__)
    return [b64encode(code).decode("ascii"), None, None]


def layers(mark: Path) -> dict[str, dict[str, Any]]:
    """Layers that would run something, or open something, by what they are."""
    function = {
        "class_name": "function", "config": "get_file", "module": "keras.utils",
        "registered_name": "get_file",
    }  # fmt: skip
    words = mark.with_suffix(".txt")
    words.write_text("secret\n")
    lookup = {"vocabulary": str(words), "name": "look"}
    return {
        "lambda": {
            "class_name": "Lambda", "module": "keras.layers",
            "config": {"name": "l", "function": {
                "class_name": "__lambda__", "config": {"value": code_of(mark)},
            }},
        },
        "lambda of old": {
            "class_name": "Lambda", "module": None,
            "config": {"name": "l", "function": code_of(mark), "function_type": "lambda"},
        },
        "lambda by a function's name": {
            "class_name": "Lambda", "module": "keras.layers",
            "config": {"name": "l", "function": function, "arguments": {
                "fname": str(mark), "origin": "http://127.0.0.1:9/x"}},
        },
        "an activation that downloads": {
            "class_name": "Dense", "module": "keras.layers",
            "config": {"name": "d", "units": 10, "activation": function},
        },
        "a file of words": {
            "class_name": "StringLookup", "module": "keras.layers", "config": lookup,
        },
        "another file of words": {
            "class_name": "TextVectorization", "module": "keras.layers", "config": lookup,
        },
        "a pickle of torch": {
            "class_name": "TorchModuleWrapper", "module": "keras.layers",
            "config": {"name": "t", "module": b64encode(pickle.dumps(print)).decode("ascii")},
        },
        "a saved model elsewhere": {
            "class_name": "TFSMLayer", "module": "keras.layers",
            "config": {"filepath": str(mark.parent), "call_endpoint": "serve"},
        },
        "a class of the standard library": {
            "class_name": "Popen", "module": "subprocess", "config": {"args": ["touch", str(mark)]},
        },
        "a class elsewhere in Keras": {
            "class_name": "ModelCheckpoint", "module": "keras.callbacks",
            "config": {"filepath": str(mark)},
        },
        "a custom class": {
            "class_name": "Mine", "module": None, "registered_name": "package>Mine", "config": {},
        },
    }  # fmt: skip


CASES = (
    "lambda", "lambda of old", "lambda by a function's name", "an activation that downloads",
    "a file of words", "another file of words", "a pickle of torch", "a saved model elsewhere",
    "a class of the standard library", "a class elsewhere in Keras", "a custom class",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_keras_file_runs_nothing(digits: Served, tmp_path: Path, case: str) -> None:
    mark = tmp_path / "mark"
    content = with_layer(keras_bytes(tmp_path), layers(mark)[case])
    bundle = forged(digits, tmp_path / "bundle", "back.keras", content)
    error = refusal(bundle)
    assert isinstance(error, BundleFormatError)
    assert error.remedy
    assert error.path == str(bundle / "back.keras")
    assert not mark.exists()


@pytest.mark.parametrize("case", CASES)
def test_nor_does_one_in_the_old_format(digits: Served, tmp_path: Path, case: str) -> None:
    mark = tmp_path / "mark"
    file = tmp_path / "saved.h5"
    network().save(file)
    with h5py.File(file, "r+") as opened:
        config = json.loads(opened.attrs["model_config"])
        for node in config["config"]["layers"]:
            if node["class_name"] == "Dense":
                node.update({**layers(mark)[case], "name": node["name"]})
        opened.attrs["model_config"] = json.dumps(config)
    bundle = forged(digits, tmp_path / "bundle", "back.h5", file.read_bytes())
    assert isinstance(refusal(bundle), BundleFormatError)
    assert not mark.exists()


def test_a_custom_class_of_this_process_is_none_of_a_bundles(
    digits: Served, tmp_path: Path
) -> None:
    """Registered here, so Keras alone would make one: with the arguments that the file gives."""
    made: list[int] = []

    @keras.saving.register_keras_serializable(package="isthmus_test")
    class Mine(keras.layers.Layer):  # type: ignore[misc,name-defined]
        def __init__(self, **rest: Any) -> None:
            super().__init__(**rest)
            made.append(1)

        def call(self, x: Any) -> Any:
            return x

    x = keras.Input(SHAPE)
    content = keras_bytes(tmp_path, keras.Model(x, Mine()(x)))
    made.clear()
    error = refusal(forged(digits, tmp_path / "bundle", "back.keras", content))
    assert isinstance(error, BundleFormatError)
    assert made == []


@pytest.mark.parametrize(
    "name", ["../outside", "/outside", "assets/../../outside", "assets/layer/words", "a\\b"]
)
def test_an_archive_has_its_three_members(digits: Served, tmp_path: Path, name: str) -> None:
    content = rezipped(keras_bytes(tmp_path), {name: b"x"})
    error = refusal(forged(digits, tmp_path / "bundle", "back.keras", content))
    assert isinstance(error, BundleFormatError)
    assert "has the member" in str(error)
    assert not (tmp_path / "outside").exists()


def test_an_archive_has_each_member_once(tmp_path: Path) -> None:
    content = keras_bytes(tmp_path)
    out = io.BytesIO(content)
    with zipfile.ZipFile(out, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", b"{}")
    with pytest.raises(BundleFormatError, match="twice"):
        check_keras(out.getvalue(), "back.keras")


def test_an_archive_unpacks_to_a_bounded_size(tmp_path: Path) -> None:
    """Zeros a thousand to one; and a size that the directory states too small."""
    bomb = rezipped(
        keras_bytes(tmp_path), {"model.weights.h5": bytes(64 << 20)}, zipfile.ZIP_DEFLATED
    )
    assert len(bomb) < 1 << 20
    with pytest.raises(BundleFormatError, match="unpacks to"):
        check_keras(bomb, "back.keras")
    lying = bytearray(bomb)
    with zipfile.ZipFile(io.BytesIO(bomb)) as archive:
        size = archive.getinfo("model.weights.h5").file_size.to_bytes(4, "little")
    start = 0
    while (start := lying.find(size, start)) >= 0:
        lying[start : start + 4] = (100).to_bytes(4, "little")
        start += 4
    with pytest.raises(BundleFormatError, match=r"no \.keras archive"):
        check_keras(bytes(lying), "back.keras")


def weights(tmp_path: Path, change: Any) -> bytes:
    """A .keras whose weights' file was changed."""
    content = keras_bytes(tmp_path)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        file = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(file, "r+") as opened:
        change(opened)
    return rezipped(content, {"model.weights.h5": file.getvalue()})


def external_link(file: Any) -> None:
    file["more"] = h5py.ExternalLink("/etc/hostname", "/x")


def soft_link(file: Any) -> None:
    file["more"] = h5py.SoftLink("/layers")


def external_data(file: Any) -> None:
    file.create_dataset("more", (8,), "u1", external=[("/etc/passwd", 0, 8)])


def virtual_data(file: Any) -> None:
    layout = h5py.VirtualLayout((8,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(8,))
    file.create_virtual_dataset("more", layout)


def claims_much(file: Any) -> None:
    file.create_dataset("more", (1 << 40,), "f4", chunks=(1024,))


def unpacks_much(file: Any) -> None:
    file.create_dataset("more", data=np.zeros(64 << 20, "u1"), compression="gzip")


def objects(file: Any) -> None:
    file.create_dataset("more", data=[b"x" * 10], dtype=h5py.string_dtype())


def loop(file: Any) -> None:
    file["deep"] = file["/"]


@pytest.mark.parametrize(
    "change",
    [
        external_link, soft_link, external_data, virtual_data, claims_much, unpacks_much, objects,
        loop,
    ],
)  # fmt: skip
def test_weights_are_arrays_inside_the_file(tmp_path: Path, change: Any) -> None:
    with pytest.raises(BundleFormatError):
        check_keras(weights(tmp_path, change), "back.keras")
