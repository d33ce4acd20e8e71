"""The serial link over pseudo-terminals: answers, damage, unplugging, bounds, and a C board."""

from __future__ import annotations

import asyncio
import os
import struct
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from codec_profiles import make_profile, neighbour_profile
from fake_service import FakeService, expected_outputs
from link_boards import GatheringService, build_example, random_tensors, run_board, value_of

from isthmus.codec.reference import encode_frame
from isthmus.errors import LinkError, SealError
from isthmus.profile import Profile
from isthmus.server.cobs import KIND_ANSWER, KIND_UNIT, FrameReader, LinkFrame, encode
from isthmus.server.compact import CompactAnswer, unpack
from isthmus.server.config import SerialConfig
from isthmus.server.serial_link import SerialLink, serve_serial
from isthmus.server.types import Origin

FAST = (0.01, 0.05)


class Board:
    """The other end of the line."""

    def __init__(self) -> None:
        self.end, other = os.openpty()
        tty.setraw(other)  # else what is sent before the link opens the line comes back
        self.name = os.ttyname(other)
        self._other = other
        os.set_blocking(self.end, False)
        self._reader = FrameReader(4096)
        self._frames: list[LinkFrame] = []

    def send(self, data: bytes) -> None:
        assert os.write(self.end, data) == len(data)

    async def bytes(self) -> bytes:
        """What comes next; b"" when the line is gone."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self.end, ready.set)
        try:
            await asyncio.wait_for(ready.wait(), 10)
            return os.read(self.end, 65536)
        finally:
            loop.remove_reader(self.end)

    async def answer(self) -> CompactAnswer:
        while not self._frames:
            for found in self._reader.feed(await self.bytes()):
                assert isinstance(found, LinkFrame)
                assert found.kind == KIND_ANSWER
                self._frames.append(found)
        return unpack(self._frames.pop(0).payload)

    def unplug(self) -> None:
        for end in (self.end, self._other):
            if end >= 0:
                os.close(end)
        self.end = self._other = -1


@asynccontextmanager
async def linked(
    service: Any, name: str | None = None, **given: Any
) -> AsyncIterator[tuple[SerialLink, Board]]:
    board = Board()
    config = SerialConfig(port=name or board.name, device="bench")
    link = await serve_serial(service, config, pause_s=FAST, **given)
    try:
        async with asyncio.timeout(40):
            if name is None:
                await until(lambda: link.is_open)
            yield link, board
    finally:
        await link.aclose()
        board.unplug()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def run(coroutine: Any) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 60))


def test_an_answer_byte_for_byte() -> None:
    async def scene() -> None:
        service = FakeService()
        frame = service.digits.frame(0x1234)
        async with linked(service) as (link, board):
            board.send(encode(KIND_UNIT, frame))
            values = expected_outputs(frame)
            order = sorted(range(10), key=lambda i: (-values[i], i))[:5]
            want = struct.pack("<BBHB", 0x10, 0, 0x1234, 5)
            want += b"".join(struct.pack("<Hf", i, values[i]) for i in order)
            out = b""
            while not out.endswith(b"\0"):
                out += await board.bytes()
            assert FrameReader(99).feed(out) == [LinkFrame(KIND_ANSWER, want)]
            assert service.seen == [(frame, Origin("serial", device="bench", peer=board.name))]
            assert (link.counts.units, link.counts.answered) == (1, 1)
            assert link.port == board.name

    run(scene())


def test_refusals_are_told() -> None:
    async def scene() -> None:
        service = FakeService()
        frame = service.digits.frame(3)
        service.refuse[frame] = SealError("seal", "is missing")
        async with linked(service) as (link, board):
            board.send(encode(KIND_UNIT, frame))
            assert await board.answer() == CompactAnswer(99, 3)
            board.send(encode(KIND_UNIT, b""))
            assert await board.answer() == CompactAnswer(1, 0)
            assert link.counts.refused == 2

    run(scene())


def test_damage_is_counted_not_answered_and_what_follows_is_read() -> None:
    async def scene() -> None:
        service = FakeService()
        one, two, three = (encode(KIND_UNIT, service.digits.frame(n)) for n in (1, 2, 3))
        hurt = bytearray(two)
        hurt[6] ^= 0x40
        echo = encode(KIND_ANSWER, bytes.fromhex("1000000000"))
        async with linked(service, max_payload=64) as (link, board):
            board.send(b"boot: hello\r\n\0" + one[:5] + b"\0" + one + bytes(hurt) + echo)
            board.send(encode(KIND_UNIT, bytes(65)) + b"\0\0" + three)
            assert (await board.answer()).sequence == 1
            assert (await board.answer()).sequence == 3
            assert link.counts.units == 2
            assert link.counts.broken == 5
            assert link.counts.refused == 0

    run(scene())


def test_bytes_may_come_one_at_a_time() -> None:
    async def scene() -> None:
        service = FakeService()
        async with linked(service) as (_, board):
            for byte in encode(KIND_UNIT, service.digits.frame(9)):
                board.send(bytes((byte,)))
                await asyncio.sleep(0)
            assert (await board.answer()).sequence == 9

    run(scene())


def test_a_device_that_vanishes_and_comes_back(tmp_path: Path) -> None:
    async def scene() -> None:
        service = FakeService()
        name = tmp_path / "ttyBoard"
        async with linked(service, str(name)) as (link, board):
            assert not link.is_open  # absent at first
            name.symlink_to(board.name)
            await until(lambda: link.is_open)
            board.send(encode(KIND_UNIT, service.digits.frame(1)))
            assert (await board.answer()).sequence == 1
            # half a frame, then the plug is pulled
            board.send(encode(KIND_UNIT, service.digits.frame(2))[:9])
            board.unplug()
            await until(lambda: not link.is_open)
            name.unlink()
            again = Board()
            try:
                name.symlink_to(again.name)
                await until(lambda: link.opened == 2)
                again.send(encode(KIND_UNIT, service.digits.frame(3)))
                assert (await again.answer()).sequence == 3
                assert link.counts.broken == 0
                await link.aclose()
            finally:
                again.unplug()

    run(scene())


def test_an_answer_to_a_device_that_has_gone_is_lost() -> None:
    async def scene() -> None:
        service = FakeService()
        service.gate = asyncio.Event()
        async with linked(service) as (link, board):
            board.send(encode(KIND_UNIT, service.digits.frame(1)))
            await until(lambda: len(service.seen) == 1)
            board.unplug()
            await until(lambda: not link.is_open)
            service.gate.set()
            await until(lambda: link.counts.lost == 1)
            assert link.counts.answered == 0

    run(scene())


def test_units_that_wait_are_bounded() -> None:
    async def scene() -> None:
        service = FakeService()
        service.gate = asyncio.Event()
        async with linked(service, pending=2) as (_, board):
            for number in range(1, 5):
                board.send(encode(KIND_UNIT, service.digits.frame(number)))
            assert await board.answer() == CompactAnswer(94, 3)
            assert await board.answer() == CompactAnswer(94, 4)
            service.gate.set()
            assert [(await board.answer()).sequence for _ in range(2)] == [1, 2]

    run(scene())


def test_a_line_that_nobody_reads_holds_no_more_than_64_kib() -> None:
    async def scene() -> None:
        service = FakeService()
        line = encode(KIND_UNIT, service.digits.frame(1))
        async with linked(service) as (link, board):
            async with asyncio.timeout(20):
                while not link.counts.lost:
                    try:
                        os.write(board.end, line * 20)
                    except BlockingIOError:
                        await asyncio.sleep(0.001)
                    await asyncio.sleep(0)
            assert len(link._out) <= 65536
            assert len(link._out) > 65536 - 64
            board.unplug()  # nothing waits for a line that is gone
            await until(lambda: not link.is_open)

    run(scene())


def test_closing_answers_what_is_outstanding() -> None:
    async def scene() -> None:
        service = FakeService()
        service.gate = asyncio.Event()
        async with linked(service) as (link, board):
            board.send(encode(KIND_UNIT, service.digits.frame(1)))
            await until(lambda: len(service.seen) == 1)
            closing = asyncio.create_task(link.aclose(10.0))
            await asyncio.sleep(0)
            board.send(encode(KIND_UNIT, service.digits.frame(2)))
            assert await board.answer() == CompactAnswer(97, 2)
            service.gate.set()
            assert (await board.answer()).sequence == 1
            await closing
            assert not link.is_open

    run(scene())


PROFILES = {
    "whole": make_profile((4, 2), (6, 8)),
    "slices": make_profile((4, 2), (7, 8), slice_rows=2),
    "packets": neighbour_profile((4, 3), (6, 16), unit=4, packet_bytes=40),
}


async def cable(one: Board, two: Board, spoil: Callable[[bytes], bytes]) -> None:
    """Joins two lines' far ends; what ``one`` sends goes through ``spoil``."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()

    def pass_on(here: int, there: int, change: Callable[[bytes], bytes]) -> None:
        try:
            os.write(there, change(os.read(here, 65536)))
        except OSError:  # the program has ended and closed its side
            loop.remove_reader(here)

    loop.add_reader(one.end, pass_on, one.end, two.end, spoil)
    loop.add_reader(two.end, pass_on, two.end, one.end, bytes)
    try:
        await stopped
    finally:
        loop.remove_reader(one.end)
        loop.remove_reader(two.end)


