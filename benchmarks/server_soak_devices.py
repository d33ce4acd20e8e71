"""A crowd of simulated devices over HTTP, UDP and MQTT, and what each of their frames came to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
import numpy as np
import numpy.typing as npt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from isthmus import BackHalf, Decoder
from isthmus.errors import ChecksumError, DigestUnknownError, QuarantineError
from isthmus.interpreters import open_tflite, quantize
from isthmus.server.compact import unpack

__all__ = ["Crowd", "Frames", "Outcome", "Tally"]

PICTURES = 64
BAD_SHARE = 0.01
STRANGE_SHARE = 0.01
#: Of the devices, those that send nothing but damaged frames, and how many each sends a second.
MISBEHAVING_SHARE = 0.01
MISBEHAVING_RATE = 3.0
CONNECTIONS = 32
PATIENCE_S = 30.0
_START_S = 60.0
_PROBE = b"probe"
_RIGHT = {
    "bad": ChecksumError.code,
    "strange": DigestUnknownError.code,
    "shut out": QuarantineError.code,
}


@dataclass(slots=True)
class Frame:
    """One frame on its way: what it is, its device, its number there and when it was due."""

    kind: str
    device: int
    sequence: int
    data: bytes
    index: int
    due: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer (code 0) with its class, or the number of the refusal."""

    code: int
    sequence: int = -1
    index: int = -1
    name: str = ""


@dataclass
class Tally:
    """What the devices counted. ``wrong`` is frames with another outcome than theirs."""

    sent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def note(self, link: str, frame: Frame, outcome: Outcome) -> None:
        """A frame came to its end."""
        if outcome.code:
            self.refused[str(outcome.code)] += 1
            right = outcome.code == _RIGHT.get(frame.kind)
            right = right or (frame.kind == "worst" and outcome.code in _RIGHT.values())
            if not right:
                self.wrong[f"{frame.kind}: {outcome.name}"] += 1
            return
        self.answered[link] += 1
        self.latencies.append(time.perf_counter() - frame.due)
        if frame.kind != "good":
            self.wrong[f"{frame.kind}: answered"] += 1
        elif (outcome.sequence, outcome.index) != (frame.sequence, frame.index):
            self.wrong["another frame's answer"] += 1

    @property
    def unanswered(self) -> int:
        """Frames that nothing was said to."""
        return sum(self.sent.values()) - sum(self.answered.values()) - sum(self.refused.values())


class Frames:
    """The bundle's frames of real pictures, made as they are sent."""

    def __init__(self, bundle: Path, pictures: Path) -> None:
        self._decoder = Decoder(bundle)
        front = open_tflite(bundle / "front.tflite")
        with np.load(pictures) as test:
            x = test["x"][:PICTURES]
        tensors = front.run(quantize(x, front.inputs[0]))[0]
        frames = [self._decoder.decode(self._decoder.encode(one)) for one in tensors]
        self._levels: list[npt.NDArray[np.uint8]] = [one.levels for one in frames]
        answers = BackHalf(bundle)(np.stack([one.features for one in frames]))
        self._classes = [int(k) for k in np.argmax(answers.reshape(len(frames), -1), axis=1)]

    def make(self, kind: str, device: int, sequence: int, due: float) -> Frame:
        """A frame; "bad" and "worst" have a flipped bit at their end, "strange" in the digest."""
        which = (device + sequence) % len(self._levels)
        data = bytearray(self._decoder.codec.encode_levels(0, sequence, self._levels[which]))
        if kind in ("bad", "worst"):
            data[-1] ^= 1
        elif kind == "strange":
            data[4] ^= 0xFF
        return Frame(kind, device, sequence, bytes(data), self._classes[which], due)


