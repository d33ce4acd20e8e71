"""Which of a target's emulators is on this machine."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

from isthmus.errors import OptionError, ToolMissingError
from isthmus_gen.targets import (
    Emulator,
    QemuSystemEmulator,
    QemuUserEmulator,
    Target,
    UnicornEmulator,
)

__all__ = ["emulator_label", "emulator_missing", "emulator_names", "find_emulator"]


def emulator_names(target: Target) -> list[str]:
    """What ``emulator=`` takes for this target."""
    return [machine.kind for machine in target.emulators]


def emulator_label(machine: Emulator) -> str:
    """The emulator as a report names it."""
    if isinstance(machine, UnicornEmulator):
        return f"unicorn {machine.cpu}"
    if isinstance(machine, QemuSystemEmulator):
        return f"qemu {machine.machine}"
    if isinstance(machine, QemuUserEmulator):
        return machine.binary
    return "native"


def emulator_missing(machine: Emulator) -> str:
    """What to install for the emulator; empty where it is there."""
    if isinstance(machine, UnicornEmulator):
        return "" if find_spec("unicorn") is not None else "unicorn (pip)"
    if isinstance(machine, QemuSystemEmulator | QemuUserEmulator):
        return "" if shutil.which(machine.binary) else machine.package
    return ""


def find_emulator(target: Target, emulator: str | None = None) -> Emulator:
    """The target's first emulator that is on this machine, or the kind asked for.

    Raises OptionError where the target has none of that kind and ToolMissingError, with what to
    install, where none is there.
    """
    wanted = [m for m in target.emulators if emulator is None or m.kind == emulator]
    if not wanted:
        raise OptionError(
            "emulator",
            f"{target.name} has no emulator {emulator!r}",
            allowed=", ".join(emulator_names(target)),
        )
    missing = []
    for machine in wanted:
        package = emulator_missing(machine)
        if not package:
            return machine
        missing.append(package)
    raise ToolMissingError(
        f"target.{target.name}.emulators",
        "no emulator is installed",
        allowed=" or ".join(dict.fromkeys(missing)),
        remedy="install one of them",
    )
