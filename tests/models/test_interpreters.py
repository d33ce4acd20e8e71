"""The engine adapter: one behaviour for every engine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import (
    DataDtypeError,
    DataNotFiniteError,
    DataShapeError,
    MissingExtraError,
    ModelFileError,
    ModelLoadError,
    OptionError,
)
from isthmus.interpreters import (
    TensorInfo,
    dequantize,
    open_keras,
    open_onnx,
    open_tflite,
    quantize,
)
from isthmus.optional import quiet_stderr
from isthmus_gen.models import resolve_cut

ENGINES = ["auto", "litert", "litert_ref", "tensorflow", "tflm"]
LABELS = 10


def test_a_small_file_with_large_tensors(tiny: Any, tflm: Any) -> None:
    """The front before the first cut of visual wake words: a file of 2 KB, tensors of 46 KB."""
    model = tiny("vww_96_int8.tflite")
    front = model.split(resolve_cut(model, "model/activation/Relu"), []).front_int8
    x = np.random.default_rng(5).integers(-128, 128, (1, 96, 96, 3), dtype=np.int8)
    found, wanted = (open_tflite(front, engine=e).run(x)[0] for e in (tflm, "litert_ref"))
    assert 10 * len(front) < x.size + wanted.size
    np.testing.assert_array_equal(found, wanted)


def labelled(data_dir: Path) -> tuple[Any, Any]:
    data = np.load(data_dir / "cifar10" / "test_lossless_500.npz")
    return data["x"][:100].astype(np.float32), data["y"][:100].ravel()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("suffix", ["float", "int8"])
def test_every_engine_classifies(
    data_dir: Path, request: pytest.FixtureRequest, engine: Any, suffix: str
) -> None:
    if engine == "tflm":
        request.getfixturevalue("tflm")
    x, y = labelled(data_dir)
    path = data_dir / "models" / "mlperf_tiny" / f"resnet8_{suffix}.tflite"
    model = open_tflite(path, engine=engine)
    answer = model.run_float(x)[0]
    assert answer.shape == (100, LABELS)
    # 87.9 % on all pictures of the set (its README); 100 of them scatter by three points.
    assert np.mean(answer.argmax(1) == y) >= 0.82
    assert model.inputs[0].name == ("input_1" if suffix == "float" else "input_1_int8")


def test_reference_kernels_equal_tflm(data_dir: Path, tflm: Any) -> None:
    """Two independent builds of TFLite's reference kernels on a convolutional network."""
    x, _ = labelled(data_dir)
    path = data_dir / "models" / "mlperf_tiny" / "resnet8_int8.tflite"
    models = [open_tflite(path, engine=e) for e in ("litert_ref", tflm)]
    q = quantize(x[:20], models[0].inputs[0])
    results = [m.run(q)[0] for m in models]
    assert np.array_equal(*results)
    assert results[0].dtype == np.int8


def test_batches_equal_single_inputs(data_dir: Path) -> None:
    x, _ = labelled(data_dir)
    model = open_tflite(
        data_dir / "models" / "mlperf_tiny" / "resnet8_float.tflite", engine="litert_ref"
    )
    assert model.inputs[0].shape[0] == -1
    batch = model.run(x[:70])[0]  # more than one engine call
    assert np.array_equal(batch, np.concatenate([model.run(p[None])[0] for p in x[:70]]))
    assert model.run(x[:0])[0].shape == (0, LABELS)


def test_wrong_arrays(data_dir: Path, tflm: Any) -> None:
    model = open_tflite(data_dir / "models" / "mlperf_tiny" / "resnet8_int8.tflite")
    with pytest.raises(DataShapeError, match=r"shape \[2, 3\]; allowed: \[n, 32, 32, 3\]"):
        model.run(np.zeros((2, 3), np.int8))
    with pytest.raises(DataDtypeError, match="dtype float64; allowed: int8"):
        model.run(np.zeros((2, 32, 32, 3)))
    with pytest.raises(DataShapeError, match="2 arrays; allowed: 1"):
        model.run(np.zeros((1, 32, 32, 3), np.int8), np.zeros((1, 32, 32, 3), np.int8))
    with pytest.raises(OptionError, match="keeps no inner tensors"):
        open_tflite(
            data_dir / "models" / "mlperf_tiny" / "resnet8_int8.tflite", engine=tflm
        ).tensor(3)


