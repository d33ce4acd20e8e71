"""What the emitted tree may cost: stack, heap, encoder memory, instructions, and the budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from firmware_cases import Bench, Case, Make

from isthmus.errors import BudgetError
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import generate
from isthmus_gen.targets import list_targets, load_target
from isthmus_gen.verification import verify_bundle
from isthmus_gen.verify import Build, check_budget, compiler_names, emulator_names, run_firmware
from isthmus_gen.verify.elf import SHN_UNDEF, ElfFile

BUILDS = [
    (name, compiler, emulator_names(load_target(name))[-1])
    for name in list_targets()
    for compiler in compiler_names(load_target(name))
]
NAMES = ["-".join(build[:2]) for build in BUILDS]
M4_GCC = ("cortex-m4f", "gcc")
# The words by which a C library hands out memory, in any spelling of it.
HEAP = ("malloc", "calloc", "realloc", "free", "sbrk", "alloca")
# What compilers call by themselves: block moves, and arithmetic that a core has no instruction for.
COMPILER_CALLS = ("memcpy", "memset", "memmove", "memcmp", "__aeabi_", "__gnu_thumb1_", "__mul",
                  "__udiv", "__div", "__umod", "__ashl", "__lshr", "__ashr", "__clz")  # fmt: skip
TINY = """name = "tiny"
title = "A board that is too small"
core = "cortex-m4"
platform = "cortex-m"

[memory]
flash_origin = 0x00000000
flash_bytes = {flash}
ram_origin = 0x20000000
ram_bytes = {ram}
stack_bytes = {stack}

[[compilers]]
kind = "gcc"
prefix = "arm-none-eabi-"
flags = ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]
package = "gcc-arm-none-eabi (apt)"

[[emulators]]
kind = "unicorn"
cpu = "cortex-m4"
"""


@pytest.mark.parametrize(("name", "compiler", "emulator"), BUILDS, ids=NAMES)
def test_stack_is_known_and_within_the_budget(
    name: str, compiler: str, emulator: str, stage2: Case, bench: Bench
) -> None:
    build = bench.build(stage2, name, compiler, emulator)
    assert build.stack is not None
    assert not build.stack.unbounded  # no recursion, no frame of a size known only at run time
    assert build.stack_bytes is not None
    assert build.stack_bytes > 0
    memory = load_target(name).memory
    if memory is not None:
        assert build.stack_bytes <= memory.stack_bytes
        assert build.stack_bytes <= 1024  # what the smallest board can spare
        check_budget(build, load_target(name))


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_no_more_stack_is_seen_than_the_compiler_says(
    compiler: str, stage2: Case, bench: Bench
) -> None:
    build = bench.build(stage2, "cortex-m4f", compiler, "unicorn")
    run = run_firmware(build, stage2.references(1).inputs.reshape(1, -1))
    assert run.stack_used_bytes is not None
    assert build.stack_bytes is not None
    # the harness's own step, which calls the tree, is on the painted stack too
    assert 0 < run.stack_used_bytes <= build.stack_bytes + 64


@pytest.mark.parametrize(("name", "compiler", "emulator"), BUILDS, ids=NAMES)
def test_no_heap(name: str, compiler: str, emulator: str, stage2: Case, bench: Bench) -> None:
    build = bench.build(stage2, name, compiler, emulator)
    objects = build.elf.parent / "objects"
    sources = {path.stem for path in (stage2.bundle.firmware / "src").glob("*.c")}
    seen = set()
    for path in objects.glob("isth*.o"):
        source = path.stem.rpartition("-")[0]
        if source not in sources:
            continue  # of another bundle
        seen.add(source)
        for symbol in ElfFile(path).symbols:
            if symbol.section != SHN_UNDEF or not symbol.is_global:
                continue
            assert symbol.name.startswith(("isth_", *COMPILER_CALLS)), f"{path.stem} calls it"
            assert not any(word in symbol.name for word in HEAP)
    assert seen == sources
    if load_target(name).bare:
        # on Linux the harness's own stdio allocates; on a board nothing at all may
        linked = {symbol.name for symbol in ElfFile(build.elf).symbols}
        assert "isth_encode_tensor" in linked
        assert not [name for name in linked if any(word in name for word in HEAP)]


@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4f", "rv32imac", "aarch64-linux"])
def test_encoder_memory_up_to_8_levels(name: str, digits: Make, bench: Bench) -> None:
    case = digits("stage2", levels=(2, 3, 4, 5, 6, 7, 8), scheme="paper")
    build = bench.build(case, name, "gcc", emulator_names(load_target(name))[-1])
    elf = ElfFile(build.elf)
    size = elf.symbol("harness_memory").size  # an isth_encoder_memory
    assert size == build.encoder_memory_bytes
    # the state and seven 16-bit contexts at the least
    assert 7 * 2 + 20 <= size <= 256


@pytest.mark.parametrize("allowed", [1024, 4096])
def test_encoder_memory_of_scheme_neighbour(allowed: int, resnet8: Make, bench: Bench) -> None:
    """The contexts that were allowed, two rows, and not a byte more than the encoder's state."""
    case = resnet8("activation_4", levels=(4,), context_bytes=allowed)
    build = bench.build(case, "cortex-m4f", "gcc", emulator_names(load_target("cortex-m4f"))[-1])
    size = ElfFile(build.elf).symbol("harness_memory").size
    contexts = 2 * case.bundle.profile.rungs[0].context_count
    assert allowed // 2 < contexts <= allowed, "the memory is used"
    assert contexts + 16 * 32 < size <= allowed + 2 * 16 * 32


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_encoding_costs_at_most_60_instructions_an_element(
    compiler: str, stage2: Case, bench: Bench
) -> None:
    assert stage2.bundle.profile.rungs[0].levels == 4
    result = bench.hold(stage2, "cortex-m4f", compiler, "qemu-system", count=64)
    assert result.encode_instructions_per_element is not None
    assert 10 < result.encode_instructions_per_element <= 60


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_two_emulators_count_the_same(compiler: str, stage2: Case, bench: Bench) -> None:
    inputs = stage2.references(2).inputs.reshape(2, -1)
    runs = [
        run_firmware(bench.build(stage2, "cortex-m4f", compiler, emulator), inputs, counted=2)
        for emulator in ("unicorn", "qemu-system")
    ]
    for counts in (
        [run.front_instructions for run in runs],
        [run.encode_instructions for run in runs],
    ):
        first, second = counts
        assert first is not None
        assert second is not None
        assert abs(first - second) <= 0.005 * first, counts