@pytest.mark.parametrize("name", PROFILES)
def test_a_board_in_c(name: str, require_tool: Callable[[str], str], tmp_path: Path) -> None:
    """The emitted example sends frames through a line with noise on it, and prints the answers."""
    profile: Profile = PROFILES[name]
    program = build_example("serial", profile, require_tool("gcc"), tmp_path)
    tensors = random_tensors(profile, 4)
    frames = [encode_frame(profile, 0, number, tensor) for number, tensor in enumerate(tensors)]

    async def scene() -> None:
        service = GatheringService(profile)
        far = Board()
        noise = [b"\x07noise"]

        def spoil(data: bytes) -> bytes:
            return (noise.pop() if noise else b"") + data

        async with linked(service) as (link, near):
            wire = asyncio.create_task(cable(far, near, spoil))
            try:
                lines = await run_board(program, far.name, tensors.tobytes())
            finally:
                wire.cancel()
                await asyncio.gather(wire, return_exceptions=True)
                far.unplug()
            assert service.frames == frames
            assert lines == [f"0 {i} 300={value_of(f):.9g} 2=-0.5" for i, f in enumerate(frames)]
            assert (link.counts.units, link.counts.answered, link.counts.broken) == (4, 4, 1)

    run(scene())


def test_a_refused_frame_is_told_to_the_board_in_c(
    require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    """The program's bundle is not the server's: 92, and the board goes on."""
    program = build_example("serial", PROFILES["whole"], require_tool("gcc"), tmp_path)
    tensors = random_tensors(PROFILES["whole"], 2)

    async def scene() -> None:
        async with linked(FakeService()) as (_, near):
            far = Board()
            wire = asyncio.create_task(cable(far, near, bytes))
            try:
                assert await run_board(program, far.name, tensors.tobytes()) == ["92 0", "92 1"]
            finally:
                wire.cancel()
                await asyncio.gather(wire, return_exceptions=True)
                far.unplug()

    run(scene())


def test_link_errors_have_their_number() -> None:
    (error,) = FrameReader(9).feed(b"\x05\x01\0")
    assert isinstance(error, LinkError)
    assert (error.code, error.status) == (101, 400)
