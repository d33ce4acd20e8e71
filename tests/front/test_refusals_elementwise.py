"""Element-wise operators outside their range: named, with what is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import ModelOperatorError
from isthmus_gen.front import plan_front

Quantisation = tuple[float, int]
PLAIN: Quantisation = (0.1, 0)


def _unary(
    builder: Any,
    name: str,
    x: Quantisation = PLAIN,
    y: Quantisation = PLAIN,
    kind: str = "",
    **options: Any,
) -> bytes:
    model = builder()
    source, target = model.tensor((1, 4), *x), model.tensor((1, 4), *y)
    model.operator(name, [source], [target], kind, **options)
    return bytes(model.build([source], [target]))


def _binary(
    builder: Any,
    name: str,
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    y: Quantisation = PLAIN,
    *,
    constant: bool = True,
    scale: float = 0.1,
) -> bytes:
    model = builder()
    a = model.tensor(shapes[0], *PLAIN)
    data = np.ones(shapes[1], np.int8) if constant else None
    b = model.tensor(shapes[1], scale, 0, data=data)
    if not constant:
        model.operator("RELU", [a], [b])
    target = model.tensor(shapes[2], *y)
    extremum = "MaximumMinimumOptions"
    kinds = {"PRELU": "", "MAXIMUM": extremum, "MINIMUM": extremum}
    kind = kinds.get(name, f"{name.title()}Options")
    model.operator(name, [a, b], [target], kind)
    return bytes(model.build([a], [target]))


def _refused(tflite: bytes, rounding: str = "tflm") -> ModelOperatorError:
    with pytest.raises(ModelOperatorError) as caught:
        plan_front(tflite, rounding=rounding)
    assert caught.value.allowed
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("name", ["RELU_N1_TO_1", "RELU_0_TO_1"])
def test_operators_that_one_engine_lacks(name: str, new_model: Any) -> None:
    tflite = _unary(new_model, name)
    error = _refused(tflite)
    assert error.path == f"model.operators[0] {name}"
    assert error.what == "TensorFlow Lite Micro has no such operator"
    assert error.allowed == "the rounding profile litert"
    assert plan_front(tflite, rounding="litert").layers


def test_relu6_that_one_engine_would_not_requantise(new_model: Any) -> None:
    tflite = _unary(new_model, "RELU6", y=(0.2, 0))
    assert _refused(tflite).what == "input and output are quantised differently"
    assert plan_front(tflite, rounding="litert").layers


@pytest.mark.parametrize("rounding", ["tflm", "litert"])
@pytest.mark.parametrize(
    ("name", "fitting"), [("LOGISTIC", (1 / 256, -128)), ("TANH", (1 / 128, 0))]
)
def test_outputs_with_fixed_scales(
    name: str, fitting: Quantisation, rounding: str, new_model: Any
) -> None:
    assert plan_front(_unary(new_model, name, y=fitting), rounding=rounding).layers
    for y in ((fitting[0] * 2, fitting[1]), (fitting[0], fitting[1] + 1)):
        error = _refused(_unary(new_model, name, y=y), rounding)
        assert error.what == f"the output's scale is {np.float32(y[0])}, its zero point {y[1]}"
        assert error.allowed == f"{fitting[0]} and {fitting[1]}"
    assert "input's scale" in _refused(_unary(new_model, name, (2.0**-27, 0), fitting)).what


@pytest.mark.parametrize(
    ("x", "y"),
    [(0.1, 0.1 / 128), (0.1, 0.1 * 513), (1.7e-7, 1.7e-7)],
    ids=["fine output", "coarse output", "tiny input"],
)
def test_hard_swish_beyond_16_bits(x: float, y: float, new_model: Any) -> None:
    error = _refused(_unary(new_model, "HARD_SWISH", (x, 0), (y, 0)))
    assert "the scales are" in error.what
    assert "2**-9" in error.allowed
    for inside in ((0.1, 0.1 / 127), (0.1, 0.1 * 511), (1.9e-7, 1.9e-7)):
        tflite = _unary(new_model, "HARD_SWISH", (inside[0], 0), (inside[1], 0))
        assert plan_front(tflite).layers


@pytest.mark.parametrize("slope", [float("inf"), float("nan"), 3e9])
def test_slopes_beyond_32_bits(slope: float, new_model: Any) -> None:
    tflite = _unary(new_model, "LEAKY_RELU", kind="LeakyReluOptions", alpha=slope)
    assert _refused(tflite).path.endswith("LEAKY_RELU")


def test_shapes_that_do_not_stretch(new_model: Any) -> None:
    error = _refused(_binary(new_model, "MUL", ((1, 4), (3,), (1, 4))))
    assert error.what == "shapes (1, 4) and (3,)"
    assert error.allowed == "shapes that numpy's rules stretch"
    error = _refused(_binary(new_model, "SUB", ((1, 4), (4,), (1, 5))))
    assert error.what == "the output has the shape (1, 5)"
    assert error.allowed == "(1, 4)"
    wide = ((1, 2, 1, 2, 1), (1, 1, 2, 1, 2), (1, 2, 2, 2, 2))
    assert _refused(_binary(new_model, "ADD", wide)).allowed == "4 axes, or equal shapes"
    equal = ((1, 2, 1, 2, 1),) * 3
    assert plan_front(_binary(new_model, "ADD", equal)).layers


def test_slopes_may_not_stretch_the_input(new_model: Any) -> None:
    error = _refused(_binary(new_model, "PRELU", ((1, 1, 4), (1, 3, 4), (1, 3, 4))))
    assert error.what == "an input of shape (1, 1, 4)"
    assert error.allowed == "a tensor of the output's shape (1, 3, 4)"


@pytest.mark.parametrize("name", ["MAXIMUM", "MINIMUM"])
def test_extrema_of_different_scales(name: str, new_model: Any) -> None:
    """The engines would compare the levels all the same."""
    shapes = ((1, 4), (1, 4), (1, 4))
    assert plan_front(_binary(new_model, name, shapes)).layers
    for tflite in (
        _binary(new_model, name, shapes, scale=0.2),
        _binary(new_model, name, shapes, scale=0.2, constant=False),
        _binary(new_model, name, shapes, (0.1, 1)),
    ):
        error = _refused(tflite)
        assert error.path.endswith(name)
        assert error.what == "input and output are quantised differently"
        assert error.allowed == "the same scale and zero point"


def test_two_constants(new_model: Any) -> None:
    model = new_model()
    x = model.tensor((1, 4), *PLAIN)
    ones = [model.tensor((1, 4), *PLAIN, data=np.ones((1, 4), np.int8)) for _ in range(2)]
    y = model.tensor((1, 4), *PLAIN)
    model.operator("MUL", ones, [y], "MulOptions")
    with pytest.raises(ModelOperatorError, match="MUL: both inputs are constants"):
        plan_front(model.build([x], [y]))


def test_sums_of_scales_far_above_the_output(new_model: Any) -> None:
    shapes = ((1, 4), (1, 4), (1, 4))
    assert plan_front(_binary(new_model, "ADD", shapes, (2.0**-22, 0), scale=0.1)).layers
    error = _refused(_binary(new_model, "SUB", shapes, (2.0**-23, 0), scale=0.2))
    assert error.allowed == "inputs' scales up to 2**19 times the output's"
    assert "MUL: the scales' ratio" in str(
        _refused(_binary(new_model, "MUL", shapes, (1e-12, 0), scale=0.2))
    )
