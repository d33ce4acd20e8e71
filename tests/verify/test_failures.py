"""Differences, crashes, hangs, broken builds, missing tools: what is said about each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from isthmus.errors import (
    BuildError,
    DataDtypeError,
    DataShapeError,
    EmulationError,
    OptionError,
    ToolMissingError,
)
from isthmus_gen.targets import Target, load_target
from isthmus_gen.verify import TargetResult, build_tree, run_firmware, verify_tree
from isthmus_gen.verify import toolchain as toolchain_module

Reference = tuple[npt.NDArray[np.int8], npt.NDArray[np.int8], list[bytes]]
RUNNERS = [("cortex-m4f", "unicorn"), ("cortex-m4f", "qemu-system"), ("rv32imac", "qemu-system")]


@pytest.fixture
def verify(
    tmp_path: Path,
    reference: Callable[..., Reference],
    require_for: Callable[[Target, str, str], None],
) -> Callable[..., TargetResult]:
    """Verifies a tree over two inputs, after spoiling what is expected."""

    def run(
        tree: Path,
        name: str = "cortex-m4f",
        emulator: str = "unicorn",
        *,
        tensor_at: tuple[int, int] | None = None,
        byte_at: tuple[int, int] | None = None,
        cut: int = 0,
        rung: int = 0,
        timeout_s: float = 30,
    ) -> TargetResult:
        require_for(load_target(name), "zig", emulator)
        inputs, tensors, frames = reference(2)
        if tensor_at is not None:
            tensors[tensor_at] ^= 1
        if byte_at is not None:
            frame = bytearray(frames[byte_at[0]])
            frame[byte_at[1]] ^= 0x10
            frames[byte_at[0]] = bytes(frame)
        if cut:
            frames[1] = frames[1][:-cut]
        return verify_tree(
            tree,
            load_target(name),
            inputs,
            tensors,
            frames,
            tmp_path / "work",
            rungs=rung,
            compiler="zig",
            emulator=emulator,
            timeout_s=timeout_s,
        )

    return run


def test_a_wrong_element_is_counted_and_placed(
    verify: Callable[..., TargetResult], fake_firmware: Path
) -> None:
    result = verify(fake_firmware, tensor_at=(1, 17))
    assert (result.status, result.mismatches_front, result.mismatches_bytes) == ("mismatch", 1, 0)
    assert result.notes[0].startswith("first mismatch: stage front, input 1, element 17: ")


def test_a_wrong_byte_is_counted_and_placed(
    verify: Callable[..., TargetResult], fake_firmware: Path
) -> None:
    result = verify(fake_firmware, byte_at=(0, 9))
    assert (result.status, result.mismatches_front, result.mismatches_bytes) == ("mismatch", 0, 1)
    assert result.notes[0].startswith("first mismatch: stage bytes, input 0, byte 9: 0x")


def test_surplus_bytes_count(verify: Callable[..., TargetResult], fake_firmware: Path) -> None:
    result = verify(fake_firmware, cut=3)
    assert result.mismatches_bytes == 3
    assert "input 1, byte 101: the frame has 104 bytes, the reference 101" in result.notes[0]


@pytest.mark.parametrize(("name", "emulator"), RUNNERS)
def test_an_encoder_error_is_a_mismatch(
    verify: Callable[..., TargetResult], fake_firmware: Path, name: str, emulator: str
) -> None:
    result = verify(fake_firmware, name, emulator, rung=2)
    assert result.status == "mismatch"
    assert result.mismatches_bytes == 208
    assert "the encoder returned error 5" in result.notes[0]


@pytest.mark.parametrize(("name", "emulator"), RUNNERS)
def test_a_crash(
    verify: Callable[..., TargetResult],
    edited: Callable[[str, str, str], Path],
    name: str,
    emulator: str,
) -> None:
    # an address no machine of these has memory at
    tree = edited(
        "isth_front.c", "    return out;", "    *(volatile int *)0xF7000000 = 1; return out;"
    )
    with pytest.raises(EmulationError, match=name):
        verify(tree, name, emulator)


@pytest.mark.parametrize(("name", "emulator"), RUNNERS)
def test_a_hang(
    verify: Callable[..., TargetResult],
    edited: Callable[[str, str, str], Path],
    name: str,
    emulator: str,
) -> None:
    tree = edited(
        "isth_front.c", "    return out;", "    for (volatile int i = 1; i;) {} return out;"
    )
    with pytest.raises(EmulationError, match=r"did not (end|return) within"):
        verify(tree, name, emulator, timeout_s=2)


@pytest.mark.parametrize(
    ("name", "emulator"), [*RUNNERS, ("cortex-m33", "qemu-system"), ("rv32imac", "unicorn")]
)
def test_a_stack_overflow_is_not_silent(
    edited: Callable[[str, str, str], Path],
    require_for: Callable[[Target, str, str], None],
    name: str,
    emulator: str,
) -> None:
    target = load_target(name)
    require_for(target, "zig", emulator)
    tree = edited(
        "isth_front.c",
        "    return out;",
        "    volatile int8_t big[9000]; for (int i = 8999; i >= 0; i--) { big[i] = 1; }\n"
        "    return out;",
    )
    build = build_tree(tree, target, tree / "work", compiler="zig", emulator=emulator)
    assert build.stack_bytes is not None
    assert 9000 < build.stack_bytes < 9100
    with pytest.raises(EmulationError):
        run_firmware(build, np.zeros((1, 192), dtype=np.int8), timeout_s=30)


def _line_of(tree: Path, text: str) -> int:
    lines = (tree / "src" / "isth_front.c").read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_a_compiler_error_is_the_first_message(
    edited: Callable[[str, str, str], Path],
    tmp_path: Path,
    require_for: Callable[[Target, str, str], None],
    compiler: str,
) -> None:
    target = load_target("cortex-m4f")
    require_for(target, compiler, "unicorn")
    tree = edited("isth_front.c", "    return out;", "    return missing_name;")
    with pytest.raises(BuildError) as caught:
        build_tree(tree, target, tmp_path, compiler=compiler, emulator="unicorn")
    line = _line_of(tree, "missing_name")
    assert caught.value.path == f"firmware/src/isth_front.c:{line}"
    assert "missing_name" in caught.value.what


def test_warnings_are_reported(
    verify: Callable[..., TargetResult], edited: Callable[[str, str, str], Path]
) -> None:
    tree = edited("isth_front.c", "    return out;", "    int unused; return out;")
    result = verify(tree)
    assert result.status == "ok"
    line = _line_of(tree, "int unused")
    assert any(f"firmware/src/isth_front.c:{line}:" in note for note in result.notes)


def test_a_folder_without_firmware(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="holds no emitted firmware"):
        build_tree(tmp_path, load_target("host"), tmp_path)


def test_inputs_of_the_wrong_shape_or_dtype(
    fake_firmware: Path, work_dir: Path, require_for: Callable[[Target, str, str], None]
) -> None:
    target = load_target("cortex-m4f")
    require_for(target, "zig", "unicorn")
    build = build_tree(fake_firmware, target, work_dir, compiler="zig", emulator="unicorn")
    with pytest.raises(DataShapeError, match="192 bytes each"):
        run_firmware(build, np.zeros((2, 191), dtype=np.int8))
    with pytest.raises(DataDtypeError, match="float32"):
        run_firmware(build, np.zeros((2, 192), dtype=np.float32))


def test_a_kind_the_target_does_not_list(fake_firmware: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="allowed: gcc, zig"):
        build_tree(fake_firmware, load_target("cortex-m4f"), tmp_path, compiler="native")
    with pytest.raises(OptionError, match="allowed: qemu-system, unicorn"):
        build_tree(fake_firmware, load_target("cortex-m4f"), tmp_path, emulator="native")


def test_missing_tools_name_what_to_install(
    fake_firmware: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain_module, "find_spec", lambda _: None)
    with pytest.raises(ToolMissingError) as caught:
        toolchain_module.find_toolchain(load_target("cortex-m4f"))
    assert caught.value.allowed == "gcc-arm-none-eabi (apt) or ziglang (pip)"
    with pytest.raises(ToolMissingError, match=r"qemu-user \(apt\)"):
        build_tree(fake_firmware, load_target("aarch64-linux"), tmp_path)
