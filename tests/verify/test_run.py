"""The stand-in firmware on every target, compiler and emulator, against its reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from isthmus_gen.targets import Target, load_target
from isthmus_gen.verify import build_tree, run_firmware, verify_tree

Reference = tuple[npt.NDArray[np.int8], npt.NDArray[np.int8], list[bytes]]
CORES = ["cortex-m0plus", "cortex-m3", "cortex-m4f", "cortex-m7", "cortex-m33", "rv32imac"]
BOARDS = ["nucleo-f446re", "nrf52840dk", "pico"]
EVERY = [
    *((name, c, e) for name in CORES for c in ("gcc", "zig") for e in ("unicorn", "qemu-system")),
    *((name, "gcc", e) for name in BOARDS for e in ("unicorn", "qemu-system")),
    ("cortex-m55", "gcc", "qemu-system"),
    ("cortex-m55", "zig", "qemu-system"),
    ("aarch64-linux", "gcc", "qemu-user"),
    ("armv7-linux", "gcc", "qemu-user"),
    ("host", "native", "native"),
    ("host", "zig", "native"),
]


@pytest.mark.parametrize(("name", "compiler", "emulator"), EVERY)
def test_every_target_matches_the_reference(
    name: str,
    compiler: str,
    emulator: str,
    fake_firmware: Path,
    work_dir: Path,
    reference: Callable[..., Reference],
    require_for: Callable[[Target, str, str], None],
) -> None:
    target = load_target(name)
    require_for(target, compiler, emulator)
    inputs, tensors, frames = reference(64, rung=1)
    result = verify_tree(
        fake_firmware,
        target,
        inputs,
        tensors,
        frames,
        work_dir,
        rungs=1,
        compiler=compiler,
        emulator=emulator,
        timeout_s=60,
    )
    assert (result.status, result.mismatches_front, result.mismatches_bytes) == ("ok", 0, 0)
    assert result.inputs == 64
    assert not [note for note in result.notes if note.startswith("warning")]
    # arena 320, frame 104, encoder memory 4 + 16
    assert result.ram_bytes == 320 + 104 + 20
    assert result.flash_bytes is not None
    assert 300 < result.flash_bytes < 3000
    if target.bare:
        assert result.front_instructions is not None
        # 40 repetitions of 96 elements cannot take fewer than 5 instructions each
        assert result.front_instructions > 40 * 96 * 5
        assert result.encode_instructions_per_element is not None
        assert result.stack_bytes is not None
        assert 0 < result.stack_bytes < 1024
    else:
        assert result.front_instructions is None
        assert any("no instruction counts" in note for note in result.notes)


@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4f", "cortex-m33", "rv32imac"])
def test_the_counts_of_two_emulators_agree(
    name: str,
    fake_firmware: Path,
    work_dir: Path,
    reference: Callable[..., Reference],
    require_for: Callable[[Target, str, str], None],
) -> None:
    target = load_target(name)
    inputs, _, _ = reference(1)
    counts = []
    for emulator in ("unicorn", "qemu-system"):
        require_for(target, "zig", emulator)
        build = build_tree(fake_firmware, target, work_dir, compiler="zig", emulator=emulator)
        run = run_firmware(build, inputs, timeout_s=60)
        assert run.front_instructions is not None
        assert run.encode_instructions is not None
        counts.append((run.front_instructions, run.encode_instructions))
    assert counts[0][0] == pytest.approx(counts[1][0], rel=0.005)
    # a tick of the slowest timer is 50 instructions: two ticks at each end
    assert counts[0][1] == pytest.approx(counts[1][1], rel=0.005, abs=100)


def test_unicorn_counts_every_input_it_is_asked_to(
    fake_firmware: Path,
    work_dir: Path,
    reference: Callable[..., Reference],
    require_for: Callable[[Target, str, str], None],
) -> None:
    target = load_target("rv32imac")
    require_for(target, "zig", "unicorn")
    require_for(target, "zig", "qemu-system")
    inputs, _, _ = reference(8)
    build = build_tree(fake_firmware, target, work_dir, compiler="zig", emulator="unicorn")
    counted = run_firmware(build, inputs, counted=8)
    build = build_tree(fake_firmware, target, work_dir, compiler="zig", emulator="qemu-system")
    stream = run_firmware(build, inputs)
    assert counted.encode_instructions == pytest.approx(stream.encode_instructions, abs=8)


def test_a_tree_without_a_front_takes_tensors(
    edited: Callable[[str, str, str], Path],
    tmp_path: Path,
    reference: Callable[..., Reference],
    require_for: Callable[[Target, str, str], None],
) -> None:
    tree = edited("isth.h", "#define ISTH_HAS_FRONT 1", "#define ISTH_HAS_FRONT 0")
    _, tensors, frames = reference(4)
    for name, compiler, emulator in (("cortex-m3", "zig", "unicorn"), ("host", "zig", "native")):
        require_for(load_target(name), compiler, emulator)
        result = verify_tree(
            tree,
            load_target(name),
            None,
            tensors,
            frames,
            tmp_path,
            compiler=compiler,
            emulator=emulator,
        )
        assert result.status == "ok"
        assert result.front_instructions is None
        assert result.ram_bytes == 96 + 104 + 20


def test_tensors_of_wider_elements_are_compared_bit_for_bit(
    edited: Callable[[str, str, str], Path],
    tmp_path: Path,
    reference: Callable[..., Reference],
    require_for: Callable[[Target, str, str], None],
) -> None:
    edited("isth.h", "typedef int8_t isth_element", "typedef int16_t isth_element")
    tree = edited("isth.h", "#define ISTH_HAS_FRONT 1", "#define ISTH_HAS_FRONT 0")
    _, tensors, frames = reference(4)
    wide = tensors.astype(np.int16)
    spoilt = wide.copy()
    spoilt[3, 95] ^= 1 << 14
    require_for(load_target("cortex-m3"), "zig", "unicorn")
    for expected, status, mismatches in ((wide, "ok", 0), (spoilt, "mismatch", 1)):
        result = verify_tree(
            tree,
            load_target("cortex-m3"),
            wide,
            expected,
            frames,
            tmp_path,
            compiler="zig",
            emulator="unicorn",
        )
        assert (result.status, result.mismatches_front) == (status, mismatches)
        assert result.ram_bytes == 2 * 96 + 104 + 20
    assert "input 3, element 95: " in result.notes[0]


def test_each_input_may_have_its_own_rung(
    fake_firmware: Path,
    work_dir: Path,
    reference: Callable[..., Reference],
    require_for: Callable[[Target, str, str], None],
) -> None:
    require_for(load_target("cortex-m4f"), "zig", "unicorn")
    inputs, tensors, low = reference(4)
    high = reference(4, rung=1)[2]
    frames = [low[0], high[1], low[2], high[3]]
    result = verify_tree(
        fake_firmware,
        load_target("cortex-m4f"),
        inputs,
        tensors,
        frames,
        work_dir,
        rungs=[0, 1, 0, 1],
        compiler="zig",
        emulator="unicorn",
    )
    assert result.status == "ok"
