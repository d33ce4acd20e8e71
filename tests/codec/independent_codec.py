"""A second codec, written from docs/BITSTREAM.md alone, to check the arithmetic of the first.

Nothing here is shared with Isthmus: a profile is its JSON text, and the coder has no window, no
carry, no bytes in flight. A payload is one rational number; coding narrows an interval of exact
integers that grow with every renormalisation, and the payload is the number inside the final
interval that needs the fewest bytes. Slow (quadratic) by design: for small tensors.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


class RefusedError(Exception):
    """A frame that must not be decoded, with the number of the reason."""

    def __init__(self, code: int) -> None:
        super().__init__(f"status {code}")
        self.code = code


@dataclass
class Decoded:
    """Levels of the whole tensor, rung, sequence, and each slice's final (low, range, shifts)."""

    levels: list[int]
    rung: int
    sequence: int
    states: list[tuple[int, int, int]]


def crc32(data: bytes) -> int:
    """CRC-32 of IEEE 802.3 as the remainder of one long division of polynomials over GF(2)."""
    reflected = [int(f"{byte:08b}"[::-1], 2) for byte in data]
    message = int.from_bytes(bytes(reflected), "big") << 32
    bits = 8 * len(data) + 32
    message ^= 0xFFFFFFFF << (bits - 32)
    divisor = 0x104C11DB7
    for place in range(bits - 33, -1, -1):
        if message >> (place + 32) & 1:
            message ^= divisor << place
    return int(f"{message & 0xFFFFFFFF:032b}"[::-1], 2) ^ 0xFFFFFFFF


