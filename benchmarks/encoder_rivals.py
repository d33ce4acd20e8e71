"""General compressors built for a microcontroller: what they take for the same levels.

heatshrink and lz4 come as C inside their Python packages. Their source distributions are fetched
by pip when they are needed, checked against a digest, kept in a cache, and never committed. They
are built by the compiler of the target and run under the emulator that runs Isthmus's encoder;
what they write is decoded here by two small decoders and compared with the input.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isthmus.errors import ToolMissingError
from isthmus.native.build import cache_dir
from isthmus_gen.resources import template_root
from isthmus_gen.targets import MemoryMap, QemuSystemEmulator, Target
from isthmus_gen.verify import Build, Layout, find_emulator, find_toolchain, run_firmware
from isthmus_gen.verify.elf import ElfFile
from isthmus_gen.verify.stack import stack_report
from isthmus_gen.verify.workshop import Workshop

__all__ = ["RIVALS", "Figures", "Rival", "fetch", "figures_of", "measure_rival"]

_DRIVER = Path(__file__).with_name("drivers") / "encoder_rivals.c"
_STUB = """/* What a freestanding compiler may call; the harness has these functions. */
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
"""
_HEATSHRINK_CONFIG = """#ifndef HEATSHRINK_CONFIG_H
#define HEATSHRINK_CONFIG_H
#define HEATSHRINK_DYNAMIC_ALLOC 0
#define HEATSHRINK_STATIC_INPUT_BUFFER_SIZE 32
#define HEATSHRINK_STATIC_WINDOW_BITS {window}
#define HEATSHRINK_STATIC_LOOKAHEAD_BITS {lookahead}
#define HEATSHRINK_DEBUGGING_LOGS 0
#define HEATSHRINK_USE_INDEX {index}
#endif
"""
_LZ4_DEFINES = (
    "LZ4_FREESTANDING=1", "LZ4_HEAPMODE=0", "LZ4_memcpy=__builtin_memcpy",
    "LZ4_memmove=__builtin_memmove", "LZ4_memset=__builtin_memset",
)  # fmt: skip


@dataclass(frozen=True)
class _Package:
    """A source distribution: ``folder`` of it holds the C files that are taken."""

    name: str
    version: str
    sha256: str
    folder: str
    files: tuple[str, ...]


_HEATSHRINK = _Package(
    "heatshrink2", "0.15.0",
    "d57904c07414fdfd9ae33182d613bac754b0137479f47bf865ce267157fc6e18",
    "heatshrink2/_heatshrink",
    ("heatshrink_encoder.c", "heatshrink_encoder.h", "heatshrink_common.h"),
)  # fmt: skip
_LZ4 = _Package(
    "lz4", "4.4.5",
    "5f0b9e53c1e82e88c10d7c180069363980136b9d7a8306c4dca4f760d60c39f0",
    "lz4libs",
    ("lz4.c", "lz4.h"),
)  # fmt: skip


@dataclass(frozen=True)
class Rival:
    """A compressor with its parameters: heatshrink's window, lookahead, index; lz4's memory."""

    codec: str
    variant: str
    package: _Package
    window: int = 0
    lookahead: int = 0
    index: int = 0
    memory: int = 0

    @property
    def defines(self) -> tuple[str, ...]:
        """Macros of every file of the build."""
        if self.codec == "lz4":
            return ("RIVAL=2", f"LZ4_MEMORY_USAGE={self.memory}", *_LZ4_DEFINES)
        return ("RIVAL=1",)


RIVALS = (
    Rival("heatshrink", "-w 8 -l 4", _HEATSHRINK, 8, 4, 0),
    Rival("heatshrink", "-w 8 -l 4, index", _HEATSHRINK, 8, 4, 1),
    Rival("heatshrink", "-w 11 -l 4, index", _HEATSHRINK, 11, 4, 1),
    Rival("lz4", "1 KB table", _LZ4, memory=10),
    Rival("lz4", "4 KB table", _LZ4, memory=12),
)


@dataclass(frozen=True)
class Figures:
    """What one build takes. Instructions and bits are of one element, sizes in bytes."""

    compiler: str
    instructions: float
    bits: float
    code_bytes: int
    table_bytes: int
    ram_bytes: int
    stack_bytes: int


def fetch(package: _Package) -> dict[str, bytes]:
    """The C files of ``package`` by name, from the cache or through pip.

    Raises ToolMissingError where pip cannot fetch it, or where what it fetched is something else.
    """
    folder = cache_dir() / "sources"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    archive = folder / f"{package.name}-{package.version}.tar.gz"
    if not archive.is_file():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", ":all:", "--dest", str(folder)]
        command.append(f"{package.name}=={package.version}")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not archive.is_file():
            lines = done.stderr.strip().splitlines() or ["nothing was fetched"]
            raise ToolMissingError(package.name, lines[-1], remedy=f"put {archive.name} there")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != package.sha256:
        raise ToolMissingError(str(archive), "is not the release that was measured")
    found = {}
    with tarfile.open(archive) as stream:
        for name in package.files:
            member = stream.extractfile(f"{archive.name[:-7]}/{package.folder}/{name}")
            assert member is not None  # a plain file of a release whose digest is known
            found[name] = member.read()
    return found


def measure_rival(
    rival: Rival, target: Target, inputs: npt.NDArray[np.uint8], elements: int, work: Path
) -> Figures:
    """Builds ``rival`` for ``target`` and runs it over ``inputs`` uint8 [n, bytes].

    Raises BuildError, EmulationError and ToolMissingError; ValueError where it does not give back
    what went in.
    """
    source = work / f"{rival.codec}-{rival.window}-{rival.index}-{rival.memory}"
    source.mkdir(parents=True, exist_ok=True)
    for name, content in fetch(rival.package).items():
        (source / name).write_bytes(content)
    (source / "harness.h").write_bytes((template_root() / "harness" / "harness.h").read_bytes())
    for name in ("string.h", "stdlib.h"):
        (source / name).write_text(_STUB, encoding="ascii")
    if rival.codec == "heatshrink":
        text = _HEATSHRINK_CONFIG.format(
            window=rival.window, lookahead=rival.lookahead, index=rival.index
        )
        (source / "heatshrink_config.h").write_text(text, encoding="ascii")
    defines = (*rival.defines, f"INPUT_BYTES={inputs.shape[1]}u")
    machine = find_emulator(target, "qemu-system")
    assert isinstance(machine, QemuSystemEmulator)
    shop = Workshop(source, rival.codec, target, find_toolchain(target, "gcc"), source / "build")
    library = next(name for name in rival.package.files if name.endswith(".c"))
    tree = [shop.object(source / library, harness=False, defines=rival.defines)]
    step = shop.object(_DRIVER, harness=True, defines=defines)
    empty = shop.object(_DRIVER, harness=True, defines=(*defines, "HARNESS_EMPTY=1"))
    build, figures = figures_of(
        shop, tree, step, empty, machine.memory or target.memory, ("harness_encode",),
        Layout(inputs.shape[1], 4, 2 * inputs.shape[1] + 64, 1, True),
    )  # fmt: skip
    run = run_firmware(build, inputs.view(np.int8))
    for index, (given, made) in enumerate(zip(inputs, run.frames, strict=True)):
        back = unpacked(rival, made, inputs.shape[1])
        if run.statuses[index] or back != given.tobytes():
            raise ValueError(f"{rival.codec} {rival.variant}: picture {index} does not come back")
    assert run.encode_instructions is not None  # every machine of QEMU here has a counter
    stack = max(figures.stack_bytes, run.stack_used_bytes or 0)
    return Figures(
        figures.compiler,
        round(run.encode_instructions / elements, 2),
        round(8 * sum(map(len, run.frames)) / (len(inputs) * elements), 4),
        figures.code_bytes, figures.table_bytes, figures.ram_bytes, stack,
    )  # fmt: skip


def figures_of(
    shop: Workshop,
    tree: Sequence[Path],
    step: Path,
    empty: Path,
    place: MemoryMap | None,
    entries: Sequence[str],
    layout: Layout,
    emulator: str = "qemu-system",
) -> tuple[Build, Figures]:
    """The program of ``tree`` with ``step``, and its sizes beside the same with ``empty``.

    Code is what flash holds more, less its constants (the tables); RAM is ``harness_memory``, the
    encoder's own, and variables of the tree; input and output buffers are the caller's.
    """
    port = [shop.object(path, harness=True) for path in shop.port_sources()]
    full = ElfFile(shop.link("sizing", [*port, step, *tree], shop.room()))
    bare = ElfFile(shop.link("baseline", [*port, empty], shop.room()))
    constants = full.constant_bytes() - bare.constant_bytes()
    own = sum(ElfFile(path).written_bytes() for path in tree)
    report = stack_report([*tree, step, *port], entries)
    figures = Figures(
        compiler=shop.tools.label,
        instructions=0.0,
        bits=0.0,
        code_bytes=full.loaded_bytes() - bare.loaded_bytes() - constants,
        table_bytes=constants,
        ram_bytes=full.symbol("harness_memory").size + own,
        stack_bytes=report.bytes or 0,
    )
    build = Build(
        elf=shop.link("image", [*port, step, *tree], place),
        target=shop.target,
        emulator=find_emulator(shop.target, emulator),
        compiler=shop.tools.label,
        layout=layout,
        flash_bytes=None,
        ram_bytes=None,
        arena_bytes=None,
        encoder_memory_bytes=None,
        stack_bytes=None,
        stack=None,
        warnings=(),
        notes=(),
    )
    return build, figures


def unpacked(rival: Rival, data: bytes, size: int) -> bytes:
    """What ``data`` stands for, by a decoder of a few lines."""
    if rival.codec == "lz4":
        return _lz4(data)
    return _heatshrink(data, size, rival.window, rival.lookahead)


def _lz4(data: bytes) -> bytes:
    """The LZ4 block format: token, literals, offset, match."""
    out = bytearray()
    at = 0

    def length(first: int) -> int:
        nonlocal at
        total, more = first, 255 if first == 15 else 0
        while more == 255:
            more = data[at]
            at += 1
            total += more
        return total

    while at < len(data):
        token = data[at]
        at += 1
        literals = length(token >> 4)
        out += data[at : at + literals]
        at += literals
        if at == len(data):
            break
        offset = data[at] | data[at + 1] << 8
        at += 2
        for _ in range(length(token & 15) + 4):
            out.append(out[-offset])
    return bytes(out)


def _heatshrink(data: bytes, size: int, window: int, lookahead: int) -> bytes:
    """heatshrink's stream: a tag bit, then a literal of 8 bits, or how far back and how much."""
    bits = int.from_bytes(data, "big")
    left = 8 * len(data)

    def take(count: int) -> int:
        nonlocal left
        left -= count
        return bits >> left & ((1 << count) - 1)

    out = bytearray()
    while len(out) < size:
        if take(1):
            out.append(take(8))
            continue
        back, count = take(window) + 1, take(lookahead) + 1
        for _ in range(count):
            out.append(out[-back] if back <= len(out) else 0)
    return bytes(out)
