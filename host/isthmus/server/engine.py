"""Dynamic batching: frames in, decoded in C, computed in batches, answers out.

Threads of one pool decode and compute; the event loop only hands them work. A thread that becomes
free takes all frames that wait, up to a batch, decodes them, and goes on to compute at once if the
batch is full, if no delay is wanted, or if its oldest frame has waited its delay; otherwise what is
decoded waits for more. So under load batches fill by themselves, and an idle server answers a
single frame without waiting.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import numpy.typing as npt
import structlog

from isthmus.codec.frame import Octets
from isthmus.errors import BackHalfError, IsthmusError, ServerError
from isthmus.server.config import BatchConfig
from isthmus.server.fleet import Generation
from isthmus.server.types import Answer, Origin, Timings

__all__ = ["Done", "Engine", "Item", "Job", "Lane", "Observer", "Ready", "add_answers", "failed"]

#: Seconds between two threads' turns at the interpreter's lock. The default of 5 ms is what a
#: worker waits for it after each call into C while the event loop is busy.
_SWITCH_INTERVAL = 0.0001

_log = structlog.get_logger("isthmus.server")

#: What inference engines raise, and what stands around them.
_FAILURES = (IsthmusError, RuntimeError, ValueError, MemoryError)

#: How soon a thread must be free that another is not begun for what waits.
_PATIENCE_S = 0.005
#: Weight of the newest batch in the mean of what a frame takes.
_SMOOTHING = 0.2

Item = tuple[Origin, Answer, npt.NDArray[np.uint8], "npt.NDArray[np.bool_] | None"]
Observer = Callable[[Generation, list[Item]], None]


@dataclass(slots=True)
class Job:
    """A frame that waits: whole (bytes), or the packets of it that arrived (a list)."""

    data: Octets | list[bytes]
    origin: Origin
    frame_bytes: int
    slices_lost: int = 0
    future: asyncio.Future[Answer] = field(default_factory=lambda: _loop().create_future())
    arrived: float = field(default_factory=perf_counter)


@dataclass(slots=True)
class Ready:
    """A decoded frame that waits for its batch."""

    job: Job
    rung: int
    sequence: int
    levels: npt.NDArray[np.uint8]
    features: npt.NDArray[np.float32]
    received: npt.NDArray[np.bool_] | None
    lost: int
    queued: float
    decoded: float


@dataclass(slots=True)
class Done:
    """What a thread brings back."""

    answers: list[tuple[Job, Answer, npt.NDArray[np.uint8], npt.NDArray[np.bool_] | None]]
    refusals: list[tuple[Job, IsthmusError]]
    ready: list[Ready]


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


class Lane:
    """One generation's frames: those that wait to be decoded, and those that wait for a batch."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.jobs: deque[Job] = deque()
        self.ready: list[Ready] = []
        #: Seconds that a frame takes a thread, a running mean; not yet known: long.
        self.frame_s = float("inf")

    def took(self, seconds: float, frames: int) -> None:
        """A thread was busy with so many frames."""
        each = seconds / max(1, frames)
        known = self.frame_s if self.frame_s < float("inf") else each
        self.frame_s = known + _SMOOTHING * (each - known)

    def oldest(self) -> float:
        """When the frame that waited longest arrived."""
        first = self.jobs[0].arrived if self.jobs else float("inf")
        return min(first, self.ready[0].job.arrived) if self.ready else first


