"""`isthmus send`: what its boards code, when they send, and what it counts, over every link."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.mqtt_broker import running_broker
from served import Served
from served_app import loop_thread

from isthmus import BackHalf, Decoder
from isthmus.bundle import Bundle
from isthmus.cli.app import run
from isthmus.errors import BundleEditedError, DataShapeError, LevelError, OptionError, RungError
from isthmus.server.config import load_config
from isthmus.server.run import running
from isthmus.server.simulator.board import Board, _preprocess
from isthmus.server.simulator.fleet import FleetOptions, run_fleet
from isthmus.server.simulator.inputs import Inputs, read_inputs
from isthmus.server.simulator.links import LinkOptions, open_link
from isthmus.server.simulator.replies import Pending, Reply, read_json
from isthmus_gen.data import Preprocessing

SECRET = "00112233445566778899aabbccddeeff"


@pytest.fixture(scope="module")
def ports(
    digits: Served, digits_packets: Served, require_tool: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, int]]:  # fmt: skip
    """A real server of two bundles on all its links."""
    folder = tmp_path_factory.mktemp("server")
    with running_broker(require_tool("mosquitto"), folder) as broker, loop_thread() as call:
        config = load_config(
            None,
            bundles=[
                {"path": digits.path, "name": "digits"},
                {"path": digits_packets.path, "name": "packets"},
            ],
            http={"port": 0}, grpc={"port": 0}, udp={"port": 0},
            mqtt={"host": "127.0.0.1", "port": broker.port},
        )  # fmt: skip
        stack = AsyncExitStack()

        async def start() -> dict[str, int]:
            server = await stack.enter_async_context(running(config))
            link = dict(server._links)["mqtt"]
            async with asyncio.timeout(10):
                await link.connected.wait()
            return {**server.ports, "mqtt": broker.port}

        try:
            yield call(start())
        finally:
            call(stack.aclose())


def send(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    code = run(["send", *map(str, arguments), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    total = found["dropped"] + found["answered"] + sum(found["refused"].values())
    assert total + found["unanswered"] == found["frames"]
    return found


@pytest.fixture(scope="module")
def data(digits_data: Path) -> Path:
    return digits_data / "digits_test.npz"


@pytest.mark.parametrize("bundle", ["digits", "digits_packets"])
def test_the_board_codes_what_the_vectors_say(bundle: str, request: pytest.FixtureRequest) -> None:
    opened = Bundle.open(request.getfixturevalue(bundle).path)
    board = Board(opened)
    rows = json.loads(opened.read("vectors/vectors.json"))["vectors"]
    assert rows
    for row in rows:
        tensor = board.tensor(opened.read(f"vectors/{row['input']['file']}"))
        assert tensor == opened.read(f"vectors/{row['tensor']['file']}")
        (rung,) = row["rungs"]
        frame = opened.read(f"vectors/{rung['frame']['file']}")
        assert board.frame(tensor, rung["sequence"]) == frame
    with pytest.raises(RungError):
        board.frame(tensor, 0, rung=7)
    with pytest.raises(DataShapeError, match=r"^input: has 3 bytes"):
        board.tensor(b"abc")


def test_a_tree_that_was_edited_is_not_compiled(digits: Served, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(digits.path, copy)
    with (copy / "firmware/src/isth_tables.c").open("a") as file:
        file.write("\n")
    with pytest.raises(BundleEditedError):
        Board(Bundle.open(copy))


@pytest.mark.parametrize("text", ["none", "unit", "signed", "0.0171,-2.1"])
def test_inputs_are_prepared_as_the_generator_prepares_them(text: str) -> None:
    x = np.random.default_rng(3).integers(0, 256, (4, 5, 5, 3)).astype(np.float32)
    step = Preprocessing.parse(text)
    assert _preprocess(x, step.as_dict()).tobytes() == step.apply(x).tobytes()


@pytest.mark.parametrize("link", ["http", "grpc", "mqtt", "udp"])
def test_every_link_answers_and_accuracy_is_that_of_the_bundle(
    link: str, ports: dict[str, int], digits: Served, data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = send(
        capsys, digits.path, "--name", "digits", "--to", f"{link}://127.0.0.1:{ports[link]}",
        "--devices", 8, "--rate", 25, "--count", 60, "--data", data,
    )  # fmt: skip
    assert (found["frames"], found["answered"], found["unanswered"]) == (60, 60, 0)
    # the same by decoder and back half alone: device d's turn t shows input t + d
    opened = Bundle.open(digits.path)
    board = Board(opened)
    inputs = read_inputs(opened, board, data)
    which = [(number // 8 + number % 8) % len(inputs) for number in range(60)]
    frames = [board.frame(board.tensor(inputs.data[i]), 0) for i in which]
    features = np.stack([Decoder(opened).decode(frame).features for frame in frames])
    classes = BackHalf(opened)(features).reshape(60, -1).argmax(axis=1)
    assert inputs.labels is not None
    assert found["accuracy"] == float(np.mean(classes == inputs.labels[which]))
    elements = opened.profile.tensor.elements * 60
    assert found["bits_per_element"] == 8.0 * sum(map(len, frames)) / elements
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]


def test_packets_are_lost_by_the_seed_and_what_is_left_is_answered(
    ports: dict[str, int], digits_packets: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (digits_packets.path, "--to", f"udp://127.0.0.1:{ports['udp']}", "--devices", 4,
             "--rate", 20, "--count", 40, "--loss", 0.3)  # fmt: skip
    found = send(capsys, *words, "--seed", 5)
    assert found["packets_dropped"] > found["dropped"]
    assert found["answered"] + found["dropped"] == 40
    again = send(capsys, *words, "--seed", 5)
    assert again["packets_dropped"] == found["packets_dropped"]
    assert send(capsys, *words, "--seed", 6)["packets_dropped"] != found["packets_dropped"]


def test_whole_frames_are_lost_where_the_link_has_no_packets(
    ports: dict[str, int], digits: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    found = send(
        capsys, digits.path, "--name", "digits", "--to", f"http://127.0.0.1:{ports['http']}",
        "--rate", 400, "--loss", 0.25, "--seed", 9,
    )  # fmt: skip
    chance = random.Random(9)
    dropped = sum(chance.random() < 0.25 for _ in range(100))
    assert (found["frames"], found["dropped"], found["answered"]) == (100, dropped, 100 - dropped)


@pytest.mark.parametrize(("link", "name"), [("http", "nobody"), ("grpc", "nobody")])
def test_refusals_are_counted_by_name(
    link: str, name: str, ports: dict[str, int], digits: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    found = send(
        capsys, digits.path, "--name", name, "--to", f"{link}://127.0.0.1:{ports[link]}",
        "--rate", 200, "--count", 10,
    )  # fmt: skip
    assert found["refused"] == {"model_unknown": 10}
    assert found["accuracy"] is None


def test_the_table_for_people(
    ports: dict[str, int], digits: Served, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["send", str(digits.path), "--name", "digits", "--data", str(data), "--count", "5"]
    assert run([*words, "--to", f"http://127.0.0.1:{ports['http']}", "--rate", "100"]) == 0
    said = capsys.readouterr().out
    lines = {line.rsplit("  ", 1)[0].strip(): line.rsplit("  ", 1)[-1] for line in said.split("\n")}
    assert lines["answered"].strip() == "5"
    assert "right answers" in lines
    assert "ms" in lines["latency p50, p99"]


def test_sealed_units(digits: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secrets = [tmp_path / "right", tmp_path / "wrong"]
    for secret, text in zip(secrets, (SECRET, SECRET[::-1]), strict=True):
        secret.write_text(text)
        secret.chmod(0o600)
    config = load_config(
        None, bundles=[{"path": digits.path}], http={"port": 0}, grpc={"enabled": False},
        security={"fleet_secret_file": secrets[0], "replay_file": tmp_path / "replay"},
    )  # fmt: skip
    stack = AsyncExitStack()

    async def start() -> int:
        return (await stack.enter_async_context(running(config))).ports["http"]

    with loop_thread() as call:
        try:
            url = f"http://127.0.0.1:{call(start())}"
            words = (digits.path, "--to", url, "--devices", 3, "--rate", 50, "--count", 15)
            for _ in range(2):  # counters go on from one run to the next
                found = send(capsys, *words, "--secret-file", secrets[0])
                assert (found["answered"], found["refused"], found["sealed"]) == (15, {}, True)
            assert send(capsys, *words, "--secret-file", secrets[1])["refused"] == {"seal": 15}
            bare = send(capsys, *words)
            assert (bare["answered"], bare["sealed"]) == (0, False)
        finally:
            call(stack.aclose())


class StubLink:
    """Answers after a while; for half of the first second not at all."""

    in_packets = False
    unexpected = 0

    def __init__(self, reply: Reply, stall_s: float = 0.0) -> None:
        self.reply = reply
        self.stall_s = stall_s
        self.sent: list[tuple[float, int, int, list[bytes]]] = []

    async def open(self) -> None:
        self.free_at = asyncio.get_running_loop().time() + self.stall_s

    async def send(self, device: int, sequence: int, units: list[bytes]) -> Reply:
        loop = asyncio.get_running_loop()
        self.sent.append((loop.time(), device, sequence, units))
        await asyncio.sleep(max(0.0, self.free_at - loop.time()))
        return self.reply

    async def close(self) -> None:
        self.closed = True


def simulate(digits: Served, link: StubLink, **options: Any) -> dict[str, Any]:
    opened = Bundle.open(digits.path)
    board = Board(opened)
    inputs = read_inputs(opened, board, None)
    values = {"devices": 1, "rate": 100.0, "count": None, "duration_s": None, **options}
    report = asyncio.run(run_fleet(FleetOptions(**values), board, inputs, link))
    assert link.closed
    return report.as_dict()


def test_a_stalled_server_shows_in_the_latencies_of_all_that_waited(digits: Served) -> None:
    """Open loop: of a second's 100 frames half fall into the stall of half a second."""
    link = StubLink(Reply(0, 3), stall_s=0.5)
    found = simulate(digits, link, duration_s=1.0)
    assert (found["frames"], found["answered"]) == (100, 100)
    assert found["latency_ms"]["p99"] > 400
    latencies_above = [time for time, *_ in link.sent if time < link.sent[0][0] + 0.45]
    assert len(latencies_above) >= 40  # they were sent during the stall, not held back by it


