"""The HTTP side: one ASGI application over all routes, with tokens, and uvicorn around it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from isthmus.errors import ConfigError, UnauthorizedError
from isthmus.server.access import Tokens, tls_context
from isthmus.server.dashboard import dashboard_routes
from isthmus.server.http_back import back_routes
from isthmus.server.http_oip import oip_routes
from isthmus.server.http_protocol import Bounds, make_protocol
from isthmus.server.jsonform import dump
from isthmus.server.service import Service

__all__ = ["HttpServer", "make_app"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_FREE = ("/", "/v2/health/live", "/v2/health/ready")


def make_app(service: Service) -> App:
    """The application: Open Inference Protocol, frames, dashboard, metrics.

    With a file of tokens everything asks for one but health and the dashboard's page, which holds
    nothing and asks its reader for the token; frames do not ask where devices sign them.
    """
    oip = oip_routes(service)
    page = service.config.dashboard
    rest = dashboard_routes(service, service.monitor, page=page.enabled, pictures=page.pictures)
    back = back_routes(service) if service.config.http.features else []
    app = _short_cut(Starlette(routes=[*back, *oip, *rest]), service, oip)
    security = service.config.security
    if security.tokens_file is None:
        return app
    return _guarded(app, Tokens(security.tokens_file), security.fleet_secret_file is not None)


def _short_cut(app: App, service: Service, routes: list[Route]) -> App:
    """Frames and infer requests of known models go to their handlers straight away.

    Looking for the route among all, and the layers around it, take as long as the handler itself.
    """
    known: dict[str, tuple[App, dict[str, str]]] = {}
    for route in routes:
        if "POST" not in (route.methods or ()):
            continue
        for one in service.fleet.models():
            path = {"name": one.name, "version": one.version}
            named = {key: path[key] for key in route.param_convertors}
            known[route.path_format.format(**named)] = (cast(App, route.endpoint), named)

    async def short_cut(scope: Scope, receive: Receive, send: Send) -> None:
        found = known.get(scope.get("path", ""))
        if found is None or scope.get("method") != "POST":
            await app(scope, receive, send)
            return
        scope["path_params"] = found[1]
        await found[0](scope, receive, send)

    return short_cut


def _guarded(app: App, tokens: Tokens, signed: bool) -> App:
    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        free = path in _FREE or path.startswith("/page/")
        frames = scope.get("method") == "POST" and path.endswith("/frames")
        free = free or (signed and frames and path.startswith("/v2/"))
        if scope["type"] == "http" and not free:
            try:
                tokens.check(dict(scope["headers"]).get(b"authorization"))
            except UnauthorizedError as error:
                await _refuse(send, error)
                return
        await app(scope, receive, send)

    return guard


async def _refuse(send: Send, error: UnauthorizedError) -> None:
    body = dump({"error": str(error), "code": error.code, "name": error.name})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"www-authenticate", b'Bearer realm="isthmus"'),
        (b"www-authenticate", b'Basic realm="isthmus", charset="UTF-8"'),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the program's are in charge."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """uvicorn on one socket, in the running event loop."""

    def __init__(self, service: Service) -> None:
        config = service.config
        self._socket = _bound(config.http.host, config.http.port)
        self.port = int(self._socket.getsockname()[1])
        context = tls_context(config.security)
        limits = config.limits
        self._bounds = Bounds(limits.connections, limits.request_s, limits.body_bytes)
        settings = uvicorn.Config(
            make_app(service),
            http=make_protocol(self._bounds),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(config.http.keep_alive_s),
            backlog=2048,
            timeout_graceful_shutdown=max(1, int(config.drain_s)),
        )
        settings.load()
        settings.ssl = context
        self._server = _Server(settings)

    async def serve(self) -> None:
        """Serves until ``stop``."""
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._bounds.stop()

    def stop(self) -> None:
        """Takes no more connections; ``serve`` returns once those that are open are done."""
        self._server.should_exit = True


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket; ConfigError where the address cannot be used."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            "http", f"{host}:{port} cannot be listened on ({error.strerror})",
            remedy="choose another --host or --port",
        ) from error  # fmt: skip
    made.setblocking(False)
    return made
