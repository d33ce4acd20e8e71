"""The emitted files: deterministic, clean under strict warnings, safe against model text."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus_gen.front import plan_front, render_front
from isthmus_gen.front.operators import OPERATORS
from isthmus_gen.resources import kernel_root, target_root, template_root


@pytest.fixture
def tree(new_model: Any, tmp_path: Path) -> Path:
    """A rendered front half with a hostile tensor name and every kernel beside it."""
    model = new_model()
    x = model.tensor((1, 4, 4, 2), 0.1, 0)
    y = model.tensor((1, 4, 4, 2), 0.1, 0, name='*/ #error "é"\n??/ int')
    w = model.tensor((2, 1, 1, 2), 0.1, data=np.ones((2, 1, 1, 2), dtype=np.int8))
    b = model.tensor((2,), 0.01, dtype="INT32", data=np.array([-(2**31), 2**31 - 1], np.int32))
    model.operator("CONV_2D", [x, w, b], [y], "Conv2DOptions", padding=1, strideH=1, strideW=1)
    plan = plan_front(model.build([x], [y]))
    files = render_front(plan, banner="Isthmus 0.1.0\nprofile */ 00ff")
    assert files == render_front(plan, banner="Isthmus 0.1.0\nprofile */ 00ff")
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    for source in kernel_root().iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    return tmp_path


def _compile(command: list[str], flags: list[str], folder: Path) -> None:
    for source in sorted(folder.glob("*.c")):
        done = subprocess.run(
            [
                *command,
                *flags,
                "-O2",
                "-ffreestanding",
                "-c",
                str(source),
                "-o",
                str(folder / "out.o"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_gcc_has_nothing_to_say(
    tree: Path, strict_flags: list[str], require_tool: Callable[[str], str]
) -> None:
    _compile([require_tool("gcc")], strict_flags, tree)
    _compile([require_tool("gcc"), "-funsigned-char"], strict_flags, tree)


def test_arm_gcc_has_nothing_to_say(
    tree: Path, strict_flags: list[str], require_tool: Callable[[str], str]
) -> None:
    compiler = require_tool("arm-none-eabi-gcc")
    for core in ("cortex-m0", "cortex-m4"):
        _compile([compiler, "-mthumb", f"-mcpu={core}"], strict_flags, tree)


def test_clang_has_nothing_to_say(
    tree: Path, strict_flags: list[str], require_package: Callable[[str], None]
) -> None:
    require_package("ziglang")
    _compile(
        [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            "thumb-freestanding-eabi",
            "-mcpu=cortex_m4",
        ],
        strict_flags,
        tree,
    )


def test_abi_mismatch_stops_the_build(tree: Path, require_tool: Callable[[str], str]) -> None:
    done = subprocess.run(
        [require_tool("gcc"), "-DISTH_ABI=99", "-c", "isth_front.c", "-o", "out.o"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "regenerate the whole tree" in done.stderr


def test_banner_and_tflm_files(tree: Path) -> None:
    header = (tree / "isth_front.h").read_text()
    assert header.startswith("/*\n * Isthmus 0.1.0\n * profile *_ 00ff\n")
    assert re.search(r"#define ISTH_FRONT_OUTPUT_BYTES 32\n", header)
    source = (tree / "tflm" / "isth_tflm_model.cc").read_text()
    assert source.count("TF_LITE_ENSURE_STATUS(resolver->Add") == 1
    assert "resolver->AddConv2D()" in source
    table = source[source.index("= {") : source.index("};")]
    stored = bytes(int(b, 16) for b in re.findall(r"0x([0-9a-f]{2})", table))
    assert stored[4:8] == b"TFL3"
    assert (
        f"#define ISTH_TFLM_MODEL_BYTES {len(stored)}\n"
        in (tree / "tflm" / "isth_tflm_model.h").read_text()
    )


def test_scales_are_exact_float_literals(tree: Path) -> None:
    header = (tree / "isth_front.h").read_text()
    found = re.findall(r"#define ISTH_FRONT_(INPUT|OUTPUT)_SCALE (\S+)f\n", header)
    assert [role for role, _ in found] == ["INPUT", "OUTPUT"]
    assert [np.float32(text) for _, text in found] == [np.float32(0.1)] * 2


def test_lines_fit_the_page(tree: Path) -> None:
    for path in tree.glob("**/*.[ch]*"):
        longest = max(len(line) for line in path.read_text().splitlines())
        assert longest <= 100, path.name


def test_kernels_include_only_two_standard_headers() -> None:
    for source in kernel_root().iterdir():
        standard = set(re.findall(r"#include <([^>]+)>", source.read_text()))
        # The vector tiers bring their compilers' own headers, behind the tier's guard.
        assert standard <= {"stddef.h", "stdint.h", "arm_mve.h", "arm_neon.h"}, source.name


def test_operator_table_is_sorted_and_named() -> None:
    assert list(OPERATORS) == sorted(OPERATORS)
    for name, row in OPERATORS.items():
        assert row.name == name
        assert row.resolver.startswith("Add") or row.resolver == ""


def test_no_tflm_files_where_it_lacks_an_operator(new_model: Any) -> None:
    model = new_model()
    x, y = model.tensor((1, 2), 0.1), model.tensor((1, 4), 0.1)
    times = model.tensor((2,), dtype="INT32", data=np.array([1, 2], dtype=np.int32))
    model.operator("TILE", [x, times], [y], "TileOptions")
    plan = plan_front(model.build([x], [y]))
    assert plan.tflm_methods == ()
    assert not [name for name in render_front(plan) if name.startswith("tflm/")]


def test_resources_of_a_checkout(repo_root: Path) -> None:
    assert template_root() == repo_root / "templates"
    assert target_root() == repo_root / "targets"
