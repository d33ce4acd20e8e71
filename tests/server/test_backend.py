"""Decoding here, computing elsewhere: the bytes between, faults, and both servers together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from served import Served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from isthmus.errors import BackHalfError, ConfigError, RequestError, UnavailableError
from isthmus.server.config import BackendConfig, ServerConfig, load_config
from isthmus.server.features import pack_features, pack_outputs, read_features, read_outputs
from isthmus.server.http import make_app
from isthmus.server.run import running
from isthmus.server.service import Service
from isthmus.server.types import Answer, Origin

HERE = Origin("http", "board", "127.0.0.1")
OUTPUTS = [("scores", (2,)), ("more", (1, 2))]
FEATURES = np.arange(6, dtype=np.float32).reshape(2, 3)


# -- the bytes ---------------------------------------------------------------------------------


def test_a_request_is_what_triton_clients_send() -> None:
    triton = pytest.importorskip("tritonclient.http")
    tensor = triton.InferInput("features", [2, 3], "FP32")
    tensor.set_data_from_numpy(FEATURES)
    wanted = [triton.InferRequestedOutput(name, binary_data=True) for name, _ in OUTPUTS]
    body, json_bytes = triton.InferenceServerClient.generate_request_body([tensor], outputs=wanted)
    own, own_bytes = pack_features(FEATURES, OUTPUTS, "features")
    assert json.loads(own[:own_bytes]) == json.loads(body[:json_bytes])
    assert own[own_bytes:] == body[json_bytes:]
    assert own[own_bytes:] == bytes.fromhex("00000000 0000803f 00000040 00004040 00008040 0000a040")
    read, number = read_features(body, json_bytes, (3,), 2)
    assert (read.tolist(), number) == (FEATURES.tolist(), "")


def test_an_answer_is_what_triton_clients_read() -> None:
    triton = pytest.importorskip("tritonclient.http")
    values = [np.array([[1, 2], [3, 4]], np.float32), np.ones((2, 1, 2), np.float32)]
    body, json_bytes = pack_outputs("m.back", "0123", "7", ["scores", "more"], values)
    result = triton.InferenceServerClient.parse_response_body(body, header_length=json_bytes)
    assert result.get_response()["id"] == "7"
    assert result.as_numpy("scores").tolist() == values[0].tolist()
    assert result.as_numpy("more").tolist() == values[1].tolist()
    assert [v.tolist() for v in read_outputs(body, json_bytes, OUTPUTS, 2)] == [
        v.tolist() for v in values
    ]


def request(**changes: Any) -> bytes:
    """A request in JSON with one input changed."""
    entry = {
        "name": "features", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3], **changes
    }  # fmt: skip
    return json.dumps({"inputs": [entry]}).encode()


def test_a_request_in_json() -> None:
    assert read_features(request(), None, (3,), 4)[0].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b"[" * 100_000, "body"),
        (b"{}", "inputs"),
        (request(name="other"), "inputs[0]"),
        (request(datatype="FP64"), "inputs[0]"),
        (request(shape=[1, 4]), "inputs[0].shape"),
        (request(shape=[5, 3]), "inputs[0].shape"),
        (request(shape=[0, 3]), "inputs[0].shape"),
        (request(shape=[True, 3]), "inputs[0].shape"),
        (request(data=[1, 2]), "inputs[0].data"),
        (request(data=["a", 2, 3]), "inputs[0].data"),
        (request(data=None), "inputs[0].data"),
        (request(data=[1, 2, 1e300]), "inputs[0]"),
        (
            request(parameters={"binary_data_size": 12}),
            "inputs[0].parameters.binary_data_size",
        ),
    ],
)
def test_requests_that_are_refused(body: bytes, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_features(body, None, (3,), 4)
    assert caught.value.path == path


def answer(*outputs: dict[str, Any]) -> bytes:
    """An answer in JSON."""
    return json.dumps({"outputs": outputs}).encode()


SCORES = {"name": "scores", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
MORE = {"name": "more", "datatype": "FP32", "shape": [1, 1, 2], "data": [3, 4]}


def test_an_answer_in_json_with_an_output_that_nobody_asked_for() -> None:
    other = {"name": "top", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    found = read_outputs(answer(MORE, other, SCORES), None, OUTPUTS, 1)
    assert [values.tolist() for values in found] == [[[1, 2]], [[[3, 4]]]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        answer(SCORES),
        answer({**SCORES, "shape": [2, 1]}, MORE),
        answer({**SCORES, "datatype": "FP16"}, MORE),
        answer({**SCORES, "data": [1]}, MORE),
        answer({"datatype": "FP32"}, SCORES, MORE),
        answer(SCORES, {**MORE, "parameters": {"binary_data_size": 8}}),
    ],
)
def test_answers_that_are_no_back_halfs(body: bytes) -> None:
    with pytest.raises(BackHalfError):
        read_outputs(body, None, OUTPUTS, 1)


# -- the servers -------------------------------------------------------------------------------


@contextlib.contextmanager
def listening(app: Any) -> Iterator[str]:
    """The address of an ASGI application on this machine, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


