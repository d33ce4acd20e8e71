"""The arena against TensorFlow Lite Micro's for the same network, as its interpreter reports it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus_gen.front import plan_front

REPORT = """
import sys
from tflite_micro import runtime
runtime.Interpreter.from_file(sys.argv[1]).print_allocations()
"""


def _tflm(path: Path) -> tuple[int, int]:
    """Bytes of the whole arena (on a 64-bit machine), and of the tensors and scratch in it."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT, str(path)], capture_output=True, text=True, check=True
    )
    text = done.stdout + done.stderr
    sizes = dict(re.findall(r"Arena allocation (total|head) (\d+) bytes", text))
    return int(sizes["total"]), int(sizes["head"])


@pytest.mark.parametrize("name", ["resnet8", "kws", "vww_96", "ad01"])
def test_never_above(name: str, data_dir: Path, require_package: Callable[[str], None]) -> None:
    """Not even above the part that holds no bookkeeping, which depends on the machine."""
    require_package("tflite_micro")
    path = data_dir / "models" / "mlperf_tiny" / f"{name}_int8.tflite"
    plan = plan_front(path.read_bytes())
    total, tensors = _tflm(path)
    assert tensors < total
    assert plan.arena_bytes <= tensors
