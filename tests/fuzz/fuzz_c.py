"""The encoder and the decoder in C under libFuzzer, with the address and undefined sanitisers.

    python tests/fuzz/fuzz_c.py --runs 10000000 [--target decode] [--seed 1] [--record]

`make fuzz-c` runs it. What it learns stays in build/fuzz; with --record the result goes to
benchmarks/results/fuzz.json, and --minimise writes the fewest inputs that cover the same to
tests/fuzz/corpus, which the tests replay. A finding lies in build/fuzz/findings_*.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import fuzz_profiles  # it finds the codec's helpers
from codec_profiles import level_patterns, tensor_of
from fuzz_build import (
    CORPUS,
    SANITISERS,
    TARGETS,
    build,
    coverage,
    fuzz,
    fuzzer_command,
    minimise,
    record,
    runtime_state,
)

from isthmus.codec import encode_levels

ROOT = fuzz_profiles.ROOT
MAX_LENGTH = 700
"""Bytes of the longest input: the longest good frame of most profiles, and some more."""


def seeds(target: str) -> dict[str, bytes]:
    """Good inputs of every profile and rung: name (a digest) -> bytes."""
    made = []
    profiles = fuzz_profiles.FUZZ_C_PROFILES
    for place, profile in enumerate(profiles):
        number = 255 if profile is profiles[-1] else place  # fuzz_choose
        for rung, entry in enumerate(profile.rungs):
            for flat in level_patterns(entry.levels, profile.tensor.elements).values():
                if target == "decode":
                    frame = encode_levels(profile, rung, 77, flat.astype(np.uint8))
                    made += [bytes([number, how]) + frame for how in (0, 2)]
                else:
                    data = tensor_of(profile, flat).tobytes()
                    heads = [bytes([number, rung, 77, 0, 8, 128, 64 * k, 70]) for k in range(4)]
                    made += [head + data for head in heads]
    return {hashlib.sha256(data).hexdigest()[:16]: data for data in made}


def made_by_hand(target: str) -> dict[str, bytes]:
    """Inputs for what chance takes long to find: name in the corpus -> bytes.

    Decoder: frames that are right but for the end of their payload, or for one field, of a profile
    of each kind. Encoder: random tensors of every profile with packets, so that carries cross the
    border of a unit that does not fit.
    """
    made = {}
    for number, profile in enumerate(fuzz_profiles.FUZZ_C_PROFILES):
        rng = np.random.default_rng(number)
        elements = profile.tensor.elements
        if target == "encode" and profile.packets is not None:
            cases = [(rung, 0) for rung in range(len(profile.rungs))]
            for rung, what in (*cases, (0, 1), (0, 2), (0, 3)):
                tensor = rng.integers(0, 256, 4 * elements).astype(np.uint8).tobytes()
                head = bytes([number, rung, 1, 2, number, 128, 64 * what, 3 + what])
                data = tensor[: elements * np.dtype(profile.tensor.dtype).itemsize]
                made[f"made_{number:02d}_{rung}_{what}"] = head + data
        elif target == "decode" and number in (3, 16, 18, 26, 28, 29, 33, 35, 41):
            levels = rng.integers(0, profile.rungs[0].levels, elements).astype(np.uint8)
            good = encode_levels(profile, 0, 5, levels)
            nothing = encode_levels(profile, 0, 5, np.zeros(elements, np.uint8))
            for name, how, frame in _damaged(good, nothing):
                made[f"made_{number:02d}_{name}"] = bytes([number, how]) + frame
    return made


def _damaged(good: bytes, nothing: bytes) -> list[tuple[str, int, bytes]]:
    """(name, repair, frame): the last part's payload or a field changed, the checksum right.

    ``nothing`` is the frame of level 0 everywhere, whose payloads are empty: a byte more, or units
    more, would decode.
    """
    return [
        ("more", 2, good[:-1] + bytes([(good[-1] + 1) & 255])),
        ("less", 2, good[:-1] + bytes([(good[-1] - 1) & 255])),
        ("zero", 2, nothing + b"\0"),
        ("one", 2, good + b"\1"),
        ("short", 2, good[:-1]),
        ("profile", 0, bytes([*good[:4], good[4] ^ 1, *good[5:]])),
        ("units", 1, bytes([*nothing[:7], min(255, nothing[7] + 9), *nothing[8:]])),
    ]


def campaign(target: str, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One fuzzer's long run, coverage and all."""
    for stale in [*work.rglob("objects_*")]:
        shutil.rmtree(stale)  # of profiles and headers as they were
    program = build(target, work, fuzzer_command(), main=False)
    found = work / f"corpus_{target}"
    found.mkdir(exist_ok=True)
    for name, data in seeds(target).items():
        (found / name).write_bytes(data)
    arguments = [f"-runs={options.runs}", f"-seed={options.seed}", f"-max_len={MAX_LENGTH}"]
    arguments += ["-timeout=5", "-reduce_inputs=1"]
    if options.seconds:
        arguments.append(f"-max_total_time={options.seconds}")
    begun = time.monotonic()
    result = fuzz(program, arguments, [found, *_committed(target)])
    result = {
        **runtime_state(),
        "sanitisers": SANITISERS,
        "arguments": " ".join(arguments),
        **result,
        "seconds": round(time.monotonic() - begun),
    }
    if options.minimise and not result["findings"]:
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for file in (CORPUS / target).glob("made_*"):
            file.unlink()
        for name, data in made_by_hand(target).items():
            (CORPUS / target / name).write_bytes(data)
        result["corpus"] = minimise(program, CORPUS / target, found)
    result["coverage"] = coverage(target, work, sorted(found.iterdir()))
    return result


def _committed(target: str) -> list[Path]:
    return [folder for folder in (CORPUS / target,) if folder.is_dir()]


def main() -> int:
    """The long run; 1 where anything was found."""
    parser = argparse.ArgumentParser(description="libFuzzer on the C runtime")
    parser.add_argument("--target", choices=TARGETS, action="append", help="default: both")
    parser.add_argument("--runs", type=int, default=1_000_000, help="executions of each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=0, help="stop each after these")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/fuzz.json")
    parser.add_argument("--minimise", action="store_true", help="write tests/fuzz/corpus anew")
    options = parser.parse_args()
    work = ROOT / "build" / "fuzz"
    work.mkdir(parents=True, exist_ok=True)
    failed = False
    for target in options.target or TARGETS:
        result = campaign(target, work, options)
        sys.stdout.write(json.dumps({target: result}, indent=1) + "\n")
        failed |= bool(result["findings"]) or result["exit_status"] != 0
        if options.record:
            record(target, result)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