class Predictor:
    """A server of the protocol that knows nothing of bundles: outputs by a function of features.

    ``faults`` are what it answers first instead: a status, or None for a connection that breaks.
    """

    def __init__(self, served: Served, faults: list[int | None] | None = None) -> None:
        self._name, (self._shape, *_) = served.path.name, [served.answers.shape[1:]]
        self.faults = list(faults or [])
        self.batches: list[int] = []
        self.paths: set[str] = set()
        self.authorization: set[str | None] = set()
        self.output = "Identity"
        self.app = Starlette(
            routes=[
                Route("/v2/models/{rest:path}", self.infer, methods=["POST"]),
                Route("/v2/models/{rest:path}", self.ready, methods=["GET"]),
            ]
        )

    async def ready(self, request: Request) -> Response:
        return JSONResponse({"ready": True})

    async def infer(self, request: Request) -> Response:
        self.paths.add(request.url.path)
        self.authorization.add(request.headers.get("authorization"))
        body = await request.body()
        if self.faults:
            fault = self.faults.pop(0)
            if fault is None:
                raise ConnectionAbortedError  # uvicorn closes the connection with 500
            return JSONResponse({"error": "not now"}, status_code=fault)
        head = int(request.headers["inference-header-content-length"])
        entry = json.loads(body[:head])["inputs"][0]
        features = np.frombuffer(body[head:], "<f4").reshape(entry["shape"])
        self.batches.append(len(features))
        rows = np.zeros((len(features), *self._shape), "<f4")
        rows[:, 0] = features.reshape(len(features), -1).sum(axis=1)
        data = rows.tobytes()
        outputs = [
            {
                "name": self.output, "datatype": "FP32", "shape": list(rows.shape),
                "parameters": {"binary_data_size": len(data)},
            }
        ]  # fmt: skip
        text = json.dumps({"outputs": outputs}).encode()
        return Response(text + data, headers={"Inference-Header-Content-Length": str(len(text))})


def config_of(served: Served, url: str, **backend: Any) -> ServerConfig:
    return load_config(
        None,
        bundles=[{"path": str(served.path)}],
        batch={"workers": 1},
        backend={"url": url, **backend},
    )


@contextlib.asynccontextmanager
async def serving(config: ServerConfig) -> AsyncIterator[Service]:
    service = Service(config)
    try:
        await service.start()
        yield service
    finally:
        await service.drain(1)
        service.close()


