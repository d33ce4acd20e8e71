"""The stand-in firmware, its reference restated in Python, and a work folder for the tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from isthmus_gen.targets import Target

FAKE = Path(__file__).parent / "fake_firmware"
Reference = tuple[npt.NDArray[np.int8], npt.NDArray[np.int8], list[bytes]]


@pytest.fixture(scope="session")
def fake_firmware() -> Path:
    """A tree with a front and an encoder simple enough to be restated below."""
    return FAKE


@pytest.fixture(scope="session")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where builds go; objects are reused between tests."""
    return tmp_path_factory.mktemp("verify")


@pytest.fixture(scope="session")
def reference() -> Callable[..., Reference]:
    """``reference(n, rung=0)`` -> inputs int8 [n, 192], tensors int8 [n, 96], frames."""

    def make(n: int, rung: int = 0) -> Reference:
        inputs = np.random.default_rng(7).integers(-128, 128, (n, 192), dtype=np.int8)
        weights = np.resize([1, -2, 3, -4, 5, -6, 7, -8], 96)
        wide = inputs.astype(np.int64)
        sums = wide[:, 0::2] * weights + 3 * wide[:, 1::2]
        quotient = np.trunc(sums / 5).astype(np.int64)
        tensors = ((quotient & 255) ^ np.arange(96)).astype(np.uint8).view(np.int8)
        frames = [_frame(tensor, rung, i) for i, tensor in enumerate(tensors)]
        return inputs, tensors, frames

    return make


def _frame(tensor: npt.NDArray[np.int8], rung: int, sequence: int) -> bytes:
    total, square = 0, 1
    for value in tensor.tolist():
        total += value + 128
        square = ((square * 1000003 + total) & 0xFFFF_FFFF_FFFF_FFFF) // (1 + (total & 7))
    total += square & 255
    body = bytes((value & 255) ^ (rung * 0x55 & 255) for value in tensor.tolist())
    head = b"F" + bytes([rung]) + sequence.to_bytes(2, "little") + total.to_bytes(4, "little")
    return head + body


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """``edited(file, old, new)`` -> a copy of the stand-in with one text replaced."""

    def make(file: str, old: str, new: str) -> Path:
        tree = tmp_path / "firmware"
        if not tree.exists():
            shutil.copytree(FAKE, tree)
        path = tree / "src" / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        return tree

    return make


@pytest.fixture(scope="session")
def require_for(
    require_tool: Callable[[str], str], require_package: Callable[[str], None]
) -> Callable[[Target, str, str], None]:
    """Skips (or fails) where a compiler or an emulator of a target is missing."""

    def require(target: Target, compiler: str, emulator: str) -> None:
        for choice in target.compilers:
            if choice.kind == compiler == "gcc":
                require_tool(f"{choice.prefix}gcc")
            elif choice.kind == compiler == "zig":
                require_package("ziglang")
            elif choice.kind == compiler == "native":
                require_tool("cc")
        for machine in target.emulators:
            if machine.kind == emulator == "unicorn":
                require_package("unicorn")
            elif machine.kind == emulator and emulator.startswith("qemu"):
                require_tool(machine.binary)

    return require
