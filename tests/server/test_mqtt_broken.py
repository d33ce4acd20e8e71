"""The MQTT link where something breaks: wires, brokers, names, certificates."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from benchmarks.mqtt_broker import Broker, free_port, running_broker
from fake_service import FakeService
from mqtt_world import config, device, link_to, messages_of, run, until

from isthmus.errors import ConfigError
from isthmus.server.config import MqttConfig
from isthmus.server.mqtt import serve_mqtt


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
