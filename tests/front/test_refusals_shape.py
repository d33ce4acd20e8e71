"""What operators that move, resize or reduce do not take is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from isthmus.errors import ModelOperatorError
from isthmus_gen.front import plan_front
from isthmus_gen.front.operators.resize import bilinear_taps

SHAPE = (1, 4, 6, 2)


class Sketch:
    """A model of one operator around an int8 tensor ``x`` of 4x6x2."""

    def __init__(self, builder: Any, shape: Sequence[int] = SHAPE) -> None:
        self.model = builder()
        self.x = self.tensor(shape)

    def tensor(self, shape: Sequence[int], scale: float = 0.1, **more: Any) -> int:
        return int(self.model.tensor(shape, scale, 0, **more))

    def constant(self, *shape: int) -> int:
        return self.tensor(shape, data=np.ones(shape, dtype=np.int8))

    def integers(self, *values: int) -> int:
        data = np.array(values, dtype=np.int32)
        return int(self.model.tensor(data.shape, dtype="INT32", data=data))

    def done(
        self, name: str, inputs: Sequence[int], shape: Sequence[int], kind: str, **options: Any
    ) -> bytes:
        y = self.tensor(shape)
        self.model.operator(name, inputs, [y], f"{kind}Options", **options)
        return bytes(self.model.build([self.x], [y]))


def _joined(s: Sketch, other: int, **options: Any) -> bytes:
    options = {"axis": 3} | options
    return s.done("CONCATENATION", [s.x, other], (1, 4, 6, 4), "Concatenation", **options)


def _sliced(s: Sketch, begin: Sequence[int], size: Sequence[int]) -> bytes:
    inputs = [s.x, s.integers(*begin), s.integers(*size)]
    return s.done("SLICE", inputs, (1, 4, 6, 1), "Slice")


def _strided(
    s: Sketch,
    begin: Sequence[int] = (0, 0, 0, 0),
    end: Sequence[int] = (1, 4, 6, 1),
    strides: Sequence[int] = (1, 1, 1, 1),
    **options: int,
) -> bytes:
    inputs = [s.x, s.integers(*begin), s.integers(*end), s.integers(*strides)]
    return s.done("STRIDED_SLICE", inputs, (1, 4, 6, 1), "StridedSlice", **options)


def _split(s: Sketch, axis: int, count: int) -> bytes:
    parts = [s.tensor((1, 4, 6, 1)) for _ in range(count)]
    s.model.operator("SPLIT", [s.integers(axis), s.x], parts, "SplitOptions", numSplits=count)
    return bytes(s.model.build([s.x], parts[:1]))


def _resized(s: Sketch, name: str, size: Sequence[int] = (8, 6), **flags: bool) -> bytes:
    kind = "ResizeBilinear" if "BILINEAR" in name else "ResizeNearestNeighbor"
    return s.done(name, [s.x, s.integers(*size)], (1, 8, 6, 2), kind, **flags)


def _transposed(s: Sketch, out: Sequence[int] = (8, 12), depth: int = 2, **options: int) -> bytes:
    w = s.tensor((3, 2, 2, depth), data=np.ones((3, 2, 2, depth), dtype=np.int8))
    shape = (1, *out, 3)
    options = {"padding": 0, "strideH": 2, "strideW": 2} | options
    return s.done("TRANSPOSE_CONV", [s.integers(*shape), w, s.x], shape, "TransposeConv", **options)


def _tiled(s: Sketch, *times: int) -> bytes:
    shape = [n * t for n, t in zip(SHAPE, times, strict=False)]
    return s.done("TILE", [s.x, s.integers(*times)], shape, "Tile")


def _padded(s: Sketch, scale: float) -> bytes:
    value = s.tensor((1,), scale, data=np.ones(1, dtype=np.int8))
    amounts = s.model.tensor((4, 2), dtype="INT32", data=np.zeros((4, 2), dtype=np.int32))
    return s.done("PADV2", [s.x, amounts, value], SHAPE, "PadV2")


REFUSED: dict[str, tuple[Callable[[Sketch], bytes], str]] = {
    "another scale": (
        lambda s: _joined(s, s.tensor(SHAPE, 0.2, data=np.ones(SHAPE, dtype=np.int8))),
        "CONCATENATION: input and output are quantised differently",
    ),
    "fused": (
        lambda s: _joined(s, s.x, fusedActivationFunction=1),
        "CONCATENATION: a fused activation; allowed: none",
    ),
    "parts": (lambda s: _joined(s, s.constant(1, 4, 6, 3)), r"CONCATENATION: shapes .* parts of"),
    "rank": (lambda s: _joined(s, s.x, axis=4), "CONCATENATION: the axis 4; allowed: -4 to 3"),
    "too long": (lambda s: _sliced(s, (0, 0, 0, 2), (1, 4, 6, 1)), "SLICE: begin .* inside"),
    "rest": (lambda s: _sliced(s, (0, 0, 0), (1, 4, 6)), "SLICE: begin .* for 4 axes"),
    "ellipsis": (lambda s: _strided(s, ellipsisMask=1), "STRIDED_SLICE: the option ellipsisMask"),
    "new axis": (lambda s: _strided(s, newAxisMask=2), "STRIDED_SLICE: the option newAxisMask"),
    "nothing": (
        lambda s: _strided(s, (0, 3, 0, 0), (1, 1, 6, 1)),
        "STRIDED_SLICE: nothing is left of axis 1",
    ),
    "stride": (lambda s: _strided(s, strides=(1, 1, 0, 1)), "STRIDED_SLICE: a stride of 0"),
    "shape": (lambda s: _strided(s, (0, 1, 0, 0)), r"STRIDED_SLICE: the output has the shape"),
    "split": (lambda s: _split(s, 2, 4), "SPLIT: sizes .* for 4 outputs and axis 6"),
    "split axis": (lambda s: _split(s, 5, 2), "SPLIT: the axis 5; allowed: -4 to 3"),
    "both flags": (
        lambda s: _resized(s, "RESIZE_BILINEAR", alignCorners=True, halfPixelCenters=True),
        "RESIZE_BILINEAR: align_corners with half_pixel_centers",
    ),
    "size": (
        lambda s: _resized(s, "RESIZE_NEAREST_NEIGHBOR", (8, 7)),
        "RESIZE_NEAREST_NEIGHBOR: shapes",
    ),
    "transposed size": (
        lambda s: _transposed(s, (9, 12)),
        "TRANSPOSE_CONV: the input is 4x6; allowed: 5x6",
    ),
    "transposed depth": (lambda s: _transposed(s, depth=3), "TRANSPOSE_CONV: weights of shape"),
    "transposed fused": (
        lambda s: _transposed(s, fusedActivationFunction=1),
        "TRANSPOSE_CONV: a fused activation",
    ),
    "transposed stride": (lambda s: _transposed(s, strideH=0), "TRANSPOSE_CONV: a stride"),
    "transposed phases": (
        lambda s: _transposed(s, strideH=257, strideW=1),
        "TRANSPOSE_CONV: strides of 257 and 1; allowed: a product up to 256",
    ),
    "tile rank": (lambda s: _tiled(s, 1, 2), "TILE: multiples"),
    "tile loops": (lambda s: _tiled(s, 1, 1, 2, 2), "TILE: 5 axes that cannot be merged"),
    "pad value": (lambda s: _padded(s, 0.2), "PADV2: input and output are quantised differently"),
    "batches": (
        lambda s: s.done(
            "SPACE_TO_BATCH_ND",
            [s.x, s.integers(1, 1), s.integers(0, 0, 0, 0)],
            SHAPE,
            "SpaceToBatchND",
        ),
        "SPACE_TO_BATCH_ND: it is not part of a dilated convolution",
    ),
    "order": (
        lambda s: s.done("TRANSPOSE", [s.x, s.integers(0, 1, 1, 3)], SHAPE, "Transpose"),
        "TRANSPOSE: the permutation",
    ),
    "block": (
        lambda s: s.done("SPACE_TO_DEPTH", [s.x], (1, 2, 3, 8), "SpaceToDepth", blockSize=3),
        "SPACE_TO_DEPTH: blocks of 3 in 4x6",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_reason(name: str, new_model: Any) -> None:
    build, reason = REFUSED[name]
    with pytest.raises(ModelOperatorError, match=reason):
        plan_front(build(Sketch(new_model)))


def test_reductions_of_three_groups_are_refused(new_model: Any) -> None:
    sketch = Sketch(new_model, (1, 2, 3, 2, 3, 2))
    tflite = sketch.done("REDUCE_MAX", [sketch.x, sketch.integers(2, 4)], (1, 2, 2, 2), "Reducer")
    with pytest.raises(ModelOperatorError, match=r"REDUCE_MAX: axes .* one or two groups"):
        plan_front(tflite)


def test_ratios_that_lead_beyond_the_picture_are_refused(new_model: Any) -> None:
    """1 to 2000 rounds to 1/1024 a step, and the engines' table ends beyond the only row."""
    assert bilinear_taps(1, 2000, corners=False, centers=False)[-1].tolist() == [1, 0, 975]
    sketch = Sketch(new_model, (1, 1, 1, 1))
    inputs = [sketch.x, sketch.integers(2000, 1)]
    tflite = sketch.done("RESIZE_BILINEAR", inputs, (1, 2000, 1, 1), "ResizeBilinear")
    with pytest.raises(ModelOperatorError, match="RESIZE_BILINEAR: 1 to 2000 is too far"):
        plan_front(tflite)


def test_computed_bounds_are_refused(new_model: Any) -> None:
    sketch = Sketch(new_model)
    begin = sketch.model.tensor((4,), dtype="INT32")
    tflite = sketch.done("SLICE", [sketch.x, begin, sketch.integers(1, 4, 6, 1)], SHAPE, "Slice")
    with pytest.raises(ModelOperatorError, match="SLICE: the begin is not a constant"):
        plan_front(tflite)


def test_parts_that_nobody_reads_cost_nothing(new_model: Any) -> None:
    plan = plan_front(_split(Sketch(new_model), 3, 2))
    assert [layer.output for layer in plan.layers] == [plan.output.index]


def test_what_stays_in_place_is_a_view(new_model: Any) -> None:
    sketch = Sketch(new_model)
    tflite = sketch.done("TRANSPOSE", [sketch.x, sketch.integers(0, 1, 2, 3)], SHAPE, "Transpose")
    assert [layer.view for layer in plan_front(tflite).layers] == [True]
