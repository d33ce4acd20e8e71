"""Directories are written aside and renamed: an existing good bundle is never damaged."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from isthmus.bundle import MANIFEST, PROFILE, file_digest
from isthmus.errors import OutputError

__all__ = ["check_file", "check_writable", "write_directory"]


def check_writable(path: Path) -> None:
    """OutputError where a bundle could not be written to ``path``; asked before long work."""
    parent = path.resolve().parent
    if path.exists() and not path.is_dir():
        raise OutputError(str(path), "is a file", allowed="a directory, or a name not yet taken")
    lost = _would_be_lost(path) if path.is_dir() else None
    if lost is not None:
        raise OutputError(
            str(path),
            f"holds {lost}, which no earlier bundle wrote like that",
            allowed="an empty directory, an earlier bundle, or a name not yet taken",
            remedy="move that away or choose another --out",
        )
    _try_parent(path, parent, "--out")


def check_file(path: Path, option: str) -> None:
    """OutputError where a file could not be written to ``path``; makes its parent directories.

    ``option`` is the one that gave the path.
    """
    if path.is_dir():
        raise OutputError(str(path), "is a directory", allowed="the path of a file")
    _try_parent(path, path.resolve().parent, option)
    path.resolve().parent.mkdir(parents=True, exist_ok=True)


def _try_parent(path: Path, parent: Path, option: str) -> None:
    existing = parent
    while not existing.exists():
        existing = existing.parent
    try:
        # permission bits say little (root, /proc, read-only mounts): try it
        Path(tempfile.mkdtemp(prefix=".isthmus.", dir=existing)).rmdir()
    except OSError as error:
        raise OutputError(
            str(path),
            f"{existing} cannot be written ({error.strerror})",
            remedy=f"choose another {option}",
        ) from error


def _would_be_lost(path: Path) -> str | None:
    """A file under ``path`` that is not of a bundle, or was edited since: work of the user's."""
    digests = _bundle_files(path / MANIFEST)
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_dir() and not file.is_symlink():
            continue
        if name == MANIFEST and digests:
            continue
        if file.is_symlink() or not file.is_file() or name not in digests:
            return name
        if file_digest(file.read_bytes()) != digests[name]:
            return name
    return None


def _bundle_files(manifest: Path) -> dict[str, str]:
    """The files that a bundle's manifest lists, with digests; none where it is not one of ours."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict) or not {"format", "digest", "files"} <= set(content):
        return {}
    files = content["files"]
    return files if isinstance(files, dict) and PROFILE in files else {}


def write_directory(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes ``files`` (relative path -> bytes) as directory ``path``, replacing a bundle there.

    The new directory is complete, beside its final place, before the old one is moved away; a
    failure at any point leaves the old one as it was. OutputError where it cannot be written.
    """
    check_writable(path)
    target = path.resolve()  # a link to a bundle stays a link
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise OutputError(
            str(path), f"cannot be written ({error.strerror})", remedy="choose another --out"
        ) from error
    try:
        aside.chmod(0o755)
        for name, data in files.items():
            file = aside / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        _swap(aside, target)
    except OSError as error:
        raise OutputError(
            str(path),
            f"cannot be written ({error.strerror})",
            remedy="free space or choose another",
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _swap(aside: Path, target: Path) -> None:
    """Puts ``aside`` in the place of ``target``; puts the old one back where that fails."""
    if not target.exists():
        aside.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    try:
        target.rename(old / "bundle")
        aside.rename(target)
    finally:
        # however it ended, by an interrupt too: the place is never left empty
        if (old / "bundle").exists() and not target.exists():
            (old / "bundle").rename(target)
        shutil.rmtree(old, ignore_errors=True)
