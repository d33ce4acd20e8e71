"""Replay protection: a sliding window of counters for each device, kept over restarts.

In memory each device has the largest counter accepted and a ring of bits for those below it, moved
on by whole blocks as in RFC 6479: a counter is accepted once, in any order within the window.

On disk (SQLite, one writer) each device has a mark that no accepted counter is above. The mark is
written ahead: when a counter passes it, it goes ``span - 1`` further than the counter and is
committed, to the disk, before the counter is accepted; the marks of devices that used up half of
theirs go along in the same commit. So most counters cost no write at all. The span is ``ahead``,
and doubles, up to ``ahead_max``, while it lasts a device for less than a second.

What that trades: ``close`` keeps each window exactly. After a crash all counters up to the mark
count as used, so that none is accepted twice, and a device loses what it sends until it is past
the mark: fewer than ``ahead`` counters that it did not use before, or those of a few seconds. A
device that gets code 100 may skip ``ahead_max`` counters to be heard at once. With both at 1
nothing is lost but late arrivals, for a commit a frame. A unit that was accepted before the crash
and not answered is refused when it is delivered again: the device has to seal it anew.
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from isthmus.errors import ConfigError, DrainingError, ReplayError, UnavailableError
from isthmus.seal import COUNTER_MAX

__all__ = ["ReplayStore"]

_BLOCK_BITS = 64
_RAISED_MAX = 1000
_SPAN_SECONDS = 1.0
_APPLICATION = 0x49535452
_VERSION = 1
_TABLE = """CREATE TABLE windows (
    device INTEGER PRIMARY KEY,
    top INTEGER NOT NULL,
    seen BLOB
)"""
_PUT = (
    "INSERT INTO windows VALUES (?, ?, ?)"
    " ON CONFLICT (device) DO UPDATE SET top = excluded.top, seen = excluded.seen"
)


class _Window:
    """The counters of one device.

    ``top`` is the largest accepted and ``mark`` what the disk has (-1: nothing to go on from);
    ``span`` is how far ahead of ``top`` the mark was put, at the time ``raised``.
    """

    __slots__ = ("mark", "raised", "seen", "span", "top")

    def __init__(self, top: int, mark: int, seen: bytearray, span: int) -> None:
        self.top = top
        self.mark = mark
        self.seen = seen
        self.span = span
        self.raised = -math.inf


class ReplayStore:
    """The windows of a fleet.

    path      the file; None keeps nothing over a restart
    window    how far below the largest counter a late one may be; rounded up to whole blocks of 64
    ahead     counters of a device that one commit pays for, up to ahead_max where it sends many
    devices   windows held in memory; the one unused for longest goes to the disk for another
    clock     seconds that only grow

    Raises ConfigError where the file cannot be used, or another process has it. Safe to use from
    several threads.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        window: int = 1024,
        ahead: int = 32,
        ahead_max: int = 4096,
        devices: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("window", window), ("ahead", ahead), ("devices", devices)):
            if value < 1:
                raise ConfigError(f"replay.{name}", f"is {value}", allowed="1 or more")
        # one block more than the window: the top block is being filled
        self._blocks = (window + _BLOCK_BITS - 1) // _BLOCK_BITS + 1
        self._window = (self._blocks - 1) * _BLOCK_BITS
        self._length = self._blocks * _BLOCK_BITS // 8
        self._ahead = ahead
        self._ahead_max = max(ahead, ahead_max)
        self._clock = clock
        self._devices = devices
        self._path = str(path) if path is not None else "replay"
        self._lock = threading.Lock()
        self._windows: dict[int, _Window] = {}
        self._low: set[int] = set()  # devices that used up half of what their mark allows
        self._closed = False
        self._base = _open(path)
        try:
            self._load()
        except sqlite3.Error as error:
            self._base.close()
            raise ConfigError(self._path, f"cannot be used ({error})") from error

    def check_and_set(self, device: int, counter: int) -> None:
        """Takes ``counter`` of ``device``, or raises ReplayError: it was used, or is too old.

        UnavailableError where the file cannot be written, DrainingError once it is closed.

        Call it after the tag was proven and before anything inside the seal is looked at. When it
        returns, no later call accepts the same, whatever happens to the process or the machine.
        """
        if not 0 <= counter <= COUNTER_MAX:
            raise ReplayError("seal.counter", f"is {counter}", allowed=f"0..{COUNTER_MAX}")
        with self._lock:
            if self._closed:
                raise DrainingError("seal.counter", "cannot be kept: the server is shutting down")
            windows = self._windows
            state = windows.pop(device, None)
            if state is None:
                state = self._fetch(device)
            windows[device] = state  # the last in order is the last used
            top = state.top
            if counter <= top:
                self._check_below(state, device, counter)
            if counter > state.mark:
                self._reserve(device, state, counter)
            if counter > top:
                self._advance(state, counter)
                if counter + state.span // 2 > state.mark:
                    self._low.add(device)
            state.seen[(counter >> 3) % len(state.seen)] |= 1 << (counter & 7)

    def close(self) -> None:
        """Keeps every window exactly. Later calls are refused; closing twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # where it cannot be written the marks stand, which refuse more and accept no replay
            with contextlib.suppress(sqlite3.Error):
                self._commit([(d, w.top, bytes(w.seen)) for d, w in self._windows.items()])
            self._windows.clear()
            self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_below(self, state: _Window, device: int, counter: int) -> None:
        if state.top - counter >= self._window:
            raise ReplayError(
                "seal.counter", f"{counter} of device {device} is too old",
                allowed=f"above {state.top - self._window}",
                remedy="a device's counter must not go back: keep it over its restarts",
            )  # fmt: skip
        if state.seen[(counter >> 3) % len(state.seen)] >> (counter & 7) & 1:
            raise ReplayError(
                "seal.counter", f"{counter} of device {device} was used before",
                allowed="each counter once",
                remedy=f"after a crash of the server: skip {self._ahead_max} counters",
            )  # fmt: skip

    def _advance(self, state: _Window, counter: int) -> None:
        """Moves the window up to ``counter``, forgetting the blocks that it enters."""
        block = state.top // _BLOCK_BITS
        entered = counter // _BLOCK_BITS - block
        size = _BLOCK_BITS // 8
        for step in range(1, min(entered, self._blocks) + 1):
            at = (block + step) % self._blocks * size
            state.seen[at : at + size] = bytes(size)
        state.top = counter

    def _fetch(self, device: int) -> _Window:
        """The window of a device that is not in memory, as the disk has it."""
        if len(self._windows) >= self._devices:
            self._evict()
        try:
            row = self._base.execute(
                "SELECT top, seen FROM windows WHERE device = ?", (device,)
            ).fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        if row is None:
            return _Window(-1, -1, bytearray(self._length), self._ahead)
        top, seen = row
        if seen is not None and len(seen) == self._length:
            # a window that was kept exactly; whoever goes on from it must first raise the mark
            return _Window(top, -1, bytearray(seen), self._ahead)
        # all up to the mark count as used; those above it, in its block, are still to come
        ring = bytearray(b"\xff" * self._length)
        at = top // _BLOCK_BITS % self._blocks * 8
        ring[at : at + 8] = ((2 << top % _BLOCK_BITS) - 1).to_bytes(8, "little")
        return _Window(top, top, ring, self._ahead)

    def _load(self) -> None:
        """Takes the windows that were kept exactly to memory, and raises all their marks at once.

        Those that a crash left stay as they are until their device comes: raising them at every
        start would put them out of reach of a device that sends little.
        """
        kept = self._base.execute(
            "SELECT device, top, seen FROM windows WHERE length(seen) = ? LIMIT ?",
            (self._length, self._devices),
        ).fetchall()
        for device, top, seen in kept:
            mark = top + self._ahead - 1
            self._windows[device] = _Window(top, mark, bytearray(seen), self._ahead)
        if kept:
            self._commit([(device, w.mark, None) for device, w in self._windows.items()])

    def _reserve(self, device: int, state: _Window, counter: int) -> None:
        """Commits a mark above ``counter``, and those of devices that soon need one."""
        now = self._clock()
        self._low.discard(device)
        raised = [(device, state, max(counter, state.top), self._span(state, now))]
        for other in islice(self._low, _RAISED_MAX):
            window = self._windows[other]
            raised.append((other, window, window.top, self._span(window, now)))
        try:
            self._commit([(one, top + span - 1, None) for one, _, top, span in raised])
        except sqlite3.Error as error:
            raise self._failed(error) from error
        for one, window, top, span in raised:
            window.mark, window.span, window.raised = top + span - 1, span, now
            self._low.discard(one)

    def _span(self, window: _Window, now: float) -> int:
        """How far ahead the next mark goes: for a second of the device's counters, or some."""
        lasted = now - window.raised
        if lasted < _SPAN_SECONDS:
            return min(2 * window.span, self._ahead_max)
        return max(window.span // 2, self._ahead) if lasted > 4 * _SPAN_SECONDS else window.span

    def _evict(self) -> None:
        """Keeps the window unused for longest exactly, with some more, and forgets them."""
        count = max(1, self._devices // 16)
        oldest = list(islice(self._windows, count))
        rows = [(d, self._windows[d].top, bytes(self._windows[d].seen)) for d in oldest]
        try:
            self._commit(rows)
        except sqlite3.Error as error:
            raise self._failed(error) from error
        for device in oldest:
            del self._windows[device]
            self._low.discard(device)

    def _commit(self, rows: Sequence[tuple[int, int, bytes | None]]) -> None:
        base = self._base
        base.execute("BEGIN IMMEDIATE")
        try:
            base.executemany(_PUT, rows)
            base.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                base.execute("ROLLBACK")
            raise

    def _failed(self, error: sqlite3.Error) -> UnavailableError:
        return UnavailableError(
            self._path, f"counters cannot be kept ({error})",
            remedy="nothing is accepted before this file can be written",
        )  # fmt: skip


def _open(path: Path | None) -> sqlite3.Connection:
    """The data base, made where there is none, locked against other processes."""
    where = str(path) if path is not None else "replay"
    if path is not None:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise ConfigError(
                where, f"cannot be opened ({error.strerror})", remedy="name a file in a folder "
                "that the server may write",
            ) from error  # fmt: skip
    base = sqlite3.connect(
        path if path is not None else ":memory:",
        isolation_level=None, check_same_thread=False, timeout=0.0,
    )  # fmt: skip
    try:
        base.execute("PRAGMA locking_mode = EXCLUSIVE")
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = FULL")
        base.execute("BEGIN EXCLUSIVE")
        application = base.execute("PRAGMA application_id").fetchone()[0]
        version = base.execute("PRAGMA user_version").fetchone()[0]
        tables = base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables == 0 and application == 0:
            base.execute(_TABLE)
            base.execute(f"PRAGMA application_id = {_APPLICATION}")
            base.execute(f"PRAGMA user_version = {_VERSION}")
        elif (application, version) != (_APPLICATION, _VERSION):
            raise ConfigError(where, "is another program's file", allowed="a file of its own")
        base.execute("COMMIT")
    except sqlite3.Error as error:
        base.close()
        busy = getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
        raise ConfigError(
            where, "is in use by another server" if busy else f"cannot be used ({error})",
            remedy="give every server a file of its own" if busy else "",
        ) from error  # fmt: skip
    except ConfigError:
        base.close()
        raise
    return base
