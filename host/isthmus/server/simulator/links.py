"""The sender's end of every link: what a board's network stack does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import ssl
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

from isthmus.errors import BusyError, LinkError, OptionError
from isthmus.server.simulator.replies import Pending, Reply, read_compact, read_json

__all__ = ["SCHEMES", "Link", "LinkOptions", "open_link"]

SCHEMES = ("http", "https", "grpc", "mqtt", "mqtts", "udp", "serial")
_PORTS = {"http": 8080, "https": 8443, "grpc": 8081, "mqtt": 1883, "mqtts": 8883, "udp": 8082}
_BAUD = 115200


@dataclass(frozen=True)
class LinkOptions:
    """Where to and how. ``name`` is the model's, ``connections`` 0 leaves their number to us.

    Boards that seal are called by their number, from ``first_number`` on; others ``prefix`` and 0,
    1, 2 ...: a name of the run's own keeps runs apart that share a server.
    """

    url: str
    name: str
    devices: int
    connections: int = 0
    ca: Path | None = None
    username: str = ""
    password: str | None = None
    first_number: int | None = None
    prefix: str = field(default_factory=lambda: f"sim-{secrets.token_hex(3)}-")

    def device_name(self, device: int) -> str:
        """What device ``device`` of the run is called."""
        if self.first_number is not None:
            return str(self.first_number + device)
        return f"{self.prefix}{device}"

    def count(self, most: int) -> int:
        """Connections to open."""
        return min(self.devices, self.connections or most)


class Link(Protocol):
    """A link, from the board's side. ``in_packets``: frames go in the packets they consist of."""

    in_packets: bool

    @property
    def unexpected(self) -> int:
        """Replies that no frame waited for: second answers, as a rule."""
        ...

    async def open(self) -> None:
        """Connects; LinkError."""

    async def send(self, device: int, sequence: int, units: list[bytes]) -> Reply:
        """Sends a frame (one unit, or its packets) of ``device`` and waits for the reply."""
        ...

    async def close(self) -> None:
        """Disconnects."""


def open_link(options: LinkOptions) -> Link:
    """The link to ``options.url``, not yet connected; OptionError where that is none."""
    parts = urlsplit(options.url)
    if parts.scheme == "serial":
        if options.devices != 1:
            raise OptionError("--devices", f"is {options.devices}", allowed="1 on a serial port")
        return SerialSender(unquote(parts.path), parts.query)
    try:
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        host, port = "", 0
    if parts.scheme not in SCHEMES or not host:
        raise OptionError(
            "--to", f"is {options.url!r:.100}",
            allowed="http://HOST:PORT, https://, grpc://, mqtt://HOST:PORT/ROOT, mqtts://, "
            "udp://HOST:PORT or serial:///dev/NAME?baud=115200",
        )  # fmt: skip
    if parts.scheme in ("http", "https"):
        return HttpSender(host, port, options, _tls(options) if parts.scheme == "https" else None)
    if parts.scheme == "udp":
        return UdpSender(host, port)
    if parts.scheme == "grpc":
        from isthmus.server.simulator.grpc_link import GrpcSender

        return GrpcSender(host, port, options)
    from isthmus.server.simulator.mqtt_link import MqttSender

    root = unquote(parts.path).strip("/") or "isthmus"
    tls = _tls(options) if parts.scheme == "mqtts" else None
    return MqttSender(host, port, root, options, tls)


def _tls(options: LinkOptions) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=options.ca)
    except (OSError, ValueError) as error:
        raise OptionError("--ca", f"cannot be used ({error})") from error


def authority(host: str, port: int) -> str:
    """HOST:PORT, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def cannot_reach(host: str, port: int, error: Exception) -> LinkError:
    """What is said where a server does not answer."""
    reason = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        reason = os.strerror(error.errno)
    return LinkError(
        authority(host, port), f"cannot be reached ({reason})", remedy="start the server"
    )


class HttpSender:
    """POST /v2/models/NAME/frames over a pool of kept connections."""

    in_packets = False
    unexpected = 0

    def __init__(
        self, host: str, port: int, options: LinkOptions, tls: ssl.SSLContext | None
    ) -> None:
        self._where = (host, port)
        self._options = options
        self._tls = tls
        self._count = options.count(64)
        self._free: asyncio.LifoQueue[_HttpConnection] = asyncio.LifoQueue()
        self._path = f"/v2/models/{quote(options.name)}/frames"

    async def open(self) -> None:
        """Opens one connection, to see that somebody listens; the others when they are needed."""
        for _ in range(self._count):
            self._free.put_nowait(_HttpConnection(self._where, self._tls))
        first = self._free.get_nowait()
        self._free.put_nowait(first)
        await first.open()

    async def send(self, device: int, sequence: int, units: list[bytes]) -> Reply:
        """One request; a connection that the server closed in between is opened once more."""
        connection = await self._free.get()
        (unit,) = units
        name = self._options.device_name(device)
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: {authority(*self._where)}\r\n"
            f"Content-Length: {len(unit)}\r\nX-Isthmus-Device: {name}\r\n"
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode("ascii")
        try:
            return read_json(await connection.request(head + unit))
        except BaseException:
            connection.close()  # what it still holds belongs to nobody
            raise
        finally:
            self._free.put_nowait(connection)

    async def close(self) -> None:
        """Closes what is open."""
        while not self._free.empty():
            await self._free.get_nowait().aclose()


class _HttpConnection:
    def __init__(self, where: tuple[str, int], tls: ssl.SSLContext | None) -> None:
        self._where = where
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        try:
            self._streams = await asyncio.open_connection(*self._where, ssl=self._tls)
        except OSError as error:
            raise cannot_reach(*self._where, error) from error

    async def request(self, data: bytes) -> bytes:
        """The body of the answer."""
        kept = self._streams is not None
        try:
            return await self._once(data)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            if not kept:
                raise cannot_reach(*self._where, error) from error
        try:  # it was open since the last request, and the server had closed it
            return await self._once(data)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise cannot_reach(*self._where, error) from error

    async def _once(self, data: bytes) -> bytes:
        if self._streams is None:
            await self.open()
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(data)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise LinkError("http reply", "has too long a head") from error
        lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        fields = {name.strip().lower(): value.strip() for name, _, value in lines}
        length = fields.get(b"content-length", b"")
        if not length.isdigit():
            raise LinkError("http reply", "tells no length", allowed="Content-Length")
        body = await reader.readexactly(int(length))
        if fields.get(b"connection", b"").lower() == b"close":
            self.close()
        return body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def aclose(self) -> None:
        if self._streams is not None:
            writer = self._streams[1]
            self.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class _Socket(asyncio.DatagramProtocol):
    """One device's socket."""

    def __init__(self) -> None:
        self.pending = Pending()
        self.bad = 0

    def datagram_received(self, data: bytes, addr: object) -> None:
        try:
            self.pending.arrived(*read_compact(data))
        except LinkError:
            self.bad += 1


