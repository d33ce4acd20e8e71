"""The server on a Ray cluster of two nodes: the local server's answers, whatever dies."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from served import Served

from isthmus.errors import ConfigError, ModelUnknownError
from isthmus.server.config import ServerConfig, load_config
from isthmus.server.fleet import Generation
from isthmus.server.jsonform import answer_json
from isthmus.server.service import Service
from isthmus.server.types import Origin

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    # Ray leaves the files and processes of its nodes to the interpreter's end.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ROOT = Path(__file__).resolve().parents[2]
STORE = 100 << 20


@dataclass
class OnRay:
    """The cluster, the node that may die, and the address of the application."""

    cluster: Any
    second: Any
    url: str
    config: ServerConfig


def ray_config(served: Served, address: str, port: int) -> ServerConfig:
    """One ingress on the head; a replica of the back half on each node."""
    return load_config(
        None,
        bundles=[{"path": str(served.path)}],
        http={"port": port},
        batch={"max": 16, "delay_ms": 20.0},
        drain_s=2.0,
        ray={
            "address": address,
            "replicas_min": 2,
            "replicas_max": 2,
            "cpus": 0.1,
            "resources": {"back": 1},
            "ingress_cpus": 0.1,
            "ingress_resources": {"front": 1},
            "timeout_s": 5.0,
        },
    )


@pytest.fixture(scope="module")
def on_ray(
    digits: Served,
    tmp_path_factory: pytest.TempPathFactory,
    require_package: Callable[[str], None],
) -> Iterator[OnRay]:
    """Two nodes of a cluster on this machine, with the application."""
    require_package("ray")
    from ray.cluster_utils import Cluster

    from isthmus.server.ray_run import free_port, ray_running

    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", f"{ROOT / 'host'}:{ROOT / 'tests' / 'server'}")
        node = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
        cluster = Cluster(True, head_node_args={**node, "resources": {"front": 1, "back": 1}})
        stack.callback(cluster.shutdown)
        second = cluster.add_node(**node, resources={"back": 1})
        config = ray_config(digits, cluster.address, free_port("127.0.0.1"))
        server = stack.enter_context(ray_running(config))
        yield OnRay(cluster, second, f"http://127.0.0.1:{server.ports['http']}", config)


def plain(body: bytes) -> dict[str, Any]:
    """An answer without its times."""
    content: dict[str, Any] = json.loads(body)
    del content["timings_ms"]
    return content


def output(content: dict[str, Any]) -> npt.NDArray[np.float32]:
    """The one output of an answer: its numbers are the shortest that are the same float32."""
    (values,) = content["outputs"].values()
    return np.array(values, np.float32)


def test_answers_are_those_of_the_local_engine(on_ray: OnRay, digits: Served) -> None:
    frames = digits.frames

    async def local() -> list[dict[str, Any]]:
        service = Service(load_config(None, bundles=[{"path": str(digits.path)}]))
        await service.start()
        try:
            origin = Origin("http", "board", "127.0.0.1")
            return [plain(answer_json(await service.answer(one, origin))) for one in frames]
        finally:
            service.close()

    async def there() -> list[dict[str, Any]]:
        async with httpx.AsyncClient(base_url=on_ray.url, timeout=30) as client:
            posts = [client.post("/v2/frames?device=board", content=one) for one in frames]
            replies = await asyncio.gather(*posts)
        assert [reply.status_code for reply in replies] == [200] * len(frames)
        return [plain(reply.content) for reply in replies]

    expected = asyncio.run(local())
    assert asyncio.run(there()) == expected
    assert np.array_equal([output(one) for one in expected], digits.answers)


def test_frames_of_many_calls_are_computed_together(on_ray: OnRay) -> None:
    from ray import serve

    handle = serve.get_deployment_handle("back_half", "isthmus")
    seen = [handle.counts.remote().result(timeout_s=10) for _ in range(8)]
    largest = max(seen, key=lambda counts: counts["frames"])
    assert largest["frames"] > 2 * largest["batches"]
    assert 2 < largest["largest"] <= 16


def test_the_protocol_is_the_local_servers(on_ray: OnRay, digits: Served) -> None:
    with httpx.Client(base_url=on_ray.url, timeout=30) as client:
        assert client.get("/v2/health/ready").json() == {"ready": True}
        assert client.get("/v2/models").json() == {"models": ["digits"]}
        refused = client.post("/v2/frames", content=digits.frames[0][:-1])
        assert refused.status_code == 422
        assert refused.json()["error"]["name"] == "truncated"
        damaged = bytearray(digits.frames[0])
        damaged[4] ^= 0xFF
        unknown = client.post("/v2/frames", content=bytes(damaged))
        assert unknown.status_code == 404
        assert unknown.json()["error"]["name"] == "digest_unknown"


def test_a_replicas_own_error_arrives_as_it_was_raised(on_ray: OnRay) -> None:
    from ray import serve

    from isthmus.server.ray_backend import RayBackend

    backend = RayBackend(
        serve.get_deployment_handle("back_half", "isthmus"), on_ray.config.ray, 20.0
    )
    other = cast(Generation, SimpleNamespace(name="other", version="0123456789ab"))
    with pytest.raises(ModelUnknownError, match="other 0123456789ab") as caught:
        asyncio.run(backend.compute(other, np.zeros((1, 4), np.float32)))
    assert type(caught.value) is ModelUnknownError


@dataclass
class Load:
    """What came of a load: right answers, refusals by status, and what is wrong."""

    right: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.right + sum(self.refused.values())


async def load(
    url: str, served: Served, count: int, clients: int, at: int, kill: Callable[[], None]
) -> Load:
    """``count`` posts from ``clients`` at once; ``kill`` is called when ``at`` are done."""
    out = Load()
    numbers = iter(range(count))
    killed = asyncio.Event()

    async def client(http: httpx.AsyncClient) -> None:
        for number in numbers:
            index = number % len(served.frames)
            try:
                reply = await http.post("/v2/frames", content=served.frames[index])
            except httpx.TransportError:  # its connection went with the ingress
                out.refused[0] = out.refused.get(0, 0) + 1
                continue
            if reply.status_code != 200:
                out.refused[reply.status_code] = out.refused.get(reply.status_code, 0) + 1
                out.words.append(reply.text)
            elif np.array_equal(output(reply.json()), served.answers[index]):
                out.right += 1
            else:
                out.wrong.append(reply.text)
            if out.done >= at and not killed.is_set():
                killed.set()
                await asyncio.to_thread(kill)

    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        await asyncio.gather(*(client(http) for _ in range(clients)))
    assert killed.is_set()
    return out


def replicas(deployment: str) -> list[Any]:
    """The actors of a deployment."""
    import ray

    prefix = f"SERVE_REPLICA::isthmus#{deployment}#"
    names = ray.util.list_named_actors(all_namespaces=True)
    return [
        ray.get_actor(one["name"], namespace=one["namespace"])
        for one in names
        if one["name"].startswith(prefix)
    ]


def test_no_acknowledged_frame_is_lost_with_a_replica(on_ray: OnRay, digits: Served) -> None:
    import ray

    def kill() -> None:
        ray.kill(replicas("back_half")[0])

    seen = asyncio.run(load(on_ray.url, digits, 240, 8, 80, kill))
    assert not seen.wrong
    assert not seen.refused  # the calls that died with it are made again elsewhere
    assert seen.right == 240


def test_no_acknowledged_frame_is_lost_with_a_node(on_ray: OnRay, digits: Served) -> None:
    def kill() -> None:
        on_ray.cluster.remove_node(on_ray.second, allow_graceful=False)

    seen = asyncio.run(load(on_ray.url, digits, 240, 8, 80, kill))
    assert not seen.wrong
    assert not seen.refused
    assert seen.right == 240


def test_the_ingress_comes_back(on_ray: OnRay, digits: Served) -> None:
    import ray

    def kill() -> None:
        ray.kill(replicas("ingress")[0])

    seen = asyncio.run(load(on_ray.url, digits, 120, 4, 40, kill))
    assert not seen.wrong
    assert seen.done == 120
    # 500 and 503 are Serve's proxy's; 400 was seen under load, most likely a body that did not come
    assert set(seen.refused) <= {0, 400, 500, 503}, seen.words
    assert sum(seen.refused.values()) <= 4, seen.words  # what it held
    # until another one is there the proxy may refuse; then everything is answered again
    for _ in range(100):
        reply = httpx.post(f"{on_ray.url}/v2/frames", content=digits.frames[0], timeout=60)
        if reply.status_code == 200:
            break
        time.sleep(0.2)
    again = asyncio.run(load(on_ray.url, digits, 40, 4, 1, lambda: None))
    assert again.right == 40


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"udp": {}}, "udp"),
        ({"mqtt": {"host": "localhost"}}, "mqtt"),
        ({"serial": [{"port": "/dev/ttyS9"}]}, "serial"),
        ({"backend": {"url": "http://localhost:1"}}, "backend"),
        ({"http": {"enabled": False}}, "http.enabled"),
    ],
)
def test_links_that_a_cluster_does_not_carry(
    digits: Served, section: dict[str, Any], path: str, require_package: Callable[[str], None]
) -> None:
    require_package("ray")
    from isthmus.server.ray_app import application

    arguments = {
        "bundles": [{"path": str(digits.path)}],
        "security": {"allow_open": True},
        **section,
    }
    with pytest.raises(ConfigError) as caught:
        application(arguments)
    assert caught.value.path == path


def test_a_cluster_without_tokens_is_open_only_if_told(
    digits: Served, require_package: Callable[[str], None]
) -> None:
    require_package("ray")
    from isthmus.server.ray_app import application

    with pytest.raises(ConfigError, match="tokens or client certificates"):
        application({"bundles": [{"path": str(digits.path)}]})


def test_device_keys_hold_one_ingress(tmp_path: Path) -> None:
    secret = {"fleet_secret_file": str(tmp_path / "secret")}
    with pytest.raises(ConfigError, match="ingress_replicas"):
        load_config(None, security=secret, ray={"ingress_replicas": 2})
