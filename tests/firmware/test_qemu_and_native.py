"""64 test pictures through ResNet-8 under QEMU, on boards' machines, Linux and this machine."""

from __future__ import annotations

import pytest
from firmware_cases import PICTURES, Bench, Case

from isthmus_gen.targets import list_targets, load_target
from isthmus_gen.verify import compiler_names, emulator_names

RUNS = [
    (name, compiler, emulator)
    for name in list_targets()
    for compiler in compiler_names(load_target(name))
    for emulator in emulator_names(load_target(name))
    if emulator != "unicorn"
]


def test_every_target_runs_here() -> None:
    assert {name for name, _, _ in RUNS} == set(list_targets())


@pytest.mark.parametrize(("name", "compiler", "emulator"), RUNS, ids=["-".join(r) for r in RUNS])
def test_no_difference(name: str, compiler: str, emulator: str, stage2: Case, bench: Bench) -> None:
    result = bench.hold(stage2, name, compiler, emulator, count=PICTURES)
    if emulator == "qemu-system":
        # every machine of QEMU that a target lists has a counter
        assert result.front_instructions is not None
        assert result.encode_instructions_per_element is not None