def run(body: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(body(), 30)

    return asyncio.run(bounded())


def answers(config: ServerConfig, frames: list[bytes]) -> list[Answer]:
    async def body() -> list[Answer]:
        async with serving(config) as service:
            return await asyncio.gather(*(service.answer(one, HERE) for one in frames))

    found: list[Answer] = run(body)
    return found


def output_of(served: Served) -> str:
    from isthmus import BackHalf

    return str(BackHalf(served.path).model.outputs[0].name)


def test_any_server_of_the_protocol_can_be_the_predictor(digits: Served, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    predictor = Predictor(digits)
    predictor.output = output_of(digits)
    with listening(predictor.app) as url:
        config = config_of(
            digits, f"{url}/", model="net", versions=False, calls=1, token_file=str(token)
        )
        found = answers(config, digits.frames)
    sums = [digits.decoder.decode(one).features.astype(np.float32) for one in digits.frames]
    expected = np.stack(sums).reshape(len(sums), -1).sum(axis=1)
    firsts = [one.outputs[predictor.output][0] for one in found]
    assert np.array(firsts, np.float32).tolist() == expected.tolist()
    assert predictor.paths == {"/v2/models/net/infer"}
    assert predictor.authorization == {"Bearer 0123456789abcdef"}
    # what was decoded while the one call was under way went together
    assert sum(predictor.batches) == 32
    assert len(predictor.batches) < 16


def test_calls_that_failed_on_their_way_are_made_again(digits: Served) -> None:
    predictor = Predictor(digits, [503, 502])
    predictor.output = output_of(digits)
    with listening(predictor.app) as url:
        (found,) = answers(config_of(digits, url), digits.frames[:1])
    assert found.sequence == 0
    assert predictor.batches == [1]


@pytest.mark.parametrize(
    ("faults", "error"), [([503] * 3, UnavailableError), ([400], BackHalfError)]
)
def test_what_is_refused_at_last(
    digits: Served, faults: list[int | None], error: type[Exception]
) -> None:
    predictor = Predictor(digits, faults)
    with listening(predictor.app) as url, pytest.raises(error):
        answers(config_of(digits, url), digits.frames[:1])
    assert predictor.faults == []


def test_a_predictor_that_has_gone(digits: Served) -> None:
    predictor = Predictor(digits)

    async def body(url: str, stop: Callable[[], None]) -> None:
        async with serving(config_of(digits, url)) as service:
            stop()
            with pytest.raises(UnavailableError) as caught:
                await service.answer(digits.frames[0], HERE)
            assert caught.value.status == 503
            assert service.waiting == 0

    with contextlib.ExitStack() as stack:
        url = stack.enter_context(listening(predictor.app))
        run(lambda: body(url, stack.close))


def test_a_predictor_that_never_comes(digits: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(UnavailableError, match="is not ready"):
        answers(config_of(digits, f"http://127.0.0.1:{port}", start_s=0.0), [])


@pytest.mark.parametrize("url", ["ftp://host", "http://user:secret@host", "http://host?x=1", ""])
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"backend\.url"):
        load_config(None, backend={"url": url})


def test_certificates_of_the_predictor_must_be_there(tmp_path: Path) -> None:
    from isthmus.server.http_backend import HttpBackend

    config = BackendConfig(url="https://localhost", ca=tmp_path / "none.pem")
    with pytest.raises(ConfigError, match=r"backend\.ca"):
        HttpBackend(config, 1.0)


def test_two_servers_answer_as_one(digits: Served, tmp_path: Path) -> None:
    """`isthmus serve` that decodes in front of `isthmus serve` that computes, with tokens."""
    (tmp_path / "tokens").write_text("fedcba9876543210\n0123456789abcdef\n")
    (tmp_path / "token").write_text("0123456789abcdef\n")
    (tmp_path / "wrong").write_text("another0123456789\n")
    shared = {
        "bundles": [{"path": str(digits.path)}],
        "batch": {"workers": 1},
        "grpc": {"enabled": False},
        "drain_s": 2.0,
    }

    async def body() -> None:
        alone = load_config(
            None, **shared, http={"port": 0, "features": True},
            security={"tokens_file": str(tmp_path / "tokens")},
        )  # fmt: skip
        async with running(alone) as behind:
            url = f"http://127.0.0.1:{behind.ports['http']}"
            backend = {"url": url, "token_file": str(tmp_path / "token")}
            config = load_config(None, **shared, http={"port": 0}, backend=backend)
            async with running(config) as server:
                front = server.service
                calls = [front.answer(one, HERE) for one in digits.frames]
                found = await asyncio.gather(*calls)
                calls = [behind.service.answer(one, HERE) for one in digits.frames]
                expected = await asyncio.gather(*calls)
                assert [plain(one) for one in found] == [plain(one) for one in expected]
            headers = {"Authorization": "Bearer fedcba9876543210"}
            async with httpx.AsyncClient(base_url=url, headers=headers) as client:
                await check_protocol(client, behind.service)
            backend = {"url": url, "token_file": str(tmp_path / "wrong"), "start_s": 0.0}
            stranger = Service(load_config(None, **shared, backend=backend))
            with pytest.raises(UnavailableError, match="status 401"):
                await stranger.start()
            await stranger.drain(1)
            stranger.close()

    run(body)


def plain(one: Answer) -> tuple[Any, ...]:
    """An answer without its times."""
    outputs = {name: values.tobytes() for name, values in one.outputs.items()}
    return one.model, one.version, one.sequence, one.rung, one.top, outputs


async def check_protocol(client: httpx.AsyncClient, behind: Service) -> None:
    """What NAME.back tells of itself, and what it refuses."""
    (one,) = behind.fleet.models()
    path = "/v2/models/digits.back"
    metadata = (await client.get(path)).json()
    assert metadata["inputs"] == [
        {"name": "features", "datatype": "FP32", "shape": [-1, *one.profile.tensor.shape]}
    ]
    assert (await client.get(f"{path}/versions/{one.version}/ready")).json()["ready"] is True
    assert (await client.get("/v2/models/other.back")).status_code == 404
    assert (await client.post(f"{path}/infer", content=b"{}")).status_code == 400
    # 32 features of numbers written out, and what else a request has
    most = (1 << 16) + 32 * 16 * one.elements
    large = await client.post(f"{path}/infer", content=bytes(most + 1))
    assert large.status_code == 413


def test_features_are_offered_only_if_told(digits: Served) -> None:
    async def body() -> None:
        config = load_config(None, bundles=[{"path": str(digits.path)}], batch={"workers": 1})
        async with serving(config) as service:
            transport = httpx.ASGITransport(make_app(service))
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                assert (await client.get("/v2/models/digits.back")).status_code == 404

    run(body)
