"""Tiers by core, and kernels with assembly under the flags that users have."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus_gen.resources import kernel_root

WARNINGS = (
    "-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wundef -Wstrict-prototypes"
    " -Wcast-qual -Wcast-align=strict -Wstrict-aliasing=2 -Werror"
)
FILES = ("conv_1x1", "conv_2d", "depthwise", "lut", "matmul", "mul", "sum")
SETS = (
    "-O0", "-Og", "-O1", "-O2", "-O3", "-Os",
    "-Og -fno-omit-frame-pointer", "-O2 -fno-omit-frame-pointer", "-Os -fno-omit-frame-pointer",
    "-O2 -fPIC -fno-omit-frame-pointer", "-O2 -mpure-code",
)  # fmt: skip
FRAME_AT_O0 = 1024
"""Bytes of stack that no function may exceed without optimisation."""


@pytest.mark.parametrize(
    ("flags", "tier"),
    [
        ("-mcpu=cortex-m0plus", "thumb-1"),
        ("-mcpu=cortex-m23", "thumb-1"),
        ("-mcpu=cortex-m3", "portable"),
        ("-mcpu=cortex-m4", "dsp"),
        ("-mcpu=cortex-m4 -DISTH_K_PORTABLE", "portable"),
        ("-mcpu=cortex-m33+nodsp", "portable"),
        ("-mcpu=cortex-m55 -mfloat-abi=hard", "mve"),
        ("-mcpu=cortex-m55+nomve -mfloat-abi=hard", "dsp"),
        ("-march=armv7-r", "dsp"),
        ("-march=armv7-r -mbig-endian", "portable"),
    ],
)
def test_the_tier_of_a_core(flags: str, tier: str, require_tool: Callable[[str], str]) -> None:
    """What docs/firmware.md says: tiers that take words apart must not meet a big-endian core."""
    done = subprocess.run(
        [require_tool("arm-none-eabi-gcc"), "-mthumb", *flags.split(), "-E", "-dM",
         str(kernel_root() / "isth_k_common.h")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert re.findall(r'#define ISTH_K_TIER "(.*)"', done.stdout) == [tier]


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("flags", SETS)
def test_kernels_build_under_any_flags(
    core: str, flags: str, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """No asm lacks a register (gcc takes high ones away at -Os), no frame at -O0 is kilobytes."""
    files = [str(kernel_root() / f"isth_k_{name}.c") for name in FILES]
    float_abi = "soft" if core == "cortex-m0plus" else "hard"
    done = subprocess.run(
        [require_tool("arm-none-eabi-gcc"), f"-mcpu={core}", "-mthumb", f"-mfloat-abi={float_abi}",
         "-std=c99", *WARNINGS.split(), *flags.split(), "-fstack-usage", "-c", *files],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    texts = [path.read_text(encoding="utf-8") for path in tmp_path.glob("*.su")]
    frames = [line.split("\t") for text in texts for line in text.splitlines()]
    assert frames
    assert [name for name, size, _ in frames if int(size) > FRAME_AT_O0] == []