def test_every_device_counts_its_own_sequence(digits: Served) -> None:
    link = StubLink(Reply(0))
    simulate(digits, link, devices=3, rate=1000.0, count=12)
    decoder = Decoder(digits.path)
    for device in range(3):
        mine = [(sequence, units) for _, d, sequence, units in link.sent if d == device]
        assert [sequence for sequence, _ in mine] == [0, 1, 2, 3]
        assert [decoder.decode(units[0]).sequence for _, units in mine] == [0, 1, 2, 3]


def test_what_is_not_answered_in_time_is_said(digits: Served) -> None:
    found = simulate(digits, StubLink(Reply(0), stall_s=5.0), count=4, timeout_s=0.05)
    assert (found["unanswered"], found["answered"], found["refused"]) == (4, 0, {})


def test_refusals_of_a_link_have_their_names(digits: Served) -> None:
    found = simulate(digits, StubLink(Reply(LevelError.code)), count=4)
    assert found["refused"] == {"level": 4}
    assert found["latency_ms"] == {"p50": None, "p99": None, "max": None}


def test_a_serial_port(digits: Served) -> None:
    """Two pseudo-terminals with a wire between their far ends."""
    from isthmus.server.config import SerialConfig
    from isthmus.server.serial_link import serve_serial

    async def scenario() -> dict[str, Any]:
        ends = [os.openpty() for _ in range(2)]
        loop = asyncio.get_running_loop()
        for (here, _), (there, _) in (ends, ends[::-1]):
            loop.add_reader(here, lambda a=here, b=there: os.write(b, os.read(a, 1 << 12)))
        names = [os.ttyname(end) for _, end in ends]
        opened = Bundle.open(digits.path)
        board = Board(opened)
        config = load_config(
            None, bundles=[{"path": digits.path}], http={"enabled": False},
            grpc={"enabled": False},
        )  # fmt: skip
        async with running(config) as server:
            link = await serve_serial(server.service, SerialConfig(port=names[0]))
            try:
                options = FleetOptions(1, 50.0, 10, None, timeout_s=5.0)
                sender = open_link(LinkOptions(f"serial://{names[1]}?baud=115200", "digits", 1))
                inputs = read_inputs(opened, board, None)
                return (await run_fleet(options, board, inputs, sender)).as_dict()
            finally:
                await link.aclose()
                for here, there in ends:
                    loop.remove_reader(here)
                    os.close(here)
                    os.close(there)

    found = asyncio.run(scenario())
    assert (found["answered"], found["unanswered"]) == (10, 0)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8080", "ftp://127.0.0.1", "http://", "http://127.0.0.1:70000", "mqtt:///root",
     "serial://?baud=115200", "serial:///dev/ttyS0?baud=fast", "serial:///dev/ttyS0?speed=9600"],
)  # fmt: skip
def test_places_that_are_none(url: str) -> None:
    with pytest.raises(OptionError, match=r"^--to: "):
        open_link(LinkOptions(url, "digits", 1))


