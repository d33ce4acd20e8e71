"""Bad frames: every bit counts, every cut is noticed, and errors say where."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from codec_backends import Backend
from codec_bad_frames import bad_frames, error_profiles
from codec_profiles import level_patterns, make_profile, tensor_of
from independent_codec import IndependentCodec, RefusedError

from isthmus.codec import SliceHeader
from isthmus.codec.frame import checksum
from isthmus.errors import (
    ChecksumError,
    FrameError,
    LengthError,
    LevelError,
    PayloadError,
    ProfileMismatchError,
    RungError,
    SequenceError,
    TrailingError,
    TruncatedError,
    VersionError,
    frame_error,
)
from isthmus.profile import Profile

Factory = Callable[[Profile], Backend]


@pytest.mark.parametrize("slice_rows", [None, 2])
@pytest.mark.parametrize("levels", [4, 17])
def test_every_bit_of_a_frame_counts(
    decoding_backend: Factory, levels: int, slice_rows: int | None
) -> None:
    """No single flipped bit goes unnoticed, the sequence's and the digest prefix's included."""
    profile = make_profile(levels, (5, 6), slice_rows=slice_rows)
    codec = decoding_backend(profile)
    frame = codec.encode(0, 1, tensor_of(profile, level_patterns(levels, 30)["random"]))
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameError):
            codec.decode(bytes(damaged))


@pytest.mark.parametrize("slice_rows", [None, 2])
def test_every_cut_is_noticed(decoding_backend: Factory, slice_rows: int | None) -> None:
    profile = make_profile(4, (5, 6), slice_rows=slice_rows)
    codec = decoding_backend(profile)
    frame = codec.encode(0, 1, tensor_of(profile, level_patterns(4, 30)["random"]))
    for size in range(len(frame)):
        with pytest.raises(FrameError) as caught:
            codec.decode(frame[:size])
        assert caught.value.name in ("truncated", "missing_slice")


def test_the_same_error_in_word_and_number(decoding_backend: Factory) -> None:
    """Header errors carry the same path and text from every decoder; numbers always agree."""
    for bad in bad_frames():
        codec = decoding_backend(bad.profile)
        reference = caught_from(lambda bad=bad: IndependentCodec(bad.profile.canonical()), bad)
        with pytest.raises(FrameError) as caught:
            codec.decode(bad.frame)
        assert caught.value.code == bad.code == reference, bad.name
        assert caught.value.exit_code == 3
        assert "\n" not in str(caught.value)


def caught_from(make: Callable[[], IndependentCodec], bad: Any) -> int:
    """The number that the independent decoder refuses ``bad`` with; 0 where it accepts it."""
    try:
        make().decode(bad.frame)
    except RefusedError as error:
        return error.code
    return 0


TEXTS = {
    "whole_empty": (TruncatedError, "frame.header: is empty; allowed: >= 12 bytes"),
    "whole_header7": (TruncatedError, "frame.header: has 7 bytes; allowed: >= 12 bytes"),
    "whole_version2": (
        VersionError,
        "frame.header.version: is 2; allowed: 1; "
        "decode with the version of Isthmus that made the frame",
    ),
    "whole_rung7": (RungError, "frame.header.rung: is 7; allowed: 0..1"),
    "whole_length": (LengthError, r"frame.header.length: is 47; allowed: <= 46"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts(decoding_backend: Factory, name: str) -> None:
    """Errors of the header are the same one line from the reference and from C."""
    bad = next(case for case in bad_frames() if case.name == name)
    cls, text = TEXTS[name]
    if name == "whole_length":
        limit = bad.profile.rungs[0].payload_max
        text = f"frame.header.length: is {limit + 1}; allowed: <= {limit}"
    with pytest.raises(cls) as caught:
        decoding_backend(bad.profile).decode(bad.frame)
    assert str(caught.value) == text
    assert caught.value.as_dict()["path"] == text.split(":")[0]
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy)) == (cls, text)


def test_paths_name_the_slice(decoding_backend: Factory) -> None:
    """An error says which slice of a frame is wrong, and what in it."""
    paths = {bad.name: bad for bad in bad_frames() if bad.profile_name == "sliced"}
    for name, path in {
        "sliced_cut": "frame.slices[2].payload",
        "sliced_without_last": "frame.slices[2]",
        "sliced_sequences": "frame.slices[1].header.sequence",
        "sliced_back": "frame.slices[2].header.slice",
        "sliced_second_damaged": "frame.slices[1].header.checksum",
        "sliced_trailing": "frame",
    }.items():
        with pytest.raises(FrameError) as caught:
            decoding_backend(paths[name].profile).decode(paths[name].frame)
        assert caught.value.path == path, name


def test_paths_of_payloads(decoding_backend: Factory) -> None:
    """A payload that no encoder writes: in the only slice, and in the second of three."""
    whole = next(case for case in bad_frames() if case.name == "whole_zero_byte")
    with pytest.raises(PayloadError) as caught:
        decoding_backend(whole.profile).decode(whole.frame)
    assert caught.value.path == "frame.payload"
    profile = error_profiles()["sliced"]
    codec = IndependentCodec(profile.canonical())
    rest = codec.encode(0, 77, tensor_of(profile, np.ones(30)))
    parts = []
    for _ in range(3):
        *_, payload, rest = codec.take(rest)
        parts.append(payload)
    parts[1] += b"\0"
    frame = b"".join(codec.header(0, 77, k, part) + part for k, part in enumerate(parts))
    with pytest.raises(PayloadError) as caught:
        decoding_backend(profile).decode(frame)
    assert caught.value.path == "frame.slices[1].payload"
    suffix = next(case for case in bad_frames() if case.name == "suffix_level_first")
    with pytest.raises(LevelError) as caught:
        decoding_backend(suffix.profile).decode(suffix.frame)
    assert caught.value.path.startswith("frame.payload")


def test_another_profile_is_refused(decoding_backend: Factory) -> None:
    """One reconstruction value changed: other digest, no decoding; with equal prefixes too."""
    ours = make_profile(4, (3, 5))
    theirs = make_profile(4, (3, 5), extra={"note": 1})
    frame = decoding_backend(theirs).encode(0, 0, np.zeros((3, 5), np.int8))
    with pytest.raises(ProfileMismatchError):
        decoding_backend(ours).decode(frame)
    forged = frame[:4] + ours.digest[:2] + frame[6:]
    with pytest.raises(ChecksumError):
        decoding_backend(ours).decode(forged)


def test_a_batch_gives_each_frame_its_own_answer(decoding_backend: Factory) -> None:
    """Good and bad frames mixed: results in order, errors in place, nothing leaks over."""
    profile = error_profiles()["sliced"]
    codec: Any = decoding_backend(profile)
    bad = [case for case in bad_frames() if case.profile_name == "sliced"]
    tensors = [tensor_of(profile, np.full(30, k % 7)) for k in range(len(bad))]
    frames = []
    for k, (case, tensor) in enumerate(zip(bad, tensors, strict=True)):
        frames += [case.frame, codec.encode(1, k, tensor)]
    results = codec.codec.decode_batch(frames)
    assert len(results) == 2 * len(bad)
    for k, case in enumerate(bad):
        assert isinstance(results[2 * k], FrameError)
        assert results[2 * k].code == case.code
        assert np.all(results[2 * k + 1].levels == k % 7)
        assert results[2 * k + 1].sequence == k
        assert results[2 * k + 1].rung == 1
    assert codec.codec.decode_batch([]) == []


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_like_frames(decoding_backend: Factory, kind: Callable[[bytes], Any]) -> None:
    """What a socket gives: any bytes-like object, whole or damaged."""
    profile = error_profiles()["sliced"]
    codec: Any = decoding_backend(profile)
    frame = codec.encode(0, 3, tensor_of(profile, np.ones(30)))
    (good, short) = codec.codec.decode_batch([kind(frame), kind(frame[:-1])])
    assert np.all(good.levels == 1)
    assert isinstance(short, TruncatedError)
    assert np.all(codec.codec.decode(kind(frame)).levels == 1)


def test_header_reads_without_a_profile() -> None:
    """What inspection and routing see."""
    profile = error_profiles()["sliced"]
    codec = IndependentCodec(profile.canonical())
    frame = codec.encode(1, 0xABCD, tensor_of(profile, np.ones(30)))
    header = SliceHeader.read(frame)
    assert (header.version, header.sliced, header.rung, header.sequence) == (1, True, 1, 0xABCD)
    assert (header.slice, header.slices, header.header_bytes) == (0, 3, 14)
    assert header.digest_prefix == profile.digest[:2]
    payload = frame[14 : 14 + header.payload_bytes]
    assert header.write(profile.digest, payload) == frame[: 14 + header.payload_bytes]
    assert header.checksum == checksum(profile.digest, frame[:8], frame[12 : 14 + len(payload)])


def test_frame_error_takes_frame_numbers_only() -> None:
    assert type(frame_error(9, "frame")) is TrailingError
    assert type(frame_error(12, "frame")) is SequenceError
    assert type(frame_error(10, "frame")) is PayloadError
    for code in (0, 17, 40, 60):
        with pytest.raises(ValueError, match=f"^{code} is not the number of a frame error$"):
            frame_error(code, "frame")
