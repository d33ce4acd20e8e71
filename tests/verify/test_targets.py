"""The target files and what is said about wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus.errors import TargetDefinitionError, TargetUnknownError
from isthmus_gen.targets import list_targets, load_target

PROMISED = [
    "aarch64-linux",
    "armv7-linux",
    "cortex-m0plus",
    "cortex-m3",
    "cortex-m33",
    "cortex-m4f",
    "cortex-m55",
    "cortex-m7",
    "host",
    "nrf52840dk",
    "nucleo-f446re",
    "pico",
    "rv32imac",
]


def test_the_promised_targets_are_there() -> None:
    assert list_targets() == PROMISED
    for name in PROMISED:
        assert load_target(name).name == name


@pytest.mark.parametrize(
    ("name", "flash", "ram"),
    # data sheets: DS10693 (STM32F446), RP2040 and Pico data sheets, nRF52840 product specification
    [
        ("nucleo-f446re", 512 << 10, 128 << 10),
        ("pico", 2 << 20, 264 << 10),
        ("nrf52840dk", 1 << 20, 256 << 10),
    ],
)
def test_boards_have_the_memory_of_their_data_sheet(name: str, flash: int, ram: int) -> None:
    memory = load_target(name).memory
    assert memory is not None
    assert (memory.flash_bytes, memory.ram_bytes) == (flash, ram)


@pytest.mark.parametrize(
    "name", ["cortex-m0plus", "cortex-m3", "cortex-m4f", "cortex-m33", "rv32imac"]
)
def test_pip_alone_is_enough(name: str) -> None:
    target = load_target(name)
    assert "zig" in [compiler.kind for compiler in target.compilers]
    assert "unicorn" in [machine.kind for machine in target.emulators]


def test_an_unknown_name_lists_all_and_the_closest() -> None:
    with pytest.raises(TargetUnknownError) as caught:
        load_target("cortex-m4")
    assert caught.value.remedy == "did you mean cortex-m4f?"
    assert caught.value.allowed == ", ".join(PROMISED)


def test_a_missing_file() -> None:
    with pytest.raises(TargetUnknownError, match=r"^nowhere/board.toml: there is no such file"):
        load_target("nowhere/board.toml")


@pytest.fixture
def write(repo_root: Path, tmp_path: Path) -> Callable[[str, str], Path]:
    """A copy of the M4's file with one text replaced."""

    def make(old: str, new: str) -> Path:
        text = (repo_root / "targets" / "cortex-m4f.toml").read_text(encoding="utf-8")
        assert old in text
        path = tmp_path / "mine.toml"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return path

    return make


def test_a_new_target_is_one_file(write: Callable[[str, str], Path]) -> None:
    target = load_target(write('name = "cortex-m4f"', 'name = "mine"'))
    assert target.name == "mine"
    assert target.memory is not None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[memory]", "[memory", "mine.toml: is not valid TOML"),
        ("title =", "titel =", "mine.toml:title: is missing"),
        ("notes =", "note =", "mine.toml:note: is not a field of a target"),
        ("ram_bytes = 262144", 'ram_bytes = "256K"', "mine.toml:memory.ram_bytes: "),
        ("stack_bytes = 8192", "stack_bytes = 100", "mine.toml:memory.stack_bytes: "),
        ("stack_bytes = 8192", "stack_bytes = 262144", "mine.toml:memory: stack_bytes must be"),
        ("0x20000000", "0x00001000", "mine.toml:memory: flash and RAM overlap"),
        ('kind = "zig"', 'kind = "clang"', "mine.toml:compilers[1]: kind is clang; allowed: gcc"),
        ('"mps2-an386"', '"mps2 an386"', "mine.toml:emulators[0].machine: "),
        ('"systick"', '"cycles"', "mine.toml:emulators[0].counter: "),
        ("tick_ns = 40.0", "", "mine.toml:emulators[0]: tick_ns goes with"),
        ('"cortex-m"', '"avr"', "mine.toml:platform: "),
    ],
)
def test_a_wrong_file_names_the_field(
    write: Callable[[str, str], Path], old: str, new: str, message: str
) -> None:
    with pytest.raises(TargetDefinitionError) as caught:
        load_target(write(old, new))
    text = str(caught.value)
    assert message in text
    assert "\n" not in text


def test_a_bare_target_needs_memory(tmp_path: Path, repo_root: Path) -> None:
    text = (repo_root / "targets" / "host.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('platform = "host"', 'platform = "riscv"'), encoding="utf-8")
    with pytest.raises(TargetDefinitionError, match=r"needs \[memory\]"):
        load_target(path)
