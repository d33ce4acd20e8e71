"""Whole slices and frames with the plain-Python coder; normative (BITSTREAM.md, 3, 7 and 8)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.codec.arithmetic import FinalState, Reader, Writer, adapt
from isthmus.codec.frame import HEADER_BYTES, SLICED_HEADER_BYTES, Octets, SliceHeader
from isthmus.codec.quantise import check_levels, levels_of
from isthmus.codec.walk import Walk
from isthmus.errors import (
    DataDtypeError,
    LevelError,
    MissingSliceError,
    RungError,
    SequenceError,
    SliceError,
    TrailingError,
)
from isthmus.profile import Profile, Rung

__all__ = [
    "DecodedFrame",
    "decode_frame",
    "decode_payload",
    "encode_frame",
    "encode_levels",
    "encode_payload",
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
    walk = Walk(rung, row_elements)
    writer = Writer(walk.contexts, rung.rate)
    put_levels(walk, writer, levels)
    state = writer.state
    return writer.finish(), state


def put_levels(walk: Walk, writer: Writer, levels: npt.NDArray[np.uint8]) -> None:
    """Codes flat ``levels``, the next of a slice; LevelError where one is not below N."""
    form = walk.form
    bins = [form.bins(level) for level in range(form.levels)]
    for position, level in enumerate(levels.tolist()):
        if level >= form.levels:
            raise LevelError(f"levels[{position}]", f"is {level}", allowed=f"< {form.levels}")
        base = walk.base
        for context, bin_ in bins[level]:
            writer.write(base + context, bin_)
        walk.put(level, writer.shifts)


def decode_payload(
    rung: Rung, payload: bytes, elements: int, path: str = "frame", row_elements: int = 1
) -> tuple[npt.NDArray[np.uint8], FinalState]:
    """The flat levels of one slice's payload, and the coder's state after the last bin."""
    return take_levels(Walk(rung, row_elements), rung, payload, elements, path)


def take_levels(
    walk: Walk, rung: Rung, payload: bytes, elements: int, path: str
) -> tuple[npt.NDArray[np.uint8], FinalState]:
    """As :func:`decode_payload`, for the slice that ``walk`` stands at the start of."""
    reader = Reader(payload, walk.contexts, rung.rate, f"{path}.payload")
    levels = np.empty(elements, dtype=np.uint8)
    for position in range(elements):
        base = walk.base
        level = walk.form.read(lambda context, base=base: reader.read(base + context))
        if level >= rung.levels:
            raise LevelError(
                f"{path}.payload[{position}]", f"is level {level}", allowed=f"< {rung.levels}"
            )
        levels[position] = level
        walk.put(level, reader.shifts)
    return levels, reader.finish()


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
    check_levels(profile, levels)
    flat = levels.reshape(-1)
    out = []
    at = 0
    for index in range(profile.slices):
        count = profile.slice_elements(index)
        payload, _ = encode_payload(
            chosen, flat[at : at + count], profile.tensor.row_elements
        )
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


def frame_bytes_max(profile: Profile) -> int:
    """Bytes that no good frame of ``profile`` exceeds, whatever its rung."""
    header = SLICED_HEADER_BYTES if profile.slices > 1 else HEADER_BYTES
    return profile.slices * (header + max(rung.payload_max for rung in profile.rungs))


def slices_of(profile: Profile, frame: Octets) -> Iterator[tuple[str, SliceHeader, bytes]]:
    """(path, header, payload) of every slice, each checked but for what is in the payload.

    Only payloads are copied, and none is longer than the profile allows: whatever the frame's
    length, the work is bounded by :func:`frame_bytes_max`. Raises the FrameError that BITSTREAM.md
    names, TrailingError after the last slice included.
    """
    view = frame_view(frame)
    first: SliceHeader | None = None
    at = 0
    for index in range(profile.slices):
        path = slice_path(profile, index)
        if index > 0 and at == len(view):
            raise MissingSliceError(path, "is missing", allowed=f"{profile.slices} slices")
        header = SliceHeader.parse(profile, view[at:], path)
        first = first or header
        _check_order(first, header, index, path)
        start, at = at + header.header_bytes, at + header.header_bytes + header.payload_bytes
        yield path, header, bytes(view[start:at])
    if at != len(view):
        raise TrailingError("frame", f"goes on for {len(view) - at} bytes", allowed=f"{at} bytes")


def slice_path(profile: Profile, index: int) -> str:
    """How errors call slice ``index``."""
    return f"frame.slices[{index}]" if profile.slices > 1 else "frame"


def decode_frame(profile: Profile, frame: Octets) -> DecodedFrame:
    """The levels of a frame: every slice once and in order, and nothing after the last.

    Raises the FrameError that BITSTREAM.md names for whatever is wrong.
    """
    out = np.empty(profile.tensor.elements, dtype=np.uint8)
    done = rung = sequence = 0
    for path, header, payload in slices_of(profile, frame):
        count = profile.slice_elements(header.slice)
        rung, sequence = header.rung, header.sequence
        levels, _ = decode_payload(
            profile.rungs[rung], payload, count, path, profile.tensor.row_elements
        )
        out[done : done + count] = levels
        done += count
    return DecodedFrame(out.reshape(profile.tensor.shape), rung, sequence)


def _check_order(first: SliceHeader, header: SliceHeader, index: int, path: str) -> None:
    if (header.sequence, header.rung) != (first.sequence, first.rung):
        raise SequenceError(
            f"{path}.header.sequence",
            f"is {header.sequence}, rung {header.rung}",
            allowed=f"{first.sequence}, rung {first.rung}",
        )
    if header.slice > index:
        raise MissingSliceError(path, "is missing", allowed=f"slice {index} here")
    if header.slice < index:
        raise SliceError(
            f"{path}.header.slice", f"is {header.slice}, seen already", allowed=str(index)
        )


def ideal_bits(rung: Rung, levels: npt.NDArray[np.uint8], row_elements: int = 1) -> float:
    """Bits of one slice's ``levels`` at the coder's own probability estimates, without any coder's loss.

    The sum of -log2 of the estimate (context / 65536) of every bin; the yardstick for the coder.
    """
    walk = Walk(rung, row_elements)
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
