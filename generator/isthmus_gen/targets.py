"""Targets: what is known about a board or a core, read from one TOML file each.

``targets/NAME.toml`` holds data only: memory sizes, the compilers to try in order, the emulators
to try in order. Adding a target is adding one file. The schema below refuses unknown keys, so a
misspelt field is an error that names its place, not a setting silently dropped.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from isthmus.errors import TargetDefinitionError, TargetUnknownError
from isthmus_gen.resources import target_root

__all__ = [
    "TARGET_FILE",
    "CodecBudget",
    "Compiler",
    "Emulator",
    "GccCompiler",
    "Memory",
    "MemoryMap",
    "NativeCompiler",
    "NativeEmulator",
    "QemuSystemEmulator",
    "QemuUserEmulator",
    "Target",
    "UnicornEmulator",
    "ZigCompiler",
    "list_targets",
    "load_target",
    "target_source",
]

TARGET_FILE = "target.toml"
"""The definition of a bundle's target, kept in the bundle."""

_NAME = r"^[a-z0-9][a-z0-9-]*$"
_WORD = r"^[A-Za-z0-9_.+-]+$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class MemoryMap(_Strict):
    """Where code and data go in an address space of 32 bits; addresses and sizes in bytes."""

    flash_origin: int = Field(ge=0, lt=1 << 32)
    flash_bytes: int = Field(gt=0, le=1 << 31)
    ram_origin: int = Field(ge=0, lt=1 << 32)
    ram_bytes: int = Field(gt=0, le=1 << 31)

    @model_validator(mode="after")
    def _disjoint(self) -> MemoryMap:
        flash_end = self.flash_origin + self.flash_bytes
        ram_end = self.ram_origin + self.ram_bytes
        if self.flash_origin < ram_end and self.ram_origin < flash_end:
            raise ValueError("flash and RAM overlap")
        if max(flash_end, ram_end) > 1 << 32:
            raise ValueError("flash or RAM reaches past the address space of 32 bits")
        return self


class Memory(MemoryMap):
    """The memory of the target, with the part of the RAM its stack may take (bytes)."""

    stack_bytes: int = Field(ge=512)

    @model_validator(mode="after")
    def _stack_fits(self) -> Memory:
        if self.stack_bytes % 16:
            raise ValueError("stack_bytes must be a multiple of 16")
        if self.stack_bytes >= self.ram_bytes:
            raise ValueError("stack_bytes must be below ram_bytes")
        return self


class CodecBudget(_Strict):
    """What the coder may take: ``context_bytes`` of RAM for its contexts, two bytes each."""

    context_bytes: int = Field(default=4096, ge=2, le=65536)


class GccCompiler(_Strict):
    """A GCC cross compiler ``<prefix>gcc``; ``package`` is what to install for it."""

    kind: Literal["gcc"]
    prefix: str = Field(pattern=r"^[A-Za-z0-9_.-]*$")
    flags: tuple[str, ...] = ()
    package: str


class ZigCompiler(_Strict):
    """``python -m ziglang cc`` for a Zig target triple; needs the ziglang package of pip."""

    kind: Literal["zig"]
    target: str = Field(pattern=_WORD)
    mcpu: str | None = Field(default=None, pattern=_WORD)
    flags: tuple[str, ...] = ()


class NativeCompiler(_Strict):
    """The compiler of this machine: the first of ``$CC``, cc, gcc, clang that is there."""

    kind: Literal["native"]
    flags: tuple[str, ...] = ()
    package: str


Compiler = Annotated[GccCompiler | ZigCompiler | NativeCompiler, Field(discriminator="kind")]


class UnicornEmulator(_Strict):
    """Unicorn inside this process (pip alone); ``cpu`` is its model's name."""

    kind: Literal["unicorn"]
    cpu: Literal["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "riscv32"]


class QemuSystemEmulator(_Strict):
    """A machine of QEMU, run with semihosting.

    ``counter`` says how instructions are counted: ``systick`` (24-bit timer; ``tick_ns`` is its
    period in emulated nanoseconds, one nanosecond an instruction under ``-icount shift=0``),
    ``instret`` (RISC-V's own counter) or ``none``. ``memory`` is the machine's memory where it
    differs from the target's.
    """

    kind: Literal["qemu-system"]
    binary: str = Field(pattern=_WORD)
    machine: str = Field(pattern=_WORD)
    cpu: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.,=+-]+$")
    counter: Literal["systick", "instret", "none"]
    tick_ns: float | None = Field(default=None, gt=0.0)
    memory: MemoryMap | None = None
    package: str

    @model_validator(mode="after")
    def _tick(self) -> QemuSystemEmulator:
        if (self.counter == "systick") != (self.tick_ns is not None):
            raise ValueError("tick_ns goes with counter = 'systick' and with no other")
        return self


