"""Does the tree fit the board? Asked before the bundle is written."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from isthmus.errors import ToolMissingError
from isthmus_gen.targets import Target
from isthmus_gen.verify import Build, build_tree, check_budget

__all__ = ["measure_tree"]


def measure_tree(target: Target, files: Mapping[str, bytes]) -> Build | None:
    """Builds the ``firmware/`` part of ``files`` for ``target`` and checks it against its budget.

    BudgetError with need, have and what to change; None where no compiler for the target is
    installed (``isthmus verify`` then checks it where there is one).
    """
    with tempfile.TemporaryDirectory(prefix="isthmus-") as name:
        root = Path(name)
        for path, content in files.items():
            if path.startswith("firmware/"):
                file = root / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        try:
            build = build_tree(root / "firmware", target, root / "build")
        except ToolMissingError:
            return None
        check_budget(build, target)
        return build
