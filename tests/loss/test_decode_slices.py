"""Any subset of a frame's slices, against the whole frame's decoding."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from codec_profiles import level_patterns, make_profile

from isthmus.codec.frame import SliceHeader
from isthmus.conceal import METHODS, conceal
from isthmus.conceal_slices import cut_frame
from isthmus.decoder import Decoded, Decoder
from isthmus.errors import (
    ChecksumError,
    DataDtypeError,
    FrameError,
    MissingSliceError,
    OptionError,
    PayloadError,
    ProfileMismatchError,
    SequenceError,
    SliceError,
    TruncatedError,
    VersionError,
)
from isthmus.profile import Packets, Profile

PROFILE = make_profile((4, 3), (7, 3, 4), slice_rows=2)
LEVELS = level_patterns(4, 84, seed=5)["random"].reshape(7, 3, 4)


@pytest.fixture(params=["native", "reference"])
def backend(request: Any) -> Any:
    return request.param


@pytest.fixture
def decoder(backend: Any) -> Decoder:
    return Decoder(PROFILE, backend)


def cut(profile: Profile, frame: bytes) -> list[bytes]:
    """The slices, by the lengths in the headers: 14 bytes and bytes 1 to 3 (BITSTREAM.md, 3)."""
    out = []
    while frame:
        end = 14 + ((frame[1] & 31) << 16 | frame[2] | frame[3] << 8)
        out.append(frame[:end])
        frame = frame[end:]
    assert len(out) == profile.slices
    return out


def slices_of(decoder: Decoder, sequence: int = 9, rung: int = 0) -> list[bytes]:
    levels = LEVELS if rung == 0 else np.minimum(LEVELS, 2)
    return cut(PROFILE, decoder.codec.encode_levels(rung, sequence, levels))


def mask_of(numbers: Iterable[int]) -> Any:
    """Slice i holds rows 2 i and 2 i + 1; the last one row alone."""
    mask = np.zeros((7, 3, 4), np.bool_)
    for number in numbers:
        mask[2 * number : 2 * number + 2] = True
    return mask


def received(found: Decoded) -> Any:
    """The mask, which a frame from slices always has."""
    assert found.received is not None
    return found.received


def test_every_subset_in_any_order(decoder: Decoder) -> None:
    parts = slices_of(decoder)
    whole = decoder.decode(b"".join(parts))
    assert np.array_equal(whole.levels, LEVELS)
    order = random.Random(1)
    for count in range(1, 5):
        for chosen in itertools.combinations(range(4), count):
            shuffled = order.sample(chosen, count)
            found = decoder.decode_slices([parts[i] for i in shuffled], "nearest")
            mask = mask_of(chosen)
            assert np.array_equal(received(found), mask)
            assert np.array_equal(found.levels, np.where(mask, LEVELS, 0))
            expected = conceal(whole.features, mask, "nearest")
            assert np.array_equal(found.features, expected)
            assert (found.rung, found.sequence, found.errors) == (0, 9, ())


def test_all_slices_are_the_frame(decoder: Decoder) -> None:
    parts = slices_of(decoder, 65535, 1)
    whole = decoder.decode(b"".join(parts))
    for packets in (parts, [b"".join(parts)], [b"".join(parts[:3]), parts[3]], parts + parts[::-1]):
        for method in (*METHODS, "auto"):
            found = decoder.decode_slices(packets, method)
            assert np.array_equal(found.features, whole.features)
            assert np.array_equal(found.levels, whole.levels)
            assert received(found).all()
            assert (found.rung, found.sequence, found.errors) == (1, 65535, ())


def test_every_damaged_byte_is_a_missing_slice(decoder: Decoder) -> None:
    """One slice a packet: the others are not touched; end to end, nothing is ever wrong."""
    parts = slices_of(decoder)
    for at in range(len(parts[1])):
        bad = bytearray(parts[1])
        bad[at] ^= 0x40
        found = decoder.decode_slices([parts[0], bytes(bad), parts[2], parts[3]], "zero")
        assert np.array_equal(received(found), mask_of([0, 2, 3]))
        assert np.array_equal(found.levels, np.where(mask_of([0, 2, 3]), LEVELS, 0))
        assert len(found.errors) == 1
        assert isinstance(found.errors[0], FrameError)
        assert found.errors[0].path.startswith("packets[1]")
        joined = decoder.decode_slices([parts[0] + bytes(bad) + parts[2] + parts[3]], "zero")
        assert not received(joined)[2:4].any()
        assert np.array_equal(joined.levels, np.where(received(joined), LEVELS, 0))
        if at >= 4:  # the length is intact: what follows is found
            assert found.errors[0].name in ("checksum", "profile", "slice")


def test_after_a_false_checksum_the_next_slice_is_found(decoder: Decoder) -> None:
    parts = slices_of(decoder)
    bad = parts[1][:-1] + bytes([parts[1][-1] ^ 1])
    found = decoder.decode_slices([parts[0] + bad + parts[2]], "zero")
    assert np.array_equal(received(found), mask_of([0, 2]))
    assert [type(error) for error in found.errors] == [ChecksumError]


def test_what_else_may_come(decoder: Decoder) -> None:
    """Empty and cut packets, another profile's, and something behind a slice."""
    parts = slices_of(decoder)
    other = Decoder(make_profile(4, (7, 3, 4), slice_rows=2), "reference")
    stranger = cut(PROFILE, other.codec.encode_levels(0, 9, LEVELS))[1]
    found = decoder.decode_slices([b"", parts[2][:-1], stranger, parts[0] + b"\xff" * 99], "zero")
    assert np.array_equal(received(found), mask_of([0]))
    kinds = [type(error) for error in found.errors]
    assert kinds == [TruncatedError, TruncatedError, ProfileMismatchError, VersionError]


