"""ONNX networks read into Keras layers: held to ONNX Runtime, operator by operator and whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import CutUnknownError, ModelLoadError, ModelOperatorError
from isthmus.interpreters import open_onnx
from isthmus_gen.models import load_model, resolve_cut
from isthmus_gen.models.onnx_layers import READERS

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
RNG = np.random.default_rng(17)
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)

# What each case needs: (nodes as (operator, further inputs, attributes), input shape, opset)
Step = tuple[str, list[Any], dict[str, Any]]


@pytest.fixture(autouse=True)
def _needs_onnx(require_package: Callable[[str], None]) -> None:
    require_package("onnx")


def f(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def one(value: float) -> np.ndarray:
    return np.array(value, dtype=np.float32)


def save(folder: Path, steps: list[Step], shape: tuple[int, ...], opset: int = 13) -> Path:
    """A chain: each node takes the result of the one before, then constants or named tensors."""
    import onnx

    nodes, constants, last = [], [], "x"
    for number, (operator, more, attributes) in enumerate(steps):
        names = [last]
        for place, extra in enumerate(more):
            if extra is None or isinstance(extra, str):
                names.append(extra or "")
                continue
            names.append(f"c{number}_{place}")
            constants.append(onnx.numpy_helper.from_array(extra, names[-1]))
        last = f"t{number}"
        nodes.append(onnx.helper.make_node(operator, names, [last], **attributes))
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", kind, ["N", *shape])],
        [onnx.helper.make_tensor_value_info(last, kind, None)],
        constants,
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8
    )
    path = folder / "network.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def agree(path: Path, shape: tuple[int, ...], count: int = 3) -> np.ndarray:
    """Runs both; channels go last for Keras, and back for an output of more than one axis."""
    x = RNG.normal(0, 1, (count, *shape)).astype(np.float32)
    expected = open_onnx(path).run(x)[0]
    model = load_model(path)
    found = model.predict(np.moveaxis(x, 1, -1))
    found = np.moveaxis(found, -1, 1)
    assert found.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=2e-6)
    return expected


CONV = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
PLANE = (4, 9, 8)
CASES: dict[str, tuple[list[Step], tuple[int, ...], int]] = {
    "conv": ([("Conv", [f(5, 4, 3, 3), f(5)], CONV)], PLANE, 13),
    "conv_stride_pads": (
        [("Conv", [f(5, 4, 3, 3)], {"strides": [2, 2], "pads": [1, 1, 1, 1]})], PLANE, 13,
    ),
    "conv_uneven_pads": (
        [("Conv", [f(5, 4, 3, 2)], {"pads": [0, 1, 2, 0]})], PLANE, 13,
    ),
    "conv_same_lower": (
        [("Conv", [f(5, 4, 4, 4)], {"auto_pad": "SAME_LOWER", "strides": [2, 1]})], PLANE, 13,
    ),
    "conv_same_upper": (
        [("Conv", [f(5, 4, 4, 4)], {"auto_pad": "SAME_UPPER", "strides": [2, 1]})], PLANE, 13,
    ),
    "conv_dilated": (
        [("Conv", [f(5, 4, 3, 3)], {"dilations": [2, 2], "pads": [2, 2, 2, 2]})], PLANE, 13,
    ),
    "conv_groups": ([("Conv", [f(6, 2, 3, 3), f(6)], {"group": 2})], PLANE, 13),
    "depthwise": ([("Conv", [f(4, 1, 3, 3), f(4)], {"group": 4, **CONV})], PLANE, 13),
    "depthwise_twice": ([("Conv", [f(8, 1, 3, 3)], {"group": 4, **CONV})], PLANE, 13),
    "conv_1d": ([("Conv", [f(5, 4, 3), f(5)], {"pads": [1, 1], "strides": [2]})], (4, 11), 13),
    "depthwise_1d": ([("Conv", [f(4, 1, 3)], {"group": 4, "pads": [2, 0]})], (4, 11), 13),
    "batch_norm": (
        [("BatchNormalization", [f(4), f(4), f(4), f(4) ** 2 + 0.1], {"epsilon": 1e-3})], PLANE, 13,
    ),
    "activations": (
        [
            ("LeakyRelu", [], {"alpha": 0.3}), ("Sigmoid", [], {}), ("Tanh", [], {}),
            ("HardSigmoid", [], {"alpha": 1 / 6, "beta": 0.5}), ("HardSwish", [], {}),
            ("Identity", [], {}), ("Dropout", [], {}), ("Relu", [], {}),
        ], PLANE, 14,
    ),
    "clip": ([("Clip", [one(0), one(0.7)], {})], PLANE, 13),
    "clip_old": ([("Clip", [], {"min": 0.0, "max": 6.0})], PLANE, 9),
    "prelu": ([("PRelu", [f(4, 1, 1)], {})], PLANE, 13),
    "softmax_channels": ([("Softmax", [], {"axis": 1})], PLANE, 13),
    "constants": (
        [
            ("Add", [f(1, 4, 1, 1)], {}), ("Mul", [f(4, 1, 1)], {}), ("Sub", [one(0.3)], {}),
            ("Div", [f(4, 1, 1) + 2], {}),
        ], PLANE, 13,
    ),
    "residual": (
        [
            ("Relu", [], {}), ("Conv", [f(4, 4, 1, 1)], {}), ("Add", ["t0"], {}),
            ("Mul", ["t1"], {}), ("Sub", ["t0"], {}), ("Concat", ["x"], {"axis": 1}),
        ], PLANE, 13,
    ),
    "concat_rows": ([("Relu", [], {}), ("Concat", ["x"], {"axis": 2})], PLANE, 13),
    "squeeze_excite": (
        [
            ("GlobalAveragePool", [], {}), ("Conv", [f(4, 4, 1, 1)], {}), ("Mul", ["x"], {}),
        ], PLANE, 13,
    ),
    "max_pool": (
        [
            ("Relu", [], {}),
            ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
            ("GlobalMaxPool", [], {}), ("Squeeze", [ints(2, 3)], {}),
        ], PLANE, 13,
    ),
    "average_pool": (
        [
            ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
            ("AveragePool", [], {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1],
                                 "count_include_pad": 1}),
        ], PLANE, 13,
    ),
    "pool_1d": ([("MaxPool", [], {"kernel_shape": [3], "strides": [2]})], (4, 11), 13),
    "pad_all": ([("Pad", [ints(0, 1, 2, 0, 0, 3, 0, 1), one(0)], {})], PLANE, 13),
    "pad_old": ([("Pad", [], {"pads": [0, 0, 1, 1, 0, 0, 2, 0]})], PLANE, 9),
    "slice_steps": ([("Slice", [ints(0, 0), ints(1 << 30, 1 << 30), ints(2, 3), ints(2, 2)], {})],
                    PLANE, 13),
    "slice_crop": ([("Slice", [ints(1, -7), ints(-2, 7), ints(2, 3), ints(1, 3)], {})], PLANE, 13),
    "resize": (
        [("Resize", [None, np.array([1, 1, 2, 3], np.float32)], {
            "mode": "nearest", "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor"})], PLANE, 13,
    ),
    "resize_half_pixel": (
        [("Resize", [None, None, ints(3, 4, 27, 24)], {"mode": "nearest"})], PLANE, 13,
    ),
    "resize_bilinear": (
        [("Resize", [None, np.array([1, 1, 2, 2], np.float32)], {"mode": "linear"})], PLANE, 13,
    ),
    "upsample_old": ([("Upsample", [np.array([1, 1, 2, 2], np.float32)], {"mode": "nearest"})],
                     PLANE, 9),
    "dense_after_flatten": (
        [
            ("Flatten", [], {}), ("Relu", [], {}), ("Gemm", [f(7, 288), f(7)], {"transB": 1}),
            ("MatMul", [f(7, 3)], {}), ("Softmax", [], {"axis": 1}),
        ], PLANE, 13,
    ),
    "reduce_mean": ([("ReduceMean", [], {"axes": [2, 3], "keepdims": 0}),
                     ("Gemm", [f(4, 2), f(1)], {})], PLANE, 13),
    "reshape": ([("Reshape", [ints(0, -1)], {}), ("MatMul", [f(288, 3)], {})], PLANE, 13),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operators(name: str, tmp_path: Path) -> None:
    steps, shape, opset = CASES[name]
    expected = agree(save(tmp_path, steps, shape, opset), shape)
    assert len(np.unique(expected)) > 3


def test_every_reader_has_a_case() -> None:
    assert set(READERS) == {step[0] for steps, _, _ in CASES.values() for step in steps}


def test_shapes_that_the_file_computes(tmp_path: Path) -> None:
    """x.view(x.size(0), -1) as exporters write it: folded while reading."""
    import onnx

    h = onnx.helper
    nodes = [
        h.make_node("Shape", ["x"], ["shape"]),
        h.make_node("Gather", ["shape", "zero"], ["count"], axis=0),
        h.make_node("Unsqueeze", ["count", "axes"], ["first"]),
        h.make_node("Concat", ["first", "rest"], ["wanted"], axis=0),
        h.make_node("Reshape", ["x", "wanted"], ["flat"]),
        h.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    arrays = {"zero": np.array(0), "axes": ints(0), "rest": ints(-1), "w": f(24, 2)}
    kind = onnx.TensorProto.FLOAT
    graph = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info("x", kind, ["N", 4, 3, 2])],
        [h.make_tensor_value_info("y", kind, ["N", 2])],
        [onnx.numpy_helper.from_array(v, k) for k, v in arrays.items()],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "view.onnx")
    agree(tmp_path / "view.onnx", (4, 3, 2))


REFUSED: dict[str, tuple[list[Step], str]] = {
    "unknown": ([("Erf", [], {})], r"Erf 't0': is not supported; allowed: Add, Average"),
    "clip": ([("Clip", [one(-1), one(1)], {})], r"clips to -1.0 \.\. 1.0; allowed: 0 to a"),
    "max_pool": (
        [("MaxPool", [], {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]})], "MaxPool 't0': pads",
    ),
    "ceil": (
        [("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1})], "ceil_mode",
    ),
    "pad": ([("Pad", [ints(0, 0, 1, 1, 0, 0, 1, 1)], {"mode": "reflect"})], "other values than"),
    "slice": ([("Slice", [ints(1), ints(3), ints(1)], {})], "axis 1 from 1 to 3 in steps of 1"),
    "resize": (
        [("Resize", [None, np.array([1, 1, 2, 2], np.float32)],
          {"mode": "linear", "coordinate_transformation_mode": "align_corners"})],
        "linear with align_corners coordinates",
    ),
    "transpose": ([("Flatten", [], {}), ("Softmax", [], {})], "takes flattened features"),
    "reshape": ([("Reshape", [ints(0, 2, -1)], {})], r"to the shape \[0, 2, -1\]"),
    "hard_sigmoid": ([("HardSigmoid", [], {})], "alpha 0.2.*; allowed: alpha 1/6"),
    "constant": ([("Add", [f(9, 8)], {})], r"a constant of the shape \(9, 8\)"),
    "depthwise": ([("Conv", [f(4, 1, 3, 3)], {"group": 4, "strides": [1, 2]})], "equal strides"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str, tmp_path: Path) -> None:
    steps, message = REFUSED[name]
    with pytest.raises(ModelOperatorError, match=message) as caught:
        load_model(save(tmp_path, steps, PLANE, 13))
    assert "onnx2tf" in caught.value.remedy


def test_files_that_cannot_be_read(tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelLoadError, match=r"bad.onnx: not a valid .onnx file"):
        load_model(tmp_path / "bad.onnx")
    with pytest.raises(ModelLoadError, match=r"shape \(\?, 4, \?, 8\); .*; export it for one"):
        load_model(save(tmp_path, [("Relu", [], {})], (4, "H", 8)))  # type: ignore[arg-type]
    with pytest.raises(ModelLoadError, match="2 outputs; keep one: onnx"):
        load_model(data_dir / "models" / "yolo-fastest-1.1_nchw_f32.onnx")


def test_cuts_go_by_the_names_of_the_file(data_dir: Path) -> None:
    model = load_model(data_dir / "models" / "resnet20_cifar10_nchw.onnx")
    assert (model.kind, model.input_shape, model.output_shape) == ("onnx", (32, 32, 3), (10,))
    cut = resolve_cut(model, "layer2.0.out")
    assert (cut.shape, cut.macs_total) == ((16, 16, 32), 40_551_040)
    with pytest.raises(CutUnknownError, match="nearest legal cut"):
        resolve_cut(model, "layer2.9.out")


def test_names_that_keras_does_not_take(tmp_path: Path) -> None:
    import onnx

    path = save(tmp_path, [("Relu", [], {}), ("Relu", [], {})], PLANE)
    model = onnx.load(path)
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "/block/relu:0"
    onnx.save(model, path)
    loaded = load_model(path)
    assert resolve_cut(loaded, "/block/relu:0").name == "block_relu_0"


def test_detector_of_one_head(data_dir: Path, tmp_path: Path) -> None:
    """YOLO-Fastest, the finer head: concatenation, resizing, pooling pyramids, 84 convolutions."""
    import onnx

    source = data_dir / "models" / "yolo-fastest-1.1_nchw_f32.onnx"
    onnx.utils.extract_model(source, tmp_path / "head.onnx", ["input"], ["yolo1"])
    assert agree(tmp_path / "head.onnx", (3, 320, 320), 1).shape == (1, 255, 20, 20)


@pytest.fixture(scope="module")
def pictures(data_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """Official test pictures as ResNet-20 takes them, channels last, and their classes."""
    with np.load(data_dir / "cifar10" / "test_lossless_500.npz") as archive:
        x = (archive["x"] / np.float32(255) - MEAN) / DEVIATION
        return x.astype(np.float32), archive["y"].astype(int)


def test_resnet20_is_as_accurate_as_its_authors_say(
    data_dir: Path, pictures: tuple[np.ndarray, np.ndarray]
) -> None:
    """91.8 per cent on the whole set: on 500 pictures, within three standard errors."""
    x, y = pictures
    model = load_model(data_dir / "models" / "resnet20_cifar10_nchw.onnx")
    hits = float((model.predict(x).argmax(axis=1) == y).mean())
    assert abs(hits - 0.918) < 3 * (0.918 * 0.082 / 500) ** 0.5
