"""Whole networks, every element, against the tflite-micro wheel; and what they cost in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from whole_models import NETWORKS, fronts_of, inputs_of

from isthmus_gen.front import plan_front

Run = Callable[..., np.ndarray]


def _model(data_dir: Path, name: str) -> bytes:
    return (data_dir / "models" / "mlperf_tiny" / f"{name}_int8.tflite").read_bytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_and_cut_at_three_places(
    data_dir: Path, run_c: Run, run_tflm: Run, run_litert: Run, name: str
) -> None:
    """Real data, both rounding profiles, each against its own engine, under the sanitizers."""
    x = inputs_of(data_dir, name, 24 if name == "resnet8" else 6)
    for where, front in fronts_of(data_dir, name).items():
        found = run_c(front, x)
        np.testing.assert_array_equal(found, run_tflm(front, x), err_msg=where)
        other = run_c(front, x, "litert")
        np.testing.assert_array_equal(other, run_litert(front, x), err_msg=where)
        assert len(np.unique(found)) > (2 if found[0].size <= 12 else 20), where
        assert len({row.tobytes() for row in found}) > 1, where  # inputs are told apart


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_on_noise(data_dir: Path, run_c: Run, run_tflm: Run, name: str) -> None:
    """Values that data never takes: the whole range of int8, and a narrow band."""
    tflite = _model(data_dir, name)
    shape = plan_front(tflite).input_shape
    rng = np.random.default_rng(5)
    x = rng.integers(-128, 128, (4, *shape), dtype=np.int8)
    x[2:] = np.clip(x[2:] // 8 + 20, -128, 127)
    np.testing.assert_array_equal(run_c(tflite, x), run_tflm(tflite, x))


@pytest.mark.parametrize(
    ("name", "arena", "macs"),
    [
        ("resnet8", 33936, 12501632),
        ("kws", 9168, 2656768),
        ("vww_96", 46224, 7489664),
        ("ad01", 768, 264192),
    ],
)
def test_arena_and_work(data_dir: Path, name: str, arena: int, macs: int) -> None:
    """The arenas of README.md: a plan that grows is seen here without a count."""
    plan = plan_front(_model(data_dir, name))
    assert plan.arena_lower_bound <= plan.arena_bytes <= arena
    assert plan.macs == macs


def test_resnet8_facts(data_dir: Path) -> None:
    plan = plan_front(_model(data_dir, "resnet8"))
    weights = sum(a.bytes for layer in plan.layers for a in layer.arrays if a.suffix == "weights")
    assert 77360 <= weights <= 77360 + 256  # filters are padded to what a tier reads at once
    assert (plan.input_shape, plan.output_shape) == ((32, 32, 3), (10,))
    assert plan.tflm_methods == (
        "AddAdd",
        "AddAveragePool2D",
        "AddConv2D",
        "AddFullyConnected",
        "AddReshape",
        "AddSoftmax",
    )
    assert "isth_k_depthwise.c" not in plan.kernel_files


def _digits_like(new_model: Any, rng: np.random.Generator) -> bytes:
    """8x8x1, convolution, residual addition, pool, global mean, dense: the shape of the default."""
    model = new_model()

    def conv(source: int, size: int, in_c: int, out_c: int, scale: float, activation: int) -> int:
        shape = (out_c, 3, 3, in_c)
        w_scale = np.full(out_c, 0.01, dtype=np.float32)
        w = model.tensor(shape, w_scale, data=rng.integers(-127, 128, shape, dtype=np.int8), axis=0)
        bias = rng.integers(-500, 500, out_c).astype(np.int32)
        b = model.tensor((out_c,), w_scale * np.float32(scale), dtype="INT32", data=bias)
        y = model.tensor((1, size, size, out_c), 0.05, -128 if activation else 3)
        model.operator(
            "CONV_2D",
            [source, w, b],
            [y],
            "Conv2DOptions",
            padding=0,
            strideH=1,
            strideW=1,
            fusedActivationFunction=activation,
        )
        return int(y)

    x = model.tensor((1, 8, 8, 1), 1 / 16, -128)
    first = conv(x, 8, 1, 8, 1 / 16, 1)
    second = conv(first, 8, 8, 8, 0.05, 0)
    total = model.tensor((1, 8, 8, 8), 0.06, -128)
    model.operator("ADD", [first, second], [total], "AddOptions", fusedActivationFunction=1)
    pooled = model.tensor((1, 4, 4, 8), 0.06, -128)
    model.operator(
        "MAX_POOL_2D",
        [total],
        [pooled],
        "Pool2DOptions",
        padding=1,
        strideH=2,
        strideW=2,
        filterHeight=2,
        filterWidth=2,
    )
    third = conv(pooled, 4, 8, 16, 0.06, 1)
    axes = model.tensor((2,), dtype="INT32", data=np.array([1, 2], dtype=np.int32))
    means = model.tensor((1, 16), 0.03, -128)
    model.operator("MEAN", [third, axes], [means], "ReducerOptions", keepDims=False)
    w = model.tensor((10, 16), 0.02, data=rng.integers(-127, 128, (10, 16), dtype=np.int8))
    y = model.tensor((1, 10), 0.04, 5)
    model.operator("FULLY_CONNECTED", [means, w, -1], [y], "FullyConnectedOptions")
    return bytes(model.build([x], [y]))


@pytest.mark.parametrize("seed", range(3))
def test_residual_network(new_model: Any, run_c: Run, run_tflm: Run, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tflite = _digits_like(new_model, rng)
    x = rng.integers(-128, 128, (16, 8, 8, 1), dtype=np.int8)
    np.testing.assert_array_equal(run_c(tflite, x), run_tflm(tflite, x))
