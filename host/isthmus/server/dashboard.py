"""The page at ``/``, the data it reads, and ``/metrics``.

The page is a handful of static files without a build step; it asks ``/api/state`` once a second and
``/api/device`` for the device that was chosen (:mod:`isthmus.server.snapshot` tells what is in
both), and ``/api/picture`` where pictures are switched on. It loads nothing from elsewhere, and its
Content-Security-Policy lets it do no other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from isthmus.errors import IsthmusError, RequestError, ServerError
from isthmus.server.jsonform import dump, refusal_json
from isthmus.server.metrics import render
from isthmus.server.pictures import FRAME_TIME, Pictures
from isthmus.server.snapshot import SORTS

if TYPE_CHECKING:
    from isthmus.server.monitor import Monitor, Watched

__all__ = ["PAGE_HEADERS", "dashboard_routes"]

_Handler = Callable[[Request], Awaitable[Response]]
_PAGE = Path(__file__).with_name("page")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FRESH = 0.5  # seconds for which several pages get one answer
_CACHED = 32
_ROWS = 500

PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_DATA_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def dashboard_routes(
    service: Watched, monitor: Monitor, *, page: bool = True, pictures: bool = False
) -> list[Route]:
    """The routes for an app that serves ``service``; without ``page`` only ``/metrics``.

    With ``pictures`` there is ``/api/picture``, too, which gives what a device saw as a PNG.
    ``/`` and ``/page/...`` are the same for everybody and hold nothing of the server's;
    ``/api/...`` and ``/metrics`` are what an app that asks for tokens must guard. The page asks for
    a token where it is answered 401.
    """
    monitor.attach(service)

    async def metrics(request: Request) -> Response:
        body, kind = render(monitor, request.headers.get("accept", ""))
        return Response(body, headers={**_DATA_HEADERS, "content-type": kind})

    routes = [Route("/metrics", metrics)]
    if page:
        routes += _page_routes() + _data_routes(monitor, Pictures(monitor) if pictures else None)
    return routes


def _page_routes() -> list[Route]:
    files = {file.name: file.read_bytes() for file in sorted(_PAGE.iterdir()) if file.is_file()}

    def respond(name: str) -> Response:
        kind = _TYPES.get(Path(name).suffix)
        if name not in files or kind is None:
            return Response("Not Found", 404, headers=PAGE_HEADERS, media_type="text/plain")
        headers = {**PAGE_HEADERS, "cache-control": "no-cache", "content-type": kind}
        return Response(files[name], headers=headers)

    async def index(request: Request) -> Response:
        return respond("index.html")

    async def part(request: Request) -> Response:
        return respond(request.path_params["name"])

    return [Route("/", index), Route("/page/{name}", part)]


def _data_routes(monitor: Monitor, pictures: Pictures | None) -> list[Route]:
    recent: dict[str, tuple[float, bytes]] = {}

    async def state(request: Request) -> Response:
        query = request.url.query
        now = monitor.clock()
        found = recent.get(query)
        if found is None or not 0 <= now - found[0] < _FRESH:
            if len(recent) >= _CACHED:
                recent.clear()
            found = recent[query] = (now, dump(_state(monitor, request)))
        return _json(found[1])

    async def device(request: Request) -> Response:
        name = request.query_params.get("name", "")
        found = monitor.device(name, _integer(request, "first", 0, 0, 1 << 24))
        if found is None:
            raise RequestError("name", f"is {name!r:.80}", allowed="a device seen lately")
        found["picture"] = pictures is not None and pictures.has(name)
        return _json(dump(found))

    routes = [
        Route("/api/state", _refusing(state)),
        Route("/api/device", _refusing(device)),
    ]
    return routes if pictures is None else [*routes, _picture_route(pictures)]


def _picture_route(pictures: Pictures) -> Route:
    async def picture(request: Request) -> Response:
        made = await pictures.picture(request.query_params.get("name", ""))
        headers = {**_DATA_HEADERS, FRAME_TIME: repr(made.time)}
        return Response(made.png, headers=headers, media_type="image/png")

    return Route("/api/picture", _refusing(picture))


def _state(monitor: Monitor, request: Request) -> dict[str, object]:
    given = request.query_params
    sort = given.get("sort", "name")
    if sort not in SORTS:
        raise RequestError("sort", f"is {sort!r:.40}", allowed=", ".join(SORTS))
    return monitor.state(
        model=given.get("model", ""),
        sort=sort,
        descending=given.get("order", "") == "desc",
        search=given.get("search", "")[:128],
        limit=_integer(request, "limit", 100, 1, _ROWS),
    )


def _integer(request: Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 9 and low <= int(text) <= high):
        raise RequestError(name, f"is {text!r:.40}", allowed=f"an integer in {low}..{high}")
    return int(text)


def _refusing(handler: _Handler) -> _Handler:
    """``handler`` with refusals as JSON."""

    async def run(request: Request) -> Response:
        try:
            return await handler(request)
        except IsthmusError as error:
            status = error.status if isinstance(error, ServerError) else 500
            return Response(refusal_json(error), status, _DATA_HEADERS, "application/json")

    return run


def _json(body: bytes) -> Response:
    return Response(body, headers=_DATA_HEADERS, media_type="application/json")
