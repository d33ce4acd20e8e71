"""The adaptive binary arithmetic coder in plain Python (BITSTREAM.md, 6 and 7); normative.

Slow, and laid out in the order of the document. Numbers are kept to 32 bits as the C runtime
keeps them, so that the two can be compared state by state.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.errors import PayloadError

__all__ = ["FinalState", "Reader", "Writer", "adapt"]

_MASK = 0xFFFFFFFF
_RANGE_MIN = 1 << 24


def adapt(probability: int, bin_: int, rate: int) -> int:
    """The next value of a context, P(one) * 65536, after a bin."""
    if bin_:
        return probability + ((65536 - probability) >> rate)
    return probability - (probability >> rate)


@dataclass(frozen=True)
class FinalState:
    """The coder after the last bin, before the flush: kept in vectors, so a desync shows where."""

    low: int
    range: int
    shifts: int


class Writer:
    """Encodes bins into ``payload``. ``contexts`` is the list of P(one) * 65536, changed in place.

    >>> w = Writer([32768], rate=5)
    >>> for b in (0, 1, 1, 0):
    ...     w.write(0, b)
    >>> w.finish().hex()
    '60'
    """

    def __init__(self, contexts: list[int], rate: int) -> None:
        self.contexts = contexts
        self.rate = rate
        self.low = 0
        self.range = _MASK
        self._bytes = bytearray()

    def copy(self) -> Writer:
        """A writer at the same point that shares the contexts: to finish here, or to go on."""
        other = Writer(self.contexts, self.rate)
        other.low, other.range, other._bytes = self.low, self.range, bytearray(self._bytes)
        return other

    def write(self, context: int, bin_: int) -> None:
        """Codes one bin with one context and adapts the context."""
        probability = self.contexts[context]
        bound = (self.range >> 12) * ((probability + 8) >> 4)
        if bin_:
            self._add(self.range - bound)
            self.range = bound
        else:
            self.range -= bound
        self.contexts[context] = adapt(probability, bin_, self.rate)
        while self.range < _RANGE_MIN:
            self._shift()

    def write_part(self, start: int, size: int, bits: int) -> None:
        """Codes the part ``start .. start + size`` of 2^bits equal parts (BITSTREAM.md, 13.2)."""
        part = self.range >> bits
        self._add(part * start)
        self.range = part * size
        while self.range < _RANGE_MIN:
            self._shift()

    @property
    def state(self) -> FinalState:
        """``low``, ``range`` and the number of bytes shifted out so far."""
        return FinalState(self.low, self.range, len(self._bytes))

    @property
    def shifts(self) -> int:
        """Bytes shifted out so far."""
        return len(self._bytes)

    def finish(self) -> bytes:
        """Flushes and returns the payload: the fewest bytes that stay in the interval."""
        if self.low != 0:
            if (1 << 32) - self.low < self.range:
                self._carry()
            else:
                self.low = (self.low + 0xFFFFFF) & 0xFF000000
                self._shift()
        while self._bytes and self._bytes[-1] == 0:
            self._bytes.pop()
        return bytes(self._bytes)

    def _add(self, amount: int) -> None:
        self.low += amount
        if self.low > _MASK:
            self.low &= _MASK
            self._carry()

    def _carry(self) -> None:
        at = len(self._bytes) - 1
        while self._bytes[at] == 0xFF:
            self._bytes[at] = 0
            at -= 1
        self._bytes[at] += 1

    def _shift(self) -> None:
        self._bytes.append(self.low >> 24)
        self.low = (self.low << 8) & _MASK
        self.range = (self.range << 8) & _MASK


class Reader:
    """Decodes bins from a payload; bytes past its end read as zero. ``path`` is for errors."""

    def __init__(
        self, payload: bytes, contexts: list[int], rate: int, path: str = "frame.payload"
    ) -> None:
        self.contexts = contexts
        self.rate = rate
        self.range = _MASK
        self._payload = payload
        self._path = path
        self._position = 4
        self.code = int.from_bytes(payload[:4].ljust(4, b"\0"), "big")
        if self.code >= self.range:
            raise PayloadError(self._path, "starts with a value outside the coder's interval")

    def read(self, context: int) -> int:
        """Decodes one bin with one context and adapts the context."""
        probability = self.contexts[context]
        bound = (self.range >> 12) * ((probability + 8) >> 4)
        split = self.range - bound
        if self.code < split:
            self.range = split
            bin_ = 0
        else:
            self.code -= split
            self.range = bound
            bin_ = 1
        self.contexts[context] = adapt(probability, bin_, self.rate)
        while self.range < _RANGE_MIN:
            self._shift()
        return bin_

    def read_part(self, bits: int, parts: int) -> int:
        """Which of 2^bits equal parts comes next; PayloadError where not one of the first."""
        value = self.code // (self.range >> bits)
        if value >= parts:
            raise PayloadError(self._path, "holds a value outside the coder's interval")
        return value

    def take_part(self, start: int, size: int, bits: int) -> None:
        """Goes on past the part that :meth:`Writer.write_part` coded."""
        part = self.range >> bits
        self.code -= part * start
        self.range = part * size
        while self.range < _RANGE_MIN:
            self._shift()

    @property
    def state(self) -> FinalState:
        """The encoder's state at the same point: ``low`` is the window less ``code``."""
        return FinalState((self._window() - self.code) & _MASK, self.range, self._position - 4)

    @property
    def shifts(self) -> int:
        """Bytes shifted in after the first four."""
        return self._position - 4

    def finish(self) -> FinalState:
        """Checks that the payload ends as :meth:`Writer.finish` ends it; the final state."""
        state = self.state
        if state.low == 0 or (1 << 32) - state.low < state.range:
            expected = 0
        else:
            expected = (state.low + 0xFFFFFF) & 0xFF000000
        if self._window() != expected:
            raise PayloadError(self._path, "does not end as an encoder ends it")
        if len(self._payload) > self._position - 3:
            raise PayloadError(self._path, "holds bytes that no bin needs")
        if self._payload and self._payload[-1] == 0:
            raise PayloadError(self._path, "ends with a zero byte, which is never written")
        return state

    def _window(self) -> int:
        start = self._position - 4
        return int.from_bytes(self._payload[start : start + 4].ljust(4, b"\0"), "big")

    def _shift(self) -> None:
        at = self._position
        byte = self._payload[at] if at < len(self._payload) else 0
        self._position += 1
        self.code = ((self.code << 8) | byte) & _MASK
        self.range = (self.range << 8) & _MASK
