"""Fixtures of the firmware's tests: networks, the case that every core runs, and the bench."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# The helpers beside this file, under a name of their own (tests are no package).
sys.path.insert(0, str(Path(__file__).resolve().parent))

from firmware_cases import PICTURES, Bench, Case, Make, Network

from isthmus_gen.digits import digits_model_path, write_digits_npz
from isthmus_gen.targets import Target


@pytest.fixture(scope="session")
def resnet8(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Make:
    """ResNet-8 of MLPerf Tiny on CIFAR-10."""
    return Network(
        data_dir / "models/mlperf_tiny/resnet8.keras",
        data_dir / "cifar10/train_lossless_8068.npz",
        data_dir / "cifar10/test_lossless_500.npz",
        tmp_path_factory,
    ).make


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The packaged network on the digits of scikit-learn."""
    files = write_digits_npz(tmp_path_factory.mktemp("digits"))
    return Network(digits_model_path(), files["calibration"], files["test"], tmp_path_factory).make


@pytest.fixture(scope="session")
def stage2(resnet8: Make) -> Case:
    """ResNet-8 cut after stage 2 (16 x 16 x 32), 4 levels first; 64 different test pictures."""
    case = resnet8("activation_4", levels=(4, 2, 8, 16))
    references = case.references(PICTURES)
    # a reference that is the same for every picture would prove little
    assert len(set(references.frames)) == PICTURES
    assert len(np.unique(references.tensors)) > 64
    return case


@pytest.fixture(scope="session")
def bench(
    tmp_path_factory: pytest.TempPathFactory,
    require_tool: Callable[[str], str],
    require_package: Callable[[str], None],
) -> Bench:
    """Builds and runs; a missing compiler or emulator skips the test, or fails it in CI."""

    def require(target: Target, compiler: str, emulator: str) -> None:
        for choice in target.compilers:
            if choice.kind == compiler == "gcc":
                require_tool(f"{choice.prefix}gcc")
            elif choice.kind == compiler == "native":
                require_tool("cc")
        if compiler == "zig":
            require_package("ziglang")
        for machine in target.emulators:
            if machine.kind == emulator and machine.kind.startswith("qemu"):
                require_tool(machine.binary)
        if emulator == "unicorn":
            require_package("unicorn")

    return Bench(tmp_path_factory.mktemp("builds"), require)
