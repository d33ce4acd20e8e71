"""The MQTT link: frames from ROOT/BUNDLE/DEVICE/frames, answers to ROOT/BUNDLE/DEVICE/results.

A frame is acknowledged only after the broker acknowledged its answer. Until then it belongs to the
session that the broker keeps, so a server that is killed gets it again when it comes back: every
frame is answered or refused at least once. The receive maximum is the back-pressure: the broker
holds what is beyond it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from paho.mqtt.client import MQTTMessage
from paho.mqtt.properties import Properties

from isthmus.errors import (
    BackHalfError,
    BusyError,
    ConfigError,
    DrainingError,
    IsthmusError,
    LinkError,
    ReplayError,
)
from isthmus.server.config import MqttConfig
from isthmus.server.delivery import AckOrder, Backoff
from isthmus.server.jsonform import answer_json, peek_sequence, refusal_json
from isthmus.server.mqtt_client import MqttConnection, MqttSettings, publish_properties
from isthmus.server.topics import Address, Topics
from isthmus.server.types import FrameService, Origin

__all__ = ["MqttCounts", "MqttLink", "serve_mqtt"]

_log = structlog.get_logger("isthmus.server")

_CONTENT = "application/json"
_PACKET_OVERHEAD = 1 << 16
_STABLE_S = 30.0
_BUSY_S = 5.0
_BUSY_FIRST_S = 0.01


@dataclass
class MqttCounts:
    """What went over the link.

    frames       that arrived, those that came again among them
    redelivered  of them, those that the broker sent again
    answered     results published and acknowledged by the broker
    refused      of them, refusals
    unpublished  results that the broker did not take (its reason is in the log)
    dropped      frames of quality 0 that came faster than they could be answered
    connections  that were made
    """

    frames: int = 0
    redelivered: int = 0
    answered: int = 0
    refused: int = 0
    unpublished: int = 0
    dropped: int = 0
    connections: int = 0


class _Session:
    """One connection, and the order in which its frames are acknowledged."""

    def __init__(
        self, settings: MqttSettings, arrived: Callable[[_Session, MQTTMessage], None]
    ) -> None:
        self.order = AckOrder()
        self.connection = MqttConnection(settings, lambda message: arrived(self, message))


async def serve_mqtt(
    service: FrameService, config: MqttConfig, *, body_bytes: int = 4 << 20, drain_s: float = 30.0
) -> MqttLink:
    """Starts the link and returns at once; it connects, and connects again, by itself.

    ``aclose`` of the result drains it. ConfigError where a file of ``config`` cannot be used.
    """
    settings = MqttSettings(
        host=config.host,
        port=config.port,
        client_id=config.client_id,
        receive_maximum=config.receive_maximum,
        session_expiry_s=config.session_expiry_s,
        packet_bytes_max=body_bytes + _PACKET_OVERHEAD,
        username=config.username,
        password=_password(config),
        tls=_tls(config),
    )
    return MqttLink(service, settings, Topics(config.root, config.group), drain_s)


class MqttLink:
    """The running link. ``connected`` is set while frames can come."""

    def __init__(
        self, service: FrameService, settings: MqttSettings, topics: Topics, drain_s: float
    ) -> None:
        self.counts = MqttCounts()
        self.connected = asyncio.Event()
        self._service = service
        self._settings = settings
        self._topics = topics
        self._drain_s = drain_s
        self._session: _Session | None = None
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        # Results by frame, until the broker knows that they are done with: a frame that comes
        # again after a broken connection is not computed again.
        self._results: dict[tuple[str, bytes], asyncio.Task[bytes | None]] = {}
        self._keeper = asyncio.create_task(self._keep_connected())

    async def aclose(self) -> None:
        """Takes no further frame, answers those it has, and leaves; the session stays.

        Frames that are not answered by then stay with the broker.
        """
        self._closing = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._drain_s)
        for task in [*self._tasks, *self._results.values(), self._keeper]:
            task.cancel()
        await asyncio.gather(
            *self._tasks, *self._results.values(), self._keeper, return_exceptions=True
        )
        self._results.clear()

    async def _keep_connected(self) -> None:
        backoff = Backoff()
        while True:
            session = _Session(self._settings, self._arrived)
            try:
                reason = await self._one_connection(session, backoff)
            except LinkError as error:
                reason = str(error)
            finally:
                self.connected.clear()
                self._session = None
                await session.connection.close()
            if session.connection.taken_over:
                backoff.slow()
                reason = f"another client is called {self._settings.client_id!r}: {reason}"
            wait = backoff.wait()
            _log.warning("mqtt disconnected", reason=reason, again_in_s=round(wait, 2))
            await asyncio.sleep(wait)

    async def _one_connection(self, session: _Session, backoff: Backoff) -> str:
        """From CONNECT to the end; the end's reason."""
        self._session = session
        kept = await session.connection.open()
        if not kept:
            self._results.clear()  # the broker forgot: nothing comes again
        await session.connection.subscribe(self._topics.subscription)
        self.counts.connections += 1
        self.connected.set()
        _log.info(
            "mqtt connected", broker=f"{self._settings.host}:{self._settings.port}",
            topics=self._topics.subscription, session_kept=kept,
        )  # fmt: skip
        opened = time.monotonic()
        reason = await asyncio.shield(session.connection.closed)
        if time.monotonic() - opened > _STABLE_S:
            backoff.reset()  # not before: two servers of one name would part each other for ever
        return reason

    def _arrived(self, session: _Session, message: MQTTMessage) -> None:
        if self._closing:
            return  # neither answered nor acknowledged: it comes again to the next server
        self.counts.frames += 1
        self.counts.redelivered += message.dup
        if not message.qos and len(self._tasks) > 2 * self._settings.receive_maximum:
            self.counts.dropped += 1  # quality 0 promises nothing, and nothing else bounds it
            return
        if message.qos:
            session.order.arrived(message.mid)
        task = asyncio.create_task(self._handle(session, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, session: _Session, message: MQTTMessage) -> None:
        """One frame, from its arrival to its acknowledgement."""
        started = time.monotonic()
        try:
            address = self._topics.parse(message.topic)
        except (LinkError, UnicodeDecodeError) as wrong:
            _log.warning("mqtt topic", error=str(wrong))  # there is nobody to tell
            self._acknowledge(session, message)
            return
        payload = bytes(message.payload)
        key = (message.topic, payload)
        work = self._results.get(key) if message.dup else None
        if work is None:
            work = asyncio.create_task(self._answer(address, payload))
            self._keep(key, work)
        await asyncio.wait([work])
        error = work.exception()
        if isinstance(error, DrainingError):
            return  # the broker keeps it for the next server
        result = work.result() if error is None else _refusal(error, payload)
        if result is None:
            self._forget(key, work)
            self._acknowledge(session, message)
            return
        properties = message.properties
        topic = self._topics.answer_to(address, getattr(properties, "ResponseTopic", None))
        try:
            code = await session.connection.publish(
                topic, result, _result_properties(properties, time.monotonic() - started)
            )
        except LinkError:
            return  # it comes again on the next connection
        if code.is_failure:
            self.counts.unpublished += 1
            _log.error("mqtt result not taken", topic=topic, reason=str(code))
        else:
            self.counts.answered += 1
            self.counts.refused += error is not None
        self._forget(key, work)
        self._acknowledge(session, message)

    def _forget(self, key: tuple[str, bytes], work: asyncio.Task[bytes | None]) -> None:
        if self._results.get(key) is work:
            del self._results[key]

    def _acknowledge(self, session: _Session, message: MQTTMessage) -> None:
        if message.qos:
            for number in session.order.done(message.mid):
                session.connection.acknowledge(number)

    def _keep(self, key: tuple[str, bytes], work: asyncio.Task[bytes | None]) -> None:
        self._results[key] = work
        if len(self._results) > 2 * self._settings.receive_maximum:
            for old, task in self._results.items():
                if task.done():
                    del self._results[old]
                    return

    async def _answer(self, address: Address, payload: bytes) -> bytes | None:
        """Asks the service; while its queue is full the frame waits here, which holds the broker.

        None for a packet whose frame is answered where its first packet came in.
        """
        origin = Origin("mqtt", device=address.device)
        wait, end = _BUSY_FIRST_S, time.monotonic() + _BUSY_S
        busy: BusyError | None = None
        while True:
            try:
                answer = await self._service.receive(payload, origin, model=address.bundle)
            except BusyError as error:
                busy = error
                if time.monotonic() + wait > end:
                    raise
            except ReplayError as error:  # a packet's counter may be used up before room is found
                raise busy or error from None
            else:
                return None if answer is None else answer_json(answer)
            await asyncio.sleep(wait)
            wait = min(2.0 * wait, 0.5)


def _refusal(error: BaseException, payload: bytes) -> bytes:
    """What is published instead of an answer."""
    if not isinstance(error, IsthmusError):
        # A defect of ours must not keep the frame, nor its place in the window, for ever.
        _log.error("internal error", link="mqtt", exc_info=error)
        error = BackHalfError("server", "internal error")
    return refusal_json(error, peek_sequence(payload))


def _result_properties(frame: Properties | None, seconds: float) -> Properties:
    """A result lives no longer than its frame would have."""
    expiry = getattr(frame, "MessageExpiryInterval", None)
    return publish_properties(
        correlation=getattr(frame, "CorrelationData", None),
        expiry_s=None if expiry is None else max(1, int(expiry - seconds)),
        content_type=_CONTENT,
    )


def _password(config: MqttConfig) -> str | None:
    if config.password_file is None:
        return None
    try:
        return config.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"mqtt.password_file: {config.password_file}", f"cannot be read ({error})"
        ) from error


def _tls(config: MqttConfig) -> ssl.SSLContext | None:
    if not config.tls:
        if config.ca or config.certificate or config.key:
            raise ConfigError(
                "mqtt.tls", "is false beside ca, certificate or key", remedy="set tls = true"
            )
        return None
    if (config.certificate is None) != (config.key is None):
        raise ConfigError("mqtt", "certificate and key belong together")
    try:
        context = ssl.create_default_context(cafile=config.ca)
        if config.certificate is not None:
            context.load_cert_chain(config.certificate, config.key)
    except (OSError, ValueError) as error:
        raise ConfigError("mqtt", f"TLS files cannot be used ({error})") from error
    return context
