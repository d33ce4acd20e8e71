"""Units over a serial port, in COBS frames (docs/links.md); compact answers go back.

The port is read and written on the event loop (``add_reader`` and ``add_writer`` of its file
descriptor: POSIX). When the device vanishes it is opened again, after a pause that doubles from a
tenth of a second to five.

A frame that is damaged, or of a kind that boards do not send, is counted and not answered: a line
that echoes would otherwise make an answer of every answer.
"""

from __future__ import annotations

import asyncio
import os

import serial
import structlog

from isthmus.errors import IsthmusError, LinkError
from isthmus.server.cobs import KIND_ANSWER, KIND_UNIT, FrameReader, encode
from isthmus.server.compact import pack_answer, pack_refusal, sequence_of
from isthmus.server.config import SerialConfig
from isthmus.server.link_tasks import LinkCounts, UnitTasks
from isthmus.server.types import Answer, FrameService, Origin

__all__ = ["SerialLink", "serve_serial"]

_READ_BYTES = 1 << 16
_OUT_BYTES = 1 << 16
_PAUSE_S = (0.1, 5.0)

_log = structlog.get_logger("isthmus.server")


class SerialLink:
    """One serial port. ``port`` is its name, ``counts`` what went through it.

    ``opened`` counts how often it was opened, ``is_open`` says whether it is.
    """

    def __init__(
        self,
        service: FrameService,
        config: SerialConfig,
        *,
        max_payload: int = 1 << 20,
        pending: int = 1024,
        pause_s: tuple[float, float] = _PAUSE_S,
    ) -> None:
        self.port = config.port
        self.counts = LinkCounts()
        self.opened = 0
        self._config = config
        self._origin = Origin("serial", device=config.device, peer=config.port)
        self._tasks = UnitTasks(
            service, pending=pending, peer_pending=pending, pending_bytes=16 * max_payload
        )
        self._reader = FrameReader(max_payload)
        self._pause_s = pause_s
        self._device: serial.Serial | None = None
        self._out = bytearray()
        self._gone = asyncio.Event()
        self._runner = asyncio.create_task(self._run())

    @property
    def is_open(self) -> bool:
        """Whether the port is open now."""
        return self._device is not None

    async def aclose(self, drain_s: float = 5.0) -> None:
        """Refuses what still comes, waits for outstanding answers, closes the port."""
        loop = asyncio.get_running_loop()
        until = loop.time() + drain_s
        await self._tasks.aclose(drain_s)
        while self._out and self._device is not None and loop.time() < until:
            await asyncio.sleep(0.01)  # what the line has not yet taken
        self._runner.cancel()
        await asyncio.gather(self._runner, return_exceptions=True)

    async def _run(self) -> None:
        """Keeps the port open."""
        pause = self._pause_s[0]
        try:
            while True:
                try:
                    device = self._open()  # never waits: the descriptor is opened non-blocking
                except (serial.SerialException, OSError) as error:
                    _log.info("serial_absent", port=self.port, error=str(error), retry_s=pause)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, self._pause_s[1])
                    continue
                pause = self._pause_s[0]
                await self._serve(device)
                _log.warning("serial_lost", port=self.port)
                await asyncio.sleep(pause)
        finally:
            self._release()

    def _open(self) -> serial.Serial:
        return serial.Serial(
            self._config.port, self._config.baud, timeout=0, write_timeout=0, exclusive=True
        )

    async def _serve(self, device: serial.Serial) -> None:
        """Reads until the device is gone."""
        self._device = device
        self._gone.clear()
        self._reader.reset()
        self._out.clear()
        self.opened += 1
        _log.info("serial_open", port=self.port, baud=self._config.baud)
        asyncio.get_running_loop().add_reader(device.fileno(), self._readable)
        try:
            await self._gone.wait()
        finally:
            self._release()

    def _release(self) -> None:
        if self._device is None:
            return
        device, self._device = self._device, None
        loop = asyncio.get_running_loop()
        loop.remove_reader(device.fileno())
        loop.remove_writer(device.fileno())
        device.close()

    def _readable(self) -> None:
        if self._device is None:
            return
        try:
            data = os.read(self._device.fileno(), _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # readable and empty: it was unplugged
            self._hang_up()
            return
        for found in self._reader.feed(data):
            if isinstance(found, LinkError):
                self.counts.broken += 1
                _log.info("serial_broken", port=self.port, **found.as_dict())
            elif found.kind != KIND_UNIT:
                self.counts.broken += 1
            else:
                self._unit(found.payload)

    def _unit(self, unit: bytes) -> None:
        self.counts.units += 1

        def reply(outcome: Answer | IsthmusError) -> None:
            if isinstance(outcome, Answer):
                sent = self._send(pack_answer(outcome))
                self.counts.answered += sent
            else:
                sent = self._send(pack_refusal(outcome, sequence_of(unit)))
                self.counts.refused += sent
            self.counts.lost += not sent

        self._tasks.start(unit, self._origin, reply)

    def _send(self, message: bytes) -> bool:
        """Whether the line takes the message: it does not while 64 KiB wait for it."""
        frame = encode(KIND_ANSWER, message)
        if self._device is None or len(self._out) + len(frame) > _OUT_BYTES:
            return False
        if not self._out:
            asyncio.get_running_loop().add_writer(self._device.fileno(), self._writable)
        self._out += frame
        return True

    def _writable(self) -> None:
        if self._device is None:
            return
        try:
            written = os.write(self._device.fileno(), self._out)
        except BlockingIOError:
            return
        except OSError:
            self._hang_up()
            return
        del self._out[:written]
        if not self._out:
            asyncio.get_running_loop().remove_writer(self._device.fileno())

    def _hang_up(self) -> None:
        """Stops watching at once: a dead descriptor is always ready."""
        if self._device is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._device.fileno())
            loop.remove_writer(self._device.fileno())
        self._gone.set()


async def serve_serial(
    service: FrameService,
    config: SerialConfig,
    *,
    max_payload: int = 1 << 20,
    pending: int = 1024,
    pause_s: tuple[float, float] = _PAUSE_S,
) -> SerialLink:
    """A link that keeps the port open and hands its units to ``service``; ``aclose()`` it.

    It returns at once: a port that is not there (yet) is tried again and again.
    """
    return SerialLink(service, config, max_payload=max_payload, pending=pending, pause_s=pause_s)
