"""What people and Prometheus see of a server: counts by bundle, and the devices seen last.

All methods are called on the event loop's thread. ``batch`` costs a few microseconds a frame;
everything that is shown is worked out when it is asked for. Memory is bounded: by the bundles,
by ``limits.devices`` and by the bytes of the frames kept for the heat map.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from isthmus.errors import IsthmusError
from isthmus.server.config import ServerConfig
from isthmus.server.counts import Item, ModelCounts, Ring, Served
from isthmus.server.types import Answer, Origin, Top

__all__ = ["Device", "Kept", "Monitor", "RecentAnswer", "RecentRefusal", "Watched"]

_NAME = 128  # characters of a device's name, at most
_RECENT = 40
_STRANGERS = 256  # devices without an answer that are remembered
_KEEP_BYTES = 32 << 20
_KEEP_EVERY = 0.2  # seconds between two frames of a device that are kept
_OUTPUT_VALUES = 1 << 14
_RATE_SECONDS = 5.0
_MEAN = 0.1


class Watched(Protocol):
    """What the monitor asks the service that it belongs to."""

    @property
    def ready(self) -> bool: ...

    @property
    def waiting(self) -> int: ...

    @property
    def fleet(self) -> Any: ...


@dataclass(slots=True)
class Device:
    """What is known of a device. Times are of ``time.time``, durations in seconds."""

    name: str
    link: str
    first: float
    seen: float
    model: str = ""
    version: str = ""
    frames: int = 0
    refused: int = 0
    slices_lost: int = 0
    concealed: int = 0
    elements: int = 0
    sequence: int = 0
    rung: int = 0
    bits: float = 0.0
    seconds: float = 0.0
    top: Top | None = None
    error: str = ""
    rate: float = 0.0
    rated: float = 0.0
    kept: float = -math.inf
    order: list[str | int] | None = None

    def frames_a_second(self, now: float) -> float:
        """Frames a second, the last ones weighing most."""
        return self.rate * math.exp((self.rated - now) / _RATE_SECONDS)


class Kept(NamedTuple):
    """A device's frame, for the heat map. ``output`` is the first one, None where it is large."""

    served: Served
    answer: Answer
    levels: npt.NDArray[np.uint8]
    received: npt.NDArray[np.bool_] | None
    output: npt.NDArray[np.float32] | None
    time: float

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(a.nbytes for a in (self.levels, self.received, self.output) if a is not None)


class RecentAnswer(NamedTuple):
    """A line of the table of last answers."""

    time: float
    device: str
    link: str
    answer: Answer


class RecentRefusal(NamedTuple):
    """A line of the table of last refusals."""

    time: float
    device: str
    link: str
    model: str
    code: int
    name: str
    text: str


