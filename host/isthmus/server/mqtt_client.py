"""One MQTT 5 connection in an event loop: paho-mqtt with acknowledgements by hand.

aiomqtt acknowledges a message when it arrives. Here the caller says when.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import paho.mqtt.client as paho
from paho.mqtt import MQTTException
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from isthmus.errors import LinkError

__all__ = ["TAKEN_OVER", "MqttConnection", "MqttSettings", "publish_properties"]

_CONNECT_S = 5.0
_GOODBYE_S = 1.0
_MISC_S = 1.0
#: Linux forgets it now and then, so it is set again after each read.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
#: Reason code "session taken over": another client has the same name.
TAKEN_OVER = 0x8E


@dataclass(frozen=True)
class MqttSettings:
    """How to connect. ``tls`` is an SSL context; a session of 0 seconds is a clean start."""

    host: str
    port: int
    client_id: str
    receive_maximum: int = 64
    session_expiry_s: int = 0
    packet_bytes_max: int = 0
    keep_alive_s: int = 30
    username: str = ""
    password: str | None = None
    tls: ssl.SSLContext | None = None


def publish_properties(
    *, response_topic: str = "", correlation: bytes | None = None, expiry_s: int | None = None,
    content_type: str = "",
) -> Properties:  # fmt: skip
    """The properties of a message."""
    out = _properties(PacketTypes.PUBLISH)
    if response_topic:
        out.ResponseTopic = response_topic
    if correlation is not None:
        out.CorrelationData = correlation
    if expiry_s is not None:
        out.MessageExpiryInterval = expiry_s
    if content_type:
        out.ContentType = content_type
    return out


@dataclass(frozen=True, slots=True)
class _Message:
    topic: str
    payload: bytes
    properties: Properties | None
    done: asyncio.Future[ReasonCode]


class _ClosingSocket(ssl.SSLSocket):
    """Closed where the handshake fails: paho forgets it."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (OSError, ValueError):
            self.close()
            raise


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]


