"""Counts by layer: two counters that know nothing of each other, and the macro they hang on."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isthmus_gen.front import plan_front, render_front
from isthmus_gen.targets import load_target
from isthmus_gen.verify import front_cost

MAIN = r"""
#include <stdio.h>
#include "isth_front.h"
#include "probe.h"
static unsigned char arena[ISTH_FRONT_ARENA_BYTES] __attribute__((aligned(16)));
void probe(int index)
{
    printf("%d ", index);
}
int main(void)
{
    (void)isth_front_run(arena);
    return 0;
}
"""


@pytest.fixture(scope="module")
def kws(data_dir: Path) -> bytes:
    """Keyword spotting of MLPerf Tiny, int8."""
    return (data_dir / "models/mlperf_tiny/kws_int8.tflite").read_bytes()


@pytest.fixture(scope="module")
def sound(kws: bytes) -> np.ndarray:
    shape = plan_front(kws).input_shape
    return np.random.default_rng(3).integers(-128, 128, (2, *shape), dtype=np.int8)


@pytest.mark.parametrize(
    ("name", "gcc", "qemu"),
    [
        ("cortex-m4f", "arm-none-eabi-gcc", "qemu-system-arm"),
        ("rv32imac", "riscv64-unknown-elf-gcc", "qemu-system-riscv32"),
    ],
)
def test_qemu_and_unicorn_count_the_same(
    kws: bytes,
    sound: np.ndarray,
    tmp_path: Path,
    require_tool: Callable[[str], str],
    require_package: Callable[[str], None],
    name: str,
    gcc: str,
    qemu: str,
) -> None:
    require_tool(gcc)
    require_tool(qemu)
    require_package("unicorn")
    target = load_target(name)
    timer, hook = (
        front_cost(kws, target, sound, compiler="gcc", emulator=emulator, work_dir=tmp_path)
        for emulator in ("qemu-system", "unicorn")
    )
    np.testing.assert_array_equal(timer.outputs, hook.outputs)
    assert len(timer.layers) == len(plan_front(kws).layers)
    for one, other in zip(timer.layers, hook.layers, strict=True):
        assert one.instructions is not None
        assert other.instructions is not None
        assert one.plan == other.plan
        # the timer's tick is 40 instructions on this machine
        assert abs(one.instructions - other.instructions) <= 80 + other.instructions // 1000
    assert timer.instructions == sum(layer.instructions or 0 for layer in timer.layers)
    assert (timer.code_bytes, timer.constant_bytes) == (hook.code_bytes, hook.constant_bytes)


def test_sizes_by_layer(
    kws: bytes, sound: np.ndarray, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("arm-none-eabi-gcc")
    require_tool("qemu-system-arm")
    plan = plan_front(kws)
    cost = front_cost(kws, load_target("cortex-m4f"), sound, compiler="gcc", work_dir=tmp_path)
    assert cost.warnings == ()
    assert cost.variable_bytes == 0
    assert cost.flash_bytes is not None
    assert cost.constant_bytes is not None
    assert cost.code_bytes == cost.flash_bytes - cost.constant_bytes
    by_layer = [layer.flash_constant_bytes or 0 for layer in cost.layers]
    for layer, linked in zip(plan.layers, by_layer, strict=True):
        arrays = sum(array.bytes for array in layer.arrays)
        assert arrays <= linked <= arrays + 256  # its struct beside its arrays
    # what no layer owns is a kernel's own table
    assert sum(by_layer) <= cost.constant_bytes <= sum(by_layer) + 2048
    kernels = [layer.stack_bytes for layer in cost.layers if layer.stack_bytes is not None]
    assert cost.stack_bytes is not None
    assert max(kernels) <= cost.stack_bytes < 1024
    # keyword spotting's 22,016 weights and 5 tables of 64 channels and more
    assert cost.constant_bytes > 22_016
    assert max(layer.plan.alive_bytes for layer in cost.layers) <= cost.arena_bytes


def test_the_macro_is_called_before_each_layer_and_after_the_last(
    kws: bytes, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    cc = require_tool("cc")
    for name, content in render_front(plan_front(kws)).items():
        if "/" not in name:
            (tmp_path / name).write_bytes(content)
    (tmp_path / "probe.h").write_text("void probe(int);\n#define ISTH_FRONT_LAYER(k) probe(k)\n")
    (tmp_path / "main.c").write_text(MAIN)
    sources = sorted(str(path) for path in tmp_path.glob("*.c"))
    define = '-DISTH_FRONT_LAYER_HEADER="probe.h"'
    program = tmp_path / "program"
    subprocess.run([cc, "-O1", define, *sources, "-o", program], check=True, cwd=tmp_path)
    printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    assert printed.split() == [str(k) for k in range(len(plan_front(kws).layers) + 1)]


def test_the_macro_costs_nothing(
    kws: bytes, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    gcc = require_tool("arm-none-eabi-gcc")
    for name, content in render_front(plan_front(kws)).items():
        if (name.endswith(".h") and "/" not in name) or name == "isth_front.c":
            (tmp_path / name).write_bytes(content)
    source = tmp_path / "isth_front.c"
    with_macro = source.read_text()
    bare = re.sub(r"^ *ISTH_FRONT_LAYER\(\w+\);\n", "", with_macro, flags=re.MULTILINE)
    assert bare.count("\n") == with_macro.count("\n") - len(plan_front(kws).layers) - 1
    objects = []
    for text in (with_macro, bare):
        source.write_text(text)
        command = [gcc, "-mcpu=cortex-m4", "-O2", "-c", "isth_front.c", "-o", "one.o"]
        subprocess.run(command, check=True, cwd=tmp_path)
        objects.append((tmp_path / "one.o").read_bytes())
    assert objects[0] == objects[1]