def tiny(path: Path, *, flash: int = 1 << 20, ram: int = 1 << 18, stack: int = 8192) -> Path:
    file = path / "tiny.toml"
    file.write_text(TINY.format(flash=flash, ram=ram, stack=stack), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def m4_build(stage2: Case, bench: Bench) -> Build:
    """The tree on a large board: what it needs."""
    bench.require(load_target("cortex-m4f"), "gcc", "unicorn")  # the small board has no other
    return bench.build(stage2, *M4_GCC, "qemu-system")


def test_too_little_flash_is_refused(stage2: Case, m4_build: Build, tmp_path: Path) -> None:
    assert m4_build.flash_bytes is not None
    target = tiny(tmp_path, flash=m4_build.flash_bytes - 1)
    with pytest.raises(BudgetError) as caught:
        verify_bundle(stage2.bundle, [str(target)], count=1)
    text = str(caught.value)
    assert f"needs {m4_build.flash_bytes} bytes of flash" in text
    assert f"{m4_build.flash_bytes - 1} bytes" in text
    assert "choose an earlier cut" in text
    assert "cortex-m4f" in text  # a target that it fits


def test_too_little_ram_is_refused(stage2: Case, m4_build: Build, tmp_path: Path) -> None:
    assert m4_build.ram_bytes is not None
    need = m4_build.ram_bytes + 8192
    with pytest.raises(BudgetError) as caught:
        verify_bundle(stage2.bundle, [str(tiny(tmp_path, ram=need - 1))], count=1)
    text = str(caught.value)
    assert f"needs {need} bytes of RAM" in text
    assert f"arena {m4_build.arena_bytes}" in text
    assert f"{need - 1} bytes" in text
    assert "cut where the tensors are smaller" in text


def test_exactly_enough_is_accepted(stage2: Case, m4_build: Build, tmp_path: Path) -> None:
    assert m4_build.ram_bytes is not None
    assert m4_build.flash_bytes is not None
    target = tiny(tmp_path, flash=m4_build.flash_bytes, ram=m4_build.ram_bytes + 8192)
    (result,) = verify_bundle(stage2.bundle, [str(target)], count=1)
    assert result.status == "ok"


def test_a_bundle_over_budget_is_not_written(
    digits: Make, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("arm-none-eabi-gcc")
    case = digits("stage2")
    report = json.loads(case.bundle.read("report.json"))
    out = tmp_path / "bundle"
    options = {
        "model": case.bundle.path / "model" / report["model"],
        "cut": "stage2",
        "calibration": case.data,
        "out": out,
        "target": str(tiny(tmp_path, ram=8208, stack=8192)),
    }
    with pytest.raises(BudgetError, match=r"bytes of RAM .*allowed: 8208 bytes"):
        generate(make_options(options))
    assert not out.exists()
    assert not [path for path in tmp_path.iterdir() if path.name != "tiny.toml"]
