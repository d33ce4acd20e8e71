"""The implementations of the codec behind one pair of methods, for the suites that run on all."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cffi
import numpy as np
import numpy.typing as npt
import pytest
from independent_codec import IndependentCodec

from isthmus.decoder import ReferenceCodec
from isthmus.errors import frame_error
from isthmus.native import NativeCodec
from isthmus.native.build import compile_shared, load_library
from isthmus.profile import Profile

BACKENDS = ("reference", "native", "emitted")


class Backend(Protocol):
    """What the suites need; ``decode`` gives flat levels and is None where nothing decodes."""

    name: str

    def encode(self, rung: int, sequence: int, tensor: npt.NDArray[Any]) -> bytes: ...

    def decode(self, frame: bytes) -> npt.NDArray[np.uint8] | None: ...


class HostBackend:
    """The reference or the native codec of the host package."""

    def __init__(self, name: str, codec: ReferenceCodec | NativeCodec) -> None:
        self.name = name
        self.codec = codec

    def encode(self, rung: int, sequence: int, tensor: npt.NDArray[Any]) -> bytes:
        return self.codec.encode(rung, sequence, tensor)

    def decode(self, frame: bytes) -> npt.NDArray[np.uint8]:
        return self.codec.decode(frame).levels.reshape(-1)


class EmittedBackend:
    """The C tree emitted for one profile, compiled for this machine; it encodes only."""

    name = "emitted"

    def __init__(self, profile: Profile, work: Path) -> None:
        self.profile = profile
        source = write_tree(profile, work / profile.digest.hex()[:16])
        c_files = sorted(source.glob("*.c"))
        headers = sorted(source.glob("*.h"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ISTHMUS_CACHE", str(work))
            library = compile_shared(c_files, [source], headers, flags=("-O1",))
        self.ffi = cffi.FFI()
        self.ffi.cdef(declarations(source))
        self.lib = self.ffi.dlopen(str(library))

    def encode(self, rung: int, sequence: int, tensor: npt.NDArray[Any]) -> bytes:
        ffi = self.ffi
        memory = ffi.new("isth_encoder_memory *")
        capacity = self.lib.ISTH_FRAME_BYTES_MAX
        out = ffi.new("uint8_t[]", capacity)
        length = ffi.new("size_t *")
        given = np.ascontiguousarray(tensor)
        pointer = ffi.cast("isth_element *", ffi.from_buffer(given))
        status = self.lib.isth_encode_tensor(memory, rung, sequence, pointer, out, capacity, length)
        if status != 0:
            raise frame_error(status, "emitted")
        return bytes(ffi.buffer(out, length[0]))

    def decode(self, frame: bytes) -> None:
        return None


class IndependentBackend:
    """The second opinion: written from the format's description, in exact numbers."""

    name = "independent"

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.codec = IndependentCodec(profile.canonical())

    def encode(self, rung: int, sequence: int, tensor: npt.NDArray[Any]) -> bytes:
        return self.codec.encode(rung, sequence, tensor)

    def decode(self, frame: bytes) -> npt.NDArray[np.uint8]:
        return np.array(self.codec.decode(frame).levels, dtype=np.uint8)


def encode_into(
    codec: NativeCodec, rung: int, sequence: int, tensor: npt.NDArray[Any], capacity: int
) -> tuple[int, int, bytes]:
    """(status, length, buffer) of one C call with a buffer of ``capacity`` bytes, fenced."""
    kinds = {"uint8": "levels", "int8": "i8", "int16": "i16", "float32": "f32"}
    ffi, lib = load_library()
    words = max(
        lib.isth_workspace_words(codec._profile, index) for index in range(len(codec.profile.rungs))
    )
    out = ffi.new("uint8_t[]", capacity + 8)
    ffi.memmove(out + capacity, b"\xa5" * 8, 8)
    length = ffi.new("size_t *")
    source = np.ascontiguousarray(tensor)
    status = getattr(lib, f"isth_encode_{kinds[str(tensor.dtype)]}")(
        ffi.new("isth_encoder *"), codec._profile, rung, sequence & 0xFFFF, codec._pointer(source),
        ffi.new("uint16_t[]", words), words, out, capacity, length,
    )  # fmt: skip
    assert bytes(ffi.buffer(out + capacity, 8)) == b"\xa5" * 8, "written past the buffer's end"
    return int(status), int(length[0]), bytes(ffi.buffer(out, capacity))


def write_tree(profile: Profile, path: Path) -> Path:
    """Emits the profile's C tree (no front half) below ``path``; returns its src folder."""
    from isthmus_gen.emit import TreeInput, make_environment, render_tree

    given = TreeInput(profile=profile, target="host", package="codec_test")
    for name, data in render_tree(given, make_environment()).items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path / "src"


def declarations(source: Path) -> str:
    """What cffi reads of an emitted tree: its sizes, types and functions."""
    lines = []
    for name in ("isth_status.h", "isth_codec.h", "isth.h"):
        for line in (source / name).read_text(encoding="utf-8").splitlines():
            size = re.match(r"#define (ISTH_[A-Z_]+) (\d+)u?\b", line)
            if size:
                lines.append(f"#define {size[1]} {size[2]}")
            elif not line.startswith("#") and line not in ('extern "C" {', "}"):
                lines.append(line)
    return "\n".join(lines)


def build_executable(
    sources: list[Path], include: Path, output: Path, flags: tuple[str, ...], compiler: list[str]
) -> Path:
    """Compiles ``sources`` to the executable ``output``; the compiler's words are the failure."""
    command = [*compiler, "-std=c99", *flags, f"-I{include}", *map(str, sources), "-o", str(output)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return output


def sanitised_flags() -> tuple[str, ...]:
    """Flags under which any undefined behaviour or stray access ends the program."""
    return ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def make_factory(name: str, work: Path) -> Callable[[Profile], Backend]:
    """``factory(profile)`` -> the backend called ``name``; emitted trees are built once."""
    built: dict[bytes, Backend] = {}

    def factory(profile: Profile) -> Backend:
        if profile.digest not in built:
            if name == "reference":
                built[profile.digest] = HostBackend(name, ReferenceCodec(profile))
            elif name == "native":
                built[profile.digest] = HostBackend(name, NativeCodec(profile))
            elif name == "independent":
                built[profile.digest] = IndependentBackend(profile)
            else:
                built[profile.digest] = EmittedBackend(profile, work)
        return built[profile.digest]

    return factory
