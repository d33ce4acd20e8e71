"""Whole slices and frames with the plain-Python coder; normative (BITSTREAM.md, 3, 7 and 8)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.codec.arithmetic import FinalState, adapt
from isthmus.codec.coding import open_walk, open_writer, put_levels, take_levels
from isthmus.codec.frame import HEADER_BYTES, SLICED_HEADER_BYTES, Octets, SliceHeader
from isthmus.codec.near import NearWalk
from isthmus.codec.packets import encode_packets, packet_slack, packets_decodable, packets_max
from isthmus.codec.quantise import check_levels, levels_of
from isthmus.codec.walk import SLACK_BYTES
from isthmus.errors import (
    DataDtypeError,
    MissingSliceError,
    RungError,
    SequenceError,
    SliceError,
    TrailingError,
)
from isthmus.profile import Profile, Rung

__all__ = [
    "DecodedFrame",
    "decodable_bytes_max",
    "decode_frame",
    "decode_payload",
    "decode_slice",
    "encode_frame",
    "encode_levels",
    "encode_payload",
    "final_states",
    "frame_bytes_max",
    "frame_view",
    "ideal_bits",
    "slice_path",
    "slices_of",
]


@dataclass(frozen=True)
class DecodedFrame:
    """What a frame held: levels uint8 of the tensor's shape, its rung and sequence number."""

    levels: npt.NDArray[np.uint8]
    rung: int
    sequence: int


def encode_payload(
    rung: Rung, levels: npt.NDArray[np.uint8], row_elements: int = 1
) -> tuple[bytes, FinalState]:
    """One slice's payload for flat ``levels`` (rows of ``row_elements``), and the coder's state
    before the flush."""
    walk = open_walk(rung, row_elements)
    writer = open_writer(walk, rung)
    put_levels(walk, writer, levels)
    state = writer.state
    return writer.finish(), state


def decode_payload(
    rung: Rung, payload: bytes, elements: int, path: str = "frame", row_elements: int = 1
) -> tuple[npt.NDArray[np.uint8], FinalState]:
    """The flat levels of one slice's payload, and the coder's state after the last bin."""
    return take_levels(open_walk(rung, row_elements), rung, payload, elements, path)


def rung_of(profile: Profile, index: int) -> Rung:
    """Rung ``index`` of the ladder; RungError where there is none."""
    if not 0 <= index < len(profile.rungs):
        raise RungError("rung", f"is {index}", allowed=f"0..{len(profile.rungs) - 1}")
    return profile.rungs[index]


def encode_levels(
    profile: Profile, rung: int, sequence: int, levels: npt.NDArray[np.uint8]
) -> bytes:
    """The frame for flat or shaped ``levels`` (uint8): every slice, header included.

    DataShapeError or DataDtypeError where they are not the tensor's, LevelError where one is not
    below the rung's N.
    """
    chosen = rung_of(profile, rung)
    check_levels(profile, chosen, levels)
    flat = levels.reshape(-1)
    if profile.packets is not None:
        return encode_packets(profile, profile.packets, rung, sequence, flat)
    out = []
    at = 0
    for index in range(profile.slices):
        count = profile.slice_elements(index)
        payload, _ = encode_payload(chosen, flat[at : at + count], profile.tensor.row_elements)
        header = SliceHeader(
            version=1,
            sliced=profile.slices > 1,
            rung=rung,
            payload_bytes=len(payload),
            digest_prefix=profile.digest[:2],
            sequence=sequence & 0xFFFF,
            checksum=0,
            slice=index,
            slices=profile.slices,
        )
        out.append(header.write(profile.digest, payload))
        at += count
    return b"".join(out)


def encode_frame(profile: Profile, rung: int, sequence: int, tensor: npt.NDArray[Any]) -> bytes:
    """The frame for a tensor of the profile's shape (int8, int16 or float32)."""
    return encode_levels(
        profile, rung, sequence, levels_of(profile, rung_of(profile, rung), tensor)
    )


def frame_view(frame: Octets) -> memoryview:
    """The octets of ``frame`` (any bytes-like object), not copied.

    DataDtypeError for anything else: ``bytes(7)`` would be a frame of seven zeros.
    """
    try:
        view = memoryview(frame)
        return view.cast("B") if view.nbytes else memoryview(b"")
    except TypeError:
        raise DataDtypeError(
            "frame", f"is a {type(frame).__name__}",
            allowed="bytes, or a contiguous bytes-like object",
            remedy="give the octets of one frame, as they were received",
        ) from None  # fmt: skip


def frame_bytes_max(profile: Profile, rung: Rung | None = None) -> int:
    """Bytes that no frame of an encoder here exceeds: of this rung, or of any."""
    rungs = profile.rungs if rung is None else (rung,)
    if profile.packets is not None:
        packets = profile.packets
        return max(packets_max(profile, packets, each) for each in rungs)
    header = SLICED_HEADER_BYTES if profile.slices > 1 else HEADER_BYTES
    return profile.slices * (header + max(each.payload_max for each in rungs))


def decodable_bytes_max(profile: Profile) -> int:
    """Bytes that no good frame of ``profile`` exceeds, whoever divided it into packets."""
    if profile.packets is None:
        return frame_bytes_max(profile)
    return max(packets_decodable(profile, profile.packets, rung) for rung in profile.rungs)


