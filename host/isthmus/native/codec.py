"""A profile's tables in C form, and calls into the native coder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.binarisation import binarisation
from isthmus.codec.quantise import check_levels
from isthmus.codec.reference import DecodedFrame, rung_of, slice_path, slices_of
from isthmus.errors import (
    DataDtypeError,
    DataShapeError,
    FrameError,
    LevelError,
    PayloadError,
    frame_error,
)
from isthmus.native.build import load_library
from isthmus.profile import Profile, Rung

__all__ = ["NativeCodec"]

_PUSH = {"int8": "i8", "int16": "i16", "float32": "f32"}
_POINTER = {"int8": "int8_t *", "int16": "int16_t *", "float32": "float *", "uint8": "uint8_t *"}


def crc_register(data: bytes) -> int:
    """The CRC-32 register (not yet inverted) after ``data``: what the C tables keep."""
    import zlib

    return zlib.crc32(data) ^ 0xFFFFFFFF


class NativeCodec:
    """Encodes and decodes frames of one profile in C. Safe to use from several threads."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._ffi, self._lib = load_library()
        self._keep: list[Any] = []
        self._contexts = max(binarisation(rung.levels).context_count for rung in profile.rungs)
        self._profile = self._make_profile(profile)

    def encode(self, rung: int, sequence: int, tensor: npt.NDArray[Any]) -> bytes:
        """The frame for a tensor of the profile's shape (int8, int16 or float32)."""
        if tuple(tensor.shape) != self.profile.tensor.shape:
            raise DataShapeError(
                "tensor", f"has shape {tuple(tensor.shape)}", allowed=str(self.profile.tensor.shape)
            )
        kind = _PUSH.get(str(tensor.dtype))
        if kind is None or not self._has_tables(rung_of(self.profile, rung), kind):
            raise DataDtypeError(
                "tensor",
                f"has dtype {tensor.dtype}",
                allowed=f"{self.profile.tensor.dtype} or float32",
            )
        return self._encode(kind, rung, sequence, np.ascontiguousarray(tensor))

    def encode_levels(self, rung: int, sequence: int, levels: npt.NDArray[np.uint8]) -> bytes:
        """The frame for levels (uint8, flat or shaped)."""
        rung_of(self.profile, rung)
        check_levels(self.profile, levels)
        return self._encode("levels", rung, sequence, np.ascontiguousarray(levels))

    def encode_into(
        self, rung: int, sequence: int, tensor: npt.NDArray[Any], capacity: int
    ) -> tuple[int, int, bytes]:
        """(status, length, buffer) of one C call with a buffer of ``capacity`` bytes."""
        kind = "levels" if tensor.dtype == np.uint8 else _PUSH[str(tensor.dtype)]
        ffi = self._ffi
        out = ffi.new("uint8_t[]", capacity + 8)
        ffi.memmove(out + capacity, b"\xa5" * 8, 8)
        length = ffi.new("size_t *")
        contexts = ffi.new("uint16_t[]", self._contexts)
        source = np.ascontiguousarray(tensor)
        status = getattr(self._lib, f"isth_encode_{kind}")(
            self._profile, rung, sequence & 0xFFFF, self._pointer(source), contexts,
            self._contexts, out, capacity, length,
        )  # fmt: skip
        if bytes(ffi.buffer(out + capacity, 8)) != b"\xa5" * 8:
            raise frame_error(14, "encoder", "wrote past the end of its buffer")
        return int(status), int(length[0]), bytes(ffi.buffer(out, capacity))

    def decode(self, frame: bytes) -> DecodedFrame:
        """The levels of one frame; raises what the reference raises for a bad one."""
        result = self.decode_batch([frame])[0]
        if isinstance(result, FrameError):
            raise result
        return result

    def decode_batch(self, frames: Sequence[bytes]) -> list[DecodedFrame | FrameError]:
        """Frames decoded in one C call without the GIL; a bad frame yields its error."""
        ffi = self._ffi
        count = len(frames)
        elements = self.profile.tensor.elements
        offsets = np.zeros(count + 1, dtype=np.uintp)
        np.cumsum([len(frame) for frame in frames], out=offsets[1:])
        levels = np.empty((count, elements), dtype=np.uint8)
        statuses = np.empty(count, dtype=np.int32)
        infos = ffi.new("isth_slice_info[]", max(1, count))
        data = b"".join(frames)
        self._lib.isth_host_decode_batch(
            self._profile, ffi.from_buffer("uint8_t[]", data),
            ffi.cast("size_t *", ffi.from_buffer(offsets)), count,
            ffi.new("uint16_t[]", self._contexts), self._contexts,
            ffi.cast("uint8_t *", ffi.from_buffer(levels)), elements, infos,
            ffi.cast("int32_t *", ffi.from_buffer(statuses)),
        )  # fmt: skip
        shape = self.profile.tensor.shape
        out: list[DecodedFrame | FrameError] = []
        for index in range(count):
            if statuses[index] != 0:
                out.append(
                    self._explain(int(statuses[index]), frames[index], int(infos[index].slice))
                )
            else:
                info = infos[index]
                out.append(
                    DecodedFrame(levels[index].reshape(shape), int(info.rung), int(info.sequence))
                )
        return out

    def _explain(self, status: int, frame: bytes, index: int) -> FrameError:
        """The error with its path; ``index`` is the slice that C stopped at.

        Headers are cheap, so the reference tells what it sees in them; payloads are not read again.
        """
        path = slice_path(self.profile, index)
        if status in (PayloadError.code, LevelError.code):
            return frame_error(status, f"{path}.payload")
        try:
            for _ in slices_of(self.profile, bytes(frame)):
                pass
        except FrameError as error:
            if error.code == status:
                return error
        return frame_error(status, path)

    def _encode(self, kind: str, rung: int, sequence: int, source: npt.NDArray[Any]) -> bytes:
        ffi = self._ffi
        capacity = self.frame_max(rung)
        out = ffi.new("uint8_t[]", capacity)
        length = ffi.new("size_t *")
        status = getattr(self._lib, f"isth_encode_{kind}")(
            self._profile, rung, sequence & 0xFFFF, self._pointer(source),
            ffi.new("uint16_t[]", self._contexts), self._contexts, out, capacity, length,
        )  # fmt: skip
        if status != 0:
            raise frame_error(int(status), "encoder")
        return bytes(ffi.buffer(out, length[0]))

    def frame_max(self, rung: int) -> int:
        """Bytes that no frame of this rung exceeds."""
        header = 14 if self.profile.slices > 1 else 12
        return self.profile.slices * (header + rung_of(self.profile, rung).payload_max)

    def _pointer(self, source: npt.NDArray[Any]) -> Any:
        return self._ffi.cast(_POINTER[str(source.dtype)], self._ffi.from_buffer(source))

    @staticmethod
    def _has_tables(rung: Rung, kind: str) -> bool:
        if kind == "i8":
            return rung.table_i8 is not None
        return kind == "f32" or rung.thresholds_i16 is not None

    def _array(self, ctype: str, values: Sequence[int]) -> Any:
        array = self._ffi.new(f"{ctype}[]", list(values) or 1)
        self._keep.append(array)
        return array

    def _make_profile(self, profile: Profile) -> Any:
        ffi = self._ffi
        rungs = ffi.new("isth_rung[]", len(profile.rungs))
        for entry, rung in zip(rungs, profile.rungs, strict=True):
            form = binarisation(rung.levels)
            entry.levels = rung.levels
            entry.classes = form.classes
            entry.suffix_bits = form.suffix_bits
            entry.rate = rung.rate
            entry.context_count = form.context_count
            entry.payload_max = rung.payload_max
            entry.initial = self._array("uint16_t", rung.initial)
            entry.thresholds_f32 = self._array("uint32_t", rung.thresholds_f32)
            if rung.table_i8 is not None:
                entry.table_i8 = self._array("uint8_t", list(rung.table_i8))
            if rung.thresholds_i16 is not None:
                entry.thresholds_i16 = self._array("int32_t", rung.thresholds_i16)
        out = ffi.new("isth_profile *")
        out.rows = profile.tensor.rows
        out.row_elements = profile.tensor.row_elements
        out.slice_rows = profile.slice_rows
        out.slices = profile.slices
        out.rung_count = len(profile.rungs)
        out.digest[0], out.digest[1] = profile.digest[0], profile.digest[1]
        out.digest_crc = crc_register(profile.digest)
        out.rungs = rungs
        self._keep.append(rungs)
        return out
