"""The Open Inference Protocol over HTTP, and plain posts of frames: ``oip_routes``.

Handlers are ASGI callables without request or response objects: a frame's way through here is
short beside its decoding. What is in a body is read elsewhere (oip, bodies); here it is received,
and what came of it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable
from urllib.parse import parse_qsl

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from isthmus.errors import IsthmusError, RequestError
from isthmus.server.asgi import BINARY, send_body
from isthmus.server.bodies import check_length, inflate, too_large
from isthmus.server.compact import pack_answer, pack_refusal
from isthmus.server.infer import http_status, infer, most_frames
from isthmus.server.jsonform import answer_json, dump, peek_sequence, refusal_json
from isthmus.server.oip import InferRequest, device_name, parse_infer
from isthmus.server.oip_answer import (
    OipService,
    find_generations,
    infer_body,
    model_metadata,
    server_metadata,
)
from isthmus.server.openapi import openapi_routes
from isthmus.server.types import Origin

__all__ = ["oip_routes"]

#: Bodies above this are decompressed and parsed in a thread, so that others need not wait.
_LARGE = 1 << 16
#: Lengths of more digits are asked about before they are read.
_LONG_DIGITS = 5
_MODEL = "/v2/models/{name}"
_VERSION = _MODEL + "/versions/{version}"


def oip_routes(service: OipService) -> list[Route]:
    """The routes of the protocol, of frames and of their description, for ``service``."""

    def get(path: str, answer: Callable[[dict[str, str]], tuple[int, dict[str, Any]]]) -> Route:
        return Route(path, _Get(answer), methods=["GET"])

    def live(_: dict[str, str]) -> tuple[int, dict[str, Any]]:
        return 200, {"live": True}

    def ready(_: dict[str, str]) -> tuple[int, dict[str, Any]]:
        return (200 if service.ready else 503), {"ready": service.ready}

    def models(_: dict[str, str]) -> tuple[int, dict[str, Any]]:
        return 200, {"models": sorted({one.name for one in service.fleet.models()})}

    def model(path: dict[str, str]) -> tuple[int, dict[str, Any]]:
        found = find_generations(service.fleet, path["name"], path.get("version", ""))
        return 200, model_metadata(found, service.config.top)

    def model_ready(path: dict[str, str]) -> tuple[int, dict[str, Any]]:
        found = find_generations(service.fleet, path["name"], path.get("version", ""))
        return (200 if service.ready else 503), {"name": found[0].name, "ready": service.ready}

    infer_app, frames_app = _Infer(service), _Frames(service)
    routes = [
        Route(f"{_MODEL}/infer", infer_app, methods=["POST"]),
        Route(f"{_MODEL}/frames", frames_app, methods=["POST"]),
        Route("/v2/frames", frames_app, methods=["POST"]),
        Route(f"{_VERSION}/infer", infer_app, methods=["POST"]),
        Route(f"{_VERSION}/frames", frames_app, methods=["POST"]),
        get("/v2/health/live", live),
        get("/v2/health/ready", ready),
        get("/v2/models", models),
        get("/v2", lambda _: (200, server_metadata())),
    ]
    for path in (_MODEL, _VERSION):
        routes += [get(path, model), get(f"{path}/ready", model_ready)]
    return routes + openapi_routes(service)


def _error_body(error: IsthmusError) -> bytes:
    """The protocol's error: clients expect a text at ``error``."""
    return dump({"error": str(error), "code": error.code, "name": error.name, "path": error.path})


