"""Units as datagrams: each is a frame, or one of a frame's slices or packets (docs/links.md).

What goes back goes to the address a datagram came from, which its sender may have forged. So:

- a reply is never longer than the datagram that caused it: an answer leaves its smallest values
  out, and a datagram of fewer bytes than a refusal has gets none;
- beyond loopback a refusal is sent only to who has shown to hold a bundle (a right checksum, which
  covers the whole digest, or a right seal) or where the server cannot take more; all others,
  unknown digests among them, are counted and not answered.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any, cast

import structlog

from isthmus.errors import (
    BackHalfError,
    BusyError,
    DrainingError,
    IsthmusError,
    LevelError,
    PayloadError,
    RateLimitError,
    UnavailableError,
)
from isthmus.server.compact import ANSWER_HEAD_BYTES, pack_answer, pack_refusal, sequence_of
from isthmus.server.config import UdpConfig
from isthmus.server.link_tasks import LinkCounts, UnitTasks
from isthmus.server.types import Answer, FrameService, Origin

__all__ = ["TOLD_TO_ALL", "UdpLink", "serve_udp"]

TOLD_TO_ALL: tuple[type[IsthmusError], ...] = (
    PayloadError, LevelError, BusyError, RateLimitError, DrainingError, UnavailableError,
    BackHalfError,
)  # fmt: skip
"""The refusals that are sent beyond loopback too."""


#: Asked for; the system may give less (Linux: net.core.rmem_max).
_RECEIVE_BYTES = 4 << 20

_log = structlog.get_logger("isthmus.server")


class UdpLink(asyncio.DatagramProtocol):
    """One socket. ``counts`` says what went through it; ``port`` is the one it is bound to."""

    def __init__(
        self,
        service: FrameService,
        *,
        pending: int = 8192,
        peer_pending: int = 2048,
        pending_bytes: int = 64 << 20,
    ) -> None:
        self.counts = LinkCounts()
        self.port = 0
        self._tasks = UnitTasks(
            service, pending=pending, peer_pending=peer_pending, pending_bytes=pending_bytes
        )
        self._transport: asyncio.DatagramTransport | None = None
        self._full = False
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is bound."""
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.port = transport.get_extra_info("sockname")[1]

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._transport = None
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        """The socket takes no more: replies are lost until it does, not piled up."""
        self._full = True

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._full = False

    def error_received(self, exc: Exception) -> None:
        """A reply did not arrive; the peer may be gone, which is its affair."""
        _log.debug("udp_error", error=str(exc))

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """One unit."""
        self.counts.units += 1
        host = str(addr[0])
        peer = f"[{host}]:{addr[1]}" if ":" in host else f"{host}:{addr[1]}"

        def reply(outcome: Answer | IsthmusError) -> None:
            self._reply(outcome, data, host, addr)

        self._tasks.start(data, Origin("udp", peer=peer), reply)

    async def aclose(self, drain_s: float = 5.0) -> None:
        """Refuses what still comes, waits for outstanding answers, closes the socket."""
        await self._tasks.aclose(drain_s)
        if self._transport is not None:
            self._transport.close()
        await self._closed

    def _reply(
        self, outcome: Answer | IsthmusError, data: bytes, host: str, addr: tuple[str | Any, int]
    ) -> None:
        counts = self.counts
        if isinstance(outcome, Answer):
            message = pack_answer(outcome, limit=len(data))
        else:
            if not (isinstance(outcome, TOLD_TO_ALL) or _is_loopback(host)):
                counts.silent += 1
                return
            message = pack_refusal(outcome, sequence_of(data))
        if len(data) < ANSWER_HEAD_BYTES:
            counts.silent += 1
        elif self._transport is None or self._transport.is_closing() or self._full:
            counts.lost += 1
        else:
            self._transport.sendto(message, addr)
            if isinstance(outcome, Answer):
                counts.answered += 1
            else:
                counts.refused += 1


def _is_loopback(host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


async def serve_udp(service: FrameService, config: UdpConfig, **bounds: int) -> UdpLink:
    """A bound socket whose datagrams go to ``service``; ``aclose()`` it.

    ``bounds``: ``pending`` units, ``peer_pending`` of one address and ``pending_bytes`` at once.
    OSError where the address cannot be bound.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(config.host, config.port, type=socket.SOCK_DGRAM)
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # Boards send at the same moment: the system keeps what the loop has not come to yet.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        bound.setblocking(False)
        bound.bind(address)
        _, link = await loop.create_datagram_endpoint(
            lambda: UdpLink(service, **bounds), sock=bound
        )
    except OSError:
        bound.close()
        raise
    _log.info("udp_listening", host=config.host, port=link.port)
    return link
