"""A server from its start to its end: every link, signals, and the drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog

from isthmus.errors import ConfigError
from isthmus.server.access import Tokens, check_exposure
from isthmus.server.config import ServerConfig
from isthmus.server.http import HttpServer
from isthmus.server.service import Service

__all__ = ["Running", "run", "running"]

#: Objects made and not freed before the youngest generation is collected.
_GC_THRESHOLD = 20_000

#: Exit codes: a second signal came while draining; a back half did not return.
_TOLD_TWICE = 130
_STUCK = 70

_log = structlog.get_logger("isthmus.server")


class Running:
    """A server that serves: its service and the ports it listens on, by link."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.ports: dict[str, int] = {}
        self.unanswered = 0
        self.opened = False
        self._links: list[tuple[str, Any]] = []
        self._http: HttpServer | None = None
        self._http_task: asyncio.Task[None] | None = None

    async def open_links(self) -> None:
        """Opens every link of the configuration; ConfigError where one cannot be."""
        config = self.service.config
        if config.grpc.enabled:
            from isthmus.server.grpc_oip import serve_grpc

            tokens = config.security.tokens_file
            guard = None if tokens is None else Tokens(tokens)
            await self._open("grpc", serve_grpc(self.service, config.grpc, config.security, guard))
        if config.udp is not None:
            from isthmus.server.udp import serve_udp

            try:
                await self._open("udp", serve_udp(self.service, config.udp))
            except OSError as error:
                place = f"{config.udp.host}:{config.udp.port}"
                why = error.strerror or str(error)
                raise ConfigError("udp", f"{place} cannot be listened on ({why})") from error
        if config.serial:
            from isthmus.server.serial_link import serve_serial

            for one in config.serial:
                link = serve_serial(self.service, one, max_payload=config.limits.body_bytes)
                await self._open(f"serial {one.port}", link)
        if config.mqtt is not None:
            from isthmus.server.mqtt import serve_mqtt

            limits = config.limits
            opening = serve_mqtt(
                self.service, config.mqtt, body_bytes=limits.body_bytes, drain_s=config.drain_s
            )
            await self._open("mqtt", opening)
        if config.http.enabled:
            self._http = HttpServer(self.service)
            self.ports["http"] = self._http.port
            self._http_task = asyncio.create_task(self._http.serve())
        self.opened = True

    async def _open(self, name: str, opening: Any) -> None:
        link = await opening
        self._links.append((name, link))
        port = getattr(link, "port", None)
        if isinstance(port, int):
            self.ports[name] = port

    async def close(self) -> None:
        """Takes nothing new, answers what was accepted, and closes the links.

        In this order: brokers are told to keep what comes, the queue drains, then connections are
        closed. At most ``drain_s`` seconds.
        """
        service = self.service
        seconds = service.config.drain_s
        for name, link in self._links:
            if name == "mqtt":
                await link.aclose()
        complete = await service.drain(seconds)
        self.unanswered = service.waiting
        for name, link in self._links:
            if name != "mqtt":
                await link.aclose()
        if self._http is not None and self._http_task is not None:
            self._http.stop()
            await self._http_task
        service.close()
        if self.opened:
            _log.info("stopped", complete=complete, unanswered=self.unanswered)


@asynccontextmanager
async def running(config: ServerConfig) -> AsyncIterator[Running]:
    """A server inside the running event loop; it drains and closes at the end of the block."""
    check_exposure(config)
    async with AsyncExitStack() as stack:
        service = Service(config)
        server = Running(service)
        stack.push_async_callback(server.close)
        await service.start()
        await server.open_links()
        _settle_memory()
        yield server


def _settle_memory() -> None:
    """Keeps the collector of cycles off what lives as long as the server.

    Requests make few cycles, and a full collection looks at every object there is: with its
    defaults it took a tenth of the event loop's time under load.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)


async def _serve(config: ServerConfig, started: Callable[[Running], None]) -> int:
    """Serves until a signal; the frames that had no answer when the drain's time was over."""
    stop = asyncio.Event()
    opening = asyncio.current_task()

    def told_to_stop() -> None:
        if stop.is_set():
            os._exit(_TOLD_TWICE)
        if opening is not None:
            opening.cancel()  # a start may wait long: for a predictor
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop)
    try:
        async with running(config) as server:
            opening = None
            for model in server.service.fleet.models():
                _log.info("model", name=model.name, version=model.version, latest=model.latest)
            _log.info("serving", **server.ports)
            started(server)
            await stop.wait()
            _log.info("draining", waiting=server.service.waiting)
        return server.unanswered
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    return 0


def run(config: ServerConfig, started: Callable[[Running], None]) -> None:
    """Serves until SIGTERM or SIGINT, then drains. ``started`` is called once all links are open.

    A second signal ends the process at once, with 130; frames that have no answer after ``drain_s``
    end it with 70.

    ConfigError, BundleError and what opening a back half raises, before anything is served.
    """
    if not any((config.http.enabled, config.grpc.enabled, config.mqtt, config.udp, config.serial)):
        raise ConfigError("config", "enables no link", allowed="one that frames come in by")
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        unanswered = runner.run(_serve(config, started))
    if unanswered:
        os._exit(_STUCK)  # a back half that never returns holds its thread, and Python waits for it


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loops where it is installed (it is not for Windows)."""
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None
