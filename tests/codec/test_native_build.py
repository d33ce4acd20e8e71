"""The compiler, the cache of built libraries, and which of them may be loaded."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from codec_profiles import make_profile

from isthmus.decoder import ReferenceCodec, make_codec
from isthmus.errors import BuildError
from isthmus.native import NativeCodec, build

PROFILE = make_profile(3, (4,))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A cache of the test's own, and nothing kept from other tests nor for them."""
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    caches = (build.load_library, build._compiler_version, build._private_dir)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "f.c"
    file.write_text("int f(void);\nint f(void) { return 1; }\n", encoding="ascii")
    return file


def compiler(path: Path, version: str, body: str = 'exec cc "$@"') -> Path:
    """A compiler that says which version it is."""
    text = f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{version}"; exit 0; fi\n{body}\n'
    path.write_text(text, encoding="ascii")
    path.chmod(0o755)
    return path


def test_modes_of_folder_and_library(source: Path, tmp_path: Path) -> None:
    """The folder is its maker's alone, the library nobody's to change, whatever the umask."""
    before = os.umask(0)
    try:
        library = build.compile_shared([source], [], [])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert stat.S_IMODE(library.stat().st_mode) == 0o644
    assert [file.name for file in library.parent.iterdir()] == [library.name]


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o777])
def test_a_library_that_others_can_write_is_not_loaded(source: Path, mode: int) -> None:
    build.compile_shared([source], [], []).chmod(mode)
    with pytest.raises(BuildError, match=r"can be written by others; .*ISTHMUS_CACHE"):
        build.compile_shared([source], [], [])


def test_a_library_in_an_open_folder_is_not_loaded(source: Path, tmp_path: Path) -> None:
    """Whoever may rename in the folder may replace the library; a sticky folder is as good."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(BuildError, match=r"cache: can be written by others; .*ISTHMUS_CACHE"):
        build.compile_shared([source], [], [])
    (tmp_path / "cache").chmod(0o1777)
    assert build.compile_shared([source], [], []).is_file()


def test_a_library_of_another_user_is_not_loaded(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = build.compile_shared([source], [], [])
    owner = library.stat().st_uid
    monkeypatch.setattr(build.os, "geteuid", lambda: owner + 1)
    if owner == 0:  # root may put a library there for everybody
        assert build.compile_shared([source], [], []) == library
        os.chown(library, 12345, -1)
        owner = 12345
    with pytest.raises(BuildError, match=rf"belongs to user {owner}; .*ISTHMUS_CACHE"):
        build.compile_shared([source], [], [])


def test_a_link_in_the_cache_is_not_followed(source: Path, tmp_path: Path) -> None:
    library = build.compile_shared([source], [], [])
    library.rename(tmp_path / "elsewhere.so")
    library.symlink_to(tmp_path / "elsewhere.so")
    with pytest.raises(BuildError, match=r"is not a regular file; .*ISTHMUS_CACHE"):
        build.compile_shared([source], [], [])


def test_another_machine_or_compiler_has_its_own(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home folder that several machines share, and a compiler that was updated in place."""
    libraries = {build.compile_shared([source], [], [])}
    with monkeypatch.context() as patch:
        patch.setattr(build.platform, "machine", lambda: "pdp11")
        libraries.add(build.compile_shared([source], [], []))
    with monkeypatch.context() as patch:
        patch.setattr(build.struct, "calcsize", lambda code: 4)
        libraries.add(build.compile_shared([source], [], []))
    for folder, version in (("a", "1.0"), ("a", "1.1"), ("b", "1.1")):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.setenv("CC", str(compiler(tmp_path / folder / "mycc", version)))
        build._compiler_version.cache_clear()
        libraries.add(build.compile_shared([source], [], []))
    assert len(libraries) == 6


def test_a_broken_library_is_built_again(tmp_path: Path) -> None:
    """What a full disk left: found by the loader, replaced once."""
    # built by another process: this one would find it loaded and never open the file
    program = "from isthmus.native import build; build.load_library()"
    host = str(Path(build.__file__).resolve().parents[2])
    env = {**os.environ, "PYTHONPATH": host}
    subprocess.run([sys.executable, "-c", program], check=True, env=env)
    (library,) = (tmp_path / "cache").iterdir()
    size = library.stat().st_size
    library.write_bytes(b"\x7fELF")
    assert NativeCodec(PROFILE).encode_levels(0, 0, np.zeros(4, np.uint8))
    assert library.stat().st_size == size


def test_a_library_that_never_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cross compiler as $CC: "native" says what to set, "auto" falls back and says the same."""
    body = 'while [ $# -gt 1 ]; do shift; done\nprintf "not a library" > "$1"'
    monkeypatch.setenv("CC", str(compiler(tmp_path / "cross", "1", body)))
    with pytest.raises(BuildError, match=r"cannot be loaded.*set CC .*ISTHMUS_CACHE"):
        make_codec(PROFILE, "native")
    with pytest.warns(RuntimeWarning, match=r"slow reference codec.*set CC "):
        assert isinstance(make_codec(PROFILE), ReferenceCodec)


def test_a_compiler_that_cannot_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "noexec"
    program.write_bytes(b"\x00\x01\x02")
    program.chmod(0o755)
    monkeypatch.setenv("CC", str(program))
    with pytest.raises(BuildError, match=r"noexec: cannot be run .*set CC"):
        build.compile_shared([source], [], [])


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_a_blank_compiler_is_none(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    monkeypatch.delenv("CC", raising=False)
    default = build.host_compiler()
    monkeypatch.setenv("CC", blank)
    assert build.host_compiler() == default


def test_a_relative_cache_stays_where_it_was(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISTHMUS_CACHE", "mine")
    library = build.compile_shared([source], [], [])
    assert library.is_absolute()
    assert library.parent == tmp_path.resolve() / "mine"


def test_an_account_without_a_home(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private folder of the process, one for all its libraries."""
    for name in ("ISTHMUS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(build.Path, "home", homeless)
    library = build.compile_shared([source], [], [])
    try:
        assert stat.S_IMODE(library.parent.stat().st_mode) == 0o700
        assert build.compile_shared([source], [], []) == library
    finally:
        shutil.rmtree(library.parent)


def test_other_people_s_templates_are_not_compiled(tmp_path: Path) -> None:
    """An installed copy takes the C of its own package, whatever lies in the folders above."""
    root = Path(build.__file__).resolve().parents[3]
    inner = tmp_path / "lib" / "python" / "site-packages"
    package = inner / "isthmus"
    shutil.copytree(root / "host" / "isthmus", package)
    decoys = [folder / "templates" / "runtime" for folder in (tmp_path, tmp_path / "lib", inner)]
    for decoy in (*decoys, tmp_path / "lib" / "python" / "templates" / "runtime"):
        shutil.copytree(root / "templates" / "runtime", decoy)
    program = "from isthmus.native import build; print(build.runtime_dir())"

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False,
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(inner)},
        )  # fmt: skip

    assert "the runtime's C sources are not installed" in run().stderr
    shutil.copytree(root / "templates" / "runtime", package / "_data" / "runtime")
    assert run().stdout.strip() == str(package / "_data" / "runtime")
