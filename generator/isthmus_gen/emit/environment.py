"""The Jinja environment of every template, and the filters that write C literals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isthmus.errors import MissingExtraError
from isthmus_gen.resources import template_root

__all__ = ["banner_block", "c_rows", "c_rows_unsigned", "make_environment"]

_WIDTH = 96


def _rows(texts: Iterable[str]) -> str:
    lines = []
    line = "   "
    for text in texts:
        if len(line) + len(text) + 2 > _WIDTH:
            lines.append(line)
            line = "   "
        line += f" {text},"
    lines.append(line)
    return "\n".join(lines)


def c_rows(values: Iterable[int]) -> str:
    """Integers as the body of a C array, four spaces in, wrapped.

    >>> c_rows([1, -2, 3])
    '    1, -2, 3,'
    """
    return _rows(str(int(value)) for value in values)


def c_rows_unsigned(values: Iterable[int]) -> str:
    """The same with the suffix ``u``, for values above 2^31.

    >>> c_rows_unsigned([4294967295])
    '    4294967295u,'
    """
    return _rows(f"{int(value)}u" for value in values)


def banner_block(banner: str, prefix: str) -> str:
    """A banner's lines behind ``prefix``, each ended; comment ends in it are broken up.

    >>> banner_block("a\\nb */", " * ")
    ' * a\\n * b * /\\n'
    """
    text = banner.replace("*/", "* /").replace("\\", "/")
    return "".join(f"{prefix}{line}".rstrip() + "\n" for line in text.splitlines())


def make_environment() -> Any:
    """A strict Jinja environment over ``templates/``; MissingExtraError without jinja2."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError(
            "jinja2", "is not installed", remedy='pip install "isthmus[generate]"'
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(template_root())),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["c_rows"] = c_rows
    environment.filters["c_rows_unsigned"] = c_rows_unsigned
    return environment
