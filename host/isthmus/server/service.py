"""The service behind every link: admission, seals, routing, gathering of packets, the engine."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import numpy.typing as npt
import structlog

from isthmus.codec.frame import Octets, SliceHeader
from isthmus.errors import (
    BackHalfError,
    BodyTooLargeError,
    DigestUnknownError,
    DrainingError,
    FrameError,
    IsthmusError,
    ReplayError,
    RequestError,
    SealError,
)
from isthmus.seal import Seal
from isthmus.server.admission import Admission
from isthmus.server.config import ServerConfig
from isthmus.server.engine import Engine, Item, Job, Observer
from isthmus.server.fleet import Fleet, Generation
from isthmus.server.monitor import Monitor
from isthmus.server.reassembly import Group, Reassembler
from isthmus.server.tracing import make_tracer
from isthmus.server.types import Answer, Origin
from isthmus.server.unseal import Unsealer

__all__ = ["MakeEngine", "Service", "worker_count"]

_log = structlog.get_logger("isthmus.server")

_DRAIN_STEP_S = 0.005
#: A timer this late tells that the event loop stood still.
_STALL_S = 0.025

#: Refusals that tell of a device that misbehaves, rather than of a server that is busy. A replay
#: tells nothing: anyone who overheard a device can send its units again, and after a crash of the
#: server the device's own next counters may count as used.
_MISBEHAVIOUR = (FrameError, DigestUnknownError, SealError, BodyTooLargeError, RequestError)


def worker_count(config: ServerConfig) -> int:
    """Threads that decode and compute: as configured, else one for each core this process has."""
    return config.batch.workers or len(os.sched_getaffinity(0))


#: Makes what decodes and computes, on the running event loop.
MakeEngine = Callable[[list[Generation], ServerConfig, Observer], Engine]


def _make_engine(generations: list[Generation], config: ServerConfig, observer: Observer) -> Engine:
    """The engine of the configuration: this process, or a predictor elsewhere."""
    workers = worker_count(config)
    if config.backend is None:
        return Engine(generations, config.batch, observer, workers)
    from isthmus.server.http_backend import HttpBackend
    from isthmus.server.split_engine import SplitEngine

    backend = HttpBackend(config.backend, config.limits.request_s)
    return SplitEngine(generations, config.batch, observer, workers, backend, config.backend.calls)


@dataclass(frozen=True, slots=True)
class _Unit:
    """What arrived, opened: who sent it, by what name it is counted, and whose frame it is."""

    data: Octets
    origin: Origin
    key: str
    generation: Generation
    seal: Seal | None


@dataclass(frozen=True, slots=True)
class _Gathering:
    """Who waits for a frame's packets: the call with the first one, and those with the others."""

    gathered: asyncio.Future[None]
    answered: asyncio.Future[None]


