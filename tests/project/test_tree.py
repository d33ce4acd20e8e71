"""Habits of the tree: lengths, paths, formats, locks and the error table."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus import errors
from isthmus.errors import ERROR_TABLE, FrameError, IsthmusError

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (".py", ".c", ".h", ".j2", ".sh", ".toml", ".ld")
# Written by a program from other files, which are the ones to keep short.
GENERATED = ("tests/golden/", "tests/vectors/")


def tracked() -> list[Path]:
    """The files of the tree, as git knows them (new ones included, ignored ones not)."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: the list of files is not known")
    run = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in run.stdout.splitlines() if (ROOT / name).is_file()]


def text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None  # weights and vectors


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_source_files_are_short() -> None:
    long = {}
    for path in tracked():
        if path.suffix in SOURCES and not name_of(path).startswith(GENERATED):
            lines = (text_of(path) or "").count("\n")
            if lines > 450:
                long[name_of(path)] = lines
    assert not long


def test_no_path_of_a_machine_is_in_the_tree() -> None:
    # Spelled in parts, so that this file does not find itself.
    folders = "|".join(("home", "Users", "root", "opt", "work", "mnt", "tmp"))
    pattern = re.compile(r"(?<![\w./$~})])/(?:" + folders + r")/[\w.-]+")
    allowed = re.compile(r"/opt/homebrew\b")
    found = [
        f"{name_of(path)}: {match[0]}"
        for path in tracked()
        for match in pattern.finditer(text_of(path) or "")
        if not allowed.match(match[0])
    ]
    assert not found


def test_no_unfinished_marks_are_in_the_tree() -> None:
    pattern = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    found = [
        f"{name_of(path)}: {match[0]}"
        for path in tracked()
        if path.suffix in (*SOURCES, ".md")
        for match in pattern.finditer(text_of(path) or "")
    ]
    assert not found


def test_texts_end_with_one_line_break() -> None:
    wrong = []
    for path in tracked():
        text = text_of(path)
        bad = text is not None and text and (not text.endswith("\n") or "\r" in text)
        if bad and path.suffix in (*SOURCES, ".md", ".lock", ".in"):
            wrong.append(name_of(path))
    assert not wrong


def test_c_sources_are_formatted(require_tool: Callable[[str], str]) -> None:
    sources = [
        path
        for path in tracked()
        if path.suffix in (".c", ".h")
        and name_of(path).startswith(("templates/", "host/isthmus/native/"))
    ]
    assert sources
    run = subprocess.run(
        [require_tool("clang-format"), "--dry-run", "-Werror", *map(str, sources)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


#: Published as pre-releases only (OpenTelemetry: all but its API and SDK).
_PRE_RELEASES = re.compile("tflite-micro|opentelemetry-.*")


@pytest.mark.parametrize("name", ["dev", "demo"])
def test_lock_files_pin_by_hash_and_name_no_place(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
    assert not re.search(r"://|^-|--index|--find-links|file:", text, re.MULTILINE)
    pins = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE).strip())
    for pin in pins:
        match = re.match(r"([a-z0-9-]+)==(\S+)", pin)
        assert match, pin
        assert "--hash=sha256:" in pin, match[1]
        assert re.fullmatch(r"[\d.]+(\.post\d+)?", match[2]) or _PRE_RELEASES.fullmatch(match[1]), (
            pin
        )
    assert len(pins) > 20


def test_the_demo_has_the_versions_of_the_tests() -> None:
    versions = []
    for name in ("demo", "dev"):
        text = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
        versions.append(set(re.findall(r"^([a-z0-9-]+==\S+)", text, re.MULTILINE)))
    assert versions[0] < versions[1]


def test_locks_hold_every_direct_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(entry for rows in extras.values() for entry in rows)]
    names = {re.match(r"[\w-]+", entry)[0] for entry in wanted} - {"isthmus"}  # type: ignore[index]
    text = (ROOT / "requirements" / "dev.lock").read_text(encoding="utf-8")
    assert names <= set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))


def test_the_c_status_numbers_are_those_of_the_error_table() -> None:
    text = (ROOT / "templates" / "runtime" / "isth_status.h").read_text(encoding="utf-8")
    in_c = {name: int(number) for name, number in re.findall(r"\b(ISTH_\w+)\s*=\s*(\d+)", text)}
    in_python = {
        f"ISTH_E_{row.name.upper()}": row.code
        for row in ERROR_TABLE
        if issubclass(row.cls, FrameError)
    }
    assert in_c == {"ISTH_OK": 0, **in_python}


def test_error_numbers_and_names_are_used_once() -> None:
    codes = [row.code for row in ERROR_TABLE]
    names = [row.name for row in ERROR_TABLE]
    assert len(set(codes)) == len(codes)
    assert len(set(names)) == len(names)
    assert codes == sorted(codes)


def test_every_error_class_has_its_row_and_its_export() -> None:
    classes = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, IsthmusError)
    }
    assert {cls.__name__ for cls in classes} <= set(errors.__all__)
    leaves = {cls for cls in classes if not any(other.__base__ is cls for other in classes)}
    assert leaves == {row.cls for row in ERROR_TABLE}


def test_ci_runs_make_test_with_everything_required() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert "ISTHMUS_REQUIRE_TOOLS=1" in text
    assert "make test" in text


def test_make_help_names_every_public_rule() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    listed = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert listed == set(phony[1].split())
