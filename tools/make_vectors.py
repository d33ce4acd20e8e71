"""Writes tests/vectors/v1: what every implementation of the bitstream must reproduce.

    python tools/make_vectors.py            writes the files
    python tools/make_vectors.py --check    compares them with what it would write

A case is a folder: ``profile.json``, ``tensor.bin`` (little-endian) and for every rung the levels,
the frame and, in ``vector.json``, the coder's final state of each slice. ``errors/errors.json``
lists bad frames with the number that a decoder must answer. The expected values come from the
reference; a test has them confirmed by a codec that shares nothing with it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
for source in ("host", "generator", "tests/codec"):
    sys.path.insert(0, str(ROOT / source))

from codec_bad_frames import bad_frames  # noqa: E402
from codec_profiles import make_profile, tensor_of  # noqa: E402

from isthmus.codec.quantise import levels_of  # noqa: E402
from isthmus.codec.reference import encode_levels  # noqa: E402
from isthmus.codec.start import initial_contexts  # noqa: E402
from isthmus.profile import Profile  # noqa: E402
from isthmus_gen.vectors import final_states  # noqa: E402

FOLDER = ROOT / "tests" / "vectors" / "v1"


def noise(seed: int, count: int) -> npt.NDArray[np.int64]:
    """Numbers 0..65535 of a linear congruential generator: the same with every numpy."""
    state = seed
    out = []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        out.append(state >> 48)
    return np.array(out, dtype=np.int64)


def skewed(seed: int, count: int, levels: int) -> npt.NDArray[np.int64]:
    """Levels like clipped features: zero most often, each further one half as likely."""
    drawn = noise(seed, count)
    return np.minimum(sum((drawn < 65536 >> k).astype(np.int64) for k in range(1, 16)), levels - 1)


def cases() -> Iterator[tuple[str, Profile, npt.NDArray[Any]]]:
    """(name, profile, tensor) of every case."""
    for levels in (2, 3, 4, 8, 16):
        profile = make_profile(levels, (8, 8, 4))
        yield f"n{levels}", profile, tensor_of(profile, skewed(levels, 256, levels))
    for levels in (17, 100, 256):
        profile = make_profile(levels, (300,), rate=6)
        yield f"n{levels}", profile, tensor_of(profile, noise(levels, 300) * levels >> 16)
    for rate in (5, 6, 7):
        profile = make_profile(4, (40, 10), rate=rate)
        yield f"rate{rate}", profile, tensor_of(profile, skewed(rate, 400, 4))
    counts = np.bincount(skewed(1, 4096, 6), minlength=6).astype(np.int64)
    profile = make_profile(6, (10, 12), slice_rows=4, initial=initial_contexts(6, counts))
    yield "trained_start", profile, tensor_of(profile, skewed(2, 120, 6))
    profile = make_profile((2, 3, 4, 5, 6, 8, 16, 40), (6, 5, 7), slice_rows=2, rate=5)
    yield "ladder", profile, tensor_of(profile, skewed(3, 210, 40))
    profile = make_profile(4, (256, 1), slice_rows=1)
    yield "slices256", profile, tensor_of(profile, skewed(4, 256, 4))
    for rank, shape in enumerate([(1,), (1, 1), (3, 4, 5), (2, 3, 4, 5)], start=1):
        profile = make_profile(5, shape)
        yield f"rank{rank}", profile, tensor_of(profile, skewed(rank, profile.tensor.elements, 5))
    yield "empty", make_profile(4, (0,)), np.zeros(0, np.int8)
    profile = make_profile(7, (4, 0, 3), slice_rows=1)
    yield "empty_slices", profile, np.zeros((4, 0, 3), np.int8)
    for name, value in (("all_minimum", 0), ("all_maximum", 3)):
        profile = make_profile(4, (500,))
        yield name, profile, tensor_of(profile, np.full(500, value))
    profile = make_profile(4, (500,))
    yield "alternating", profile, tensor_of(profile, np.arange(500) % 2 * 3)
    profile = make_profile((4, 33), (9, 9), dtype="int16", slice_rows=5)
    yield "int16", profile, (noise(5, 81) - 32768).astype(np.int16).reshape(9, 9)
    bits = [
        0xFFFFFFFF, 0xFFC00000, 0xFF800001, 0xFF800000, 0xFF7FFFFF, 0x80000001, 0x80000000, 0,
        1, 0x3EFFFFFF, 0x3F000000, 0x3FC00000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FFFFFFF,
    ]  # fmt: skip
    special = np.array(bits, dtype=np.uint32).view(np.float32)
    profile = make_profile((3, 20), (4, 16), dtype="float32", slice_rows=3)
    usual = (noise(6, 48).astype(np.float32) / np.float32(2048.0)) - np.float32(4.0)
    yield "float32", profile, np.concatenate([special, usual]).reshape(4, 16)


def render_case(name: str, profile: Profile, tensor: npt.NDArray[Any]) -> dict[str, bytes]:
    """The files of one case, by their path below the folder."""
    little = tensor.astype(tensor.dtype.newbyteorder("<"))
    files = {f"{name}/profile.json": profile.canonical(), f"{name}/tensor.bin": little.tobytes()}
    rungs = []
    for index, rung in enumerate(profile.rungs):
        sequence = (len(name) * 4099 + index) & 0xFFFF
        levels = levels_of(profile, rung, tensor)
        files[f"{name}/rung{index}_levels.bin"] = levels.tobytes()
        files[f"{name}/rung{index}_frame.bin"] = encode_levels(profile, index, sequence, levels)
        rungs.append({"sequence": sequence, "final": final_states(profile, index, levels)})
    content = {"digest": profile.digest.hex(), "dtype": tensor.dtype.name, "rungs": rungs}
    files[f"{name}/vector.json"] = to_json(content)
    return files


def render() -> dict[str, bytes]:
    """Every file of the folder: path below it -> bytes."""
    files: dict[str, bytes] = {}
    for name, profile, tensor in cases():
        files.update(render_case(name, profile, tensor))
    listing = []
    for bad in bad_frames():
        files[f"errors/{bad.profile_name}.profile.json"] = bad.profile.canonical()
        files[f"errors/{bad.name}.bin"] = bad.frame
        listing.append(
            {"frame": bad.name, "profile": bad.profile_name, "code": bad.code, "why": bad.why}
        )
    files["errors/errors.json"] = to_json(listing)
    return files


def to_json(content: Any) -> bytes:
    """Readable JSON, the same on every machine."""
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode("ascii")


def differences(files: dict[str, bytes]) -> list[str]:
    """Paths that are missing, too many, or other than ``files`` says."""
    found = {
        path.relative_to(FOLDER).as_posix(): path.read_bytes()
        for path in FOLDER.rglob("*")
        if path.is_file()
    }
    return sorted(name for name in {*files, *found} if files.get(name) != found.get(name))


def main() -> int:
    """Writes or checks; exit code 1 where ``--check`` finds a difference."""
    parser = argparse.ArgumentParser(description="write or check tests/vectors/v1")
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    files = render()
    changed = differences(files)
    for name in changed:
        print(name)
        file = FOLDER / name
        if options.check:
            continue
        if name in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(files[name])
        else:
            file.unlink()
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
