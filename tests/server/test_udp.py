"""The UDP link over loopback: answers, refusals, what is not answered, bounds, and a C board."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from codec_profiles import make_profile, neighbour_profile
from fake_service import FakeService, expected_outputs
from link_boards import GatheringService, build_example, random_tensors, run_board, value_of

from isthmus.codec.reference import encode_frame
from isthmus.conceal_slices import cut_frame
from isthmus.errors import (
    BusyError,
    ChecksumError,
    DigestUnknownError,
    IsthmusError,
    PayloadError,
    QuarantineError,
    ReplayError,
    SealError,
    UnavailableError,
)
from isthmus.profile import Profile
from isthmus.server.compact import unpack
from isthmus.server.config import ServerConfig, UdpConfig
from isthmus.server.types import Origin
from isthmus.server.udp import UdpLink, serve_udp


class Client:
    """A board's socket."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.socket.connect((host, port))

    def send(self, data: bytes) -> None:
        self.socket.send(data)

    async def receive(self) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 2048), 10)

    async def ask(self, data: bytes) -> bytes:
        self.send(data)
        return await self.receive()

    @property
    def name(self) -> str:
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@asynccontextmanager
async def linked(
    service: Any, host: str = "127.0.0.1", **bounds: int
) -> AsyncIterator[tuple[UdpLink, Client]]:
    link = await serve_udp(service, UdpConfig(host=host, port=0), **bounds)
    client = Client(link.port, host)
    try:
        async with asyncio.timeout(30):
            yield link, client
    finally:
        client.socket.close()
        await link.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def run(coroutine: Any) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 60))


def wanted(frame: bytes, sequence: int, count: int) -> bytes:
    """The compact answer of the fake service, by hand."""
    values = expected_outputs(frame)
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))[:count]
    out = struct.pack("<BBHB", 0x10, 0, sequence, count)
    return out + b"".join(struct.pack("<Hf", i, values[i]) for i in order)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_answer_goes_back_to_where_the_frame_came_from(host: str) -> None:
    async def scene() -> None:
        service = FakeService()
        async with linked(service, host) as (link, client):
            other = Client(link.port, host)
            try:
                for sequence, one in ((1, client), (65535, other), (2, client)):
                    frame = service.digits.frame(sequence, bytes(40))
                    assert await one.ask(frame) == wanted(frame, sequence, 5)
                    assert service.seen[-1] == (frame, Origin("udp", peer=one.name))
            finally:
                other.socket.close()
            assert (link.counts.units, link.counts.answered) == (3, 3)

    run(scene())


