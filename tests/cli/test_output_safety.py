"""An existing good bundle is never damaged: what is there stays until the new one is complete."""

from __future__ import annotations

import errno
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.bundle import Bundle, file_digest
from isthmus.errors import OutputError
from isthmus_gen.emit.writer import check_writable, write_directory

# a package exports a function of the same name
pipeline = importlib.import_module("isthmus_gen.pipeline")


def _digest(root: Path) -> dict[str, bytes]:
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


@pytest.fixture
def place(digits: Any, tmp_path: Path) -> Path:
    """A copy of the good bundle, alone in its directory."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(digits.bundle, home / "bundle")
    return home / "bundle"


def _bad_data(tmp: Path) -> Path:
    x = np.ones((4, 8, 8, 1), dtype=np.float32)
    x[1, 2, 2, 0] = np.nan
    np.savez(tmp / "bad.npz", x=x)
    return tmp / "bad.npz"


BAD: dict[str, Callable[[Path], dict[str, object]]] = {
    "data": lambda tmp: {"calibration": _bad_data(tmp)},
    "model": lambda tmp: {"model": tmp / "none.keras"},
    "cut": lambda tmp: {"cut": "stage2_conv1"},
    "target": lambda tmp: {"target": "cortex-m99"},
    "levels": lambda tmp: {"levels": 1},
    "slice_rows": lambda tmp: {"slice_rows": 99},
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_leaves_the_bundle(
    name: str, digits: Any, isth: Any, place: Path, tmp_path: Path
) -> None:
    before = _digest(place)
    ran = isth(*digits.generate(place, **BAD[name](tmp_path)))
    assert ran.code in (2, 3)
    assert _digest(place) == before
    assert [entry.name for entry in place.parent.iterdir()] == ["bundle"]


CONTENT = {"profile.json": b"{}", "firmware/src/isth.h": b"/* */\n"}


def _manifest(names: list[str]) -> bytes:
    files = {name: file_digest(CONTENT.get(name, b"old")) for name in names}
    return json.dumps({"format": "1.0", "digest": "", "files": files}).encode()


FILES = {**CONTENT, "manifest.json": _manifest([*CONTENT])}


def _old(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    files = {**FILES, "old.txt": b"old", "manifest.json": _manifest([*CONTENT, "old.txt"])}
    write_directory(home / "bundle", files)
    return home / "bundle"


class _Fails:
    """Stands in for a method of ``Path``: works ``good`` times, then fails once."""

    def __init__(self, real: Callable[..., Any], good: int, error: BaseException) -> None:
        self.real = real
        self.left = good
        self.error = error

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.left -= 1
        if self.left == -1:
            raise self.error
        return self.real(*arguments, **named)


ERRORS = (OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt())


@pytest.mark.parametrize("error", ERRORS, ids=["full", "interrupted"])
@pytest.mark.parametrize("good", [0, 1])
def test_a_failing_rename_leaves_the_old_bundle(
    good: int, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = _old(tmp_path)
    before = _digest(old)
    failing = _Fails(Path.rename, good, error)
    monkeypatch.setattr(Path, "rename", lambda self, to: failing(self, to))
    with pytest.raises((OutputError, KeyboardInterrupt)):
        write_directory(old, FILES)
    assert _digest(old) == before
    assert [entry.name for entry in old.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("error", ERRORS, ids=["full", "interrupted"])
@pytest.mark.parametrize("good", [0, 1, 2])
def test_a_failing_write_leaves_the_old_bundle(
    good: int, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = _old(tmp_path)
    before = _digest(old)
    failing = _Fails(Path.write_bytes, good, error)
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: failing(self, data))
    with pytest.raises((OutputError, KeyboardInterrupt)):
        write_directory(old, FILES)
    assert _digest(old) == before
    assert [entry.name for entry in old.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("error", ERRORS, ids=["full", "interrupted"])
def test_a_failing_first_write_leaves_nothing(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = _Fails(Path.rename, 0, error)
    monkeypatch.setattr(Path, "rename", lambda self, to: failing(self, to))
    with pytest.raises((OutputError, KeyboardInterrupt)):
        write_directory(tmp_path / "bundle", FILES)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_replaces_all_of_the_old(tmp_path: Path) -> None:
    old = _old(tmp_path)
    write_directory(old, FILES)
    assert _digest(old) == dict(FILES)
    assert old.stat().st_mode & 0o777 == 0o755
    assert [entry.name for entry in old.parent.iterdir()] == ["bundle"]


def test_an_empty_directory_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    write_directory(tmp_path / "bundle", FILES)
    assert _digest(tmp_path / "bundle") == dict(FILES)


def test_a_link_to_a_bundle_stays_a_link(tmp_path: Path) -> None:
    old = _old(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(old)
    write_directory(link, FILES)
    assert link.is_symlink()
    assert _digest(old) == dict(FILES)


def test_somebody_elses_manifest_is_not_a_bundle(tmp_path: Path) -> None:
    """Many projects have a manifest.json; theirs is no licence to replace the directory."""
    (tmp_path / "web" / "src").mkdir(parents=True)
    (tmp_path / "web" / "manifest.json").write_text('{"name": "my web app"}')
    (tmp_path / "web" / "src" / "app.js").write_text("work")
    before = _digest(tmp_path)
    with pytest.raises(
        OutputError, match=r"web: holds manifest\.json, which no earlier bundle wrote"
    ):
        write_directory(tmp_path / "web", FILES)
    assert _digest(tmp_path) == before


def test_a_file_added_to_a_bundle_is_not_lost(place: Path) -> None:
    (place / "firmware" / "notes.txt").write_text("mine")
    before = _digest(place)
    with pytest.raises(OutputError, match=r"holds firmware/notes\.txt"):
        write_directory(place, FILES)
    assert _digest(place) == before


def test_an_edit_of_a_bundle_is_not_lost(place: Path) -> None:
    source = place / "firmware" / "src" / "isth_encode.c"
    source.write_text(source.read_text() + "/* mine */\n")
    before = _digest(place)
    with pytest.raises(OutputError, match=r"holds firmware/src/isth_encode\.c"):
        write_directory(place, FILES)
    assert _digest(place) == before


def test_asking_leaves_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b" / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("step", "error", "code"),
    [
        ("render_tree", KeyboardInterrupt(), 130),
        ("make_vectors", KeyboardInterrupt(), 130),
        ("measure_tree", KeyboardInterrupt(), 130),
        ("write_directory", OutputError("out", "cannot be written"), 3),
    ],
)
def test_stopped_in_the_middle(
    step: str,
    error: BaseException,
    code: int,
    digits: Any,
    isth: Any,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, step, stop)
    before = _digest(place)
    ran = isth(*digits.generate(place, limit=8, levels=5))
    assert ran.code == code
    assert len(ran.err.splitlines()) == 1
    assert _digest(place) == before
    assert [entry.name for entry in place.parent.iterdir()] == ["bundle"]


def test_a_new_bundle_takes_the_old_ones_place(digits: Any, isth: Any, place: Path) -> None:
    before = Bundle.open(place).profile.digest
    ran = isth(*digits.generate(place, limit=8, levels=5), "--json")
    assert ran.code == 0, ran.err
    after = Bundle.open(place, check=True)
    assert after.profile.digest.hex() == ran.data["digest"]
    assert after.profile.digest != before
    assert [entry.name for entry in place.parent.iterdir()] == ["bundle"]


def test_a_failed_decode_keeps_an_earlier_output(
    digits: Any, isth: Any, frame: Path, tmp_path: Path
) -> None:
    out = tmp_path / "features.npy"
    assert isth("decode", digits.bundle, frame, "--out", out).code == 0
    before = out.read_bytes()
    frame.write_bytes(frame.read_bytes()[:-1])
    assert isth("decode", digits.bundle, frame, "--out", out).code == 3
    assert out.read_bytes() == before


@pytest.mark.parametrize("error", ERRORS, ids=["full", "interrupted"])
def test_a_write_that_fails_leaves_no_file_beside(
    error: BaseException,
    digits: Any,
    isth: Any,
    frame: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "home"
    out = home / "features.npy"
    assert isth("decode", digits.bundle, frame, "--out", out).code == 0
    before = out.read_bytes()
    failing = _Fails(Path.replace, 0, error)
    monkeypatch.setattr(Path, "replace", lambda self, to: failing(self, to))
    ran = isth("decode", digits.bundle, frame, "--levels", "--out", out)
    assert ran.code == (130 if isinstance(error, KeyboardInterrupt) else 3)
    assert len(ran.err.splitlines()) == 1
    assert [file.name for file in home.iterdir()] == ["features.npy"]
    assert out.read_bytes() == before
