"""Trees to build: those of fixed profiles, and one with a front half from the digits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

# The helpers beside this file (tests are no package).
sys.path.insert(0, str(Path(__file__).resolve().parent))

from tree_profiles import PROFILES, tree_of


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden trees from what is emitted"
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written, not compared."""
    # a run over all of tests/ loads this file too late to add the option
    return bool(request.config.getoption("--update-golden", default=False))


def write_tree(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


@pytest.fixture(scope="session")
def digits_bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The digits cut at ``stage2``, in two slices."""
    from isthmus_gen.digits import digits_model_path, write_digits_npz
    from isthmus_gen.options import make_options
    from isthmus_gen.pipeline import generate

    root = tmp_path_factory.mktemp("tree")
    data = write_digits_npz(root / "data")
    options = {
        "model": digits_model_path(),
        "cut": "stage2",
        "calibration": data["calibration"],
        "out": root / "bundle",
        "levels": (4, 8),
        "slice_rows": 2,
        "limit": 64,
    }
    return generate(make_options(options)).bundle


@pytest.fixture(scope="session")
def tree(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str], Path]:
    """``tree("digits")`` or a name of ``PROFILES``: the directory of the tree."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name == "digits":
            return Path(request.getfixturevalue("digits_bundle").firmware)
        assert name in PROFILES
        if name not in made:
            made[name] = write_tree(tmp_path_factory.mktemp("trees") / name, tree_of(name))
        return made[name]

    return get


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Runs a command; its standard output. A failing one fails the test with what it printed."""

    def call(words: Sequence[object], cwd: Path | None = None) -> str:
        done = subprocess.run(
            [str(word) for word in words], cwd=cwd, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return call
