"""Fixtures of the kernels' tests: random layers with the outputs of two engines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# The helpers beside this file (tests are no package).
sys.path.insert(0, str(Path(__file__).resolve().parent))

import kernel_cases
from kernel_driver import Batch, batch

CASES = 1520
"""Each family of layers eighty times and more, half of them by each engine."""


@pytest.fixture(scope="session")
def cases(require_package: Callable[[str], None]) -> list[kernel_cases.Case]:
    """The layers that every build runs."""
    require_package("tflite_micro")
    require_package("ai_edge_litert")
    return [kernel_cases.make_case(number) for number in range(CASES)]


@pytest.fixture(scope="session")
def records(cases: list[kernel_cases.Case]) -> Batch:
    """The same as driver.c reads them."""
    return batch(cases)