def test_mixed_frames_are_refused(decoder: Decoder) -> None:
    mine, next_frame, rung = slices_of(decoder), slices_of(decoder, 10), slices_of(decoder, 9, 1)
    with pytest.raises(SequenceError, match=r"packets\[1\]\.header\.sequence: is 10, rung 0"):
        decoder.decode_slices([mine[0], next_frame[1]])
    with pytest.raises(SequenceError, match="is 9, rung 1"):
        decoder.decode_slices([mine[0], rung[0]])
    # a damaged one says nothing about its frame
    bad = next_frame[1][:-1] + bytes([next_frame[1][-1] ^ 1])
    assert decoder.decode_slices([mine[0], bad], "zero").sequence == 9


def test_nothing_left(decoder: Decoder) -> None:
    part = slices_of(decoder)[0]
    with pytest.raises(
        MissingSliceError, match="hold no slice that can be decoded; allowed: one or more"
    ):
        decoder.decode_slices([])
    with pytest.raises(MissingSliceError, match=r"packets\[0\]\.payload: has"):
        decoder.decode_slices([part[:-1]])


def forged(part: bytes) -> bytes:
    """The slice with a zero behind its payload, checksum right: no encoder writes that."""
    header = SliceHeader.read(part)
    return dataclasses.replace(header).write(PROFILE.digest, part[14:] + b"\0")


def test_a_false_payload_under_a_right_checksum(decoder: Decoder) -> None:
    parts = slices_of(decoder)
    found = decoder.decode_slices([parts[0], forged(parts[1]), parts[2]], "zero")
    assert np.array_equal(received(found), mask_of([0, 2]))
    assert np.array_equal(found.levels, np.where(mask_of([0, 2]), LEVELS, 0))
    assert [type(error) for error in found.errors] == [PayloadError]
    assert found.errors[0].path == "packets[1].payload"
    # a good copy after it is taken
    found = decoder.decode_slices([forged(parts[1]), *parts], "zero")
    assert np.array_equal(found.levels, LEVELS)
    assert len(found.errors) == 1
    with pytest.raises(MissingSliceError, match=r"packets\[0\]\.payload"):
        decoder.decode_slices([forged(part) for part in parts])
    # 84 elements a frame: at most 168 are decoded in vain, 24 a packet
    with pytest.raises(PayloadError, match=r"packets\[7\]"):
        decoder.decode_slices([forged(parts[0])] * 1000)


PACKETS = dataclasses.replace(
    make_profile(4, (7, 3, 4), slice_rows=7), packets=Packets(bytes=20, unit=4)
)


