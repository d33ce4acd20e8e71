"""Connections: heads without end, clients that do not read, and more connections than allowed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from served import Served

from isthmus.server.config import load_config
from isthmus.server.http import HttpServer
from isthmus.server.http_protocol import HEAD_BYTES
from isthmus.server.service import Service

GET = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer; (0, b"") where the connection ended instead."""
        try:
            head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
            lines = head.lower().split(b"\r\n")
            length = next(int(x[16:]) for x in lines if x.startswith(b"content-length: "))
            body = await asyncio.wait_for(self.reader.readexactly(length), 10)
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0, b""
        return int(lines[0].split()[1]), body

    async def ended(self) -> bool:
        """Whether the server closes it, within ten seconds."""
        try:
            while await asyncio.wait_for(self.reader.read(1 << 16), 10):
                pass
        except ConnectionError:
            pass
        return True

    def close(self) -> None:
        self.writer.close()


@asynccontextmanager
async def serving(digits: Served, **limits: Any) -> AsyncIterator[tuple[HttpServer, Any]]:
    """A server with ``limits``, and what opens connections to it."""
    config = load_config(
        None, bundles=[{"path": str(digits.path)}], http={"port": 0}, limits=limits,
        batch={"workers": 1}, drain_s=1.0,
    )  # fmt: skip
    service = Service(config)
    await service.start()
    server = HttpServer(service)
    task = asyncio.create_task(server.serve())
    clients: list[Client] = []

    async def connect() -> Client:
        one = Client(*await asyncio.open_connection("127.0.0.1", server.port))
        clients.append(one)
        return one

    try:
        first = await connect()
        await first.send(GET)
        assert (await first.answer())[0] == 200
        first.close()
        await first.ended()
        yield server, connect
    finally:
        for one in clients:
            one.close()
        server.stop()
        await asyncio.wait_for(task, 10)
        service.close()


def run(body: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(body(), 30))  # type: ignore[arg-type]


@pytest.mark.parametrize("begin", [b"", b"POST /v2/fr", b"GET / HTTP/1.1\r\nhost: x\r\nx-a: "])
def test_a_head_that_does_not_end_is_given_up(digits: Served, begin: bytes) -> None:
    """Trickling does not help: the time is that of the whole head."""

    async def body() -> None:
        async with serving(digits, request_s=0.6) as (_, connect):
            slow = await connect()
            start = time.monotonic()

            async def trickle() -> None:
                await slow.send(begin)
                while begin:
                    await asyncio.sleep(0.1)
                    await slow.send(b"a")

            task = asyncio.create_task(trickle())
            assert (await slow.answer())[0] == 408
            assert 0.5 < time.monotonic() - start < 5
            assert await slow.ended()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(body)


def test_nor_does_one_after_a_first_request(digits: Served) -> None:
    async def body() -> None:
        async with serving(digits, request_s=0.6) as (_, connect):
            slow = await connect()
            await slow.send(GET)
            assert (await slow.answer())[0] == 200
            await slow.send(b"\r\n")  # blank lines before a request begin none
            assert (await slow.answer())[0] == 408
            idle = await connect()  # one that owes nothing stays for the keep-alive's time
            await idle.send(GET)
            assert (await idle.answer())[0] == 200
            await asyncio.sleep(0.2)
            for _ in range(6):
                await asyncio.sleep(0.2)
                await idle.send(GET)
                assert (await idle.answer())[0] == 200

    run(body)


@pytest.mark.parametrize("line", [b"x-%06d: aaaaaaaaaaaaaaaaaaaaaaaa\r\n", b"%06d"])
def test_a_head_has_a_length(digits: Served, line: bytes) -> None:
    """Many headers, or one that goes on and on: not kept."""

    async def body() -> None:
        async with serving(digits) as (_, connect):
            long = await connect()
            await long.send(b"GET / HTTP/1.1\r\nhost: x\r\nx-first: ")
            if line.startswith(b"x"):
                await long.send(b"\r\n")
            sent = 0

            async def flood() -> int:
                nonlocal sent
                while sent < 64 * HEAD_BYTES:
                    piece = b"".join(line % k for k in range(100))
                    await long.send(piece)
                    sent += len(piece)
                return sent

            task = asyncio.create_task(flood())
            assert (await long.answer())[0] in (431, 0)
            await asyncio.gather(task, return_exceptions=True)
            assert await long.ended()
            assert sent < 64 * HEAD_BYTES

    run(body)