class QemuUserEmulator(_Strict):
    """QEMU's user mode for a Linux program of another processor."""

    kind: Literal["qemu-user"]
    binary: str = Field(pattern=_WORD)
    package: str


class NativeEmulator(_Strict):
    """No emulator: the program runs on this machine."""

    kind: Literal["native"]


Emulator = Annotated[
    UnicornEmulator | QemuSystemEmulator | QemuUserEmulator | NativeEmulator,
    Field(discriminator="kind"),
]


class Target(_Strict):
    """One board or core. ``memory`` is absent where there is no budget (Linux, this machine)."""

    name: str = Field(pattern=_NAME)
    title: str = Field(min_length=1)
    core: str = Field(pattern=_WORD)
    platform: Literal["cortex-m", "riscv", "linux", "host"]
    notes: str = ""
    memory: Memory | None = None
    codec: CodecBudget = CodecBudget()
    compilers: tuple[Compiler, ...] = Field(min_length=1)
    emulators: tuple[Emulator, ...] = Field(min_length=1)

    @property
    def bare(self) -> bool:
        """True where the program runs without an operating system."""
        return self.platform in ("cortex-m", "riscv")

    @model_validator(mode="after")
    def _consistent(self) -> Target:
        if self.bare and self.memory is None:
            raise ValueError("a target without an operating system needs [memory]")
        return self


def list_targets() -> list[str]:
    """The names of the targets that come with Isthmus, sorted."""
    return sorted(path.stem for path in target_root().glob("*.toml"))


def target_source(name_or_path: str | Path) -> Path:
    """The TOML file that :func:`load_target` reads for this name or path."""
    text = str(name_or_path)
    return Path(text) if text.endswith(".toml") else target_root() / f"{text}.toml"


def load_target(name_or_path: str | Path) -> Target:
    """The target of that name, or the one defined in that TOML file.

    Raises TargetUnknownError (naming all targets and the closest) and TargetDefinitionError (with
    the file and the field).
    """
    text = str(name_or_path)
    if text.endswith(".toml"):
        return _read(Path(text))
    path = target_root() / f"{text}.toml"
    names = list_targets()
    if text not in names:
        close = difflib.get_close_matches(text, names, n=1, cutoff=0.4)
        raise TargetUnknownError(
            "target",
            f"no target is named {text!r}",
            allowed=", ".join(names),
            remedy=f"did you mean {close[0]}?" if close else "or give the path of a .toml file",
        )
    target = _read(path)
    if target.name != path.stem:
        raise TargetDefinitionError(
            f"{path.name}:name", f"is {target.name!r}", allowed=f"{path.stem!r}, the file's name"
        )
    return target


def _read(path: Path) -> Target:
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TargetUnknownError(
            str(path), "there is no such file", allowed=", ".join(list_targets())
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TargetDefinitionError(str(path), f"cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise TargetDefinitionError(str(path), f"is not valid TOML: {error}") from error
    try:
        return Target.model_validate(_tuples(data))
    except ValidationError as error:
        raise _definition_error(path, error) from error


def _tuples(value: Any) -> Any:
    """TOML arrays as tuples, which the strict frozen schema asks for."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


def _definition_error(path: Path, error: ValidationError) -> TargetDefinitionError:
    first = error.errors()[0]
    kinds = ("gcc", "zig", "native", "unicorn", "qemu-system", "qemu-user")
    place = ""
    previous: int | str | None = None
    for part in first["loc"]:
        # pydantic puts the union's tag after the index; it is no field of the file
        if isinstance(previous, int) and part in kinds:
            previous = part
            continue
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
        previous = part
    more = len(error.errors()) - 1
    what = first["msg"].removeprefix("Value error, ")
    what = what[:1].lower() + what[1:]
    if more:
        what += f" (and {more} more)"
    allowed = ""
    if first["type"] == "extra_forbidden":
        what = "is not a field of a target"
    elif first["type"] == "missing":
        what = "is missing"
    elif first["type"] == "union_tag_invalid":
        what = f"kind is {first['ctx']['tag']}"
        allowed = str(first["ctx"]["expected_tags"]).replace("'", "")
    return TargetDefinitionError(
        f"{path.name}:{place}" if place else path.name, what, allowed=allowed
    )
