"""What a frame says, field by field and slice by slice, as data for a table or JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.codec.frame import SliceHeader
from isthmus.codec.reference import decode_frame
from isthmus.errors import FrameError, TrailingError, TruncatedError
from isthmus.profile import Profile

__all__ = ["inspect_frame"]


def inspect_frame(data: bytes, profile: Profile | None) -> tuple[dict[str, Any], FrameError | None]:
    """(what the frame says, what is wrong with it or None).

    Every slice's header is read as it stands, by the lengths the headers give; with ``profile``
    the frame is decoded as well. Raises FrameError where not even the first header can be read.
    """
    slices, error = _walk(data)
    headers = sum(header.header_bytes for _, header in slices)
    payloads = sum(header.payload_bytes for _, header in slices)
    kind = "packet" if slices[0][1].packet else "slice"
    report: dict[str, Any] = {
        "bytes": len(data),
        "header_bytes": headers,
        "payload_bytes": payloads,
        "slices": len(slices),
        "fields": [row for at, header in slices for row in _fields(at, header)],
        "summary": [
            f"{len(data)} bytes in {len(slices)} {kind}{'s' if len(slices) > 1 else ''}: "
            f"{headers} header, {payloads} payload"
        ],
        "error": None,
    }
    if profile is not None:
        error = _decode(report, data, profile)
    if error is not None:
        report["summary"].append(f"refused, code {error.code} ({error.name}): {error}")
    return report, error


def _walk(data: bytes) -> tuple[list[tuple[int, SliceHeader]], FrameError | None]:
    """The slices that the headers describe, with their offsets, and where that goes wrong."""
    first = SliceHeader.read(data)
    slices = [(0, first)]
    end = first.header_bytes + first.payload_bytes
    while end < len(data) and (first.packet or len(slices) < first.slices):
        try:
            header = SliceHeader.read(data[end : end + 14], f"frame.slices[{len(slices)}]")
        except FrameError as error:
            return slices, error
        slices.append((end, header))
        end += header.header_bytes + header.payload_bytes
    if end > len(data):
        return slices, TruncatedError(
            "frame", f"has {len(data)} bytes", allowed=f"the {end} its headers say"
        )
    if end < len(data):
        return slices, TrailingError(
            "frame", f"goes on for {len(data) - end} bytes", allowed=f"{end} bytes"
        )
    return slices, None


def _fields(at: int, header: SliceHeader) -> list[dict[str, Any]]:
    def row(offset: int, size: int, field: str, value: Any, meaning: str) -> dict[str, Any]:
        return {
            "offset": at + offset,
            "bytes": size,
            "field": field,
            "value": value,
            "meaning": meaning,
        }

    payload = row(header.header_bytes, header.payload_bytes, "payload", "", "arithmetic-coded bins")
    version = row(0, 1, "version", header.version, "upper four bits; this decoder knows 1")
    if header.packet:
        return [
            version,
            row(0, 1, "flags", 2 + 4 * header.flat, "bit 1: a packet; bit 2: coded flat"),
            row(1, 1, "rung", header.rung, "upper three bits: which quantiser of the ladder"),
            row(1, 2, "length", header.payload_bytes, "13 bits: payload bytes"),
            row(3, 2, "sequence", header.sequence, "the sender's frame counter"),
            row(5, 2, "first", header.first_unit, "its first unit of the tensor"),
            row(7, 1, "units", header.units, "units it holds; the byte is one less"),
            row(8, 4, "checksum", f"{header.checksum:08x}", "CRC-32 over digest, header, payload"),
            payload,
        ]
    rows = [
        version,
        row(0, 1, "flags", int(header.sliced), "bit 0: the frame has several slices"),
        row(1, 1, "rung", header.rung, "upper three bits: which quantiser of the ladder"),
        row(1, 3, "length", header.payload_bytes, "21 bits: payload bytes"),
        row(4, 2, "profile", header.digest_prefix.hex(), "first bytes of the profile's SHA-256"),
        row(6, 2, "sequence", header.sequence, "the sender's frame counter"),
        row(8, 4, "checksum", f"{header.checksum:08x}", "CRC-32 over digest, header and payload"),
    ]
    if header.sliced:
        rows.append(row(12, 1, "slice", header.slice, "which slice of the frame"))
        rows.append(
            row(13, 1, "slices", header.slices, "slices of the frame; the byte is one less")
        )
    rows.append(payload)
    return rows


def _decode(report: dict[str, Any], data: bytes, profile: Profile) -> FrameError | None:
    """Adds what the frame holds to ``report``, or returns what is wrong with it."""
    try:
        frame = decode_frame(profile, data)
    except FrameError as error:
        return error
    rung = profile.rungs[frame.rung]
    counts = np.bincount(frame.levels.reshape(-1), minlength=rung.levels)
    elements = max(1, frame.levels.size)
    report["profile_digest"] = profile.digest.hex()
    report["tensor_shape"] = list(profile.tensor.shape)
    report["levels"] = rung.levels
    report["level_counts"] = [int(count) for count in counts]
    report["bits_per_element"] = 8.0 * len(data) / elements
    shape = " x ".join(str(size) for size in profile.tensor.shape)
    report["summary"] += [
        f"profile {profile.digest.hex()[:16]}, tensor {profile.tensor.name} of {shape}",
        f"{rung.levels} levels, {report['bits_per_element']:.3f} bits per element, header included",
        "level counts: " + " ".join(str(int(count)) for count in counts),
    ]
    return None
