"""What cannot be generated is refused with the operator's name, its place and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import ModelError, ModelLoadError, ModelOperatorError, OptionError
from isthmus_gen.front import plan_front, unsupported_operators


def _relu_then(new_model: Any, name: str, **tensor: Any) -> bytes:
    model = new_model()
    x = model.tensor((1, 4, 4, 2), 0.1, 0)
    middle = model.tensor((1, 4, 4, 2), 0.1, 0, name="block/out")
    y = model.tensor((1, 4, 4, 2), **({"scale": 0.1} | tensor))
    model.operator("RELU", [x], [middle])
    model.operator(name, [middle], [y])
    return bytes(model.build([x], [y]))


def test_unknown_operator_is_named_with_the_nearest_cut(new_model: Any) -> None:
    tflite = _relu_then(new_model, "ELU")
    with pytest.raises(ModelOperatorError) as caught:
        plan_front(tflite)
    assert caught.value.path == "model.operators[1] ELU"
    assert caught.value.what == "the operator ELU is not supported (it computes 'tensor_2')"
    assert caught.value.allowed == "the operators of docs/operators.md"
    assert "the nearest legal cut is 'block/out'" in caught.value.remedy
    assert [e.path for e in unsupported_operators(tflite)] == ["model.operators[1] ELU"]


def test_an_operator_left_in_float_is_named_and_not_what_converts_around_it(new_model: Any) -> None:
    """As converters write an operator that has no int8 form, with names of what they fused."""
    model = new_model()
    x = model.tensor((1, 4), 0.1, 0)
    middle = model.tensor((1, 4), 0.1, 0, name="block/out")
    model.operator("RELU", [x], [middle])
    wide = model.tensor((1, 4), None, dtype="FLOAT32", name="tfl.dequantize")
    model.operator("DEQUANTIZE", [middle], [wide])
    made = model.tensor((1, 4), None, dtype="FLOAT32", name="act/Elu;act/mul;act/x")
    model.operator("ELU", [wide], [made])
    narrow, y = (model.tensor((1, 4), 0.1, 0) for _ in range(2))
    model.operator("QUANTIZE", [made], [narrow])
    model.operator("ADD", [middle, narrow], [y], "AddOptions", fusedActivationFunction=0)
    tflite = bytes(model.build([x], [y]))
    with pytest.raises(ModelOperatorError) as caught:
        plan_front(tflite)
    assert caught.value.path == "model.operators[2] ELU"
    assert caught.value.what == "the operator ELU is not supported (it computes 'act/Elu')"
    assert "the nearest legal cut is 'block/out'" in caught.value.remedy
    assert [e.path for e in unsupported_operators(tflite)] == ["model.operators[2] ELU"]


def test_a_needless_trip_through_float_is_refused_as_itself(new_model: Any) -> None:
    model = new_model()
    x, y = (model.tensor((1, 4), 0.1, 0) for _ in range(2))
    wide = model.tensor((1, 4), None, dtype="FLOAT32")
    model.operator("DEQUANTIZE", [x], [wide])
    model.operator("QUANTIZE", [wide], [y])
    with pytest.raises(ModelOperatorError, match=r"operators\[0\] DEQUANTIZE: .* not supported"):
        plan_front(bytes(model.build([x], [y])))


def test_float_tensor_is_refused(new_model: Any) -> None:
    tflite = _relu_then(new_model, "RELU", scale=None, dtype="FLOAT32")
    with pytest.raises(ModelOperatorError, match=r"operators\[1\] RELU: .*float32; allowed: int8"):
        plan_front(tflite)


def test_missing_scale_is_refused(new_model: Any) -> None:
    with pytest.raises(ModelOperatorError, match="has no scale"):
        plan_front(_relu_then(new_model, "RELU", scale=None))


def test_batch_above_one_is_refused(new_model: Any) -> None:
    model = new_model()
    x, y = model.tensor((2, 3), 0.1), model.tensor((2, 3), 0.1)
    model.operator("RELU", [x], [y])
    with pytest.raises(ModelOperatorError, match=r"a fixed shape with batch 1"):
        plan_front(model.build([x], [y]))


def test_asymmetric_weights_are_refused(new_model: Any) -> None:
    model = new_model()
    x, y = model.tensor((1, 4), 0.1), model.tensor((1, 2), 0.1)
    w = model.tensor((2, 4), 0.1, 3, data=np.ones((2, 4), dtype=np.int8))
    model.operator("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions")
    with pytest.raises(ModelOperatorError, match="FULLY_CONNECTED: the weights have a zero point"):
        plan_front(model.build([x], [y]))


def test_fused_tanh_is_refused(new_model: Any) -> None:
    model = new_model()
    x, y = model.tensor((1, 4), 0.1), model.tensor((1, 4), 0.1)
    model.operator("ADD", [x, x], [y], "AddOptions", fusedActivationFunction=4)
    with pytest.raises(ModelOperatorError, match="ADD: the fused activation TANH"):
        plan_front(model.build([x], [y]))


def test_two_outputs_are_refused(new_model: Any) -> None:
    model = new_model()
    x, y, z = (model.tensor((1, 4), 0.1) for _ in range(3))
    model.operator("RELU", [x], [y])
    model.operator("RELU", [y], [z])
    with pytest.raises(ModelOperatorError, match=r"model.outputs: 2 tensors; allowed: one"):
        plan_front(model.build([x], [y, z]))


def _mean(new_model: Any, size: int, y_scale: float) -> bytes:
    model = new_model()
    x, y = model.tensor((1, size, 1), 1.0, -128), model.tensor((1, 1), y_scale)
    axis = model.tensor((1,), dtype="INT32", data=np.array([1], dtype=np.int32))
    model.operator("MEAN", [x, axis], [y], "ReducerOptions")
    return bytes(model.build([x], [y]))


def test_mean_with_a_scale_beyond_32_bits_is_refused(new_model: Any) -> None:
    assert plan_front(_mean(new_model, 4, 2.0**-29)).layers
    with pytest.raises(ModelOperatorError, match="MEAN: the scales' ratio"):
        plan_front(_mean(new_model, 4, 2.0**-30))


def test_mean_whose_sum_leaves_int32_is_refused(new_model: Any) -> None:
    largest = (1 << 23) - 1
    zero_sum = dict(plan_front(_mean(new_model, largest, 1.0)).layers[0].params)["zero_sum"]
    assert zero_sum == -128 * largest
    with pytest.raises(ModelOperatorError, match=f"mean of {1 << 23} .*up to {largest}"):
        plan_front(_mean(new_model, 1 << 23, 1.0))


@pytest.mark.parametrize(
    "content", [b"", b"not a model at all", b"\xff\xff\xff\x7fTFL3" + bytes(8)]
)
def test_damaged_file_is_refused(content: bytes) -> None:
    with pytest.raises(ModelLoadError):
        plan_front(content)


def test_unknown_rounding_is_refused(new_model: Any) -> None:
    with pytest.raises(OptionError, match="rounding"):
        plan_front(_relu_then(new_model, "RELU"), rounding="nearest")


def test_any_damage_is_an_error_of_ours(new_model: Any) -> None:
    """Bytes changed or cut off at random: a plan or a ModelError, nothing else."""
    rng = np.random.default_rng(3)
    model = new_model()
    x, y = model.tensor((1, 4, 4, 2), 0.1), model.tensor((1, 4, 4, 3), 0.1)
    w = model.tensor((3, 3, 3, 2), [0.1] * 3, data=np.ones((3, 3, 3, 2), dtype=np.int8))
    b = model.tensor((3,), [0.01] * 3, dtype="INT32", data=np.ones(3, dtype=np.int32))
    model.operator("CONV_2D", [x, w, b], [y], "Conv2DOptions", strideH=1, strideW=1)
    good = model.build([x], [y])
    refused = 0
    for _ in range(1500):
        bad = bytearray(good[: int(rng.integers(8, len(good)))] if rng.random() < 0.1 else good)
        for _ in range(int(rng.integers(1, 4))):
            bad[int(rng.integers(0, len(bad)))] = int(rng.choice([0, 1, 127, 128, 255]))
        try:
            plan_front(bytes(bad))
        except ModelError:
            refused += 1
    assert refused > 300


def test_missing_tensor_is_refused(new_model: Any) -> None:
    model = new_model()
    x, y = model.tensor((1, 4), 0.1), model.tensor((1, 4), 0.1)
    model.operator("RELU", [7], [y])
    with pytest.raises(ModelLoadError, match=r"operators\[0\] RELU: there is no tensor 7"):
        plan_front(model.build([x], [y]))
