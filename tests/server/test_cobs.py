"""COBS frames: published examples and check values, C and Python byte for byte, damaged streams."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cffi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import LinkError
from isthmus.server.cobs import (
    KIND_ANSWER,
    KIND_UNIT,
    FrameReader,
    LinkFrame,
    cobs_decode,
    cobs_encode,
    crc16,
    encode,
    encoded_bytes_max,
)

RUNTIME = Path(__file__).resolve().parents[2] / "templates" / "runtime"


def span(first: int, last: int) -> bytes:
    return bytes(range(first, last + 1))


#: The examples of the article "Consistent Overhead Byte Stuffing" of Wikipedia, without the 0 that
#: ends a frame; the first five are in the paper's form.
PUBLISHED = [
    (b"", "01"),
    (b"\x00", "01 01"),
    (b"\x00\x00", "01 01 01"),
    (b"\x00\x11\x00", "01 02 11 01"),
    (b"\x11\x22\x00\x33", "03 11 22 02 33"),
    (b"\x11\x22\x33\x44", "05 11 22 33 44"),
    (b"\x11\x00\x00\x00", "02 11 01 01 01"),
    (span(1, 254), "ff" + span(1, 254).hex()),
    (b"\x00" + span(1, 254), "01 ff" + span(1, 254).hex()),
    (span(1, 255), "ff" + span(1, 254).hex() + "02 ff"),
    (span(2, 255) + b"\x00", "ff" + span(2, 255).hex() + "01 01"),
    (span(3, 255) + b"\x00\x01", "fe" + span(3, 255).hex() + "02 01"),
]


@pytest.mark.parametrize(("raw", "stuffed"), PUBLISHED)
def test_published_examples(raw: bytes, stuffed: str) -> None:
    assert cobs_encode(raw) == bytes.fromhex(stuffed)
    assert cobs_decode(bytes.fromhex(stuffed)) == raw


def test_a_full_run_may_be_followed_by_an_empty_one() -> None:
    """Encoders that do not look whether the data end there write a code more."""
    assert cobs_decode(b"\xff" + span(1, 254) + b"\x01") == span(1, 254)


@pytest.mark.parametrize(
    "bad", ["00", "0100", "03 11", "ff 01", "02 00", "03 11 00", "0511223344ff"]
)
def test_what_is_no_cobs(bad: str) -> None:
    with pytest.raises(LinkError, match="is not COBS"):
        cobs_decode(bytes.fromhex(bad))


#: Of the catalogue of parametrised CRC algorithms: CRC-16/IBM-3740 (alias CCITT-FALSE).
CRCS = [(b"123456789", 0x29B1), (b"", 0xFFFF), (b"\x00", 0xE1F0), (b"A", 0xB915)]


@pytest.mark.parametrize(("data", "value"), CRCS)
def test_crc(data: bytes, value: int) -> None:
    assert crc16(data) == value


def bit_by_bit(data: bytes) -> int:
    register = 0xFFFF
    for byte in data:
        for bit in range(7, -1, -1):
            out = register >> 15 ^ (byte >> bit & 1)
            register = (register << 1 & 0xFFFF) ^ (0x1021 if out else 0)
    return register


#: Bytes with many zeros and with runs of 253 to 255 others.
lumpy = st.lists(
    st.one_of(
        st.binary(max_size=6),
        st.sampled_from([b"\0", b"\0\0", span(1, 253), span(1, 254), span(1, 255), b"\7" * 508]),
    ),
    max_size=6,
).map(b"".join)


@given(lumpy)
@settings(max_examples=300, deadline=None)
def test_round_trip_and_length(raw: bytes) -> None:
    stuffed = cobs_encode(raw)
    assert 0 not in stuffed
    assert cobs_decode(stuffed) == raw
    assert len(raw) + 1 <= len(stuffed) + (len(raw) % 254 == 0) <= len(raw) + 2 + len(raw) // 254
    line = encode(KIND_UNIT, raw)
    assert len(line) <= encoded_bytes_max(len(raw))
    assert line.index(0) == len(line) - 1
    assert crc16(raw) == bit_by_bit(raw)


def test_the_bound_is_reached() -> None:
    """By data without zeros, whatever the length."""
    lengths = [0, 1, 200, 250, 252, 253, 254, 505, 506, 1000]
    tight = 0
    for length in lengths:
        worst = max(len(encode(fill, bytes([fill]) * length)) for fill in (1, 7, 0x55))
        assert worst <= encoded_bytes_max(length)
        tight += worst == encoded_bytes_max(length)
    assert tight >= len(lengths) - 1


def test_a_frame_by_hand() -> None:
    """Kind 1, "123456789": the CRC is over both, low byte first."""
    crc = bit_by_bit(b"\x01123456789")
    want = bytes((13,)) + b"\x01123456789" + bytes((crc & 255, crc >> 8)) + b"\0"
    assert encode(KIND_UNIT, b"123456789") == want
    assert FrameReader(9).feed(want) == [LinkFrame(1, b"123456789")]


frames = st.lists(st.tuples(st.sampled_from([KIND_UNIT, KIND_ANSWER, 0]), lumpy), max_size=5)


@given(frames, st.data())
@settings(max_examples=100, deadline=None)
def test_a_stream_in_pieces(given_frames: list[tuple[int, bytes]], data: st.DataObject) -> None:
    line = b"\0".join([b"", *(encode(kind, payload) for kind, payload in given_frames), b""])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(line)), max_size=8)))
    reader = FrameReader(10_000)
    out = []
    for start, end in zip([0, *cuts], [*cuts, len(line)], strict=True):
        out += reader.feed(line[start:end])
    assert out == [LinkFrame(kind, payload) for kind, payload in given_frames]


@given(st.binary(max_size=60), lumpy)
@settings(max_examples=200, deadline=None)
def test_after_any_rubbish_the_next_frame_is_read(rubbish: bytes, payload: bytes) -> None:
    reader = FrameReader(10_000)
    out = reader.feed(rubbish + b"\0" + encode(KIND_UNIT, payload))
    assert out[-1] == LinkFrame(KIND_UNIT, payload)
    assert len(out) <= rubbish.count(0) + 2


@given(lumpy, st.data())
@settings(max_examples=200, deadline=None)
def test_one_changed_byte_is_never_taken_for_the_frame(payload: bytes, data: st.DataObject) -> None:
    line = bytearray(encode(KIND_UNIT, payload))
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    out = FrameReader(10_000).feed(bytes(line) + b"\0")
    assert LinkFrame(KIND_UNIT, payload) not in out
    if line[at] and at != len(line) - 1:
        assert out
        assert all(isinstance(one, LinkError) for one in out)


def test_memory_is_bounded_and_a_long_frame_is_one_error() -> None:
    reader = FrameReader(100)
    assert reader.feed(b"\x07" * 1_000_000) == []
    assert len(reader._buffer) == 0
    (error,) = reader.feed(b"\x07" * 5 + b"\0")
    assert isinstance(error, LinkError)
    assert "1000005 bytes" in str(error)
    longest = encode(KIND_UNIT, b"\x07" * 100)
    assert reader.feed(longest) == [LinkFrame(KIND_UNIT, b"\x07" * 100)]
    (error,) = reader.feed(encode(KIND_UNIT, b"\x07" * 101))
    assert isinstance(error, LinkError)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("02 01 00", "link.frame: has 1 bytes"),
        ("03 01 02 00", "link.frame: has 2 bytes"),
        ("05 01 02 00", "link.frame: is not COBS"),
        ("04 01 02 03 00", "link.frame.crc: is 0x0302"),
    ],
)
def test_errors_say_what_and_where(line: str, text: str) -> None:
    (error,) = FrameReader(100).feed(bytes.fromhex(line))
    assert isinstance(error, LinkError)
    assert str(error).startswith(text)
    assert error.code == 101


def test_reset_forgets_an_unfinished_frame() -> None:
    reader = FrameReader(100)
    reader.feed(encode(KIND_UNIT, b"first")[:4])
    reader.reset()
    assert reader.feed(encode(KIND_UNIT, b"second")) == [LinkFrame(KIND_UNIT, b"second")]


# C against Python


CDEF = """
typedef int (*isth_link_put)(void *user, const uint8_t *data, size_t size);
int isth_link_write(isth_link_put put, void *user, uint8_t kind, const uint8_t *data,
                    size_t length);
