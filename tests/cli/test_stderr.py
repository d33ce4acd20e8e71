"""Standard error: silent in a normal run of a command, and never redirected by what serves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus import optional
from isthmus.backhalf import BackHalf
from isthmus.optional import engine_call, quiet_engines, quiet_stderr

HOST = Path(__file__).resolve().parents[2] / "host"
ENGINE_LINE = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"


def test_commands_do_not_show_the_engines_lines(digits: Any, isth_process: Any) -> None:
    ran = isth_process("evaluate", digits.bundle, "--data", digits.test, "--limit", 20, "--json")
    assert ran.code == 0, ran.err
    assert ran.err == ""


def test_serving_leaves_descriptor_2_alone(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a back half, running it and resizing its batch: other threads own standard error."""

    def touched(*_: int) -> None:
        raise AssertionError("descriptor 2 was redirected")

    with monkeypatch.context() as patch:
        patch.setattr(optional.os, "dup2", touched)
        back = BackHalf(digits.bundle)
        for count in (1, 5, 3):
            assert back(np.zeros((count, 4, 4, 32), np.float32)).shape[0] == count
        with quiet_engines(), pytest.raises(AssertionError, match="was redirected"):
            BackHalf(digits.bundle)


def test_only_inside_quiet_engines(capfd: pytest.CaptureFixture[str]) -> None:
    with engine_call():
        os.write(2, ENGINE_LINE)
    assert capfd.readouterr().err == ENGINE_LINE.decode()
    with quiet_engines():
        with quiet_engines():
            pass
        with engine_call():
            os.write(2, ENGINE_LINE)
    assert capfd.readouterr().err == ""
    with engine_call():
        os.write(2, ENGINE_LINE)
    assert capfd.readouterr().err == ENGINE_LINE.decode()


def test_other_people_s_lines_are_kept(capfd: pytest.CaptureFixture[str]) -> None:
    """A server's own log has lines that start with INFO, too."""
    ours = "INFO: request 17 served\nINFO:     127.0.0.1 - GET /\n"
    with quiet_stderr():
        os.write(2, ENGINE_LINE + ours.encode())
    assert capfd.readouterr().err == ours


BODIES = {
    "none": "import sys; sys.stderr = None",
    "closed_file": "import sys; sys.stderr.close()",
    "closed_descriptor": "import os; os.close(2)",
    "all_closed": "import os; os.close(2); os.close(0)",
}


@pytest.mark.parametrize("name", BODIES)
def test_without_a_standard_error(name: str, tmp_path: Path) -> None:
    """Services and windowed programs have none: nothing is held back, and nothing breaks."""
    program = (
        f"{BODIES[name]}\n"
        "from isthmus.optional import quiet_stderr\n"
        "for _ in range(2):\n"
        "    with quiet_stderr():\n"
        "        done = open('done', 'a')\n"
        "        done.write('x')\n"
        "        done.close()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(HOST)}, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "done").read_text() == "xx"


def test_an_exception_gives_the_descriptor_back(capfd: pytest.CaptureFixture[str]) -> None:
    open_before = (
        len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    )
    with pytest.raises(KeyError), quiet_stderr():
        raise KeyError
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"
    if open_before:
        assert len(list(Path("/proc/self/fd").iterdir())) == open_before
