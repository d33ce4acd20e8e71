"""Builds an emitted tree with the test harness for a target, and measures what it takes.

What is counted:

- flash: the harness with the tree, less the harness without it (``HARNESS_EMPTY``): code,
  constants and tables of the tree and whatever library code it pulls in;
- RAM: the variables of the tree's own objects plus what its caller must own: the arena of
  the front half (the tensor where there is no front), the encoder's memory, one frame buffer;
- stack: the deepest chain of calls of the front half and of the coder, see ``stack``.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from isthmus.errors import BuildError
from isthmus_gen.resources import template_root
from isthmus_gen.targets import Emulator, MemoryMap, QemuSystemEmulator, Target
from isthmus_gen.verify.elf import ElfFile
from isthmus_gen.verify.emulators import find_emulator
from isthmus_gen.verify.stack import StackReport, stack_report
from isthmus_gen.verify.toolchain import Toolchain, find_toolchain, run_tool

__all__ = ["Build", "Layout", "build_tree"]

ENTRIES = ("isth_front_run", "isth_encode_tensor")
# the map of a sizing image: large enough that a tree over budget still links and can be measured
_ROOM_BYTES = 64 << 20
_MESSAGE = re.compile(
    r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<text>.*)$"
)
_WARNING = re.compile(r"^.*: warning: .*$", re.MULTILINE)


@dataclass(frozen=True)
class Layout:
    """What the harness was compiled with. ``element_bytes`` is 1, 2 or 4: int8, int16, float32."""

    input_bytes: int
    tensor_bytes: int
    frame_bytes_max: int
    element_bytes: int
    has_front: bool


@dataclass(frozen=True)
class Build:
    """A linked program and its sizes in bytes (None where the format of the program hides them)."""

    elf: Path
    target: Target
    emulator: Emulator
    compiler: str
    layout: Layout | None
    flash_bytes: int | None
    ram_bytes: int | None
    arena_bytes: int | None
    encoder_memory_bytes: int | None
    stack_bytes: int | None
    stack: StackReport | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def build_tree(
    firmware_dir: Path,
    target: Target,
    work_dir: Path,
    *,
    compiler: str | None = None,
    emulator: str | None = None,
) -> Build:
    """Compiles ``firmware_dir/src`` and the harness for ``target`` into ``work_dir``.

    ``compiler`` and ``emulator`` pick a kind the target lists; by default the first that is
    installed. Objects are kept in ``work_dir`` under the hash of what they were made from.

    Raises BuildError with the compiler's first message, ToolMissingError where a tool is missing.
    """
    sources = sorted((firmware_dir / "src").glob("*.c"))
    if not sources or not (firmware_dir / "src" / "isth.h").is_file():
        raise BuildError(
            str(firmware_dir / "src"),
            "holds no emitted firmware",
            remedy="give the firmware folder of a bundle",
        )
    machine = find_emulator(target, emulator)
    return _Builder(firmware_dir, target, machine, find_toolchain(target, compiler), work_dir).run()


class _Builder:
    def __init__(
        self,
        firmware_dir: Path,
        target: Target,
        machine: Emulator,
        tools: Toolchain,
        work_dir: Path,
    ) -> None:
        self.firmware = firmware_dir.resolve()
        self.source_dir = self.firmware / "src"
        self.harness_dir = template_root() / "harness"
        self.target = target
        self.machine = machine
        self.tools = tools
        self.work = work_dir.resolve() / f"{target.name}-{tools.family}"
        (self.work / "objects").mkdir(parents=True, exist_ok=True)
        self.warnings: list[str] = []
        self._headers = self._digest(
            [*sorted(self.source_dir.glob("*.h")), *sorted(self.harness_dir.glob("*.h"))]
        )

    def run(self) -> Build:
        tree = [self._object(path, harness=False) for path in sorted(self.source_dir.glob("*.c"))]
        common = self._common()
        step = self._object(self.harness_dir / "harness.c", harness=True)
        empty = self._object(
            self.harness_dir / "harness.c", harness=True, defines=("HARNESS_EMPTY=1",)
        )
        sizing = self._link("sizing", [*common, step, *tree], self._room())
        baseline = self._link("baseline", [*common, empty], self._room())
        image = sizing
        notes: list[str] = []
        if isinstance(self.machine, QemuSystemEmulator):
            place: MemoryMap | None = self.machine.memory or self.target.memory
            image = self._link(f"image-{self.machine.machine}", [*common, step, *tree], place)
            memory = self.target.memory
            if place and memory and place.ram_bytes > memory.ram_bytes:
                notes.append(
                    f"the emulated machine {self.machine.machine} has {place.ram_bytes} bytes of"
                    f" RAM, the target {memory.ram_bytes}; the budget is the target's"
                )
        report = stack_report([*tree, step, *common], ENTRIES)
        if ENTRIES[-1] not in report.deepest:
            # an inline wrapper: the chain then starts at its only caller
            report = stack_report([*tree, step, *common], (*ENTRIES[:-1], "harness_encode"))
        if report.unknown:
            notes.append("stack without the frames of " + ", ".join(report.unknown))
        if report.unbounded:
            notes.append("stack has no static bound: " + ", ".join(report.unbounded))
        return self._measured(tree, sizing, baseline, image, report, notes)

    def _measured(
        self,
        tree: Sequence[Path],
        sizing: Path,
        baseline: Path,
        image: Path,
        report: StackReport,
        notes: Sequence[str],
    ) -> Build:
        flash = ram = arena = encoder = None
        layout = None
        if ElfFile.is_elf(sizing):
            full, bare = ElfFile(sizing), ElfFile(baseline)
            layout = _layout(full)
            arena = layout.tensor_bytes
            if layout.has_front:
                arena = full.symbol("harness_arena").size
            encoder = full.symbol("harness_memory").size
            flash = full.loaded_bytes() - bare.loaded_bytes()
            own = sum(ElfFile(path).written_bytes() for path in tree)
            ram = own + arena + encoder + layout.frame_bytes_max
        return Build(
            elf=image,
            target=self.target,
            emulator=self.machine,
            compiler=self.tools.label,
            layout=layout,
            flash_bytes=flash,
            ram_bytes=ram,
            arena_bytes=arena,
            encoder_memory_bytes=encoder,
            stack_bytes=report.bytes,
            stack=report,
            warnings=tuple(dict.fromkeys(self.warnings)),
            notes=tuple(notes),
        )

    def _common(self) -> list[Path]:
        names = ["stream.c"]
        if self.target.platform == "cortex-m":
            names += ["boot_cortex_m.c", "port_semihost.c", "memory.c"]
        elif self.target.platform == "riscv":
            names += ["boot_riscv.c", "port_semihost.c", "memory.c"]
        else:
            names += ["port_stdio.c"]
        return [self._object(self.harness_dir / name, harness=True) for name in names]

    def _room(self) -> MemoryMap | None:
        memory = self.target.memory
        if not self.target.bare or memory is None:
            return None
        low, high = sorted((memory.flash_origin, memory.ram_origin))
        room = min(_ROOM_BYTES, high - low, (1 << 32) - high)
        return memory.model_copy(update={"flash_bytes": room, "ram_bytes": room})

    def _object(self, source: Path, *, harness: bool, defines: Sequence[str] = ()) -> Path:
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

    def _link(self, name: str, objects: Sequence[Path], place: MemoryMap | None) -> Path:
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
        text = next((line for line in lines if "error" in line), lines[0] if lines else "failed")
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
        text = text.replace(f"{self.source_dir}/", f"{self.firmware.name}/src/")
        return text.replace(f"{self.harness_dir}/", "harness/").replace(f"{self.work}/", "")

    @staticmethod
    def _digest(paths: Sequence[Path]) -> str:
        state = hashlib.sha256()
        for path in paths:
            state.update(path.name.encode() + b"\0" + path.read_bytes())
        return state.hexdigest()


def _layout(elf: ElfFile) -> Layout:
    words = struct.unpack("<5I", elf.bytes_at("harness_layout"))
    return Layout(words[0], words[1], words[2], words[3], bool(words[4]))