class Service:
    """Answers frames; a :class:`~isthmus.server.types.FrameService`.

    Made and used on one event loop. ``start`` before the first frame, ``drain`` and ``close``
    after the last. ``make_engine`` chooses where frames are computed, for servers that spread.
    """

    def __init__(
        self,
        config: ServerConfig,
        fleet: Fleet | None = None,
        make_engine: MakeEngine = _make_engine,
    ) -> None:
        self.config = config
        self._make_engine = make_engine
        self.fleet = Fleet(config) if fleet is None else fleet
        self.monitor = Monitor(config)
        self.admission = Admission(config.limits, config.quarantine)
        self._tracer = make_tracer(config.log.otlp)
        self._unsealer = Unsealer(config.security)
        limits = config.limits
        self._reassembler = Reassembler(limits.reassembly_frames, limits.reassembly_ms / 1000.0)
        self._gatherings: dict[Group, _Gathering] = {}
        self._group_timer: asyncio.TimerHandle | None = None
        self._group_due = math.inf
        self._stalled = 0.0
        self._leading = 0
        self._engine: Engine | None = None
        self._draining = False

    async def start(self) -> None:
        """Starts the threads and opens every interpreter."""
        self._engine = self._make_engine(self.fleet.models(), self.config, self._observe)
        await self._engine.warm()

    @property
    def ready(self) -> bool:
        """Whether frames are taken."""
        return self._engine is not None and not self._draining

    @property
    def waiting(self) -> int:
        """Frames accepted and not yet answered."""
        return self.admission.waiting

    async def answer(
        self, data: Octets, origin: Origin, *, model: str = "", version: str = ""
    ) -> Answer:
        """The answer to one whole frame; see :class:`~isthmus.server.types.FrameService`."""
        try:
            unit = self._open(data, origin, model, version)
            return await self._submit(unit, unit.data, len(unit.data))
        except IsthmusError as error:
            self._refused(origin, error, model)
            raise

    async def receive(self, data: Octets, origin: Origin, *, model: str = "") -> Answer | None:
        """The answer to a frame, or to one of its parts."""
        try:
            unit = self._open(data, origin, model, "")
            if not unit.generation.in_packets:
                return await self._submit(unit, unit.data, len(unit.data))
            return await self._gather(unit)
        except IsthmusError as error:
            self._refused(origin, error, model)
            raise

    def check(self, origin: Origin) -> None:
        """QuarantineError where the sender is shut out: before a link reads what it sends."""
        key = f"{origin.link} {origin.peer} {origin.device}"
        try:
            self.admission.check(key, perf_counter())
        except IsthmusError as error:
            self._refused(origin, error, "")
            raise

    def report(self, origin: Origin, error: IsthmusError) -> None:
        """Counts what a link refused by itself, as if it had been refused here."""
        self._count_failure(f"{origin.link} {origin.peer} {origin.device}", error)
        self._refused(origin, error, "")

    async def compute(
        self, generation: Generation, features: npt.NDArray[np.float32], origin: Origin
    ) -> list[npt.NDArray[np.float32]]:
        """The back half's outputs for features [n, *shape] that another server decoded."""
        key = f"{origin.link} {origin.peer} {origin.device}"
        try:
            if self._draining or self._engine is None:
                raise DrainingError("server", "takes no more frames", remedy="send it elsewhere")
            self.admission.enter(key, perf_counter())
            try:
                return await self._engine.compute(generation, features)
            finally:
                self.admission.leave(key)
        except IsthmusError as error:
            self._refused(origin, error, generation.name)
            raise

    async def drain(self, seconds: float) -> bool:
        """Takes no more frames and waits until every accepted one is answered; whether all were."""
        self._draining = True
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        self._expire(math.inf)
        while (self._leading or self.waiting) and loop.time() < end:
            await asyncio.sleep(_DRAIN_STEP_S)
        complete = not self._leading and not self.waiting
        if self._engine is None:
            return complete
        return await self._engine.drain(max(0.0, end - loop.time())) and complete

    def close(self) -> None:
        """Ends the threads and writes what must survive."""
        self._draining = True
        if self._group_timer is not None:
            self._group_timer.cancel()
        if self._engine is not None:
            self._engine.close()
        self._unsealer.close()
        if self._tracer is not None:
            self._tracer.close()

    def _open(self, data: Octets, origin: Origin, model: str, version: str) -> _Unit:
        """Checks in the order of cost: open for business, size, quarantine, seal, digest."""
        if self._draining or self._engine is None:
            raise DrainingError("server", "takes no more frames", remedy="send it elsewhere")
        if len(data) > self.config.limits.body_bytes:
            raise BodyTooLargeError(
                "frame", f"has {len(data)} bytes", allowed=f"{self.config.limits.body_bytes}"
            )
        key = f"{origin.link} {origin.peer} {origin.device}"
        now = perf_counter()
        self.admission.check(key, now)
        try:
            seal = self._unsealer.open(data, origin.device)
            if seal is not None:
                data, device = seal.unit, str(seal.device)
                origin, key = replace(origin, device=device), f"sealed {device}"
                self.admission.check(key, now)
            generation = self.fleet.route(data, model, version)
        except IsthmusError as error:
            self._count_failure(key, error)
            raise
        return _Unit(data, origin, key, generation, seal)

    async def _submit(
        self,
        unit: _Unit,
        data: Octets | list[bytes],
        frame_bytes: int,
        *,
        lost: int = 0,
        counter: bool = True,
    ) -> Answer:
        """Through the engine, counted in and out; with ``counter`` the seal's is used up."""
        assert self._engine is not None
        self.admission.enter(unit.key, perf_counter())
        try:
            if counter:
                self._unsealer.spend(unit.seal)  # only now: what was refused before may come again
            job = Job(data, unit.origin, frame_bytes, lost)
            return await self._engine.submit(unit.generation, job)
        except ReplayError:
            self.admission.refund(unit.key)
            raise
        except IsthmusError as error:
            self._count_failure(unit.key, error)
            raise
        finally:
            self.admission.leave(unit.key)

    async def _gather(self, unit: _Unit) -> Answer | None:
        """Puts a slice or packet to the others of its frame."""
        profile = unit.generation.profile
        try:
            header = SliceHeader.parse(profile, unit.data, "packet")
            several = len(unit.data) > header.header_bytes + header.payload_bytes
            if not several:
                self._unsealer.spend(unit.seal)
        except IsthmusError as error:
            self._count_failure(unit.key, error)
            raise
        if several:  # end to end
            return await self._submit(unit, unit.data, len(unit.data))
        now = self._group_now()
        self._expire(now)
        # not by name alone: devices of two links may be called the same
        key, version = unit.key, unit.generation.version
        complete = self._reassembler.add(key, version, profile, header, unit.data, now)
        group = complete or self._reassembler.pending(key, version, header.sequence)
        if group is None:
            return None  # late, or twice
        gathering = self._gatherings.get(group)
        if gathering is None:
            return await self._lead(unit, group)
        if complete is not None:
            self._gathered(group)
        await asyncio.shield(gathering.answered)
        return None

    async def _lead(self, unit: _Unit, group: Group) -> Answer:
        """The call with a frame's first packet: waits for the others and gets the answer."""
        loop = asyncio.get_running_loop()
        gathering = _Gathering(loop.create_future(), loop.create_future())
        self._leading += 1
        try:
            if not group.complete:
                self._gatherings[group] = gathering
                self._set_group_timer()
                await gathering.gathered
            data = group.frame() if group.complete else group.packets
            return await self._submit(unit, data, group.size, lost=group.lost, counter=False)
        except IsthmusError:
            self.monitor.lost(unit.origin, group.lost)
            raise
        finally:
            self._leading -= 1
            self._gatherings.pop(group, None)
            self._reassembler.drop(group)
            if not gathering.answered.done():
                gathering.answered.set_result(None)

    def _gathered(self, group: Group) -> None:
        gathering = self._gatherings.pop(group, None)
        if gathering is not None and not gathering.gathered.done():
            gathering.gathered.set_result(None)

    def _expire(self, now: float) -> None:
        """Goes on with the frames whose deadline has passed."""
        for group in self._reassembler.due(now):
            self._gathered(group)

    def _group_now(self) -> float:
        """The time as packets have it: it stands still where the event loop did.

        What came meanwhile waits in sockets; its frames must not be answered before it is read.
        """
        now = perf_counter() - self._stalled
        late = now - self._group_due
        if late > _STALL_S:
            self._stalled += late + _STALL_S
            now = self._group_due - _STALL_S
        return now

    def _set_group_timer(self) -> None:
        deadline = self._reassembler.next_deadline()
        if self._group_timer is None and deadline is not None:
            self._group_due = deadline
            delay = max(0.0, deadline - self._group_now())
            self._group_timer = asyncio.get_running_loop().call_later(delay, self._on_group_timer)

    def _on_group_timer(self) -> None:
        self._group_timer = None
        now = self._group_now()
        self._group_due = math.inf
        self._expire(now)
        self._set_group_timer()

    def _count_failure(self, key: str, error: IsthmusError) -> None:
        if isinstance(error, _MISBEHAVIOUR) and self.admission.failed(key, perf_counter()):
            _log.warning("quarantine", device=key, seconds=self.config.quarantine.seconds)

    def _refused(self, origin: Origin, error: IsthmusError, model: str) -> None:
        self.monitor.refused(origin, error, model)
        if self._tracer is not None:
            self._tracer.refused(origin, error, model)
        if isinstance(error, BackHalfError):
            _log.error("back half failed", error=str(error), device=origin.name)

    def _observe(self, generation: Generation, items: list[Item]) -> None:
        self.monitor.batch(generation, items)
        if self._tracer is not None:
            self._tracer.batch(generation, items)
