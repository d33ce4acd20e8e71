"""Networks that take and give floats: the C takes and gives the int8 tensors just inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from isthmus.errors import ModelOperatorError
from isthmus.interpreters import TensorInfo, dequantize, open_tflite, quantize
from isthmus_gen.front import plan_front, unsupported_operators

Run = Callable[..., np.ndarray]
OUTER_SCALE = 0.0625


def _network(
    new_model: Any, outer: str, *, last: str = "FLOAT32", body: str = "RELU", spare: bool = False
) -> bytes:
    """QUANTIZE, a convolution, ``body``, DEQUANTIZE (or QUANTIZE to uint8)."""
    rng = np.random.default_rng(11)
    model = new_model()
    scale = {"FLOAT32": None, "UINT8": OUTER_SCALE}
    given = model.tensor((1, 6, 6, 3), scale[outer], 128 if outer == "UINT8" else 0, dtype=outer)
    x = model.tensor((1, 6, 6, 3), OUTER_SCALE, 0, name="inner/in")
    model.operator("QUANTIZE", [given], [x])
    weights = rng.integers(-127, 128, (4, 3, 3, 3), dtype=np.int8)
    w_scale = np.full(4, 0.02, dtype=np.float32)
    w = model.tensor(weights.shape, w_scale, data=weights)
    bias = rng.integers(-400, 400, 4).astype(np.int32)
    b = model.tensor((4,), w_scale * np.float32(OUTER_SCALE), dtype="INT32", data=bias)
    y = model.tensor((1, 6, 6, 4), 0.07, 5, name="inner/conv")
    options = {"padding": 0, "strideH": 1, "strideW": 1, "fusedActivationFunction": 0}
    model.operator("CONV_2D", [x, w, b], [y], "Conv2DOptions", **options)
    z = model.tensor((1, 6, 6, 4), 0.05, -20, name="inner/out")
    model.operator(body, [y], [z])
    result = model.tensor((1, 6, 6, 4), 0.05 if last == "UINT8" else None, 108, dtype=last)
    model.operator("DEQUANTIZE" if last == "FLOAT32" else "QUANTIZE", [z], [result])
    if spare:
        model.operator("RELU", [given], [model.tensor((1, 6, 6, 3), None, dtype=outer)])
    return bytes(model.build([given], [result]))


def _info(scale: float, zero_point: int) -> TensorInfo:
    return TensorInfo("x", (1,), np.dtype(np.int8), scale, zero_point)


def test_float_ends_agree_with_the_network_fed_with_floats(new_model: Any, run_c: Run) -> None:
    tflite = _network(new_model, "FLOAT32")
    plan = plan_front(tflite)
    assert (plan.input.name, plan.output.name) == ("inner/in", "inner/out")
    assert (plan.input_scale, plan.input_zero_point) == (OUTER_SCALE, 0)
    assert plan.output_zero_point == -20
    assert [layer.operator for layer in plan.layers] == ["CONV_2D", "RELU"]
    x = np.random.default_rng(2).normal(0, 3, (12, 6, 6, 3)).astype(np.float32)
    x[0, 0, 0] = (1e6, -1e6, OUTER_SCALE / 2)  # beyond the range, and a half
    expected = open_tflite(tflite, engine="litert_ref").run(x)[0]
    assert expected.dtype == np.float32
    levels = run_c(tflite, quantize(x, _info(plan.input_scale, plan.input_zero_point)))
    found = dequantize(levels, _info(plan.output_scale, plan.output_zero_point))
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)
    assert len(np.unique(levels)) > 20


def test_uint8_ends_are_128_away(new_model: Any, run_c: Run) -> None:
    tflite = _network(new_model, "UINT8", last="UINT8")
    plan = plan_front(tflite)
    x = np.random.default_rng(3).integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
    expected = open_tflite(tflite, engine="litert_ref").run(x)[0]
    levels = run_c(tflite, (x.astype(np.int16) - 128).astype(np.int8))
    found = levels.astype(np.int16) + 128
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)
    assert plan.input_zero_point == 0
    assert plan.input.dtype == plan.output.dtype == "INT8"


def test_whole_network_with_float_ends(
    data_dir: Any, new_model: Any, run_c: Run, add_float_ends: Callable[[bytes], bytes]
) -> None:
    """ResNet-8 on real pictures, given as floats and answered in floats."""
    inner = (data_dir / "models" / "mlperf_tiny" / "resnet8_int8.tflite").read_bytes()
    tflite = add_float_ends(inner)
    with np.load(data_dir / "cifar10" / "test_lossless_500.npz") as archive:
        x = archive["x"][:4].astype(np.float32)
    plan = plan_front(tflite)
    assert plan.arena_bytes == plan_front(inner).arena_bytes
    expected = open_tflite(tflite, engine="litert_ref").run(x)[0]
    levels = run_c(tflite, quantize(x, _info(plan.input_scale, plan.input_zero_point)), "litert")
    found = dequantize(levels, _info(plan.output_scale, plan.output_zero_point))
    np.testing.assert_array_equal(found, expected)
    assert expected.shape == (4, 10)


def test_micro_keeps_the_converting_operators(new_model: Any) -> None:
    """The model for TensorFlow Lite Micro is the file as it is: it needs them."""
    assert plan_front(_network(new_model, "FLOAT32")).tflm_methods == (
        "AddConv2D",
        "AddDequantize",
        "AddQuantize",
        "AddRelu",
    )


def test_places_are_those_of_the_file(new_model: Any) -> None:
    tflite = _network(new_model, "FLOAT32", body="ELU")
    assert [e.path for e in unsupported_operators(tflite)] == ["model.operators[2] ELU"]
    with pytest.raises(ModelOperatorError) as caught:
        plan_front(tflite)
    assert caught.value.path == "model.operators[2] ELU"
    assert "the nearest legal cut is 'inner/conv'" in caught.value.remedy


def test_a_float_input_that_is_used_elsewhere_is_refused(new_model: Any) -> None:
    with pytest.raises(ModelOperatorError, match=r"operators\[0\] QUANTIZE: .* is float32"):
        plan_front(_network(new_model, "FLOAT32", spare=True))