int isth_link_encode(uint8_t kind, const uint8_t *data, size_t length, uint8_t *out,
                     size_t capacity, size_t *size);
typedef struct isth_link_reader {
    uint8_t *buffer; size_t capacity; size_t fill; const uint8_t *payload; size_t length;
    uint32_t dropped; uint8_t kind; uint8_t code; uint8_t left; uint8_t bad;
} isth_link_reader;
void isth_link_reader_begin(isth_link_reader *r, uint8_t *buffer, size_t capacity);
int isth_link_read(isth_link_reader *r, uint8_t byte);
typedef struct isth_answer {
    const uint8_t *values; uint16_t sequence; uint8_t status; uint8_t count;
} isth_answer;
int isth_answer_parse(const uint8_t *data, size_t size, isth_answer *answer);
void isth_answer_value(const isth_answer *answer, unsigned i, uint16_t *index, uint32_t *bits);
uint16_t isth_crc16(uint16_t crc, const uint8_t *data, size_t size);
"""


class C:
    """The C of the emitted trees, with undefined behaviour made to end the program."""

    def __init__(self, library: Path) -> None:
        self.ffi = cffi.FFI()
        self.ffi.cdef(CDEF)
        self.lib: Any = self.ffi.dlopen(str(library))

    def encode(self, kind: int, payload: bytes, room: int) -> tuple[int, int, bytes]:
        out = self.ffi.new("uint8_t[]", b"\xaa" * (room + 1))
        size = self.ffi.new("size_t *")
        status = self.lib.isth_link_encode(kind, payload, len(payload), out, room, size)
        assert out[room] == 0xAA
        return status, size[0], bytes(self.ffi.buffer(out, room))

    def read(self, line: bytes, room: int) -> tuple[list[LinkFrame], int]:
        buffer = self.ffi.new("uint8_t[]", b"\xaa" * (room + 1))
        reader = self.ffi.new("isth_link_reader *")
        self.lib.isth_link_reader_begin(reader, buffer, room)
        out = []
        for byte in line:
            if self.lib.isth_link_read(reader, byte):
                payload = bytes(self.ffi.buffer(reader.payload, reader.length))
                out.append(LinkFrame(reader.kind, payload))
        assert buffer[room] == 0xAA
        return out, reader.dropped


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]) -> C:
    library = tmp_path_factory.mktemp("link") / "libisth_link.so"
    flags = ["-std=c99", "-O2", "-fPIC", "-shared", "-fsanitize=undefined", "-Wall", "-Werror"]
    flags += ["-fsanitize-undefined-trap-on-error"]
    source = RUNTIME / "isth_link.c"
    subprocess.run([require_tool("gcc"), *flags, source, "-o", library], check=True, timeout=120)
    return C(library)


@given(st.integers(0, 255), lumpy)
@settings(max_examples=300, deadline=None)
def test_c_writes_what_python_writes(c: C, kind: int, payload: bytes) -> None:
    want = encode(kind, payload)
    assert c.encode(kind, payload, len(want)) == (0, len(want), want)
    pieces: list[bytes] = []

    @c.ffi.callback("isth_link_put")
    def put(user: Any, data: Any, size: int) -> int:
        pieces.append(bytes(c.ffi.buffer(data, size)))
        return 0

    assert c.lib.isth_link_write(put, c.ffi.NULL, kind, payload, len(payload)) == 0
    assert b"".join(pieces) == want
    raw = bytes((kind,)) + payload
    zeros = (raw + crc16(raw).to_bytes(2, "little")).count(0)
    assert len(pieces) <= 2 * (zeros + (len(raw) + 2) // 254) + 6
    assert all(pieces)


@given(lumpy, st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_c_says_what_room_it_needs(c: C, payload: bytes, room: int) -> None:
    want = encode(KIND_UNIT, payload)
    status, size, out = c.encode(KIND_UNIT, payload, room)
    assert size == len(want)
    assert status == (14 if room < len(want) else 0)
    assert out[: len(want)] == want[:room]


@pytest.mark.parametrize("at", range(5))
def test_c_stops_when_the_line_does(c: C, at: int) -> None:
    calls = []

    @c.ffi.callback("isth_link_put")
    def put(user: Any, data: Any, size: int) -> int:
        calls.append(size)
        return -7 if len(calls) == at + 1 else 0

    assert c.lib.isth_link_write(put, c.ffi.NULL, 1, b"ab\0cd", 5) == -7
    assert len(calls) == at + 1


@pytest.mark.parametrize(("data", "value"), CRCS)
def test_c_crc(c: C, data: bytes, value: int) -> None:
    assert c.lib.isth_crc16(0xFFFF, data, len(data)) == value


@given(frames)
@settings(max_examples=100, deadline=None)
def test_c_reads_what_python_writes(c: C, given_frames: list[tuple[int, bytes]]) -> None:
    line = b"".join(b"\0" + encode(kind, payload) for kind, payload in given_frames)
    want = [LinkFrame(kind, payload) for kind, payload in given_frames]
    assert c.read(line, 10_000) == (want, 0)


streams = st.lists(
    st.one_of(
        st.binary(max_size=20),
        lumpy.map(lambda payload: encode(KIND_UNIT, payload)),
        st.binary(max_size=12).map(lambda payload: encode(KIND_ANSWER, payload)),
        st.sampled_from([b"\0", b"\xff", b"\x01\x01\0"]),
    ),
    max_size=8,
).map(b"".join)


@given(streams)
@settings(max_examples=400, deadline=None)
def test_c_reads_any_stream_as_python_does(c: C, line: bytes) -> None:
    room = 600
    found = FrameReader(room - 3).feed(line)
    good = [one for one in found if isinstance(one, LinkFrame)]
    assert c.read(line, room) == (good, len(found) - len(good))
