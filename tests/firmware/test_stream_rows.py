"""``--stream-rows``: less memory, and the same frames, on this machine and on an emulated core."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from firmware_cases import Bench, Case, Make

from isthmus_gen import api
from isthmus_gen.evaluate.front import NativeFront

# Cuts of the digits: the first convolution, where rows pay most, and two additions.
CUTS = ["stem", "stage1", "stage2"]
OPTIONS: dict[str, Any] = {"levels": (4, 8), "slice_rows": 3, "target": "cortex-m4f"}
Pair = tuple[Case, Case]


@pytest.fixture(params=CUTS)
def pair(request: pytest.FixtureRequest, digits: Make) -> Pair:
    """A cut with its tensor whole and row by row."""
    return digits(request.param, **OPTIONS), digits(request.param, stream_rows=True, **OPTIONS)


def _report(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((case.bundle.path / "report.json").read_text())
    return found


def test_one_profile_and_less_memory(pair: Pair) -> None:
    whole, rows = pair
    assert rows.bundle.profile.digest == whole.bundle.profile.digest
    vectors = [name for name in whole.bundle.files if name.startswith("vectors/")]
    assert vectors
    assert all(rows.bundle.read(name) == whole.bundle.read(name) for name in vectors)
    old, new = _report(whole), _report(rows)
    assert "streamed_layers" not in old
    assert new["arena_whole_bytes"] == old["arena_bytes"]
    saved = old["arena_bytes"] - new["arena_bytes"]
    assert saved > 0 if new["streamed_layers"] else saved == 0
    assert new["streamed_layers"] == 1 or new["cut"] != "stem"
    assert old["ram_bytes"] - new["ram_bytes"] == saved
    assert "--stream-rows" in new["command"]
    assert "--stream-rows" not in old["command"]


def test_an_evaluation_runs_the_rows(pair: Pair, require_tool: Callable[[str], str]) -> None:
    require_tool("cc")
    x = np.random.default_rng(6).integers(-128, 128, (9, 8, 8, 1), dtype=np.int8)
    whole, rows = (NativeFront(case.bundle).run(x) for case in pair)
    assert len({tensor.tobytes() for tensor in whole}) == len(x)
    np.testing.assert_array_equal(rows, whole)


@pytest.mark.parametrize("rung", [0, 1])
@pytest.mark.parametrize(
    ("name", "compiler", "emulator"),
    [("host", "native", "native"), ("cortex-m4f", "gcc", "qemu-system"),
     ("cortex-m4f", "zig", "unicorn")],
)  # fmt: skip
def test_the_same_bytes(
    name: str, compiler: str, emulator: str, rung: int, pair: Pair, bench: Bench
) -> None:
    bench.hold(pair[1], name, compiler, emulator, count=6, rung=rung)


def test_verify_says_where_the_rows_are_counted(
    digits: Make, require_package: Callable[[str], None]
) -> None:
    for package in ("ziglang", "unicorn"):
        require_package(package)
    case = digits("stem", stream_rows=True, **OPTIONS)
    (result,) = api.verify(case.bundle.path, targets=["cortex-m4f"], inputs=1)
    assert result.front_instructions is not None
    assert result.front_instructions < 100  # the only layer is not in it
    assert any("counted with the encoder" in note for note in result.notes)


MAIN = r"""
#include <stdio.h>
#include <string.h>
#include "isth.h"
static uint8_t arena[ISTH_FRONT_ARENA_BYTES] __attribute__((aligned(16)));
static isth_element tensor[ISTH_ELEMENTS];
static isth_encoder_memory memory;
static uint8_t one[ISTH_FRAME_BYTES_MAX], two[ISTH_FRAME_BYTES_MAX];
int main(void) {
    uint32_t row;
    size_t capacity;
    int wrong = 0;
    int short_ones = 0;
    memset(isth_front_input(arena), 7, ISTH_FRONT_INPUT_BYTES);
    isth_front_begin(arena);
    for (row = 0; row < ISTH_FRONT_ROWS; row++) {
        memcpy(tensor + row * ISTH_ROW_ELEMENTS, isth_front_row(arena, row), ISTH_ROW_ELEMENTS);
    }
    for (capacity = 0; capacity <= sizeof one; capacity++) {
        size_t a = 1, b = 2;
        isth_status s = isth_encode_tensor(&memory, 1, 9, tensor, one, capacity, &a);
        isth_status t = isth_encode_rows(&memory, arena, 1, 9, two, capacity, &b);
        wrong += s != t || a != b || (s == ISTH_OK && memcmp(one, two, a) != 0);
        short_ones += s == ISTH_E_BUFFER;
    }
    {
        size_t length = 5;
        wrong += isth_encode_rows(&memory, arena, ISTH_RUNGS, 9, two, sizeof two, &length) !=
                     ISTH_E_RUNG || length != 0;
    }
    printf("%d %d\n", wrong, short_ones > 0);
    return 0;
}
"""


def test_statuses_and_lengths_are_those_of_the_whole_tensor(
    pair: Pair, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    firmware = pair[1].bundle.firmware
    (tmp_path / "main.c").write_text(MAIN)
    sources = [*sorted((firmware / "src").glob("*.c")), tmp_path / "main.c"]
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
    flags += ["-fsanitize=address,undefined", "-O1", f"-I{firmware / 'src'}"]
    program = tmp_path / "program"
    subprocess.run([require_tool("gcc"), *flags, *sources, "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    assert done.stdout == "0 1\n"
