"""The compilers of a target: which is there, and the command lines it takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from isthmus.errors import BuildError, OptionError, ToolMissingError
from isthmus_gen.targets import Compiler, GccCompiler, NativeCompiler, Target, ZigCompiler

__all__ = ["WARNINGS", "Toolchain", "compiler_names", "find_toolchain", "run_tool"]

WARNINGS = (
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wshadow",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wundef",
    "-Wstrict-prototypes",
    "-Wcast-qual",
)
_CODE = (
    "-std=c99",
    "-O2",
    "-g0",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-common",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
)
# the harness's own memcpy and memset must not become calls of themselves
_GCC_HARNESS = ("-fno-builtin", "-fno-tree-loop-distribute-patterns")
_TOOL_SECONDS = 600.0


@dataclass(frozen=True)
class Toolchain:
    """One compiler for one target. ``label`` names it with its version, for reports."""

    family: str
    label: str
    compile: tuple[str, ...]
    link: tuple[str, ...]
    bare: bool
    zig_target: tuple[str, ...] = ()

    def compile_command(
        self, source: Path, output: Path, *, include: Path, harness: bool, defines: Sequence[str]
    ) -> list[str]:
        """The command that makes ``output`` (and ``output`` with .su) from one C source."""
        command = [*self.compile, *_CODE, *WARNINGS, f"-I{include}"]
        command += [f"-D{define}" for define in defines]
        if self.bare:
            command += ["-ffreestanding"]
        if harness:
            command += _GCC_HARNESS if self.family == "gcc" else ("-fno-builtin",)
        if self.family == "gcc":
            command += ["-fstack-usage"]
        elif self.family == "zig":
            usage = str(output.with_suffix(".su"))
            command += ["-Xclang", "-stack-usage-file", "-Xclang", usage]
        return [*command, "-c", str(source), "-o", str(output)]

    def link_command(
        self, objects: Sequence[Path], output: Path, *, script: Path | None, runtime: Path | None
    ) -> list[str]:
        """The command that links the objects; ``script`` where the target is bare."""
        files = [str(path) for path in objects]
        command = list(self.link)
        if script is None:
            return [*command, *files, "-o", str(output)]
        if self.family == "zig":
            command += ["--gc-sections", "-T", str(script), *files]
            return [*command, *([str(runtime)] if runtime else []), "-o", str(output)]
        command += ["-nostdlib", "-nostartfiles", "-static", "-Wl,--gc-sections", f"-T{script}"]
        return [*command, *files, "-lgcc", "-o", str(output)]

    def runtime_command(self, source: Path, output: Path) -> list[str]:
        """The command that builds compiler-rt as an archive (zig, bare targets)."""
        return [
            *_zig(),
            "build-lib",
            *self.zig_target,
            "-fcompiler-rt",
            "-OReleaseSmall",
            "--name",
            "rt",
            f"-femit-bin={output}",
            str(source),
        ]


def compiler_names(target: Target) -> list[str]:
    """What ``compiler=`` of find_toolchain takes for this target."""
    return [compiler.kind for compiler in target.compilers]


def find_toolchain(target: Target, compiler: str | None = None) -> Toolchain:
    """The target's first compiler that is on this machine, or the one asked for.

    Raises OptionError where the target has no compiler of that kind and ToolMissingError, with
    what to install, where none is there.
    """
    wanted = [c for c in target.compilers if compiler is None or c.kind == compiler]
    if not wanted:
        raise OptionError(
            "compiler",
            f"{target.name} has no compiler {compiler!r}",
            allowed=", ".join(compiler_names(target)),
        )
    missing = []
    for choice in wanted:
        found = _find(choice, target.bare)
        if isinstance(found, Toolchain):
            return found
        missing.append(found)
    raise ToolMissingError(
        f"target.{target.name}.compilers",
        "no compiler is installed",
        allowed=" or ".join(dict.fromkeys(missing)),
        remedy="install one of them",
    )


def run_tool(command: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a compiler or linker with untranslated messages. Raises BuildError where it hangs."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TOOL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(command[0], f"did not end within {_TOOL_SECONDS:.0f} s") from error


def _find(choice: Compiler, bare: bool) -> Toolchain | str:
    """The toolchain, or what to install for it."""
    if isinstance(choice, ZigCompiler):
        return _find_zig(choice, bare)
    if isinstance(choice, GccCompiler):
        path = shutil.which(f"{choice.prefix}gcc")
        extra: tuple[str, ...] = () if bare else ("-static",)
    else:
        path = _native(choice)
        extra = ()
    if path is None:
        return choice.package
    version = run_tool([path, "--version"], Path.cwd()).stdout.splitlines()
    family = "clang" if version and "clang" in version[0] else "gcc"
    number = run_tool([path, "-dumpversion"], Path.cwd()).stdout.strip()
    return Toolchain(
        family=family,
        label=f"{Path(path).name} {number}",
        compile=(path, *choice.flags),
        link=(path, *choice.flags, *extra),
        bare=bare,
    )


def _native(choice: NativeCompiler) -> str | None:
    names = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


def _find_zig(choice: ZigCompiler, bare: bool) -> Toolchain | str:
    if find_spec("ziglang") is None:
        return "ziglang (pip)"
    aim: tuple[str, ...] = ("-target", choice.target) if choice.target != "native" else ()
    if choice.mcpu:
        aim += (f"-mcpu={choice.mcpu}",)
    version = run_tool([*_zig(), "version"], Path.cwd()).stdout.strip()
    driver = (*_zig(), "cc", *aim, *choice.flags, "-fno-sanitize=all")
    static = ("-static",) if aim else ()
    return Toolchain(
        family="zig",
        label=f"zig cc {version}",
        compile=(*driver, "-nostdlib") if bare else driver,
        link=(*_zig(), "ld.lld") if bare else (*driver, *static),
        bare=bare,
        zig_target=aim,
    )


def _zig() -> tuple[str, ...]:
    return (sys.executable, "-m", "ziglang")
