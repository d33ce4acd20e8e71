"""Slices and packets put together to frames: by (device, generation, sequence), within a deadline.

Sans-IO: no sockets, no clock; the caller passes the time in, in seconds, and it never goes back.

    add(...)         one slice or packet; the group it completed, or None
    due(now)         the groups whose deadline has passed, oldest first: conceal what is missing
    next_deadline()  when to call due() again, or None

The deadline counts from a frame's first packet. What is held is bounded: frames, frames of one
device, and bytes; what would pass a bound is refused with BusyError and nothing that is held gives
way to it. A frame that was answered is remembered for a while, so that its late packets do not
begin it again; 16-bit sequences wrap in longer than that while. A frame that is one packet is not:
sent again, it is answered again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from isthmus.codec.frame import Octets, SliceHeader
from isthmus.errors import BusyError, SequenceError, SliceError, TrailingError
from isthmus.profile import Profile

__all__ = ["Group", "GroupKey", "Reassembler", "ReassemblyCounts"]

#: (device, generation, sequence)
GroupKey = tuple[str, Hashable, int]

#: What a packet costs beside its bytes: objects of Python that hold it.
_PACKET_OVERHEAD = 128
#: One device may have this part of all room, where nothing else is said.
_SHARES = 8


@dataclass(slots=True)
class ReassemblyCounts:
    """What happened to frames (complete, expired) and to packets (the others)."""

    complete: int = 0
    expired: int = 0
    duplicates: int = 0
    late: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Share:
    """What one device holds."""

    frames: int = 0
    size: int = 0


_NO_SHARE = _Share()


def _place(profile: Profile, header: SliceHeader) -> tuple[int, int]:
    """Where a slice or packet begins and ends, in slices or in units."""
    if profile.packets is not None:
        return header.first_unit, header.first_unit + header.units
    return header.slice, header.slice + 1


def _places(profile: Profile) -> int:
    """Slices or units of a whole frame."""
    if profile.packets is not None:
        return profile.tensor.elements // profile.packets.unit
    return profile.slices


@dataclass(slots=True, eq=False)
class Group:
    """What has come of one frame. It is its own key in sets and dicts (compared by identity).

    device, generation, sequence, rung   which frame it is
    profile                              the profile of all its packets
    started, deadline                    seconds: its first packet, and when it must be answered
    size                                 bytes of all packets
    """

    device: str
    generation: Hashable
    profile: Profile
    sequence: int
    rung: int
    started: float
    deadline: float
    size: int = 0
    _starts: list[int] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)
    _data: list[bytes] = field(default_factory=list)
    _covered: int = 0

    @property
    def key(self) -> GroupKey:
        """(device, generation, sequence)."""
        return self.device, self.generation, self.sequence

    @property
    def packets(self) -> list[bytes]:
        """The slices or packets, in the frame's order whatever the order they came in."""
        return list(self._data)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing: ``frame()`` is then a whole frame."""
        return self._covered == _places(self.profile)

    @property
    def lost(self) -> int:
        """Slices that have not come; of a frame of packets the gaps, each one packet or more."""
        if self.profile.packets is None:
            return self.profile.slices - self._covered
        gaps, at = 0, 0
        for start, end in zip(self._starts, self._ends, strict=True):
            gaps += start > at
            at = end
        return gaps + (at < _places(self.profile))

    def frame(self) -> bytes:
        """The packets end to end."""
        return b"".join(self._data)

    def _take(self, header: SliceHeader, data: bytes) -> bool:
        """Whether ``data`` is new; SliceError where it overlaps what is there without being it."""
        start, end = _place(self.profile, header)
        at = bisect_right(self._starts, start)
        if at and self._starts[at - 1] == start and self._data[at - 1] == data:
            return False
        if (at and self._ends[at - 1] > start) or (
            at < len(self._starts) and self._starts[at] < end
        ):
            raise SliceError(
                "frame.header.first" if header.packet else "frame.header.slice",
                f"is {start}, and another packet of sequence {header.sequence} holds it already",
                allowed="each part of a frame once",
                remedy="number frames by a sequence that goes up by one",
            )
        self._starts.insert(at, start)
        self._ends.insert(at, end)
        self._data.insert(at, data)
        self._covered += end - start
        self.size += len(data)
        return True


class Reassembler:
    """Gathers the packets of frames; see the module. Not for several threads at once.

    ``max_frames`` and ``max_bytes`` bound what waits; ``device_frames`` and ``device_bytes``
    (default: an eighth) what of it one device may have. ``linger_s`` is how long an answered frame
    is remembered (default: four deadlines) and ``max_answered`` how many are.
    """

    def __init__(
        self,
        max_frames: int,
        deadline_s: float,
        *,
        max_bytes: int = 64 << 20,
        device_frames: int | None = None,
        device_bytes: int | None = None,
        linger_s: float | None = None,
        max_answered: int | None = None,
    ) -> None:
        self.counts = ReassemblyCounts()
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._device_frames = device_frames or max(1, max_frames // _SHARES)
        self._device_bytes = device_bytes or max(1, max_bytes // _SHARES)
        self._deadline_s = deadline_s
        self._linger_s = 4 * deadline_s if linger_s is None else linger_s
        self._max_answered = 4 * max_frames if max_answered is None else max_answered
        self._groups: OrderedDict[GroupKey, Group] = OrderedDict()
        self._devices: dict[str, _Share] = {}
        self._answered: OrderedDict[GroupKey, float] = OrderedDict()
        self._held = 0
        self._now = float("-inf")

    def __len__(self) -> int:
        """Frames that wait for packets."""
        return len(self._groups)

    @property
    def held_bytes(self) -> int:
        """What the waiting packets cost, with their objects."""
        return self._held

    def pending(self, device: str, generation: Hashable, sequence: int) -> Group | None:
        """The group of that frame while it waits for packets."""
        return self._groups.get((device, generation, sequence))

    def add(
        self,
        device: str,
        generation: Hashable,
        profile: Profile,
        header: SliceHeader,
        data: Octets,
        now: float,
    ) -> Group | None:
        """One slice or packet, ``header`` as SliceHeader.parse read it from ``data`` (checked).

        The group that it completes, which is then no longer held; else None: it waits in its group
        (``pending``), or was ignored as a duplicate or as late and counted. Call ``due(now)``
        before, so that a frame whose deadline has passed is not joined. ``profile`` is the
        generation's, always the same.

        TrailingError where bytes follow the slice, SequenceError where the frame that waits has
        another rung, SliceError where another packet holds this place, BusyError at a bound.
        """
        self._tick(now)
        try:
            return self._add((device, generation, header.sequence), profile, header, data)
        except (BusyError, SequenceError, SliceError, TrailingError):
            self.counts.refused += 1
            raise

    def _add(
        self, key: GroupKey, profile: Profile, header: SliceHeader, data: Octets
    ) -> Group | None:
        size = header.header_bytes + header.payload_bytes
        if len(data) != size:
            raise TrailingError("packet", f"has {len(data)} bytes", allowed=f"{size}, one slice")
        group = self._groups.get(key)
        if group is None and key in self._answered:
            self.counts.late += 1
            return None
        if group is not None and group.rung != header.rung:
            raise SequenceError(
                "frame.header.rung", f"is {header.rung} in sequence {header.sequence}",
                allowed=f"{group.rung}, as in its first packet",
                remedy="number frames by a sequence that goes up by one",
            )  # fmt: skip
        cost = size + _PACKET_OVERHEAD
        self._check_room(key[0], cost, new=group is None)
        if group is None:
            group = self._open(key, profile, header)
        if not group._take(header, bytes(data)):
            self.counts.duplicates += 1
            return None
        self._held += cost
        self._devices[group.device].size += cost
        if not group.complete:
            return None
        self._close(group)
        if len(group._data) == 1:
            del self._answered[group.key]  # nothing of it can be late, only sent again
        self.counts.complete += 1
        return group

    def due(self, now: float) -> list[Group]:
        """The groups whose deadline has passed, oldest first; they are no longer held."""
        self._tick(now)
        out: list[Group] = []
        while self._groups:
            group = next(iter(self._groups.values()))
            if group.deadline > self._now:
                break
            self._close(group)
            self.counts.expired += 1
            out.append(group)
        return out

    def next_deadline(self) -> float | None:
        """When the oldest group must be answered; None where nothing waits."""
        return next(iter(self._groups.values())).deadline if self._groups else None

    def drop(self, group: Group) -> None:
        """Forgets a waiting group, as if it had been answered."""
        if self._groups.get(group.key) is group:
            self._close(group)

    def _tick(self, now: float) -> None:
        """Takes the time and forgets answered frames that are old."""
        self._now = max(self._now, now)
        while self._answered:
            key, until = next(iter(self._answered.items()))
            if until > self._now and len(self._answered) <= self._max_answered:
                return
            del self._answered[key]

    def _check_room(self, device: str, cost: int, *, new: bool) -> None:
        share = self._devices.get(device, _NO_SHARE)
        for count, allowed, what in (
            (len(self._groups) + new, self._max_frames, "frames"),
            (share.frames + new, self._device_frames, "frames of this device"),
            (self._held + cost, self._max_bytes, "bytes"),
            (share.size + cost, self._device_bytes, "bytes of this device"),
        ):
            if count > allowed:
                raise BusyError(
                    "reassembly", f"would hold {count} {what}", allowed=f"<= {allowed}",
                    remedy="send the frame again later",
                )  # fmt: skip

    def _open(self, key: GroupKey, profile: Profile, header: SliceHeader) -> Group:
        device, generation, sequence = key
        deadline = self._now + self._deadline_s
        group = Group(device, generation, profile, sequence, header.rung, self._now, deadline)
        self._groups[key] = group
        self._devices.setdefault(device, _Share()).frames += 1
        return group

    def _close(self, group: Group) -> None:
        """Takes a group out and remembers that its frame has its answer."""
        del self._groups[group.key]
        cost = group.size + _PACKET_OVERHEAD * len(group._data)
        self._held -= cost
        share = self._devices[group.device]
        share.frames -= 1
        share.size -= cost
        if not share.frames:
            del self._devices[group.device]
        self._answered[group.key] = self._now + self._linger_s
        self._answered.move_to_end(group.key)
