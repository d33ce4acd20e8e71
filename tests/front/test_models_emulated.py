"""The networks of MLPerf Tiny on emulated cores: whole, cut at three places, exact.

The front half is built alone by the target's own compiler and flags, so its kernels are those of
the core: DSP instructions on Cortex-M4, Helium on Cortex-M55.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from whole_models import NETWORKS, WHOLE, fronts_of, inputs_of

from isthmus_gen.targets import load_target
from isthmus_gen.verify import front_cost

Run = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled kernels, kept for all networks."""
    return tmp_path_factory.mktemp("objects")


@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-m4f", "cortex-m55"])
@pytest.mark.parametrize("name", NETWORKS)
def test_whole_and_cut_at_three_places(
    data_dir: Path,
    objects: Path,
    require_tool: Callable[[str], str],
    run_tflm: Run,
    run_litert: Run,
    name: str,
    core: str,
) -> None:
    require_tool("arm-none-eabi-gcc")
    require_tool("qemu-system-arm")
    x = inputs_of(data_dir, name, 2)

    def emulated(front: bytes, rounding: str) -> np.ndarray:
        found = front_cost(
            front, load_target(core), x, compiler="gcc", emulator="qemu-system",
            work_dir=objects, rounding=rounding,
        )  # fmt: skip
        return found.outputs.reshape(len(x), -1)

    for where, front in fronts_of(data_dir, name).items():
        found = emulated(front, "tflm")
        np.testing.assert_array_equal(found, run_tflm(front, x), err_msg=where)
        if where == WHOLE:  # the profiles differ in FULLY_CONNECTED alone, which all of them have
            found = emulated(front, "litert")
        if where == WHOLE or name != "ad01":
            np.testing.assert_array_equal(found, run_litert(front, x), err_msg=where)
        assert len({row.tobytes() for row in found}) == len(x), where