def test_inner_tensors(data_dir: Path) -> None:
    path = data_dir / "models" / "mlperf_tiny" / "kws_int8.tflite"
    model = open_tflite(path, engine="litert_ref", preserve_tensors=True)
    mfcc = np.load(data_dir / "kws" / "test_994_mfcc.npz")["x"][:1].astype(np.float32)
    answer = model.run(quantize(mfcc, model.inputs[0]))[0]
    logits = model.tensor(33).astype(np.float64)
    assert logits.shape == (1, 12)
    assert answer.argmax() == logits.argmax()  # tensor 34 is the softmax of tensor 33


def test_bad_files_and_options(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="No such file"):
        open_tflite(tmp_path / "none.tflite")
    with pytest.raises(ModelLoadError, match="no TFL3 identifier"):
        open_tflite(b"something else")
    with pytest.raises(OptionError, match="allowed: auto, litert"):
        open_tflite(b"", engine="abacus")  # type: ignore[arg-type]
    with pytest.raises(ModelFileError):
        open_keras(tmp_path / "none.keras")
    with pytest.raises(ModelFileError):
        open_onnx(tmp_path / "none.onnx")


def test_missing_engines_name_the_extra(
    data_dir: Path, tflm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_dir / "models" / "mlperf_tiny" / "resnet8_int8.tflite"
    for module in (
        "ai_edge_litert.interpreter",
        "tflite_runtime.interpreter",
        "tensorflow.lite.python.interpreter",
    ):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r'pip install "isthmus\[backhalf\]"'):
        open_tflite(path, engine="litert")
    assert open_tflite(path).engine == tflm  # the last that "auto" tries
    monkeypatch.setitem(sys.modules, "tflite_micro.python.tflite_micro.runtime", None)
    with pytest.raises(MissingExtraError, match=r'none of .*pip install "isthmus\[backhalf\]"'):
        open_tflite(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match="pip install onnxruntime"):
        open_onnx(b"")


def test_onnx_runtime(data_dir: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is optional and not installed")
    data = np.load(data_dir / "cifar10" / "test_lossless_500.npz")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = ((data["x"][:100] / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    model = open_onnx(data_dir / "models" / "resnet20_cifar10_nchw.onnx")
    answer = model.run(np.ascontiguousarray(x))[0]
    assert np.mean(answer.argmax(1) == data["y"][:100].ravel()) >= 0.86  # 91.8 % on the whole set
    with pytest.raises(ModelLoadError, match="onnxruntime refuses it"):
        open_onnx(b"no protobuf")


def test_keras_engine(data_dir: Path) -> None:
    x, _ = labelled(data_dir)
    folder = data_dir / "models" / "mlperf_tiny"
    model = open_keras(folder / "resnet8.keras")
    assert model.inputs[0].shape == (-1, 32, 32, 3)
    flat = open_tflite(folder / "resnet8_float.tflite", engine="litert_ref")
    np.testing.assert_allclose(model.run(x[:8])[0], flat.run(x[:8])[0], rtol=0, atol=1e-5)


def test_quantize_is_the_quantize_operator(tiny: Any, pictures: Any) -> None:
    """Half away from zero, saturating; compared by hand and with the values of a real model."""
    info = TensorInfo("t", (1,), np.dtype(np.int8), 0.5, 3)
    x = np.array([0.0, 0.25, -0.25, 0.2499, 0.75, -0.75, 1e9, -1e9, 61.75, 62.25])
    expected = [3, 4, 2, 3, 5, 1, 127, -128, 127, 127]
    assert quantize(x, info).tolist() == expected
    every = np.arange(-128, 128, dtype=np.int8)
    assert np.array_equal(quantize(dequantize(every, info), info), every)
    with pytest.raises(DataNotFiniteError):
        quantize(np.array([np.nan]), info)
    pixels = quantize(pictures["resnet8"], TensorInfo("x", (1,), np.dtype(np.int8), 1.0, -128))
    assert np.array_equal(pixels.astype(np.int32) + 128, pictures["resnet8"].astype(np.int32))


def test_quiet_stderr_drops_chatter_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_stderr():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nreal trouble\n")
    assert capfd.readouterr().err == "real trouble\n"
    with quiet_stderr(everything=True):
        os.write(2, b"a page of compiler output\n")
    assert capfd.readouterr().err == ""
