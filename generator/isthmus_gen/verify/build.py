"""Builds an emitted tree with the test harness for a target, and measures what it takes.

What is counted:

- flash: the harness with the tree, less the harness without it (``HARNESS_EMPTY``): code,
  constants and tables of the tree and whatever library code it pulls in;
- RAM: the variables of the tree's own objects plus what its caller must own: the arena of
  the front half (the tensor where there is no front), the encoder's memory, one frame buffer;
- stack: the deepest chain of calls of the front half and of the coder, see ``stack``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.errors import BuildError
from isthmus_gen.targets import Emulator, MemoryMap, QemuSystemEmulator, Target
from isthmus_gen.verify.elf import STT_FUNC, ElfFile
from isthmus_gen.verify.emulators import find_emulator
from isthmus_gen.verify.stack import StackReport, stack_report
from isthmus_gen.verify.toolchain import Toolchain, find_toolchain
from isthmus_gen.verify.workshop import Workshop

__all__ = ["Build", "Layout", "build_tree"]

KERNEL_PREFIX = "isth_k_"
ENTRIES = ("isth_front_run", "isth_front_begin", "isth_encode_rows", "isth_encode_tensor")


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
    """A linked program and its sizes in bytes (None where the format of the program hides them).

    ``kernel_stacks`` is the deepest chain of calls below each kernel of the front half.
    """

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
    kernel_stacks: dict[str, int] = field(default_factory=dict)


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
        source_dir = firmware_dir.resolve() / "src"
        name = f"{firmware_dir.resolve().name}/src"
        self.machine = machine
        self.target = target
        self.shop = Workshop(source_dir, name, target, tools, work_dir)

    def run(self) -> Build:
        shop = self.shop
        tree = [shop.object(path, harness=False) for path in sorted(shop.source_dir.glob("*.c"))]
        common = [shop.object(path, harness=True) for path in shop.port_sources()]
        source = shop.harness_dir / "harness.c"
        step = shop.object(source, harness=True)
        empty = shop.object(source, harness=True, defines=("HARNESS_EMPTY=1",))
        sizing = shop.link("sizing", [*common, step, *tree], shop.room())
        baseline = shop.link("baseline", [*common, empty], shop.room())
        image = sizing
        notes: list[str] = []
        if isinstance(self.machine, QemuSystemEmulator):
            place: MemoryMap | None = self.machine.memory or self.target.memory
            image = shop.link(f"image-{self.machine.machine}", [*common, step, *tree], place)
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
            compiler=self.shop.tools.label,
            layout=layout,
            flash_bytes=flash,
            ram_bytes=ram,
            arena_bytes=arena,
            encoder_memory_bytes=encoder,
            stack_bytes=report.bytes,
            stack=report,
            warnings=tuple(dict.fromkeys(self.shop.warnings)),
            notes=tuple(notes),
            kernel_stacks=_kernel_stacks(tree),
        )


def _kernel_stacks(tree: Sequence[Path]) -> dict[str, int]:
    if not all(ElfFile.is_elf(path) for path in tree):
        return {}
    symbols = (symbol for path in tree for symbol in ElfFile(path).symbols)
    names = {s.name for s in symbols if s.is_global and s.section and s.kind == STT_FUNC}
    kernels = sorted(name for name in names if name.startswith(KERNEL_PREFIX))
    return stack_report(tree, kernels).deepest


def _layout(elf: ElfFile) -> Layout:
    words = struct.unpack("<5I", elf.bytes_at("harness_layout"))
    return Layout(words[0], words[1], words[2], words[3], bool(words[4]))
