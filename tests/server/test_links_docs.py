"""docs/links.md: its example bytes, its Python, and the sizes it gives."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus.errors import ERROR_TABLE
from isthmus.server.cobs import KIND_UNIT, encode

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "links.md").read_text(encoding="utf-8")
RUNTIME = ROOT / "templates" / "runtime"


def test_the_example_frame() -> None:
    match = re.search(
        r"payload\n?\s*`([\dA-F ]+)` has the CRC (\w+) and is sent as\s+([\dA-F ]+)\n", TEXT
    )
    assert match is not None
    payload, crc, line = match.groups()
    register = 0xFFFF
    for byte in b"\x01" + bytes.fromhex(payload):
        register ^= byte << 8
        for _ in range(8):
            register = (register << 1 ^ (0x1021 if register & 0x8000 else 0)) & 0xFFFF
    assert f"{register:04X}" == crc
    assert encode(KIND_UNIT, bytes.fromhex(payload)) == bytes.fromhex(line)


def test_the_python_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(code, "links.md", "exec"), {})
    assert capsys.readouterr().out.strip() == "1 110022"
    assert "# 1 110022" in code


def test_the_statuses_are_those_of_the_error_table() -> None:
    codes = {row.name: row.code for row in ERROR_TABLE}
    rows = re.findall(r"^\| ([\d, ]+) \(([\w, ]+)\) \|", TEXT, re.MULTILINE)
    assert len(rows) == 5
    for numbers, names in rows:
        found = [codes[name.replace(" ", "_")] for name in names.split(", ")]
        assert found == [int(number) for number in numbers.split(", ")]


@pytest.mark.parametrize(("core", "column"), [("cortex-m0plus", 1), ("cortex-m4", 3)])
def test_sizes(core: str, column: int, require_tool: Callable[[str], str], tmp_path: Path) -> None:
    gcc = require_tool("arm-none-eabi-gcc")
    version = subprocess.run([gcc, "-dumpversion"], capture_output=True, text=True, check=True)
    if not version.stdout.startswith("12.2"):
        pytest.skip(f"the sizes are those of gcc 12.2, this is {version.stdout.strip()}")
    flags = [f"-mcpu={core}", "-mthumb", "-O2", "-std=c99", "-ffunction-sections", "-fstack-usage"]
    words = [gcc, *flags, "-c", str(RUNTIME / "isth_link.c"), "-o", "link.o"]
    subprocess.run(words, check=True, cwd=tmp_path, timeout=60)
    nm = [require_tool("arm-none-eabi-nm"), "-S", "link.o"]
    listing = subprocess.run(nm, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    size = {name: int(n, 16) for n, name in re.findall(r" (\w{8}) [tT] (\w+)", listing)}
    usage = re.findall(r":(\w+)\t(\d+)\t", (tmp_path / "link.su").read_text())
    stack = {name: int(number) for name, number in usage}
    crc = "isth_crc16"
    want = {
        "write": (size["isth_link_write"] + size[crc], stack["isth_link_write"] + stack[crc]),
        "read": (
            size["isth_link_read"] + size["isth_link_reader_begin"] + size[crc],
            stack["isth_link_read"] + stack[crc],
        ),
    }
    for name, numbers in want.items():
        row = re.search(rf"^\| {name} \|(.*)\|$", TEXT, re.MULTILINE)
        assert row is not None
        cells = [cell.strip() for cell in row[1].split("|")]
        assert tuple(map(int, cells[column - 1 : column + 1])) == numbers
