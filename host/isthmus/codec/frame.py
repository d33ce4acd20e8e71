"""Headers, lengths and checksums (BITSTREAM.md, 3).

byte   0      version (4 bits) | flags (4 bits): bit 0 sliced, bits 1..3 zero
byte   1      rung (3 bits) | payload length, bits 16..20
bytes  2..3   payload length, bits 0..15
bytes  4..5   first two bytes of the profile's digest
bytes  6..7   sequence
bytes  8..11  CRC-32 over the whole digest, bytes 0..7, the bytes after 11, the payload
byte  12      slice            (sliced frames only)
byte  13      slices - 1       (sliced frames only)
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from isthmus.errors import (
    ChecksumError,
    FlagsError,
    LengthError,
    ProfileMismatchError,
    RungError,
    SliceError,
    TruncatedError,
    VersionError,
)
from isthmus.profile import Profile

__all__ = ["HEADER_BYTES", "SLICED_HEADER_BYTES", "VERSION", "Octets", "SliceHeader", "checksum"]

#: Bytes wherever they lie: a header is read in place, never from a copy of what follows it.
Octets = bytes | bytearray | memoryview

VERSION = 1
HEADER_BYTES = 12
SLICED_HEADER_BYTES = 14


def checksum(digest: bytes, head: Octets, rest: Octets) -> int:
    """CRC-32 (IEEE 802.3) over digest, the first eight header bytes and what follows byte 11."""
    return zlib.crc32(rest, zlib.crc32(head, zlib.crc32(digest)))


@dataclass(frozen=True)
class SliceHeader:
    """The fields of one slice's header."""

    version: int
    sliced: bool
    rung: int
    payload_bytes: int
    digest_prefix: bytes
    sequence: int
    checksum: int
    slice: int
    slices: int

    @property
    def header_bytes(self) -> int:
        """12, or 14 where the frame has more than one slice."""
        return SLICED_HEADER_BYTES if self.sliced else HEADER_BYTES

    @classmethod
    def read(cls, data: Octets, path: str = "frame") -> SliceHeader:
        """The fields as they stand, without a profile (for inspection and routing)."""
        if len(data) < 1:
            raise TruncatedError(f"{path}.header", "is empty", allowed=">= 12 bytes")
        if data[0] >> 4 != VERSION:
            raise VersionError(
                f"{path}.header.version", f"is {data[0] >> 4}", allowed=str(VERSION),
                remedy="decode with the version of Isthmus that made the frame",
            )  # fmt: skip
        if data[0] & 0x0E:
            raise FlagsError(f"{path}.header.flags", f"are {data[0] & 0x0F:#x}", allowed="0 or 1")
        sliced = bool(data[0] & 1)
        need = SLICED_HEADER_BYTES if sliced else HEADER_BYTES
        if len(data) < need:
            raise TruncatedError(
                f"{path}.header", f"has {len(data)} bytes", allowed=f"{need} bytes"
            )
        return cls(
            version=data[0] >> 4,
            sliced=sliced,
            rung=data[1] >> 5,
            payload_bytes=((data[1] & 0x1F) << 16) | data[2] | (data[3] << 8),
            digest_prefix=bytes(data[4:6]),
            sequence=int.from_bytes(data[6:8], "little"),
            checksum=int.from_bytes(data[8:12], "little"),
            slice=data[12] if sliced else 0,
            slices=data[13] + 1 if sliced else 1,
        )

    @classmethod
    def parse(cls, profile: Profile, data: Octets, path: str = "frame") -> SliceHeader:
        """Reads and checks the header at the start of ``data``, and the slice's checksum.

        Checks run in the order of the document, so every implementation reports the same error.
        """
        _check_identity(profile, data, path)
        header = cls.read(data, path)
        if header.rung >= len(profile.rungs):
            raise RungError(
                f"{path}.header.rung", f"is {header.rung}", allowed=f"0..{len(profile.rungs) - 1}"
            )
        if header.slices != profile.slices or header.slice >= profile.slices:
            raise SliceError(
                f"{path}.header.slice",
                f"is {header.slice} of {header.slices}",
                allowed=f"0..{profile.slices - 1} of {profile.slices}",
            )
        limit = profile.rungs[header.rung].payload_max
        if header.payload_bytes > limit:
            raise LengthError(
                f"{path}.header.length", f"is {header.payload_bytes}", allowed=f"<= {limit}"
            )
        end = header.header_bytes + header.payload_bytes
        if len(data) < end:
            raise TruncatedError(
                f"{path}.payload",
                f"has {len(data) - header.header_bytes} bytes",
                allowed=f"the {header.payload_bytes} its header says",
            )
        found = checksum(profile.digest, data[:8], data[12:end])
        if found != header.checksum:
            raise ChecksumError(
                f"{path}.header.checksum",
                f"is {header.checksum:#010x}, the bytes give {found:#010x}",
                remedy="the frame was damaged on its way, or made with another profile",
            )
        return header

    def write(self, digest: bytes, payload: bytes) -> bytes:
        """Header and payload; ``checksum`` is computed, the field's own value is not used."""
        head = bytes(
            (
                (VERSION << 4) | self.sliced,
                (self.rung << 5) | (len(payload) >> 16),
                len(payload) & 0xFF,
                (len(payload) >> 8) & 0xFF,
                digest[0],
                digest[1],
                self.sequence & 0xFF,
                self.sequence >> 8,
            )
        )
        rest = (bytes((self.slice, self.slices - 1)) if self.sliced else b"") + payload
        return head + checksum(digest, head, rest).to_bytes(4, "little") + rest


def _check_identity(profile: Profile, data: Octets, path: str) -> None:
    """Version, flags, profile, sliced or not: what must hold before other fields mean anything."""
    if len(data) < 1 or data[0] >> 4 != VERSION or data[0] & 0x0E:
        SliceHeader.read(data, path)
    if len(data) < HEADER_BYTES:
        raise TruncatedError(
            f"{path}.header", f"has {len(data)} bytes", allowed=f">= {HEADER_BYTES} bytes"
        )
    if bytes(data[4:6]) != profile.digest[:2]:
        raise ProfileMismatchError(
            f"{path}.header.profile",
            f"is {bytes(data[4:6]).hex()}",
            allowed=f"{profile.digest[:2].hex()} (this bundle)",
            remedy="decode with the bundle the firmware was generated with",
        )
    if bool(data[0] & 1) != (profile.slices > 1):
        raise SliceError(
            f"{path}.header.flags",
            "frame is sliced" if data[0] & 1 else "frame is not sliced",
            allowed=f"{profile.slices} slices",
        )
