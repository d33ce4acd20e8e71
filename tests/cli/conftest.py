"""The command line under test: run in this process, or as a process of its own; one bundle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# The helpers beside this file (tests are no package).
sys.path.insert(0, str(Path(__file__).resolve().parent))

ROOT = Path(__file__).resolve().parents[2]
LEVELS = (4, 2, 8)

# The commands of both packages, whether or not they are installed in this environment.
_LAUNCHER = """
import sys
import isthmus.cli.app as app
from isthmus_gen.cli import register

class Entry:
    name = "gen"
    def load(self):
        return register

app.entry_points = lambda group: [Entry()]
sys.exit(app.run(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Ran:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


Runner = Callable[..., Ran]


@dataclass(frozen=True)
class Digits:
    """The digits: network, data files and a bundle cut at ``stage2``."""

    model: Path
    calibration: Path
    test: Path
    bundle: Path

    def generate(self, out: Path, **changes: object) -> list[str]:
        """The arguments that make the bundle again at ``out``, with options changed or added."""
        options: dict[str, object] = {"cut": "stage2", "calibration": self.calibration, "out": out}
        options.update(changes)
        words = ["generate", str(options.pop("model", self.model))]
        for name, value in options.items():
            words.append(f"--{name.replace('_', '-')}")
            if value is not True:
                words.append(str(value))
        return words


class _Entry:
    name = "gen"

    def load(self) -> Any:
        from isthmus_gen.cli import register

        return register


@pytest.fixture
def isth(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    """``isth("generate", ...)`` in this process."""
    from isthmus.cli import app

    monkeypatch.setattr(app, "entry_points", lambda group: [_Entry()])

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        code = app.run([str(word) for word in arguments])
        done = capsys.readouterr()
        return Ran(code, done.out, done.err)

    return run


@pytest.fixture(scope="session")
def isth_process() -> Runner:
    """The same as a process of its own, with an environment that a user would have."""

    def run(*arguments: object, cwd: Path | None = None, hash_seed: str = "random") -> Ran:
        quiet = ("TF_CPP_MIN_LOG_LEVEL", "PYTHONWARNINGS")
        env = {key: value for key, value in os.environ.items() if key not in quiet}
        env["PYTHONPATH"] = os.pathsep.join((str(ROOT / "host"), str(ROOT / "generator")))
        env["PYTHONHASHSEED"] = hash_seed
        words: Sequence[str] = [sys.executable, "-c", _LAUNCHER, *map(str, arguments)]
        done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=cwd, timeout=300)
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    """The digits bundle, made once. Tests read it; those that change it take a copy."""
    from isthmus_gen.digits import DIGITS_DEFAULT_CUT, digits_model_path, write_digits_npz
    from isthmus_gen.options import make_options
    from isthmus_gen.pipeline import generate

    root = tmp_path_factory.mktemp("digits")
    data = write_digits_npz(root / "data")
    made = Digits(digits_model_path(), data["calibration"], data["test"], root / "bundle")
    generate(
        make_options(
            {
                "model": made.model,
                "cut": DIGITS_DEFAULT_CUT,
                "calibration": made.calibration,
                "out": made.bundle,
                "target": "cortex-m4f",
                "levels": LEVELS,
            }
        )
    )
    return made


@pytest.fixture
def frame(digits: Digits, tmp_path: Path) -> Path:
    """A good frame of the digits bundle, as a file."""
    path = tmp_path / "good.isth"
    path.write_bytes((digits.bundle / "vectors" / "0_rung0_frame.bin").read_bytes())
    return path


@pytest.fixture
def tensor(digits: Digits, tmp_path: Path) -> Path:
    """A feature tensor of the digits bundle, as .npy."""
    raw = (digits.bundle / "vectors" / "0_tensor.bin").read_bytes()
    path = tmp_path / "tensor.npy"
    np.save(path, np.frombuffer(raw, dtype=np.int8).reshape(4, 4, 32))
    return path
