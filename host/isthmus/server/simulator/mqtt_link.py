"""Simulated boards on a broker: frames on their topics, answers on theirs."""

from __future__ import annotations

import asyncio
import secrets
import ssl

from paho.mqtt.client import MQTTMessage

from isthmus.errors import LinkError
from isthmus.server.mqtt_client import MqttConnection, MqttSettings, publish_properties
from isthmus.server.simulator.links import LinkOptions, correlation
from isthmus.server.simulator.replies import Pending, Reply, read_json
from isthmus.server.topics import Address, Topics

__all__ = ["MqttSender"]

_WINDOW = 1000


class MqttSender:
    """Devices shared out to connections; each subscribes to the results of its own."""

    in_packets = False

    def __init__(
        self, host: str, port: int, root: str, options: LinkOptions, tls: ssl.SSLContext | None
    ) -> None:
        self._topics = Topics(root)
        self._options = options
        run = secrets.token_hex(4)
        self._pending = Pending()
        self._bad = 0
        self._connections: list[MqttConnection] = []
        self._settings = [
            MqttSettings(
                host, port, f"isthmus-send-{run}-{number}", receive_maximum=_WINDOW,
                username=options.username, password=options.password, tls=tls,
            )
            for number in range(options.count(16))
        ]  # fmt: skip

    @property
    def unexpected(self) -> int:
        """Results that no frame waited for, second ones among them."""
        return self._pending.unexpected + self._bad

    def _address(self, device: int) -> Address:
        return Address(self._options.name, self._options.device_name(device))

    async def open(self) -> None:
        """Connects and subscribes."""
        for settings in self._settings:
            await self._connect(settings)
        own = [self._topics.results(self._address(d)) for d in range(self._options.devices)]
        count = len(self._connections)
        for start in range(0, len(own), _WINDOW):
            await asyncio.gather(
                *(
                    self._connections[device % count].subscribe(own[device])
                    for device in range(start, min(start + _WINDOW, len(own)))
                )
            )

    async def _connect(self, settings: MqttSettings) -> None:
        def arrived(message: MQTTMessage) -> None:
            connection.acknowledge(message.mid)
            self._arrived(message)

        connection = MqttConnection(settings, arrived)
        self._connections.append(connection)
        await connection.open()

    def _arrived(self, message: MQTTMessage) -> None:
        key = getattr(message.properties, "CorrelationData", b"")
        try:
            self._pending.arrived(key, read_json(message.payload))
        except LinkError:
            self._bad += 1

    async def send(self, device: int, sequence: int, units: list[bytes]) -> Reply:
        """Publishes the frame with QoS 1 and waits for its result."""
        connection = self._connections[device % len(self._connections)]
        (unit,) = units
        key = correlation(device, sequence)
        future = self._pending.expect(key)
        try:
            code = await connection.publish(
                self._topics.frames(self._address(device)),
                unit,
                publish_properties(correlation=key),
            )
            if code.is_failure:
                raise LinkError("mqtt broker", f"did not take the frame ({code})")
            return await future
        finally:
            self._pending.forget(key, future)

    async def close(self) -> None:
        """Disconnects."""
        for connection in self._connections:
            await connection.close()
