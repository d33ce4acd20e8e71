"""RESULTS.md in sections: each benchmark owns what stands between its two markers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["markdown_table", "read_section", "write_section"]

_HEAD = """# Results

Measured figures. Each section is written by the program it names (`make bench` runs them all); text
between two markers is replaced by the next run.
"""


def write_section(path: Path, name: str, body: str) -> None:
    """Puts ``body`` between the markers of ``name``; other sections stay as they are."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    block = f"{begin}\n{body.strip()}\n{end}\n"
    text = path.read_text(encoding="utf-8") if path.is_file() else _HEAD
    before, found, rest = text.partition(begin)
    if found:
        _, closed, after = rest.partition(end)
        if not closed:
            raise ValueError(f"{path}: {begin} without {end}")
        text = before + block + after.removeprefix("\n")
    else:
        text = text.rstrip("\n") + "\n\n" + block
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def read_section(path: Path, name: str) -> str:
    """What stands between the markers of ``name``."""
    text = path.read_text(encoding="utf-8")
    return text.partition(f"<!-- {name}: begin -->\n")[2].partition(f"\n<!-- {name}: end -->")[0]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; columns after the first two are aligned to the right.

    >>> print(markdown_table(["a", "b", "c"], [["1", "2", "3"]]))
    | a | b | c |
    | --- | --- | ---: |
    | 1 | 2 | 3 |
    """
    rule = ["---" if column < 2 else "---:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows))
