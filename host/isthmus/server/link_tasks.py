"""Units from a link to the service in a bounded number of tasks (UDP and serial).

A unit's task lasts until its frame has its answer, so packets that wait for others of their frame
hold one each. What a link may have outstanding is bounded three ways: in all, of one peer, and in
bytes; a unit beyond a bound is refused at once with BusyError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from isthmus.errors import BusyError, DrainingError, IsthmusError
from isthmus.server.types import Answer, FrameService, Origin

__all__ = ["LinkCounts", "Reply", "UnitTasks"]

#: Called once for a unit that has something to say back.
Reply = Callable[[Answer | IsthmusError], None]

_log = structlog.get_logger("isthmus.server")


@dataclass(slots=True)
class LinkCounts:
    """What a link has seen.

    units      that arrived
    answered   with an answer, refused with an error's number: sent back
    silent     refusals that were not sent back, by the link's rules
    lost       replies that could not be sent
    broken     bytes on the link that were no unit
    """

    units: int = 0
    answered: int = 0
    refused: int = 0
    silent: int = 0
    lost: int = 0
    broken: int = 0


class UnitTasks:
    """Hands units to ``service.receive``, each in a task of its own."""

    def __init__(
        self, service: FrameService, *, pending: int, peer_pending: int, pending_bytes: int
    ) -> None:
        self._service = service
        self._limits = (pending, peer_pending, pending_bytes)
        self._tasks: set[asyncio.Task[None]] = set()
        self._peers: dict[str, int] = {}
        self._bytes = 0
        self._closing = False

    def __len__(self) -> int:
        """Units without an answer."""
        return len(self._tasks)

    def start(self, data: bytes, origin: Origin, reply: Reply) -> None:
        """One unit; ``reply`` is called later with its answer or refusal, or at once with BusyError
        or DrainingError, and never for a unit whose frame is answered through another.
        """
        refusal = self._no_room(len(data), origin.peer)
        if refusal is not None:
            reply(refusal)
            return
        self._peers[origin.peer] = self._peers.get(origin.peer, 0) + 1
        self._bytes += len(data)
        task = asyncio.create_task(self._one(data, origin, reply))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(done, origin.peer, len(data)))

    async def aclose(self, drain_s: float) -> None:
        """Refuses what still comes, waits for what is outstanding, cancels what takes longer."""
        self._closing = True
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=drain_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _no_room(self, size: int, peer: str) -> IsthmusError | None:
        if self._closing:
            return DrainingError("link", "is closing", remedy="send the frame again later")
        pending, peer_pending, pending_bytes = self._limits
        for count, allowed, what in (
            (len(self._tasks) + 1, pending, "units"),
            (self._peers.get(peer, 0) + 1, peer_pending, "units of this peer"),
            (self._bytes + size, pending_bytes, "bytes"),
        ):
            if count > allowed:
                return BusyError(
                    "link", f"would hold {count} {what}", allowed=f"<= {allowed}",
                    remedy="send the frame again later",
                )  # fmt: skip
        return None

    async def _one(self, data: bytes, origin: Origin, reply: Reply) -> None:
        try:
            answer = await self._service.receive(data, origin)
        except IsthmusError as error:
            reply(error)
            return
        if answer is not None:
            reply(answer)

    def _done(self, task: asyncio.Task[None], peer: str, size: int) -> None:
        self._tasks.discard(task)
        self._bytes -= size
        left = self._peers[peer] - 1
        if left:
            self._peers[peer] = left
        else:
            del self._peers[peer]
        error = None if task.cancelled() else task.exception()
        if error is not None:  # a fault of the program: no answer, but never silence in the log
            _log.error("link_task_failed", peer=peer, error=repr(error), exc_info=error)
