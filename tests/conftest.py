"""Fixtures that every test may use, and the rule for what is missing.

A test that needs data or a tool asks for it here. Where it is missing the test is skipped and says
why; with ``ISTHMUS_REQUIRE_TOOLS=1``, as in CI, it fails, so that nothing passes by absence.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

# Before any test imports TensorFlow: its notices off, its rounding the same on every processor,
# and not more threads than the machine can give to two test processes.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = Path(__file__).resolve().parents[1]


def missing(reason: str) -> NoReturn:
    """Skip with the reason, or fail with it where everything must be there."""
    if os.environ.get("ISTHMUS_REQUIRE_TOOLS") == "1":
        pytest.fail(f"{reason} (ISTHMUS_REQUIRE_TOOLS=1)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real models and labelled data: ISTHMUS_DATA, else ../shared/data."""
    path = Path(os.environ.get("ISTHMUS_DATA") or ROOT.parent / "shared" / "data")
    if not (path / "models").is_dir():
        missing(f"no data at {path}: set ISTHMUS_DATA to the folder of models and data sets")
    return path


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """``require_tool("arm-none-eabi-gcc")`` -> its path; skips or fails where it is missing."""

    def require(name: str) -> str:
        # Programs of pip packages (clang-format, ruff) lie beside the interpreter, and Debian
        # keeps servers (mosquitto) where only root's PATH leads.
        elsewhere = os.pathsep.join((sysconfig.get_path("scripts"), "/usr/sbin"))
        found = shutil.which(name) or shutil.which(name, path=elsewhere)
        if found is None:
            missing(f"the tool {name} is not installed")
        return found

    return require


@pytest.fixture(scope="session")
def require_package() -> Callable[[str], None]:
    """``require_package("unicorn")``: skips or fails where the Python package is missing."""

    def require(name: str) -> None:
        if importlib.util.find_spec(name) is None:
            missing(f"the Python package {name} is not installed")

    return require
