"""Files of cases for case_driver.c, and the answers the reference gives."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.binarisation import binarisation
from isthmus.codec import decode_frame, encode_frame
from isthmus.codec.reference import encode_levels, frame_bytes_max
from isthmus.errors import FrameError
from isthmus.profile import Profile, Rung
from isthmus.trained import Trained

_TYPES = {"int8": 0, "int16": 1, "float32": 2, "uint8": 3}


def words(*values: int) -> bytes:
    """32-bit little-endian numbers; negative ones in two's complement."""
    return struct.pack(f"<{len(values)}I", *(value & 0xFFFFFFFF for value in values))


def trained_tables(rung: Rung, trained: Trained) -> bytes:
    """What isth_trained describes, one entry after the other from its comments."""
    classes, outside = max(trained.classes) + 1, trained.classes[-1]
    sets, size = max(trained.cells) + 1, len(trained.frequencies[0]) + 1
    cells = bytearray(256 * classes)
    for number, cell in enumerate(trained.cells):
        up, rest = divmod(number, classes**2)
        left, up_left = divmod(rest, classes)
        cells[256 * up + 16 * up_left + left] = cell
    choices = [0] * (32 * trained.channels)
    for number, choice in enumerate(trained.choices):
        channel, cell = divmod(number, sets)
        choices[32 * channel + cell] = choice * size
    pairs = [256 * s + c for s, c in zip(trained.symbols, trained.classes, strict=False)]
    own = bytes(trained.symbols.index(s) if s else 0 for s in range(size - 1))
    starts = [
        sum(row[:symbol]) for row in trained.frequencies for symbol in range(size)
    ]  # the last one is the sum of all
    table = rung.table_i8 or b""
    bits = next(bits for bits in range(9) if 2**bits >= rung.levels)
    return (
        words(trained.channels, size - 1, classes, len(trained.frequencies), bits, 17 * outside)
        + words(int(rung.grids is not None)) + bytes(cells) + words(*choices, *pairs)
        + words(int(table != b""), *(pairs[level] for level in table)) + own + words(*starts)
    )  # fmt: skip


class CaseFile:
    """Cases and what must come back, written side by side."""

    def __init__(self) -> None:
        self.cases = bytearray()
        self.answers = bytearray()
        self.count = 0

    def profile(self, profile: Profile) -> None:
        """The profile of the cases that follow."""
        tensor = profile.tensor
        self.cases += b"\1" + words(
            tensor.rows, tensor.row_elements, profile.slice_rows,
            0 if profile.packets is None else profile.packets.unit,
            0 if profile.packets is None else profile.packets.bytes, profile.slices,
            int.from_bytes(profile.digest[:2], "little"), zlib.crc32(profile.digest) ^ 0xFFFFFFFF,
            len(profile.rungs),
        )  # fmt: skip
        for rung in profile.rungs:
            form = binarisation(rung.levels)
            self.cases += words(
                rung.levels, form.classes, form.suffix_bits, rung.rate, form.context_count,
                rung.context_count, rung.budget_start, rung.payload_max,
            )  # fmt: skip
            self.cases += self._start(rung)
            self.cases += words(int(rung.table_i8 is not None)) + (rung.table_i8 or b"")
            rows = 1 if rung.grids is None else rung.grids.channels
            self.cases += words(rows, *rung.thresholds_f32)
            steps = rung.thresholds_i16
            self.cases += words(rows if steps is not None else 0, *(steps or ()))

    @staticmethod
    def _start(rung: Rung) -> bytes:
        """The contexts' starts, and in scheme "neighbour" what chooses among them; or tables."""
        if rung.trained is not None:
            return words(2) + trained_tables(rung, rung.trained)
        choice = rung.contexts
        if choice is None:
            return words(0, *rung.initial)
        form = binarisation(rung.levels)
        of_cluster = choice.class_count**2 * form.context_count
        # bits of equally long codes, times 32: the smallest c with 2 ** c >= H ** 32
        cost = next(c for c in range(129) if 2**c >= form.classes**32) + 32 * form.suffix_bits
        return (
            words(1, len(choice.clusters), choice.step, choice.class_count, cost)
            + words(*(cluster * of_cluster for cluster in choice.clusters))
            + bytes(number * form.context_count for number in choice.classes)
            + bytes(value >> 8 for value in rung.initial)
        )

    def encode(
        self, profile: Profile, rung: int, sequence: int, tensor: npt.NDArray[Any], piece: int = 0
    ) -> bytes:
        """Into a buffer of the size that is always enough; returns the frame expected."""
        if tensor.dtype == np.uint8:
            frame = encode_levels(profile, rung, sequence, tensor)
        else:
            frame = encode_frame(profile, rung, sequence, tensor)
        capacity = frame_bytes_max(profile, profile.rungs[rung])
        self._encode(rung, sequence, tensor, capacity, piece)
        self.answers += words(0, len(frame), len(frame)) + frame
        return frame

    def _encode(
        self, rung: int, sequence: int, tensor: npt.NDArray[Any], capacity: int, piece: int
    ) -> None:
        data = np.ascontiguousarray(tensor).tobytes()
        head = words(_TYPES[tensor.dtype.name], rung, sequence, capacity, piece, len(data))
        self.cases += b"\2" + head + data
        self.count += 1

    def encode_short(self, profile: Profile, tensor: npt.NDArray[Any], capacity: int) -> None:
        """Into a buffer that is too small: status 14. The length is read by :func:`lengths`."""
        self._encode(0, 0, tensor, capacity, 0)

    def decode(self, profile: Profile, frame: bytes) -> None:
        """A frame, good or bad."""
        self.cases += b"\3" + words(len(frame)) + frame
        self.count += 1
        try:
            levels = decode_frame(profile, frame).levels.tobytes()
            self.answers += words(0, len(levels)) + levels
        except FrameError as error:
            self.answers += words(error.code, 0)
