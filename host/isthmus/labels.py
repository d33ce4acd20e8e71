"""The names of a network's classes: ``labels.txt``, one a line, in a bundle or beside it."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from isthmus.bundle import Bundle
from isthmus.errors import BundleFormatError, IsthmusError, OptionError
from isthmus.files import open_inside

__all__ = [
    "LABELS",
    "MAX_LABELS",
    "MAX_LABEL_LENGTH",
    "make_labels",
    "parse_labels",
    "read_label_file",
    "read_labels",
]

LABELS = "labels.txt"
MAX_LABELS = 1 << 16
MAX_LABEL_LENGTH = 200
_MAX_BYTES = 4 << 20
#: Format characters that turn the direction of text: a name could pose as another.
_TURNING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def read_labels(bundle: Bundle) -> tuple[str, ...]:
    """The bundle's class names in the order of the outputs; () where it has none.

    BundleFormatError, BundleEditedError.
    """
    if LABELS not in bundle.files:
        return ()
    return parse_labels(bundle.read(LABELS, limit=_MAX_BYTES), str(bundle.path / LABELS))


def read_label_file(path: str | Path) -> tuple[str, ...]:
    """The class names in a file of their own; OptionError."""
    file = Path(path)
    try:
        with open_inside(file.parent, file.name) as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise OptionError(
            f"labels {file}", f"cannot be read ({error.strerror})", remedy="give a text file"
        ) from error
    except BundleFormatError as error:
        raise OptionError(f"labels {file}", error.what, allowed="a regular file") from error
    return parse_labels(data, f"labels {file}", OptionError)


def parse_labels(
    data: bytes, where: str, error: type[IsthmusError] = BundleFormatError
) -> tuple[str, ...]:
    r"""The names in ``data``, UTF-8, one a line; ``error`` where they are not fit to be shown.

    A byte order mark, carriage returns at the ends of lines and a newline at the end are dropped.

    >>> parse_labels(b"cat\ndog\n", "labels.txt")
    ('cat', 'dog')
    """
    if len(data) > _MAX_BYTES:
        raise error(where, f"has {len(data)} bytes", allowed=f"<= {_MAX_BYTES}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as found:
        raise error(where, f"is not UTF-8 (byte {found.start})", allowed="UTF-8") from None
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if not text.strip():
        raise error(where, "holds no names", allowed="one class name a line")
    if len(lines) > MAX_LABELS:
        raise error(where, f"has {len(lines)} lines", allowed=f"<= {MAX_LABELS}")
    for number, line in enumerate(lines, 1):
        if wrong := _wrong(line):
            raise error(f"{where}:{number}", wrong, allowed="one class name a line")
    return tuple(lines)


def make_labels(labels: tuple[str, ...]) -> bytes:
    """The bytes of ``labels.txt``."""
    return "".join(f"{label}\n" for label in labels).encode("utf-8")


def _wrong(line: str) -> str:
    """What is wrong with a name, or ""."""
    if not line.strip():
        return "is empty"
    if len(line) > MAX_LABEL_LENGTH:
        return f"has {len(line)} characters, more than {MAX_LABEL_LENGTH}"
    for character in line:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _TURNING:
            return f"holds the control character U+{ord(character):04X}"
    return ""