class Engine:
    """Runs the generations of a server in ``workers`` threads, on the event loop that made it."""

    def __init__(
        self,
        generations: Sequence[Generation],
        config: BatchConfig,
        observer: Observer,
        workers: int,
    ) -> None:
        self._config = config
        self._delay = config.delay_ms / 1000.0
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._lanes = {generation: Lane(generation) for generation in generations}
        self._workers = workers
        self._idle = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="isthmus-worker")
        self._timer: asyncio.TimerHandle | None = None
        self._pumping = False
        self._until: dict[int, float] = {}
        self.waiting = 0
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL))

    async def warm(self) -> None:
        """Opens every thread's interpreters, so that the first frames wait for nothing."""
        # They meet first, so that each of the pool's threads takes exactly one call.
        barrier = threading.Barrier(self._workers)

        def warm() -> None:
            barrier.wait()
            for generation in self._lanes:
                generation.warm()

        await asyncio.gather(
            *(self._loop.run_in_executor(self._pool, warm) for _ in range(self._workers))
        )

    def submit(self, generation: Generation, job: Job) -> asyncio.Future[Answer]:
        """Takes a frame; its future holds the answer, or the refusal."""
        self._lanes[generation].jobs.append(job)
        self.waiting += 1
        if self._idle and not self._pumping:
            # at the end of this turn of the loop: what arrives in the same turn is one batch
            self._pumping = True
            self._loop.call_soon(self._pump)
        return job.future

    async def compute(
        self, generation: Generation, features: npt.NDArray[np.float32]
    ) -> list[npt.NDArray[np.float32]]:
        """The back half alone, for features [n, *shape] that were decoded elsewhere."""
        self.waiting += 1
        try:
            return await self._loop.run_in_executor(self._pool, generation.compute, features)
        except _FAILURES as error:
            raise back_half_failed(error) from None
        finally:
            self.waiting -= 1

    def _pump(self) -> None:
        """Gives idle threads what waits longest."""
        self._pumping = False
        while self._idle:
            now = perf_counter()
            due = [lane for lane in self._lanes.values() if lane.jobs or self._flushes(lane, now)]
            if not due:
                break
            lane = min(due, key=Lane.oldest)
            if not self._worth_a_thread(lane, now):
                break
            flush = self._flushes(lane, now)
            jobs = self._take(lane)
            ready: list[Ready] = []
            if flush:
                ready, lane.ready = lane.ready, []
            if jobs or ready:
                self._idle -= 1
                frames = len(jobs) + len(ready)
                self._until[id(jobs)] = now + frames * lane.frame_s
                work = self._pool.submit(self._work, lane, jobs, ready, flush)
                work.add_done_callback(_log_defect)
        self._set_timer()

    def _worth_a_thread(self, lane: Lane, now: float) -> bool:
        """Whether to begin now, rather than when a thread is free that works already.

        If one will be free at once, another would only take the processor from the event loop, and
        the two would pass Python's lock to and fro: with a light back half that cost a fifth of the
        throughput on two cores. More than two batches wait for nobody.
        """
        if not self._until or len(lane.jobs) >= 2 * self._config.max:
            return True
        return abs(min(self._until.values()) - now) > _PATIENCE_S  # or long overdue

    def _take(self, lane: Lane) -> list[Job]:
        """Up to a batch of the frames that wait; none whose caller has gone."""
        jobs: list[Job] = []
        while lane.jobs and len(jobs) < self._config.max:
            job = lane.jobs.popleft()
            if job.future.done():
                self.waiting -= 1
            else:
                jobs.append(job)
        return jobs

    def _flushes(self, lane: Lane, now: float) -> bool:
        count = len(lane.ready) + len(lane.jobs)
        if count == 0:
            return False
        full = count >= self._config.max
        return full or self._delay == 0.0 or now - lane.oldest() >= self._delay

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._idle:
            return
        lanes = self._lanes.values()
        ends = [lane.oldest() + self._delay for lane in lanes if lane.ready]
        if self._until and any(lane.jobs for lane in lanes):
            # the thread that would be free at once may take longer than it should
            ends.append(min(self._until.values()) + _PATIENCE_S)
        if ends:
            left = max(0.0, min(ends) - perf_counter())
            self._timer = self._loop.call_later(left, self._pump)

    # In a thread of the pool.

    def _work(self, lane: Lane, jobs: list[Job], ready: list[Ready], flush: bool) -> None:
        # Whatever happens, the frames are answered and the thread is free again.
        done = failed(jobs, ready, BackHalfError("engine", "stopped at an internal error"))
        begin = perf_counter()
        try:
            done = self._step(lane.generation, jobs, ready, flush)
        except _FAILURES as error:
            done = failed(jobs, ready, back_half_failed(error))
        finally:
            took = perf_counter() - begin
            self._loop.call_soon_threadsafe(self._finish, lane, done, jobs, ready, took)

    def _step(
        self, generation: Generation, jobs: list[Job], ready: list[Ready], flush: bool
    ) -> Done:
        done = Done([], [], [])
        fresh, features = self._decode(generation, jobs, done)
        if not flush:
            done.ready = fresh
            return done
        rows = [*ready, *fresh]
        if ready:
            features = np.stack([one.features for one in rows])
        if rows:
            self._compute(done, generation, rows, features)
        return done

    def _compute(
        self,
        done: Done,
        generation: Generation,
        rows: Sequence[Ready],
        features: npt.NDArray[np.float32],
    ) -> None:
        """Answers ``rows``; where the back half fails each alone, so that no other one's fails."""
        start = perf_counter()
        try:
            outputs = generation.compute(features)
        except _FAILURES as error:
            if len(rows) == 1:
                done.refusals.append((rows[0].job, back_half_failed(error)))
                return
            for k, row in enumerate(rows):
                self._compute(done, generation, [row], features[k : k + 1])
            return
        add_answers(done, generation, rows, outputs, start)

    @staticmethod
    def _decode(
        generation: Generation, jobs: list[Job], done: Done
    ) -> tuple[list[Ready], npt.NDArray[np.float32]]:
        """The good ones of ``jobs``, and their features in one array."""
        start = perf_counter()
        batch = generation.decode([job.data for job in jobs])
        took = perf_counter() - start
        done.refusals += [(jobs[i], error) for i, error in batch.errors.items()]
        rows = [
            Ready(
                jobs[i], batch.rungs[k], batch.sequences[k], batch.levels[k], batch.features[k],
                batch.received[k], batch.lost[k], start - jobs[i].arrived, took,
            )
            for k, i in enumerate(batch.index)
        ]  # fmt: skip
        return rows, batch.features

    # On the event loop.

    def _finish(
        self, lane: Lane, done: Done, jobs: list[Job], ready: list[Ready], took: float
    ) -> None:
        self._idle += 1
        del self._until[id(jobs)]
        lane.took(took, len(jobs) + len(ready))
        lane.ready += done.ready
        self._pump()  # first: the thread works on while answers are handed out
        self._deliver(lane, done)

    def _deliver(self, lane: Lane, done: Done) -> None:
        """Hands answers and refusals to those who wait for them."""
        self.waiting -= len(done.answers) + len(done.refusals)
        for job, answer, _, _ in done.answers:
            if not job.future.done():
                job.future.set_result(answer)
        for job, error in done.refusals:
            if not job.future.done():
                job.future.set_exception(error)
        if done.answers:
            self._observer(
                lane.generation, [(job.origin, a, lv, got) for job, a, lv, got in done.answers]
            )

    async def drain(self, seconds: float) -> bool:
        """Waits until nothing waits any more, at most ``seconds``; whether that was so."""
        end = self._loop.time() + seconds
        while self.waiting and self._loop.time() < end:
            await asyncio.sleep(0.01)
        return self.waiting == 0

    def close(self) -> None:
        """Ends the threads once they are done with what they hold, if they ever are."""
        if self._timer is not None:
            self._timer.cancel()
        self._pool.shutdown(wait=not self.waiting, cancel_futures=True)


