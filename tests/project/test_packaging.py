"""The wheel: what it must carry to work without a checkout, and that it does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, require_package: object) -> Path:
    assert callable(require_package)
    require_package("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    # hatchling itself, not pip: the build then needs no network and no isolation.
    run = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (built,) = folder.glob("*.whl")
    return built


def files_of(folder: str) -> set[str]:
    root = ROOT / folder
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize(
    ("folder", "packed"),
    [
        ("templates", "isthmus_gen/_data/templates"),
        ("targets", "isthmus_gen/_data/targets"),
        ("templates/runtime", "isthmus/_data/runtime"),
        ("host/isthmus", "isthmus"),
        ("generator/isthmus_gen", "isthmus_gen"),
    ],
)
def test_wheel_carries(wheel: Path, folder: str, packed: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {f"{packed}/{name}" for name in files_of(folder)}
    assert wanted
    assert wanted <= names


def test_wheel_carries_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"isthmus", "isthmus_gen"}


def test_wheel_names_licence_command_and_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("/METADATA"))).decode()
        points = archive.read(next(n for n in names if n.endswith("/entry_points.txt"))).decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert "isthmus = isthmus.cli:main" in points
    assert "[isthmus.commands]" in points
    core = [
        re.match(r"[\w-]+", line.removeprefix("Requires-Dist: "))[0]  # type: ignore[index]
        for line in metadata.splitlines()
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    ]
    assert sorted(core) == ["cffi", "numpy"]
    extras = [line for line in metadata.splitlines() if line.startswith("Provides-Extra: ")]
    expected = {
        "backhalf", "cli", "dev", "generate", "native", "onnx", "otel", "ray", "rivals", "serve",
    }  # fmt: skip
    assert {line.split()[1] for line in extras} == expected


def test_unpacked_wheel_finds_its_data(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = """
from isthmus_gen.digits import digits_model_path
from isthmus_gen.resources import resource_root
from isthmus.native import build
print(digits_model_path(), resource_root("templates"), resource_root("targets"))
print(build.runtime_dir(), build.__file__)
build.load_library()  # the host's codec is compiled from what the wheel carries
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.split()) == 5
    assert all(Path(path).is_relative_to(tmp_path) for path in run.stdout.split())


def test_command_without_its_extra_says_what_to_install(tmp_path: Path) -> None:
    # A typer that cannot be imported stands for one that is not installed.
    (tmp_path / "typer.py").write_text("raise ImportError(name='typer')\n", encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-c", "from isthmus.cli import main; main()"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "host")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 4
    assert run.stderr.count("\n") == 1
    assert 'pip install "isthmus[cli]"' in run.stderr
