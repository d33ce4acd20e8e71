"""Kernels at the ends of their ranges, under the sanitisers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isthmus_gen.front.quantize import requantize
from isthmus_gen.resources import kernel_root

SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

CLAMP_C = """
#include <stdio.h>
#include "isth_k_common.h"
int main(void)
{
    int given[4];
    while (scanf("%d %d %d %d", &given[0], &given[1], &given[2], &given[3]) == 4) {
        const isth_k_output output = {given[1], given[2], given[3]};
        printf("%d\\n", isth_k_clamp(given[0], &output));
    }
    return 0;
}
"""

# Every array is a heap block of exactly its size, so that the sanitiser sees a read beyond it.
BLOCK_C = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "isth_k_conv_2d.h"
static void *heap(const void *from, size_t size)
{
    void *made = malloc(size);
    if (made == NULL) {
        exit(1);
    }
    return memcpy(made, from, size);
}
int main(void)
{
    /* [pairs][3 groups][2][4]: filter 0 is 1 to 9, the others are zero. */
    static const int8_t w[PAIRS * 24] = {1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0, 9};
    static const int8_t x[16] = {1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 15, -16};
    isth_k_filter filters[2 * PAIRS];
    static isth_k_conv_2d_layer layer;
    int8_t *given = heap(x, sizeof x);
    int8_t *y = malloc(16 * COUNT);
    int8_t *scratch = malloc(20 * 3);
    int i;
    for (i = 0; i < 2 * PAIRS; i++) {
        filters[i].folded = i;
        filters[i].multiplier = 1 << 30;
        filters[i].right = -1;
        filters[i].offset = 0;
    }
    layer.filters.weights = heap(w, sizeof w);
    layer.filters.filters = heap(filters, sizeof filters);
    layer.filters.output.minimum = -128;
    layer.filters.output.maximum = 127;
    layer.filters.mode = ISTH_K_GENERAL;
    layer.filters.count = COUNT;
    layer.filters.inputs = 9;
    layer.filters.groups = 3;
    layer.in_h = layer.in_w = layer.out_h = layer.out_w = 4;
    layer.in_c = layer.groups = layer.stride_h = layer.stride_w = 1;
    layer.dilation_h = layer.dilation_w = layer.pad_top = layer.pad_left = 1;
    layer.kernel_h = layer.kernel_w = 3;
    layer.out_c = COUNT;
    isth_k_conv_2d(&layer, given, y, scratch);
    for (i = 0; i < 16 * COUNT; i++) {
        printf("%d\\n", y[i]);
    }
    free(given);
    free(scratch);
    free(y);
    return 0;
}
"""


@pytest.fixture
def program(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> Callable[[str, list[str], str], list[int]]:
    """``program(source, words, given)`` -> the numbers that it prints; a sanitiser's word fails."""
    compiler = require_tool("gcc")

    def run(source: str, words: list[str], given: str) -> list[int]:
        (tmp_path / "main.c").write_text(source)
        made = tmp_path / "program"
        flags = ["-std=c99", *SANITIZE, f"-I{kernel_root()}", *words]
        subprocess.run([compiler, *flags, str(tmp_path / "main.c"), "-o", str(made)], check=True)
        done = subprocess.run([made], input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [int(line) for line in done.stdout.split()]

    return run


def test_clamp_takes_every_int32(program: Callable[[str, list[str], str], list[int]]) -> None:
    edges = [-(2**31), -(2**31) + 1, -300, -129, -1, 0, 1, 126, 300, 2**31 - 2, 2**31 - 1]
    bounds = [(-128, -128, 127), (127, -128, 127), (0, -128, 127), (127, 127, 127), (-5, -5, 20)]
    cases = [(value, *bound) for bound in bounds for value in edges]
    found = program(CLAMP_C, [], "\n".join(" ".join(map(str, case)) for case in cases))
    assert found == [min(max(value + zero, low), high) for value, zero, low, high in cases]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_odd_filters_and_padded_rows(
    count: int, program: Callable[[str, list[str], str], list[int]]
) -> None:
    sources = [str(kernel_root() / f"isth_k_{name}.c") for name in ("conv_2d", "matmul")]
    words = [f"-DCOUNT={count}", f"-DPAIRS={(count + 1) // 2}", *sources]
    found = np.array(program(BLOCK_C, words, "")).reshape(4, 4, count)
    x = np.zeros((6, 6), dtype=np.int64)
    x[1:5, 1:5] = np.arange(1, 17).reshape(4, 4) * np.resize([1, -1], 16).reshape(4, 4)
    weights = np.zeros((count, 3, 3), dtype=np.int64)
    weights[0] = np.arange(1, 10).reshape(3, 3)
    for row in range(4):
        for column in range(4):
            for channel in range(count):
                taps = x[row : row + 3, column : column + 3] * weights[channel]
                scaled = requantize(int(taps.sum()) + channel, 1 << 30, 1)
                assert found[row, column, channel] == max(-128, min(127, scaled))
