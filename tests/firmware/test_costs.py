"""The kept figures of the firmware's cost: counted again for one core, and told when they move."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def cost(repo_root: Path) -> ModuleType:
    """The module benchmarks.firmware_cost."""
    sys.path.insert(0, str(repo_root))
    try:
        from benchmarks import firmware_cost
    finally:
        sys.path.remove(str(repo_root))
    return firmware_cost


@pytest.fixture(scope="module")
def results(repo_root: Path) -> Path:
    return repo_root / "benchmarks" / "results" / "firmware_cost.json"


@pytest.mark.slow
def test_m4_counts_as_kept(
    cost: ModuleType,
    results: Path,
    data_dir: Path,
    require_tool: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_tool("arm-none-eabi-gcc")
    require_tool("qemu-system-arm")
    monkeypatch.setenv("ISTHMUS_DATA", str(data_dir))
    found = list(cost.measure(["cortex-m4f"], ["gcc"], cuts=["activation_4", "stage2"]))
    assert len(found) == 2
    changed = cost.changes(cost.load_results(results), found)
    assert not changed, (
        f"measured with {found[0].compiler}; if these are meant, run"
        " python -m benchmarks.firmware_cost and commit what it writes:\n" + "\n".join(changed)
    )


def test_every_cut_core_and_compiler_is_kept(cost: ModuleType, results: Path) -> None:
    keys = {row.key for row in cost.load_results(results)}
    cuts = [("resnet8", f"activation_{n}") for n in (2, 4, 6)] + [("digits", "stage2")]
    assert keys == {
        (*cut, core, compiler) for cut in cuts for core in cost.CORES for compiler in ("gcc", "zig")
    }


def test_the_goal_is_met_by_the_kept_figures(cost: ModuleType, results: Path) -> None:
    rows = {row.key: row for row in cost.load_results(results)}
    for compiler in ("gcc", "zig"):
        row = rows["resnet8", "activation_4", "cortex-m4f", compiler]
        assert row.elements == 16 * 16 * 32
        assert row.encode_4 <= 60
        assert row.encoder_bytes <= 256


def test_figures_that_hang_together(cost: ModuleType, results: Path) -> None:
    for row in cost.load_results(results):
        coder = row.encode_4 * row.elements
        assert row.encode_share == pytest.approx(coder / (coder + row.front), abs=2e-5)
        assert row.front_per_mac == pytest.approx(row.front / row.macs, abs=6e-4)
        # an element has one bin at two levels, and more with more
        assert row.bin_2 == row.encode_2 < row.encode_4 < row.encode_8 < row.encode_16
        assert row.bin_4 < row.encode_4
        assert row.arena_bound_bytes <= row.arena_bytes
        assert row.ram_bytes >= row.arena_bytes + row.encoder_bytes + row.frame_16_bytes
        assert row.flash_weights_bytes < row.flash_bytes


def test_a_figure_that_moves_is_named(cost: ModuleType, results: Path) -> None:
    kept = cost.load_results(results)
    row = kept[0]
    same = replace(row, front=row.front + row.front // 200, compiler="arm-none-eabi-gcc 99")
    assert cost.changes(kept, [same]) == []
    moved = replace(row, front=row.front + row.front // 50, stack_bytes=row.stack_bytes * 2)
    name = " ".join(row.key)
    assert cost.changes(kept, [moved]) == [
        f"{name}: front was {row.front}, is {moved.front}",
        f"{name}: stack_bytes was {row.stack_bytes}, is {moved.stack_bytes}",
    ]
    assert cost.changes(kept, [replace(row, core="cortex-m99")]) == [
        f"{row.network} {row.cut} cortex-m99 {row.key[3]}: not in the results"
    ]


def test_the_tables_are_printed_from_the_kept_figures(
    cost: ModuleType, results: Path, repo_root: Path
) -> None:
    from benchmarks.firmware_cost_text import section
    from benchmarks.sections import read_section

    printed = read_section(repo_root / "benchmarks" / "RESULTS.md", "firmware_cost")
    assert printed == section(cost.load_results(results))
    assert "retired instructions, not cycles" in printed
