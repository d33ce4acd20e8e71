"""The C runtime as C: clean under strict warnings, and no undefined behaviour on any case."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from codec_backends import build_executable, sanitised_flags, write_tree
from codec_bad_frames import bad_frames, error_profiles
from codec_bad_near import bad_near, near_error_profiles
from codec_bad_packets import bad_packets, packet_profiles
from codec_cases import CaseFile, words
from codec_near_profiles import near_profile
from codec_profiles import (
    hostile_levels,
    level_patterns,
    make_profile,
    neighbour_profile,
    tensor_of,
    with_packets,
)

from isthmus.codec import encode_frame
from isthmus.native.build import runtime_dir
from isthmus.profile import Profile

HERE = Path(__file__).resolve().parent
RUNTIME = runtime_dir()
SOURCES = sorted(RUNTIME.glob("*.c"))
STRICT = [
    "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wsign-conversion",
    "-Wundef", "-Wstrict-prototypes", "-Wcast-qual", "-Werror",
]  # fmt: skip
ZIG = [sys.executable, "-m", "ziglang", "cc"]


def build_driver(work: Path, name: str, flags: tuple[str, ...], compiler: list[str]) -> Path:
    """case_driver.c with the whole runtime."""
    sources = [HERE / "case_driver.c", *SOURCES]
    return build_executable(sources, RUNTIME, work / name, flags, compiler)


@pytest.fixture(scope="module")
def cases() -> CaseFile:
    """Tensors of many profiles, whole and in pieces, their frames, and every bad frame."""
    file = CaseFile()
    for levels, shape, rows, rate in (
        (2, (40,), None, 5), (3, (7, 9), 2, 6), (4, (8, 8, 4), None, 5), (16, (50,), None, 7),
        (17, (5, 10), 3, 5), (256, (4, 4, 4, 4), 1, 6), (5, (0,), None, 5), (9, (3, 0), 1, 7),
    ):  # fmt: skip
        for dtype in ("int8", "int16", "float32"):
            profile = make_profile(levels, shape, slice_rows=rows, rate=rate, dtype=dtype)
            file.profile(profile)
            for flat in level_patterns(levels, profile.tensor.elements).values():
                tensor = tensor_of(profile, flat)
                frame = file.encode(profile, 0, 999, tensor)
                file.encode(profile, 0, 999, flat)
                file.decode(profile, frame)
                if dtype == "int8":
                    for piece in (1, 3, 64):
                        file.encode(profile, 0, 65535, tensor, piece)
    for profile in newer_profiles():
        file.profile(profile)
        patterns = level_patterns(profile.rungs[0].levels, profile.tensor.elements)
        patterns["hostile"] = hostile_levels(profile)
        for flat in patterns.values():
            tensor = tensor_of(profile, flat)
            file.decode(profile, file.encode(profile, 0, 999, tensor))
            file.encode(profile, 0, 999, flat)
            if tensor.dtype == np.int8:
                for piece in (1, 7, 64):
                    file.encode(profile, 0, 65535, tensor, piece)
    bad_ones = (*bad_frames(), *bad_packets(), *bad_near())
    for name, profile in (error_profiles() | packet_profiles() | near_error_profiles()).items():
        file.profile(profile)
        for bad in bad_ones:
            if bad.profile_name == name:
                file.decode(profile, bad.frame)
    profile = make_profile(17, (6, 5), slice_rows=2)
    file.profile(profile)
    frame = encode_frame(profile, 0, 1, tensor_of(profile, level_patterns(17, 30)["random"]))
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        file.decode(profile, bytes(damaged))
    return file


def newer_profiles() -> list[Profile]:
    """The newer schemes in slices and packets, what forces flat coding, every dtype."""
    dear = {"channels": 48, "clusters": 48, "classes": 1, "states": "extreme"}
    return [
        neighbour_profile(2, (40,), seed=1),
        neighbour_profile(4, (8, 8, 4), slice_rows=3, seed=2),
        neighbour_profile(4, (5, 48), seed=3, **dear),
        neighbour_profile(16, (9, 7), slice_rows=1, seed=4, dtype="int16"),
        neighbour_profile(256, (4, 2, 6), seed=5, dtype="float32"),
        neighbour_profile(17, (5, 0), seed=6),
        neighbour_profile(20, (6, 48), slice_rows=2, seed=7, **dear),
        neighbour_profile(3, (9, 40), unit=1, packet_bytes=40, seed=8),
        neighbour_profile(5, (7, 3, 8), unit=12, packet_bytes=70, dtype="int16", seed=9),
        neighbour_profile(256, (8, 12), unit=4, packet_bytes=400, seed=10, dtype="float32"),
        neighbour_profile(4, (6, 48), unit=48, seed=3, **dear),
        neighbour_profile(17, (6, 48), unit=24, seed=11, **dear),
        with_packets(make_profile(9, (6, 5, 8)), 8),
        near_profile(0, (5, 3, 7), slice_rows=2, seed=1),
        near_profile(2, (6, 48), seed=2, kind="spike", channels=48),
        near_profile(9, (7, 6), seed=3, dtype="int16", kind="escape", own=2),
        near_profile(0, (4, 3, 5), seed=4, dtype="float32", grids=True),
        near_profile(127, (50,), zero=127, seed=5),
        near_profile(1, (4, 0, 2), seed=6),
        near_profile(4, (6, 6, 3), unit=6, packet_bytes=40, seed=7),
        near_profile(4, (5, 48), unit=48, kind="spike", channels=48, seed=8),
        near_profile(1, (5, 4, 3), unit=6, dtype="int16", grids=True, seed=9),
    ]


def run_cases(program: Path, data: bytes) -> bytes:
    """The driver's answers; a sanitiser's report is the failure."""
    run = subprocess.run([str(program)], input=data, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode(errors="replace")[-3000:]
    return run.stdout


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("sanitised", sanitised_flags()),
        ("sanitised_fast", (*sanitised_flags(), "-O3")),
        ("unsigned_char", ("-O2", "-funsigned-char")),
        ("signed_char_plain", ("-O0", "-fsigned-char")),
        ("small", ("-Os", "-fno-builtin", "-fno-strict-aliasing")),
    ],
)  # fmt: skip
def test_cases_on_every_build(
    work: Path, cases: CaseFile, name: str, flags: tuple[str, ...],
    require_tool: Callable[[str], str],
) -> None:  # fmt: skip
    """Sanitised or not, char signed or not, optimised or not: the reference's bytes and numbers."""
    compiler = [require_tool("gcc")]
    program = build_driver(work, name, flags, compiler)
    assert cases.count > 1000
    assert run_cases(program, bytes(cases.cases)) == bytes(cases.answers)


