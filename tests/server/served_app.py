"""A server on a free port of 127.0.0.1, in a thread, for clients that block."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from fake_service import FakeService
from starlette.applications import Starlette

from isthmus.server.http_oip import oip_routes

SECONDS = 20.0
T = TypeVar("T")


@contextmanager
def loop_thread() -> Iterator[Callable[[Awaitable[Any]], Any]]:
    """An event loop in a thread; yields what runs a coroutine there and waits for its result."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(awaitable: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(run(), loop).result(SECONDS)

    try:
        yield call
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()


@contextmanager
def served_http(service: FakeService) -> Iterator[int]:
    """The port on which the protocol's routes answer for ``service``."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        Starlette(routes=oip_routes(service)), http="httptools", ws="none", lifespan="off",
        log_config=None, access_log=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        listener.close()


def run_client(script: str, *arguments: str) -> str:
    """What a client beside this file prints; in a process of its own.

    Clients of the protocol that describe its messages in protobuf's default pool cannot be
    imported together.
    """
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(script)), *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
