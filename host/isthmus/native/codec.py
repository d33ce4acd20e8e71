"""A profile's tables in C form, and calls into the native coder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.binarisation import binarisation
from isthmus.codec.frame import Octets
from isthmus.codec.near import near_tables
from isthmus.codec.quantise import check_levels
from isthmus.codec.reference import (
    DecodedFrame,
    decodable_bytes_max,
    frame_bytes_max,
    frame_view,
    rung_of,
    slice_path,
    slices_of,
)
from isthmus.codec.walk import choice_tables
from isthmus.errors import (
    DataDtypeError,
    DataShapeError,
    FrameError,
    LevelError,
    OptionError,
    PayloadError,
    frame_error,
)
from isthmus.native.build import load_library
from isthmus.profile import Contexts, Profile, Rung
from isthmus.trained import Trained

__all__ = ["NativeCodec"]

#: Octets of frames and levels that one C call works on: a batch of any length takes no more.
_CHUNK = 1 << 24
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
        self._longest = decodable_bytes_max(profile)
        self._profile = self._make_profile(profile)
        self._words = max(
            self._lib.isth_workspace_words(self._profile, rung)
            for rung in range(len(profile.rungs))
        )

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
        check_levels(self.profile, rung_of(self.profile, rung), levels)
        return self._encode("levels", rung, sequence, np.ascontiguousarray(levels))

    def decode(self, frame: Octets) -> DecodedFrame:
        """The levels of one frame; raises what the reference raises for a bad one."""
        result = self.decode_batch([frame])[0]
        if isinstance(result, FrameError):
            raise result
        return result

    def decode_batch(
        self, frames: Sequence[Octets], *, threads: int = 1
    ) -> list[DecodedFrame | FrameError]:
        """Frames decoded in C without the GIL; a bad frame yields its error.

        One C call for every 16 MiB, or for each thread's share of the frames where that is less,
        so the memory in use does not grow with the batch; each result owns its levels. OptionError
        where ``threads`` is below 1.
        """
        if threads < 1:
            raise OptionError("threads", f"is {threads}", allowed="1 or more")
        views = [frame_view(frame) for frame in frames]
        share = -(-len(views) // threads) or 1
        chunks = (
            chunk
            for start in range(0, len(views), share)
            for chunk in self._chunks(views[start : start + share])
        )
        if threads == 1:
            return [result for chunk in chunks for result in self._decode_chunk(chunk)]
        with ThreadPoolExecutor(threads) as pool:
            done = pool.map(self._decode_chunk, chunks)
            return [result for chunk in done for result in chunk]

    def decode_slice(self, data: Octets) -> npt.NDArray[np.uint8]:
        """The flat levels of the slice or packet at the start of ``data``; FrameError."""
        ffi = self._ffi
        octets = bytes(data)
        info = ffi.new("isth_slice_info *")
        source = ffi.from_buffer("uint8_t[]", octets)
        status = self._lib.isth_slice_parse(self._profile, source, len(octets), info)
        if status != 0:
            raise frame_error(int(status), "slice")
        levels = np.empty(int(info.elements), dtype=np.uint8)
        status = self._lib.isth_slice_decode(
            self._profile, info, source, ffi.new("uint16_t[]", self._words), self._words,
            self._pointer(levels),
        )  # fmt: skip
        if status != 0:
            raise frame_error(int(status), "slice.payload")
        return levels

    def _chunks(self, views: list[memoryview]) -> Iterator[list[memoryview]]:
        """Runs of frames whose octets and levels fit ``_CHUNK`` (one frame at least)."""
        chunk: list[memoryview] = []
        room = _CHUNK
        for view in views:
            need = self.profile.tensor.elements + min(len(view), self._longest)
            if chunk and need > room:
                yield chunk
                chunk, room = [], _CHUNK
            chunk.append(view)
            room -= need
        if chunk:
            yield chunk

    def decode_arrays(
        self, frames: Sequence[Octets]
    ) -> tuple[npt.NDArray[np.uint8], list[tuple[int, int] | FrameError]]:
        """Levels uint8 [n, *shape] in one array, and each frame's rung and sequence or its error.

        As :meth:`decode_batch`, for callers that go on with the whole batch: no array for each
        frame. Rows of frames with an error mean nothing.
        """
        views = [frame_view(frame) for frame in frames]
        shape = self.profile.tensor.shape
        parts: list[npt.NDArray[np.uint8]] = []
        out: list[tuple[int, int] | FrameError] = []
        for chunk in self._chunks(views):
            levels, statuses, infos = self._decode_chunk_arrays(chunk)
            parts.append(levels)
            out += [
                (info.rung, info.sequence)
                if status == 0
                else self._explain(status, frame, int(info.slice))
                for frame, status, info in zip(chunk, statuses, infos, strict=True)
            ]
        if len(parts) == 1:
            return parts[0].reshape(-1, *shape), out
        joined = np.concatenate(parts) if parts else np.empty((0, *shape), np.uint8)
        return joined.reshape(-1, *shape), out

    def _decode_chunk(self, frames: list[memoryview]) -> list[DecodedFrame | FrameError]:
        levels, statuses, infos = self._decode_chunk_arrays(frames)
        shape = self.profile.tensor.shape
        out: list[DecodedFrame | FrameError] = []
        for index, (frame, status, info) in enumerate(zip(frames, statuses, infos, strict=True)):
            if status != 0:
                out.append(self._explain(status, frame, int(info.slice)))
            else:
                own = levels[index].reshape(shape).copy()
                out.append(DecodedFrame(own, int(info.rung), int(info.sequence)))
        return out

    def _decode_chunk_arrays(
        self, frames: list[memoryview]
    ) -> tuple[npt.NDArray[np.uint8], list[int], Any]:
        """Levels [n, elements], statuses and slice infos: one C call."""
        ffi = self._ffi
        count = len(frames)
        elements = self.profile.tensor.elements
        # C sees one byte more than a good frame can have: enough to find that bytes follow it.
        data = b"".join(frame[: self._longest + 1] for frame in frames)
        offsets = np.zeros(count + 1, dtype=np.uintp)
        np.cumsum([min(len(frame), self._longest + 1) for frame in frames], out=offsets[1:])
        levels = np.empty((count, elements), dtype=np.uint8)
        statuses = np.empty(count, dtype=np.int32)
        infos = ffi.new("isth_slice_info[]", count)
        self._lib.isth_host_decode_batch(
            self._profile, ffi.from_buffer("uint8_t[]", data),
            ffi.cast("size_t *", ffi.from_buffer(offsets)), count,
            ffi.new("uint16_t[]", self._words), self._words,
            ffi.cast("uint8_t *", ffi.from_buffer(levels)), elements, infos,
            ffi.cast("int32_t *", ffi.from_buffer(statuses)),
        )  # fmt: skip
        return levels, statuses.tolist(), infos

    def _explain(self, status: int, frame: memoryview, index: int) -> FrameError:
        """The error with its path; ``index`` is the slice that C stopped at.

        Headers and checksums are cheap, so the reference tells what it sees in them; payloads are
        not decoded again.
        """
        path = slice_path(self.profile, index)
        if status in (PayloadError.code, LevelError.code):
            return frame_error(status, f"{path}.payload")
        try:
            for _ in slices_of(self.profile, frame):
                pass
        except FrameError as error:
            if error.code == status:
                # its traceback would keep the whole chunk alive
                return error.with_traceback(None)
        return frame_error(status, path)

    def _encode(self, kind: str, rung: int, sequence: int, source: npt.NDArray[Any]) -> bytes:
        ffi = self._ffi
        capacity = self.frame_max(rung)
        out = ffi.new("uint8_t[]", capacity)
        length = ffi.new("size_t *")
        status = getattr(self._lib, f"isth_encode_{kind}")(
            ffi.new("isth_encoder *"), self._profile, rung, sequence & 0xFFFF,
            self._pointer(source), ffi.new("uint16_t[]", self._words),
            self._words, out, capacity, length,
        )  # fmt: skip
        if status != 0:
            raise frame_error(int(status), "encoder")
        return bytes(ffi.buffer(out, length[0]))

    def frame_max(self, rung: int) -> int:
        """Bytes that no frame of this rung exceeds."""
        return frame_bytes_max(self.profile, rung_of(self.profile, rung))

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
            entry.levels = rung.levels
            entry.budget_start = rung.budget_start
            if rung.size_ratios:
                entry.size_ratios = self._array("uint16_t", rung.size_ratios)
            entry.payload_max = rung.payload_max
            if rung.trained is not None:
                entry.trained = self._make_trained(rung, rung.trained)
            else:
                self._make_contexts(entry, rung)
            entry.thresholds_f32 = self._array("uint32_t", rung.thresholds_f32)
            if rung.table_i8 is not None:
                entry.table_i8 = self._array("uint8_t", list(rung.table_i8))
            if rung.thresholds_i16 is not None:
                entry.thresholds_i16 = self._array("int32_t", rung.thresholds_i16)
        out = ffi.new("isth_profile *")
        out.rows = profile.tensor.rows
        out.row_elements = profile.tensor.row_elements
        out.slice_rows = profile.slice_rows
        if profile.packets is not None:
            out.packet_unit = profile.packets.unit
            out.packet_bytes = profile.packets.bytes
        out.slices = profile.slices
        out.rung_count = len(profile.rungs)
        out.digest[0], out.digest[1] = profile.digest[0], profile.digest[1]
        out.digest_crc = crc_register(profile.digest)
        out.rungs = rungs
        self._keep.append(rungs)
        return out

    def _make_contexts(self, entry: Any, rung: Rung) -> None:
        form = binarisation(rung.levels)
        entry.classes = form.classes
        entry.suffix_bits = form.suffix_bits
        entry.rate = rung.rate
        entry.set_bins = form.context_count
        entry.context_count = rung.context_count
        if rung.contexts is None:
            entry.initial = self._array("uint16_t", rung.initial)
        else:
            entry.states = self._array("uint8_t", [value >> 8 for value in rung.initial])
            entry.choice = self._make_choice(rung, rung.contexts)

    def _make_trained(self, rung: Rung, trained: Trained) -> Any:
        tables = near_tables(trained, rung.table_i8)
        out = self._ffi.new("isth_trained *")
        out.cells = self._array("uint8_t", tables.cells)
        out.choices = self._array("uint16_t", tables.choices)
        out.levels = self._array("uint16_t", tables.levels)
        if tables.values:
            out.values = self._array("uint16_t", tables.values)
        out.own = self._array("uint8_t", tables.own)
        out.starts = self._array("uint16_t", tables.starts)
        out.channels = trained.channels
        out.symbols = trained.symbol_count
        out.outside = tables.outside
        out.level_bits = trained.level_bits
        out.grids = int(rung.grids is not None)
        out.guesses = self._array("uint8_t", tables.guesses)
        self._keep.append(out)
        return out

    def _make_choice(self, rung: Rung, contexts: Contexts) -> Any:
        tables = choice_tables(rung, contexts)
        out = self._ffi.new("isth_choice *")
        out.channel_base = self._array("uint16_t", tables.channel_base)
        out.class_bins = self._array("uint8_t", tables.class_bins)
        out.channels = len(contexts.clusters)
        out.step = contexts.step
        out.class_count = contexts.class_count
        out.element_cost = tables.element_cost
        self._keep.append(out)
        return out
