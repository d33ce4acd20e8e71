"""The encoder's C interface with guarded memory: one call, or push by push."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.native import NativeCodec
from isthmus.native.build import load_library
from isthmus.profile import Profile

OK, RUNG, SLICE, LEVEL, BUFFER, STATE, ARGUMENT = 0, 5, 6, 11, 14, 15, 16
GUARD = 64
PUSH = {"int8": ("i8", "int8_t[]"), "int16": ("i16", "int16_t[]"), "float32": ("f32", "float[]")}


class Encoder:
    """One isth_encoder with exactly as many words as it needs or as asked, a guarded buffer."""

    def __init__(self, profile: Profile, capacity: int, contexts: int | None = None) -> None:
        self.ffi, self.lib = load_library()
        self.codec = NativeCodec(profile)
        contexts = self.codec._words if contexts is None else contexts
        self.profile = self.codec._profile
        self.encoder = self.ffi.new("isth_encoder *")
        self.contexts = self.ffi.new("uint16_t[]", contexts + 1)
        self.contexts[contexts] = 0xBEEF
        self.count = contexts
        self.memory = bytearray(b"\xa5" * (capacity + 2 * GUARD))
        self.buffer = self.ffi.from_buffer("uint8_t[]", self.memory)
        self.capacity = capacity
        self.length = self.ffi.new("size_t *")

    def begin(self, rung: int = 0, sequence: int = 0, slice_: int = 0, at: int = 0) -> int:
        return int(
            self.lib.isth_encoder_begin(
                self.encoder, self.profile, rung, sequence, slice_, self.contexts, self.count,
                self.buffer + GUARD + at, self.capacity - at,
            )
        )  # fmt: skip

    def push(self, values: npt.NDArray[Any]) -> int:
        name, kind = PUSH.get(str(values.dtype), ("levels", "uint8_t[]"))
        given = np.ascontiguousarray(values).tobytes()
        return int(
            getattr(self.lib, f"isth_encoder_push_{name}")(
                self.encoder, self.ffi.from_buffer(kind, given), len(values)
            )
        )

    def finish(self) -> int:
        return int(self.lib.isth_encoder_finish(self.encoder, self.length))

    def written(self, size: int) -> bytes:
        """The first ``size`` bytes; nothing outside the buffer or the contexts was touched."""
        self.check_guards()
        return bytes(self.memory[GUARD : GUARD + size])

    def check_guards(self) -> None:
        assert self.memory[:GUARD] == b"\xa5" * GUARD
        assert self.memory[GUARD + self.capacity :] == b"\xa5" * GUARD
        assert self.contexts[self.count] == 0xBEEF


def whole_frame(profile: Profile, tensor: npt.NDArray[Any], capacity: int) -> tuple[Encoder, int]:
    """One isth_encode_i8 call into a guarded buffer."""
    encoder = Encoder(profile, capacity)
    given = encoder.ffi.from_buffer("int8_t[]", np.ascontiguousarray(tensor).tobytes())
    status = encoder.lib.isth_encode_i8(
        encoder.encoder, encoder.profile, 0, 9, given, encoder.contexts, encoder.count,
        encoder.buffer + GUARD, capacity, encoder.length,
    )  # fmt: skip
    return encoder, int(status)


def within(profile: Profile, tensor: npt.NDArray[Any], budget: int) -> tuple[int, int, int, bytes]:
    """(status, rung, length, bytes) of isth_encode_within in a fenced buffer of ``budget``."""
    encoder = Encoder(profile, budget)
    rung = encoder.ffi.new("unsigned *")
    status = encoder.lib.isth_encode_within(
        encoder.encoder, encoder.profile, 9, encoder.lib.ISTH_I8,
        encoder.ffi.from_buffer(np.ascontiguousarray(tensor)), encoder.contexts, encoder.count,
        encoder.buffer + GUARD, budget, encoder.length, rung,
    )  # fmt: skip
    length = int(encoder.length[0])
    return int(status), int(rung[0]), length, encoder.written(min(length, budget))
