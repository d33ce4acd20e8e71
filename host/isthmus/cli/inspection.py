"""What a frame says, field by field, as data for a table or JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.codec.frame import HEADER_BYTES, SliceHeader
from isthmus.codec.reference import decode_frame
from isthmus.errors import FrameError
from isthmus.profile import Profile

__all__ = ["inspect_frame"]


def inspect_frame(data: bytes, profile: Profile | None) -> dict[str, Any]:
    """Fields of the first slice's header and, with ``profile``, what the frame decodes to.

    Raises FrameError where not even the header can be read; with a profile, an undecodable frame
    is reported under ``error`` and its fields are shown all the same.
    """
    header = SliceHeader.read(data)
    report: dict[str, Any] = {
        "bytes": len(data),
        "header_bytes": header.header_bytes,
        "payload_bytes": header.payload_bytes,
        "fields": _fields(header),
        "summary": [f"{len(data)} bytes: {header.header_bytes} header, the rest payload"],
        "error": None,
    }
    if profile is not None:
        _decode(report, data, profile)
    return report


def _fields(header: SliceHeader) -> list[dict[str, Any]]:
    def row(offset: int, size: int, field: str, value: Any, meaning: str) -> dict[str, Any]:
        return {"offset": offset, "bytes": size, "field": field, "value": value, "meaning": meaning}

    rows = [
        row(0, 1, "version", header.version, "upper four bits; this decoder knows 1"),
        row(0, 1, "flags", int(header.sliced), "bit 0: the frame has several slices"),
        row(1, 1, "rung", header.rung, "upper three bits: which quantiser of the ladder"),
        row(1, 3, "length", header.payload_bytes, "21 bits: payload bytes"),
        row(4, 2, "profile", header.digest_prefix.hex(), "first bytes of the profile's SHA-256"),
        row(6, 2, "sequence", header.sequence, "the sender's frame counter"),
        row(8, 4, "checksum", f"{header.checksum:08x}", "CRC-32 over digest, header and payload"),
    ]
    if header.sliced:
        rows.append(row(12, 1, "slice", header.slice, "which slice of the frame"))
        rows.append(row(13, 1, "slices", header.slices, "slices of the frame (stored less one)"))
    payload = HEADER_BYTES + (2 if header.sliced else 0)
    rows.append(row(payload, header.payload_bytes, "payload", "", "arithmetic-coded bins"))
    return rows


def _decode(report: dict[str, Any], data: bytes, profile: Profile) -> None:
    try:
        frame = decode_frame(profile, data)
    except FrameError as error:
        report["error"] = error.as_dict()
        report["summary"].append(f"refused, code {error.code} ({error.name}): {error}")
        return
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