class _Http:
    """Frames over a few connections that stay open; the header tells the device."""

    name = "http"

    def __init__(self, port: int, tally: Tally) -> None:
        self._port, self._tally = port, tally
        self._queue: asyncio.Queue[Frame] = asyncio.Queue()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        workers = [asyncio.create_task(self._work()) for _ in range(CONNECTIONS)]
        try:
            yield
        finally:
            for one in workers:
                one.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def send(self, frame: Frame) -> None:
        self._queue.put_nowait(frame)

    async def _work(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while True:
                frame = await self._queue.get()
                writer.write(
                    b"POST /v2/frames HTTP/1.1\r\nHost: x\r\nX-Isthmus-Device: h%d\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (frame.device, len(frame.data), frame.data)
                )
                self._tally.note(self.name, frame, _told(await _body(reader)))
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _body(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.index(b"content-length:")
    return await reader.readexactly(int(head[at + 15 : head.index(b"\r", at)]))


def _told(text: bytes) -> Outcome:
    """What an answer in JSON says."""
    said = json.loads(text)
    if "error" in said:
        return Outcome(int(said["error"]["code"]), name=said["error"]["name"])
    return Outcome(0, said["sequence"], said["top"][0]["index"])


class _Device(asyncio.DatagramProtocol):
    """A device with a socket of its own."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.waiting: dict[int, Frame] = {}
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        answer = unpack(data)
        frame = self.waiting.pop(answer.sequence, None)
        if frame is None:
            self.tally.wrong["an answer to nothing"] += 1
            return
        index = answer.top[0][0] if answer.top else -1
        outcome = Outcome(answer.status, answer.sequence, index, f"code {answer.status}")
        self.tally.note("udp", frame, outcome)


class _Udp:
    name = "udp"

    def __init__(self, port: int, tally: Tally) -> None:
        self._address = ("127.0.0.1", port)
        self._tally = tally
        self._devices: dict[int, _Device] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for device in self._devices.values():
                device.transport.close()
            await asyncio.sleep(0)

    async def prepare(self, device: int) -> None:
        _, made = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Device(self._tally), remote_addr=self._address
        )
        self._devices[device] = made

    def send(self, frame: Frame) -> None:
        device = self._devices[frame.device]
        device.waiting[frame.sequence] = frame
        device.transport.sendto(frame.data)


class _Mqtt:
    """All of them over one connection to the broker; results are told apart by correlation data."""

    name = "mqtt"

    def __init__(self, port: int, model: str, probe: bytes, tally: Tally) -> None:
        self._port, self._model, self._probe, self._tally = port, model, probe, tally
        self._there = asyncio.Event()
        self._queue: asyncio.Queue[Frame] = asyncio.Queue()
        self._waiting: dict[bytes, Frame] = {}
        self._number = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        client = aiomqtt.Client("127.0.0.1", self._port, protocol=aiomqtt.ProtocolVersion.V5)
        async with client:
            await client.subscribe(f"isthmus/{self._model}/+/results", qos=1)
            tasks = [asyncio.create_task(self._listen(client))]
            tasks += [asyncio.create_task(self._publish(client)) for _ in range(8)]
            try:
                await self._subscribed(client)
                yield
            finally:
                for one in tasks:
                    one.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def send(self, frame: Frame) -> None:
        self._queue.put_nowait(frame)

    async def _subscribed(self, client: aiomqtt.Client) -> None:
        """Until the server answers: what is published before it subscribes is nobody's."""
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = _PROBE
        async with asyncio.timeout(_START_S):
            while not self._there.is_set():
                topic = f"isthmus/{self._model}/probe/frames"
                await client.publish(topic, self._probe, qos=1, properties=properties)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await self._there.wait()

    async def _publish(self, client: aiomqtt.Client) -> None:
        while True:
            frame = await self._queue.get()
            self._number += 1
            key = self._number.to_bytes(8, "big")
            self._waiting[key] = frame
            properties = Properties(PacketTypes.PUBLISH)
            properties.CorrelationData = key
            topic = f"isthmus/{self._model}/m{frame.device}/frames"
            await client.publish(topic, frame.data, qos=1, properties=properties)

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            key = getattr(message.properties, "CorrelationData", b"")
            frame = self._waiting.pop(key, None)
            if key == _PROBE:
                self._there.set()
                self._tally.sent[self.name] += 1
                self._tally.answered[self.name] += 1
            elif frame is None:
                self._tally.wrong["an answer to nothing"] += 1
            else:
                assert isinstance(message.payload, bytes)
                self._tally.note(self.name, frame, _told(message.payload))


class Crowd:
    """``count`` devices that send ``rate`` frames a second in all, whatever the server does.

    Every tenth one is on UDP, every tenth on MQTT where there is a broker; the rest post. One in a
    hundred sends damaged frames alone, MISBEHAVING_RATE a second, beyond the rate.
    """

    def __init__(
        self, frames: Frames, count: int, rate: float, ports: dict[str, int], model: str
    ) -> None:
        self.tally = Tally()
        self._frames, self._count, self._rate = frames, count, rate
        self._http = _Http(ports["http"], self.tally)
        self._udp = _Udp(ports["udp"], self.tally)
        self._mqtt = None
        if "mqtt" in ports:
            probe = frames.make("good", 0, 0, 0.0).data
            self._mqtt = _Mqtt(ports["mqtt"], model, probe, self.tally)
        self._sequences = [0] * count
        self._chance = random.Random(5)

    def _link(self, device: int) -> _Http | _Udp | _Mqtt:
        if device % 10 == 1:
            return self._udp
        if device % 10 == 2 and self._mqtt is not None:
            return self._mqtt
        return self._http

    @property
    def misbehaving(self) -> list[int]:
        """Those that send damaged frames alone: as many on each link."""
        few = max(3, int(self._count * MISBEHAVING_SHARE))
        return [10 * k + k % 3 for k in range(few)]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The connections of all."""
        async with AsyncExitStack() as stack:
            for link in (self._http, self._udp, self._mqtt):
                if link is not None:
                    await stack.enter_async_context(link.open())
            for device in range(self._count):
                if self._link(device) is self._udp:
                    await self._udp.prepare(device)
            yield

    async def send(self, seconds: float) -> None:
        """Sends, and waits for what was sent last; at most PATIENCE_S more."""
        worst = self.misbehaving
        kept = set(worst)
        good = [device for device in range(self._count) if device not in kept]
        self._chance.shuffle(good)
        await asyncio.gather(
            self._stream(good, self._rate, seconds, ""),
            self._stream(worst, MISBEHAVING_RATE * len(worst), seconds, "worst"),
        )
        end = time.monotonic() + PATIENCE_S
        while self.tally.unanswered and time.monotonic() < end:
            await asyncio.sleep(0.05)

    async def _stream(self, devices: list[int], rate: float, seconds: float, kind: str) -> None:
        begin = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = begin + number / rate
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            device = devices[number % len(devices)]
            sequence = self._sequences[device]
            self._sequences[device] = (sequence + 1) & 0xFFFF
            link = self._link(device)
            self.tally.sent[link.name] += 1
            link.send(self._frames.make(kind or self._kind(), device, sequence, due))

    def _kind(self) -> str:
        draw = self._chance.random()
        if draw < BAD_SHARE:
            return "bad"
        return "strange" if draw < BAD_SHARE + STRANGE_SHARE else "good"
