"""Calls of a predictor over HTTP: features out, outputs back, tried again when it cannot be had."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from time import perf_counter

import httpx
import numpy as np
import numpy.typing as npt
import structlog

from isthmus.errors import BackHalfError, ConfigError, UnavailableError
from isthmus.server.access import read_file
from isthmus.server.config import BackendConfig
from isthmus.server.features import pack_features, read_outputs
from isthmus.server.fleet import Generation

__all__ = ["HttpBackend"]

_log = structlog.get_logger("isthmus.server")

#: What a predictor answers that starts, ends, or has too much to do; gateways say some of them.
_LATER = (429, 502, 503, 504)
_PAUSE_S = 0.1
_WARM_PAUSE_S = 0.5


class HttpBackend:
    """A :class:`~isthmus.server.split_engine.Backend` at a server of the Open Inference Protocol.

    Computing has no memory, so that a call that failed on its way is made again: ``attempts``
    times, and within ``request_s``.
    """

    def __init__(self, config: BackendConfig, request_s: float) -> None:
        self._config = config
        self._request_s = request_s
        headers = {}
        if config.token_file is not None:
            token = read_file(config.token_file, "backend.token_file").decode("latin-1").strip()
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx.AsyncClient(
            base_url=config.url.rstrip("/"),
            headers=headers,
            timeout=config.timeout_s,
            verify=_trust(config),
            trust_env=False,
            limits=httpx.Limits(max_connections=config.calls),
        )

    async def warm(self, generations: Sequence[Generation]) -> None:
        """Returns once the predictor has every model; UnavailableError after ``start_s``."""
        end = perf_counter() + self._config.start_s
        for generation in generations:
            path = f"{self._path(generation)}/ready"
            while (why := await self._not_ready(path)) is not None:
                if perf_counter() >= end:
                    raise UnavailableError(
                        f"backend {self._config.url}{path}", f"is not ready ({why})",
                        remedy="start the predictor with the same bundles, or give backend.url",
                    )  # fmt: skip
                _log.info("waiting for the predictor", path=path, why=why)
                await asyncio.sleep(_WARM_PAUSE_S)

    async def _not_ready(self, path: str) -> str | None:
        try:
            reply = await self._client.get(path)
        except httpx.TransportError as error:
            return _why(error)
        return None if reply.status_code == 200 else f"status {reply.status_code}"

    async def compute(
        self, generation: Generation, features: npt.NDArray[np.float32]
    ) -> list[npt.NDArray[np.float32]]:
        """The outputs; UnavailableError, BackHalfError."""
        body, json_bytes = pack_features(features, generation.outputs, self._config.input)
        headers = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(json_bytes),
        }
        path = f"{self._path(generation)}/infer"
        end = perf_counter() + self._request_s
        why = ""
        for attempt in range(self._config.attempts):
            left = end - perf_counter()
            if left <= 0.0:
                break
            try:
                async with asyncio.timeout(left):
                    reply = await self._client.post(path, content=body, headers=headers)
            except (httpx.TransportError, TimeoutError) as error:
                why = _why(error)
            else:
                if reply.status_code == 200:
                    return read_outputs(
                        reply.content, _json_bytes(reply), generation.outputs, len(features)
                    )
                why = f"status {reply.status_code}"
                if reply.status_code not in _LATER:
                    text = " ".join(reply.text.split())[:200]
                    raise BackHalfError("predictor", f"answered {why}: {text}")
            _log.warning("predictor lost", attempt=attempt + 1, why=why, model=generation.name)
            await asyncio.sleep(min(_PAUSE_S * attempt, left))
        raise UnavailableError(
            "predictor", f"cannot be reached ({why})", remedy="send the frame again"
        )

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    def _path(self, generation: Generation) -> str:
        path = "/v2/models/" + self._config.model.replace("{name}", generation.name)
        return f"{path}/versions/{generation.version}" if self._config.versions else path


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _json_bytes(reply: httpx.Response) -> int | None:
    text = reply.headers.get("Inference-Header-Content-Length")
    if text is None:
        return None
    if len(text) > 20 or not text.isdecimal():
        raise BackHalfError("predictor: Inference-Header-Content-Length", "is no number")
    return int(text)


def _trust(config: BackendConfig) -> ssl.SSLContext | bool:
    """The system's authorities, or those of ``ca`` alone."""
    if config.ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(config.ca))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"backend.ca: {config.ca}", f"cannot be used ({error.strerror or error})",
            remedy="give a PEM file of certificates",
        ) from error  # fmt: skip