class MqttConnection:
    """A connection from CONNECT to its end; a new one is a new object.

    ``closed`` is a future that gets the reason of the end, ``taken_over`` says whether another
    client of the same name was it. All of it runs on the event loop but the connecting itself.
    """

    def __init__(
        self, settings: MqttSettings, on_message: Callable[[paho.MQTTMessage], None]
    ) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[bool] = self._loop.create_future()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self.taken_over = False
        self._window = 65535  # messages that the broker takes before it acknowledged the first
        self._published: dict[int, asyncio.Future[ReasonCode]] = {}
        self._held: deque[_Message] = deque()
        self._subscribed: dict[int, asyncio.Future[ReasonCode]] = {}
        self._descriptor = -1
        self._socket: socket.socket
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=settings.client_id, protocol=paho.MQTTv5,
            reconnect_on_failure=False, manual_ack=True,
        )  # fmt: skip
        client.connect_timeout = _CONNECT_S
        client.max_queued_messages_set(0)
        client.max_inflight_messages_set(0)  # no bound of paho's: the broker says its own
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = lambda _client, _data, message: on_message(message)
        client.on_socket_close = self._on_socket_close
        if settings.username:
            client.username_pw_set(settings.username, settings.password)
        if settings.tls is not None:
            settings.tls.sslsocket_class = _ClosingSocket
            client.tls_set_context(settings.tls)
        self._client = client

    async def open(self) -> bool:
        """Connects; whether the broker had kept the session. LinkError says why it did not."""
        connecting = self._loop.run_in_executor(None, self._connect)
        try:
            await asyncio.shield(connecting)
            self._attach()
            async with asyncio.timeout(_CONNECT_S):
                return await asyncio.shield(self._opened)
        except (OSError, ValueError) as error:  # of ours TimeoutError, of TLS SSLError
            await self.close()
            raise LinkError(self._where, f"cannot be reached ({_reason(error)})") from error
        except LinkError:
            await self.close()
            raise
        except asyncio.CancelledError:
            await asyncio.wait([connecting])
            self._drop()
            raise

    @property
    def _where(self) -> str:
        return f"mqtt broker {self._settings.host}:{self._settings.port}"

    def _connect(self) -> None:
        settings = self._settings
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = settings.session_expiry_s
        properties.ReceiveMaximum = settings.receive_maximum
        if settings.packet_bytes_max:
            properties.MaximumPacketSize = settings.packet_bytes_max
        self._client.connect(
            settings.host, settings.port, settings.keep_alive_s,
            clean_start=settings.session_expiry_s == 0, properties=properties,
        )  # fmt: skip

    def _attach(self) -> None:
        sock = self._client.socket()
        if sock is None:
            raise LinkError(self._where, "closed the connection")
        # Small packets one after the other: with Nagle's algorithm each waits for the far end's
        # delayed acknowledgement, 40 ms.
        self._socket = cast(socket.socket, sock)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._descriptor = sock.fileno()
        self._client.on_socket_register_write = self._want_write
        self._loop.add_reader(self._descriptor, self._read)
        self._write()
        self._misc()

    def _misc(self) -> None:
        self._client.loop_misc()
        if not self.closed.done():
            self._timer = self._loop.call_later(_MISC_S, self._misc)

    def _read(self) -> None:
        try:
            self._client.loop_read()
            sock = self._client.socket()
            if sock is not None and _QUICKACK is not None:
                # mosquitto leaves Nagle's algorithm on: do not let it wait either
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            while isinstance(sock, ssl.SSLSocket) and sock.pending():
                # decrypted already: the event loop does not see it
                self._client.loop_read()
                sock = self._client.socket()
        except OSError as error:
            self._end(_reason(error))
            self._drop()
        except (ValueError, IndexError, KeyError, struct.error, MQTTException) as error:
            self._end(f"what the broker sent is no MQTT 5 ({_reason(error)})")
            self._drop()

    def _want_write(self, *_: Any) -> None:
        # not at once: what this turn of the loop still adds goes along
        self._loop.call_soon(self._write)

    def _write(self) -> None:
        if self.closed.done() or self._descriptor < 0:
            return
        self._client.loop_write()
        wanted = self._client.want_write() and self._descriptor >= 0
        if wanted and not self._writing:
            self._loop.add_writer(self._descriptor, self._write)
        elif not wanted and self._writing and self._descriptor >= 0:
            self._loop.remove_writer(self._descriptor)
        self._writing = wanted

    async def subscribe(self, topic: str) -> None:
        """Subscribes with QoS 1, without retained messages; LinkError where it is refused."""
        options = SubscribeOptions(
            qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND, retainAsPublished=False
        )
        _, number = self._client.subscribe(topic, options=options)
        if number is None:
            raise LinkError(self._where, "closed the connection")
        done = self._subscribed[number] = self._loop.create_future()
        code = await done
        if code.is_failure:
            raise LinkError(self._where, f"refused the subscription to {topic!r} ({code})")

    def publish(
        self, topic: str, payload: bytes, properties: Properties | None = None
    ) -> asyncio.Future[ReasonCode]:
        """Sends with QoS 1; the future gets the broker's answer, or LinkError at the end."""
        done: asyncio.Future[ReasonCode] = self._loop.create_future()
        if self.closed.done():
            done.set_exception(LinkError(self._where, "connection lost"))
            return done
        self._held.append(_Message(topic, payload, properties, done))
        self._send_held()
        return done

    def _send_held(self) -> None:
        while self._held and len(self._published) < self._window:
            message = self._held.popleft()
            info = self._client.publish(
                message.topic, message.payload, qos=1, properties=message.properties
            )
            self._published[info.mid] = message.done

    def acknowledge(self, number: int) -> None:
        """Tells the broker that message ``number`` of this connection is done with."""
        if not self.closed.done():
            self._client.ack(number, 1)

    async def close(self) -> None:
        """Says goodbye where that is still possible; the session stays at the broker."""
        if self._client.socket() is not None and not self.closed.done() and self._opened.done():
            self._client.disconnect()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await asyncio.shield(self.closed)
        self._drop()

    def _drop(self) -> None:
        sock = self._client.socket()
        if sock is not None:
            with contextlib.suppress(OSError):
                cast(socket.socket, sock).shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError, ValueError, IndexError, struct.error):
                while self._client.socket() is not None:  # reads what is left, then the end
                    self._client.loop_read()
        self._end("closed")

    def _end(self, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.closed.done():
            return
        self.closed.set_result(reason)
        held = [message.done for message in self._held]
        waiting = [*self._published.values(), *held, *self._subscribed.values()]
        self._published.clear()
        self._held.clear()
        self._subscribed.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(LinkError(self._where, f"connection lost ({reason})"))
                future.exception()  # whoever waits gets it; nobody need
        if not self._opened.done():
            self._opened.set_exception(LinkError(self._where, reason))
            self._opened.exception()

    def _on_connect(
        self, _client: paho.Client, _data: Any, flags: Any, code: ReasonCode,
        properties: Properties | None,
    ) -> None:  # fmt: skip
        if code.is_failure:
            self._end(f"refused the connection ({code})")
            return
        if not self._opened.done():
            self._window = getattr(properties, "ReceiveMaximum", self._window)
            self._opened.set_result(bool(flags.session_present))

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, code: ReasonCode, _more: Any
    ) -> None:
        self.taken_over = code.value == TAKEN_OVER
        self._end(str(code))

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, number: int, codes: list[ReasonCode], _more: Any
    ) -> None:
        future = self._subscribed.pop(number, None)
        if future is not None and not future.done():
            future.set_result(codes[0])

    def _on_publish(
        self, _client: paho.Client, _data: Any, number: int, code: ReasonCode, _more: Any
    ) -> None:
        future = self._published.pop(number, None)
        if future is not None and not future.done():
            future.set_result(code)
        self._send_held()

    def _on_socket_close(self, _client: paho.Client, _data: Any, _sock: Any) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__
