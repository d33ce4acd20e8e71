"""Operators that become one table: what is folded, what is not, and that the bytes stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from isthmus_gen.front import plan_front

LEVELS = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16)
SHAPE = (1, 16, 16)

Engine = Callable[[bytes, np.ndarray], np.ndarray]


class Net:
    """A model whose tensors are all of one shape."""

    def __init__(self, builder: Any) -> None:
        self.model = builder()
        self.x = self.model.tensor(SHAPE, 0.06, 9)

    def then(self, name: str, inputs: list[int], scale: float, zero: int, **options: Any) -> int:
        kinds = {"LEAKY_RELU": "LeakyReluOptions", "MUL": "MulOptions", "ADD": "AddOptions"}
        made: int = self.model.tensor(SHAPE, scale, zero)
        self.model.operator(name, inputs, [made], kinds.get(name, ""), **options)
        return made

    def number(self, value: int, scale: float) -> int:
        made: int = self.model.tensor((), scale, 0, data=np.array(value, np.int8))
        return made

    def build(self, y: int) -> bytes:
        return bytes(self.model.build([self.x], [y]))


def _kernels(tflite: bytes) -> list[str]:
    return [layer.kernel for layer in plan_front(tflite).layers]


def _silu(net: Net) -> int:
    gate = net.then("LOGISTIC", [net.x], 1 / 256, -128)
    return net.then("MUL", [net.x, gate], 0.03, -110)


def _silu_by_half(net: Net) -> int:
    """Hard swish as older converters write it: two branches of x, one of three operators."""
    lifted = net.then("ADD", [net.x, net.number(100, 0.03)], 0.08, -5)
    bounded = net.then("RELU", [lifted], 0.07, -128)
    sixth = net.then("MUL", [bounded, net.number(127, 0.0013)], 0.01, -128)
    return net.then("MUL", [sixth, net.x], 0.05, -90)


def _twelve(net: Net) -> int:
    """More operators than are looked back upon."""
    y = net.x
    for step in range(12):
        y = net.then("LEAKY_RELU", [y], 0.06 + 0.004 * step, 9 - step, alpha=0.9)
    return y


@pytest.mark.parametrize("profile", ["tflm", "litert"])
@pytest.mark.parametrize(
    ("make", "tables"), [(_silu, 1), (_silu_by_half, 1), (_twelve, 2)], ids=["silu", "hard", "long"]
)
def test_folded(
    make: Callable[[Net], int],
    tables: int,
    profile: str,
    new_model: Any,
    run_c: Any,
    run_tflm: Engine,
    run_litert: Engine,
) -> None:
    net = Net(new_model)
    tflite = net.build(make(net))
    assert _kernels(tflite) == ["isth_k_lut"] * tables
    expected = (run_tflm if profile == "tflm" else run_litert)(tflite, LEVELS)
    assert len(np.unique(expected)) > 60
    np.testing.assert_array_equal(run_c(tflite, LEVELS, profile), expected)


def test_a_folded_tensor_takes_no_memory(new_model: Any) -> None:
    net = Net(new_model)
    plan = plan_front(net.build(_silu(net)))
    assert plan.arena_bytes == 256
    assert len(plan.arena.tensors) == 2


def test_a_tensor_that_others_read_stays(new_model: Any, run_c: Any, run_tflm: Engine) -> None:
    net = Net(new_model)
    gate = net.then("LOGISTIC", [net.x], 1 / 256, -128)
    low = net.then("LEAKY_RELU", [gate], 0.004, -128, alpha=0.1)
    grid = net.model.tensor((1, 1, 16), 0.01, 3, data=LEVELS[:, :1])
    wide = net.then("MUL", [gate, grid], 0.01, 3)
    y = net.then("ADD", [low, wide], 0.012, -3)
    tflite = net.build(y)
    assert _kernels(tflite) == ["isth_k_lut", "isth_k_lut", "isth_k_mul", "isth_k_sum"]
    np.testing.assert_array_equal(run_c(tflite, LEVELS), run_tflm(tflite, LEVELS))


def test_what_nothing_reads_is_not_computed(new_model: Any) -> None:
    net = Net(new_model)
    net.then("LOGISTIC", [net.x], 1 / 256, -128)
    y = net.then("LEAKY_RELU", [net.x], 0.05, 0, alpha=0.1)
    assert [layer.operator for layer in plan_front(net.build(y)).layers] == ["LEAKY_RELU"]
