"""Sealed units on the host: bytes by hand, tags by another library, and everything refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import FlagsError, IsthmusError, SealError
from isthmus.seal import TAG_BYTES, Seal, is_sealed, open_seal, seal

KEY = bytes(range(32))
HEAD = bytes.fromhex("18 08 07000000 010002000300")


def tag_of(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA256 by OpenSSL, through cryptography."""
    state = HMAC(key, hashes.SHA256())
    state.update(data)
    return state.finalize()


def test_the_bytes_by_hand() -> None:
    """0x18, 8, device 7, counter 0x000300020001, the unit, eight bytes of the tag."""
    assert seal(KEY, 7, 0x000300020001, b"unit") == HEAD + b"unit" + tag_of(KEY, HEAD + b"unit")[:8]


@pytest.mark.parametrize("tag_bytes", TAG_BYTES)
@pytest.mark.parametrize("size", [1, 12, 244, 5000])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_there_and_back(tag_bytes: int, size: int, kind: Any) -> None:
    unit = np.random.default_rng(size).bytes(size)
    sealed = seal(KEY, 0xFFFFFFFF, (1 << 48) - 1, kind(unit), tag_bytes)
    assert len(sealed) == 12 + size + tag_bytes
    assert sealed[: 12 + size] == bytes((0x18, tag_bytes)) + b"\xff" * 10 + unit
    assert sealed[12 + size :] == tag_of(KEY, sealed[: 12 + size])[:tag_bytes]
    assert is_sealed(kind(sealed))
    wanted = Seal(0xFFFFFFFF, (1 << 48) - 1, unit, sealed[12 + size :])
    assert Seal.read(kind(sealed)) == wanted
    if tag_bytes:
        assert open_seal(KEY, kind(sealed), tag_bytes_min=tag_bytes) == wanted


@pytest.mark.parametrize("tag_bytes", [8, 12, 16, 32])
def test_every_flipped_bit_is_refused(tag_bytes: int) -> None:
    sealed = seal(KEY, 7, 9, b"\x10 a frame of some bytes", tag_bytes)
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(SealError):
            open_seal(KEY, changed)


@pytest.mark.parametrize("tag_bytes", [8, 12, 16, 32])
def test_every_other_length_is_refused(tag_bytes: int) -> None:
    sealed = seal(KEY, 7, 9, b"a unit", tag_bytes)
    for size in range(len(sealed)):
        with pytest.raises(SealError):
            open_seal(KEY, sealed[:size])
    with pytest.raises(SealError):
        open_seal(KEY, sealed + b"\0")


def test_another_key_and_another_device_are_refused() -> None:
    sealed = seal(KEY, 7, 9, b"a unit")
    with pytest.raises(SealError, match="does not match the key of device 7") as caught:
        open_seal(KEY[::-1], sealed)
    assert (caught.value.code, caught.value.status) == (99, 403)


def test_a_short_tag_is_refused_before_it_is_compared() -> None:
    with pytest.raises(SealError, match=r"seal\.tag_bytes: is 8; allowed: 12 or more"):
        open_seal(KEY, seal(KEY, 7, 9, b"a unit", 8), tag_bytes_min=12)
    assert open_seal(KEY, seal(KEY, 7, 9, b"a unit", 12), tag_bytes_min=12).device == 7
    for least in (0, 8):
        with pytest.raises(SealError, match="not signed"):
            open_seal(KEY, seal(KEY, 7, 9, b"a unit", 0), tag_bytes_min=least)


@pytest.mark.parametrize(
    ("device", "counter", "unit", "tag_bytes", "key", "where"),
    [
        (-1, 0, b"u", 8, KEY, "seal.device"), (1 << 32, 0, b"u", 8, KEY, "seal.device"),
        (0, -1, b"u", 8, KEY, "seal.counter"), (0, 1 << 48, b"u", 8, KEY, "seal.counter"),
        (0, 0, b"", 8, KEY, "seal.unit"), (0, 0, b"u", 9, KEY, "seal.tag_bytes"),
        (0, 0, b"u", -8, KEY, "seal.tag_bytes"), (0, 0, b"u", 8, KEY[:15], "seal.key"),
    ],
)  # fmt: skip
def test_what_cannot_be_sealed(
    device: int, counter: int, unit: bytes, tag_bytes: int, key: bytes, where: str
) -> None:
    with pytest.raises(SealError) as caught:
        seal(key, device, counter, unit, tag_bytes)
    assert caught.value.path == where


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"", "seal"), (b"\x10" * 40, "seal"), (b"\x19" * 40, "seal"), (b"\x18", "seal"),
        (b"\x18\x00" + bytes(9), "seal"), (b"\x18\x00" + bytes(10), "seal"),
        (b"\x18\x08" + bytes(18), "seal"), (b"\x18\x07" + bytes(40), "seal.tag_bytes"),
        (b"\x18\xff" + bytes(400), "seal.tag_bytes"),
    ],
)  # fmt: skip
def test_what_is_no_sealed_unit(data: bytes, where: str) -> None:
    for call in (Seal.read, lambda data: open_seal(KEY, data)):
        with pytest.raises(SealError) as caught:
            call(data)
        assert caught.value.path == where


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_no_bytes_but_a_seal_open(data: bytes, marked: bool) -> None:
    """Any bytes are read or refused by number; none that nobody signed are opened."""
    data = b"\x18" + data[1:] if marked else data
    try:
        found = Seal.read(data)
    except SealError:
        pass
    else:
        assert (
            seal(KEY, found.device, found.counter, found.unit, 0)[2:]
            == (data[2 : len(data) - len(found.tag)])
        )
    with pytest.raises(SealError):
        open_seal(KEY, data)


def test_a_decoder_refuses_a_sealed_unit_by_its_flags(digits_like: Any) -> None:
    """As one of version 1.0 did: bit 3 is none that it knows."""
    decoder, frame = digits_like
    assert not is_sealed(frame)
    for tag_bytes in TAG_BYTES:
        sealed = seal(KEY, 7, 9, frame, tag_bytes)
        with pytest.raises(FlagsError):
            decoder.decode(sealed)
        assert decoder.decode(Seal.read(sealed).unit).sequence == 5
        # a seal is no frame, so none goes into another
        with pytest.raises(FlagsError):
            decoder.decode(Seal.read(seal(KEY, 7, 10, sealed)).unit)


@pytest.fixture(scope="module", params=["slices", "packets"])
def digits_like(request: pytest.FixtureRequest) -> Any:
    """(decoder, a frame) of a small profile."""
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "codec"))
    try:
        from codec_profiles import make_profile, with_packets
    finally:
        sys.path.pop(0)
    from isthmus import Decoder

    profile = make_profile(4, (6, 5, 8))
    decoder = Decoder(with_packets(profile, 8) if request.param == "packets" else profile)
    return decoder, decoder.encode(np.zeros((6, 5, 8), np.int8), sequence=5)


def test_the_errors_are_isthmus_errors_with_one_line() -> None:
    with pytest.raises(IsthmusError) as caught:
        Seal.read(b"\x10")
    assert "\n" not in str(caught.value)
    assert caught.value.as_dict()["name"] == "seal"
