"""The MQTT link against a real mosquitto, with aiomqtt as the device."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from benchmarks.mqtt_broker import Broker, free_port, running_broker
from fake_service import FakeService, expected_outputs
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from isthmus.errors import BusyError, ConfigError, DrainingError, RateLimitError
from isthmus.server.config import MqttConfig
from isthmus.server.mqtt import MqttLink, serve_mqtt

WAIT_S = 10.0


@pytest.fixture(scope="module")
def broker(
    require_tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    with running_broker(require_tool("mosquitto"), tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def root(request: pytest.FixtureRequest) -> str:
    """A root of each test's own, since tests share a broker."""
    return f"tests/{abs(hash(request.node.nodeid))}"


def config(broker: Broker, root: str, **more: Any) -> MqttConfig:
    name = root.replace("/", "-")
    return MqttConfig(
        **{"host": "127.0.0.1", "port": broker.port, "root": root, "client_id": name, **more}
    )


@asynccontextmanager
async def link_to(service: FakeService, settings: MqttConfig) -> AsyncIterator[MqttLink]:
    link = await serve_mqtt(service, settings, drain_s=2.0)
    try:
        async with asyncio.timeout(WAIT_S):
            await link.connected.wait()
        yield link
    finally:
        await link.aclose()


def device(broker: Broker, name: str | None = None, **more: Any) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5, identifier=name, **more
    )


