"""Element-wise operators, randomised, against both engines in every element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from operator_cases import Rng, random_inputs, random_int8, random_scale, random_zero

from isthmus_gen.front import plan_front
from isthmus_gen.front.layers import Struct

LEVELS = np.arange(-128, 128, dtype=np.int8)
PROFILES = ("tflm", "litert")
# Options table of an operator, where it has one.
OPTIONS = {
    "ADD": "AddOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MUL": "MulOptions",
    "QUANTIZE": "QuantizeOptions",
    "SUB": "SubOptions",
}
UNARY = ("HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "QUANTIZE", "RELU", "RELU6", "TANH")
# The wheel has no such operators.
LITERT_ALONE = ("RELU_0_TO_1", "RELU_N1_TO_1")
SOFT = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}

# Scale and zero point that the results of test_four_loops fill.
WIDE = {"ADD": (0.02, 3), "MUL": (0.004, 3), "SUB": (0.02, 3)}

Engine = Callable[[bytes, np.ndarray], np.ndarray]


@pytest.fixture
def engines(run_tflm: Engine, run_litert: Engine) -> dict[str, Engine]:
    """The reference of each rounding profile."""
    return {"tflm": run_tflm, "litert": run_litert}


def _unary(model: Any, rng: Rng, name: str, x: int, y_shape: Any, profile: str) -> int:
    """Adds ``name`` after tensor ``x`` with any output quantisation that it may have."""
    scale, zero = _quantisation(model, x)
    options = {"alpha": float(rng.uniform(-0.5, 1.5))} if name == "LEAKY_RELU" else {}
    if name in SOFT:
        y_scale, y_zero = SOFT[name]
    elif name == "RELU6" and profile == "tflm":
        y_scale, y_zero = scale, zero
    else:
        y_scale, y_zero = scale * float(np.exp(rng.uniform(-1.5, 1))), random_zero(rng)
    y: int = model.tensor(y_shape, y_scale, y_zero)
    model.operator(name, [x], [y], OPTIONS.get(name, ""), **options)
    return y


def _quantisation(model: Any, tensor: int) -> tuple[float, int]:
    found = model.graph.tensors[tensor].quantization
    return found.scale[0], found.zeroPoint[0]


def _table(tflite: bytes, profile: str) -> np.ndarray:
    """What the only layer gives for -128 to 127."""
    (layer,) = plan_front(tflite, rounding=profile).layers
    assert layer.kernel == "isth_k_lut"
    return np.roll(layer.arrays[0].values, 128)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", [*UNARY, *LITERT_ALONE])
def test_tables_hold_every_value(
    name: str, profile: str, new_model: Any, engines: dict[str, Engine]
) -> None:
    """All 256 values at 60 pairs of scales and zero points."""
    if name in LITERT_ALONE and profile == "tflm":
        return
    rng = np.random.default_rng([len(name), PROFILES.index(profile)])
    for _ in range(60):
        model = new_model()
        zero = random_zero(rng) if rng.random() < 0.5 else int(rng.integers(-128, 128))
        x = model.tensor((1, 256), random_scale(rng, 0.0003, 1), zero)
        y = _unary(model, rng, name, x, (1, 256), profile)
        tflite = model.build([x], [y])
        np.testing.assert_array_equal(
            _table(tflite, profile), engines[profile](tflite, LEVELS[np.newaxis])[0]
        )


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 258])
def test_the_table_kernel(length: int, new_model: Any, run_c: Any, run_tflm: Engine) -> None:
    """Every remainder of four, in place and not."""
    rng = np.random.default_rng(length)
    model = new_model()
    x = model.tensor((1, length), 0.02, 3)
    y = model.tensor((1, length), 0.017, -9)
    model.operator("LEAKY_RELU", [x], [y], "LeakyReluOptions", alpha=-0.7)
    z = model.tensor((1, length), 0.012, 40)
    model.operator("LEAKY_RELU", [y], [z], "LeakyReluOptions", alpha=0.3)
    tflite, values = model.build([x], [z]), random_inputs(rng, length)
    np.testing.assert_array_equal(run_c(tflite, values), run_tflm(tflite, values))


class Chain:
    """A model and the real numbers behind each of its tensors, from which scales are chosen."""

    def __init__(self, model: Any, rng: Rng) -> None:
        self.model, self.rng = model, rng
        self.reals: dict[int, np.ndarray] = {}

    def add(self, levels: np.ndarray, scale: float, zero: int, *, constant: bool) -> int:
        """A tensor of these values, the batch in front where it is computed."""
        shape = levels.shape if constant else (1, *levels.shape[1:])
        data = levels if constant else None
        made: int = self.model.tensor(shape, scale, zero, data=data)
        self.reals[made] = scale * (levels.astype(np.float64) - zero)
        return made

    def constant(self, shape: tuple[int, ...], beside: int) -> int:
        """Random values, about as large as those of the tensor ``beside``."""
        largest = max(float(np.abs(self.reals[beside]).max()), 0.1)
        scale = largest / 128 * float(np.exp(self.rng.uniform(-1.5, 1)))
        zero = int(self.rng.integers(-128, 128))
        return self.add(random_int8(self.rng, shape), scale, zero, constant=True)

    def result(
        self, name: str, inputs: list[int], real: np.ndarray, kind: str, **options: Any
    ) -> int:
        """An operator whose output's scale suits ``real``, its exact result, or nearly so."""
        low, high = min(0.0, real.min()), max(0.0, real.max())
        least = max(float(np.abs(self.reals[inputs[0]]).max()), 0.1) / 16
        scale = max(high - low, least) / 255 * float(self.rng.uniform(0.8, 1.3))
        zero = int(np.clip(round(-128 - low / scale), -128, 127))
        made: int = self.model.tensor((1, *real.shape[1:]), scale, zero)
        self.model.operator(name, inputs, [made], kind, **options)
        self.reals[made] = real
        return made

    def binary(self, name: str, a: int, b: int, fused: int = 0) -> int:
        """``name`` of two tensors."""
        u, v = self.reals[a], self.reals[b]
        real = {
            "ADD": lambda: u + v,
            "SUB": lambda: u - v,
            "MUL": lambda: u * v,
            "PRELU": lambda: np.where(u >= 0, u, u * v),
        }[name]()
        if name == "PRELU" or np.mean(real > 0) < 0.3:  # nothing but one level would be left
            fused = 0
        low, high = [(-np.inf, np.inf), (0, np.inf), (-1, 1), (0, 6)][fused]
        real = np.clip(real, low, high)
        options = {} if name == "PRELU" else {"fusedActivationFunction": fused}
        return self.result(name, [a, b], real, OPTIONS.get(name, ""), **options)

    def mean(self, of: int, axes: tuple[int, int]) -> int:
        """The mean over ``axes``, which stay as ones."""
        axis = self.model.tensor((2,), dtype="INT32", data=np.array(axes, np.int32))
        real = self.reals[of].mean(axis=tuple(set(axes)), keepdims=True)
        return self.result("MEAN", [of, axis], real, "ReducerOptions", keepDims=True)


