"""64 test pictures through ResNet-8 in Unicorn, with each compiler: every element, every byte."""

from __future__ import annotations

import pytest
from firmware_cases import PICTURES, Bench, Case

from isthmus_gen.targets import list_targets, load_target
from isthmus_gen.verify import compiler_names, emulator_names

# Boards that are a core of the list with another memory map (the map is what is tried there), and
# cores that run all pictures under QEMU, which is faster.
FEWER = {"nrf52840dk": 4, "nucleo-f446re": 4, "pico": 4, "cortex-m7": 16, "rv32imac": 16}
RUNS = [
    (name, compiler, FEWER.get(name, PICTURES))
    for name in list_targets()
    for compiler in compiler_names(load_target(name))
    if "unicorn" in emulator_names(load_target(name))
]


def test_the_pip_only_cores_are_all_here() -> None:
    full = {(name, compiler) for name, compiler, pictures in RUNS if pictures == PICTURES}
    for core in ("cortex-m0plus", "cortex-m3", "cortex-m4f", "cortex-m33"):
        assert {(core, "gcc"), (core, "zig")} <= full


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "compiler", "pictures"), RUNS, ids=[f"{name}-{compiler}" for name, compiler, _ in RUNS]
)
def test_no_difference(name: str, compiler: str, pictures: int, stage2: Case, bench: Bench) -> None:
    result = bench.hold(stage2, name, compiler, "unicorn", count=pictures)
    assert result.front_instructions is not None
    assert result.encode_instructions_per_element is not None
