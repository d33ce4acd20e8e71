"""The kept figures of signing: counted again for Cortex-M4, and held to their bounds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

#: Blocks of 64 bytes that a sealed unit hashes: header, unit and padding, then the outer one.
BLOCKS = {unit: (12 + unit + 9 + 63) // 64 + 1 for unit in (224, 244, 1100)}


@pytest.fixture(scope="module")
def cost(repo_root: Path) -> ModuleType:
    """The module benchmarks.seal_cost."""
    sys.path.insert(0, str(repo_root))
    try:
        from benchmarks import seal_cost
    finally:
        sys.path.remove(str(repo_root))
    return seal_cost


@pytest.fixture(scope="module")
def results(repo_root: Path) -> Path:
    return repo_root / "benchmarks" / "results" / "seal_cost.json"


def test_m4_counts_as_kept(
    cost: ModuleType,
    results: Path,
    require_tool: Callable[[str], str],
    require_package: Callable[[str], None],
) -> None:
    require_tool("arm-none-eabi-gcc")
    require_package("unicorn")
    found = list(cost.measure(["cortex-m4f"]))
    assert [(row.step, row.unit_bytes) for row in found] == [
        ("hash", 4096), *(("sign", size) for size in BLOCKS),
    ]  # fmt: skip
    changed = cost.changes(cost.load_results(results), found)
    assert not changed, (
        f"measured with {found[0].compiler}; if these are meant, run"
        " python -m benchmarks.seal_cost and commit what it writes:\n" + "\n".join(changed)
    )


def test_a_unit_costs_its_own_blocks(cost: ModuleType, results: Path) -> None:
    """The key's two blocks are paid once; a copied byte and padding are little beside a block."""
    rows = {row.key: row for row in cost.load_results(results)}
    assert {core for _, _, core in rows} == set(cost.CORES)
    for core in cost.CORES:
        block = rows["hash", 4096, core].instructions / 64
        for unit, blocks in BLOCKS.items():
            row = rows["sign", unit, core]
            assert blocks * block < row.instructions < blocks * block + 1500, (core, unit)
            assert 2 * block < row.key_instructions < 3 * block


def test_bounds_on_m4(cost: ModuleType, results: Path) -> None:
    rows = {row.key: row for row in cost.load_results(results)}
    assert rows["hash", 4096, "cortex-m4f"].instructions < 38 * 4096
    row = rows["sign", 1100, "cortex-m4f"]
    assert row.code_bytes + row.table_bytes < 3072
    assert row.stack_bytes <= 512


def test_a_figure_that_moved_is_named(cost: ModuleType, results: Path) -> None:
    rows = cost.load_results(results)
    assert not cost.changes(rows, rows)
    moved = replace(rows[0], instructions=round(rows[0].instructions * 1.02))
    assert len(cost.changes(rows, [moved])) == 1


def test_the_section_is_made_from_the_file(cost: ModuleType, results: Path) -> None:
    from benchmarks.sections import read_section

    kept = read_section(results.parents[1] / "RESULTS.md", "seal_cost")
    assert kept == cost.section(cost.load_results(results)).strip()