def _stretched(rng: Rng, shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` with some axes of one, and perhaps without leading ones."""
    found = tuple(n if rng.random() < 0.6 else 1 for n in shape)
    drop = int(rng.integers(0, len(found)))
    while drop and found[0] == 1:
        found, drop = found[1:], drop - 1
    return found


def _chain(builder: Any, rng: Rng) -> tuple[bytes, np.ndarray]:
    """Three operators in one model; operands are constants, tensors and a tensor's mean."""
    full = (1, *(int(n) for n in rng.integers(2, 8, 3)))
    entry = tuple(n if rng.random() < 0.8 else 1 for n in full)
    values = random_inputs(rng, *entry[1:])
    chain = Chain(builder(), rng)
    x = now = chain.add(values, random_scale(rng), random_zero(rng), constant=False)
    for name in rng.permutation(["ADD", "MUL", "SUB", "PRELU"])[:3]:
        shape = (1, *chain.reals[now].shape[1:])
        kind = rng.choice(["constant", "mean", "same"])
        if name == "PRELU":
            other = chain.constant(_stretched(rng, shape), now)
        elif kind == "constant":
            other = chain.constant(_stretched(rng, full), now)
        elif kind == "mean":
            other = chain.mean(now, [(1, 2), (3, 3), (2, 3), (1, 1)][int(rng.integers(0, 4))])
        else:
            other = chain.binary("ADD", now, chain.constant(shape, now))
        pair = [now, other] if name == "PRELU" or rng.random() < 0.5 else [other, now]
        now = chain.binary(str(name), *pair, fused=int(rng.choice([0, 0, 0, 1, 2, 3])))
    return chain.model.build([x], [now]), values


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("seed", range(20))
def test_binary_operators_in_c(
    seed: int, profile: str, new_model: Any, run_c: Any, engines: dict[str, Engine]
) -> None:
    rng = np.random.default_rng([4, seed])
    tflite, values = _chain(new_model, rng)
    np.testing.assert_array_equal(run_c(tflite, values, profile), engines[profile](tflite, values))


def test_the_chains_reach_every_kernel(new_model: Any, run_tflm: Engine) -> None:
    """What the test above runs: all kernels, with and without single runs, varied results."""
    reached, varied = set(), 0
    for seed in range(20):
        tflite, values = _chain(new_model, np.random.default_rng([4, seed]))
        for layer in plan_front(tflite).layers:
            shape = dict(layer.params).get("shape")
            reached.add((layer.kernel, shape.values[2] if isinstance(shape, Struct) else 0))
        varied += len(np.unique(run_tflm(tflite, values))) > min(20, values[0].size)
    assert {(f"isth_k_{k}", n) for k in ("sum", "mul", "prelu") for n in (0, 1)} <= reached
    assert varied >= 15


@pytest.mark.parametrize("name", ["ADD", "MUL", "SUB"])
def test_four_loops(name: str, new_model: Any, run_c: Any, engines: dict[str, Engine]) -> None:
    """Operands that stretch along every other axis, the first of them an outermost loop."""
    rng = np.random.default_rng(len(name))
    chain = Chain(new_model(), rng)
    values = random_inputs(rng, 2, 3)
    x = chain.add(values, random_scale(rng), 5, constant=False)

    def reshape(tensor: int, shape: tuple[int, ...]) -> int:
        scale, zero = _quantisation(chain.model, tensor)
        made: int = chain.model.tensor(shape, scale, zero)
        target = chain.model.tensor((len(shape),), dtype="INT32", data=np.array(shape, np.int32))
        chain.model.operator(
            "RESHAPE", [tensor, target], [made], "ReshapeOptions", newShape=list(shape)
        )
        return made

    spread, other = reshape(x, (2, 1, 3, 1)), chain.constant((1, 4, 1, 5), x)
    wide = chain.model.tensor((2, 4, 3, 5), *WIDE[name])
    chain.model.operator(name, [spread, other], [wide], OPTIONS[name])
    tflite = chain.model.build([x], [reshape(wide, (1, 120))])
    for profile, engine in engines.items():
        expected = engine(tflite, values)
        assert len(np.unique(expected[0])) > 12
        np.testing.assert_array_equal(run_c(tflite, values, profile), expected)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", ["ADD", "MUL", "PRELU", "SUB"])
def test_one_value_decides(
    name: str, profile: str, new_model: Any, engines: dict[str, Engine]
) -> None:
    """One tensor twice, or a constant of one element on either side, becomes a table."""
    rng = np.random.default_rng([5, len(name)])
    for kind in ["twice", "left", "right"] * 10:
        if name == "PRELU" and kind != "right":
            continue
        chain = Chain(new_model(), rng)
        x = chain.add(LEVELS[np.newaxis], random_scale(rng), random_zero(rng), constant=False)
        other = x if kind == "twice" else chain.constant((1,), x)
        pair = [other, x] if kind == "left" else [x, other]
        y = chain.binary(name, *pair, fused=int(rng.integers(0, 4)))
        tflite = chain.model.build([x], [y])
        np.testing.assert_array_equal(
            _table(tflite, profile), engines[profile](tflite, LEVELS[np.newaxis])[0]
        )


# Ratios of scales whose float32 and float64 quotients round some result differently.
RATIOS = {
    "LEAKY_RELU": ((0.1136, -128), (0.1664, -128)),
    "MUL": ((0.03235, 7), (0.1517, -3), (0.4382, -5)),
    "PRELU": ((0.1008, 7), (0.1772, -3), (0.08064, 0)),
    "RELU": ((0.1136, -128), (0.1664, -128)),
}


@pytest.mark.parametrize("name", RATIOS)
def test_each_profile_takes_its_engines_ratio(
    name: str, new_model: Any, run_c: Any, engines: dict[str, Engine]
) -> None:
    """In float64 or float32: rare to see, so at chosen scales, over all pairs of values."""
    model = new_model()
    quantisation = RATIOS[name]
    if len(quantisation) == 2:
        values = LEVELS[np.newaxis]
        x = model.tensor((1, 256), *quantisation[0])
        inputs, shape = [x], (1, 256)
    else:
        values = np.repeat(LEVELS, 256).reshape(1, 256, 256)
        x = model.tensor((1, 256, 256), *quantisation[0])
        inputs = [x, model.tensor((256,), *quantisation[1], data=LEVELS)]
        shape = (1, 256, 256)
    y = model.tensor(shape, *quantisation[-1])
    options = {"alpha": 0.5} if name == "LEAKY_RELU" else {}
    model.operator(name, inputs, [y], OPTIONS.get(name, ""), **options)
    tflite = model.build([x], [y])
    found = {profile: run_c(tflite, values, profile) for profile in PROFILES}
    for profile, engine in engines.items():
        np.testing.assert_array_equal(found[profile], engine(tflite, values))
    assert np.any(found["tflm"] != found["litert"])


@pytest.mark.parametrize(
    "quantisation",
    [
        ((0.1647, 7), (0.03285, -3), (0.179, -7)),
        ((0.1899, 7), (0.083, -3), (0.2444, -10)),
    ],
    ids=["the half", "halves below zero"],
)
def test_the_first_rounding_of_an_operand_shows(
    quantisation: tuple[tuple[float, int], ...],
    new_model: Any,
    run_c: Any,
    engines: dict[str, Engine],
) -> None:
    """It lies 20 bits below the result: at chosen scales, over all pairs of values."""
    model = new_model()
    x = model.tensor((1, 256, 256), *quantisation[0])
    other = model.tensor((256,), *quantisation[1], data=LEVELS)
    y = model.tensor((1, 256, 256), *quantisation[2])
    model.operator("SUB", [x, other], [y], "SubOptions")
    tflite, values = model.build([x], [y]), np.repeat(LEVELS, 256).reshape(1, 256, 256)
    for profile, engine in engines.items():
        np.testing.assert_array_equal(run_c(tflite, values, profile), engine(tflite, values))
