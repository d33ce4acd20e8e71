"""``isthmus serve --engine ray``: joins or starts a cluster, deploys, and serves until told."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import structlog
from ray import serve

from isthmus.errors import ConfigError, UnavailableError
from isthmus.server.access import check_exposure, tls_context
from isthmus.server.config import HttpConfig, ServerConfig
from isthmus.server.fleet import Fleet
from isthmus.server.ray_app import check_links, make_application

__all__ = ["RayRunning", "RayService", "free_port", "ray_running", "run_ray"]

_log = structlog.get_logger("isthmus.server")

APPLICATION = "isthmus"
_PROXY_S = 60.0


@dataclass(frozen=True)
class RayService:
    """What is told of the server: its configuration and its models."""

    config: ServerConfig
    fleet: Fleet


@dataclass(frozen=True)
class RayRunning:
    """A server that serves on a cluster, with the ports of its proxies."""

    service: RayService
    ports: dict[str, int]


def run_ray(config: ServerConfig, started: Callable[[RayRunning], None]) -> None:
    """Serves until SIGTERM or SIGINT, then drains; ``started`` is called once frames are taken.

    ConfigError, BundleError before anything is deployed; UnavailableError where the cluster cannot
    be reached or has no room.
    """
    stop = threading.Event()
    with ray_running(config) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        _log.info("serving", **server.ports)
        started(server)
        stop.wait()
        _log.info("draining")


@contextmanager
def ray_running(config: ServerConfig) -> Iterator[RayRunning]:
    """The application on a cluster; it drains and is deleted at the end of the block.

    A cluster that this call started ends with it; one that was there stays, with its other
    applications.
    """
    check_exposure(config)
    check_links(config)
    tls_context(config.security)  # what is wrong with certificates is said here
    service = RayService(config, Fleet(config))
    own = not config.ray.address and not ray.is_initialized()
    http = config.http
    if own:
        http = http.model_copy(update={"port": free_port(http.host, http.port)})
    _connect(config)
    try:
        serve.start(proxy_location=config.ray.proxies, http_options=_http_options(config, http))
        application = make_application(config)
        try:
            serve.run(application, name=APPLICATION, route_prefix="/")
        except RuntimeError as error:
            why = " ".join(str(error).split())[:300]
            raise UnavailableError("ray", f"did not start the application ({why})") from error
        try:
            _await_port(http)
            yield RayRunning(service, {"http": http.port})
        finally:
            serve.delete(APPLICATION)
    finally:
        if own:
            serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


def _connect(config: ServerConfig) -> None:
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = config.ray.address or "local"
    try:
        if config.ray.address:
            ray.init(address=address, log_to_driver=False)
        else:
            ray.init(address=address, include_dashboard=False, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        why = " ".join(str(error).split())[:300]
        raise UnavailableError(
            f"ray.address {address}", f"cannot be reached ({why})",
            remedy="start the cluster with `ray start --head`, or leave ray.address out",
        ) from error  # fmt: skip


def free_port(host: str, port: int = 0) -> int:
    """A port that can be listened on: ``port``, or a free one for 0; ConfigError."""
    try:
        with socket.create_server((host, port)) as made:
            return int(made.getsockname()[1])
    except OSError as error:
        raise ConfigError(
            "http", f"{host}:{port} cannot be listened on ({error.strerror})",
            remedy="choose another --host or --port",
        ) from error  # fmt: skip


def _http_options(config: ServerConfig, http: HttpConfig) -> dict[str, Any]:
    security = config.security
    options: dict[str, Any] = {
        "host": http.host,
        "port": http.port,
        "keep_alive_timeout_s": int(http.keep_alive_s),
        # Frames are refused by the ingress before that.
        "request_timeout_s": 2.0 * config.limits.request_s,
    }
    if security.certificate is not None:
        options["ssl_certfile"] = str(security.certificate)
        options["ssl_keyfile"] = str(security.key)
    if security.client_ca is not None:
        options["ssl_ca_certs"] = str(security.client_ca)
    return options


def _await_port(http: HttpConfig) -> None:
    """Returns once a proxy listens; UnavailableError."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)
    end = time.monotonic() + _PROXY_S
    while True:
        try:
            with socket.create_connection((host, http.port), timeout=1.0):
                return
        except OSError as error:
            if time.monotonic() > end:
                raise UnavailableError(
                    "ray", f"no proxy listens on {http.host}:{http.port} ({error.strerror})",
                    remedy="the cluster's Serve was started with other http_options",
                ) from error  # fmt: skip
            time.sleep(0.1)
