"""Bounds on what a connection may hold: its head's bytes, its time, its place among all others.

uvicorn reads heads of any length, waits for them for ever, and answers 503 to everybody once there
are too many connections. Here a head has a bound and a time, and a connection beyond the limit
takes the place of the one that has been without a request longest; only where all have one under
way it is refused.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEAD_BYTES", "Bounds", "make_protocol"]

HEAD_BYTES = 1 << 16
"""Bytes of a request's line and headers, at most (beyond the piece that it begins in)."""

_PIPELINE = 64
_SWEEP_S = 1.0
_TIMES = 8  # bytes on the wire for each of a body, at most: chunks of one byte take six


def _plain(status: bytes, text: bytes) -> bytes:
    return (
        b"HTTP/1.1 %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
        b"connection: close\r\n\r\n%s"
    ) % (status, len(text), text)


_FULL = _plain(b"503 Service Unavailable", b"too many connections")
_SLOW = _plain(b"408 Request Timeout", b"the request did not arrive in time")
_LONG = _plain(b"431 Request Header Fields Too Large", b"the request's head is too long")


class Bounds:
    """What the connections of one server share. ``closed`` counts those that a bound ended."""

    def __init__(self, connections: int, head_s: float, body_bytes: int) -> None:
        self.connections = connections
        self.head_s = head_s
        self.wire_bytes = HEAD_BYTES + _TIMES * body_bytes
        self.closed = 0
        self.open = 0
        #: Connections without a request under way, those that have been so longest first.
        self.idle: dict[_Bounded, float] = {}
        #: Connections whose client does not read what it is sent.
        self.stalled: dict[_Bounded, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def sweep(self) -> None:
        """Ends what took too long; calls itself while there is anything to watch."""
        self._timer = None
        loop = asyncio.get_running_loop()
        late = loop.time() - self.head_s
        old = [one for one, since in self.idle.items() if since <= late]
        for one in old:
            if one.begun or one.transport.is_closing():
                one.end(_SLOW)
        for one in [one for one, since in self.stalled.items() if since <= late]:
            one.end(b"")
        self.watch()

    def watch(self) -> None:
        """Sets the timer of the next sweep, unless it is set."""
        if self._timer is None and (self.idle or self.stalled):
            self._timer = asyncio.get_running_loop().call_later(
                min(_SWEEP_S, self.head_s / 4), self.sweep
            )

    def stop(self) -> None:
        """No more sweeps."""
        self.head_s = float("inf")
        if self._timer is not None:
            self._timer.cancel()


class _Bounded(HttpToolsProtocol):
    """uvicorn's protocol with the bounds."""

    bounds: Bounds
    #: Whether the client owes the rest of a head, or its first one.
    begun: bool

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection: in its place, in another's, or refused."""
        super().connection_made(transport)
        # asyncio does so only for sockets that name their protocol; without it an answer of two
        # writes waits for the client's delayed acknowledgement
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bounds = self.bounds
        self.begun = True
        self._wire = 0
        self._counted = True
        bounds.open += 1
        if bounds.open > bounds.connections:
            if not bounds.idle:
                self.end(_FULL)
                return
            next(iter(bounds.idle)).end(b"")
        bounds.idle[self] = self.loop.time()
        bounds.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._uncount()
        super().connection_lost(exc)

    def end(self, message: bytes) -> None:
        """Says ``message`` and closes; what is not sent at once is not waited for."""
        self.bounds.closed += 1
        self._uncount()
        if message and not self.transport.is_closing():
            self.transport.write(message)
            self.transport.close()
        else:
            self.transport.abort()

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self.bounds.open -= 1
            self.bounds.idle.pop(self, None)
            self.bounds.stalled.pop(self, None)

    def data_received(self, data: bytes) -> None:
        """Bytes of a head or of a body."""
        if not self._counted or self.parser is None:
            return
        self._wire += len(data)
        if not self.begun and self in self.bounds.idle:
            self.begun = True
            del self.bounds.idle[self]
            self.bounds.idle[self] = self.loop.time()
        super().data_received(data)
        if self._counted and not self.transport.is_closing():
            most = HEAD_BYTES if self in self.bounds.idle else self.bounds.wire_bytes
            if self._wire > most:
                self.end(_LONG)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more, but may still read: whole requests are answered first."""
        last = self.cycle
        if (
            not self._counted
            or last is None
            or last.more_body
            or last.response_complete
            or self.transport.get_extra_info("sslcontext") is not None  # TLS closes both ways
        ):
            return False
        last.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._wire = 0

    def on_headers_complete(self) -> None:
        """A whole head: a request is under way."""
        if not self._counted or len(self.pipeline) >= _PIPELINE:
            if self._counted:
                self.end(b"")
            return
        self.bounds.idle.pop(self, None)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        if self._counted:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request."""
        if self._counted:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request was answered."""
        under_way = bool(self.pipeline)
        super().on_response_complete()
        if self._counted and not under_way:
            self.begun = False
            self.bounds.idle[self] = self.loop.time()
            self.bounds.watch()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        if self._counted:
            self.bounds.stalled[self] = self.loop.time()
            self.bounds.watch()

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self.bounds.stalled.pop(self, None)


def make_protocol(bounds: Bounds) -> type[Any]:
    """The protocol's class for one server's ``bounds``."""
    return type("BoundedProtocol", (_Bounded,), {"bounds": bounds})
