"""The emitted example program, built for this machine, against the host's decoder."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# The codec's profiles (tests are no package).
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "codec"))

from codec_profiles import neighbour_profile
from tree_profiles import PROFILES

from isthmus import Decoder
from isthmus.codec.reference import encode_frame
from isthmus.conceal_slices import cut_frame
from isthmus.profile import Profile
from isthmus_gen.emit import TreeInput, make_environment, render_tree


def _build(tree: Path, run: Any, cc: str, out: Path) -> Path:
    example = tree / "examples" / "frames"
    sources = [*sorted((tree / "src").glob("*.c")), example / "main.c", example / "port_stdio.c"]
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined,address"]
    run([cc, *flags, f"-I{tree / 'src'}", f"-I{example}", *sources, "-o", out / "frames"])
    return out / "frames"


def _frames(program: Path, given: bytes, slices: int) -> list[bytes]:
    """The program's length-prefixed slices, put together to frames."""
    done = subprocess.run([program], input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    parts, at = [], 0
    while at < len(done.stdout):
        (size,) = struct.unpack_from("<I", done.stdout, at)
        parts.append(done.stdout[at + 4 : at + 4 + size])
        assert len(parts[-1]) == size
        at += 4 + size
    assert len(parts) % slices == 0
    return [b"".join(parts[i : i + slices]) for i in range(0, len(parts), slices)]


def test_digits_from_input_to_features(
    digits_bundle: Any, run: Any, require_tool: Any, tmp_path: Path
) -> None:
    program = _build(digits_bundle.firmware, run, require_tool("gcc"), tmp_path)
    vectors = digits_bundle.path / "vectors"
    inputs = [(vectors / f"{number}_input.bin").read_bytes() for number in range(2)]
    frames = _frames(program, b"".join(inputs), digits_bundle.profile.slices)
    decoder = Decoder(digits_bundle)
    for number, frame in enumerate(frames):
        assert frame == (vectors / f"{number}_rung0_frame.bin").read_bytes()
        decoded = decoder.decode(frame)
        assert decoded.sequence == number
        levels = (vectors / f"{number}_rung0_levels.bin").read_bytes()
        assert decoded.levels.tobytes() == levels
    assert len(frames) == 2


def _tensors(profile: Profile) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    size = (3, *profile.tensor.shape)
    if profile.tensor.dtype == "float32":
        return rng.normal(1.5, 2.0, size).astype(np.float32)
    info = np.iinfo(profile.tensor.dtype)
    return rng.integers(info.min, info.max, size, endpoint=True, dtype=profile.tensor.dtype)


@pytest.mark.parametrize("name", PROFILES)
def test_a_tree_without_front_takes_tensors(
    name: str, tree: Any, run: Any, require_tool: Any, tmp_path: Path
) -> None:
    profile = PROFILES[name]
    program = _build(tree(name), run, require_tool("gcc"), tmp_path)
    tensors = _tensors(profile)
    frames = _frames(program, tensors.tobytes(), profile.slices)
    assert frames == [encode_frame(profile, 0, i, tensor) for i, tensor in enumerate(tensors)]
    decoder = Decoder(profile)
    for tensor, frame in zip(tensors, frames, strict=True):
        assert np.array_equal(decoder.decode(frame).levels, decoder.levels(tensor))


def test_packets_are_sent_one_by_one(run: Any, require_tool: Any, tmp_path: Path) -> None:
    profile = neighbour_profile((4, 3), (6, 16), unit=4, packet_bytes=40)
    files = render_tree(TreeInput(profile, "host", "packets"), make_environment())
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    program = _build(tmp_path, run, require_tool("gcc"), tmp_path)
    tensors = _tensors(profile)
    wanted = [encode_frame(profile, 0, i, tensor) for i, tensor in enumerate(tensors)]
    packets = [packet for frame in wanted for packet in cut_frame(frame)]
    assert len(packets) > len(wanted)
    assert _frames(program, tensors.tobytes(), 1) == packets


PORT_C = """
#include <string.h>
#include "isth_port.h"
static uint32_t now;
static int frames_left = 2;
static int in_link;
int isth_port_init(void) { return 0; }
size_t isth_port_receive(void *data, size_t size) {
    in_link = 1;
    memset(data, 1, size);
    return frames_left-- > 0 ? size : 0u;
}
int isth_port_send(const void *data, size_t size) {
    (void)data;
    in_link = 1;
    return size > 0u ? 0 : -1;
}
uint32_t isth_port_ticks(void) {
    now += in_link ? 1000u : 3u;
    in_link = 0;
    return now;
}
"""


def test_ticks_count_the_work_and_not_the_link(
    tree: Any, run: Any, require_tool: Any, tmp_path: Path
) -> None:
    """Reading the clock costs 3 ticks, link and sensor 1000: two slices make 6."""
    root = tree("int8_sliced")
    main = (root / "examples/frames/main.c").read_text()
    wanted = "if (send_frame(values, sequence) != 0)"
    assert wanted in main
    probe = f"{wanted[:-1]} || encode_ticks != 3u * ISTH_SLICES)"
    (tmp_path / "main.c").write_text(main.replace(wanted, probe))
    (tmp_path / "port.c").write_text(PORT_C)
    sources = [*sorted((root / "src").glob("*.c")), tmp_path / "main.c", tmp_path / "port.c"]
    include = [f"-I{root / 'src'}", f"-I{root / 'examples/frames'}"]
    run([require_tool("gcc"), "-std=c99", *include, *sources, "-o", tmp_path / "program"])
    run([tmp_path / "program"])


def test_half_an_input_is_no_frame(
    digits_bundle: Any, run: Any, require_tool: Any, tmp_path: Path
) -> None:
    program = _build(digits_bundle.firmware, run, require_tool("gcc"), tmp_path)
    whole = (digits_bundle.path / "vectors" / "0_input.bin").read_bytes()
    assert _frames(program, whole[:-1], digits_bundle.profile.slices) == []