def add_answers(
    done: Done,
    generation: Generation,
    rows: Sequence[Ready],
    outputs: Sequence[npt.NDArray[np.float32]],
    start: float,
) -> None:
    """Makes the answers of ``rows`` from the back half's outputs, computed since ``start``."""
    top = generation.top(outputs[0])
    end = perf_counter()
    names = [name for name, _ in generation.outputs]
    name, version, elements = generation.name, generation.version, generation.elements
    took = end - start
    for k, row in enumerate(rows):
        job = row.job
        hidden = 0 if row.received is None else int(elements - row.received.sum())
        answer = Answer(
            name, version, job.origin.device, row.sequence, row.rung,
            {n: o[k] for n, o in zip(names, outputs, strict=True)},
            top[k], job.frame_bytes, elements, hidden, job.slices_lost + row.lost,
            Timings(row.queued, row.decoded, took, end - job.arrived),
        )  # fmt: skip
        done.answers.append((job, answer, row.levels, row.received))


def back_half_failed(error: Exception) -> ServerError:
    """The refusal of a frame that the back half failed on."""
    if isinstance(error, ServerError):
        return error
    why = " ".join(str(error).split())[:200]
    return BackHalfError("back_half", f"failed ({why})")


def _log_defect(work: Future[None]) -> None:
    """An exception that nobody expects is a defect: frames are refused, and the log has it."""
    error = work.exception()
    if error is not None:
        _log.error("internal error", link="engine", exc_info=error)


def failed(jobs: list[Job], ready: list[Ready], error: IsthmusError) -> Done:
    """Every frame of a step refused with the same error."""
    every = [*jobs, *(one.job for one in ready)]
    return Done([], [(job, error.with_traceback(None)) for job in every], [])
