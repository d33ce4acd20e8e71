"""At-least-once delivery without a connection: order of acknowledgements, waits between attempts.

A broker may send ``receive maximum`` messages before the first of them is acknowledged, and MQTT
wants them acknowledged in the order in which they came, while answers come in any order.
"""

from __future__ import annotations

import random
from collections import deque

__all__ = ["AckOrder", "Backoff"]


class AckOrder:
    """Messages of one connection, from their arrival to their acknowledgement."""

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        self._done: set[int] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def arrived(self, number: int) -> None:
        """Message ``number`` came."""
        self._waiting.append(number)

    def done(self, number: int) -> list[int]:
        """Its answer is safe: the messages that may be acknowledged now, in order."""
        self._done.add(number)
        ready = []
        while self._waiting and self._waiting[0] in self._done:
            first = self._waiting.popleft()
            self._done.discard(first)
            ready.append(first)
        return ready


class Backoff:
    """Seconds to wait before each further attempt: doubled up to ``most``, three quarters random.

    The random part keeps a thousand clients from coming back in step after a broker's restart.
    """

    def __init__(self, first: float = 0.1, most: float = 30.0, seed: int | None = None) -> None:
        self._first = first
        self._most = most
        self._random = random.Random(seed)
        self._next = first

    def wait(self) -> float:
        """The next wait."""
        span = self._next
        self._next = min(self._most, 2.0 * span)
        return span * (0.25 + 0.75 * self._random.random())

    def reset(self) -> None:
        """An attempt was good: begin anew."""
        self._next = self._first

    def slow(self) -> None:
        """Others were first: the next wait is the longest."""
        self._next = self._most
