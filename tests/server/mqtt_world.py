"""A link, devices and bounded waits for the tests of MQTT."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
from benchmarks.mqtt_broker import Broker
from fake_service import FakeService

from isthmus.server.config import MqttConfig
from isthmus.server.mqtt import MqttLink, serve_mqtt

WAIT_S = 10.0


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
