"""An engine that decodes here and computes elsewhere: on a Ray cluster, or at a predictor.

Threads of this process decode in C, batch by batch as they become free. What was decoded together
travels together as one float32 array to a :class:`Backend`; several such calls are under way at
once, and while there are as many as there may be, what is decoded waits and fills the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

import numpy as np
import numpy.typing as npt

from isthmus.errors import BackHalfError, IsthmusError, UnavailableError
from isthmus.server.config import BatchConfig
from isthmus.server.engine import Done, Engine, Job, Lane, Observer, Ready, add_answers, failed
from isthmus.server.fleet import Generation

__all__ = ["Backend", "SplitEngine", "check_outputs"]


class Backend(Protocol):
    """Where the back half runs. Every method is called on one event loop."""

    async def warm(self, generations: Sequence[Generation]) -> None:
        """Returns once it is worth sending something; UnavailableError."""
        ...

    async def compute(
        self, generation: Generation, features: npt.NDArray[np.float32]
    ) -> list[npt.NDArray[np.float32]]:
        """The outputs [n, ...] for features [n, *shape], as Generation.compute gives them.

        Tries again what may be tried again; UnavailableError once it gives up, BackHalfError where
        the back half itself failed.
        """
        ...

    async def aclose(self) -> None:
        """Ends connections. Nothing is under way any more."""
        ...


class SplitEngine(Engine):
    """Engine whose back half is a ``backend``; ``delay_ms`` is left to that."""

    def __init__(
        self,
        generations: Sequence[Generation],
        config: BatchConfig,
        observer: Observer,
        workers: int,
        backend: Backend,
        calls: int,
    ) -> None:
        config = config.model_copy(update={"delay_ms": 0.0})
        super().__init__(generations, config, observer, workers)
        self._backend = backend
        self._generations = list(generations)
        self._most_calls = calls
        self._calls: set[asyncio.Task[None]] = set()
        self._decoded = {generation: list[Ready]() for generation in generations}

    async def warm(self) -> None:
        """Waits for the backend; nothing is computed here."""
        await self._backend.warm(self._generations)

    async def compute(
        self, generation: Generation, features: npt.NDArray[np.float32]
    ) -> list[npt.NDArray[np.float32]]:
        """The back half alone: passed on."""
        self.waiting += 1
        try:
            return await self._backend.compute(generation, features)
        finally:
            self.waiting -= 1

    def _step(
        self, generation: Generation, jobs: list[Job], ready: list[Ready], flush: bool
    ) -> Done:
        done = Done([], [], [])
        done.ready, _ = self._decode(generation, jobs, done)
        return done

    def _finish(
        self, lane: Lane, done: Done, jobs: list[Job], ready: list[Ready], took: float
    ) -> None:
        self._decoded[lane.generation] += done.ready
        done.ready = []
        self._start_calls()
        super()._finish(lane, done, jobs, ready, took)

    def _start_calls(self) -> None:
        """Sends what is decoded, the longest waiting first, while there is a call to be had."""
        while len(self._calls) < self._most_calls:
            waiting = [generation for generation, rows in self._decoded.items() if rows]
            if not waiting:
                return
            first = min(waiting, key=lambda one: self._decoded[one][0].job.arrived)
            rows = self._decoded[first]
            self._decoded[first] = rows[self._config.max :]
            call = self._loop.create_task(self._call(self._lanes[first], rows[: self._config.max]))
            self._calls.add(call)
            call.add_done_callback(self._called)

    def _called(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._start_calls()

    async def _call(self, lane: Lane, rows: list[Ready]) -> None:
        start = perf_counter()
        generation = lane.generation
        # Whatever happens, those who wait are told.
        done = failed([], rows, _given_up())
        try:
            features = np.stack([row.features for row in rows])
            outputs = await self._backend.compute(generation, features)
            check_outputs(generation, outputs, len(rows))
            done = Done([], [], [])
            add_answers(done, generation, rows, outputs, start)
        except IsthmusError as error:
            done = failed([], rows, error)
        finally:
            self._deliver(lane, done)

    async def drain(self, seconds: float) -> bool:
        """As the local engine; calls still under way after that are given up."""
        complete = await super().drain(seconds)
        calls = list(self._calls)
        for lane in self._lanes.values():
            rows, self._decoded[lane.generation] = self._decoded[lane.generation], []
            if rows:
                self._deliver(lane, failed([], rows, _given_up()))
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._backend.aclose()
        return complete


def _given_up() -> UnavailableError:
    return UnavailableError(
        "server", "stopped before the frame was computed", remedy="send it elsewhere"
    )


def check_outputs(
    generation: Generation, outputs: Sequence[npt.NDArray[np.float32]], count: int
) -> None:
    """BackHalfError unless what came from elsewhere has the shapes of the bundle's outputs."""
    shapes = [(count, *shape) for _, shape in generation.outputs]
    found = [output.shape for output in outputs]
    if found != shapes or any(output.dtype != np.float32 for output in outputs):
        raise BackHalfError(
            f"outputs of {generation.name}", f"have shapes {found}", allowed=f"float32 {shapes}",
            remedy="serve the back half of the same bundle there",
        )  # fmt: skip
