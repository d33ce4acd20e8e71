"""The fleet: when which board sends what, and the account of what came back.

Frames are sent on a schedule that does not wait for answers, and their latency counts from the
moment they were due, so a server that stalls cannot hide it by slowing its own clients down.
"""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isthmus.conceal_slices import cut_frame
from isthmus.errors import ERROR_TABLE, IsthmusError
from isthmus.seal import seal
from isthmus.server.simulator.board import Board
from isthmus.server.simulator.inputs import Inputs
from isthmus.server.simulator.links import Link

__all__ = ["FleetOptions", "Report", "run_fleet"]

_NAMES = {row.code: row.name for row in ERROR_TABLE}
_START_S = 0.02
_SLACK_S = 0.0005
_TAG_BYTES = 8


@dataclass(frozen=True)
class FleetOptions:
    """``rate`` is frames a second of each device; ``count`` is frames of the whole fleet.

    With a ``secret`` units are sealed: device d has number ``first_device`` + d.
    """

    devices: int
    rate: float
    count: int | None
    duration_s: float | None
    loss: float = 0.0
    seed: int = 0
    rung: int = 0
    timeout_s: float = 10.0
    secret: bytes | None = None
    first_device: int = 1


@dataclass
class Report:
    """frames = dropped + answered + refused + unanswered.

    Of ``dropped`` frames nothing left the board; ``failed`` says why of those of the unanswered
    that the link itself lost.
    """

    frames: int = 0
    dropped: int = 0
    packets_dropped: int = 0
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    unexpected: int = 0
    right: int = 0
    judged: int = 0
    bytes: int = 0
    elements: int = 0
    seconds: float = 0.0
    sending_s: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))
    lags: array[float] = field(default_factory=lambda: array("d"))

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        encoded = self.frames * self.elements
        return {
            "frames": self.frames,
            "dropped": self.dropped,
            "packets_dropped": self.packets_dropped,
            "answered": self.answered,
            "refused": dict(sorted(self.refused.items())),
            "failed": dict(sorted(self.failed.items())),
            "unanswered": self.unanswered,
            "unexpected_replies": self.unexpected,
            "seconds": round(self.seconds, 3),
            "frames_per_second": round(self.frames / self.sending_s, 1),
            "latency_ms": _percentiles(self.latencies),
            "lag_ms": _percentiles(self.lags),
            "accuracy": self.right / self.judged if self.judged else None,
            "bits_per_element": 8.0 * self.bytes / encoded if encoded else None,
        }


def _percentiles(seconds: array[float]) -> dict[str, float | None]:
    if not seconds:
        return {"p50": None, "p99": None, "max": None}
    p50, p99, most = 1e3 * np.quantile(np.frombuffer(seconds), [0.5, 0.99, 1.0])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "max": round(float(most), 3)}


class _Fleet:
    def __init__(self, options: FleetOptions, board: Board, inputs: Inputs, link: Link) -> None:
        self.options = options
        self.report = Report(elements=board.profile.tensor.elements)
        self._board = board
        self._inputs = inputs
        self._link = link
        self._random = random.Random(options.seed)
        self._tensors: dict[int, bytes] = {}
        self._keys: dict[int, bytes] = {}
        # Counters must grow from one run to the next: milliseconds since 1970, and on from there.
        self._counters = dict.fromkeys(range(options.devices), time.time_ns() // 1_000_000)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Report:
        """Sends all of it."""
        options = self.options
        loop = asyncio.get_running_loop()
        total = options.devices * options.rate
        for which in range(min(len(self._inputs), options.count or len(self._inputs))):
            self._tensor(which)  # before the clock starts: milliseconds each, on large networks
        start = loop.time() + _START_S
        number = 0
        while options.count is None or number < options.count:
            due = number / total
            if options.duration_s is not None and due >= options.duration_s:
                break
            wait = start + due - loop.time()
            await asyncio.sleep(wait if wait > _SLACK_S else 0)
            self._start(number, start + due, loop.time())
            number += 1
        self.report.sending_s = max(number / total, loop.time() - start)
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.report.seconds = loop.time() - start
        self.report.unexpected = self._link.unexpected
        return self.report

    def _start(self, number: int, due: float, now: float) -> None:
        """Frame ``number`` of the run: devices take turns, and each goes through the inputs."""
        device, turn = number % self.options.devices, number // self.options.devices
        which = (turn + device) % len(self._inputs)
        sequence = turn & 0xFFFF
        frame = self._board.frame(self._tensor(which), sequence, self.options.rung)
        report = self.report
        report.frames += 1
        report.bytes += len(frame)
        report.lags.append(max(0.0, now - due))
        units = cut_frame(frame) if self._link.in_packets else [frame]
        kept = [unit for unit in units if self._random.random() >= self.options.loss]
        report.packets_dropped += len(units) - len(kept)
        if not kept:
            report.dropped += 1
            return
        if self.options.secret is not None:
            kept = [self._sealed(device, unit) for unit in kept]
        task = asyncio.create_task(self._send(device, sequence, kept, which, due))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tensor(self, which: int) -> bytes:
        """The front half runs once for each input; frames are coded one by one."""
        tensor = self._tensors.get(which)
        if tensor is None:
            tensor = self._tensors[which] = self._board.tensor(self._inputs.data[which])
        return tensor

    def _sealed(self, device: int, unit: bytes) -> bytes:
        number = self.options.first_device + device
        key = self._keys.get(device)
        if key is None:
            from isthmus.server.keys import device_key

            assert self.options.secret is not None
            key = self._keys[device] = device_key(self.options.secret, number)
        self._counters[device] += 1
        return seal(key, number, self._counters[device], unit, _TAG_BYTES)

    async def _send(
        self, device: int, sequence: int, units: list[bytes], which: int, due: float
    ) -> None:
        report = self.report
        try:
            async with asyncio.timeout(self.options.timeout_s):
                reply = await self._link.send(device, sequence, units)
        except TimeoutError:
            report.unanswered += 1
            return
        except IsthmusError as error:
            report.failed[str(error)[:200]] += 1
            report.unanswered += 1
            return
        if reply.code:
            report.refused[_NAMES.get(reply.code, str(reply.code))] += 1
            return
        report.answered += 1
        report.latencies.append(asyncio.get_running_loop().time() - due)
        if self._inputs.labels is not None and reply.index is not None:
            report.judged += 1
            report.right += reply.index == int(self._inputs.labels[which])


async def run_fleet(options: FleetOptions, board: Board, inputs: Inputs, link: Link) -> Report:
    """Connects, sends and counts. LinkError where nobody is there to begin with."""
    fleet = _Fleet(options, board, inputs, link)
    try:
        await link.open()
        return await fleet.run()
    finally:
        await link.close()
