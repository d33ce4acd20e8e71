"""docs/operators.md: its table is that of the code, its excerpts are of the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from isthmus_gen.front.operators import OPERATORS
from isthmus_gen.resources import kernel_root


@pytest.fixture(scope="module")
def page(repo_root: Path) -> str:
    """The page as it is in the tree."""
    return (repo_root / "docs" / "operators.md").read_text(encoding="utf-8")


def _rows(page: str) -> list[list[str]]:
    table = page[page.index("| operator |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_table_names_every_operator(page: str) -> None:
    rows = _rows(page)
    assert [row[0] for row in rows] == list(OPERATORS)
    assert all(row[1] for row in rows)


def test_table_names_every_kernel(page: str) -> None:
    named = {name for row in _rows(page) for name in re.findall(r"`(isth_k_\w+)`", row[2])}
    assert named == {path.stem for path in kernel_root().glob("*.c")}


def test_what_tflm_lacks_is_said(page: str) -> None:
    lacking = [name for name, row in OPERATORS.items() if not row.resolver]
    sentence = next(line for line in page.splitlines() if "not in TensorFlow Lite Micro" in line)
    assert sorted(re.findall(r"\b[A-Z][A-Z0-9_]{3,}\b", sentence)) == sorted(lacking)


def test_excerpts_are_of_the_tree(page: str, repo_root: Path) -> None:
    excerpts = re.findall(r"^`([\w/.]+)`:\n\n```(?:c|python|text)\n(.*?)```", page, re.M | re.S)
    assert len(excerpts) == 4
    for path, text in excerpts:
        assert text in (repo_root / path).read_text(encoding="utf-8"), path
