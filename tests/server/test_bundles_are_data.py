"""Bundles are data: nothing in them runs, opens other files, or unpacks without a bound.

Every attack is a whole bundle whose digests hold, as whoever makes a bundle can make them hold: the
back half or the restorer is replaced, and profile and manifest say so. Those that would leave a
trace if they ran (a file, an opened socket) are checked for it; they are opened as the server opens
them.
"""

from __future__ import annotations

import io
import json
import marshal
import pickle
import resource
import shutil
import subprocess
import sys
import zipfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import ROOT, Served

from isthmus.backhalf import BackHalf
from isthmus.bundle import Bundle, file_digest, make_manifest
from isthmus.decoder import Decoder
from isthmus.errors import BundleEditedError, BundleError, BundleFormatError, IsthmusError
from isthmus.model_files import check_keras, check_onnx, check_tflite
from isthmus.profile import Profile
from isthmus.restore import RESTORER, RESTORER_ARRAYS, RungRestorer, write_restorer
from isthmus.server.config import load_config
from isthmus.server.fleet import Fleet

keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")

SHAPE = (4, 4, 32)

#: Keras and numpy of today, when a network is saved.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def forged(served: Served, out: Path, name: str, content: bytes, **more: bytes) -> Path:
    """A copy of the bundle with another back half ``name``, and digests that fit."""
    shutil.copytree(served.path, out)
    profile = served.decoder.profile
    data = json.loads(profile.canonical())
    data["extra"]["back"] = {
        **data["extra"]["back"], "file": name, "sha256": file_digest(content)
    }  # fmt: skip
    made = Profile.from_dict(data)
    files = {"front.tflite": (out / "front.tflite").read_bytes(), name: content, **more}
    files["profile.json"] = made.canonical()
    for file, text in files.items():
        (out / file).write_bytes(text)
    (out / "manifest.json").write_bytes(make_manifest(made, files))
    return out


def refusal(bundle: Path) -> IsthmusError:
    """The error with which a server refuses to start with the bundle."""
    with pytest.raises(IsthmusError) as caught:
        Fleet(load_config(None, bundles=[{"path": str(bundle)}]))
    return caught.value


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
    "name", ["../outside", "/tmp/outside", "assets/../../outside", "assets/layer/words", "a\\b"]
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


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protobuf message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor_elsewhere() -> bytes:
    entry = field(1, b"location") + field(2, b"/etc/passwd")
    return field(1, 8) + field(2, 2) + field(8, b"w") + field(13, entry) + field(14, 1)


