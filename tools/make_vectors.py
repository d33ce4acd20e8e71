"""Writes tests/vectors: what every implementation of the bitstream must reproduce.

    python tools/make_vectors.py            writes the files of v1_1, v1_3 and seal
    python tools/make_vectors.py --check    compares all with what it would write

Those of v1 (format 1.0) never change: they are compared only, and a difference is an error.

A case is a folder: ``profile.json``, ``tensor.bin`` (little-endian) and for every rung the levels,
the frame and, in ``vector.json``, the coder's final state of each slice. ``errors/errors.json``
lists bad frames with the number that a decoder must answer. The expected values come from the
reference; a test has them confirmed by a codec that shares nothing with it. ``seal`` holds keys,
sealed units and bad ones, all as hexadecimal digits.
"""

from __future__ import annotations

import argparse
import dataclasses
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

from codec_bad_frames import BadFrame, bad_frames  # noqa: E402
from codec_bad_near import bad_near  # noqa: E402
from codec_bad_packets import bad_packets  # noqa: E402
from codec_near_profiles import near_profile  # noqa: E402
from codec_profiles import (  # noqa: E402
    hostile_levels,
    make_profile,
    neighbour_profile,
    tensor_of,
    with_packets,
)
from independent_codec import IndependentCodec  # noqa: E402

from isthmus.codec.quantise import levels_of  # noqa: E402
from isthmus.codec.reference import encode_levels  # noqa: E402
from isthmus.codec.start import initial_contexts  # noqa: E402
from isthmus.profile import Profile  # noqa: E402
from isthmus.seal import TAG_BYTES, seal  # noqa: E402
from isthmus.server.keys import device_key  # noqa: E402
from isthmus_gen.vectors import final_states  # noqa: E402

FOLDER = ROOT / "tests" / "vectors"
FIXED = "v1/"


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


def smooth(seed: int, shape: tuple[int, ...], levels: int) -> npt.NDArray[np.int64]:
    """Levels that stay near those above them and to their left, as features do."""
    rows = shape[0] if len(shape) > 1 else 1
    channels = shape[-1] if len(shape) > 2 else 1
    drawn = noise(seed, int(np.prod(shape))).reshape(rows, -1)
    out = np.zeros(drawn.shape, dtype=np.int64)
    for (row, column), number in np.ndenumerate(drawn):
        near = [out[row - 1, column]] if row else []
        near += [out[row, column - channels]] if column >= channels else []
        base = sum(int(value) for value in near) // len(near) if near else int(number) % levels
        out[row, column] = base + (number > 60000) - (number < 16000)
        out[row, column] = min(max(int(out[row, column]), 0), levels - 1)
    return out


def newer_cases() -> Iterator[tuple[str, Profile, npt.NDArray[Any]]]:
    """(name, profile, tensor) of what format 1.1 adds."""
    for levels, shape in ((2, (7, 6, 8)), (4, (8, 8, 4)), (8, (6, 5, 8)), (20, (5, 6, 6)),
                          (256, (5, 4, 6))):  # fmt: skip
        profile = neighbour_profile(levels, shape, seed=levels, step=shape[-1], channels=shape[-1])
        yield f"n{levels}", profile, tensor_of(profile, smooth(levels, shape, levels))
    for rank, shape in enumerate([(60,), (9, 7), (3, 4, 5), (2, 3, 4, 5)], start=1):
        profile = neighbour_profile(
            5, shape, seed=rank, dtype=("int8", "int16", "float32")[rank % 3]
        )
        yield f"rank{rank}", profile, tensor_of(profile, smooth(rank, shape, 5))
    shape = (7, 4, 6)
    profile = neighbour_profile((16, 8, 4), shape, slice_rows=3, rate=(5, 6, 7), seed=1)
    yield "sliced", profile, tensor_of(profile, smooth(9, shape, 16))
    for name, states in (("states_low", "low"), ("states_high", "high")):
        profile = neighbour_profile(6, (5, 4, 6), states=states, seed=2)
        yield name, profile, tensor_of(profile, smooth(3, (5, 4, 6), 6))
    yield "empty", neighbour_profile(4, (0,), seed=3), np.zeros(0, np.int8)
    yield "all_minimum", neighbour_profile(4, (9, 40), seed=4), np.full((9, 40), -128, np.int8)
    dear = {"channels": 48, "clusters": 48, "classes": 1, "states": "extreme"}
    profile = neighbour_profile(8, (5, 4, 48), slice_rows=3, seed=5, **dear)
    yield "flat_slice", profile, tensor_of(profile, hostile_levels(profile))
    profile = neighbour_profile(4, (6, 48), unit=48, seed=3, **dear)
    yield "flat_packet", profile, tensor_of(profile, hostile_levels(profile))
    for name, levels, unit, size in (("packets", (8, 4), 6, 44), ("packets_units", (2,), 1, 40),
                                     ("packets_n20", (20,), 12, 60)):  # fmt: skip
        profile = neighbour_profile(levels, (12, 6, 6), unit=unit, packet_bytes=size, seed=6)
        yield name, profile, tensor_of(profile, smooth(6, (12, 6, 6), levels[0]))
    profile = with_packets(make_profile((4, 17), (6, 5, 8)), 8)
    yield "packets_paper", profile, tensor_of(profile, skewed(7, 240, 17))
    profile = neighbour_profile((16, 4, 2), (6, 5, 6), states="even", unit=6, packet_bytes=44)
    table = ((90, (4096, 2600, 1700)), (60, (7000, 4096, 2700)), (0, (11000, 6500, 4096)))
    rungs = [
        dataclasses.replace(rung, budget_start=start, size_ratios=ratios)
        for rung, (start, ratios) in zip(profile.rungs, table, strict=True)
    ]
    profile = dataclasses.replace(profile, rungs=tuple(rungs))
    yield "budgets", profile, tensor_of(profile, smooth(8, (6, 5, 6), 16))


