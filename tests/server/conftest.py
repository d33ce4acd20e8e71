"""Fixtures of the server's tests. Helpers lie beside this file, under names of their own."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "codec"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
