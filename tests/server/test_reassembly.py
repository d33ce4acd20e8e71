"""Slices and packets put together: loss, order, duplicates, many devices, wraps, bounds.

Expected results come from a model that keeps every arrival in a list and thinks of one frame at a
time; see ``expected``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from codec_profiles import make_profile, neighbour_profile
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.codec.frame import SliceHeader
from isthmus.errors import BusyError, SequenceError, SliceError, TrailingError
from isthmus.profile import Profile
from isthmus.server.reassembly import Group, Reassembler

SLICED = make_profile((4, 2), (8, 4), slice_rows=2)  # four slices
PACKETS = neighbour_profile((4, 3), (6, 8), unit=4, packet_bytes=64)  # twelve units
DEADLINE = 10.0
LINGER = 40.0


def part(profile: Profile, sequence: int, first: int, count: int = 1, rung: int = 0) -> bytes:
    """A slice, or a packet of ``count`` units, with a right checksum and a payload of its own."""
    payload = bytes((sequence & 255, first, count, rung))
    packets = profile.packets is not None
    header = SliceHeader(
        version=1, sliced=not packets and profile.slices > 1, rung=rung,
        payload_bytes=len(payload), digest_prefix=profile.digest[:2], sequence=sequence,
        checksum=0, slice=0 if packets else first, slices=profile.slices, packet=packets,
        first_unit=first, units=count,
    )  # fmt: skip
    return header.write(profile.digest, payload)


def put(
    box: Reassembler, data: bytes, now: float, *, device: str = "a", profile: Profile = SLICED,
    generation: str = "g",
) -> Group | None:  # fmt: skip
    header = SliceHeader.parse(profile, data)
    return box.add(device, generation, profile, header, data, now)


def make_box(**given: float) -> Reassembler:
    values = {"max_frames": 10_000, "device_frames": 10_000, **given}
    return Reassembler(deadline_s=DEADLINE, linger_s=LINGER, **values)  # type: ignore[arg-type]


# By hand


def test_a_frame_in_order() -> None:
    box = make_box()
    parts = [part(SLICED, 7, i) for i in range(4)]
    for number in range(3):
        assert put(box, parts[number], 1.0 + number) is None
        waiting = box.pending("a", "g", 7)
        assert waiting is not None
        assert waiting.packets == parts[: number + 1]
        assert (waiting.lost, waiting.complete) == (3 - number, False)
    assert box.next_deadline() == 1.0 + DEADLINE
    assert (len(box), box.counts.complete) == (1, 0)
    group = put(box, parts[3], 4.0)
    assert group is waiting
    assert group.frame() == b"".join(parts)
    assert (group.device, group.generation, group.sequence, group.rung) == ("a", "g", 7, 0)
    assert (group.complete, group.lost, group.size) == (True, 0, sum(map(len, parts)))
    assert (len(box), box.held_bytes, box.next_deadline()) == (0, 0, None)
    assert box.counts.complete == 1


def test_the_deadline_counts_from_the_first_packet() -> None:
    box = make_box()
    put(box, part(SLICED, 1, 2), 5.0)
    put(box, part(SLICED, 1, 0), 14.9)
    assert box.due(14.99) == []
    (group,) = box.due(15.0)
    assert group.packets == [part(SLICED, 1, 0), part(SLICED, 1, 2)]
    assert (group.lost, group.complete, box.counts.expired) == (2, False, 1)
    assert box.due(1000.0) == []


def test_gaps_of_packets() -> None:
    box = make_box()
    for first, count in ((8, 2), (1, 3), (4, 2)):
        assert put(box, part(PACKETS, 3, first, count), 0.0, profile=PACKETS) is None
    (group,) = box.due(DEADLINE)
    assert group.packets == [part(PACKETS, 3, *at) for at in ((1, 3), (4, 2), (8, 2))]
    assert group.lost == 3  # before 1, 6 to 7, after 9


def test_any_division_into_packets_is_taken() -> None:
    box = make_box()
    assert put(box, part(PACKETS, 3, 5, 7), 0.0, profile=PACKETS) is None
    group = put(box, part(PACKETS, 3, 0, 5), 0.0, profile=PACKETS)
    assert group is not None
    assert group.frame() == part(PACKETS, 3, 0, 5) + part(PACKETS, 3, 5, 7)


def test_late_packets_of_an_answered_frame() -> None:
    box = make_box()
    put(box, part(SLICED, 1, 0), 0.0)
    assert len(box.due(DEADLINE)) == 1
    for now in (DEADLINE, DEADLINE + LINGER - 0.01):
        assert put(box, part(SLICED, 1, 1), now) is None
    assert (box.counts.late, len(box)) == (2, 0)
    # once it is forgotten, the number may be used again
    assert put(box, part(SLICED, 1, 1), DEADLINE + LINGER) is None
    assert (box.counts.late, len(box)) == (2, 1)


def test_a_frame_of_one_packet_may_be_sent_again() -> None:
    box = make_box()
    whole = part(PACKETS, 9, 0, 12)
    for now in (0.0, 0.1):
        group = put(box, whole, now, profile=PACKETS)
        assert group is not None
        assert group.frame() == whole
    assert box.counts.late == 0


def test_devices_generations_and_sequences_are_apart() -> None:
    box = make_box()
    for device in "ab":
        for generation in "gh":
            for sequence in (0, 65535):
                put(box, part(SLICED, sequence, 0), 0.0, device=device, generation=generation)
    assert len(box) == 8
    groups = box.due(DEADLINE)
    assert len({group.key for group in groups}) == 8
    assert all(len(group.packets) == 1 for group in groups)


def test_a_duplicate_is_ignored_and_another_packet_in_its_place_refused() -> None:
    box = make_box()
    put(box, part(PACKETS, 1, 4, 4), 0.0, profile=PACKETS)
    held = box.held_bytes
    assert put(box, part(PACKETS, 1, 4, 4), 0.0, profile=PACKETS) is None
    assert (box.counts.duplicates, box.held_bytes) == (1, held)
    for first, count in ((4, 3), (4, 5), (3, 2), (7, 1), (0, 12), (5, 1)):
        with pytest.raises(SliceError, match="another packet of sequence 1"):
            put(box, part(PACKETS, 1, first, count), 0.0, profile=PACKETS)
    assert (box.counts.refused, box.held_bytes) == (6, held)
    for first, count in ((0, 4), (8, 4)):
        done = put(box, part(PACKETS, 1, first, count), 0.0, profile=PACKETS)
    assert done is not None


def test_another_rung_is_another_frame() -> None:
    box = make_box()
    put(box, part(SLICED, 1, 0), 0.0)
    with pytest.raises(SequenceError, match="is 1 in sequence 1; allowed: 0"):
        put(box, part(SLICED, 1, 1, rung=1), 0.0)
    assert box.counts.refused == 1


def test_bytes_after_the_slice_are_refused() -> None:
    with pytest.raises(TrailingError):
        put(make_box(), part(SLICED, 1, 0) + b"\0", 0.0)


def test_time_does_not_go_back() -> None:
    box = make_box()
    put(box, part(SLICED, 1, 0), 5.0)
    put(box, part(SLICED, 2, 0), 4.0)
    assert box.due(5.0 + DEADLINE - 0.01) == []
    assert [group.sequence for group in box.due(5.0 + DEADLINE)] == [1, 2]


def test_dropped_groups_are_forgotten() -> None:
    box = make_box()
    put(box, part(SLICED, 1, 0), 0.0)
    group = box.pending("a", "g", 1)
    assert group is not None
    box.drop(group)
    box.drop(group)
    assert (len(box), box.held_bytes, box.due(DEADLINE)) == (0, 0, [])
    assert put(box, part(SLICED, 1, 1), 0.0) is None
    assert box.counts.late == 1


# Bounds


def test_frames_are_bounded_in_all_and_for_one_device() -> None:
    box = make_box(max_frames=5, device_frames=2)
    for sequence in range(2):
        put(box, part(SLICED, sequence, 0), 0.0)
    with pytest.raises(BusyError, match="3 frames of this device"):
        put(box, part(SLICED, 2, 0), 0.0)
    put(box, part(SLICED, 1, 1), 0.0)  # what waits goes on
    for device in "bcd":
        put(box, part(SLICED, 0, 0), 0.0, device=device)
    with pytest.raises(BusyError, match="6 frames; allowed: <= 5"):
        put(box, part(SLICED, 0, 0), 0.0, device="e")
    assert len(box.due(DEADLINE)) == 5
    put(box, part(SLICED, 2, 0), DEADLINE, device="e")


def test_bytes_are_bounded_in_all_and_for_one_device() -> None:
    one = len(part(SLICED, 0, 0)) + 128
    box = make_box(max_bytes=4 * one, device_bytes=2 * one)
    for number in range(2):
        put(box, part(SLICED, 0, number), 0.0)
    with pytest.raises(BusyError, match="bytes of this device"):
        put(box, part(SLICED, 0, 2), 0.0)
    for device in "bc":
        put(box, part(SLICED, 0, 0), 0.0, device=device)
    assert box.held_bytes == 4 * one
    with pytest.raises(BusyError, match=r"bytes; allowed"):
        put(box, part(SLICED, 0, 0), 0.0, device="d")
    box.due(DEADLINE)
    assert box.held_bytes == 0


def test_what_is_remembered_is_bounded() -> None:
    box = make_box(max_answered=100)
    for number in range(10_000):
        put(box, part(SLICED, number, 0), 0.0, device=f"d{number}")
        group = box.pending(f"d{number}", "g", number)
        assert group is not None
        box.drop(group)
    assert len(box._answered) <= 101
    assert not box._devices


# At random


@dataclass(frozen=True)
class Arrival:
    """One packet at one time."""

    now: float
    device: str
    sequence: int
    first: int
    count: int


def expected(
    arrivals: list[Arrival], profile: Profile, end: float
) -> list[tuple[float, str, int, tuple[bytes, ...], bool]]:
    """(when answered, device, sequence, its packets, complete), thinking of a frame at a time."""
    whole = set(range(12 if profile.packets else 4))
    out = []
    for key in sorted({(a.device, a.sequence) for a in arrivals}):
        own = [a for a in arrivals if (a.device, a.sequence) == key]
        until = float("-inf")
        while own:
            first, covered, parts = own[0], set(), {}
            if first.now < until:
                own.pop(0)
                continue
            while own and own[0].now < first.now + DEADLINE and covered != whole:
                one = own.pop(0)
                covered |= set(range(one.first, one.first + one.count))
                parts[one.first] = part(profile, one.sequence, one.first, one.count)
                when = one.now
            complete = covered == whole
            when = when if complete else first.now + DEADLINE
            out.append((when, *key, tuple(parts[at] for at in sorted(parts)), complete))
            # remembered from the moment the caller asks, which the test does at each arrival
            asked = [a.now for a in arrivals if a.now >= when] or [end]
            until = (when if complete else asked[0]) + LINGER
            if complete and len(parts) == 1:
                until = float("-inf")
    return out


@st.composite
def traffic(draw: st.DrawFn) -> tuple[Profile, list[Arrival]]:
    """Frames of three devices around the wrap of the sequence; packets lost, doubled, out of order.

    Times are multiples of 0.25, so that no sum is rounded.
    """
    profile = draw(st.sampled_from([SLICED, PACKETS]))
    arrivals = []
    sequence = draw(st.integers(65530, 65535))
    base = 0.0
    for _ in range(draw(st.integers(1, 8))):
        device = draw(st.sampled_from("abc"))
        cuts = [0, 1, 2, 3, 4]
        if profile is PACKETS:
            cuts = sorted({0, 12, *draw(st.lists(st.integers(1, 11), max_size=6))})
        for first, end in pairwise(cuts):
            for _ in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2]))):
                now = base + draw(st.integers(0, 48)) / 4
                arrivals.append(Arrival(now, device, sequence, first, end - first))
        step = draw(st.sampled_from([1, 1, 2, 65536]))
        sequence = (sequence + step) % 65536
        # the same number again: long after the frame before it was forgotten
        base += draw(st.integers(0, 40)) / 4 if step != 65536 else 4 * (DEADLINE + LINGER)
    return profile, sorted(arrivals, key=lambda a: a.now)


@given(traffic())
@settings(max_examples=400, deadline=None)
def test_against_the_model(drawn: tuple[Profile, list[Arrival]]) -> None:
    profile, arrivals = drawn
    box = make_box()
    out = []
    end = (arrivals[-1].now if arrivals else 0.0) + DEADLINE

    def ask(now: float) -> None:
        deadline = box.next_deadline()
        groups = box.due(now)
        assert bool(groups) == (deadline is not None and deadline <= now)
        out.extend((g.deadline, g.device, g.sequence, tuple(g.packets), False) for g in groups)

    for one in arrivals:
        ask(one.now)
        data = part(profile, one.sequence, one.first, one.count)
        group = put(box, data, one.now, device=one.device, profile=profile)
        if group is not None:
            assert group.complete
            out.append((one.now, one.device, one.sequence, tuple(group.packets), True))
    ask(end)
    assert (len(box), box.held_bytes, box._devices) == (0, 0, {})
    assert sorted(out) == sorted(expected(arrivals, profile, end))
    counts = box.counts
    assert counts.complete == sum(complete for *_, complete in out)
    assert counts.expired == len(out) - counts.complete
    kept = sum(len(parts) for _, _, _, parts, _ in out)
    assert len(arrivals) == kept + counts.duplicates + counts.late
    assert counts.refused == 0


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_traffic_breaks_a_bound_or_the_books(data: st.DataObject) -> None:
    """Packets that fit the profile and nothing else: overlaps, rungs, full boxes, odd times."""
    box = make_box(max_frames=4, device_frames=2, max_bytes=2000, device_bytes=900)
    done = refused = 0
    for _ in range(data.draw(st.integers(0, 40))):
        first = data.draw(st.integers(0, 11))
        count = data.draw(st.integers(1, 12 - first))
        packet = part(
            PACKETS, data.draw(st.integers(0, 2)), first, count, data.draw(st.integers(0, 1))
        )
        now = float(data.draw(st.integers(0, 200)))
        done += len(box.due(now))
        try:
            group = put(box, packet, now, device=data.draw(st.sampled_from("abc")), profile=PACKETS)
        except (BusyError, SequenceError, SliceError):
            refused += 1
        else:
            done += group is not None
        assert len(box) <= 4
        assert box.held_bytes <= 2000
        assert all(share.frames <= 2 and share.size <= 900 for share in box._devices.values())
    assert box.counts.refused == refused
    assert done == box.counts.complete + box.counts.expired
    box.due(1000.0)
    assert (len(box), box.held_bytes, box._devices) == (0, 0, {})