def near_cases() -> Iterator[tuple[str, Profile, npt.NDArray[Any]]]:
    """(name, profile, tensor) of what format 1.3 adds."""
    for bound in (0, 2):
        profile = near_profile(bound, (6, 5, 4), zero=60, seed=bound, channels=4)
        levels = profile.rungs[0].levels
        yield f"bound{bound}", profile, tensor_of(profile, smooth(bound, (6, 5, 4), levels))
    for rank, shape in enumerate([(60,), (9, 7), (3, 4, 5), (2, 3, 4, 5)], start=1):
        dtype = ("int8", "int16", "float32")[rank % 3]
        profile = near_profile(4, shape, seed=rank, dtype=dtype)
        yield f"rank{rank}", profile, tensor_of(profile, smooth(rank, shape, 29))
    shape = (7, 4, 6)
    profile = near_profile((1, 9, 40), shape, slice_rows=3, seed=2, kind="steep", own=20)
    yield "sliced", profile, tensor_of(profile, smooth(9, shape, 86))
    profile = near_profile(2, (5, 12), kind="escape", own=3, seed=3)
    yield "escapes", profile, tensor_of(profile, noise(3, 60) * 52 >> 16)
    yield "empty", near_profile(1, (4, 0, 3), slice_rows=1, seed=4), np.zeros((4, 0, 3), np.int8)
    one = {"channels": 1, "cells": 1, "distributions": 1, "own": 255}
    profile = near_profile(0, (9, 40), seed=5, kind="spike", **one)
    trained = profile.rungs[0].trained
    assert trained is not None
    usual = trained.symbols.index(trained.frequencies[0].index(max(trained.frequencies[0])))
    yield "expected", profile, tensor_of(profile, np.full(360, usual))
    profile = near_profile(2, (5, 4, 48), slice_rows=3, kind="spike", channels=48, seed=6)
    yield "flat_slice", profile, tensor_of(profile, hostile_levels(profile))
    profile = near_profile(4, (6, 48), unit=48, kind="spike", channels=48, seed=7)
    yield "flat_packet", profile, tensor_of(profile, hostile_levels(profile))
    for name, unit, size in (("packets", 6, 60), ("packets_units", 1, 40)):
        profile = near_profile((0, 2), (8, 6, 6), unit=unit, packet_bytes=size, seed=8)
        yield name, profile, tensor_of(profile, smooth(6, (8, 6, 6), 256))
    most = {"classes": 16, "cells": 32, "channels": 48, "distributions": 255, "own": 12}
    profile = near_profile(0, (6, 48), seed=9, **most)
    yield "largest", profile, tensor_of(profile, noise(9, 288) * 256 >> 16)
    for dtype in ("int16", "float32"):
        profile = near_profile(1, (5, 4, 3), dtype=dtype, grids=True, seed=10)
        yield f"grids_{dtype}", profile, tensor_of(profile, smooth(10, (5, 4, 3), 86))


def render_budgets(profile: Profile, tensor: npt.NDArray[Any]) -> bytes:
    """For budgets around each frame's size: the rung chosen, and whether its frame fits."""
    codec = IndependentCodec(profile.canonical())
    sizes = [len(codec.encode(index, 0, tensor)) for index in range(len(profile.rungs))]
    listing = []
    for budget in sorted({0, 20} | {size + by for size in sizes for by in (-1, 0, 1, 8)}):
        rung, frame = codec.encode_budget(budget, 0, tensor)
        listing.append({"budget": budget, "rung": rung, "fits": frame is not None})
    return to_json(listing)