def test_cases_built_by_clang(
    work: Path, cases: CaseFile, require_package: Callable[[str], None]
) -> None:
    """Another compiler, its undefined-behaviour traps on."""
    require_package("ziglang")
    flags = ("-O2", "-fsanitize=undefined", "-fsanitize-trap=undefined")
    program = build_driver(work, "clang", flags, ZIG)
    assert run_cases(program, bytes(cases.cases)) == bytes(cases.answers)


def test_cases_on_32_bits(work: Path, cases: CaseFile, require_tool: Callable[[str], str]) -> None:
    """size_t and pointers of 32 bits, plain char unsigned: ARM Linux in user-mode emulation."""
    compiler = [require_tool("arm-linux-gnueabihf-gcc")]
    program = build_driver(work, "bits32", ("-O2", "-static", "-Wall", "-Werror"), compiler)
    run = subprocess.run(
        [require_tool("qemu-arm"), str(program)],
        input=bytes(cases.cases), capture_output=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout == bytes(cases.answers)


def test_short_buffers_on_the_heap(work: Path, require_tool: Callable[[str], str]) -> None:
    """Each capacity 0..length in a block of exactly that size, under the sanitiser."""
    program = build_driver(work, "sanitised_short", sanitised_flags(), [require_tool("gcc")])
    for levels, rows in ((4, 3), (256, 12)):
        profile = make_profile(levels, (12, 4), slice_rows=rows)
        tensor = tensor_of(profile, level_patterns(levels, 48)["random"])
        frame = encode_frame(profile, 0, 0, tensor)
        check_short_buffers(program, profile, tensor, frame)
    for profile in newer_profiles():
        if profile.tensor.elements:
            tensor = tensor_of(profile, hostile_levels(profile))
            check_short_buffers(program, profile, tensor, encode_frame(profile, 0, 0, tensor))


def check_short_buffers(
    program: Path, profile: Profile, tensor: npt.NDArray[Any], frame: bytes
) -> None:
    """Every capacity below ``frame``'s length is refused, with a size that is enough."""
    file = CaseFile()
    file.profile(profile)
    for capacity in range(len(frame)):
        file.encode_short(profile, tensor, capacity)
    answers = run_cases(program, bytes(file.cases))
    assert len(answers) == 12 * len(frame)
    for capacity, (status, size, given) in enumerate(struct.iter_unpack("<3I", answers)):
        assert (status, given) == (14, 0)
        assert max(capacity + 1, len(frame)) <= size


def test_vectors_under_the_sanitiser(work: Path, require_tool: Callable[[str], str]) -> None:
    """Every vector in the repository, encoded and decoded; the answers are the files' own."""
    folder = HERE.parent / "vectors"
    program = build_driver(work, "sanitised_vectors", sanitised_flags(), [require_tool("gcc")])
    file = CaseFile()
    expected = b""
    for path in sorted(folder.glob("v1*/*/vector.json")):
        content = json.loads(path.read_bytes())
        profile = Profile.load(path.with_name("profile.json"))
        data = np.frombuffer(path.with_name("tensor.bin").read_bytes(), content["dtype"])
        file.profile(profile)
        for index, rung in enumerate(content["rungs"]):
            frame = path.with_name(f"rung{index}_frame.bin").read_bytes()
            levels = path.with_name(f"rung{index}_levels.bin").read_bytes()
            file.encode(profile, index, rung["sequence"], data.reshape(profile.tensor.shape))
            file.decode(profile, frame)
            expected += words(0, len(frame), len(frame)) + frame + words(0, len(levels)) + levels
    assert file.count > 60
    assert run_cases(program, bytes(file.cases)) == expected


def test_the_driver_notices_wrong_answers(
    work: Path, cases: CaseFile, require_tool: Callable[[str], str]
) -> None:
    """A tree with one constant changed does not pass: the cases can fail."""
    changed = work / "changed"
    changed.mkdir()
    for file in RUNTIME.iterdir():
        text = file.read_text("utf-8")
        changed.joinpath(file.name).write_text(text.replace("w->range >> 12", "w->range >> 13"))
    sources = [HERE / "case_driver.c", *sorted(changed.glob("*.c"))]
    program = build_executable(sources, changed, work / "wrong", ("-O1",), [require_tool("gcc")])
    assert run_cases(program, bytes(cases.cases)) != bytes(cases.answers)
    short = subprocess.run([str(program)], input=b"\3\1", capture_output=True, check=False)
    assert short.returncode == 2


def tree_profiles() -> dict[str, Profile]:
    """What trees are compiled for: each scheme, with and without packets and suffixes."""
    ladder = (2, 3, 16, 17, 256)
    return {
        "paper": make_profile(ladder, (6, 5), slice_rows=4),
        "paper_packets": with_packets(make_profile((4, 16), (6, 5)), 5, 60),
        "neighbour_small": neighbour_profile((2, 3, 8, 16), (6, 5), slice_rows=4),
        "neighbour_int16": neighbour_profile(ladder, (6, 5), slice_rows=4, dtype="int16"),
        "neighbour_float32": neighbour_profile(ladder, (6, 5), slice_rows=4, dtype="float32"),
        "packets_small": neighbour_profile((4, 16), (6, 5), unit=5, packet_bytes=40),
        "near": near_profile((0, 2, 60), (6, 5), slice_rows=4, seed=1),
        "near_int16": near_profile((0, 2), (6, 5), slice_rows=4, dtype="int16", grids=True),
        "near_packets_float32": near_profile((0, 9), (6, 5), unit=5, dtype="float32", seed=2),
        "packets_float32": neighbour_profile(ladder, (6, 5), unit=5, packet_bytes=80,
                                             dtype="float32"),
    }  # fmt: skip


@pytest.mark.parametrize("name", tree_profiles())
def test_an_emitted_tree_under_the_sanitiser(
    work: Path, name: str, require_tool: Callable[[str], str]
) -> None:
    """The generated sources, strict warnings and sanitisers on, over a file of tensors."""
    profile = tree_profiles()[name]
    source = write_tree(profile, work / f"sanitised_{name}")
    flags = (*sanitised_flags(), *STRICT)
    files = [HERE / "emitted_driver.c", *sorted(source.glob("*.c"))]
    program = build_executable(
        files, source, work / f"emitted_{name}", flags, [require_tool("gcc")]
    )
    patterns = level_patterns(max(rung.levels for rung in profile.rungs), 30).values()
    tensors = [tensor_of(profile, flat) for flat in patterns]
    expected = b"".join(
        encode_frame(profile, rung, sequence, tensor)
        for sequence, tensor in enumerate(tensors)
        for rung in range(len(profile.rungs))
    )
    assert run_cases(program, b"".join(tensor.tobytes() for tensor in tensors)) == expected


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("extra", ["-O2", "-O2 -funsigned-char", "-O2 -m32", "-O0 -ffreestanding"])
def test_strict_warnings(
    work: Path, compiler: str, extra: str,
    require_tool: Callable[[str], str], require_package: Callable[[str], None],
) -> None:  # fmt: skip
    """No warning of the strict set, with either compiler, for 64 and 32 bits."""
    if compiler == "gcc":
        command = [require_tool("gcc")]
    else:
        require_package("ziglang")
        command = ZIG
        extra = extra.replace("-m32", "-target x86-freestanding")
    # stdint.h of a 64-bit C library does not know -m32: the compiler's own does.
    flags = [*STRICT, *extra.replace("-m32", "-m32 -ffreestanding").split()]
    for source in SOURCES:
        target = work / f"{source.stem}_{compiler}.o"
        run = subprocess.run(
            [*command, *flags, "-c", str(source), "-o", str(target)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert run.stderr == ""


def test_strict_warnings_are_on(work: Path, require_tool: Callable[[str], str]) -> None:
    """The set above does refuse what it is there for."""
    bad = work / "bad.c"
    bad.write_text("unsigned f(int x);\nunsigned f(int x) { return x; }\n", encoding="ascii")
    run = subprocess.run(
        [require_tool("gcc"), *STRICT, "-c", str(bad), "-o", str(work / "bad.o")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "-Werror=sign-conversion" in run.stderr


def test_the_runtime_keeps_its_rules() -> None:
    """No heap, no printing, no floats on the integer line, no mutable static data."""
    text = "".join(file.read_text("utf-8") for file in RUNTIME.iterdir())
    code = "\n".join(line.split("/*")[0] for line in text.splitlines() if " * " not in line[:4])
    for word in ("malloc", "calloc", "alloca", "free(", "printf", "double", "goto", "stdio.h"):
        assert word not in code, word
    for line in code.splitlines():
        if line.startswith("static ") and "(" not in line:
            assert line.startswith("static const "), line


def test_nothing_mutable_in_the_objects(work: Path, require_tool: Callable[[str], str]) -> None:
    """The linker agrees: no data and no bss, on the host's object files."""
    gcc, size = require_tool("gcc"), require_tool("size")
    for source in SOURCES:
        target = work / f"{source.stem}_plain.o"
        subprocess.run([gcc, "-std=c99", "-O2", "-c", str(source), "-o", str(target)], check=True)
        run = subprocess.run([size, str(target)], capture_output=True, text=True, check=True)
        _, data, bss, *_ = run.stdout.splitlines()[1].split()
        assert (data, bss) == ("0", "0"), source.name
