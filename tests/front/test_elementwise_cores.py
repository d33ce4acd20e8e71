"""Element-wise kernels on emulated cores, each tier: the oracle's bytes, and few instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from operator_cases import Rng, random_int8

from isthmus_gen.front import plan_front
from isthmus_gen.targets import load_target
from isthmus_gen.verify.layer_counts import front_cost

# No axis is a multiple of the vectors' lengths; the runs are long enough to hide their beginnings.
SHAPE = (1, 9, 21, 37)

# The most instructions an element that each layer of _everything may take, by core.
MOST: dict[str, tuple[float, ...]] = {
    "cortex-m0plus": (4.1, 108, 108, 88, 89, 80, 108, 91, 18, 18),
    "cortex-m4f": (4.3, 24.5, 24.5, 14.5, 15.5, 14, 23, 36, 11.5, 12),
    "cortex-m55": (0.8, 7, 7, 5, 5.5, 6, 9, 43, 1, 3.5),
}


def _everything(builder: Any, rng: Rng) -> tuple[bytes, np.ndarray]:
    """A table, a difference either way, three kinds of product, a sum, slopes, extrema."""
    model = builder()

    def constant(shape: tuple[int, ...], scale: float, zero: int) -> int:
        made: int = model.tensor(shape, scale, zero, data=random_int8(rng, shape))
        return made

    def then(name: str, inputs: list[int], scale: float, zero: int, **options: Any) -> int:
        made: int = model.tensor(SHAPE, scale, zero)
        extremum = "MaximumMinimumOptions"
        kinds = {"LEAKY_RELU": "LeakyReluOptions", "PRELU": ""}
        kinds |= {"MAXIMUM": extremum, "MINIMUM": extremum}
        model.operator(name, inputs, [made], kinds.get(name, f"{name.title()}Options"), **options)
        return made

    x = model.tensor(SHAPE, 0.05, 3)
    table = then("LEAKY_RELU", [x], 0.045, -4, alpha=0.1)
    # scales within two times, and far more than two times
    near = then("SUB", [table, constant(SHAPE, 0.03, -7)], 0.06, 11)
    far = then("SUB", [constant(SHAPE, 0.009, 5), near], 0.05, -3)
    equal = then("MUL", [far, x], 0.09, 0)
    channels = then("MUL", [equal, constant((1, 1, 1, 37), 0.01, -128)], 0.09, -20)
    pixels = then("MUL", [constant((1, 9, 21, 1), 0.02, 3), channels], 0.09, 0)
    lifted = then("ADD", [pixels, constant((9, 21, 1), 0.05, 3)], 0.09, 9)
    sloped = then("PRELU", [lifted, constant((37,), 0.01, 3)], 0.06, 0)
    larger = then("MAXIMUM", [sloped, constant(SHAPE, 0.06, 0)], 0.06, 0)
    last = then("MINIMUM", [constant((1, 9, 21, 1), 0.06, 0), larger], 0.06, 0)
    values = random_int8(rng, (2, *SHAPE[1:]))
    return model.build([x], [last]), values


@pytest.mark.parametrize("core", MOST)
def test_bytes_and_instructions(
    core: str,
    new_model: Any,
    run_tflm: Callable[[bytes, np.ndarray], np.ndarray],
    require_tool: Callable[[str], str],
) -> None:
    require_tool("arm-none-eabi-gcc")
    require_tool("qemu-system-arm")
    tflite, values = _everything(new_model, np.random.default_rng(1))
    kernels = [layer.kernel[len("isth_k_") :] for layer in plan_front(tflite).layers]
    assert kernels == ["lut", "sum", "sum", "mul", "mul", "mul", "sum", "prelu", *["extremum"] * 2]
    cost = front_cost(tflite, load_target(core), values, compiler="gcc", emulator="qemu-system")
    expected = run_tflm(tflite, values)
    assert len(np.unique(expected)) > 100
    np.testing.assert_array_equal(cost.outputs.reshape(expected.shape), expected)
    elements = int(np.prod(SHAPE))
    found = [(layer.instructions or 0) / elements for layer in cost.layers]
    assert all(0 < n <= most for n, most in zip(found, MOST[core], strict=True)), found
