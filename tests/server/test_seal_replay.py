"""The replay window against a plain set of counters, over restarts, crashes and SIGKILL."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.errors import ConfigError, DrainingError, ReplayError, UnavailableError
from isthmus.server.replay import ReplayStore

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replay.db"


def takes(store: ReplayStore, device: int, counter: int) -> bool:
    """Whether the store takes the counter."""
    try:
        store.check_and_set(device, counter)
    except ReplayError:
        return False
    return True


def crash(store: ReplayStore) -> None:
    """Ends the store as a killed process does: what was not committed is lost."""
    store._base.close()


class Model:
    """What a device may send, as a set: no ring, no blocks, no file."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.top = -1
        self.floor = -1
        self.used: set[int] = set()

    def takes(self, counter: int) -> bool:
        fresh = counter not in self.used and counter > self.floor
        if not fresh or counter <= self.top - self.window:
            return False
        self.used.add(counter)
        self.top = max(self.top, counter)
        return True


STEP = st.one_of(
    st.tuples(st.just("take"), st.integers(0, 2), st.integers(-140, 200)),
    st.tuples(st.just("take"), st.integers(0, 2), st.integers(-3, 3)),
    st.tuples(st.just("jump"), st.integers(0, 2), st.integers(0, 5000)),
    st.tuples(st.sampled_from(["restart", "crash"]), st.just(0), st.just(0)),
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(STEP, max_size=120),
    window=st.sampled_from([64, 128, 1024]),
    ahead=st.sampled_from([1, 2, 7, 32]),
    devices=st.sampled_from([1, 2, 100]),
)
def test_any_order_as_a_set_says(
    steps: list[tuple[str, int, int]], window: int, ahead: int, devices: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("replay") / "r.db"

    def opened() -> ReplayStore:
        return ReplayStore(path, window=window, ahead=ahead, ahead_max=ahead, devices=devices)

    store = opened()
    models = {device: Model(window) for device in range(3)}
    for what, device, by in steps:
        model = models[device]
        if what == "restart":
            store.close()
            store = opened()
        elif what == "crash":
            crash(store)
            store = opened()
            for one, other in models.items():
                settle(store, one, other, ahead)
        else:
            counter = max(model.top + by, 0)
            assert takes(store, device, counter) == model.takes(counter)
    for device, model in models.items():
        assert not any(takes(store, device, counter) for counter in model.used)
    store.close()


def settle(store: ReplayStore, device: int, model: Model, ahead: int) -> None:
    """After a crash: nothing used is taken, and fewer than ``ahead`` others are lost."""
    if model.top < 0:
        return
    assert not any(takes(store, device, counter) for counter in model.used)
    low = max(model.top - model.window, 0)
    taken = [
        counter for counter in range(low, model.top + ahead + 1) if takes(store, device, counter)
    ]
    # a window that went to the disk exactly, and had no mark ahead of it, loses nothing
    unused = {counter for counter in range(low, model.top + 1) if counter > model.floor}
    assert set(taken) <= (unused - model.used) | set(range(model.top + 1, model.top + ahead + 1))
    assert model.top + ahead in taken
    assert all(later == before + 1 for before, later in pairwise(taken)
               if before > model.top)  # fmt: skip
    first = min(counter for counter in taken if counter > model.top)
    below = [counter for counter in taken if counter <= model.top]
    if not below:
        model.floor = first - 1
    model.used.update(taken)
    model.top = max(taken)


def test_a_counter_is_taken_once(path: Path) -> None:
    with ReplayStore(path) as store:
        assert takes(store, 7, 5)
        with pytest.raises(ReplayError, match="5 of device 7 was used before") as caught:
            store.check_and_set(7, 5)
        assert (caught.value.code, caught.value.status) == (100, 409)
        assert takes(store, 8, 5)
        assert takes(store, 7, 4)
        assert takes(store, 7, 0)


def test_the_window_s_edge(path: Path) -> None:
    with ReplayStore(path, window=64) as store:
        assert takes(store, 1, 1000)
        with pytest.raises(ReplayError, match="936 of device 1 is too old; allowed: above 936"):
            store.check_and_set(1, 936)
        assert takes(store, 1, 937)
        assert not takes(store, 1, 937)


@pytest.mark.parametrize("counter", [-1, 1 << 48])
def test_no_counter(path: Path, counter: int) -> None:
    with ReplayStore(path) as store:
        assert not takes(store, 1, counter)
        assert takes(store, 1, (1 << 48) - 1)
        assert takes(store, (1 << 32) - 1, 0)


def test_a_restart_keeps_the_window_exactly(path: Path) -> None:
    with ReplayStore(path) as store:
        assert all(takes(store, 1, counter) for counter in (10, 12, 500))
    with ReplayStore(path) as store:
        assert [takes(store, 1, counter) for counter in (10, 11, 12, 500, 501)] == [
            False, True, False, False, True,
        ]  # fmt: skip


def test_a_crash_refuses_up_to_the_mark(path: Path) -> None:
    store = ReplayStore(path, ahead=32)
    assert takes(store, 1, 100)
    crash(store)
    with ReplayStore(path, ahead=32) as store:
        assert not any(takes(store, 1, counter) for counter in range(132))
        # and from there on all in any order, in the mark's own block of 64 too
        assert all(takes(store, 1, counter) for counter in (140, 132, 139, 260, 230, 133))


def test_a_crash_after_a_restart_forgets_the_exact_window(path: Path) -> None:
    """The kept window must not stand once a counter was taken beyond it."""
    with ReplayStore(path) as store:
        assert takes(store, 1, 100)
    store = ReplayStore(path)
    assert takes(store, 1, 90)
    crash(store)
    with ReplayStore(path) as store:
        assert not takes(store, 1, 90)


def test_another_window_size_forgets_nothing(path: Path) -> None:
    with ReplayStore(path, window=1024) as store:
        assert all(takes(store, 1, counter) for counter in (10, 500))
    with ReplayStore(path, window=64) as store:
        assert not any(takes(store, 1, counter) for counter in range(501))
        assert takes(store, 1, 501)


def test_one_commit_pays_for_many(path: Path) -> None:
    """Counters of many devices: their marks are raised together."""
    with ReplayStore(path, ahead=32) as store:
        for device in range(500):
            store.check_and_set(device, 0)
        before = store._base.total_changes
        commits = commits_of(store)
        for counter in range(1, 321):
            for device in range(500):
                store.check_and_set(device, counter)
        assert len(commits) <= 320 * 500 // 32 // 100
        assert store._base.total_changes - before <= 320 * 500 // 16 + 500


def commits_of(store: ReplayStore) -> list[str]:
    """A list that gets an entry for each commit from now on."""
    commits: list[str] = []
    store._base.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
    return commits


def test_the_mark_goes_further_ahead_of_a_device_that_sends_much(path: Path) -> None:
    """Thousands within a second: 32, 64, 128 .. 4096 ahead, and back when it is slow."""
    now = [0.0]
    with ReplayStore(path, clock=lambda: now[0]) as store:
        commits = commits_of(store)
        for counter in range(32 + 64 + 128 + 256 + 512 + 1024 + 2048 + 4096):
            store.check_and_set(1, counter)
        assert len(commits) == 8
        store.check_and_set(1, 8160)
        assert store._windows[1].span == 4096
        for expected in (2048, 1024, 512, 256, 128, 64, 32, 32):
            now[0] += 5.0
            store.check_and_set(1, store._windows[1].mark + 1)
            assert store._windows[1].span == expected
        now[0] += 2.0  # neither soon nor late
        store.check_and_set(1, store._windows[1].mark + 1)
        assert store._windows[1].span == 32


def test_a_restart_raises_all_marks_in_one_commit(path: Path) -> None:
    with ReplayStore(path) as store:
        for device in range(300):
            store.check_and_set(device, 100)
    with ReplayStore(path) as store:
        commits = commits_of(store)
        for device in range(300):
            assert not takes(store, device, 100)
            assert takes(store, device, 99)
            assert takes(store, device, 101)
        assert commits == []


def test_crashes_in_a_row_do_not_lock_out_a_quiet_device(path: Path) -> None:
    """It loses fewer than 32 counters, however often the server falls before it sends again."""
    with ReplayStore(path) as store:
        assert takes(store, 1, 100)
    for counter in range(20):
        store = ReplayStore(path)
        assert takes(store, 2, 1000 * counter)
        crash(store)
    with ReplayStore(path) as store:
        assert not takes(store, 1, 100)
        assert takes(store, 1, 132)


def test_a_commit_is_on_the_disk(path: Path) -> None:
    with ReplayStore(path) as store:
        assert store._base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._base.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_full_disk_accepts_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(rows: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with ReplayStore(path, ahead=4) as store:
        assert takes(store, 1, 10)
        with monkeypatch.context() as patch:
            patch.setattr(store, "_commit", full)
            assert [takes(store, 1, counter) for counter in (11, 12, 13)] == [True] * 3
            for device, counter in ((1, 14), (2, 0)):
                with pytest.raises(UnavailableError, match=r"cannot be kept .*disk is full"):
                    store.check_and_set(device, counter)
        assert takes(store, 1, 14)
        assert takes(store, 2, 0)


def test_many_devices_in_little_memory(path: Path) -> None:
    with ReplayStore(path, devices=4) as store:
        for counter in (5, 6):
            for device in range(40):
                assert takes(store, device, counter)
            for device in range(40):
                assert not takes(store, device, counter)
        assert len(store._windows) <= 4
        for device in range(40):  # exact, though it was on the disk in between
            assert takes(store, device, 4)
            assert not takes(store, device, 6)


def test_memory_alone(path: Path) -> None:
    with ReplayStore(None) as store:
        assert [takes(store, 1, 1), takes(store, 1, 1), takes(store, 1, 2)] == [True, False, True]
    with pytest.raises(DrainingError, match="shutting down"):
        store.check_and_set(1, 3)
    store.close()


def test_threads_take_a_counter_once(path: Path) -> None:
    taken: list[int] = []
    with ReplayStore(path) as store:

        def work() -> None:
            taken.extend(counter for counter in range(2000) if takes(store, 1, counter))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(taken) == len(set(taken))
    assert max(taken) == 1999


def test_two_servers_cannot_share_a_file(path: Path) -> None:
    with ReplayStore(path) as store:
        assert takes(store, 1, 1)
        with pytest.raises(ConfigError, match="in use by another server"):
            ReplayStore(path)
        assert takes(store, 1, 2)
    ReplayStore(path).close()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_file_is_its_owner_s(path: Path) -> None:
    with ReplayStore(path) as store:
        assert takes(store, 1, 1)
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file.name


def test_files_that_are_none(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("these are my notes\n" * 100)
    foreign = tmp_path / "other.db"
    base = sqlite3.connect(foreign)
    base.execute("CREATE TABLE mine (x)")
    base.commit()
    base.close()
    for path, what in (
        (text, "cannot be used"), (foreign, "another program's"),
        (tmp_path, "cannot be opened"), (tmp_path / "no" / "folder", "cannot be opened"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=what):
            ReplayStore(path)
    assert text.read_text() == "these are my notes\n" * 100


@pytest.mark.parametrize("name", ["window", "ahead", "devices"])
def test_bad_sizes(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"replay\.{name}: is 0"):
        ReplayStore(None, **{name: 0})


CHILD = """
import os, sys
from pathlib import Path
from isthmus.errors import ReplayError
from isthmus.server.replay import ReplayStore
store = ReplayStore(Path(sys.argv[1]), ahead=32, ahead_max=32)
for counter in range(int(sys.argv[2]), 10**6):
    for device in (1, 2):
        try:
            store.check_and_set(device, counter)
        except ReplayError:
            continue
        os.write(1, b"%d %d\\n" % (device, counter))
"""


def accepted_until_killed(path: Path, first: int, lines: int) -> Iterator[tuple[int, int]]:
    """(device, counter) as a process accepted them from ``first`` on, killed after ``lines``."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(first)], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "host")},
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        for number, line in enumerate(child.stdout):  # to the end: what it wrote before it died
            if number == lines:
                child.send_signal(signal.SIGKILL)
            device, counter = line.split()
            yield int(device), int(counter)
    assert child.returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_sigkill_and_restart_accept_no_counter_twice(path: Path) -> None:
    """Each new process is sent the old counters again before it gets new ones."""
    seen: set[tuple[int, int]] = set()
    largest = {1: -1, 2: -1}
    for kill in range(8):
        first = max(min(largest.values()) - 400, 0)
        found = list(accepted_until_killed(path, first, 37 + 61 * kill))
        assert len(found) > 37 + 61 * kill
        assert len(set(found)) == len(found)
        assert seen.isdisjoint(found)
        for device in (1, 2):
            begun = min(counter for one, counter in found if one == device)
            # one may have been accepted and not been told of any more
            assert largest[device] < begun <= largest[device] + 1 + 32
            largest[device] = max(counter for one, counter in found if one == device)
        seen.update(found)