def render_case(name: str, profile: Profile, tensor: npt.NDArray[Any]) -> dict[str, bytes]:
    """The files of one case, by their path below the folder."""
    little = tensor.astype(tensor.dtype.newbyteorder("<"))
    files = {f"{name}/profile.json": profile.canonical(), f"{name}/tensor.bin": little.tobytes()}
    rungs = []
    for index, rung in enumerate(profile.rungs):
        sequence = (len(name.split("/")[1]) * 4099 + index) & 0xFFFF
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
        files.update(render_case(f"v1/{name}", profile, tensor))
    for name, profile, tensor in newer_cases():
        files.update(render_case(f"v1_1/{name}", profile, tensor))
        if name == "budgets":
            files["v1_1/budgets/budgets.json"] = render_budgets(profile, tensor)
    for name, profile, tensor in near_cases():
        files.update(render_case(f"v1_3/{name}", profile, tensor))
    for folder, bad in (("v1", bad_frames()), ("v1_1", bad_packets()), ("v1_3", bad_near())):
        files.update(render_errors(f"{folder}/errors", bad))
    return {**files, **render_seals()}


def render_seals() -> dict[str, bytes]:
    """Device keys, sealed units, and sealed units that a receiver must refuse (code 99)."""
    secret = bytes(range(1, 33))
    keys = {device: device_key(secret, device) for device in (0, 7, 0x01020304, 0xFFFFFFFF)}
    listed = [
        {"secret": secret.hex(), "device": device, "key": key.hex()} for device, key in keys.items()
    ]
    sealed = []
    for index, tag_bytes in enumerate(TAG_BYTES):
        for size in (1, 43, 44, 51, 52, 244):  # around the ends of HMAC's blocks
            device = list(keys)[(index + size) % len(keys)]
            counter = (size * 0x0123456789AB + index) & 0xFFFFFFFFFFFF
            unit = (noise(size + index, size) & 255).astype(np.uint8).tobytes()
            made = seal(keys[device], device, counter, unit, tag_bytes)
            fields = {"device": device, "counter": counter, "tag_bytes": tag_bytes}
            hexed = {"key": keys[device].hex(), "unit": unit.hex(), "sealed": made.hex()}
            sealed.append({**fields, **hexed})
    good = seal(keys[7], 7, 9, b"a unit of some bytes", 8)
    unsigned = seal(keys[7], 7, 9, b"a unit of some bytes", 0)
    bad = [
        {"why": why, "key": keys[7].hex(), "sealed": data.hex(), "code": 99}
        for why, data in (
            ("no bytes", b""), ("a bare unit", b"\x10" + good[1:]),
            ("version 2", b"\x28" + good[1:]), ("another reserved bit", b"\x1a" + good[1:]),
            ("bit 0", b"\x19" + good[1:]), ("header cut short", good[:11]),
            ("a tag of 9 bytes", good[:1] + b"\x09" + good[2:]),
            ("no unit", seal(keys[7], 7, 9, b"u", 8)[:20]), ("no unit and no tag", unsigned[:12]),
            ("not signed", unsigned), ("a byte less", good[:-1]), ("a byte more", good + b"\0"),
            ("the tag changed", good[:-1] + bytes((good[-1] ^ 1,))),
            ("the unit changed", good[:12] + b"A" + good[13:]),
            ("the counter changed", good[:6] + b"\x0a" + good[7:]),
            ("another device's key", seal(keys[0], 7, 9, b"a unit of some bytes", 8)),
            ("another tag's length", good[:1] + b"\x0c" + good[2:]),
        )
    ]  # fmt: skip
    return {
        "seal/keys.json": to_json(listed),
        "seal/seals.json": to_json(sealed),
        "seal/errors.json": to_json(bad),
    }


def render_errors(folder: str, cases: list[BadFrame]) -> dict[str, bytes]:
    """The bad frames of one format."""
    files = {}
    listing = []
    for bad in cases:
        files[f"{folder}/{bad.profile_name}.profile.json"] = bad.profile.canonical()
        files[f"{folder}/{bad.name}.bin"] = bad.frame
        listing.append(
            {"frame": bad.name, "profile": bad.profile_name, "code": bad.code, "why": bad.why}
        )
    files[f"{folder}/errors.json"] = to_json(listing)
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
    parser = argparse.ArgumentParser(description="write or check tests/vectors")
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    files = render()
    changed = differences(files)
    for name in changed:
        print(name)
        file = FOLDER / name
        if options.check or name.startswith(FIXED):
            continue
        if name in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(files[name])
        else:
            file.unlink()
    wrong = [name for name in changed if options.check or name.startswith(FIXED)]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