def run(test: Callable[[], Any]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(3 * WAIT_S):
            await test()

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def messages_of(client: aiomqtt.Client, count: int) -> list[aiomqtt.Message]:
    out = []
    async with asyncio.timeout(WAIT_S):
        async for message in client.messages:
            out.append(message)
            if len(out) == count:
                return out
    raise AssertionError("the connection ended")


def test_a_frame_is_answered_with_what_the_service_says(broker: Broker, root: str) -> None:
    service = FakeService()
    frames = [service.digits.frame(sequence, b"payload %d" % sequence) for sequence in range(5)]

    async def scenario() -> None:
        async with link_to(service, config(broker, root)) as link, device(broker) as board:
            await board.subscribe(f"{root}/digits/board-7/results", qos=1)
            for frame in frames:
                await board.publish(f"{root}/digits/board-7/frames", frame, qos=1)
            results = await messages_of(board, len(frames))
            assert [m.properties.ContentType for m in results] == ["application/json"] * 5
            found = {said["sequence"]: said for said in (json.loads(m.payload) for m in results)}
            assert sorted(found) == [0, 1, 2, 3, 4]
            for sequence, frame in enumerate(frames):
                said = found[sequence]
                assert said["outputs"]["probabilities"] == expected_outputs(frame).tolist()
                assert (said["model"], said["device"]) == ("digits", "board-7")
            await until(lambda: link.counts.answered == 5)
            assert (link.counts.frames, link.counts.refused, link.counts.redelivered) == (5, 0, 0)

    run(scenario)
    assert {origin.link for _, origin in service.seen} == {"mqtt"}


def test_refusals_are_results_too(broker: Broker, root: str) -> None:
    service = FakeService()
    limited = service.digits.frame(77, b"limited")
    service.refuse[limited] = RateLimitError("device", "sends too much")
    broken = service.digits.frame(78, b"broken")
    service.refuse[broken] = ZeroDivisionError("a defect")

    async def scenario() -> None:
        async with link_to(service, config(broker, root)) as link, device(broker) as board:
            await board.subscribe(f"{root}/+/+/results", qos=1)
            await board.publish(f"{root}/digits/d1/frames", limited, qos=1)
            await board.publish(f"{root}/unknown/d2/frames", service.digits.frame(5), qos=1)
            await board.publish(f"{root}/digits/d3/frames", b"", qos=1)
            await board.publish(f"{root}/digits/d4/frames", b"\x77" * 40, qos=1)
            await board.publish(f"{root}/digits/d5/frames", broken, qos=1)
            said = {str(m.topic): json.loads(m.payload) for m in await messages_of(board, 5)}
            codes = {t.split("/")[-2]: (s["error"]["code"], s["sequence"]) for t, s in said.items()}
            assert codes["d1"] == (95, 77)
            assert codes["d2"] == (91, 5)
            assert codes["d3"] == (1, None)
            assert codes["d4"] == (2, None)
            assert codes["d5"] == (103, 78)
            await until(lambda: link.counts.refused == 5)

    run(scenario)


def test_response_topic_correlation_and_expiry(broker: Broker, root: str) -> None:
    service = FakeService()
    frame = service.digits.frame(9)

    async def scenario() -> None:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = f"replies/{root}"
        properties.CorrelationData = b"\x00\xff17"
        properties.MessageExpiryInterval = 600
        foreign = Properties(PacketTypes.PUBLISH)
        foreign.ResponseTopic = f"{root}/digits/somebody/results"
        async with link_to(service, config(broker, root)), device(broker) as board:
            await board.subscribe(f"replies/{root}", qos=1)
            await board.subscribe(f"{root}/digits/+/results", qos=1)
            await board.publish(f"{root}/digits/a/frames", frame, qos=1, properties=properties)
            (answer,) = await messages_of(board, 1)
            assert str(answer.topic) == f"replies/{root}"
            assert answer.properties.CorrelationData == b"\x00\xff17"
            assert 590 <= answer.properties.MessageExpiryInterval <= 600
            assert json.loads(answer.payload)["sequence"] == 9
            await board.publish(f"{root}/digits/a/frames", frame, qos=1, properties=foreign)
            (answer,) = await messages_of(board, 1)
            assert str(answer.topic) == f"{root}/digits/a/results"
            assert not hasattr(answer.properties, "MessageExpiryInterval")

    run(scenario)


def test_the_receive_maximum_holds_the_broker_back(broker: Broker, root: str) -> None:
    service = FakeService()
    frames = [service.digits.frame(sequence) for sequence in range(20)]

    async def scenario() -> None:
        service.gate = asyncio.Event()
        settings = config(broker, root, receive_maximum=4)
        async with link_to(service, settings) as link, device(broker) as board:
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            for frame in frames:  # each is acknowledged to the board: the broker has them all
                await board.publish(f"{root}/digits/d/frames", frame, qos=1)
            await until(lambda: len(service.seen) == 4)
            await asyncio.sleep(0.1)  # time to send a fifth, if it were going to
            assert len(service.seen) == link.counts.frames == 4
            service.gate.set()
            results = await messages_of(board, 20)
            assert {json.loads(m.payload)["sequence"] for m in results} == set(range(20))

    run(scenario)


def test_what_was_not_answered_comes_again_to_the_next_server(broker: Broker, root: str) -> None:
    first, second = FakeService(), FakeService()
    frames = [first.digits.frame(sequence) for sequence in range(6)]

    async def scenario() -> None:
        first.gate = asyncio.Event()
        async with device(broker) as board:
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            async with link_to(first, config(broker, root)) as link:
                for frame in frames[:3]:
                    await board.publish(f"{root}/digits/d/frames", frame, qos=1)
                await until(lambda: link.counts.frames == 3)
                link._drain_s = 0.05  # and none is answered by then
            for frame in frames[3:]:  # nobody is there: the session keeps them
                await board.publish(f"{root}/digits/d/frames", frame, qos=1)
            async with link_to(second, config(broker, root)) as link:
                results = await messages_of(board, 6)
                assert {json.loads(m.payload)["sequence"] for m in results} == set(range(6))
                assert link.counts.redelivered == 3

    run(scenario)


def test_a_server_that_drains_leaves_frames_to_the_broker(broker: Broker, root: str) -> None:
    draining, fresh = FakeService(), FakeService()
    frame = draining.digits.frame(1)
    draining.refuse[frame] = DrainingError("server", "leaves")

    async def scenario() -> None:
        async with device(broker) as board:
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            async with link_to(draining, config(broker, root)) as link:
                await board.publish(f"{root}/digits/d/frames", frame, qos=1)
                await until(lambda: link.counts.frames == 1)
            async with link_to(fresh, config(broker, root)):
                (answer,) = await messages_of(board, 1)
                assert json.loads(answer.payload)["sequence"] == 1

    run(scenario)


def test_frames_in_work_are_answered_before_leaving(broker: Broker, root: str) -> None:
    service = FakeService()

    async def scenario() -> None:
        service.gate = asyncio.Event()
        async with device(broker) as board:
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            async with link_to(service, config(broker, root)) as link:
                await board.publish(f"{root}/digits/d/frames", service.digits.frame(3), qos=1)
                await until(lambda: len(service.seen) == 1)
                closing = asyncio.create_task(link.aclose())
                await asyncio.sleep(0.05)
                service.gate.set()
                await closing
                assert link.counts.answered == 1
            async with link_to(FakeService(), config(broker, root)) as link:
                assert link.counts.frames == 0
            assert len(await messages_of(board, 1)) == 1

    run(scenario)


def test_a_full_queue_holds_the_frame_instead_of_refusing_it(broker: Broker, root: str) -> None:
    service = FakeService()
    frame = service.digits.frame(4)
    service.refuse[frame] = BusyError("server.queue", "is full")

    async def scenario() -> None:
        async with link_to(service, config(broker, root)) as link, device(broker) as board:
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            await board.publish(f"{root}/digits/d/frames", frame, qos=1)
            await until(lambda: len(service.seen) >= 3)
            del service.refuse[frame]
            (answer,) = await messages_of(board, 1)
            assert json.loads(answer.payload)["sequence"] == 4
            await until(lambda: link.counts.answered == 1)
            assert link.counts.refused == 0

    run(scenario)


def test_a_broker_that_restarts(require_tool: Callable[[str], str], tmp_path: Path) -> None:
    service = FakeService()
    lines = ("allow_anonymous true", "persistence true", "autosave_interval 1",
             "autosave_on_changes true")  # fmt: skip

    async def scenario(broker: Broker) -> None:
        async with link_to(service, config(broker, "again")) as link:
            broker.stop()
            await until(lambda: not link.connected.is_set())
            await asyncio.to_thread(broker.start)
            await until(link.connected.is_set)
            assert link.counts.connections == 2
            async with device(broker) as board:
                await board.subscribe("again/digits/d/results", qos=1)
                await board.publish("again/digits/d/frames", service.digits.frame(2), qos=1)
                (answer,) = await messages_of(board, 1)
                assert json.loads(answer.payload)["sequence"] == 2

    with running_broker(require_tool("mosquitto"), tmp_path, *lines) as broker:
        run(lambda: scenario(broker))


class Wire:
    """A TCP relay to the broker that can be cut."""

    def __init__(self, port: int) -> None:
        self.to = port
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Wire:
        self.server = await asyncio.start_server(self.relay, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        self.cut()
        await self.server.wait_closed()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to)
        self.writers += [writer, far_writer]
        await asyncio.gather(self.copy(reader, far_writer), self.copy(far_reader, writer))

    async def copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


def test_a_frame_is_computed_once_though_the_connection_breaks(broker: Broker, root: str) -> None:
    service = FakeService()

    async def scenario() -> None:
        service.gate = asyncio.Event()
        async with (
            Wire(broker.port) as wire,
            device(broker) as board,
            link_to(service, config(broker, root, port=wire.port)) as link,
        ):
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            await board.publish(f"{root}/digits/d/frames", service.digits.frame(6), qos=1)
            await until(lambda: len(service.seen) == 1)
            wire.cut()
            await until(lambda: link.counts.redelivered == 1)
            service.gate.set()
            (answer,) = await messages_of(board, 1)
            assert json.loads(answer.payload)["sequence"] == 6
            await until(lambda: link.counts.answered == 1)
            assert len(service.seen) == 1

    run(scenario)


def test_a_wire_that_breaks_again_and_again_loses_nothing(broker: Broker, root: str) -> None:
    service = FakeService()

    async def scenario() -> None:
        async with (
            Wire(broker.port) as wire,
            device(broker) as board,
            link_to(service, config(broker, root, port=wire.port)) as link,
        ):
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            for sequence in range(400):
                frame = service.digits.frame(sequence)
                await board.publish(f"{root}/digits/d/frames", frame, qos=1)
                if sequence % 100 == 50:
                    await until(link.connected.is_set)
                    wire.cut()
            found: set[int] = set()
            while len(found) < 400:
                (answer,) = await messages_of(board, 1)
                found.add(json.loads(answer.payload)["sequence"])
            assert link.counts.connections >= 4

    run(scenario)


class ScriptedBroker:
    """A broker of hand-written bytes: what it says to CONNECT, SUBSCRIBE and PUBLISH."""

    def __init__(self, connack: bytes, suback: bytes = b"", puback: bytes = b"") -> None:
        self.says = {0x10: connack, 0x80: suback, 0x30: puback}
        self.heard: list[bytes] = []

    async def __aenter__(self) -> ScriptedBroker:
        self.server = await asyncio.start_server(self.talk, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                first, length, shift = (await reader.readexactly(1))[0], 0, 0
                while True:
                    byte = (await reader.readexactly(1))[0]
                    length |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        break
                self.heard.append(bytes([first]) + await reader.readexactly(length))
                writer.write(self.says.get(first & 0xF0, b""))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


CONNACK = bytes.fromhex("20 03 00 00 00")
SUBACK = bytes.fromhex("90 04 0001 00 01")  # packet 1, no properties, QoS 1
TOPIC = b"isthmus/digits/d/frames"


def publish(number: int, payload: bytes) -> bytes:
    body = len(TOPIC).to_bytes(2, "big") + TOPIC + number.to_bytes(2, "big") + b"\0" + payload
    assert len(body) < 128
    return bytes([0x32, len(body)]) + body


def test_two_servers_of_one_name_do_not_fight() -> None:
    taken_over = bytes.fromhex("e0 01 8e")

    async def scenario() -> None:
        async with ScriptedBroker(CONNACK, SUBACK + taken_over) as broker:
            link = await serve_mqtt(FakeService(), MqttConfig(host="127.0.0.1", port=broker.port))
            await until(lambda: link.counts.connections == 1)
            await until(lambda: not link.connected.is_set())
            await asyncio.sleep(0.2)  # an ordinary reconnect comes within that
            assert link.counts.connections == 1
            await link.aclose()

    run(scenario)


@pytest.mark.parametrize(
    ("connack", "suback"),
    [
        (bytes.fromhex("20 03 00 87 00"), b""),  # not authorized
        (CONNACK, bytes.fromhex("90 04 0001 00 87")),
        (b"\x20\x03\x00\x00\x05\xff\xff\xff", b""),  # properties that are none
        (b"\xf7" * 40, b""),
        (b"\x30\xff\xff\xff\xff\xff\xff", b""),  # a length without an end
    ],
)
def test_a_broker_that_refuses_or_talks_nonsense(connack: bytes, suback: bytes) -> None:
    async def scenario() -> None:
        async with ScriptedBroker(connack, suback) as broker:
            link = await serve_mqtt(FakeService(), MqttConfig(host="127.0.0.1", port=broker.port))
            await until(lambda: len([heard for heard in broker.heard if heard[0] == 0x10]) >= 2)
            assert link.counts.connections == 0
            await link.aclose()

    run(scenario)


def test_a_result_that_the_broker_does_not_take() -> None:
    """The frame is done with all the same: it would never get another answer."""
    service = FakeService()
    frames = [service.digits.frame(number, b"") for number in (1, 2)]
    sent = publish(7, frames[0]) + publish(9, frames[1])
    refused = bytes.fromhex("40 03 0002 87")  # the first publication, as packet 2: not authorized

    async def scenario() -> None:
        async with ScriptedBroker(CONNACK, SUBACK + sent, refused) as broker:
            link = await serve_mqtt(service, MqttConfig(host="127.0.0.1", port=broker.port))
            await until(lambda: link.counts.unpublished == 1)
            await until(lambda: any(heard[0] == 0x40 for heard in broker.heard))
            acknowledged = [heard[1:3] for heard in broker.heard if heard[0] == 0x40]
            assert acknowledged == [bytes.fromhex("0007")]
            link._drain_s = 0.05  # the second is never acknowledged
            await link.aclose()

    run(scenario)


def test_what_the_link_says_when_it_connects() -> None:
    async def scenario() -> None:
        async with ScriptedBroker(CONNACK, SUBACK) as broker:
            settings = MqttConfig(
                host="127.0.0.1", port=broker.port, client_id="me", receive_maximum=5,
                session_expiry_s=77,
            )  # fmt: skip
            link = await serve_mqtt(FakeService(), settings, body_bytes=1 << 20)
            await until(lambda: link.counts.connections == 1)
            await link.aclose()
            connect = broker.heard[0]
            # name, version 5, no clean start, keep alive 30; properties: session expiry 77,
            # receive maximum 5, largest packet 2^20 + 2^16; then the client's name
            assert connect[1:] == bytes.fromhex(
                "0004 4d515454 05 00 001e 0d 11 0000004d 21 0005 27 00110000 0002 6d65"
            )

    run(scenario)


def test_servers_of_a_group_share_the_frames(broker: Broker, root: str) -> None:
    services = [FakeService(), FakeService()]
    names = [f"{root.replace('/', '-')}-{i}" for i in range(2)]

    async def scenario() -> None:
        settings = [config(broker, root, group="decoders", client_id=name) for name in names]
        async with (
            link_to(services[0], settings[0]),
            link_to(services[1], settings[1]),
            device(broker) as board,
        ):
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            for sequence in range(20):
                frame = services[0].digits.frame(sequence)
                await board.publish(f"{root}/digits/d/frames", frame, qos=1)
            results = await messages_of(board, 20)
            assert sorted(json.loads(m.payload)["sequence"] for m in results) == list(range(20))

    run(scenario)
    counts = [len(service.seen) for service in services]
    assert sum(counts) == 20
    assert min(counts) >= 5


def test_frames_of_quality_0_and_other_topics(broker: Broker, root: str) -> None:
    service = FakeService()

    async def scenario() -> None:
        async with link_to(service, config(broker, root)) as link, device(broker) as board:
            await board.subscribe(f"{root}/digits/d/results", qos=1)
            await board.publish(f"{root}/digits/{'x' * 200}/frames", b"frame", qos=1)
            await board.publish(f"{root}/digits/d/frames", service.digits.frame(8), qos=0)
            (answer,) = await messages_of(board, 1)
            assert json.loads(answer.payload)["sequence"] == 8
            assert link.counts.frames == 2

    run(scenario)
    assert len(service.seen) == 1


def test_a_flood_of_quality_0_is_bounded(broker: Broker, root: str) -> None:
    service = FakeService()

    async def scenario() -> None:
        service.gate = asyncio.Event()
        settings = config(broker, root, receive_maximum=4)
        async with link_to(service, settings) as link, device(broker) as board:
            for sequence in range(50):
                await board.publish(f"{root}/digits/d/frames", service.digits.frame(sequence))
            await until(lambda: link.counts.frames == 50)
            assert link.counts.dropped == 50 - 9
            service.gate.set()
            await until(lambda: link.counts.answered == 9)

    run(scenario)


def make_certificates(folder: Path) -> None:
    """A CA and a certificate for 127.0.0.1, by openssl."""
    openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(
        [*openssl, "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key.pem"),
         "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip


def test_tls_name_and_password(require_tool: Callable[[str], str], tmp_path: Path) -> None:
    require_tool("openssl")
    make_certificates(tmp_path)
    (tmp_path / "secret").write_text("horse\n")
    # mosquitto reads "name:password" lines after mosquitto_passwd -U; this is its hash's other form
    passwords = tmp_path / "passwords"
    passwords.write_text("server:horse\n")
    passwords.chmod(0o600)
    subprocess.run([require_tool("mosquitto_passwd"), "-U", str(passwords)], check=True)
    lines = (
        "allow_anonymous false", f"password_file {passwords}", f"certfile {tmp_path}/cert.pem",
        f"keyfile {tmp_path}/key.pem", "user root",
    )  # fmt: skip
    service = FakeService()

    async def scenario(broker: Broker) -> None:
        good = config(
            broker, "safe", tls=True, ca=tmp_path / "cert.pem", username="server",
            password_file=tmp_path / "secret",
        )  # fmt: skip
        async with link_to(service, good):
            tls = aiomqtt.TLSParameters(ca_certs=str(tmp_path / "cert.pem"))
            async with device(broker, username="server", password="horse", tls_params=tls) as board:
                await board.subscribe("safe/digits/d/results", qos=1)
                big = service.digits.frame(1, bytes(60000))
                for _ in range(3):  # many TLS records, and several messages in one
                    await board.publish("safe/digits/d/frames", big, qos=1)
                assert len(await messages_of(board, 3)) == 3
        untrusted = await serve_mqtt(service, good.model_copy(update={"ca": None}))
        wrong = await serve_mqtt(service, good.model_copy(update={"password_file": None}))
        await asyncio.sleep(0.2)
        assert untrusted.counts.connections == wrong.counts.connections == 0
        await untrusted.aclose()
        await wrong.aclose()

    with running_broker(require_tool("mosquitto"), tmp_path, *lines) as broker:
        run(lambda: scenario(broker))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password_file": Path("/nowhere")}, r"^mqtt\.password_file: /nowhere: cannot be read"),
        ({"tls": True, "ca": Path("/nowhere")}, r"^mqtt: TLS files cannot be used"),
        ({"tls": True, "certificate": Path("/a")}, r"certificate and key belong together"),
        ({"ca": Path("/a")}, r"^mqtt\.tls: is false beside ca"),
    ],
)
def test_files_that_cannot_be_used(fields: dict[str, Any], said: str) -> None:
    async def scenario() -> None:
        with pytest.raises(ConfigError, match=said):
            await serve_mqtt(FakeService(), MqttConfig(host="127.0.0.1", **fields))

    run(scenario)


def test_without_a_broker_it_tries_again_and_can_be_closed() -> None:
    async def scenario() -> None:

        link = await serve_mqtt(FakeService(), MqttConfig(host="127.0.0.1", port=free_port()))
        await asyncio.sleep(0.15)
        assert not link.connected.is_set()
        async with asyncio.timeout(2.0):
            await link.aclose()

    run(scenario)
