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
from independent_interval import Interval, RefusedError
from independent_model import Model
from independent_near import NearModel

AnyModel = Model | NearModel

__all__ = ["AnyModel", "Decoded", "IndependentCodec", "Interval", "RefusedError", "crc32"]


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


def ordered_keys(tensor: npt.NDArray[Any]) -> list[int]:
    """float32 values as integers that compare as they do (chapter 4)."""
    words = struct.unpack(f"<{tensor.size}I", tensor.astype("<f4").tobytes())
    return [2**32 - 1 - w if w >= 2**31 else w + 2**31 for w in words]


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
        self.row = row
        self.parts = [(b - a) * row for a, b in itertools.pairwise(cuts)]
        self.starts = [a * row for a in cuts[:-1]]
        self.packets = self.profile.get("packets")

    def levels(self, rung: int, tensor: npt.NDArray[Any]) -> list[int]:
        """Quantises with the rung's integer tables, one value at a time."""
        tables = self.profile["rungs"][rung]
        kind = self.profile["tensor"]["dtype"]
        flat = tensor.reshape(-1).tolist()
        if "grids" in tables:
            return self.levels_by_channel(tables, kind, tensor)
        if kind == "int8":
            table = bytes.fromhex(tables["table_i8"])
            return [table[value + 128] for value in flat]
        if kind == "int16":
            return [sum(t <= value for t in tables["thresholds_i16"]) for value in flat]
        return [sum(t <= key for t in tables["thresholds_f32"]) for key in ordered_keys(tensor)]

    def levels_by_channel(
        self, tables: dict[str, Any], kind: str, tensor: npt.NDArray[Any]
    ) -> list[int]:
        """The same where every channel has thresholds of its own (chapter 13.1)."""
        given = tables["thresholds_i16" if kind == "int16" else "thresholds_f32"]
        values = tensor.reshape(-1).tolist() if kind == "int16" else ordered_keys(tensor)
        each = tables["levels"] - 1
        rows = [given[at : at + each] for at in range(0, len(given), each)]
        return [sum(t <= v for t in rows[i % len(rows)]) for i, v in enumerate(values)]

    def model(self, rung: int, start: int, *, flat: bool = False) -> AnyModel:
        """What foretells the elements of a slice or packet that begins with ``start``."""
        kind = NearModel if self.profile["scheme"] == "trained" else Model
        return kind(self.profile, rung, start, flat=flat)

    def code(self, model: AnyModel, interval: Interval, levels: list[int]) -> None:
        """Codes elements into ``interval``."""
        if isinstance(model, NearModel):
            model.code(interval, levels)
            return
        for level in levels:
            chances = model.chances()
            for context, one in model.words[level]:
                interval.narrow(chances.values[context], bool(one))
                chances.learn(context, bool(one))
            model.coded(level, interval.shifts)

    def encode_slice(
        self, rung: int, levels: list[int], start: int = 0
    ) -> tuple[bytes, tuple[int, int, int]]:
        """Payload and final state of a slice that begins with the element ``start``."""
        model, interval = self.model(rung, start), Interval()
        self.code(model, interval, levels)
        return interval.shortest(), interval.state()

    def encode(self, rung: int, sequence: int, tensor: npt.NDArray[Any]) -> bytes:
        """The whole frame."""
        return self.encode_levels(rung, sequence, self.levels(rung, tensor))

    def encode_levels(self, rung: int, sequence: int, levels: list[int]) -> bytes:
        """The whole frame of levels."""
        if self.packets is not None:
            return b"".join(self.encode_packets(rung, sequence, levels))
        out = b""
        for index, (start, count) in enumerate(zip(self.starts, self.parts, strict=True)):
            payload, _ = self.encode_slice(rung, levels[start : start + count], start)
            out += self.header(rung, sequence, index, payload) + payload
        return out

    def encode_packets(self, rung: int, sequence: int, levels: list[int]) -> list[bytes]:
        """The frame's packets, one after the other."""
        unit = self.packets["unit"]
        units = [levels[at : at + unit] for at in range(0, len(levels), unit)]
        out = []
        first = 0
        while first < len(units):
            flat = False
            interval, count = self.fill(rung, first, units, flat=False)
            if count == 0:
                flat = True
                interval, count = self.fill(rung, first, units, flat=True)
            payload = interval.shortest()
            out.append(self.packet_header(rung, sequence, first, count, payload, flat=flat))
            out[-1] += payload
            first += count
        return out

    def fill(
        self, rung: int, first: int, units: list[list[int]], *, flat: bool
    ) -> tuple[Interval, int]:
        """(what is coded, units) of the packet that begins with unit ``first``."""
        model = self.model(rung, first * self.packets["unit"], flat=flat)
        interval, count = Interval(), 0
        for unit in units[first : first + 256]:
            next_model, next_interval = model.copy(), interval.copy()
            self.code(next_model, next_interval, unit)
            if 12 + next_interval.shifts + 1 > self.packets["bytes"]:
                break
            model, interval, count = next_model, next_interval, count + 1
        return interval, count

    def encode_budget(
        self, budget: int, sequence: int, tensor: npt.NDArray[Any]
    ) -> tuple[int, bytes | None]:
        """(rung, frame) by chapter 11; no frame where that rung does not fit."""
        rungs = self.profile["rungs"]
        last = len(rungs) - 1
        fitting = [i for i, rung in enumerate(rungs) if rung.get("budget_start", 0) <= budget]
        guess = fitting[0] if fitting else last
        frame, counted = self.within(budget, guess, sequence, tensor)
        ratios = rungs[guess].get("size_ratios", [])
        upper, lower = divmod(counted, 4096)
        sizes = [upper * ratio + -(-(lower * ratio) // 4096) for ratio in ratios]
        sizes = sizes or [2**64] * len(rungs)
        sizes[guess] = counted
        chosen = next((i for i, size in enumerate(sizes) if size <= budget), last)
        if chosen != guess:
            frame, counted = self.within(budget, chosen, sequence, tensor)
        return chosen, frame if counted <= budget else None

    def within(
        self, budget: int, rung: int, sequence: int, tensor: npt.NDArray[Any]
    ) -> tuple[bytes, int]:
        """(frame, its bytes as an encoder counts them whose buffer has ``budget`` bytes)."""
        frame = self.encode(rung, sequence, tensor)
        levels = self.levels(rung, tensor)
        rest, counted, cut = frame, 0, False
        for start, count in zip(self.starts, self.parts, strict=True):
            if self.packets is None:
                *_, payload, rest = self.take(rest)
                parts = [(start, count, payload, False)]
            else:
                parts, at = [], 0
                while rest:
                    _, _, _, units, flat, payload, rest = self.take_packet(rest)
                    parts.append((at, units * self.packets["unit"], payload, flat))
                    at += units * self.packets["unit"]
            for first, elements, payload, flat in parts:
                model, interval = self.model(rung, first, flat=flat), Interval()
                self.code(model, interval, levels[first : first + elements])
                header = 12 + 2 * (len(self.parts) > 1)
                whole = header + len(interval.flushed())
                cut = cut or counted + whole > budget
                counted += whole if cut else header + len(payload)
        return frame, counted

    def packet_header(
        self, rung: int, sequence: int, first: int, count: int, payload: bytes, *, flat: bool
    ) -> bytes:
        """A packet's header."""
        high, low = divmod(len(payload), 256)
        head = struct.pack(
            "<BBBHHB", 16 + 4 * flat + 2, rung * 32 + high, low, sequence, first, count - 1
        )
        return head + struct.pack("<I", crc32(self.digest + head + payload))

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
        total = sum(self.parts)
        index = 0
        while index < len(self.parts) if self.packets is None else len(levels) < total:
            if index and not frame:
                raise RefusedError(13)
            if self.packets is None:
                rung, sequence, number, payload, frame = self.take(frame)
                expected, count, flat = index, self.parts[index], False
            else:
                rung, sequence, number, units, flat, payload, frame = self.take_packet(frame)
                expected = len(levels) // self.packets["unit"]
                count = units * self.packets["unit"]
            first = first or (rung, sequence)
            if (rung, sequence) != first:
                raise RefusedError(12)
            if number != expected:
                raise RefusedError(13 if number > expected else 6)
            found, state = self.decode_slice(rung, payload, count, len(levels), flat=flat)
            levels += found
            states.append(state)
            index += 1
        if frame:
            raise RefusedError(9)
        assert first is not None
        return Decoded(levels, first[0], first[1], states)

    def take_packet(self, data: bytes) -> tuple[int, int, int, int, bool, bytes, bytes]:
        """(rung, sequence, unit, units, flat, payload, what follows) of the packet in front."""
        if not data:
            raise RefusedError(1)
        if data[0] // 16 != 1:
            raise RefusedError(2)
        if data[0] & 8:
            raise RefusedError(3)
        if len(data) < 12:
            raise RefusedError(1)
        if data[0] % 4 != 2:
            raise RefusedError(6)
        _, mixed, low, sequence, first, fewer, stored = struct.unpack_from("<BBBHHBI", data)
        rung, high = divmod(mixed, 32)
        if rung >= len(self.profile["rungs"]):
            raise RefusedError(5)
        units = fewer + 1
        if (first + units) * self.packets["unit"] > sum(self.parts):
            raise RefusedError(6)
        size = high * 256 + low
        if size > self.packets["bytes"] - 12:
            raise RefusedError(7)
        payload = data[12 : 12 + size]
        if len(payload) < size:
            raise RefusedError(1)
        if crc32(self.digest + data[:8] + payload) != stored:
            raise RefusedError(8)
        return rung, sequence, first, units, bool(data[0] & 4), payload, data[12 + size :]

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
        self, rung: int, payload: bytes, count: int, start: int = 0, *, flat: bool = False
    ) -> tuple[list[int], tuple[int, int, int]]:
        """Levels and final state of one payload."""
        model, interval = self.model(rung, start, flat=flat), Interval()
        number = int.from_bytes(payload, "big")
        if number * 2**32 >= interval.width * 256 ** len(payload):
            raise RefusedError(10)
        if isinstance(model, NearModel):
            model.take(interval, number, len(payload), count)
        else:
            self.take_bins(model, interval, payload, count)
        if payload != interval.shortest():
            raise RefusedError(10)
        return model.levels, interval.state()

    def take_bins(self, model: Model, interval: Interval, payload: bytes, count: int) -> None:
        """Decodes ``count`` elements, bin by bin."""
        number = int.from_bytes(payload, "big")
        book = {word: level for level, word in enumerate(model.words)}
        tree: dict[tuple[tuple[int, int], ...], int] = {}
        for whole in book:
            for size in range(len(whole)):
                tree[whole[:size]] = whole[size][0]
        for _ in range(count):
            word: tuple[tuple[int, int], ...] = ()
            chances = model.chances()
            while word not in book:
                context = tree[word]
                chance = chances.values[context]
                edge = interval.low + interval.split(chance)
                one = number * 2**32 * 256**interval.shifts >= edge * 256 ** len(payload)
                interval.narrow(chance, one)
                chances.learn(context, one)
                word = (*word, (context, int(one)))
            if book[word] >= model.rung["levels"]:
                raise RefusedError(11)
            model.coded(book[word], interval.shifts)