def test_no_answer_is_longer_than_its_datagram() -> None:
    async def scene() -> None:
        service = FakeService(ServerConfig(top=10))
        async with linked(service) as (_, client):
            for size in range(60):
                frame = service.digits.frame(size, bytes(size))
                count = min(10, (len(frame) - 5) // 6)
                answer = await client.ask(frame)
                assert answer == wanted(frame, size, count)
                assert len(answer) <= len(frame)
                assert count >= 1

    run(scene())


def test_on_loopback_every_refusal_is_told() -> None:
    async def scene() -> None:
        service = FakeService()
        async with linked(service) as (link, client):
            frame = service.digits.frame(0x1234)
            service.refuse[frame] = QuarantineError("device", "is shut out")
            assert await client.ask(frame) == bytes.fromhex("10 60 3412 00")
            strange = bytearray(service.digits.frame(7))
            strange[4] ^= 255
            assert await client.ask(bytes(strange)) == bytes.fromhex("10 5c 0700 00")
            assert await client.ask(b"\x55hello") == bytes.fromhex("10 02 0000 00")
            assert (link.counts.refused, link.counts.answered) == (3, 0)

    run(scene())


def test_a_datagram_shorter_than_a_refusal_gets_none() -> None:
    async def scene() -> None:
        service = FakeService()
        async with linked(service) as (link, client):
            for size in range(5):
                client.send(bytes(size))
            await until(lambda: link.counts.silent == 5)
            assert await client.ask(bytes(5)) == bytes.fromhex("10 02 0000 00")

    run(scene())


class Outbox(asyncio.DatagramTransport):
    """A transport that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[bytes, Any]] = []
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 8082)

    def sendto(self, data: bytes, addr: Any = None) -> None:
        self.sent.append((data, addr))

    def is_closing(self) -> bool:
        return self.closed


def make_link(service: Any, **bounds: int) -> tuple[UdpLink, Outbox]:
    link, outbox = UdpLink(service, **bounds), Outbox()
    link.connection_made(outbox)
    return link, outbox


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DigestUnknownError, False), (ChecksumError, False), (SealError, False),
        (ReplayError, False), (QuarantineError, False), (BusyError, True), (PayloadError, True),
        (UnavailableError, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("host", ["192.0.2.9", "2001:db8::9", "fe80::1%eth0", "::ffff:127.0.0.1"])
def test_beyond_loopback_strangers_hear_nothing(
    error: type[IsthmusError], told: bool, host: str
) -> None:
    async def scene() -> None:
        service = FakeService()
        link, outbox = make_link(service)
        frame = service.digits.frame(5)
        service.refuse[frame] = error("x", "y")
        link.datagram_received(frame, (host, 9))
        await until(lambda: link.counts.silent + link.counts.refused == 1)
        want = [(struct.pack("<BBHB", 16, error.code, 5, 0), (host, 9))]
        assert outbox.sent == (want if told or "127" in host else [])

    run(scene())


@pytest.mark.parametrize(
    ("bounds", "fitting"),
    [({"pending": 3}, 3), ({"peer_pending": 2}, 2), ({"pending_bytes": 60}, 3)],
)
def test_what_waits_is_bounded(bounds: dict[str, int], fitting: int) -> None:
    async def scene() -> None:
        service = FakeService()
        service.gate = asyncio.Event()
        async with linked(service, **bounds) as (link, client):
            frames = [service.digits.frame(number) for number in range(6)]  # 19 bytes each
            for frame in frames:
                client.send(frame)
            for number in range(fitting, 6):
                assert await client.receive() == struct.pack("<BBHB", 16, 94, number, 0)
            assert len(service.seen) == fitting
            service.gate.set()
            answers = [unpack(await client.receive()) for _ in range(fitting)]
            assert [answer.sequence for answer in answers] == list(range(fitting))
            # and when they are answered there is room again
            assert unpack(await client.ask(frames[5])).ok
            assert link.counts.units == 7

    run(scene())


def test_closing_waits_for_what_is_outstanding_and_refuses_what_comes() -> None:
    async def scene() -> None:
        service = FakeService()
        service.gate = asyncio.Event()
        async with linked(service) as (link, client):
            client.send(service.digits.frame(1))
            await until(lambda: len(service.seen) == 1)
            closing = asyncio.create_task(link.aclose(10.0))
            await asyncio.sleep(0)
            assert unpack(await client.ask(service.digits.frame(2))).status == 97
            assert not closing.done()
            service.gate.set()
            assert unpack(await client.receive()).ok
            await closing

    run(scene())


def test_closing_gives_up_in_time() -> None:
    async def scene() -> None:
        service = FakeService()
        service.gate = asyncio.Event()
        async with linked(service) as (link, client):
            client.send(service.digits.frame(1))
            await until(lambda: len(service.seen) == 1)
            await link.aclose(0.05)
            assert link.counts.answered == 0

    run(scene())


def test_an_address_that_is_taken_is_an_error() -> None:
    async def scene() -> None:
        service = FakeService()
        async with linked(service) as (link, _):
            with pytest.raises(OSError, match="in use"):
                await serve_udp(service, UdpConfig(port=link.port))

    run(scene())


def test_a_burst_is_answered_whole() -> None:
    """300 datagrams before the loop has read one: more than a socket holds unasked."""

    async def scene() -> None:
        service = FakeService()
        async with linked(service) as (link, client):
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            for number in range(300):
                client.send(service.digits.frame(number))
            found = [unpack(await client.receive()) for _ in range(300)]
            assert [one.sequence for one in found] == list(range(300))
            assert link.counts.answered == 300

    run(scene())


def test_a_full_socket_loses_replies_and_keeps_none() -> None:
    async def scene() -> None:
        service = FakeService()
        link, outbox = make_link(service)
        link.pause_writing()
        link.datagram_received(service.digits.frame(1), ("127.0.0.1", 9))
        await until(lambda: link.counts.lost == 1)
        link.resume_writing()
        link.datagram_received(service.digits.frame(2), ("127.0.0.1", 9))
        await until(lambda: link.counts.answered == 1)
        assert [unpack(data).sequence for data, _ in outbox.sent] == [2]

    run(scene())


def test_a_fault_of_the_program_ends_one_unit_alone() -> None:
    async def scene() -> None:
        service = FakeService()
        broken = service.digits.frame(1)
        service.refuse[broken] = RuntimeError("a fault")
        async with linked(service) as (link, client):
            client.send(broken)
            assert unpack(await client.ask(service.digits.frame(2))).sequence == 2
            assert link.counts.units == 2

    run(scene())


PROFILES = {
    "whole": make_profile((4, 2), (6, 8)),
    "slices": make_profile((4, 2), (7, 8), slice_rows=2),
    "packets": neighbour_profile((4, 3), (6, 16), unit=4, packet_bytes=40),
}


@pytest.mark.parametrize("name", PROFILES)
def test_a_board_in_c(name: str, require_tool: Callable[[str], str], tmp_path: Path) -> None:
    """The emitted example sends datagrams and prints what the link answers."""
    profile: Profile = PROFILES[name]
    program = build_example("udp", profile, require_tool("gcc"), tmp_path)
    tensors = random_tensors(profile, 4)
    frames = [encode_frame(profile, 0, number, tensor) for number, tensor in enumerate(tensors)]

    async def scene() -> None:
        service = GatheringService(profile)
        async with linked(service) as (link, _):
            lines = await run_board(program, f"127.0.0.1:{link.port}", tensors.tobytes())
            assert service.frames == frames
            # the answer is cut to the length of the datagram that began the frame
            parts = [cut_frame(frame) for frame in frames]
            room = [(len(part[0]) - 5) // 6 for part in parts]
            want = [
                " ".join(["0", str(i), f"300={value_of(frame):.9g}", "2=-0.5"][: 2 + room[i]])
                for i, frame in enumerate(frames)
            ]
            assert lines == want
            assert (link.counts.units, link.counts.answered) == (sum(map(len, parts)), 4)
            assert len(service.origins) == 1

    run(scene())
