"""What the packages export: every public module says so in ``__all__``, and means it."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def public_modules() -> list[str]:
    names = []
    for root in (ROOT / "host", ROOT / "generator"):
        for file in sorted(root.rglob("*.py")):
            parts = list(file.relative_to(root).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            text = file.read_text(encoding="utf-8")
            defines = any(
                isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
                for node in ast.parse(text).body
            )
            if defines and not any(part.startswith("_") for part in parts):
                names.append(".".join(parts))
    return names


@pytest.mark.parametrize("name", public_modules())
def test_exports(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    assert exported is not None, f"{name} has no __all__"
    assert len(set(exported)) == len(exported)
    for entry in exported:
        assert hasattr(module, entry), f"{name}.{entry} is exported but not there"
    assert (module.__doc__ or "").strip(), f"{name} has no docstring"


def test_the_version_is_one_number() -> None:
    import isthmus

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{isthmus.__version__}]" in changelog
