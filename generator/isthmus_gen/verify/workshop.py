"""Compiles and links for a target: objects kept under the hash of what they were made from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

from isthmus.errors import BuildError
from isthmus_gen.resources import template_root
from isthmus_gen.targets import MemoryMap, Target
from isthmus_gen.verify.toolchain import Toolchain, run_tool

__all__ = ["Workshop"]

# the map of a sizing image: large enough that a tree over budget still links and can be measured
_ROOM_BYTES = 64 << 20
_MESSAGE = re.compile(
    r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<text>.*)$"
)
_WARNING = re.compile(r"^.*: warning: .*$", re.MULTILINE)


class Workshop:
    """One compiler, one target, the sources of one folder and the harness.

    ``source_dir`` is the only include path; ``name`` is what messages call the folder. Warnings of
    the compiler gather in ``warnings``.
    """

    def __init__(
        self, source_dir: Path, name: str, target: Target, tools: Toolchain, work_dir: Path
    ) -> None:
        self.source_dir = source_dir.resolve()
        self.harness_dir = template_root() / "harness"
        self.target = target
        self.tools = tools
        self.work = work_dir.resolve() / f"{target.name}-{tools.family}"
        (self.work / "objects").mkdir(parents=True, exist_ok=True)
        self.warnings: list[str] = []
        self._name = name
        self._headers = self._digest(
            [*sorted(self.source_dir.glob("*.h")), *sorted(self.harness_dir.glob("*.h"))]
        )

    def port_sources(self) -> list[Path]:
        """The harness's sources that the target's platform needs, ``stream.c`` among them."""
        names = ["stream.c"]
        if self.target.platform == "cortex-m":
            names += ["boot_cortex_m.c", "port_semihost.c", "memory.c"]
        elif self.target.platform == "riscv":
            names += ["boot_riscv.c", "port_semihost.c", "memory.c"]
        else:
            names += ["port_stdio.c"]
        return [self.harness_dir / name for name in names]

    def room(self) -> MemoryMap | None:
        """A memory map that nothing overflows, or None where there is an operating system."""
        memory = self.target.memory
        if not self.target.bare or memory is None:
            return None
        low, high = sorted((memory.flash_origin, memory.ram_origin))
        room = min(_ROOM_BYTES, high - low, (1 << 32) - high)
        return memory.model_copy(update={"flash_bytes": room, "ram_bytes": room})

    def object(self, source: Path, *, harness: bool, defines: Sequence[str] = ()) -> Path:
        """The object of ``source``, and beside it the stack usage of its functions (.su).

        Raises BuildError with the compiler's first message.
        """
        probe = self.tools.compile_command(
            source, Path("x.o"), include=self.source_dir, harness=harness, defines=defines
        )
        text = "\0".join([self.tools.label, self._headers, self._digest([source]), *probe])
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        output = self.work / "objects" / f"{source.stem}-{key}.o"
        log = output.with_suffix(".log")
        if not (output.is_file() and log.is_file()):
            command = self.tools.compile_command(
                source, output, include=self.source_dir, harness=harness, defines=defines
            )
            done = run_tool(command, self.work)
            if done.returncode:
                raise self._error(done.stderr, source)
            log.write_text(done.stderr, encoding="utf-8")
        found = _WARNING.findall(log.read_text(encoding="utf-8"))
        self.warnings += [self._short(line) for line in found]
        return output

    def link(self, name: str, objects: Sequence[Path], place: MemoryMap | None) -> Path:
        """``NAME.elf`` of the objects, at ``place`` where the target is bare."""
        script = runtime = None
        memory = self.target.memory
        if place is not None and memory is not None:
            script = self.work / f"{name}.ld"
            text = (self.harness_dir / "image.ld").read_text(encoding="utf-8")
            script.write_text(
                Template(text).substitute(
                    flash_origin=hex(place.flash_origin),
                    flash_bytes=place.flash_bytes,
                    ram_origin=hex(place.ram_origin),
                    ram_bytes=place.ram_bytes,
                    stack_bytes=memory.stack_bytes,
                ),
                encoding="utf-8",
            )
            runtime = self._runtime() if self.tools.family == "zig" else None
        output = self.work / f"{name}.elf"
        command = self.tools.link_command(objects, output, script=script, runtime=runtime)
        done = run_tool(command, self.work)
        if done.returncode:
            raise self._error(done.stderr, output)
        return output

    def _runtime(self) -> Path:
        """compiler-rt for the target, built once a work folder."""
        output = self.work / "librt.a"
        if not output.is_file():
            source = self.work / "empty.zig"
            source.write_text("", encoding="utf-8")
            done = run_tool(self.tools.runtime_command(source, output), self.work)
            if done.returncode:
                raise self._error(done.stderr, source)
        return output

    def _error(self, messages: str, source: Path) -> BuildError:
        for line in messages.splitlines():
            match = _MESSAGE.match(line)
            if match:
                place = f"{self._short(match['file'])}:{match['line']}"
                return BuildError(place, match["text"], remedy=f"compiled with {self.tools.label}")
        lines = [line for line in messages.splitlines() if line.strip()]
        # the linker's own last line says nothing but that it failed
        telling = [line for line in lines if "undefined" in line] or lines
        text = next((line for line in telling if "error" in line), (telling or ["failed"])[0])
        if "overflowed" in messages or "will not fit" in messages:
            text = next(line for line in lines if "overflowed" in line or "will not fit" in line)
            return BuildError(
                self.target.name,
                f"the tree does not fit the emulated machine: {self._short(text)}",
                remedy="use another emulator of this target, or cut the network earlier",
            )
        return BuildError(source.name, self._short(text), remedy=f"with {self.tools.label}")

    def _short(self, text: str) -> str:
        """Messages name the tree's own paths, not this machine's."""
        text = text.replace(f"{self.source_dir}/", f"{self._name}/")
        return text.replace(f"{self.harness_dir}/", "harness/").replace(f"{self.work}/", "")

    @staticmethod
    def _digest(paths: Sequence[Path]) -> str:
        state = hashlib.sha256()
        for path in paths:
            state.update(path.name.encode() + b"\0" + path.read_bytes())
        return state.hexdigest()
