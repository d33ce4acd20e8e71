"""A small fleet that was fed for two minutes, and its dashboard under uvicorn in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import uvicorn
from monitor_cases import Clock, FakeFleet, FakeServed, FakeService, frame, rung
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from isthmus.errors import BusyError, ChecksumError
from isthmus.server.config import ServerConfig
from isthmus.server.dashboard import dashboard_routes
from isthmus.server.monitor import Monitor
from isthmus.server.types import Origin, Timings

EVIL = '<img src=x onerror="document.title=1">\u202e'
SHAPE = (4, 4, 8)


def rows_missing() -> np.ndarray:
    """Everything arrived but the second row of the tensor."""
    received = np.ones(SHAPE, bool)
    received[1] = False
    return received


def fed(devices: int = 30, seconds: int = 120) -> tuple[Monitor, FakeService, Clock]:
    """Two minutes of a small fleet, every number of which can be worked out by hand."""
    clock = Clock(2000.5)
    config = ServerConfig.model_validate({"limits": {"devices": 5000}})
    monitor = Monitor(config, clock=clock, wall=lambda: 1.7e9 + clock.now)
    served = FakeServed(shape=SHAPE, rungs=(rung(4, (0.0, 3.0)),))
    plain = FakeServed("plain", "ffffffffffff", labels=())
    service = FakeService(FakeFleet([served, plain]), waiting=5)
    monitor.attach(service)
    times = Timings(0.001, 0.002, 0.003, 0.006)
    for second in range(120 - seconds, 120):
        clock.now = 2000.5 + second
        for start in range(0, devices, 10):
            monitor.batch(
                served,
                [frame(served, f"cam-{k}", second, frame_bytes=16, timings=times)
                 for k in range(start, min(devices, start + 10))],
            )  # fmt: skip
        if second % 10 == 0:
            monitor.refused(Origin("http", EVIL), ChecksumError("frame", "is wrong"))
    for _ in range(3):
        monitor.refused(Origin("mqtt", "cam-1"), BusyError("queue", "is full"), "digits")
    levels = np.zeros(SHAPE, np.uint8)
    levels[0, :, 5] = 3  # the first row of channel 5 has the highest level
    values = tuple(0.91 if k == 7 else 0.01 for k in range(10))
    clock.now = 2120.2
    monitor.batch(
        served,
        [frame(served, "cam-2", 777, levels=levels, received=rows_missing(), values=values,
               frame_bytes=16, slices_lost=1, link="udp", timings=times)],
    )  # fmt: skip
    clock.now = 2121.0
    return monitor, service, clock


@dataclass
class Site:
    """A server in a thread. ``gate`` off: it answers nothing; ``token``: what /api asks for."""

    url: str
    monitor: Monitor
    service: FakeService
    clock: Clock
    gate: threading.Event
    token: str = ""


@contextlib.contextmanager
def running(monitor: Monitor, service: FakeService, clock: Clock) -> Iterator[Site]:
    """The dashboard's routes under uvicorn."""
    app = Starlette(routes=dashboard_routes(service, monitor))
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    site = Site(url, monitor, service, clock, threading.Event())
    site.gate.set()

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        await _guard(site, app, scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(guarded, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield site
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive()


async def _guard(site: Site, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    path = scope.get("path", "")
    headers = dict(scope.get("headers", []))
    status = 0
    if path.startswith("/api") and not site.gate.is_set():
        status = 503
    elif path.startswith("/api") and site.token:
        given = headers.get(b"authorization", b"").decode()
        status = 0 if given == f"Bearer {site.token}" else 401
    if not status:
        await app(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})
