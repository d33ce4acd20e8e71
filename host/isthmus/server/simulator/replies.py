"""Replies of a server to one frame, in every form that a link has. No sockets, no clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Hashable
from dataclasses import dataclass

from isthmus.codec.frame import Octets
from isthmus.errors import LinkError
from isthmus.server.compact import unpack

__all__ = ["Pending", "Reply", "read_compact", "read_json"]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer (``code`` 0) with the index of its largest output, or a refusal's number."""

    code: int
    index: int | None = None


def read_json(body: Octets) -> Reply:
    """An answer or a refusal as HTTP and MQTT carry it; LinkError where it is neither."""
    try:
        said = json.loads(bytes(body))
        if "error" in said:
            return Reply(int(said["error"]["code"]))
        top = said["top"]
        return Reply(0, int(top[0]["index"]) if top else None)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise LinkError("reply", f"is no answer ({bytes(body[:80])!r})") from error


def read_compact(data: Octets) -> tuple[int, Reply]:
    """(sequence, reply) of a compact answer; LinkError where it is none."""
    said = unpack(data)
    return said.sequence, Reply(said.status, said.top[0][0] if said.top else None)


class Pending:
    """Frames that wait for a reply, by a key such as their sequence number."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, asyncio.Future[Reply]] = {}
        self.unexpected = 0

    def expect(self, key: Hashable) -> asyncio.Future[Reply]:
        """What the reply to frame ``key`` will be put into."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        return future

    def forget(self, key: Hashable, future: asyncio.Future[Reply]) -> None:
        """Frame ``key`` is not waited for any more."""
        if self._waiting.get(key) is future:
            del self._waiting[key]

    def arrived(self, key: Hashable, reply: Reply) -> None:
        """A reply to ``key``. A refusal that knows no sequence belongs to the oldest frame."""
        future = self._waiting.pop(key, None)
        if future is None and reply.code and self._waiting:
            future = self._waiting.pop(next(iter(self._waiting)))
        if future is None or future.done():
            self.unexpected += 1  # a second answer, as at-least-once delivery allows
        else:
            future.set_result(reply)
