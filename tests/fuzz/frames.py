"""Frames damaged at random: every decoder must give the same answer, and never a wrong one.

    python tests/fuzz/frames.py --cases 1000000 [--seed 1] [--seconds 600]

runs for as long as asked; the tests run a few thousand cases of the same. Each case takes a good
frame of one of several profiles, damages it, and often puts length and checksum right again, so
that the payload's own checks are reached. Then

- the reference and C agree: the same levels, or the same error number;
- what decodes encodes to the very same bytes, so nothing is decoded silently to something else.

A case that fails is named by its seed; put its frame into tests/codec/codec_bad_frames.py.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
for source in ("host", "generator", "tests/codec", "tests/fuzz"):
    if str(ROOT / source) not in sys.path:
        sys.path.insert(0, str(ROOT / source))

from codec_profiles import make_profile  # noqa: E402
from fuzz_profiles import neighbour, unlikely  # noqa: E402

from isthmus.codec import decode_frame, encode_levels  # noqa: E402
from isthmus.codec.frame import checksum  # noqa: E402
from isthmus.errors import FrameError  # noqa: E402
from isthmus.native import NativeCodec  # noqa: E402
from isthmus.profile import Profile  # noqa: E402

FUZZ_PROFILES = (
    make_profile(2, (40,)),
    make_profile((3, 4), (6, 7), slice_rows=2),
    make_profile((17, 200, 16), (5, 4, 2), rate=7),
    make_profile(5, (0,)),
    make_profile(9, (3, 1), slice_rows=1, rate=6),
    neighbour(make_profile((4, 17), (4, 4, 3), slice_rows=3), 3, (0, 1, 0), 4),
    unlikely(neighbour(make_profile(16, (5, 4, 2), rate=7), 2, (0, 1), 5)),
)


class FuzzFailureError(AssertionError):
    """Two implementations disagree, or a damaged frame was decoded to something else."""


def start_frame(rng: random.Random, profile: Profile) -> bytes:
    """A good frame of random levels, often skewed."""
    rung = rng.randrange(len(profile.rungs))
    top = rng.randrange(profile.rungs[rung].levels)
    levels = [rng.randint(0, top) for _ in range(profile.tensor.elements)]
    return encode_levels(profile, rung, rng.randrange(65536), np.array(levels, dtype=np.uint8))


def damage(rng: random.Random, data: bytearray) -> None:
    """One change: a bit, a byte, a cut, an insertion, a copy, noise."""
    kind = rng.randrange(7)
    at = rng.randrange(len(data) + 1)
    if kind == 0 and data:
        data[at % len(data)] ^= 1 << rng.randrange(8)
    elif kind == 1 and data:
        data[at % len(data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        data[at:at] = rng.randbytes(rng.randint(1, 4))
    elif kind == 4:
        del data[at : at + rng.randint(1, 16)]
    elif kind == 5:
        data[at:at] = data[at : at + rng.randint(1, 30)]
    else:
        data.extend(rng.choice((b"\0", b"\xff", rng.randbytes(3))))


def repair(profile: Profile, data: bytearray) -> None:
    """Makes the first slice's header right for all the bytes there are."""
    header = 14 if profile.slices > 1 else 12
    if len(data) < header:
        return
    size = min(len(data) - header, (1 << 21) - 1)
    data[0] = 16 + (profile.slices > 1)
    data[1] = (data[1] >> 5) % len(profile.rungs) << 5 | size >> 16
    data[2:4] = (size & 0xFFFF).to_bytes(2, "little")
    data[4:6] = profile.digest[:2]
    if profile.slices > 1:
        data[12] %= profile.slices
        data[13] = profile.slices - 1
    end = header + size
    crc = checksum(profile.digest, bytes(data[:8]), bytes(data[12:end]))
    data[8:12] = crc.to_bytes(4, "little")


def make_case(seed: int) -> tuple[int, bytes]:
    """(profile number, frame) of a case."""
    rng = random.Random(seed)
    number = rng.randrange(len(FUZZ_PROFILES))
    profile = FUZZ_PROFILES[number]
    data = bytearray(start_frame(rng, profile))
    if rng.random() < 0.05:
        data = bytearray(rng.randbytes(rng.randrange(60)))
    for _ in range(rng.randrange(4)):
        damage(rng, data)
    if rng.random() < 0.6:
        repair(profile, data)
    return number, bytes(data)


def judge(profile: Profile, codec: NativeCodec, frame: bytes) -> int:
    """The number both decoders answer (0: decoded); FuzzFailureError where something is wrong."""
    try:
        reference = decode_frame(profile, frame)
        code = 0
    except FrameError as error:
        code = error.code
    try:
        native = codec.decode(frame)
        native_code = 0
    except FrameError as error:
        native_code = error.code
    if code != native_code:
        raise FuzzFailureError(f"reference {code}, C {native_code}: {frame.hex()}")
    if code == 0:
        again = encode_levels(profile, reference.rung, reference.sequence, reference.levels)
        if again != frame or not np.array_equal(native.levels, reference.levels):
            raise FuzzFailureError(f"decoded to something else: {frame.hex()}")
    return code


def run(first: int, cases: int, seconds: float = float("inf")) -> Counter[int]:
    """Runs cases ``first``, ``first + 1``, ...; how often each number was the answer."""
    codecs = [NativeCodec(profile) for profile in FUZZ_PROFILES]
    answers: Counter[int] = Counter()
    end = time.monotonic() + seconds
    for seed in range(first, first + cases):
        number, frame = make_case(seed)
        try:
            answers[judge(FUZZ_PROFILES[number], codecs[number], frame)] += 1
        except Exception as error:
            error.add_note(f"seed {seed}, profile {number}")
            raise
        if time.monotonic() > end:
            break
    return answers


def main() -> int:
    """The long form."""
    parser = argparse.ArgumentParser(description="damaged frames against every decoder")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="the first case")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after these")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/fuzz.json")
    options = parser.parse_args()
    begun = time.monotonic()
    answers = run(options.seed, options.cases, options.seconds)
    if options.record:
        from fuzz_build import record, runtime_state

        spent = time.monotonic() - begun
        found = {
            **runtime_state(), "first_case": options.seed, "executions": answers.total(),
            "executions_per_second": round(answers.total() / spent), "seconds": round(spent),
            "answers": dict(sorted(answers.items())), "findings": [],
        }  # fmt: skip
        record("frames", found)
    counts = ", ".join(f"{code}: {count}" for code, count in sorted(answers.items()))
    sys.stdout.write(f"{answers.total()} cases, no disagreement; answers {counts}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
