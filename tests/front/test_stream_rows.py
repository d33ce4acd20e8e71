"""The end of the front half row by row: the same elements, in less memory, in any order."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import OptionError
from isthmus_gen.front import FrontPlan, plan_front, render_front

Rng = np.random.Generator
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

# Rows backwards, then forwards; only the second pass is written. The arena is poisoned before.
HARNESS = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "isth_front.h"
int main(void)
{
    static unsigned char input[ISTH_FRONT_INPUT_BYTES];
    void *arena = malloc(ISTH_FRONT_ARENA_BYTES);
    while (arena != NULL && fread(input, 1, sizeof input, stdin) == sizeof input) {
        uint32_t row;
        memset(arena, 0xA5, ISTH_FRONT_ARENA_BYTES);
        memcpy(isth_front_input(arena), input, sizeof input);
        isth_front_begin(arena);
        for (row = ISTH_FRONT_ROWS; row > 0; row--) {
            (void)isth_front_row(arena, row - 1);
        }
        for (row = 0; row < ISTH_FRONT_ROWS; row++) {
            fwrite(isth_front_row(arena, row), 1, ISTH_FRONT_ROW_BYTES, stdout);
        }
    }
    free(arena);
    return 0;
}
"""
RunRows = Callable[[FrontPlan, np.ndarray], np.ndarray]


