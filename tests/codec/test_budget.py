"""Byte budgets in C against the rule of BITSTREAM.md, chapter 11, for every budget there is."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from codec_backends import EmittedBackend, encode_into
from codec_encoder import BUFFER, OK, within
from codec_near_profiles import near_profile
from codec_profiles import level_patterns, make_profile, neighbour_profile, tensor_of
from independent_codec import IndependentCodec

from isthmus.codec import encode_frame
from isthmus.native import NativeCodec
from isthmus.profile import Profile


def with_budget(
    profile: Profile, starts: tuple[int, ...], ratios: tuple[tuple[int, ...], ...]
) -> Profile:
    """The profile with a table of budgets."""
    rungs = tuple(
        dataclasses.replace(rung, budget_start=start, size_ratios=row)
        for rung, start, row in zip(profile.rungs, starts, ratios, strict=True)
    )
    return Profile.from_dict(dataclasses.replace(profile, rungs=rungs).as_dict())


def true_ratios(profile: Profile, tensor: npt.NDArray[Any]) -> tuple[tuple[int, ...], ...]:
    """What the frames of one tensor measure beside each other, rounded up, times 4096."""
    sizes = [len(encode_frame(profile, k, 0, tensor)) for k in range(len(profile.rungs))]
    return tuple(tuple(min(65535, -(-4096 * b // a)) for b in sizes) for a in sizes)


def profiles() -> dict[str, Profile]:
    """Ladders, best rung first, with tables that tell the truth, lie, or say nothing."""
    ladder = (16, 8, 4, 2)
    whole = neighbour_profile(ladder, (6, 5, 6), states="even", seed=1)
    sliced = neighbour_profile(ladder, (6, 5, 6), slice_rows=2, states="even", seed=2)
    packed = neighbour_profile(ladder, (6, 5, 6), states="even", unit=6, packet_bytes=44, seed=3)
    likely = tensor_of(whole, level_patterns(16, 180)["likely"])
    true = true_ratios(whole, likely)
    near = near_profile((0, 2, 9, 40), (6, 5, 6), kind="steep", own=20, channels=6)
    near_packed = near_profile((0, 2, 9, 40), (6, 5, 6), unit=6, packet_bytes=44, channels=3)
    likely_near = tensor_of(near, level_patterns(256, 180)["likely"])
    none: tuple[tuple[int, ...], ...] = ((), (), (), ())
    odd = ((1, 2, 3, 4), (65535,) * 4, (), (4096,) * 4)
    return {
        "true": with_budget(whole, (70, 55, 40, 0), true),
        "sliced": with_budget(sliced, (110, 90, 80, 60), true),
        "packets": with_budget(packed, (90, 80, 70, 20), true),
        "unsorted": with_budget(whole, (50, 60, 20, 90), true),
        "no_ratios": with_budget(whole, (70, 55, 40, 0), none),
        "odd_ratios": with_budget(whole, (70, 55, 40, 0), odd),
        "nothing": whole,
        "near": with_budget(near, (170, 120, 90, 0), true_ratios(near, likely_near)),
        "near_packets": with_budget(near_packed, (190, 140, 110, 40), ((), (), (), ())),
        "one_rung": with_budget(make_profile(4, (6, 5, 6)), (30,), ((4096,),)),
    }


PROFILES = profiles()


def tensors(profile: Profile) -> dict[str, npt.NDArray[Any]]:
    """Short and long ones, and such that end in zero bytes that the coder removes."""
    patterns = level_patterns(profile.rungs[0].levels, 180, 4)
    patterns["late"] = np.concatenate([np.zeros(170, np.uint8), np.ones(10, np.uint8)])
    names = ("minimum", "likely", "random", "bursts", "late")
    return {name: tensor_of(profile, patterns[name]) for name in names}


class Remembering(IndependentCodec):
    """Codes each tensor once."""

    def __init__(self, profile_json: bytes) -> None:
        super().__init__(profile_json)
        self.known: dict[tuple[int, bytes], bytes] = {}

    def encode(self, rung: int, sequence: int, tensor: npt.NDArray[Any]) -> bytes:
        key = (rung, tensor.tobytes())
        if key not in self.known:
            self.known[key] = super().encode(rung, sequence, tensor)
        return self.known[key]


@pytest.mark.parametrize("name", PROFILES)
def test_every_budget(name: str) -> None:
    """Rung, frame and refusal are the rule's, for budgets from nothing to more than the longest."""
    profile = PROFILES[name]
    independent = Remembering(profile.canonical())
    for pattern, tensor in tensors(profile).items():
        sizes = [len(independent.encode(k, 9, tensor)) for k in range(len(profile.rungs))]
        near = {size + by for size in sizes for by in range(-3, 4)}
        near |= {rung.budget_start + by for rung in profile.rungs for by in (-1, 0, 1)}
        for budget in sorted(b for b in near | {0, 1, 11, 12, 13, 30, 75, 400} if b >= 0):
            rung, frame = independent.encode_budget(budget, 9, tensor)
            status, chosen, length, data = within(profile, tensor, budget)
            assert chosen == rung, (pattern, budget)
            if frame is None:
                assert status == BUFFER, (pattern, budget)
                assert length > budget
            else:
                assert (status, length) == (OK, len(frame)), (pattern, budget)
                assert data == frame