def test_packets_end_anywhere_in_a_row(backend: Any) -> None:
    """Every pair of packets: a packet holds the units its header says (BITSTREAM.md, 3)."""
    decoder = Decoder(PACKETS, backend)
    parts = cut_frame(decoder.codec.encode_levels(0, 9, LEVELS))
    assert len(parts) == 3
    assert b"".join(parts) == decoder.codec.encode_levels(0, 9, LEVELS)
    ranges = [(4 * (p[5] | p[6] << 8), 4 * (p[7] + 1)) for p in parts]
    assert any(first % 12 for first, _ in ranges), "no packet starts inside a row"
    for a, b in itertools.permutations(range(len(parts)), 2):
        found = decoder.decode_slices([parts[a], parts[b], parts[a]], "nearest")
        mask = np.zeros(84, np.bool_)
        for first, count in (ranges[a], ranges[b]):
            mask[first : first + count] = True
        mask = mask.reshape(7, 3, 4)
        assert np.array_equal(received(found), mask)
        assert np.array_equal(found.levels, np.where(mask, LEVELS, 0))
        expected = conceal(LEVELS.astype(np.float32), mask, "nearest")
        assert np.array_equal(found.features, expected)
        assert found.errors == ()
    whole = decoder.decode_slices(parts[::-1])
    assert np.array_equal(whole.levels, LEVELS)


def test_packets_that_overlap_are_not_one_frame_s(backend: Any) -> None:
    """Two frames' packets under one sequence, cut at different places."""
    decoder = Decoder(PACKETS, backend)
    mine = cut_frame(decoder.codec.encode_levels(0, 9, LEVELS))
    other = cut_frame(decoder.codec.encode_levels(0, 9, np.zeros_like(LEVELS)))
    assert mine[0][7] != other[0][7]
    found = decoder.decode_slices([mine[0], other[0]], "zero")
    assert [type(error) for error in found.errors] == [SliceError]
    assert received(found).sum() == 4 * (mine[0][7] + 1)


def test_one_slice_frames_and_pickles() -> None:
    profile = make_profile(3, (4, 5))
    decoder = pickle.loads(pickle.dumps(Decoder(profile, "reference")))
    levels = level_patterns(3, 20)["random"].reshape(4, 5)
    found = decoder.decode_slices([decoder.codec.encode_levels(0, 1, levels)])
    assert np.array_equal(found.levels, levels)


def test_packets_are_bytes() -> None:
    decoder = Decoder(PROFILE, "reference")
    with pytest.raises(DataDtypeError, match="is a int"):
        decoder.decode_slices([7])  # type: ignore[list-item]


def test_a_frame_is_cut_into_its_slices() -> None:
    decoder = Decoder(PROFILE, "reference")
    parts = slices_of(decoder)
    assert cut_frame(b"".join(parts)) == parts
    with pytest.raises(TruncatedError, match=r"slices\[3\]"):
        cut_frame(b"".join(parts)[:-1])
    with pytest.raises(TruncatedError, match=r"slices\[0\]"):
        cut_frame(b"")


def test_methods_by_name() -> None:
    decoder = Decoder(PROFILE, "reference")
    parts = slices_of(decoder)[:2]
    auto, near = decoder.decode_slices(parts), decoder.decode_slices(parts, "nearest")
    assert np.array_equal(auto.features, near.features)
    assert not np.array_equal(auto.features, decoder.decode_slices(parts, "fit").features)
    with pytest.raises(OptionError, match="auto, restore, zero, mean"):
        decoder.decode_slices(parts, "median")
    with pytest.raises(OptionError, match="not trained with losses"):
        decoder.decode_slices(parts, "restore")


def test_zero_is_the_value_of_the_cell_that_holds_it() -> None:
    """Thresholds at -1 and 2, values -3, 0.25 and 5: zero lies in the middle cell."""
    data = make_profile(3, (4, 5), slice_rows=1).as_dict()
    data["rungs"][0] |= {"thresholds": [-1.0, 2.0], "values": [-3.0, 0.25, 5.0]}
    profile = Profile.from_dict(data)
    decoder = Decoder(profile, "reference")
    frame = decoder.codec.encode_levels(0, 0, np.full((4, 5), 2, np.uint8))
    part = cut(profile, frame)[2]
    found = decoder.decode_slices([part], "zero")
    assert found.features[:, 0].tolist() == [0.25, 0.25, 5, 0.25]
    assert found.levels[:, 0].tolist() == [1, 1, 2, 1]


def test_a_batch_is_concealed_as_its_frames() -> None:
    decoder = Decoder(PROFILE, "reference")
    parts = slices_of(decoder)
    ones = [decoder.decode_slices(parts[i : i + 2], "fit") for i in range(3)]
    levels = np.stack([one.levels for one in ones])
    masks = np.stack([received(one) for one in ones])
    together = decoder.conceal(levels, masks, 0, "fit")
    assert np.array_equal(together, np.stack([one.features for one in ones]))
