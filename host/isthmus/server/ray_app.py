"""The server spread over a Ray cluster: one deployment decodes, another one computes.

The ingress is the local server's HTTP application over a service whose engine sends decoded
features to the back half. Replicas of the back half open their interpreters once and join the calls
of all ingress replicas to batches; their number follows the calls under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ray import serve
from ray.serve.config import AutoscalingConfig

from isthmus.errors import BackHalfError, ConfigError, ModelUnknownError
from isthmus.server.access import check_exposure
from isthmus.server.config import ServerConfig, load_config
from isthmus.server.engine import Observer
from isthmus.server.fleet import Fleet, Generation
from isthmus.server.http import App, make_app
from isthmus.server.ray_backend import RayBackend
from isthmus.server.service import Service
from isthmus.server.split_engine import SplitEngine

__all__ = ["BackHalfReplica", "IngressReplica", "application", "check_links", "make_application"]

Key = tuple[str, str]
Call = tuple[Key, npt.NDArray[np.float32]]

#: Calls that a replica may hold, in multiples of those at which another one is started.
_ONGOING_SHARE = 4
_INGRESS_ONGOING = 4096
#: Calls of one ingress that are under way at once: enough for the queue to be seen.
_CALLS = 256


def _rows(calls: Sequence[Call]) -> int:
    """Size of a batch, in frames."""
    return sum(len(features) for _, features in calls)


class BackHalfReplica:
    """Computes. One thread, so that one set of interpreters is open."""

    def __init__(self, content: dict[str, Any]) -> None:
        config = ServerConfig.model_validate(content)
        self._generations = {(one.name, one.version): one for one in Fleet(config).models()}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="isthmus-back-half")
        for one in self._generations.values():
            self._pool.submit(one.warm).result()
        self._counts = {"calls": 0, "frames": 0, "batches": 0, "largest": 0}
        join: Any = self._join  # serve.batch adds what its type does not say
        join.set_max_batch_size(config.batch.max)
        join.set_batch_wait_timeout_s(config.batch.delay_ms / 1000.0)

    async def compute(
        self, key: Key, features: npt.NDArray[np.float32]
    ) -> list[npt.NDArray[np.float32]]:
        """The outputs [n, ...] for features [n, *shape] of a generation (name, version)."""
        outputs: list[npt.NDArray[np.float32]] = await self._join((key, features))
        return outputs

    async def counts(self) -> dict[str, int]:
        """Calls, frames, batches, and frames of the largest batch."""
        return dict(self._counts)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.0, batch_size_fn=_rows)
    async def _join(self, calls: list[Call]) -> list[Any]:
        results: list[Any] = [None] * len(calls)
        self._counts["calls"] += len(calls)
        by_key: dict[Key, list[int]] = {}
        for i, (key, _) in enumerate(calls):
            by_key.setdefault(key, []).append(i)
        loop = asyncio.get_running_loop()
        for key, places in by_key.items():
            features = [calls[i][1] for i in places]
            outputs = await loop.run_in_executor(self._pool, self._compute, key, features)
            start = 0
            for i, part in zip(places, features, strict=True):
                end = start + len(part)
                results[i] = [one[start:end] for one in outputs]
                start = end
        return results

    def _compute(
        self, key: Key, parts: list[npt.NDArray[np.float32]]
    ) -> list[npt.NDArray[np.float32]]:
        generation = self._generations.get(key)
        if generation is None:
            raise ModelUnknownError("model", f"is {key[0]} {key[1]}, which is not served here")
        features = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self._counts["batches"] += 1
        self._counts["frames"] += len(features)
        self._counts["largest"] = max(self._counts["largest"], len(features))
        try:
            return generation.compute(features)
        except (RuntimeError, ValueError, MemoryError) as error:  # what inference engines raise
            why = " ".join(str(error).split())[:200]
            raise BackHalfError("back_half", f"failed ({why})") from None


class IngressReplica:
    """Takes frames over HTTP, decodes them and answers: the local server with another engine."""

    async def __init__(self, content: dict[str, Any], back_half: Any) -> None:  # type: ignore[misc]  # Serve awaits it
        config = ServerConfig.model_validate(content)

        def make_engine(
            generations: list[Generation], config: ServerConfig, observer: Observer
        ) -> SplitEngine:
            backend = RayBackend(back_half, config.ray, config.limits.request_s)
            workers = config.batch.workers or max(1, round(config.ray.ingress_cpus))
            return SplitEngine(generations, config.batch, observer, workers, backend, _CALLS)

        self.service = Service(config, make_engine=make_engine)
        await self.service.start()

    def __serve_build_asgi_app__(self) -> App:  # Serve's name for it
        return make_app(self.service)

    async def __del__(self) -> None:
        """Called by Serve once the replica's last request is answered."""
        await self.service.drain(self.service.config.drain_s)
        self.service.close()


def check_links(config: ServerConfig) -> None:
    """ConfigError where the configuration asks for what Serve's proxies do not carry."""
    links = {"mqtt": config.mqtt, "udp": config.udp, "serial": config.serial or None}
    for name, link in links.items():
        if link is not None:
            raise ConfigError(
                name, "cannot be served by the replicas of a cluster", allowed="http",
                remedy="run another `isthmus serve` with this link and a [backend]",
            )  # fmt: skip
    if config.backend is not None:
        raise ConfigError("backend", "is given, and the cluster computes", allowed="one of them")
    if not config.http.enabled:
        raise ConfigError("http.enabled", "is false, and a cluster has no other link")


def make_application(config: ServerConfig) -> serve.Application:
    """The two deployments. Bundles are read by every replica: their paths hold on every node."""
    check_links(config)
    content = config.model_dump(mode="json")
    ray = config.ray
    shutdown = {
        "graceful_shutdown_timeout_s": config.drain_s,
        "graceful_shutdown_wait_loop_s": 0.2,
        "health_check_period_s": 5.0,
    }
    deployment: Any = serve.deployment
    back_half = deployment(BackHalfReplica).options(
        name="back_half",
        ray_actor_options={"num_cpus": ray.cpus, "resources": ray.resources},
        # as many as can fill a batch, each with one frame
        max_ongoing_requests=max(config.batch.max, round(ray.target_ongoing * _ONGOING_SHARE)),
        autoscaling_config=AutoscalingConfig(
            min_replicas=ray.replicas_min,
            max_replicas=ray.replicas_max,
            target_ongoing_requests=ray.target_ongoing,
            upscale_delay_s=ray.upscale_delay_s,
            downscale_delay_s=ray.downscale_delay_s,
        ),
        **shutdown,
    )
    ingress = deployment(serve.ingress()(IngressReplica)).options(
        name="ingress",
        num_replicas=ray.ingress_replicas,
        ray_actor_options={"num_cpus": ray.ingress_cpus, "resources": ray.ingress_resources},
        max_ongoing_requests=_INGRESS_ONGOING,
        **shutdown,
    )
    bound: serve.Application = ingress.bind(content, back_half.bind(content))
    return bound


def application(arguments: dict[str, Any]) -> serve.Application:
    """The builder that a Serve configuration names (``import_path``), as KubeRay's RayService does.

    ``arguments`` are sections and fields of the configuration, or ``config``: the path of its TOML
    file; the two may be joined. The proxies of such a cluster are open to it: ConfigError without
    tokens, client certificates or ``security.allow_open``.
    """
    values = dict(arguments)
    path = values.pop("config", None)
    config = load_config(None if path is None else Path(str(path)), **values)
    outside = config.http.model_copy(update={"host": "0.0.0.0"})
    check_exposure(config.model_copy(update={"http": outside}))
    return make_application(config)