def test_the_rule_does_what_it_is_for() -> None:
    """With a table that is true, the best rung that fits is found, in at most two passes."""
    profile = PROFILES["true"]
    tensor = tensors(profile)["likely"]
    sizes = [len(encode_frame(profile, k, 9, tensor)) for k in range(4)]
    assert sizes == sorted(sizes, reverse=True)
    for budget in range(sizes[-1] + 4, sizes[0] + 10):
        best = next(k for k, size in enumerate(sizes) if size <= budget)
        status, chosen, length, _ = within(profile, tensor, budget)
        assert status == OK
        assert length <= budget
        # the table is rounded up: at the very edge the next rung may be taken
        assert chosen in (best, best + 1)


def test_an_emitted_tree_chooses_the_same(work: Any) -> None:
    """isth_encode_budget of the generated isth.h."""
    profile = PROFILES["packets"]
    backend = EmittedBackend(profile, work)
    ffi, lib = backend.ffi, backend.lib
    for pattern, tensor in tensors(profile).items():
        for budget in (0, 12, 40, 60, 80, 100, 130, 200, 300):
            out = ffi.new("uint8_t[]", budget + 8)
            ffi.memmove(out + budget, b"\xa5" * 8, 8)
            length, rung = ffi.new("size_t *"), ffi.new("unsigned *")
            status = lib.isth_encode_budget(
                ffi.new("isth_encoder_memory *"), 9,
                ffi.cast("isth_element *", ffi.from_buffer(np.ascontiguousarray(tensor))), out,
                budget, length, rung,
            )  # fmt: skip
            expected = within(profile, tensor, budget)
            assert (status, rung[0], length[0]) == expected[:3], (pattern, budget)
            if status == OK:
                assert bytes(ffi.buffer(out, length[0])) == expected[3]
            assert bytes(ffi.buffer(out + budget, 8)) == b"\xa5" * 8


def test_the_length_counts_zero_bytes_that_do_not_fit() -> None:
    """A frame that would fit without its zero bytes is too long where these do not fit."""
    profile = PROFILES["one_rung"]
    tensor = tensors(profile)["minimum"]
    frame = encode_frame(profile, 0, 9, tensor)
    status, length, _ = encode_into(NativeCodec(profile), 0, 9, tensor, len(frame))
    assert (status, length > len(frame)) == (BUFFER, True)
    assert within(profile, tensor, len(frame))[0] == BUFFER
    assert IndependentCodec(profile.canonical()).encode_budget(len(frame), 9, tensor) == (0, None)
    assert within(profile, tensor, length)[2] == len(frame)
