"""The digits case, once a session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The helpers beside this file (tests are no package).
sys.path.insert(0, str(Path(__file__).resolve().parent))

from restoration_cases import Case, digits_case


@pytest.fixture(scope="session")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Features after the first stage in two levels: as coarse as it gets."""
    return digits_case(tmp_path_factory.mktemp("digits"), "stage1", 2)
