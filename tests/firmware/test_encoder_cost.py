"""The kept figures of the encoder's cost: counted again for one core, and held to their bounds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

#: Instructions for one element with N = 4 on Cortex-M4.
BOUNDS = {"paper": 30.0, "neighbour": 45.0, "neighbour-1k": 45.0}
#: Bytes of code of an encoder of int8 tensors on Cortex-M4.
CODE_BYTES = 2560


@pytest.fixture(scope="module")
def cost(repo_root: Path) -> ModuleType:
    """The module benchmarks.encoder_cost."""
    sys.path.insert(0, str(repo_root))
    try:
        from benchmarks import encoder_cost
    finally:
        sys.path.remove(str(repo_root))
    return encoder_cost


@pytest.fixture(scope="module")
def results(repo_root: Path) -> Path:
    return repo_root / "benchmarks" / "results" / "encoder_cost.json"


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
    found = list(cost.measure(["cortex-m4f"], levels=(4,), rivals=False))
    assert [row.variant for row in found] == list(cost.SCHEMES)
    changed = cost.changes(cost.load_results(results), found)
    assert not changed, (
        f"measured with {found[0].compiler}; if these are meant, run"
        " python -m benchmarks.encoder_cost and commit what it writes:\n" + "\n".join(changed)
    )


def test_every_encoder_and_core_is_kept(cost: ModuleType, results: Path) -> None:
    rows = cost.load_results(results)
    ours = {row.key for row in rows if row.codec == "isthmus"}
    assert ours == {
        ("isthmus", scheme, "int8 tensor", levels, core)
        for scheme in cost.SCHEMES
        for levels in (2, 4, 8)
        for core in cost.CORES
    }
    others = {(row.codec, row.core) for row in rows if row.codec != "isthmus" and row.levels == 4}
    assert others == {(codec, core) for codec in ("heatshrink", "lz4") for core in cost.CORES}


def test_the_goals_are_met_by_the_kept_figures(cost: ModuleType, results: Path) -> None:
    rows = {row.key: row for row in cost.load_results(results)}
    for scheme, most in BOUNDS.items():
        row = rows["isthmus", scheme, "int8 tensor", 4, "cortex-m4f"]
        assert row.instructions <= most
        assert row.code_bytes <= CODE_BYTES
        assert row.ram_bytes <= 4096 + 2 * 512
    small = rows["isthmus", "neighbour-1k", "int8 tensor", 4, "cortex-m4f"]
    large = rows["isthmus", "neighbour", "int8 tensor", 4, "cortex-m4f"]
    assert small.ram_bytes <= 1024 + 2 * 512
    assert large.bits <= small.bits <= 1.03 * large.bits


def test_fewer_bits_than_general_compressors(cost: ModuleType, results: Path) -> None:
    rows = cost.load_results(results)
    for levels in (2, 4, 8):
        at = [row for row in rows if row.levels == levels and row.core == "cortex-m4f"]
        ours = max(row.bits for row in at if row.codec == "isthmus")
        assert ours < min(row.bits for row in at if row.codec != "isthmus")


def test_figures_that_hang_together(cost: ModuleType, results: Path) -> None:
    bits: dict[tuple[str, str, str, int], set[float]] = {}
    for row in cost.load_results(results):
        assert row.instructions > 0
        assert 0 < row.code_bytes < 8192
        assert row.bits > 0
        bits.setdefault(row.key[:4], set()).add(row.bits)
    assert all(len(found) == 1 for found in bits.values())  # the same bytes on every core


def test_packed_levels_come_back(cost: ModuleType) -> None:
    levels = np.array([[0, 1, 2, 3, 3, 2, 1, 0]], dtype=np.uint8)
    found = cost.sources(levels, 4)
    assert found["a byte a level"].tolist() == levels.tolist()
    assert found["2 bits a level"].tolist() == [[0b11100100, 0b00011011]]
    assert cost.sources(levels & 1, 2)["1 bits a level"].tolist() == [[0b01011010]]
    assert cost.sources(levels + 4, 8)["4 bits a level"].tolist() == [[0x54, 0x76, 0x67, 0x45]]


@pytest.mark.parametrize(
    ("codec", "data", "plain"),
    [
        # two literals, a match of 10 from 2 back, then the last literals
        ("lz4", b"\x26ab\x02\x00\x50vwxyz", b"ab" + b"ab" * 5 + b"vwxyz"),
        # 16 literals (15 + 1 more) at the end of the block
        ("lz4", b"\xf0\x01" + b"0123456789abcdef", b"0123456789abcdef"),
        # tag 1 and "a", then tag 0, one back (8 bits), four more (4 bits)
        ("heatshrink", bytes([0b10110000, 0b10000000, 0b00001100]), b"aaaaa"),
    ],
)
def test_the_small_decoders(cost: ModuleType, codec: str, data: bytes, plain: bytes) -> None:
    from benchmarks import encoder_rivals

    rival = next(one for one in encoder_rivals.RIVALS if one.codec == codec)
    assert encoder_rivals.unpacked(rival, data, len(plain)) == plain


def test_a_figure_that_moves_is_named(cost: ModuleType, results: Path) -> None:
    kept = cost.load_results(results)
    row = kept[0]
    moved = replace(row, instructions=row.instructions * 1.02)
    name = " ".join(map(str, row.key))
    assert cost.changes(kept, [replace(row, compiler="arm-none-eabi-gcc 99")]) == []
    assert cost.changes(kept, [moved]) == [
        f"{name}: instructions was {row.instructions}, is {moved.instructions}"
    ]


def test_the_tables_are_printed_from_the_kept_figures(
    cost: ModuleType, results: Path, repo_root: Path
) -> None:
    from benchmarks.encoder_cost_text import section
    from benchmarks.sections import read_section

    printed = read_section(repo_root / "benchmarks" / "RESULTS.md", "encoder_cost")
    assert printed == section(cost.load_results(results))
    assert "retired instructions, not cycles" in printed
