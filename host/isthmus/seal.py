"""Sealed units (docs/BITSTREAM.md, chapter 12): who sent a unit, its counter, and a tag over both.

A unit is a frame, or one slice or packet of it. The seal goes around the unit's bytes as they are::

    byte 0       0x18
    byte 1       bytes of the tag: 0 (not signed), 8, 12, 16 or 32
    bytes 2..5   device number, little-endian
    bytes 6..11  counter, little-endian
    then         the unit
    last         the first bytes of HMAC-SHA256(device's key, everything before)

The tag is compared before anything else is made of the bytes. Whether a counter was used before is
the receiver's to know (``isthmus.server.replay``).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from isthmus.codec.frame import Octets
from isthmus.errors import SealError

__all__ = [
    "COUNTER_MAX",
    "DEVICE_MAX",
    "KEY_BYTES_MIN",
    "SEAL_HEADER_BYTES",
    "SEAL_MARK",
    "TAG_BYTES",
    "Seal",
    "is_sealed",
    "open_seal",
    "seal",
]

SEAL_MARK = 0x18
"""Byte 0: version 1 and flag bit 3."""
SEAL_HEADER_BYTES = 12
TAG_BYTES = (0, 8, 12, 16, 32)
DEVICE_MAX = 0xFFFFFFFF
COUNTER_MAX = 0xFFFFFFFFFFFF
KEY_BYTES_MIN = 16


@dataclass(frozen=True, slots=True)
class Seal:
    """What a sealed unit says. Nothing of it is proven before ``open_seal`` returned it."""

    device: int
    counter: int
    unit: bytes
    tag: bytes = b""

    @classmethod
    def read(cls, data: Octets, path: str = "seal") -> Seal:
        """The fields of a sealed unit as they stand; the tag is not compared.

        Raises SealError where the bytes are no sealed unit.
        """
        view = memoryview(data)
        size = len(view)
        if size == 0 or view[0] != SEAL_MARK:
            found = "has no bytes" if size == 0 else f"begins with {view[0]:#04x}"
            raise SealError(path, found, allowed=f"{SEAL_MARK:#04x}, a sealed unit")
        if size < SEAL_HEADER_BYTES:
            allowed = f"at least {SEAL_HEADER_BYTES + 1}"
            raise SealError(path, f"has {size} bytes", allowed=allowed)
        tag_bytes = view[1]
        if tag_bytes not in TAG_BYTES:
            allowed = ", ".join(map(str, TAG_BYTES))
            raise SealError(f"{path}.tag_bytes", f"is {tag_bytes}", allowed=allowed)
        end = size - tag_bytes
        if end <= SEAL_HEADER_BYTES:
            allowed = f"at least {SEAL_HEADER_BYTES + 1 + tag_bytes} with that tag"
            raise SealError(path, f"has {size} bytes", allowed=allowed)
        return cls(
            int.from_bytes(view[2:6], "little"),
            int.from_bytes(view[6:12], "little"),
            bytes(view[SEAL_HEADER_BYTES:end]),
            bytes(view[end:]),
        )


def is_sealed(data: Octets) -> bool:
    """Whether ``data`` begins as a sealed unit does. No frame, slice or packet begins so."""
    return len(data) > 0 and data[0] == SEAL_MARK


def seal(key: bytes, device: int, counter: int, unit: Octets, tag_bytes: int = 8) -> bytes:
    """``unit`` sealed as ``device``, with a counter that the device never used before.

    ``tag_bytes`` 0 names the device and its counter and proves nothing; ``key`` is then not used.
    Raises SealError where a number is out of its range, the key too short or the unit empty.
    """
    for name, number, largest in (
        ("device", device, DEVICE_MAX),
        ("counter", counter, COUNTER_MAX),
    ):
        if not 0 <= number <= largest:
            raise SealError(f"seal.{name}", f"is {number}", allowed=f"0..{largest}")
    if tag_bytes not in TAG_BYTES:
        allowed = ", ".join(map(str, TAG_BYTES))
        raise SealError("seal.tag_bytes", f"is {tag_bytes}", allowed=allowed)
    if len(unit) == 0:
        raise SealError("seal.unit", "has no bytes", allowed="a frame, slice or packet")
    body = b"".join(
        (
            bytes((SEAL_MARK, tag_bytes)),
            device.to_bytes(4, "little"),
            counter.to_bytes(6, "little"),
            unit,
        )
    )
    if tag_bytes == 0:
        return body
    _check_key(key)
    return body + hmac.digest(key, body, "sha256")[:tag_bytes]


def open_seal(key: bytes, data: Octets, *, tag_bytes_min: int = 8, path: str = "seal") -> Seal:
    """The seal of ``data``, proven with the device's key; SealError where it is not the device's.

    ``tag_bytes_min``: a shorter tag is refused, above all none at all. The comparison takes the
    same time wherever the tags differ.
    """
    _check_key(key)
    found = Seal.read(data, path)
    least = max(tag_bytes_min, 1)
    if len(found.tag) < least:
        what = f"is {len(found.tag)}" if found.tag else "is 0: the unit is not signed"
        raise SealError(f"{path}.tag_bytes", what, allowed=f"{least} or more")
    made = hmac.digest(key, memoryview(data)[: -len(found.tag)], "sha256")
    if not hmac.compare_digest(made[: len(found.tag)], found.tag):
        raise SealError(
            f"{path}.tag", f"does not match the key of device {found.device}",
            remedy="check the device's key, and that nothing changed the bytes on the way",
        )  # fmt: skip
    return found


def _check_key(key: bytes) -> None:
    if len(key) < KEY_BYTES_MIN:
        raise SealError("seal.key", f"has {len(key)} bytes", allowed=f"at least {KEY_BYTES_MIN}")