@pytest.fixture
def run_rows(kernels: tuple[str, list[str]], strict_flags: list[str], tmp_path: Path) -> RunRows:
    """``run_rows(plan, x)`` -> int8 [n, elements] by the generated C, row by row."""
    compiler, objects = kernels

    def run(plan: FrontPlan, x: np.ndarray) -> np.ndarray:
        for name, content in render_front(plan).items():
            if not name.startswith("tflm/"):
                (tmp_path / name).write_bytes(content)
        (tmp_path / "main.c").write_text(HARNESS)
        sources = [str(tmp_path / n) for n in ("main.c", "isth_front.c", "isth_front_weights.c")]
        program = str(tmp_path / "program")
        subprocess.run(
            [compiler, *strict_flags, *SANITIZE, "-O0", *sources, *objects, "-o", program],
            check=True,
        )
        given = np.ascontiguousarray(x, dtype=np.int8).tobytes()
        done = subprocess.run([program], input=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return np.frombuffer(done.stdout, dtype=np.int8).reshape(len(x), -1)

    return run


class Net:
    """A small network that grows behind ``self.last``."""

    def __init__(self, model: Any, rng: Rng, shape: tuple[int, int, int]) -> None:
        self.model, self.rng = model, rng
        self.input = self.last = model.tensor((1, *shape), 0.05, -3)
        self.shape = shape

    def _output(self, shape: tuple[int, int, int], scale: float, zero: int) -> int:
        self.shape = shape
        self.last = int(self.model.tensor((1, *shape), scale, zero))
        return self.last

    def _sizes(self, stride: int) -> tuple[int, int]:
        return -(-self.shape[0] // stride), -(-self.shape[1] // stride)

    def conv(self, out_c: int, kernel: int = 3, stride: int = 1) -> int:
        """CONV_2D, or (out_c 0) DEPTHWISE_CONV_2D; SAME."""
        x, in_c = self.last, self.shape[2]
        shape = (out_c, kernel, kernel, in_c) if out_c else (1, kernel, kernel, in_c)
        channels = out_c or in_c
        weights = self.rng.integers(-127, 128, shape, dtype=np.int8)
        scales = self.rng.uniform(0.001, 0.01, channels).astype(np.float32)
        w = self.model.tensor(shape, scales, data=weights, axis=0 if out_c else 3)
        bias = self.rng.integers(-900, 900, channels).astype(np.int32)
        b = self.model.tensor((channels,), scales * np.float32(0.05), dtype="INT32", data=bias)
        y = self._output((*self._sizes(stride), channels), 0.06, 5)
        kind = "Conv2DOptions" if out_c else "DepthwiseConv2DOptions"
        options = {} if out_c else {"depthMultiplier": 1}
        self.model.operator(
            "CONV_2D" if out_c else "DEPTHWISE_CONV_2D", [x, w, b], [y], kind,
            padding=0, strideH=stride, strideW=stride, **options,
        )  # fmt: skip
        return y

    def pool(self, name: str, size: int = 2) -> int:
        x = self.last
        scale, zero = (0.05, -3) if x == self.input else (0.06, 5)
        y = self._output((*self._sizes(size), self.shape[2]), scale, zero)
        self.model.operator(
            name, [x], [y], "Pool2DOptions",
            padding=0, strideH=size, strideW=size, filterHeight=size + 1, filterWidth=size,
        )  # fmt: skip
        return y

    def binary(self, name: str, other: int) -> int:
        x = self.last
        y = self._output(self.shape, 0.07, -6)
        kind = {"ADD": "AddOptions", "MUL": "MulOptions", "SUB": "SubOptions"}[name]
        self.model.operator(name, [x, other], [y], kind)
        return y

    def extremum(self, name: str, other: int) -> None:
        x = self.last
        self.model.operator(
            name, [x, other], [self._output(self.shape, 0.06, 5)], "MaximumMinimumOptions"
        )

    def by_channel(self, name: str) -> int:
        data = self.rng.integers(-128, 128, (self.shape[2],), dtype=np.int8)
        return self.binary(name, self.model.tensor((self.shape[2],), 0.03, 2, data=data))

    def relu(self) -> int:
        x = self.last
        y = self._output(self.shape, 0.04, -128)
        self.model.operator("RELU", [x], [y])
        return y

    def build(self) -> bytes:
        return bytes(self.model.build([self.input], [self.last]))


def _expand(n: Net) -> None:
    n.conv(5)
    n.conv(24)


def _stride(n: Net) -> None:
    n.conv(24, stride=2)


def _point(n: Net) -> None:
    n.conv(4)
    n.conv(24, kernel=1)


def _point_stride(n: Net) -> None:
    n.conv(4)
    n.conv(40, kernel=1, stride=2)


def _planes(n: Net) -> None:
    n.conv(6)
    n.conv(0)


def _residual(n: Net) -> None:
    skip = n.conv(8)
    n.conv(8)
    n.conv(8)
    n.binary("ADD", skip)
    n.relu()


def _chain_of_points(n: Net) -> None:
    n.conv(3, stride=2)
    n.conv(24)
    n.conv(30, kernel=1)
    n.by_channel("MUL")
    n.by_channel("SUB")
    n.relu()


def _average(n: Net) -> None:
    n.conv(8)
    n.pool("AVERAGE_POOL_2D")


def _maximum(n: Net) -> None:
    n.pool("MAX_POOL_2D")


def _table(n: Net) -> None:
    n.conv(16)
    n.relu()


def _extrema(n: Net) -> None:
    n.conv(8)
    skip = n.conv(8)
    n.conv(8)
    n.extremum("MAXIMUM", skip)
    data = n.rng.integers(-128, 128, (8,), dtype=np.int8)
    n.extremum("MINIMUM", n.model.tensor((8,), 0.06, 5, data=data))


ENDS = [
    _expand, _stride, _point, _point_stride, _planes, _residual, _chain_of_points, _average,
    _maximum, _table, _extrema,
]  # fmt: skip


@pytest.mark.parametrize(
    ("end", "shape"),
    # a high picture is turned by the depthwise kernel
    [*product(ENDS, [(12, 9, 3), (7, 6, 4)]), (_planes, (14, 5, 3))],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_the_same_elements(
    end: Callable[[Net], None], shape: tuple[int, int, int], new_model: Any, run_rows: RunRows,
    run_tflm: Any,
) -> None:  # fmt: skip
    net = Net(new_model(), np.random.default_rng(3), shape)
    end(net)
    tflite = net.build()
    x = net.rng.integers(-128, 128, (4, *shape), dtype=np.int8)
    plan = plan_front(tflite, by_rows=True)
    whole = plan_front(tflite)
    assert plan.stream is not None
    assert plan.stream.whole_bytes == whole.arena_bytes >= plan.arena_bytes
    assert plan.arena_lower_bound <= plan.arena_bytes
    assert (plan.stream.rows, plan.stream.row_bytes * plan.stream.rows) == (
        net.shape[0],
        plan.output_bytes,
    )
    np.testing.assert_array_equal(run_rows(plan, x), run_tflm(tflite, x))


@pytest.mark.parametrize(
    ("end", "layers"), [(_expand, 1), (_stride, 1), (_point, 2), (_chain_of_points, 5), (_table, 2)]
)
def test_what_grows_is_never_whole(end: Any, layers: int, new_model: Any) -> None:
    net = Net(new_model(), np.random.default_rng(3), (12, 9, 3))
    end(net)
    plan = plan_front(net.build(), by_rows=True)
    assert plan.stream is not None
    assert len(plan.stream.calls) == layers
    assert plan.arena_bytes < plan.output_bytes


def test_the_whole_arena_where_rows_do_not_pay(new_model: Any, run_rows: RunRows) -> None:
    """RELU over the input in place takes nothing; by rows it would take a row."""
    net = Net(new_model(), np.random.default_rng(3), (8, 8, 4))
    net.relu()
    plan = plan_front(net.build(), by_rows=True)
    assert plan.stream is not None
    assert plan.stream.calls == ()
    assert plan.arena_bytes == plan.stream.whole_bytes == 256


@pytest.mark.parametrize("last", ["one row", "PAD", "RESHAPE"])
def test_refusals(last: str, new_model: Any) -> None:
    model = new_model()
    net = Net(model, np.random.default_rng(3), (1 if last == "one row" else 6, 6, 4))
    net.conv(4)
    if last == "PAD":
        y = model.tensor((1, 8, 8, 4), 0.06, 5)
        amounts = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], dtype=np.int32)
        p = model.tensor((4, 2), dtype="INT32", data=amounts)
        model.operator("PAD", [net.last, p], [y], "PadOptions")
        net.last = y
    if last == "RESHAPE":
        y = model.tensor((1, 12, 12), 0.06, 5)
        model.operator("RESHAPE", [net.last], [y], "ReshapeOptions", newShape=[1, 12, 12])
        net.last = y
    with pytest.raises(OptionError) as refused:
        plan_front(net.build(), by_rows=True)
    text = str(refused.value)
    assert text.startswith("--stream-rows: ")
    assert ("has one row" if last == "one row" else f"] {last}, cannot run row by row") in text
