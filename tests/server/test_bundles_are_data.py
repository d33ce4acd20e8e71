"""Bundles are data: nothing in them runs, opens other files, or unpacks without a bound.

Every attack is a whole bundle whose digests hold, as whoever makes a bundle can make them hold: the
back half or the restorer is replaced, and profile and manifest say so. Those that would leave a
trace if they ran (a file, an opened socket) are checked for it; they are opened as the server opens
them.
"""

from __future__ import annotations

import io
import json
import pickle
import resource
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from bundle_attacks import forged, refusal
from served import Served

from isthmus.backhalf import BackHalf
from isthmus.bundle import Bundle, file_digest
from isthmus.decoder import Decoder
from isthmus.errors import BundleEditedError, BundleError, BundleFormatError
from isthmus.model_files import check_onnx
from isthmus.restore import RESTORER, RESTORER_ARRAYS, RungRestorer, write_restorer


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
