"""Random layers in every build of the kernels: the engines' bytes, and nothing outside a block."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_cases import Case
from kernel_cores import BARE, HOSTED, run_core, run_user
from kernel_driver import IN_PLACE, OVERLAP, ROWS, STEPS, WHOLE, Answer, Batch, Calls, batch, runs
from kernel_hosts import COMPILERS, TIERS, run_host

from isthmus_gen.front.layers import Layer, Struct


def _clean(answer: Answer, records: Batch) -> None:
    assert answer.failures == ()
    assert answer.cases == records.count
    assert answer.compared > 1_000_000


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_on_this_machine(
    compiler: str, tier: str, records: Batch, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    if compiler == "gcc-m32" and platform.machine() != "x86_64":
        pytest.skip("only x86-64 runs 32-bit programs of its own")
    require_tool("clang") if compiler == "clang" else require_tool("gcc")
    _clean(run_host(compiler, tier, tmp_path, records), records)


@pytest.mark.parametrize("name", HOSTED)
def test_under_user_mode(
    name: str, records: Batch, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool(HOSTED[name][0])
    require_tool(HOSTED[name][2][0])
    _clean(run_user(name, tmp_path, records), records)


@pytest.mark.parametrize("name", BARE)
def test_on_cores(
    name: str, records: Batch, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    if name.startswith("rv"):
        require_tool("riscv64-unknown-elf-gcc")
        require_tool("qemu-system-riscv32")
    else:
        require_tool("arm-none-eabi-gcc")
        require_tool("qemu-system-arm")
    _clean(run_core(name, tmp_path, records), records)


@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4f", "cortex-m55"])
def test_on_cores_by_another_compiler(
    name: str,
    records: Batch,
    tmp_path: Path,
    require_tool: Callable[[str], str],
    require_package: Callable[[str], None],
) -> None:
    require_tool("qemu-system-arm")
    require_package("ziglang")
    _clean(run_core(name, tmp_path, records, "zig"), records)


def _mode(layer: Layer) -> Any:
    params = dict(layer.params)
    filters = params.get("filters")
    return filters.values[3] if isinstance(filters, Struct) else params.get("mode")


def test_the_cases_reach_what_they_are_for(cases: list[Case]) -> None:
    """Each mode of each kernel, both layouts of planes, and every way of being called."""
    modes = Counter((case.layer.kernel, _mode(case.layer)) for case in cases)
    for kernel in ("isth_k_conv_2d", "isth_k_conv_1x1", "isth_k_dense", "isth_k_depthwise"):
        assert all(modes[kernel, mode] >= 10 for mode in range(3)), modes
    assert all(
        modes[kernel, mode] >= 10 for kernel in ("isth_k_sum", "isth_k_mul") for mode in (1, 2)
    )
    assert modes["isth_k_dense", 3] >= 40
    planes = [dict(c.layer.params) for c in cases if c.layer.kernel == "isth_k_depthwise"]
    for name, values in {
        "turned": (0, 1),
        "stride_w": (1, 2, 3),
        "multiplier": (1, 2, 3),
        "kernel_w": (1, 2, 3, 4, 5, 7),
        "mode": (0, 1, 2),
    }.items():
        found = Counter(plane[name] for plane in planes)
        assert all(found[value] >= 5 for value in values), (name, found)
    forms = Counter((p["plane_w"], p["stride_w"]) for p in planes if p["sums"])
    assert all(forms[width, stride] >= 4 for width in (16, 32, 64) for stride in (1, 2)), forms
    convs = [dict(c.layer.params) for c in cases if c.layer.kernel == "isth_k_conv_2d"]
    assert {1, 2, 3, 4} <= {conv["groups"] for conv in convs}
    assert any(conv["dilation_h"] > 1 for conv in convs)
    called = Counter(
        (case.layer.kernel, kind) for case in cases for kind in {r[0] for r in runs(case, Calls())}
    )
    for kernel, kind in [
        ("isth_k_conv_2d", OVERLAP),
        ("isth_k_conv_2d", ROWS),
        ("isth_k_conv_1x1", OVERLAP),
        ("isth_k_conv_1x1", ROWS),
        ("isth_k_conv_1x1", STEPS),
        ("isth_k_depthwise", IN_PLACE),
        ("isth_k_depthwise", ROWS),
        ("isth_k_sum", IN_PLACE),
        ("isth_k_mul", IN_PLACE),
        ("isth_k_prelu", IN_PLACE),
        ("isth_k_dense", WHOLE),
    ]:
        assert called[kernel, kind] >= 20, (kernel, kind, called)
    # Where vectors of 16 end within the last group of four, and half a pair outside the plane.
    inputs = [dict(c.layer.params)["filters"].values[5] for c in cases if "dense" in c.layer.kernel]
    assert sum(count % 16 > 12 for count in inputs) >= 10
    ends = [p for p in planes if p["sums"] and p["stride_w"] == 2 and p["out_w"] in (7, 15, 31)]
    assert len(ends) >= 5
    # Outputs of one value prove little.
    assert np.mean([len(np.unique(case.wanted)) > 1 for case in cases]) > 0.85


def _first(cases: list[Case], kernel: str) -> Case:
    return next(case for case in cases if case.layer.kernel == kernel)


def test_a_wrong_byte_is_found(
    cases: list[Case], tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("gcc")
    case = _first(cases, "isth_k_conv_2d")
    wanted = case.wanted.copy()
    wanted[1, -1] ^= 1
    answer = run_host("gcc", "portable", tmp_path, batch([replace(case, wanted=wanted)]))
    found = len(runs(case, Calls()))
    assert len(answer.failures) == found
    assert all(f"case {case.number}, " in text and "differs" in text for text in answer.failures)


@pytest.mark.parametrize("place", ["host", "armv7", "cortex-m4f"])
def test_scratch_that_is_too_small_is_found(
    place: str, cases: list[Case], tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """By the sanitiser, by the end of a page, and by the bytes around a block."""
    case = _first(cases, "isth_k_conv_2d")
    less = case.layer.scratch_bytes - 8
    short = batch([replace(case, layer=replace(case.layer, scratch_bytes=less))])
    if place == "host":
        require_tool("gcc")
        with pytest.raises(AssertionError, match="heap-buffer-overflow"):
            run_host("gcc", "dsp", tmp_path, short)
    elif place == "armv7":
        require_tool("arm-linux-gnueabihf-gcc")
        require_tool("qemu-arm")
        with pytest.raises(AssertionError, match="Segmentation fault"):
            run_user(place, tmp_path, short)
    else:
        require_tool("arm-none-eabi-gcc")
        require_tool("qemu-system-arm")
        with pytest.raises(AssertionError, match=r"wrote outside a block|\(101"):
            raise AssertionError(run_core(place, tmp_path, short).failures)
