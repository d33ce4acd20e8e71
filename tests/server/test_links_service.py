"""UDP and serial links before the whole server: real bundles, lost packets, seals, firmware."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from link_boards import SANITIZE, run_board
from served import Served
from test_serial import Board, cable
from test_udp import Client

from isthmus.conceal_slices import cut_frame
from isthmus.seal import seal
from isthmus.server.compact import CompactAnswer, unpack
from isthmus.server.config import load_config
from isthmus.server.keys import device_key
from isthmus.server.run import Running, running
from isthmus.server.types import Answer, Origin


def serve(body: Callable[[Running], Awaitable[None]], *served: Served, **sections: Any) -> None:
    """Runs ``body`` beside a server with a UDP port."""
    config = load_config(
        None,
        bundles=[{"path": str(one.path)} for one in served],
        http={"enabled": False}, grpc={"enabled": False}, udp={"port": 0}, batch={"workers": 1},
        **sections,
    )  # fmt: skip

    async def main() -> None:
        async with running(config) as server:
            await asyncio.wait_for(body(server), 40)

    asyncio.run(main())


async def reference(server: Running, served: Served, index: int) -> Answer:
    """The answer to a whole frame, past the links."""
    return await server.service.answer(served.frames[index], Origin("http", "other", "there"))


def is_like(found: CompactAnswer, answer: Answer) -> bool:
    """Whether this is that answer, its smallest values perhaps left out."""
    top = tuple((one.index, one.value) for one in answer.top)
    count = len(found.top)
    return found.ok and found.sequence == answer.sequence and count > 0 and found.top == top[:count]


def test_packets_of_several_boards_in_any_order(digits_packets: Served) -> None:
    """Eight frames from each of three sockets: shuffled, some packets twice, all at once."""

    async def body(server: Running) -> None:
        rng = random.Random(1)
        boards = [Client(server.ports["udp"]) for _ in range(3)]
        try:
            sent = []
            for board in boards:
                packets = [p for frame in digits_packets.frames[:8] for p in cut_frame(frame)]
                assert len(packets) > 8
                packets += rng.sample(packets, 5)
                sent += [(board, packet) for packet in packets]
            rng.shuffle(sent)
            for board, packet in sent:
                board.send(packet)
            for board in boards:
                found = [unpack(await board.receive()) for _ in range(8)]
                assert sorted(one.sequence for one in found) == list(range(8))
                for one in found:
                    assert is_like(one, await reference(server, digits_packets, one.sequence))
        finally:
            for board in boards:
                board.socket.close()

    serve(body, digits_packets, limits={"reassembly_ms": 5000})


def test_a_lost_packet_is_concealed_after_the_deadline(digits_packets: Served) -> None:
    async def body(server: Running) -> None:
        from isthmus import BackHalf

        loop = asyncio.get_running_loop()
        frame = next(f for f in digits_packets.frames if len(cut_frame(f)) > 2)
        packets = cut_frame(frame)
        del packets[1]
        board = Client(server.ports["udp"])
        try:
            start = loop.time()
            for packet in packets:
                board.send(packet)
            found = unpack(await board.receive())
            assert loop.time() - start >= 0.3
            features = digits_packets.decoder.decode_slices(packets).features
            (want,) = BackHalf(digits_packets.path)(features[None])
            order = np.argsort(-want, kind="stable")[: len(found.top)]
            assert found.top == tuple((int(i), float(want[i])) for i in order)
            # what was lost comes after all: it is late, and nothing is said
            board.send(cut_frame(frame)[1])
            board.send(digits_packets.frame(0, 999))
            assert unpack(await board.receive()).sequence == 999
        finally:
            board.socket.close()

    serve(body, digits_packets, limits={"reassembly_ms": 300})


def test_sealed_units(digits: Served, tmp_path: Path) -> None:
    secret = bytes(range(32))
    file = tmp_path / "secret"
    file.write_text(secret.hex())
    file.chmod(0o600)
    key = device_key(secret, 7)

    async def body(server: Running) -> None:
        board = Client(server.ports["udp"])
        try:
            unit = seal(key, 7, 1, digits.frames[3])
            forged = unit[:-1] + bytes((unit[-1] ^ 1,))
            answer = await server.service.answer(
                seal(device_key(secret, 9), 9, 1, digits.frames[3]), Origin("http")
            )
            assert is_like(unpack(await board.ask(unit)), answer)
            assert unpack(await board.ask(unit)) == CompactAnswer(100, 0)
            assert unpack(await board.ask(forged)) == CompactAnswer(99, 0)
            assert unpack(await board.ask(digits.frames[3])) == CompactAnswer(99, 3)
        finally:
            board.socket.close()

    serve(
        body,
        digits,
        security={"fleet_secret_file": str(file), "replay_file": str(file) + ".replay"},
    )


def build(served: Served, name: str, gcc: str, folder: Path) -> Path:
    """An example of the bundle's own firmware, front half and all."""
    tree = served.path / "firmware"
    example = tree / "examples" / name
    sources = [*sorted((tree / "src").glob("*.c")), *sorted(example.glob("*.c"))]
    words = [gcc, "-std=c99", "-O1", *SANITIZE, f"-I{tree / 'src'}", f"-I{example}", *sources]
    subprocess.run([*words, "-o", folder / name], check=True, timeout=120)
    return folder / name


@pytest.mark.parametrize("kind", ["digits", "digits_packets"])
def test_whole_firmware_asks_the_whole_server(
    kind: str, request: pytest.FixtureRequest, require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    """From raw input to the answer on the board: the bundle's vectors over both links."""
    served: Served = request.getfixturevalue(kind)
    programs = {
        name: build(served, name, require_tool("gcc"), tmp_path) for name in ("udp", "serial")
    }
    vectors = served.path / "vectors"
    inputs = b"".join((vectors / f"{number}_input.bin").read_bytes() for number in range(2))
    frames = [(vectors / f"{number}_rung0_frame.bin").read_bytes() for number in range(2)]
    near, far = Board(), Board()

    async def body(server: Running) -> None:
        wire = asyncio.create_task(cable(far, near, bytes))
        try:
            links = {"udp": f"127.0.0.1:{server.ports['udp']}", "serial": far.name}
            for name, program in programs.items():
                lines = await run_board(program, links[name], inputs)
                for number, (line, frame) in enumerate(zip(lines, frames, strict=True)):
                    answer = await server.service.answer(frame, Origin("http", "o", "p"))
                    values = [f"{one.index}={one.value:.9g}" for one in answer.top]
                    words = line.split()
                    assert words[:2] == ["0", str(number)]
                    assert words[2:] == values[: len(words) - 2]
                    assert len(words) >= 3
                    assert name == "udp" or len(words) == 7
        finally:
            wire.cancel()
            await asyncio.gather(wire, return_exceptions=True)

    try:
        serve(body, served, serial=[{"port": near.name}])
    finally:
        near.unplug()
        far.unplug()
