"""What a run of the firmware gives, and the two streams the harness reads and writes.

The layout of both streams is drawn at the top of ``templates/harness/stream.c``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isthmus.errors import DataDtypeError, DataShapeError, EmulationError

__all__ = ["FirmwareRun", "check_inputs", "pack_inputs", "parse_records"]

_MAGIC = 0x48545349


@dataclass(frozen=True)
class FirmwareRun:
    """What the firmware made of n inputs.

    ``tensors`` int8 [n, bytes of a tensor], raw where its elements are int16 or float32;
    ``frames`` and ``statuses`` one each (a frame is empty where the status is not 0). Instruction
    counts are retired instructions, the mean over the inputs that were counted, None where the
    emulator counts none. ``stack_used_bytes`` is what one step was seen to use.
    """

    tensors: npt.NDArray[np.int8]
    frames: list[bytes]
    statuses: list[int]
    front_instructions: int | None
    encode_instructions: int | None
    stack_used_bytes: int | None
    notes: tuple[str, ...] = ()


def check_inputs(inputs: npt.NDArray[np.int8], input_bytes: int) -> npt.NDArray[np.int8]:
    """``inputs`` as [n, input_bytes]. Raises DataDtypeError and DataShapeError."""
    if inputs.dtype != np.int8:
        raise DataDtypeError("inputs", f"dtype is {inputs.dtype}", allowed="int8")
    if inputs.ndim < 2 or inputs.shape[0] == 0 or inputs.size != inputs.shape[0] * input_bytes:
        raise DataShapeError(
            "inputs", f"shape is {inputs.shape}", allowed=f"(n, ...) with {input_bytes} bytes each"
        )
    return np.ascontiguousarray(inputs.reshape(inputs.shape[0], input_bytes))


def pack_inputs(inputs: npt.NDArray[np.int8], rungs: Sequence[int]) -> bytes:
    """The input stream for int8 [n, input_bytes]; input i gets sequence number i modulo 2^16."""
    parts = [struct.pack("<4I", _MAGIC, len(inputs), inputs.shape[1], 0)]
    for i, (row, rung) in enumerate(zip(inputs, rungs, strict=True)):
        parts.append(struct.pack("<2I", rung, i & 0xFFFF) + row.tobytes())
    return b"".join(parts)


def parse_records(
    data: bytes, count: int, *, instructions_per_tick: float | None, path: str
) -> FirmwareRun:
    """The run in an output stream of ``count`` records.

    ``instructions_per_tick`` is None where ticks mean nothing. Raises EmulationError where the
    stream is not whole.
    """
    if len(data) < 16 or struct.unpack_from("<I", data)[0] != _MAGIC:
        raise EmulationError(path, "the program wrote no output")
    size_of_tensor: int = struct.unpack_from("<I", data, 4)[0]
    tensors = np.empty((count, size_of_tensor), dtype=np.int8)
    frames: list[bytes] = []
    statuses: list[int] = []
    front: list[int] = []
    encode: list[int] = []
    stack = 0
    at = 16
    for i in range(count):
        if at + 32 + size_of_tensor > len(data):
            raise EmulationError(path, f"the output ends in record {i} of {count}")
        status, length, front_low, front_high, encode_low, encode_high, used, _ = (
            struct.unpack_from("<8I", data, at)
        )
        at += 32
        tensors[i] = np.frombuffer(data, dtype=np.int8, count=size_of_tensor, offset=at)
        at += size_of_tensor
        size = length if status == 0 else 0
        if at + size > len(data):
            raise EmulationError(path, f"the output ends in the frame of record {i} of {count}")
        frames.append(data[at : at + size])
        at += size
        statuses.append(status)
        front.append(front_low | front_high << 32)
        encode.append(encode_low | encode_high << 32)
        stack = max(stack, used)
    if at != len(data):
        raise EmulationError(path, f"{len(data) - at} bytes follow the last record")
    return FirmwareRun(
        tensors=tensors,
        frames=frames,
        statuses=statuses,
        front_instructions=_mean(front, instructions_per_tick),
        encode_instructions=_mean(encode, instructions_per_tick),
        stack_used_bytes=stack or None,
    )


def _mean(ticks: Sequence[int], instructions_per_tick: float | None) -> int | None:
    if instructions_per_tick is None:
        return None
    return round(sum(ticks) * instructions_per_tick / len(ticks))
