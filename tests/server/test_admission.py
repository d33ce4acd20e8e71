"""Admission, with the time passed in: rates, shares of the queue, quarantine, bounded state."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import BusyError, IsthmusError, QuarantineError, RateLimitError
from isthmus.server.admission import Admission
from isthmus.server.config import LimitsConfig, QuarantineConfig


def admission(quarantine: dict[str, Any] | None = None, **limits: Any) -> Admission:
    return Admission(LimitsConfig(**limits), QuarantineConfig(**(quarantine or {})))


def test_a_bucket_holds_its_burst_and_fills_at_its_rate() -> None:
    one = admission(device_rate=2.0, device_burst=4)
    taken = []
    for tenth in range(40):  # ten frames a second for four seconds
        now = 100.0 + tenth / 10
        with contextlib.suppress(RateLimitError):
            one.enter("a", now)
            one.leave("a")
            taken.append(now)
    # the burst, and two a second over the 3.9 seconds in which it is spent and refilled
    assert len(taken) == 4 + 7
    assert taken[:4] == [100.0, 100.1, 100.2, 100.3]
    one.enter("b", 100.0)  # another device's bucket is its own
    for _ in range(4):
        one.enter("a", 1000.0)
    with pytest.raises(RateLimitError, match="2 frames a second"):
        one.enter("a", 1000.0)  # however long it was silent, no more than a burst


def test_a_refused_frame_costs_nothing() -> None:
    one = admission(queue=3, device_queue=2, device_rate=1.0, device_burst=3)
    one.enter("a", 0.0)
    one.enter("a", 0.0)
    for _ in range(10):
        with pytest.raises(BusyError):
            one.enter("a", 0.0)
    assert one.waiting == 2
    one.leave("a")
    one.enter("a", 0.0)  # the third of the burst: the ten took none
    one.leave("a")
    with pytest.raises(RateLimitError):
        one.enter("a", 0.0)
    assert one.waiting == 1


def test_the_queue_is_everybodys_and_a_share_a_devices() -> None:
    one = admission(queue=4, device_queue=3)
    for _ in range(3):
        one.enter("a", 0.0)
    with pytest.raises(BusyError, match="device a"):
        one.enter("a", 0.0)
    one.enter("b", 0.0)
    with pytest.raises(BusyError, match="queue"):
        one.enter("c", 0.0)
    one.leave("a")
    one.enter("c", 0.0)
    assert one.waiting == 4


def test_quarantine_begins_and_ends_at_its_times() -> None:
    rule = {"failures": 3, "window_s": 10.0, "seconds": 30.0}
    one = admission(rule)
    assert [one.failed("a", t) for t in (0.0, 5.0, 10.0)] == [False, False, True]
    for now in (10.0, 39.99):
        with pytest.raises(QuarantineError):
            one.check("a", now)
        with pytest.raises(QuarantineError):
            one.enter("a", now)
    one.check("b", 10.0)
    assert one.shut_out(39.0) == ["a"]
    one.check("a", 40.0)
    one.enter("a", 40.0)
    assert one.shut_out(40.0) == []
    # failures farther apart than the window never add up
    slow = admission(rule)
    assert not any(slow.failed("a", 5.1 * k) for k in range(100))


def test_quarantine_can_be_off() -> None:
    one = admission({"failures": 0})
    assert not any(one.failed("a", 0.0) for _ in range(1000))
    assert len(one._devices) == 0


def test_state_is_bounded_under_a_hundred_thousand_names() -> None:
    """Names cost their sender nothing: memory is that of ``devices`` of them, of any length."""
    one = admission(devices=1000, queue=64)
    tracemalloc.start()
    for k in range(2000):
        one.enter(f"name {k}", 0.0)
        one.leave(f"name {k}")
    before = tracemalloc.get_traced_memory()[0]
    for k in range(100_000):
        one.enter(f"name {k}", 1.0)
        one.leave(f"name {k}")
        one.failed(f"other {k}", 1.0)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(one._devices) <= 1000 + 1
    assert grown < 64 << 10
    assert one.waiting == 0


def test_a_shut_out_device_is_not_forgotten_for_new_names() -> None:
    """Nor is one with frames waiting: its share would be free again."""
    one = admission({"failures": 1, "seconds": 30.0}, devices=100, device_queue=1)
    one.enter("busy", 0.0)
    assert one.failed("bad", 0.0)
    for k in range(90):
        one.failed(f"bad {k}", 0.0)
    for k in range(5000):
        one.enter(f"name {k}", 1.0)
        one.leave(f"name {k}")
    with pytest.raises(QuarantineError):
        one.check("bad", 1.0)
    with pytest.raises(BusyError):
        one.enter("busy", 1.0)


def test_memory_is_bounded_where_every_name_is_shut_out() -> None:
    one = admission({"failures": 1, "seconds": 1e9}, devices=100)
    for k in range(10_000):
        assert one.failed(f"bad {k}", 0.0)
    assert len(one._devices) <= 200


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "enter", "enter", "leave", "failed", "check"]),
        st.sampled_from(["a", "b", "c", "d", "e", "f"]),
        st.floats(0.0, 5.0),
    ),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(
    STEPS,
    st.fixed_dictionaries(
        {
            "queue": st.integers(1, 6),
            "device_queue": st.integers(1, 4),
            "device_rate": st.sampled_from([0.0, 0.5, 2.0]),
            "device_burst": st.integers(1, 3),
            "devices": st.integers(1, 4),
        }
    ),
)
def test_counts_are_those_of_a_simple_model(
    steps: list[tuple[str, str, float]], limits: dict[str, Any]
) -> None:
    """Whatever comes: what entered and did not leave is counted, and nothing else."""
    one = admission({"failures": 3, "window_s": 4.0, "seconds": 6.0}, **limits)
    inside: Counter[str] = Counter()
    shut: dict[str, float] = {}
    now = 0.0
    for step, name, later in steps:
        now += later
        if step == "enter":
            full = inside.total() >= limits["queue"] or inside[name] >= limits["device_queue"]
            out = name in one._devices and shut.get(name, 0.0) > now
            refused: IsthmusError | None = None
            try:
                one.enter(name, now)
            except (BusyError, RateLimitError, QuarantineError) as error:
                refused = error
            if refused is None:
                assert not full
                assert not out
                inside[name] += 1
            else:
                assert isinstance(refused, BusyError) <= full
                assert isinstance(refused, QuarantineError) <= out
        elif step == "leave" and inside[name]:
            one.leave(name)
            inside[name] -= 1
        elif step == "failed":
            if one.failed(name, now):
                shut[name] = now + 6.0
        elif step == "check":
            try:
                one.check(name, now)
            except QuarantineError:
                assert shut[name] > now
        assert one.waiting == inside.total() <= limits["queue"]
        assert all(device.waiting == inside[k] for k, device in one._devices.items())
        assert all(n == 0 or k in one._devices for k, n in inside.items())
        assert len(one._devices) <= limits["devices"] + limits["queue"] + 1
        assert all(
            0.0 <= device.tokens <= limits["device_burst"] for device in one._devices.values()
        )
