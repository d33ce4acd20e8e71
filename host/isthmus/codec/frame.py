"""Headers, lengths and checksums (BITSTREAM.md, 3).

A slice:                                                   A packet (profiles with packets):
byte   0      version (4 bits) | flags: bit 0 sliced       version | 2, or 6 where it is flat
byte   1      rung (3 bits) | payload length, bits 16..20  rung | payload length, bits 8..12
bytes  2..3   payload length, bits 0..15                   2: length, bits 0..7; 3..4: sequence
bytes  4..5   first two bytes of the profile's digest      5..6: first unit
bytes  6..7   sequence                                     7: units - 1
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
    packet: bool = False
    flat: bool = False
    first_unit: int = 0
    units: int = 0

    def first(self, profile: Profile) -> int:
        """The first element of this slice or packet."""
        if profile.packets is not None:
            return self.first_unit * profile.packets.unit
        return self.slice * profile.slice_rows * profile.tensor.row_elements

    def elements(self, profile: Profile) -> int:
        """Elements of this slice or packet."""
        if profile.packets is not None:
            return self.units * profile.packets.unit
        return profile.slice_elements(self.slice)

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
        if data[0] & 0x0F not in (0, 1, 2, 6):
            raise FlagsError(
                f"{path}.header.flags", f"are {data[0] & 0x0F:#x}", allowed="0, 1, 2 or 6"
            )
        if data[0] & 2:
            return cls._read_packet(data, path)
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
    def _read_packet(cls, data: Octets, path: str) -> SliceHeader:
        if len(data) < HEADER_BYTES:
            raise TruncatedError(
                f"{path}.header", f"has {len(data)} bytes", allowed=f"{HEADER_BYTES} bytes"
            )
        return cls(
            version=data[0] >> 4,
            sliced=False,
            rung=data[1] >> 5,
            payload_bytes=((data[1] & 0x1F) << 8) | data[2],
            digest_prefix=b"",
            sequence=int.from_bytes(data[3:5], "little"),
            checksum=int.from_bytes(data[8:12], "little"),
            slice=0,
            slices=1,
            packet=True,
            flat=bool(data[0] & 4),
            first_unit=int.from_bytes(data[5:7], "little"),
            units=data[7] + 1,
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
        limit = _check_place(profile, header, path)
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
        head = self._packet_head(len(payload)) if self.packet else self._head(digest, payload)
        rest = (bytes((self.slice, self.slices - 1)) if self.sliced else b"") + payload
        return head + checksum(digest, head, rest).to_bytes(4, "little") + rest

    def _packet_head(self, length: int) -> bytes:
        return bytes(
            (
                (VERSION << 4) | 2 | (self.flat << 2),
                (self.rung << 5) | (length >> 8),
                length & 0xFF,
                self.sequence & 0xFF,
                self.sequence >> 8,
                self.first_unit & 0xFF,
                self.first_unit >> 8,
                self.units - 1,
            )
        )

    def _head(self, digest: bytes, payload: bytes) -> bytes:
        return bytes(
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


def _check_place(profile: Profile, header: SliceHeader, path: str) -> int:
    """That the tensor has this slice or these units; the bytes that their payload may have."""
    if profile.packets is not None:
        units = profile.tensor.elements // profile.packets.unit
        if header.first_unit + header.units > units:
            raise SliceError(
                f"{path}.header.first",
                f"is {header.first_unit}, {header.units} units",
                allowed=f"units of 0..{units - 1}",
            )
        return profile.packets.bytes - HEADER_BYTES
    if header.slices != profile.slices or header.slice >= profile.slices:
        raise SliceError(
            f"{path}.header.slice",
            f"is {header.slice} of {header.slices}",
            allowed=f"0..{profile.slices - 1} of {profile.slices}",
        )
    return profile.rungs[header.rung].payload_max


def _check_identity(profile: Profile, data: Octets, path: str) -> None:
    """Version, flags, profile, sliced or not: what must hold before other fields mean anything."""
    if len(data) < 1 or data[0] >> 4 != VERSION:
        SliceHeader.read(data, path)
    reserved, known = (0x0E, "0 or 1") if profile.packets is None else (0x08, "2 or 6")
    if data[0] & reserved:
        raise FlagsError(f"{path}.header.flags", f"are {data[0] & 0x0F:#x}", allowed=known)
    if len(data) < HEADER_BYTES:
        raise TruncatedError(
            f"{path}.header", f"has {len(data)} bytes", allowed=f">= {HEADER_BYTES} bytes"
        )
    if profile.packets is not None:
        if data[0] & 3 != 2:
            raise SliceError(
                f"{path}.header.flags", "frame is not cut into packets", allowed="packets"
            )
        return
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
