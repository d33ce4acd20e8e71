"""A board on this machine: the bundle's firmware, compiled for the host and called through cffi."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.errors import BundleFormatError, DataShapeError, OptionError, frame_error
from isthmus.interpreters import TensorInfo, open_tflite, quantize
from isthmus.native.build import compile_shared
from isthmus.profile import Profile

__all__ = ["Board", "device_inputs"]

_CDEF = """
extern const uint32_t isth_board_layout[6];
void isth_board_front(void *arena, const void *input, uint8_t *tensor);
int isth_board_encode(void *memory, unsigned rung, uint16_t sequence, const void *tensor,
                      uint8_t *out, size_t *length);
"""
_SOURCE = re.compile(r"firmware/src/[^/]+\.[ch]")
_ALIGN = 16


class Board:
    """The device's half of ``bundle``: inputs to feature tensors to frames, all of it in C.

    One object serves any number of simulated devices of one thread: what differs between boards
    that run one firmware is the input and the sequence number, and both are arguments. BuildError
    or ToolMissingError where the tree cannot be compiled, BundleEditedError where it was changed.
    """

    def __init__(self, bundle: Bundle) -> None:
        import cffi

        names = sorted(name for name in bundle.files if _SOURCE.fullmatch(name))
        if "firmware/src/isth.h" not in names:
            raise BundleFormatError(str(bundle.firmware), "has no isth.h")
        for name in names:
            bundle.read(name)  # compared with the manifest before any of it is compiled
        own = Path(__file__).resolve().parent
        files = [bundle.path / name for name in names]
        library = compile_shared(
            [own / "isth_board.c", *(file for file in files if file.suffix == ".c")],
            [bundle.firmware / "src", own],
            [own / "isth_board.h", *(file for file in files if file.suffix == ".h")],
        )
        self.profile = bundle.profile
        self._ffi = cffi.FFI()
        self._ffi.cdef(_CDEF)
        self._lib = self._ffi.dlopen(str(library))
        layout = [int(size) for size in self._lib.isth_board_layout]
        self.input_bytes, self.tensor_bytes, arena, memory, self.frame_bytes_max, front = layout
        self.has_front = bool(front)
        self._arena_room, self._arena = self._aligned(arena)
        self._memory_room, self._memory = self._aligned(memory)
        self._frame = np.empty(self.frame_bytes_max, np.uint8)
        self._frame_at = self._ffi.from_buffer("uint8_t[]", self._frame)
        self._length = self._ffi.new("size_t *")

    def _aligned(self, size: int) -> tuple[npt.NDArray[np.uint8], Any]:
        room = np.zeros(size + _ALIGN, np.uint8)
        return room, self._ffi.cast("void *", room.ctypes.data + -room.ctypes.data % _ALIGN)

    def tensor(self, data: bytes) -> bytes:
        """The feature tensor of one input, as the front half in C computes it."""
        if len(data) != self.input_bytes:
            raise DataShapeError(
                "input", f"has {len(data)} bytes", allowed=f"{self.input_bytes} for this firmware"
            )
        out = self._ffi.new("uint8_t[]", self.tensor_bytes)
        self._lib.isth_board_front(self._arena, self._ffi.from_buffer(data), out)
        return bytes(self._ffi.buffer(out, self.tensor_bytes))

    def frame(self, tensor: bytes, sequence: int, rung: int = 0) -> bytes:
        """The frame of a feature tensor, as the firmware codes it."""
        status = self._lib.isth_board_encode(
            self._memory, rung, sequence, self._ffi.from_buffer(tensor), self._frame_at,
            self._length,
        )  # fmt: skip
        if status:
            raise frame_error(status, "firmware")
        return self._frame[: self._length[0]].tobytes()


def device_inputs(bundle: Bundle, board: Board, x: npt.NDArray[Any]) -> list[bytes]:
    """What the firmware of ``board`` takes for raw inputs [n, ...].

    Preprocessed and quantised as the profile says. Of a firmware without a front half the input is
    the tensor: front_float.tflite, which runs beside it on the device, computes it here.
    """
    entry = bundle.profile.extra.get("input")
    if not isinstance(entry, Mapping) or "preprocessing" not in entry:
        raise OptionError(
            "--data", "cannot be used: the profile does not tell how inputs are prepared",
            remedy="leave it out, and the bundle's own vectors are sent",
        )  # fmt: skip
    shape = tuple(entry.get("shape", x.shape[1:]))
    if x.shape[1:] != shape:
        raise DataShapeError("--data: x", f"has shape {list(x.shape)}", allowed=f"[n, {shape}]")
    values = _preprocess(x, entry["preprocessing"])
    if board.has_front:
        info = TensorInfo(
            "input", shape, np.dtype(np.int8), float(entry["scale"]), int(entry["zero_point"])
        )
        return [one.tobytes() for one in quantize(values, info)]
    features = open_tflite(bundle.read("front_float.tflite")).run(values)[0]
    return [one.tobytes() for one in _as_elements(features, bundle.profile)]


def _as_elements(features: npt.NDArray[Any], profile: Profile) -> npt.NDArray[Any]:
    spec = profile.tensor
    if spec.dtype == "float32":
        return features.astype(np.float32)
    info = TensorInfo(spec.name, spec.shape, np.dtype(spec.dtype), spec.scale, spec.zero_point)
    return quantize(features, info)


def _preprocess(x: npt.NDArray[Any], step: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """One step in float32, as the profile names it; divisions, since products round otherwise."""
    values = np.asarray(x).astype(np.float32)
    kind = step.get("kind")
    if kind == "unit":
        return values / np.float32(255)
    if kind == "signed":
        return values / np.float32(127.5) - np.float32(1)
    if kind == "affine":
        return values * np.float32(step["scale"]) + np.float32(step["offset"])
    if kind != "none":
        raise BundleFormatError("profile.extra.input.preprocessing", f"{kind!r:.40} is not known")
    return values
