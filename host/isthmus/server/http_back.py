"""Back halves alone over HTTP: ``back_routes``, for servers that decode elsewhere.

Each bundle NAME is one more model of the Open Inference Protocol, ``NAME.back``: one FP32 input,
``features``, and the back half's outputs. What it may be sent is bounded by the bundle.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from isthmus.errors import IsthmusError, RequestError
from isthmus.server.asgi import BINARY, send_body
from isthmus.server.bodies import check_length, too_large
from isthmus.server.features import INPUT, pack_outputs, read_features
from isthmus.server.fleet import Generation
from isthmus.server.infer import http_status
from isthmus.server.jsonform import dump
from isthmus.server.service import Service
from isthmus.server.types import Origin

__all__ = ["SUFFIX", "back_routes"]

SUFFIX = ".back"
#: Room for a request's JSON; with values in it, a number may take so many characters.
_HEAD_BYTES = 1 << 16
_NUMBER_BYTES = 16


def back_routes(service: Service) -> list[Route]:
    """The routes; they stand before those of frames, whose models' names match them too."""
    routes = []
    for version in ("", "/versions/{version}"):
        path = "/v2/models/{name}" + SUFFIX + version
        routes += [
            Route(f"{path}/infer", _Infer(service), methods=["POST"]),
            Route(f"{path}/ready", _Ready(service), methods=["GET"]),
            Route(path, _Metadata(service), methods=["GET"]),
        ]
    return routes


class _Handler(ABC):
    def __init__(self, service: Service) -> None:
        self._service = service

    def _generation(self, scope: Scope) -> Generation:
        path = scope["path_params"]
        return self._service.fleet.find(path["name"], path.get("version", ""))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        except ClientDisconnect:
            return
        except IsthmusError as error:
            content = {"error": str(error), "code": error.code, "name": error.name}
            await send_body(send, http_status(error), dump(content))

    @abstractmethod
    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends what is asked for; IsthmusError where it is refused."""


class _Ready(_Handler):
    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = self._generation(scope).name + SUFFIX
        ready = self._service.ready
        await send_body(send, 200 if ready else 503, dump({"name": name, "ready": ready}))


class _Metadata(_Handler):
    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        one = self._generation(scope)

        def spec(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
            return {"name": name, "datatype": "FP32", "shape": [-1, *shape]}

        content = {
            "name": one.name + SUFFIX,
            "versions": [one.version],
            "platform": "isthmus_back",
            "inputs": [spec(INPUT, one.profile.tensor.shape)],
            "outputs": [spec(name, shape) for name, shape in one.outputs],
        }
        await send_body(send, 200, dump(content))


class _Infer(_Handler):
    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        one = self._generation(scope)
        request = Request(scope, receive)
        most = self._service.config.batch.max
        limit = _HEAD_BYTES + _NUMBER_BYTES * one.elements * most
        try:
            async with asyncio.timeout(self._service.config.limits.request_s):
                body = await _body(request, limit)
        except TimeoutError:
            raise RequestError("body", "did not arrive in time") from None
        text = request.headers.get("inference-header-content-length")
        if text is not None and (len(text) > 20 or not text.isdecimal()):
            raise RequestError("Inference-Header-Content-Length", "is no number")
        json_bytes = None if text is None else int(text)
        shape = one.profile.tensor.shape
        features, number = await asyncio.to_thread(read_features, body, json_bytes, shape, most)
        peer = "" if request.client is None else request.client.host
        outputs = await self._service.compute(one, features, Origin("http", "", peer))
        names = [name for name, _ in one.outputs]
        answer, head = pack_outputs(one.name + SUFFIX, one.version, number, names, outputs)
        length = (b"inference-header-content-length", b"%d" % head)
        await send_body(send, 200, answer, BINARY, length)


async def _body(request: Request, limit: int) -> bytes:
    length = request.headers.get("content-length")
    if length is not None:
        check_length(length.encode("latin-1"), limit)
    pieces = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise too_large(f"has at least {size} bytes", limit)
        pieces.append(piece)
    return b"".join(pieces)
