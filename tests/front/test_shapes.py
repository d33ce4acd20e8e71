"""Shapes that a file computes for an open batch: nothing of it is left in the C."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from isthmus.errors import ModelOperatorError
from isthmus.optional import quiet_import
from isthmus_gen.front import plan_front, unsupported_operators
from isthmus_gen.models import load_model

Run = Callable[..., np.ndarray]


def _flattened(new_model: Any, *, last: str = "RESHAPE") -> bytes:
    """RELU; SHAPE, STRIDED_SLICE, PACK as converters write Flatten; RESHAPE; RELU6."""
    model = new_model()
    x = model.tensor((1, 4, 4, 2), 0.05, -10)
    y = model.tensor((1, 4, 4, 2), 0.05, -10, name="before")
    model.operator("RELU", [x], [y])

    def constant(*values: int) -> int:
        data = np.array(values, dtype=np.int32)
        return int(model.tensor(data.shape, dtype="INT32", data=data))

    shape, batch = model.tensor((4,), dtype="INT32"), model.tensor((), dtype="INT32")
    wanted = model.tensor((2,), dtype="INT32")
    model.operator("SHAPE", [y], [shape], "ShapeOptions", outType=2)
    ends = [constant(0), constant(1), constant(1)]
    model.operator(
        "STRIDED_SLICE", [shape, *ends], [batch], "StridedSliceOptions", shrinkAxisMask=1
    )
    size = model.tensor((), dtype="INT32", data=np.array(32, dtype=np.int32))
    model.operator("PACK", [batch, size], [wanted], "PackOptions", valuesCount=2)
    flat = model.tensor((1, 32), 0.05, -10, name="flat")
    model.operator(last, [y, wanted], [flat])
    z = model.tensor((1, 32), 0.05, -10)
    model.operator("RELU6", [flat], [z])
    return bytes(model.build([x], [z]))


def test_flatten_of_an_open_batch(
    new_model: Any, run_c: Run, run_tflm: Run, run_litert: Run
) -> None:
    tflite = _flattened(new_model)
    plan = plan_front(tflite)
    assert [layer.operator for layer in plan.layers] == ["RELU", "RESHAPE", "RELU6"]
    assert unsupported_operators(tflite) == ()
    assert {"AddShape", "AddStridedSlice", "AddPack"} < set(plan.tflm_methods)
    x = np.random.default_rng(1).integers(-128, 128, (6, 4, 4, 2), dtype=np.int8)
    found = run_c(tflite, x)
    np.testing.assert_array_equal(found, run_tflm(tflite, x))
    np.testing.assert_array_equal(found, run_litert(tflite, x))


def test_an_operator_that_needs_the_values_refuses(new_model: Any) -> None:
    """PAD by a computed amount: known in principle, not here."""
    with pytest.raises(ModelOperatorError, match=r"model.operators\[4\] PAD") as caught:
        plan_front(_flattened(new_model, last="PAD"))
    assert "the nearest legal cut is 'before'" in caught.value.remedy


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning")
def test_a_keras_network_converted_without_a_fixed_batch(
    tmp_path: Any, run_c: Run, run_litert: Run
) -> None:
    """As people convert: open batch, uint8 outside. The converter writes SHAPE for Flatten."""
    keras = quiet_import("keras", "")
    tensorflow = quiet_import("tensorflow", "")
    keras.utils.set_random_seed(3)
    layers = keras.layers
    network = keras.Sequential(
        [keras.Input((6, 6, 3)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(),
         layers.Dense(5)]
    )  # fmt: skip
    rng = np.random.default_rng(2)
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    pictures = rng.random((8, 6, 6, 3), dtype=np.float32)
    converter.representative_dataset = lambda: ([p[None]] for p in pictures)
    converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tensorflow.uint8
    path = tmp_path / "open.tflite"
    path.write_bytes(converter.convert())
    kinds = {operator.kind for operator in load_model(path).graph.operators}
    assert {"SHAPE", "PACK", "QUANTIZE"} <= kinds
    x = rng.integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)
    expected = run_litert(path.read_bytes(), x)
    found = run_c(path.read_bytes(), (x.astype(np.int16) - 128).astype(np.int8), "litert")
    np.testing.assert_array_equal(found.astype(np.int16) + 128, expected)
    assert len(np.unique(expected)) > 10