def test_trailers_without_end_are_given_up(digits: Served) -> None:
    async def body() -> None:
        async with serving(digits, body_bytes=1024) as (_, connect):
            long = await connect()
            await long.send(
                b"POST /v2/frames HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
                b"4\r\nabcd\r\n0\r\n"
            )

            async def flood() -> None:
                for k in range(100_000):
                    await long.send(b"x-%06d: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" % k)

            task = asyncio.create_task(flood())
            assert (await long.answer())[0] in (0, 400, 413, 422, 431)
            await asyncio.gather(task, return_exceptions=True)
            assert await long.ended()
            assert task.exception() is not None  # it could not send all of it

    run(body)


def test_more_connections_than_allowed_take_the_place_of_idle_ones(digits: Served) -> None:
    """Fifty that send nothing, or half a head, hold nobody; there are never more than ten."""

    async def body() -> None:
        async with serving(digits, connections=10) as (server, connect):
            holders = []
            for k in range(50):
                holder = await connect()
                await holder.send(b"" if k % 2 else b"POST /v2/frames HTTP/1.1\r\nx")
                holders.append(holder)
            for _ in range(20):
                good = await connect()
                await good.send(GET)
                assert await good.answer() == (200, b'{"live":true}')
            assert server._bounds.open <= 10
            ended = await asyncio.gather(*(one.ended() for one in holders[:40]))
            assert all(ended)

    run(body)


def test_connections_with_requests_under_way_are_kept(digits: Served) -> None:
    """Ten that are being read: the eleventh is told so, and each of the ten is answered."""

    async def body() -> None:
        async with serving(digits, connections=10) as (_, connect):
            frame = digits.frames[0]
            head = b"POST /v2/frames HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(frame)
            busy = [await connect() for _ in range(10)]
            for one in busy:
                await one.send(head + frame[:-1])
            await asyncio.sleep(0.1)
            late = await connect()
            assert (await late.answer())[0] == 503
            assert await late.ended()
            for one in busy:
                await one.send(frame[-1:])
            for one in busy:
                status, text = await one.answer()
                assert status == 200, text
                assert json.loads(text)["sequence"] == 0
            again = await connect()
            await again.send(GET)
            assert (await again.answer())[0] == 200

    run(body)


def test_a_client_that_does_not_read_is_given_up(digits: Served) -> None:
    """Its answers pile up in the socket's buffers, and then nowhere."""

    async def body() -> None:
        async with serving(digits, request_s=0.6) as (server, connect):
            deaf = socket.socket()
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, ("127.0.0.1", server.port))
            request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"
            end = loop.time() + 15
            with deaf:
                while not server._bounds.closed:
                    assert loop.time() < end
                    with contextlib.suppress(BlockingIOError):
                        deaf.send(request * 20)
                    await asyncio.sleep(0.02)
            good = await connect()
            await good.send(GET)
            assert (await good.answer())[0] == 200

    run(body)


def test_requests_ahead_of_their_answers_have_a_bound(digits: Served) -> None:
    async def body() -> None:
        async with serving(digits) as (_, connect):
            few = await connect()
            await few.send(GET * 20)
            assert [(await few.answer())[0] for _ in range(20)] == [200] * 20
            many = await connect()
            await many.send(GET * 5000)
            got = 0
            while (await many.answer())[0] == 200:
                got += 1
            assert got < 5000

    run(body)


def test_an_answer_does_not_wait_for_an_acknowledgement(digits: Served) -> None:
    """Forty requests one after the other: a delayed acknowledgement is 40 ms on Linux."""

    async def body() -> None:
        async with serving(digits) as (_, connect):
            one = await connect()
            start = time.monotonic()
            for _ in range(40):
                await one.send(GET)
                assert (await one.answer())[0] == 200
            assert time.monotonic() - start < 1.2

    run(body)
