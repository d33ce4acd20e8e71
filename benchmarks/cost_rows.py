"""Rows of counted costs: kept as JSON, read back, and compared with what is counted again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["TOLERANCE", "changes", "read_rows", "write_rows"]

_Row = TypeVar("_Row")

TOLERANCE = 0.01
"""A count moves by less with another build of the same compiler."""


def changes(kept: Sequence[Any], found: Sequence[Any]) -> list[str]:
    """The figures of ``found`` that differ from ``kept`` by more than 1 %, one line each.

    Rows are dataclasses of texts and numbers with a ``key``.
    """
    by_key = {row.key: row for row in kept}
    out = []
    for row in found:
        before = by_key.get(row.key)
        name = " ".join(map(str, row.key))
        if before is None:
            out.append(f"{name}: not in the results")
            continue
        for field in fields(row):
            old, new = getattr(before, field.name), getattr(row, field.name)
            if isinstance(new, str) or abs(new - old) <= TOLERANCE * abs(old):
                continue
            out.append(f"{name}: {field.name} was {old}, is {new}")
    return out


def write_rows(rows: Sequence[Any], kind: type, file: Path) -> None:
    """Rows of dataclass ``kind`` as JSON: the columns' names once, a line a row."""
    lines = [json.dumps(list(asdict(row).values())) for row in rows]
    columns = json.dumps([field.name for field in fields(kind)])
    file.parent.mkdir(parents=True, exist_ok=True)
    text = f'{{\n"columns": {columns},\n"rows": [\n' + ",\n".join(lines) + "\n]\n}\n"
    file.write_text(text, encoding="ascii")


def read_rows(kind: type[_Row], file: Path) -> list[_Row]:
    """The rows that :func:`write_rows` wrote."""
    found = json.loads(file.read_text(encoding="ascii"))
    return [kind(**dict(zip(found["columns"], values, strict=True))) for values in found["rows"]]