def slices_of(profile: Profile, frame: Octets) -> Iterator[tuple[str, SliceHeader, bytes]]:
    """(path, header, payload) of every slice or packet, checked but for what is in the payload.

    Only payloads are copied, and none is longer than the profile allows: whatever the frame's
    length, the work is bounded by :func:`decodable_bytes_max`. Raises the FrameError that
    BITSTREAM.md names, TrailingError after the last slice included.
    """
    view = frame_view(frame)
    first: SliceHeader | None = None
    at = done = index = 0
    while done < profile.tensor.elements if profile.packets else index < profile.slices:
        path = slice_path(profile, index)
        if index > 0 and at == len(view):
            raise MissingSliceError(path, "is missing", allowed="all slices of the tensor")
        header = SliceHeader.parse(profile, view[at:], path)
        first = first or header
        _check_sender(first, header, path)
        if profile.packets:
            _check_number(header.first(profile), done, path, "first")
        else:
            _check_number(header.slice, index, path, "slice")
        start, at = at + header.header_bytes, at + header.header_bytes + header.payload_bytes
        yield path, header, bytes(view[start:at])
        done += header.elements(profile)
        index += 1
    if at != len(view):
        raise TrailingError("frame", f"goes on for {len(view) - at} bytes", allowed=f"{at} bytes")


def slice_path(profile: Profile, index: int) -> str:
    """How errors call slice ``index``."""
    if profile.packets is not None:
        return f"frame.packets[{index}]"
    return f"frame.slices[{index}]" if profile.slices > 1 else "frame"


def decode_frame(profile: Profile, frame: Octets) -> DecodedFrame:
    """The levels of a frame: every slice once and in order, and nothing after the last.

    Raises the FrameError that BITSTREAM.md names for whatever is wrong.
    """
    out = np.empty(profile.tensor.elements, dtype=np.uint8)
    done = rung = sequence = 0
    for path, header, payload in slices_of(profile, frame):
        rung, sequence = header.rung, header.sequence
        levels = decode_slice(profile, header, payload, path)
        out[done : done + len(levels)] = levels
        done += len(levels)
    return DecodedFrame(out.reshape(profile.tensor.shape), rung, sequence)


def decode_slice(
    profile: Profile, header: SliceHeader, payload: bytes, path: str = "frame"
) -> npt.NDArray[np.uint8]:
    """The flat levels of one slice or packet, which needs no other."""
    return _take(profile, header, payload, path)[0]


def final_states(profile: Profile, frame: Octets) -> list[FinalState]:
    """The coder's state before the flush, for every slice or packet of a good frame."""
    return [
        _take(profile, header, payload, path)[1]
        for path, header, payload in slices_of(profile, frame)
    ]


def _take(
    profile: Profile, header: SliceHeader, payload: bytes, path: str
) -> tuple[npt.NDArray[np.uint8], FinalState]:
    """A slice's or packet's flat levels, and the coder's state after the last bin."""
    rung = profile.rungs[header.rung]
    walk = open_walk(
        rung,
        profile.tensor.row_elements,
        start=header.first(profile),
        slack=SLACK_BYTES if profile.packets is None else packet_slack(profile.packets),
        flat=header.flat,
    )
    return take_levels(walk, rung, payload, header.elements(profile), path)


def _check_sender(first: SliceHeader, header: SliceHeader, path: str) -> None:
    if (header.sequence, header.rung) != (first.sequence, first.rung):
        raise SequenceError(
            f"{path}.header.sequence",
            f"is {header.sequence}, rung {header.rung}",
            allowed=f"{first.sequence}, rung {first.rung}",
        )


def _check_number(found: int, expected: int, path: str, what: str) -> None:
    if found > expected:
        raise MissingSliceError(path, "is missing", allowed=f"{what} {expected} here")
    if found < expected:
        raise SliceError(
            f"{path}.header.{what}", f"is {found}, seen already", allowed=str(expected)
        )


def near_bits(walk: NearWalk, levels: npt.NDArray[np.uint8]) -> float:
    """The same for a near-lossless slice."""
    total = 0.0
    for level in levels.reshape(-1).tolist():
        total += walk.ideal_bits(level)
        walk.go_on(level, math.floor(total / 8))
    return total


def ideal_bits(rung: Rung, levels: npt.NDArray[np.uint8], row_elements: int = 1) -> float:
    """Bits of one slice's ``levels`` at the coder's own estimates, without any coder's loss.

    The sum of -log2 of the estimate of every bin or symbol; the yardstick for the coder.
    """
    walk = open_walk(rung, row_elements)
    if isinstance(walk, NearWalk):
        return near_bits(walk, levels)
    bins = [walk.form.bins(level) for level in range(rung.levels)]
    total = 0.0
    for level in levels.reshape(-1).tolist():
        base = walk.base
        for context, bin_ in bins[level]:
            p = walk.contexts[base + context]
            total -= math.log2(p if bin_ else 65536 - p) - 16
            walk.contexts[base + context] = adapt(p, bin_, rung.rate)
        walk.put(level, math.floor(total / 8))
    return total