ELSEWHERE = tensor_elsewhere()
GRAPHS = {
    "an initializer": field(7, field(5, ELSEWHERE)),
    "a sparse one": field(7, field(15, field(1, ELSEWHERE))),
    "a constant": field(7, field(1, field(5, field(5, ELSEWHERE)))),
    "a list of constants": field(7, field(1, field(5, field(10, ELSEWHERE)))),
    "a branch": field(7, field(1, field(5, field(6, field(5, ELSEWHERE))))),
    "a function": field(25, field(7, field(5, field(5, ELSEWHERE)))),
    "training": field(20, field(1, field(5, ELSEWHERE))),
    "no location": field(7, field(5, field(13, b""))),
    "no data": field(7, field(5, field(14, 1))),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_an_onnx_file_opens_no_other(digits: Served, tmp_path: Path, case: str) -> None:
    bundle = forged(digits, tmp_path / "bundle", "back.onnx", field(1, 8) + GRAPHS[case])
    error = refusal(bundle)
    assert isinstance(error, BundleFormatError)
    assert "other files" in str(error)
    assert error.remedy


def test_onnx_and_onnxruntime_agree_with_the_walk(digits: Served, tmp_path: Path) -> None:
    """The onnx package's own file: accepted inside, refused once its weights are moved out."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    shape = digits.decoder.profile.tensor.shape
    size = int(np.prod(shape))
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", kind, [None, *shape])],
        [helper.make_tensor_value_info("y", kind, [None, 10])],
        [onnx.numpy_helper.from_array(np.ones((size, 10), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    features = digits.decoder.decode(digits.frames[0]).features
    bundle = forged(digits, tmp_path / "inside", "back.onnx", model.SerializeToString())
    np.testing.assert_allclose(BackHalf(bundle)(features), np.full(10, features.sum()), rtol=1e-3)
    onnx.external_data_helper.convert_model_to_external_data(
        model, location="weights", size_threshold=0
    )
    onnx.save(model, tmp_path / "outside.onnx")
    moved = (tmp_path / "outside.onnx").read_bytes()
    bundle = forged(
        digits, tmp_path / "outside", "back.onnx", moved,
        weights=(tmp_path / "weights").read_bytes(),
    )  # fmt: skip
    assert "other files" in str(refusal(bundle))


@pytest.mark.parametrize(
    "content",
    [
        b"\x08", b"\x3a\x05\x01", b"\x3b", b"\xff" * 12, b"\x38\x01", b"\x08\x00\x00\x00ORTM....",
        b"\x3a" + varint(1 << 62),
    ],
)  # fmt: skip
def test_what_is_no_onnx(content: bytes) -> None:
    with pytest.raises(BundleFormatError):
        check_onnx(content, "back.onnx")


def test_tensorflows_own_operators_are_refused(digits: Served, tmp_path: Path) -> None:
    """ReadFile, WriteFile and their like run wherever TensorFlow's interpreter is the engine."""
    from isthmus.interpreters import tflite_schema

    flatbuffers = pytest.importorskip("flatbuffers")
    schema = tflite_schema()
    model = schema.ModelT.InitFromPackedBuf((digits.path / "back.tflite").read_bytes(), 0)
    code = model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"FlexWriteFile"
    if code.builtinCode > 127:
        code.deprecatedBuiltinCode = 127
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    content = bytes(builder.Output())
    error = refusal(forged(digits, tmp_path / "flex", "back.tflite", content))
    assert isinstance(error, BundleFormatError)
    assert "WriteFile" in str(error)
    # and any other custom operator: no engine here knows one that the file brings
    code.customCode = b"Mine"
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    error = refusal(forged(digits, tmp_path / "custom", "back.tflite", bytes(builder.Output())))
    assert "Mine" in str(error)


def test_a_damaged_tflite_ends_no_server(digits: Served, tmp_path: Path) -> None:
    """Opened in a process of its own: it must refuse or answer, not die."""
    content = (digits.path / "back.tflite").read_bytes()
    rng = np.random.default_rng(8)
    for k in range(24):
        data = bytearray(content)
        if k % 3 == 0:
            data = data[: int(rng.integers(8, len(data)))]
        else:
            for at in rng.integers(8, min(len(data), 4096), 3):
                data[at] ^= int(rng.integers(1, 256))
        (tmp_path / f"{k}.tflite").write_bytes(data)
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from isthmus.errors import IsthmusError\n"
        "from isthmus.interpreters import open_tflite\n"
        "from isthmus.model_files import check_tflite\n"
        "for file in sorted(Path(sys.argv[1]).glob('*.tflite')):\n"
        "    try:\n"
        "        check_tflite(file.read_bytes(), 'x')\n"
        "        open_tflite(file.read_bytes())\n"
        "    except IsthmusError: pass\n"
        "print('alive')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "alive\n", done.stderr[-500:]


def restored(served: Served, out: Path, arrays: bytes) -> Path:
    """The bundle with a restorer whose arrays are ``arrays``."""
    profile = served.decoder.profile
    channels = profile.tensor.shape[-1]
    rungs = tuple(
        RungRestorer(
            "centroids", np.zeros((r.levels, channels), np.float32), np.zeros(channels, np.float32),
            None,
        )
        for r in profile.rungs
    )  # fmt: skip
    files = write_restorer(profile, rungs, {})
    shutil.copytree(served.path, out)
    manifest = json.loads((out / "manifest.json").read_text())
    for name, data in {**files, RESTORER_ARRAYS: arrays or files[RESTORER_ARRAYS]}.items():
        (out / name).write_bytes(data)
        manifest["files"][name] = file_digest(data)
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def npz(header: str | None, data: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """An .npz of one array ``0.values`` with the header given."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        if header is None:
            archive.writestr("0.values.npy", data)
        else:
            text = header.encode().ljust(117) + b"\n"
            head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
            archive.writestr("0.values.npy", head + data)
    return out.getvalue()


HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"


@pytest.mark.parametrize(
    "arrays",
    [
        npz(HEADER.format("<f4", "(1152921504606846976,)"), b""),
        npz(HEADER.format("<f4", "(4294967296,)"), bytes(64)),
        npz(HEADER.format("|O", "(1,)"), pickle.dumps([print])),
        npz(HEADER.format("<f8", "(8,)"), bytes(64)),
        npz(HEADER.format("<f4", "(-4, -4)"), bytes(64)),
        npz(HEADER.format("<f4", "(16,)"), bytes(64), zipfile.ZIP_DEFLATED),
        npz(HEADER.format("<f4", "(67108864,)"), bytes(1 << 28), zipfile.ZIP_DEFLATED),
        npz(None, pickle.dumps([print])),
        npz("(lambda: 0)()", bytes(64)),
        b"PK\x05\x06" + bytes(18),
        b"no archive",
    ],
    ids=[
        "2**60", "2**32", "objects", "doubles", "negative", "compressed", "bomb", "pickle", "code",
        "empty", "junk",
    ],
)  # fmt: skip
def test_a_restorer_is_float32_arrays_of_its_own_length(
    digits: Served, tmp_path: Path, arrays: bytes
) -> None:
    bundle = restored(digits, tmp_path / "bundle", arrays)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refusal(bundle)
    assert isinstance(error, BundleFormatError), error
    assert str(bundle / RESTORER) in error.path
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 96 << 10, f"{grown} KiB"


def test_a_restorer_as_it_is_written_opens(digits: Served, tmp_path: Path) -> None:
    bundle = restored(digits, tmp_path / "bundle", b"")
    features = Decoder(bundle).decode(digits.frames[0]).features
    assert not features.any()


def test_every_file_is_what_the_manifest_says(digits: Served, tmp_path: Path) -> None:
    """The server looks at all files, those that it will not open among them."""
    for name in ("firmware/src/isth_frame.c", "labels.txt", "report.json"):
        out = tmp_path / name.replace("/", "_")
        shutil.copytree(digits.path, out)
        if not (out / name).exists():
            continue
        with (out / name).open("ab") as stream:
            stream.write(b" ")
        assert isinstance(refusal(out), BundleEditedError)
    out = tmp_path / "linked"
    shutil.copytree(digits.path, out)
    (out / "labels.txt").unlink()
    (out / "labels.txt").symlink_to("/etc/hostname")
    assert isinstance(refusal(out), BundleFormatError)
    with pytest.raises(BundleError):
        Bundle.open(out, check=True)
