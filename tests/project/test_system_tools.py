"""What the tests ask for is what `make test` installs: a new machine has nothing else."""

from __future__ import annotations

import re
from pathlib import Path

# with what they come: make runs the tests; the rest are parts of packages in the table
ELSEWHERE = {
    "make": "runs the tests",
    "clang-format": "a pip package of the lock file",
    "size": "binutils",
    "arm-none-eabi-nm": "gcc-arm-none-eabi",
    "arm-none-eabi-size": "gcc-arm-none-eabi",
}


def test_every_tool_that_a_test_requires_is_installed_by_make_test(repo_root: Path) -> None:
    script = (repo_root / "tools" / "system_tools.sh").read_text()
    table = script.split("table='\n", 1)[1].split("'\n", 1)[0]
    rows = dict(line.split() for line in table.splitlines())
    installed = {tool.split(":")[0] for tool in rows} | set(rows.values())
    wanted = {
        name
        for file in (repo_root / "tests").rglob("*.py")
        for name in re.findall(r'require_tool\(\s*"([^"]+)"', file.read_text())
    }
    assert "cmake" in wanted
    missing = wanted - installed - set(ELSEWHERE)
    assert missing == set()


def test_the_tools_of_every_target_are_installed_by_make_test(repo_root: Path) -> None:
    script = (repo_root / "tools" / "system_tools.sh").read_text()
    from isthmus_gen.targets import list_targets, load_target

    for name in list_targets():
        target = load_target(name)
        for compiler in target.compilers:
            if compiler.kind == "gcc":
                assert f"{compiler.prefix}gcc " in script, name
        for emulator in target.emulators:
            if emulator.kind in ("qemu-system", "qemu-user"):
                assert f"{emulator.binary} " in script, name
