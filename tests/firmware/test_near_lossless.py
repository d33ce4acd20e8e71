"""The near-lossless coder on emulated cores: every element, every byte, at every bound."""

from __future__ import annotations

from typing import Any

import pytest
from firmware_cases import Bench, Case, Make

BOUNDS = (0, 1, 2, 4)
#: Digits that every core is held to, at each bound.
PICTURES = 16

#: target -> compiler, emulator
CORES = {
    "cortex-m0plus": ("gcc", "qemu-system"),
    "cortex-m3": ("gcc", "qemu-system"),
    "cortex-m4f": ("gcc", "qemu-system"),
    "cortex-m33": ("gcc", "qemu-system"),
    "cortex-m55": ("gcc", "qemu-system"),
    "rv32imac": ("gcc", "qemu-system"),
    "host": ("native", "native"),
}


@pytest.fixture(scope="module")
def near(digits: Make) -> Case:
    """The digits cut after their second stage (4 x 4 x 32), four bounds."""
    case = digits("stage2", codec="near-lossless", bounds=BOUNDS)
    for rung, bound in enumerate(BOUNDS):
        assert case.bundle.profile.rungs[rung].bound == bound
        frames = case.references(PICTURES, rung).frames
        assert len(set(frames)) == PICTURES  # pictures that differ
    return case


@pytest.mark.parametrize("rung", range(len(BOUNDS)))
@pytest.mark.parametrize("name", CORES)
def test_no_difference(name: str, rung: int, near: Case, bench: Bench) -> None:
    compiler, emulator = CORES[name]
    result = bench.hold(near, name, compiler, emulator, count=PICTURES, rung=rung)
    if emulator == "qemu-system":
        assert result.encode_instructions_per_element is not None


@pytest.mark.parametrize("name", ["cortex-m4f", "cortex-m33"])
def test_the_emulator_that_pip_brings(name: str, near: Case, bench: Bench) -> None:
    bench.hold(near, name, "gcc", "unicorn", count=4)


#: Other options on one core each: what is cut, what is streamed, other elements.
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "rows": ("cortex-m55", {"bounds": (0, 2), "stream_rows": True, "slice_rows": 2}),
    "packets": ("cortex-m4f", {"bounds": (0, 4), "mtu": 160}),
    "float32_by_channel": (
        "cortex-m4f", {"bounds": (0, 2), "element": "float32", "min_max": "channel"},
    ),
    "int16": ("cortex-m0plus", {"bounds": (0, 9), "element": "int16"}),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_options(name: str, digits: Make, bench: Bench) -> None:
    core, options = OTHERS[name]
    case = digits("stage2", codec="near-lossless", **options)
    for rung in range(2):
        bench.hold(case, core, "gcc", "qemu-system", count=8, rung=rung)