def test_a_serial_port_has_one_board() -> None:
    with pytest.raises(OptionError, match=r"^--devices: is 2; allowed: 1 on a serial port"):
        open_link(LinkOptions("serial:///dev/ttyS0", "digits", 2))


@pytest.mark.parametrize("scheme", ["http", "grpc", "mqtt", "serial"])
def test_a_server_that_is_not_there_is_one_line(
    scheme: str, digits: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.mqtt_broker import free_port

    place = "/dev/nowhere" if scheme == "serial" else f"127.0.0.1:{free_port()}"
    assert run(["send", str(digits.path), "--to", f"{scheme}://{place}"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "cannot be" in said.err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--rate", "0", "--rate: is 0"), ("--rate", "nan", "--rate: is nan"),
        ("--duration", "-1", "--duration: is -1"), ("--rung", "3", "--rung: is 3"),
        ("--loss", "1.5", "loss"), ("--secret-file", "/nowhere", "/nowhere: cannot be read"),
        ("--data", "/nowhere", "/nowhere: cannot be read"), ("--ca", "/nowhere", "--ca: cannot"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(
    option: str, value: str, said: str, digits: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["send", str(digits.path), "--to", "https://127.0.0.1:1", option, value]
    assert run(words) in (2, 3)
    assert said in capsys.readouterr().err


def test_inputs_of_another_shape(digits: Served, tmp_path: Path) -> None:
    opened = Bundle.open(digits.path)
    board = Board(opened)
    np.savez(tmp_path / "wide.npz", x=np.zeros((2, 9, 9, 3), np.float32))
    with pytest.raises(DataShapeError, match=r"^--data: x: has shape \[2, 9, 9, 3\]"):
        read_inputs(opened, board, tmp_path / "wide.npz")
    shape = opened.profile.extra["input"]["shape"]
    np.savez(tmp_path / "y.npz", x=np.zeros((2, *shape), np.float32), y=np.zeros(3, np.int64))
    with pytest.raises(DataShapeError, match=r"y: has 3 rows"):
        read_inputs(opened, board, tmp_path / "y.npz")
    np.savez(tmp_path / "one_hot.npz", x=np.zeros((2, *shape), np.float32), y=np.eye(2))
    found: Inputs = read_inputs(opened, board, tmp_path / "one_hot.npz")
    assert (len(found), found.labels) == (2, None)


def test_replies_by_hand() -> None:
    assert read_json(b'{"top": [{"index": 7, "value": 0.5, "label": ""}]}') == Reply(0, 7)
    assert read_json(b'{"top": []}') == Reply(0, None)
    assert read_json(b'{"error": {"code": 92}, "sequence": null}') == Reply(92)
    for wrong in (b"", b"{}", b"[]", b"7", b'{"error": 5}', b'{"top": 5}', b"\xff"):
        with pytest.raises(Exception, match=r"^reply: is no answer"):
            read_json(wrong)

    async def scenario() -> None:
        pending = Pending()
        first, second = pending.expect(1), pending.expect(2)
        pending.arrived(2, Reply(0, 5))
        pending.arrived(2, Reply(0, 5))  # a second answer
        pending.arrived(0, Reply(99))  # a refusal without a sequence: the oldest frame's
        pending.arrived(0, Reply(99))
        assert (await first, await second, pending.unexpected) == (Reply(99), Reply(0, 5), 2)

    asyncio.run(scenario())