class UdpSender:
    """Datagrams; every device has a socket, since a device is what its address is."""

    in_packets = True

    def __init__(self, host: str, port: int) -> None:
        self._where = (host, port)
        self._sockets: dict[int, tuple[asyncio.DatagramTransport, _Socket]] = {}

    @property
    def unexpected(self) -> int:
        """Replies that no frame waited for."""
        return sum(socket.pending.unexpected + socket.bad for _, socket in self._sockets.values())

    async def open(self) -> None:
        """Nothing: there is no connection."""

    async def send(self, device: int, sequence: int, units: list[bytes]) -> Reply:
        """One datagram for each unit."""
        if device not in self._sockets:
            loop = asyncio.get_running_loop()
            try:
                self._sockets[device] = await loop.create_datagram_endpoint(
                    _Socket, remote_addr=self._where
                )
            except OSError as error:
                raise cannot_reach(*self._where, error) from error
        transport, socket = self._sockets[device]
        future = socket.pending.expect(sequence)
        try:
            for unit in units:
                transport.sendto(unit)
            return await future
        finally:
            socket.pending.forget(sequence, future)

    async def close(self) -> None:
        """Closes the sockets."""
        for transport, _ in self._sockets.values():
            transport.close()
        await asyncio.sleep(0)  # the loop closes them in its next turn


class SerialSender:
    """COBS frames on a serial port, one device."""

    in_packets = True

    def __init__(self, port: str, query: str) -> None:
        from isthmus.server.cobs import FrameReader

        self._port = port
        name, _, value = query.partition("=")
        if not port or (query and (name != "baud" or not value.isdecimal())):
            raise OptionError("--to", "is no serial port", allowed="serial:///dev/NAME?baud=N")
        self._baud = int(value) if query else _BAUD
        self._pending = Pending()
        self._reader = FrameReader(1 << 16)
        self._serial: _Serial | None = None
        self._out = bytearray()

    @property
    def unexpected(self) -> int:
        """Replies that no frame waited for."""
        return self._pending.unexpected

    async def open(self) -> None:
        """Opens the port."""
        import serial

        try:
            self._serial = serial.Serial(self._port, self._baud, timeout=0, write_timeout=0)
        except (serial.SerialException, ValueError) as error:
            raise LinkError(self._port, f"cannot be opened ({error})") from error
        asyncio.get_running_loop().add_reader(self._serial.fileno(), self._read)

    def _read(self) -> None:
        from isthmus.server.cobs import KIND_ANSWER

        assert self._serial is not None
        for frame in self._reader.feed(self._serial.read(1 << 16)):
            if isinstance(frame, LinkError) or frame.kind != KIND_ANSWER:
                self._pending.unexpected += 1
                continue
            with contextlib.suppress(LinkError):
                self._pending.arrived(*read_compact(frame.payload))

    def _write(self) -> None:
        assert self._serial is not None
        loop = asyncio.get_running_loop()
        sent = self._serial.write(bytes(self._out))
        del self._out[: sent or 0]
        loop.remove_writer(self._serial.fileno())
        if self._out:
            loop.add_writer(self._serial.fileno(), self._write)

    async def send(self, device: int, sequence: int, units: list[bytes]) -> Reply:
        """One COBS frame for each unit, as fast as the line takes them."""
        from isthmus.server.cobs import KIND_UNIT, encode

        if len(self._out) > 1 << 20:
            raise BusyError(self._port, "takes bytes more slowly than they are made")
        future = self._pending.expect(sequence)
        try:
            for unit in units:
                self._out += encode(KIND_UNIT, unit)
            self._write()
            return await future
        finally:
            self._pending.forget(sequence, future)

    async def close(self) -> None:
        """Closes the port."""
        if self._serial is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._serial.fileno())
            loop.remove_writer(self._serial.fileno())
            self._serial.close()


class _Serial(Protocol):
    def fileno(self) -> int: ...
    def read(self, size: int) -> bytes: ...
    def write(self, data: bytes) -> int | None: ...
    def close(self) -> None: ...


def correlation(device: int, sequence: int) -> bytes:
    """Six bytes that name a frame of the run."""
    return struct.pack("<IH", device, sequence)
