"""The C that every tree is given: no warning from any compiler, no state, no heap, no printf."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "templates"
SOURCES = sorted([*TEMPLATES.glob("runtime/*.c"), *TEMPLATES.glob("kernels/*.c")])
HEADERS = sorted([*TEMPLATES.glob("runtime/*.h"), *TEMPLATES.glob("kernels/*.h")])
WARNINGS = [
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wshadow",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wundef",
    "-Wstrict-prototypes",
    "-Wcast-qual",
    "-Wvla",
    "-Werror",
    f"-I{TEMPLATES / 'runtime'}",
    f"-I{TEMPLATES / 'kernels'}",
]
#: What a freestanding compiler may call by itself (C99 4.6 and the compilers' own libraries).
COMPILER_CALLS = re.compile(r"memcpy|memset|memmove|memcmp|__aeabi_\w+|__gnu_thumb1_case_\w+")

CORES = {
    "m0": ["-mcpu=cortex-m0", "-mthumb"],
    "m4": ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"],
    "m55": ["-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"],
}


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One C file for each header that does nothing but include it, twice."""
    folder = tmp_path_factory.mktemp("headers")
    files = []
    for header in HEADERS:
        file = folder / f"{header.stem}.c"
        line = f'#include "{header.name}"\n'
        file.write_text(f"{line}{line}extern int isth_nothing;\n", encoding="utf-8")
        files.append(file)
    return files


def test_gcc_warns_of_nothing(
    require_tool: Callable[[str], str], alone: list[Path], tmp_path: Path
) -> None:
    assert SOURCES
    files = [str(file) for file in [*SOURCES, *alone]]
    # Optimised: some warnings need the flow analysis.
    run([require_tool("gcc"), "-O2", "-c", *WARNINGS, *files], tmp_path)


def test_clang_warns_of_nothing(
    require_package: Callable[[str], None], alone: list[Path], tmp_path: Path
) -> None:
    require_package("ziglang")
    files = [str(file) for file in [*SOURCES, *alone]]
    run([sys.executable, "-m", "ziglang", "cc", "-c", *WARNINGS, *files], tmp_path)


@pytest.mark.parametrize("core", CORES)
def test_objects_hold_no_state_and_call_nothing(
    require_tool: Callable[[str], str], tmp_path: Path, core: str
) -> None:
    compiler = require_tool("arm-none-eabi-gcc")
    flags = [*CORES[core], "-O2", "-ffreestanding", "-c", *WARNINGS]
    run([compiler, *flags, *map(str, SOURCES)], tmp_path)
    objects = sorted(tmp_path.glob("*.o"))
    assert len(objects) == len(SOURCES)
    listing = run([require_tool("arm-none-eabi-nm"), *(o.name for o in objects)], tmp_path)
    symbols = re.findall(r"^(?:[0-9a-f]{8}|\s+) (\w) (\S+)$", listing, re.MULTILINE)
    assert symbols
    mutable = [name for kind, name in symbols if kind in "dDbBcC" and not name.startswith("$")]
    assert not mutable
    wanted = {name for kind, name in symbols if kind == "U" and not COMPILER_CALLS.fullmatch(name)}
    assert wanted <= {name for kind, name in symbols if kind in "TR"}


def test_public_symbols_carry_the_prefix(
    require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    run([require_tool("gcc"), "-O2", "-c", *WARNINGS, *map(str, SOURCES)], tmp_path)
    objects = sorted(tmp_path.glob("*.o"))
    listing = run(
        [require_tool("nm"), "-g", "--defined-only", *(o.name for o in objects)], tmp_path
    )
    names = re.findall(r"^[0-9a-f]+ \w (\S+)$", listing, re.MULTILINE)
    assert names
    assert not [name for name in names if not name.startswith("isth_")]