class Interval:
    """[low, low + width) in units of 2^-32 * 256^-shifts; everything exact."""

    def __init__(self) -> None:
        self.low = 0
        self.width = 2**32 - 1
        self.shifts = 0

    def split(self, chance: int) -> int:
        """Width of the zero's part, which comes first; ``chance`` of a one in 1/65536."""
        return self.width - self.width // 4096 * ((chance + 8) // 16)

    def narrow(self, chance: int, one: bool) -> None:
        """Keeps the part of a bin."""
        zero = self.split(chance)
        if one:
            self.low += zero
            self.width -= zero
        else:
            self.width = zero
        while self.width < 2**24:
            self.low *= 256
            self.width *= 256
            self.shifts += 1

    def shortest(self) -> bytes:
        """Of the byte strings that, with zeros after them, lie inside: the shortest, then least."""
        unit = 2**32 * 256**self.shifts
        size = 0
        while True:
            number = -(-self.low * 256**size // unit)
            if number * unit < (self.low + self.width) * 256**size:
                return number.to_bytes(size, "big") if size else b""
            size += 1

    def state(self) -> tuple[int, int, int]:
        """What a coder with a 32-bit window holds here."""
        return self.low % 2**32, self.width, self.shifts


class Chances:
    """The contexts of one slice."""

    def __init__(self, initial: list[int], rate: int) -> None:
        self.values = list(initial)
        self.divisor = 2**rate

    def learn(self, context: int, one: bool) -> None:
        value = self.values[context]
        step = (65536 - value) // self.divisor if one else -(value // self.divisor)
        self.values[context] = value + step


def code_words(levels: int) -> list[tuple[tuple[int, int], ...]]:
    """For each level its (context, bin) pairs, by writing the whole code book down.

    All code words of the classes' suffixes exist, also those of levels that do not: a decoder can
    meet them.
    """
    bits = next(b for b in range(9) if -(-levels // 2**b) <= 16)
    classes = -(-levels // 2**bits)
    words = []
    for number in range(classes * 2**bits):
        group, rest = divmod(number, 2**bits)
        word = [(k, 1) for k in range(group)]
        if group != classes - 1:
            word.append((group, 0))
        text = f"{rest:0{bits}b}" if bits else ""
        for depth, digit in enumerate(text):
            if group == 0:
                # the node of a complete tree: as many before it as shallower nodes and left ones
                context = classes - 1 + (2**depth - 1) + int("0" + text[:depth], 2)
            else:
                context = classes - 1 + (2**bits - 1) + depth
            word.append((context, int(digit)))
        words.append(tuple(word))
    return words


class IndependentCodec:
    """Frames of one profile, given as the text of its ``profile.json``."""

    def __init__(self, profile_json: bytes) -> None:
        self.profile: dict[str, Any] = json.loads(profile_json)
        self.digest = hashlib.sha256(profile_json).digest()
        shape = self.profile["tensor"]["shape"]
        rows = shape[0] if len(shape) > 1 else 1
        row = int(np.prod(shape[1:] if len(shape) > 1 else shape, dtype=np.int64))
        step = self.profile["slice_rows"]
        cuts = [*range(0, rows, step), rows] if rows else [0, 0]
        self.parts = [(b - a) * row for a, b in itertools.pairwise(cuts)]

    def levels(self, rung: int, tensor: npt.NDArray[Any]) -> list[int]:
        """Quantises with the rung's integer tables, one value at a time."""
        tables = self.profile["rungs"][rung]
        kind = self.profile["tensor"]["dtype"]
        flat = tensor.reshape(-1).tolist()
        if kind == "int8":
            table = bytes.fromhex(tables["table_i8"])
            return [table[value + 128] for value in flat]
        if kind == "int16":
            return [sum(t <= value for t in tables["thresholds_i16"]) for value in flat]
        words = struct.unpack(f"<{tensor.size}I", tensor.astype("<f4").tobytes())
        keys = [2**32 - 1 - w if w >= 2**31 else w + 2**31 for w in words]
        return [sum(t <= key for t in tables["thresholds_f32"]) for key in keys]

    def encode_slice(self, rung: int, levels: list[int]) -> tuple[bytes, tuple[int, int, int]]:
        """Payload and final state."""
        tables = self.profile["rungs"][rung]
        words = code_words(tables["levels"])
        chances = Chances(tables["initial"], tables["rate"])
        interval = Interval()
        for level in levels:
            for context, one in words[level]:
                interval.narrow(chances.values[context], bool(one))
                chances.learn(context, bool(one))
        return interval.shortest(), interval.state()

    def encode(self, rung: int, sequence: int, tensor: npt.NDArray[Any]) -> bytes:
        """The whole frame."""
        levels = self.levels(rung, tensor)
        out = b""
        for index, count in enumerate(self.parts):
            payload, _ = self.encode_slice(rung, levels[:count])
            del levels[:count]
            out += self.header(rung, sequence, index, payload) + payload
        return out

    def header(self, rung: int, sequence: int, index: int, payload: bytes) -> bytes:
        """A slice's header."""
        sliced = len(self.parts) > 1
        high, low = divmod(len(payload), 65536)
        head = struct.pack("<BBH2sH", 16 + sliced, rung * 32 + high, low, self.digest[:2], sequence)
        place = struct.pack("BB", index, len(self.parts) - 1) if sliced else b""
        return head + struct.pack("<I", crc32(self.digest + head + place + payload)) + place

    def decode(self, frame: bytes) -> Decoded:
        """The whole frame; RefusedError for the first thing that is wrong."""
        first: tuple[int, int] | None = None
        levels: list[int] = []
        states = []
        for index, count in enumerate(self.parts):
            if index and not frame:
                raise RefusedError(13)
            rung, sequence, number, payload, frame = self.take(frame)
            first = first or (rung, sequence)
            if (rung, sequence) != first:
                raise RefusedError(12)
            if number != index:
                raise RefusedError(13 if number > index else 6)
            found, state = self.decode_slice(rung, payload, count)
            levels += found
            states.append(state)
        if frame:
            raise RefusedError(9)
        assert first is not None
        return Decoded(levels, first[0], first[1], states)

    def take(self, data: bytes) -> tuple[int, int, int, bytes, bytes]:
        """(rung, sequence, slice, payload, what follows) of the slice at the start of ``data``."""
        many = len(self.parts) > 1
        if not data:
            raise RefusedError(1)
        if data[0] // 16 != 1:
            raise RefusedError(2)
        if data[0] % 16 > 1:
            raise RefusedError(3)
        if len(data) < 12:
            raise RefusedError(1)
        _, mixed, low, prefix, sequence, stored = struct.unpack_from("<BBH2sHI", data)
        if prefix != self.digest[:2]:
            raise RefusedError(4)
        if data[0] % 16 != many:
            raise RefusedError(6)
        if len(data) < 12 + 2 * many:
            raise RefusedError(1)
        rung, high = divmod(mixed, 32)
        if rung >= len(self.profile["rungs"]):
            raise RefusedError(5)
        number, last = struct.unpack_from("BB", data, 12) if many else (0, 0)
        if last + 1 != len(self.parts) or number > last:
            raise RefusedError(6)
        size = high * 65536 + low
        if size > self.profile["rungs"][rung]["payload_max"]:
            raise RefusedError(7)
        start = 12 + 2 * many
        payload = data[start : start + size]
        if len(payload) < size:
            raise RefusedError(1)
        if crc32(self.digest + data[:8] + data[12 : start + size]) != stored:
            raise RefusedError(8)
        return rung, sequence, number, payload, data[start + size :]

    def decode_slice(
        self, rung: int, payload: bytes, count: int
    ) -> tuple[list[int], tuple[int, int, int]]:
        """Levels and final state of one payload."""
        tables = self.profile["rungs"][rung]
        book = {word: level for level, word in enumerate(code_words(tables["levels"]))}
        tree: dict[tuple[tuple[int, int], ...], int] = {}
        for word in book:
            for size in range(len(word)):
                tree[word[:size]] = word[size][0]
        chances = Chances(tables["initial"], tables["rate"])
        number = int.from_bytes(payload, "big")
        interval = Interval()
        if number * 2**32 >= interval.width * 256 ** len(payload):
            raise RefusedError(10)
        levels = []
        for _ in range(count):
            word: tuple[tuple[int, int], ...] = ()
            while word not in book:
                context = tree[word]
                chance = chances.values[context]
                edge = interval.low + interval.split(chance)
                one = number * 2**32 * 256**interval.shifts >= edge * 256 ** len(payload)
                interval.narrow(chance, one)
                chances.learn(context, one)
                word = (*word, (context, int(one)))
            if book[word] >= tables["levels"]:
                raise RefusedError(11)
            levels.append(book[word])
        if payload != interval.shortest():
            raise RefusedError(10)
        return levels, interval.state()