class Monitor:
    """Counts of a server.

    ``clock`` counts seconds steadily, ``wall`` is the time that people read.
    """

    def __init__(
        self,
        config: ServerConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        keep_bytes: int = _KEEP_BYTES,
    ) -> None:
        config = ServerConfig() if config is None else config
        self.clock = clock
        self.wall = wall
        self.started = wall()
        self.begun = clock()
        self.models: dict[tuple[str, str], ModelCounts] = {}
        self.devices: OrderedDict[str, Device] = OrderedDict()
        self.strangers: OrderedDict[str, Device] = OrderedDict()
        self.failures: dict[tuple[str, int, str], int] = {}
        self.refusals: Ring = Ring((1,), np.int64)
        self.answers: deque[RecentAnswer] = deque(maxlen=_RECENT)
        self.refused_last: deque[RecentRefusal] = deque(maxlen=_RECENT)
        self.lost_unanswered: Ring = Ring((1,), np.int64)
        self.lost_total = 0
        self.service: Watched | None = None
        self._limit = config.limits.devices
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._kept_bytes = 0
        self._keep_bytes = keep_bytes

    def attach(self, service: Watched) -> None:
        """Names the service whose bundles, readiness and queue are shown."""
        self.service = service
        for served in service.fleet.models():
            self.counts(served)

    def counts(self, served: Served) -> ModelCounts:
        """The counts of a bundle; new ones where it has none."""
        key = (served.name, served.version)
        found = self.models.get(key)
        if found is None:
            found = self.models[key] = ModelCounts(served)
        return found

    def batch(self, generation: Served, items: Sequence[Item]) -> None:
        """Counts answered frames of one bundle."""
        counts = self.counts(generation)
        now = self.clock()
        wall = self.wall()
        counts.add(items, int(now))
        for origin, answer, levels, received in items:
            name = (answer.device or origin.name)[:_NAME]
            device = self.devices.get(name)
            if device is None:
                device = self._new_device(name, origin.link, wall)
            else:
                self.devices.move_to_end(name)
            self._update(device, origin.link, answer, now, wall)
            if now - device.kept >= _KEEP_EVERY:
                device.kept = now
                self._keep(name, generation, answer, levels, received, wall)
        for origin, answer, _, _ in items[-_RECENT:]:
            name = (answer.device or origin.name)[:_NAME]
            self.answers.append(RecentAnswer(wall, name, origin.link, _light(answer)))

    def refused(self, origin: Origin, error: IsthmusError, model: str = "") -> None:
        """Counts a refusal. ``model`` is as the client said it: an unknown one counts as none."""
        known = any(name == model for name, _ in self.models)
        model = model if known else ""
        key = (model, error.code, error.name)
        self.failures[key] = self.failures.get(key, 0) + 1
        self.refusals.at(int(self.clock()))[0] += 1
        wall = self.wall()
        name = origin.name[:_NAME]
        device = self.devices.get(name) or self.strangers.get(name)
        if device is None:
            device = self.strangers[name] = Device(name, origin.link, wall, wall)
            if len(self.strangers) > _STRANGERS:
                self.strangers.popitem(last=False)
        device.refused += 1
        device.seen = wall
        device.error = f"{error.code} {error.name}"
        self.refused_last.append(
            RecentRefusal(wall, name, origin.link, model, error.code, error.name, str(error)[:300])
        )

    def lost(self, origin: Origin, slices: int) -> None:
        """Counts slices of a frame that was never answered."""
        self.lost_total += slices
        self.lost_unanswered.at(int(self.clock()))[0] += slices
        device = self.devices.get(origin.name[:_NAME])
        if device is not None:
            device.slices_lost += slices

    def kept(self, name: str) -> Kept | None:
        """The frame kept of a device, if it is still there."""
        return self._kept.get(name)

    def state(self, **query: Any) -> dict[str, Any]:
        """Everything the page shows but the heat map; see :func:`isthmus.server.snapshot.state`."""
        from isthmus.server.snapshot import state

        return state(self, **query)

    def device(self, name: str, first: int = 0) -> dict[str, Any] | None:
        """A device's features and answer; see :func:`isthmus.server.snapshot.device`."""
        from isthmus.server.snapshot import device

        return device(self, name, first)

    def metrics(self, accept: str = "") -> bytes:
        """The counts as Prometheus reads them."""
        from isthmus.server.metrics import render

        return render(self, accept)[0]

    def _new_device(self, name: str, link: str, wall: float) -> Device:
        device = self.strangers.pop(name, None) or Device(name, link, wall, wall)
        self.devices[name] = device
        if len(self.devices) > self._limit:
            gone, _ = self.devices.popitem(last=False)
            self._forget(gone)
        return device

    @staticmethod
    def _update(device: Device, link: str, answer: Answer, now: float, wall: float) -> None:
        device.rate = device.rate * math.exp((device.rated - now) / _RATE_SECONDS)
        device.rate += 1.0 / _RATE_SECONDS
        device.rated = now
        bits = answer.bits_per_element
        total = answer.timings.total
        if device.frames:
            bits = device.bits + _MEAN * (bits - device.bits)
            total = device.seconds + _MEAN * (total - device.seconds)
        device.bits, device.seconds = bits, total
        device.link, device.seen = link, wall
        device.model, device.version = answer.model, answer.version
        device.frames += 1
        device.slices_lost += answer.slices_lost
        device.concealed += answer.concealed
        device.elements += answer.elements
        device.sequence, device.rung = answer.sequence, answer.rung
        device.top = answer.top[0] if answer.top else None

    def _keep(
        self,
        name: str,
        served: Served,
        answer: Answer,
        levels: npt.NDArray[np.uint8],
        received: npt.NDArray[np.bool_] | None,
        wall: float,
    ) -> None:
        """Keeps a copy of a frame: the arrays given are parts of a whole batch."""
        self._forget(name)
        first = next(iter(answer.outputs.values()), None)
        kept = Kept(
            served,
            _light(answer),
            levels.copy(),
            None if received is None else received.copy(),
            None if first is None or first.size > _OUTPUT_VALUES else first.copy(),
            wall,
        )
        self._kept[name] = kept
        self._kept_bytes += kept.nbytes
        while self._kept_bytes > self._keep_bytes:
            _, gone = self._kept.popitem(last=False)
            self._kept_bytes -= gone.nbytes

    def _forget(self, name: str) -> None:
        old = self._kept.pop(name, None)
        if old is not None:
            self._kept_bytes -= old.nbytes


def _light(answer: Answer) -> Answer:
    """``answer`` without its outputs, which belong to a batch."""
    return Answer(
        answer.model, answer.version, answer.device, answer.sequence, answer.rung, {},
        answer.top, answer.frame_bytes, answer.elements, answer.concealed, answer.slices_lost,
        answer.timings,
    )  # fmt: skip
