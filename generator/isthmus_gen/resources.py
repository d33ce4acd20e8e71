"""Where the data files of Isthmus lie: the templates and the targets.

In a checkout they are the folders ``templates/`` and ``targets/`` beside ``generator/``; in a wheel
they are packed into ``isthmus_gen/_data``. The checkout wins, so an editable install shows edits.
"""

from __future__ import annotations

from pathlib import Path

from isthmus.errors import OutputError

__all__ = [
    "RUNTIME_ABI",
    "kernel_root",
    "resource_root",
    "runtime_root",
    "target_root",
    "template_root",
]

#: ISTH_ABI of the runtime: trees and front halves are made for it.
RUNTIME_ABI = 3

_PACKAGE = Path(__file__).resolve().parent


def resource_root(name: str) -> Path:
    """The folder called ``name`` (``templates`` or ``targets``).

    Raises OutputError if neither the checkout nor the installed package holds it.
    """
    checkout = _PACKAGE.parents[1]
    if (checkout / "generator" / "isthmus_gen").is_dir() and (checkout / name).is_dir():
        return checkout / name
    packed = _PACKAGE / "_data" / name
    if packed.is_dir():
        return packed
    raise OutputError(
        name,
        "the data files of isthmus are not installed",
        allowed=f"{name}/ in a checkout, or isthmus_gen/_data/{name} in a wheel",
        remedy="install the package again",
    )


def template_root() -> Path:
    """The folder of the Jinja templates; ``runtime/`` and ``kernels/`` lie in it."""
    return resource_root("templates")


def runtime_root() -> Path:
    """The folder of the C codec, copied byte for byte into every tree."""
    return template_root() / "runtime"


def kernel_root() -> Path:
    """The folder of the int8 layers in C, copied byte for byte where a front half needs them."""
    return template_root() / "kernels"


def target_root() -> Path:
    """The folder of the target definitions (TOML)."""
    return resource_root("targets")
