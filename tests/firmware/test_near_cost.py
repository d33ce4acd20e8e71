"""The kept figures of near-lossless coding: counted again for one core, held to the goal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def cost(repo_root: Path) -> ModuleType:
    """The module benchmarks.near_cost."""
    sys.path.insert(0, str(repo_root))
    try:
        from benchmarks import near_cost
    finally:
        sys.path.remove(str(repo_root))
    return near_cost


@pytest.fixture(scope="module")
def results(repo_root: Path) -> Path:
    return repo_root / "benchmarks" / "results" / "near_cost.json"


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
    found = list(cost.measure(["cortex-m4f"], cuts=["activation_4"], bounds=(0, 4)))
    assert [row.bound for row in found] == [0, 4]
    changed = cost.changes(cost.load_results(results), found)
    assert not changed, (
        f"measured with {found[0].compiler}; if these are meant, run"
        " python -m benchmarks.near_cost and commit what it writes:\n" + "\n".join(changed)
    )


def test_every_cut_bound_and_core_is_kept(cost: ModuleType, results: Path) -> None:
    rows = cost.load_results(results)
    assert {row.key for row in rows} == {
        (cut, bound, core) for cut in cost.CUTS for bound in cost.BOUNDS for core in cost.CORES
    }


def test_the_goal_is_met_by_the_kept_figures(cost: ModuleType, results: Path) -> None:
    rows = {row.key: row for row in cost.load_results(results)}
    for cut in cost.CUTS:
        row = rows[cut, 0, "cortex-m4f"]
        assert row.instructions <= cost.GOAL
        assert row.table_bytes <= 16384
        assert row.ram_bytes <= 1024


def test_figures_that_hang_together(cost: ModuleType, results: Path) -> None:
    rows = {row.key: row for row in cost.load_results(results)}
    for cut in cost.CUTS:
        for core in cost.CORES:
            ladder = [rows[cut, bound, core] for bound in cost.BOUNDS]
            bits = [row.bits for row in ladder]
            assert bits == sorted(bits, reverse=True)  # a larger bound needs fewer
            counts = [row.instructions for row in ladder]
            assert counts == sorted(counts, reverse=True)
            assert bits == [rows[cut, bound, "cortex-m4f"].bits for bound in cost.BOUNDS]


def test_the_tables_are_printed_from_the_kept_figures(
    cost: ModuleType, results: Path, repo_root: Path
) -> None:
    from benchmarks.near_cost_text import section
    from benchmarks.sections import read_section

    printed = read_section(repo_root / "benchmarks" / "RESULTS.md", "near_cost")
    assert printed == section(cost.load_results(results))
