"""Compact answers: bytes by hand, and what is refused."""

from __future__ import annotations

import struct

import pytest
from fake_service import FakeService
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import ERROR_TABLE, BusyError, LinkError
from isthmus.server.compact import (
    CompactAnswer,
    pack_answer,
    pack_refusal,
    sequence_of,
    unpack,
)
from isthmus.server.types import Answer, Top


def answer(top: tuple[Top, ...], sequence: int = 0x1234) -> Answer:
    return Answer("m", "v", "d", sequence, 0, {}, top)


def test_an_answer_by_hand() -> None:
    given_answer = answer((Top(3, 1.0, "three"), Top(0x0102, -0.5)))
    want = bytes.fromhex("10 00 3412 02  0300 0000803f  0201 000000bf")
    assert pack_answer(given_answer) == want
    assert unpack(want) == CompactAnswer(0, 0x1234, ((3, 1.0), (0x0102, -0.5)))
    assert unpack(want).ok


def test_a_refusal_by_hand() -> None:
    data = pack_refusal(BusyError("queue", "is full"), 0xFFFE)
    assert data == bytes.fromhex("10 5e feff 00")
    assert unpack(data) == CompactAnswer(94, 0xFFFE)
    assert not unpack(data).ok


def test_every_error_has_a_status() -> None:
    for row in ERROR_TABLE:
        assert unpack(pack_refusal(row.cls("x", "y"), 1)) == CompactAnswer(row.code, 1)


@pytest.mark.parametrize(("limit", "count"), [(0, 0), (10, 0), (11, 1), (16, 1), (17, 2), (99, 3)])
def test_a_limit_leaves_the_smallest_out(limit: int, count: int) -> None:
    values = tuple(Top(index, 9.0 - index) for index in range(3))
    data = pack_answer(answer(values), limit)
    assert unpack(data).top == tuple((index, 9.0 - index) for index in range(count))
    assert len(data) == 5 + 6 * count


def test_more_than_255_values_and_large_indices_are_left_out() -> None:
    values = (Top(65536, 400.0), *(Top(65535 - index, 300.0 - index) for index in range(300)))
    top = unpack(pack_answer(answer(values))).top
    assert len(top) == 255
    assert top[0] == (65535, 300.0)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("", "answer: has 0 bytes"),
        ("10000000", "answer: has 4 bytes"),
        ("2000000000", "answer.version: is 0x20"),
        ("1078000000", "answer.status: is 120"),
        ("105e000001 0000 00000000", "answer.count: is 1 in a refusal"),
        ("1000000001 0000 000000", "answer: has 10 bytes; allowed: 11"),
        ("1000000000 00", "answer: has 6 bytes; allowed: 5"),
    ],
)
def test_what_is_no_answer(data: str, text: str) -> None:
    with pytest.raises(LinkError) as caught:
        unpack(bytes.fromhex(data))
    assert str(caught.value).startswith(text)


@given(st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_an_answer_or_refused(data: bytes) -> None:
    try:
        found = unpack(data)
    except LinkError:
        return
    values = b"".join(struct.pack("<Hf", *value) for value in found.top)
    head = struct.pack("<BBHB", 16, found.status, found.sequence, len(found.top))
    assert data[:5] == head
    if not any(value != value for _, value in found.top):  # a NaN's bits may change in a float
        assert data == head + values


def test_the_sequence_for_a_refusal() -> None:
    frame = FakeService().digits.frame(sequence=0xABCD)
    assert sequence_of(frame) == 0xABCD
    assert sequence_of(frame[:9]) == 0
    assert sequence_of(b"") == 0
    assert sequence_of(b"\x18" + bytes(40)) == 0  # sealed: not opened for this
