"""The device's half of the network on this machine: inputs to feature tensors, many at a time.

The int8 front half of a bundle is the C of its firmware tree, compiled here: what is measured is
what the board runs, element for element. Where there is no compiler the golden interpreter stands
in, which gives the same elements more slowly.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.errors import BundleFormatError, DataDtypeError, DataShapeError, ToolMissingError
from isthmus.interpreters import TensorInfo, dequantize, open_tflite, quantize
from isthmus.native.build import compile_shared
from isthmus.profile import Profile
from isthmus_gen.data import Preprocessing
from isthmus_gen.golden import open_golden

__all__ = [
    "CompiledFront",
    "FloatFront",
    "Front",
    "GoldenFront",
    "NativeFront",
    "dequantise",
    "open_front",
]

_CDEF = """
int8_t *isth_front_input(void *arena);
const int8_t *isth_front_run(void *arena);
void isth_front_begin(void *arena);
const int8_t *isth_front_row(void *arena, uint32_t row);
"""
_ALIGN = 16
_SOURCE = re.compile(r"firmware/src/isth_(front|k_)\w*\.[ch]")


class Front(Protocol):
    """A front half: ``engine`` says what runs it."""

    engine: str

    def run(self, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Feature tensors [n, *shape] of the profile's dtype for inputs [n, ...] of the front's."""

    def features(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The same for raw inputs [n, ...]: preprocessed and quantised as the profile says."""


class _Int8Front(ABC):
    """What int8 fronts share: the input's quantisation and the checks."""

    def __init__(self, profile: Profile) -> None:
        entry = profile.extra.get("input")
        if not isinstance(entry, dict) or entry.get("dtype") != "int8":
            raise BundleFormatError("profile.extra.input", "is not that of an int8 front half")
        self.shape = profile.tensor.shape
        self._info = TensorInfo(
            "input", tuple(entry["shape"]), np.dtype(np.int8), entry["scale"], entry["zero_point"]
        )
        self._preprocessing = Preprocessing.from_dict(entry["preprocessing"])

    def features(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Feature tensors int8 [n, *shape] for raw inputs [n, ...]."""
        return self.run(quantize(self._preprocessing.apply(x), self._info).astype(np.int8))

    def run(self, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Feature tensors int8 [n, *shape] for inputs int8 [n, ...]."""
        if inputs.dtype != np.int8:
            raise DataDtypeError("inputs", f"have dtype {inputs.dtype}", allowed="int8")
        if inputs.shape[1:] != self._info.shape:
            raise DataShapeError(
                "inputs", f"have shape {list(inputs.shape)}", allowed=f"[n, {self._info.shape}]"
            )
        return self._run(inputs)

    @abstractmethod
    def _run(self, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """Feature tensors for inputs that were checked."""


class CompiledFront:
    """The C front half in ``files``, built for this machine. May be run from several threads.

    ``files`` are the paths of isth_front*.[ch] and isth_k_*.[ch], all in one directory. Raises
    ToolMissingError where there is no compiler, BuildError where the tree does not compile.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        import cffi

        header = next((path for path in files if path.name == "isth_front.h"), None)
        if header is None:
            raise BundleFormatError("isth_front.h", "is not among the files of the front half")
        text = header.read_text(encoding="ascii")
        self.input_bytes = _define(text, "ISTH_FRONT_INPUT_BYTES")
        self.output_bytes = _define(text, "ISTH_FRONT_OUTPUT_BYTES")
        self.arena_bytes = _define(text, "ISTH_FRONT_ARENA_BYTES")
        # where the front half gives its output row by row
        self.rows = _define(text, "ISTH_FRONT_ROWS") if "ISTH_FRONT_ROWS " in text else 0
        library = compile_shared(
            sorted(path for path in files if path.suffix == ".c"),
            [header.parent],
            sorted(path for path in files if path.suffix == ".h"),
        )
        self._ffi = cffi.FFI()
        self._ffi.cdef(_CDEF)
        self._lib = self._ffi.dlopen(str(library))

    def __call__(self, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """Outputs int8 [n, output bytes] for inputs int8 [n, ...] of the input's size."""
        flat = np.ascontiguousarray(inputs).reshape(len(inputs), math.prod(inputs.shape[1:]))
        if flat.shape[1] != self.input_bytes:
            raise DataShapeError(
                "inputs", f"have {flat.shape[1]} bytes", allowed=f"{self.input_bytes}"
            )
        ffi, lib = self._ffi, self._lib
        room = np.zeros(self.arena_bytes + _ALIGN, dtype=np.int8)
        start = -room.ctypes.data % _ALIGN
        arena = ffi.cast("void *", ffi.from_buffer(room)) + start
        out = np.empty((len(flat), self.output_bytes), dtype=np.int8)
        for given, result in zip(flat, out, strict=True):
            ffi.memmove(lib.isth_front_input(arena), given, self.input_bytes)
            # cffi lets go of the GIL for a call
            if not self.rows:
                ffi.memmove(ffi.from_buffer(result), lib.isth_front_run(arena), self.output_bytes)
                continue
            lib.isth_front_begin(arena)
            for row, part in enumerate(result.reshape(self.rows, -1)):
                ffi.memmove(ffi.from_buffer(part), lib.isth_front_row(arena, row), part.size)
        return out


class NativeFront(_Int8Front):
    """The firmware's C front half of a bundle; see :class:`CompiledFront` for what it raises.

    BundleEditedError where the tree was changed.
    """

    engine = "native"

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle.profile)
        names = [name for name in bundle.files if _SOURCE.fullmatch(name)]
        for name in names:
            bundle.read(name)
        self._compiled = CompiledFront([bundle.path / name for name in names])

    def _run(self, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        return self._compiled(inputs).reshape(len(inputs), *self.shape)


class GoldenFront(_Int8Front):
    """The reference interpreter on ``front.tflite``: the same elements without a compiler."""

    engine = "golden"

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle.profile)
        entry = bundle.profile.extra["front"]
        self._model = open_golden(bundle.read(entry["file"]), entry["rounding"])

    def _run(self, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        out = np.empty((len(inputs), *self.shape), dtype=np.int8)
        for index in range(len(inputs)):
            out[index] = self._model.run(inputs[index : index + 1])[0][0]
        return out


class FloatFront:
    """``front_float.tflite``: the device's half where it computes in float32."""

    engine = "float"

    def __init__(self, bundle: Bundle) -> None:
        self._model = open_tflite(bundle.read("front_float.tflite"))
        self._preprocessing = Preprocessing.from_dict(
            bundle.profile.extra["input"]["preprocessing"]
        )

    def features(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Features float32 [n, *shape] for raw inputs [n, ...]."""
        return self.run(self._preprocessing.apply(x))

    def run(self, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Features float32 [n, *shape] for preprocessed inputs float32 [n, ...]."""
        return self._model.run(inputs)[0]


def open_front(bundle: Bundle) -> Front:
    """What the device computes: its C, the golden interpreter without a compiler, or floats."""
    if bundle.profile.tensor.dtype != "int8":
        return FloatFront(bundle)
    try:
        return NativeFront(bundle)
    except ToolMissingError:
        return GoldenFront(bundle)


def dequantise(profile: Profile, tensors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Feature tensors of the profile's dtype as float32 in the network's units."""
    spec = profile.tensor
    if spec.dtype == "float32":
        return tensors.astype(np.float32)
    info = TensorInfo(spec.name, spec.shape, tensors.dtype, spec.scale, spec.zero_point)
    return dequantize(tensors, info)


def _define(header: str, name: str) -> int:
    found = re.search(rf"^#define {name} (\d+)$", header, re.MULTILINE)
    if found is None:
        raise BundleFormatError("firmware/src/isth_front.h", f"has no {name}")
    return int(found.group(1))
