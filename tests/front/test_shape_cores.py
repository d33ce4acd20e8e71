"""Kernels that move, resize and reduce, on emulated cores of each tier: the oracle's bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from operator_cases import Rng, random_int8

from isthmus_gen.front import plan_front
from isthmus_gen.targets import load_target
from isthmus_gen.verify.layer_counts import front_cost

LAYERS = (
    "transpose_conv",
    "transpose_conv",
    "resize_bilinear",
    "resize_nearest",
    "pad",
    "copy",
    "copy",
    "copy",
    "copy",
    "mean",
)

# The most instructions that each layer may take: by multiply-accumulate for the first two, by
# element of the output for the others, of the input for the last.
MOST: dict[str, tuple[float, ...]] = {
    "cortex-m0plus": (11, 12, 43.5, 7.8, 5.3, 10.1, 11.4, 2.1, 5.4, 7.2),
    "cortex-m4f": (2.7, 3.8, 21, 5.5, 1.5, 9.1, 9.6, 2, 2.6, 4.5),
    "cortex-m55": (1.7, 2.6, 21, 6.1, 1.2, 9.3, 9.5, 2, 2.5, 4.2),
}


def _everything(builder: Any, rng: Rng) -> tuple[bytes, np.ndarray]:
    """Larger and larger, then padded, cut, turned, joined with a constant, and reduced."""
    model = builder()
    scale, zero = 0.05, 3

    def integers(*values: Any) -> int:
        data = np.array(values, dtype=np.int32)
        return int(model.tensor(data.shape, dtype="INT32", data=data))

    def then(
        name: str, inputs: Sequence[int], shape: Sequence[int], kind: str, **options: Any
    ) -> int:
        y = int(model.tensor(shape, scale, zero))
        model.operator(name, inputs, [y], f"{kind}Options", **options)
        return y

    def transposed(x: int, shape: Sequence[int], depth: int, kernel: int, stride: int) -> int:
        size = (shape[3], kernel, kernel, depth)
        scales = rng.uniform(0.002, 0.006, shape[3])
        w = model.tensor(size, scales, data=random_int8(rng, size))
        bias = rng.integers(-900, 900, shape[3]).astype(np.int32)
        b = model.tensor((shape[3],), scale * scales, dtype="INT32", data=bias)
        strides = {"strideH": stride, "strideW": stride}
        inputs = [integers(*shape), w, x, b]
        return then("TRANSPOSE_CONV", inputs, shape, "TransposeConv", padding=0, **strides)

    x = model.tensor((1, 5, 7, 8), scale, zero)
    y = transposed(x, (1, 10, 14, 21), 8, 3, 2)
    y = transposed(y, (1, 20, 28, 6), 21, 2, 2)
    y = then(
        "RESIZE_BILINEAR",
        [y, integers(27, 31)],
        (1, 27, 31, 6),
        "ResizeBilinear",
        halfPixelCenters=True,
    )
    y = then(
        "RESIZE_NEAREST_NEIGHBOR", [y, integers(36, 40)], (1, 36, 40, 6), "ResizeNearestNeighbor"
    )
    y = then("PAD", [y, integers([0, 0], [1, 2], [3, 0], [0, 0])], (1, 39, 43, 6), "Pad")
    bounds = [integers(*v) for v in ((0, 38, 1, 0), (1, 2, 43, 6), (1, -1, 2, 1))]
    y = then("STRIDED_SLICE", [y, *bounds], (1, 36, 21, 6), "StridedSlice")
    y = then("TRANSPOSE", [y, integers(0, 1, 3, 2)], (1, 36, 6, 21), "Transpose")
    more = model.tensor((1, 36, 6, 5), scale, zero, data=random_int8(rng, (1, 36, 6, 5)))
    y = then("CONCATENATION", [more, y], (1, 36, 6, 26), "Concatenation", axis=3)
    y = then("MEAN", [y, integers(1)], (1, 6, 26), "Reducer")
    return model.build([x], [y]), random_int8(rng, (2, 5, 7, 8))


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
    layers = plan_front(tflite).layers
    assert [layer.kernel[len("isth_k_") :] for layer in layers] == list(LAYERS)
    cost = front_cost(tflite, load_target(core), values, compiler="gcc", emulator="qemu-system")
    expected = run_tflm(tflite, values)
    assert len(np.unique(expected)) > 30
    np.testing.assert_array_equal(cost.outputs.reshape(expected.shape), expected)
    tensors = plan_front(tflite).graph.tensors
    work = [layer.macs or tensors[layer.output].elements for layer in layers]
    work[-1] = tensors[layers[-1].tensor_inputs[0]].elements
    found = [(c.instructions or 0) / n for c, n in zip(cost.layers, work, strict=True)]
    assert all(0 < n <= most for n, most in zip(found, MOST[core], strict=True)), found
