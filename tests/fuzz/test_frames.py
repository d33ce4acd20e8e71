"""The short form of the frame fuzzer, and hypothesis on raw bytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent))

import frames
from codec_backends import build_executable, sanitised_flags
from codec_cases import CaseFile

from isthmus.native import NativeCodec
from isthmus.native.build import runtime_dir

ROOT = Path(__file__).resolve().parents[2]
settings.register_profile("fuzz", deadline=None, derandomize=True, database=None)
FUZZ = settings.get_profile("fuzz")
CODECS = [NativeCodec(profile) for profile in frames.FUZZ_PROFILES]


@pytest.mark.parametrize("part", range(4))
def test_damaged_frames(part: int) -> None:
    """Every check that a frame can fail is reached, by frames that are damaged at random."""
    answers = frames.run(part * 2500, 2500)
    assert answers.total() == 2500
    assert {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13} - set(answers) <= {5, 12}


@settings(FUZZ, max_examples=400)
@given(st.integers(0, len(CODECS) - 1), st.binary(max_size=60))
@example(0, b"\x10" + bytes(11))
def test_any_bytes(number: int, data: bytes) -> None:
    frames.judge(frames.FUZZ_PROFILES[number], CODECS[number], data)


@settings(FUZZ, max_examples=600)
@given(st.integers(0, len(CODECS) - 1), st.integers(0, 7), st.binary(max_size=40))
@example(0, 0, b"\xff\xff\xff\xff")
@example(0, 0, b"\xff\xff\xff\xfe")
@example(2, 0, b"\xff\xff\xff\xfe\xff\xff")
def test_any_payload(number: int, rung: int, payload: bytes) -> None:
    """Any bytes as payload behind a right header; what decodes is canonical."""
    profile = frames.FUZZ_PROFILES[number]
    data = bytearray(14 if profile.slices > 1 else 12) + payload
    data[1] = rung << 5
    frames.repair(profile, data)
    frames.judge(profile, CODECS[number], bytes(data))


def test_damaged_frames_under_the_sanitiser(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """The C decoder on damaged frames, each in a heap block of its own size."""
    sources = [
        ROOT / "tests" / "codec" / "case_driver.c",
        *sorted(runtime_dir().glob("*.c")),
    ]
    program = build_executable(
        sources, runtime_dir(), tmp_path / "driver", sanitised_flags(), [require_tool("gcc")]
    )
    found: list[list[bytes]] = [[] for _ in frames.FUZZ_PROFILES]
    for seed in range(20_000, 23_000):
        number, frame = frames.make_case(seed)
        found[number].append(frame)
    file = CaseFile()
    for profile, damaged in zip(frames.FUZZ_PROFILES, found, strict=True):
        file.profile(profile)
        for frame in damaged:
            file.decode(profile, frame)
    run = subprocess.run([program], input=bytes(file.cases), capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode(errors="replace")[-3000:]
    assert run.stdout == bytes(file.answers)


def test_a_disagreement_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge itself: a decoder that answers something else does not pass."""
    profile, codec = frames.FUZZ_PROFILES[0], CODECS[0]
    good = frames.encode_levels(profile, 0, 0, frames.np.zeros(40, frames.np.uint8))
    assert frames.judge(profile, codec, good) == 0
    monkeypatch.setattr(frames, "decode_frame", lambda _p, _f: CODECS[0].decode(good))
    with pytest.raises(frames.FuzzFailureError, match="reference 0, C 9"):
        frames.judge(profile, codec, good + b"\0")
    with pytest.raises(frames.FuzzFailureError, match="reference 0, C 1"):
        frames.judge(profile, codec, good[:-1])


def test_the_long_form_runs() -> None:
    program = Path(__file__).with_name("frames.py")
    run = subprocess.run(
        [sys.executable, str(program), "--cases", "50", "--seed", "9"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("50 cases, no disagreement; answers 0: ")