class _Get:
    """What is asked without a body; ``answer`` gets the path's parameters."""

    def __init__(self, answer: Callable[[dict[str, str]], tuple[int, dict[str, Any]]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, content = self._answer(scope["path_params"])
        except IsthmusError as error:
            await send_body(send, http_status(error), _error_body(error))
            return
        await send_body(send, status, dump(content))


class _Head:
    """The headers that matter here."""

    __slots__ = ("accept", "device", "encoding", "json_bytes", "length", "unread")

    def __init__(self, scope: Scope) -> None:
        self.accept = b""
        self.device = b""
        self.encoding = b""
        self.json_bytes = b""
        self.length = b""
        #: Whether the body may still be on its way.
        self.unread = True
        for name, value in scope["headers"]:
            if name == b"content-length":
                self.length = value
            elif name == b"accept":
                self.accept = value
            elif name == b"x-isthmus-device":
                self.device = value
            elif name == b"content-encoding":
                self.encoding = value.lower()
            elif name == b"inference-header-content-length":
                self.json_bytes = value


class _DisconnectedError(Exception):
    """The client went away: nobody is left to be answered."""


@runtime_checkable
class _Gate(Protocol):
    """A service that knows who is shut out, and counts what is refused before it is asked."""

    def check(self, origin: Origin) -> None: ...

    def report(self, origin: Origin, error: IsthmusError) -> None: ...


class _Posts:
    """What takes a body."""

    def __init__(self, service: OipService) -> None:
        self._service = service
        self._limit = service.config.limits.body_bytes
        self._seconds = service.config.limits.request_s
        self._most = most_frames(service.config.limits)
        self._gate = service if isinstance(service, _Gate) else None

    async def _received_from(self, origin: Origin, head: _Head, receive: Receive) -> bytes:
        """The body; a long one of a sender who is shut out is not read, a wrong one is counted."""
        gate = self._gate
        if gate is not None and (not head.length or len(head.length) > _LONG_DIGITS):
            gate.check(origin)
        try:
            return await self._body(head, receive)
        except IsthmusError as error:
            if gate is not None:
                gate.report(origin, error)
            raise

    async def _body(self, head: _Head, receive: Receive) -> bytes:
        """The body, plain; never holds more than the limit and one piece."""
        if head.length:
            check_length(head.length, self._limit)
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._received(receive)
        except TimeoutError:
            raise RequestError("body", f"did not arrive in {self._seconds:g} s") from None
        head.unread = False
        if not head.encoding or head.encoding == b"identity":
            return body
        encoding = head.encoding.decode("latin-1")
        if len(body) > _LARGE:
            return await asyncio.to_thread(inflate, body, encoding, self._limit)
        return inflate(body, encoding, self._limit)

    async def _received(self, receive: Receive) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _DisconnectedError
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > self._limit:
                raise too_large(f"has at least {size} bytes", self._limit)
            if not message.get("more_body"):
                break
            pieces.append(piece)
        return b"".join([*pieces, piece]) if pieces else piece


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _header_text(value: bytes) -> str:
    """UTF-8, as in topics and queries, or else Latin-1, as headers were once defined."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _device(scope: Scope, head: _Head) -> str:
    """The sender as the header X-Isthmus-Device says, else the query's ``device``."""
    if head.device:
        return device_name(_header_text(head.device), "X-Isthmus-Device")
    query: bytes = scope["query_string"]
    if not query:
        return ""
    try:
        pairs = parse_qsl(query.decode("latin-1"), max_num_fields=16)
    except ValueError:
        raise RequestError("query", "has too many fields", allowed="<= 16") from None
    for name, value in pairs:
        if name == "device":
            return device_name(value, "query.device")
    return ""


class _Frames(_Posts):
    """POST of one frame as it is: for a board that can do no more than post bytes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = _Head(scope)
        compact = BINARY in head.accept
        sequence: int | None = None
        try:
            path = scope["path_params"]
            origin = Origin("http", _device(scope, head), _peer(scope))
            frame = await self._received_from(origin, head, receive)
            sequence = peek_sequence(frame)
            answer = await self._service.answer(
                frame,
                origin,
                model=path.get("name", ""),
                version=path.get("version", ""),
            )
        except _DisconnectedError:
            return
        except IsthmusError as error:
            status = http_status(error)
            if compact:
                body = pack_refusal(error, sequence or 0)
                await send_body(send, status, body, BINARY, close=head.unread)
            else:
                await send_body(send, status, refusal_json(error, sequence), close=head.unread)
            return
        if compact:
            await send_body(send, 200, pack_answer(answer), BINARY)
        else:
            await send_body(send, 200, answer_json(answer))


class _Infer(_Posts):
    """POST of a request of the protocol."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = _Head(scope)
        try:
            path = scope["path_params"]
            sender = Origin("http", _device(scope, head), _peer(scope))
            body = await self._received_from(sender, head, receive)
            request = await self._request(sender, head, body)
            origin = replace(sender, device=request.device) if request.device else sender
            answers = await infer(
                self._service, request.frames, origin, path["name"], path.get("version", "")
            )
            content, json_bytes = infer_body(answers, request)
        except _DisconnectedError:
            return
        except IsthmusError as error:
            await send_body(send, http_status(error), _error_body(error), close=head.unread)
            return
        if json_bytes is None:
            await send_body(send, 200, content)
        else:
            length = (b"inference-header-content-length", b"%d" % json_bytes)
            await send_body(send, 200, content, BINARY, length)

    async def _request(self, origin: Origin, head: _Head, body: bytes) -> InferRequest:
        try:
            return await self._parsed(head, body)
        except IsthmusError as error:
            if self._gate is not None:
                self._gate.report(origin, error)
            raise

    async def _parsed(self, head: _Head, body: bytes) -> InferRequest:
        json_bytes: int | None = None
        if head.json_bytes:
            if len(head.json_bytes) > 20 or not head.json_bytes.isdigit():
                raise RequestError("Inference-Header-Content-Length", "is no number")
            json_bytes = int(head.json_bytes)
        if len(body) > _LARGE:
            return await asyncio.to_thread(parse_infer, body, json_bytes, self._most)
        return parse_infer(body, json_bytes, self._most)
