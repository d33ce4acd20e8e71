"""Reading files that somebody else wrote: regular ones, where they say they are, bounded."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from isthmus.errors import BundleFormatError

__all__ = ["TEXT_LIMIT", "is_inside", "open_inside", "read_text_inside"]

TEXT_LIMIT = 64 << 20
"""Bytes of the longest profile or manifest that is read."""


def is_inside(name: str) -> bool:
    """Whether ``name`` is a relative path with ``/`` that stays below where it starts.

    Colons are refused with the rest: they name drives and streams on some systems.
    """
    parts = name.split("/")
    return not {"..", ".", ""} & set(parts) and not {"\\", "\0", ":"} & set(name)


def open_inside(root: Path, name: str) -> BufferedReader:
    """The regular file ``name`` below the directory ``root``, opened for reading.

    BundleFormatError where the path leaves ``root``, goes through a symbolic link, or names what is
    no regular file (a FIFO would block, a device has no end); OSError where it cannot be opened.
    """
    file = root / name
    if not is_inside(name):
        raise BundleFormatError(str(root), f"has no file {name!r}")
    at = root
    for part in name.split("/"):
        at = at / part
        if at.is_symlink():
            raise BundleFormatError(
                str(file), "is reached by a symbolic link", allowed="regular files",
                remedy="copy the bundle with the files themselves",
            )  # fmt: skip
    if not stat.S_ISREG(file.lstat().st_mode):
        raise _not_regular(file)
    # Between the check and here the file may have been replaced: no link, no waiting, and a look
    # at what was opened.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    stream = os.fdopen(os.open(file, flags), "rb")
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise _not_regular(file)
    return stream


def read_text_inside(root: Path, name: str) -> str:
    """The UTF-8 text of a file as :func:`open_inside` opens it, ``TEXT_LIMIT`` bytes at most.

    BundleFormatError where it is longer; OSError, UnicodeDecodeError.
    """
    with open_inside(root, name) as stream:
        data = stream.read(TEXT_LIMIT + 1)
    if len(data) > TEXT_LIMIT:
        raise BundleFormatError(str(root / name), "is too long", allowed=f"<= {TEXT_LIMIT} bytes")
    return data.decode("utf-8")


def _not_regular(file: Path) -> BundleFormatError:
    return BundleFormatError(str(file), "is not a regular file")
