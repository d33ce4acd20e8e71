"""The Open Inference Protocol over HTTP, asked by clients that others wrote."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake_service import LABELS, FakeService, expected_outputs
from served_app import SECONDS, run_client, served_http

from isthmus.errors import BackHalfError, BusyError, DrainingError
from isthmus.server.compact import unpack
from isthmus.server.config import LimitsConfig, ServerConfig

LIMIT = 100_000


@pytest.fixture(scope="module")
def service() -> FakeService:
    return FakeService(
        ServerConfig(limits=LimitsConfig(body_bytes=LIMIT, queue=16)), ("digits", "other")
    )


@pytest.fixture(scope="module")
def port(service: FakeService) -> Iterator[int]:
    with served_http(service) as taken:
        yield taken


@pytest.fixture
def frames(service: FakeService) -> list[bytes]:
    """Three frames, none of them UTF-8."""
    return [service.digits.frame(n, b"\xff" + bytes([n % 256] * 5)) for n in (1, 2, 600)]


def ask(
    port: int, verb: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request through http.client; underscores in names of headers are dashes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(verb, path, body, sent)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, answer.read()
    finally:
        connection.close()


def ask_json(port: int, verb: str, path: str, body: bytes | None = None, **headers: str) -> Any:
    status, found, content = ask(port, verb, path, body, **headers)
    assert found["content-type"] == "application/json"
    return status, json.loads(content)


def infer_json(frame: bytes, **more: Any) -> bytes:
    tensor = {
        "name": "bitstream", "datatype": "BYTES", "shape": [1],
        "data": [base64.b64encode(frame).decode()], "parameters": {"encoding": "base64"},
    }  # fmt: skip
    return json.dumps({"inputs": [tensor], **more}).encode()


def test_health_and_metadata(service: FakeService, port: int) -> None:
    version = service.digits.version
    assert ask_json(port, "GET", "/v2/health/live") == (200, {"live": True})
    assert ask_json(port, "GET", "/v2/health/ready") == (200, {"ready": True})
    assert ask_json(port, "GET", "/v2")[1]["extensions"] == ["binary_tensor_data"]
    assert ask_json(port, "GET", "/v2/models") == (200, {"models": ["digits", "other"]})
    for path in ("/v2/models/digits", f"/v2/models/digits/versions/{version}"):
        status, found = ask_json(port, "GET", path)
        assert (status, found["versions"]) == (200, [version])
        assert ask_json(port, "GET", f"{path}/ready") == (200, {"name": "digits", "ready": True})
    for path in ("/v2/models/none", "/v2/models/digits/versions/0", "/v2/models/none/ready"):
        status, found = ask_json(port, "GET", path)
        assert (status, found["name"], type(found["error"])) == (404, "model_unknown", str)
    assert ask(port, "PUT", "/v2/models/digits/infer")[0] == 405


def test_not_ready(service: FakeService, port: int) -> None:
    service.ready = False
    try:
        assert ask_json(port, "GET", "/v2/health/ready") == (503, {"ready": False})
        assert ask_json(port, "GET", "/v2/models/digits/ready")[0] == 503
        assert ask_json(port, "GET", "/v2/health/live") == (200, {"live": True})
    finally:
        service.ready = True


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient(
    service: FakeService, port: int, frames: list[bytes], binary: bool,
    require_package: Callable[[str], None],
) -> None:  # fmt: skip
    require_package("tritonclient.http")
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    with InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("digits")
        assert not client.is_model_ready("none")
        assert client.get_server_metadata()["name"] == "isthmus"
        assert client.get_model_metadata("digits")["inputs"][0]["name"] == "bitstream"
        tensor = InferInput("bitstream", [3, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[frame] for frame in frames], np.object_))
        names = ("probabilities", "top_labels", "top_indices", "top_values", "sequence")
        outputs = [InferRequestedOutput(name, binary_data=binary) for name in names]
        for wanted in (outputs, None):
            for packing in (None, "gzip", "deflate"):
                result = client.infer(
                    "digits", [tensor], outputs=wanted, request_id="a", parameters={"device": "7"},
                    request_compression_algorithm=packing,
                    response_compression_algorithm=packing,
                )  # fmt: skip
                assert result.get_response()["id"] == "a"
                check_outputs({name: result.as_numpy(name) for name in names}, frames)
        assert service.seen[-1][1].device == "7"


def test_tritonclient_without_binary_data(
    port: int, frames: list[bytes], require_package: Callable[[str], None]
) -> None:
    require_package("tritonclient.http")
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    with InferenceServerClient(f"127.0.0.1:{port}") as client:
        tensor = InferInput("bitstream", [3], "BYTES")
        texts = [base64.b64encode(frame) for frame in frames]
        tensor.set_data_from_numpy(np.array(texts, np.object_), binary_data=False)
        wanted = [InferRequestedOutput("probabilities", binary_data=False)]
        result = client.infer("digits", [tensor], outputs=wanted, parameters={"encoding": "base64"})
        expected = np.stack([expected_outputs(frame) for frame in frames])
        assert np.array_equal(result.as_numpy("probabilities"), expected)


def check_outputs(found: dict[str, Any], frames: list[bytes]) -> None:
    expected = np.stack([expected_outputs(frame) for frame in frames])
    assert np.array_equal(found["probabilities"], expected)
    order = np.argsort(-expected, axis=1, kind="stable")[:, :5]
    assert np.array_equal(found["top_indices"], order)
    assert np.array_equal(found["top_values"], np.take_along_axis(expected, order, 1))
    labels = [[x.decode() if isinstance(x, bytes) else x for x in row]
              for row in found["top_labels"]]  # fmt: skip
    assert labels == [[LABELS[i] for i in row] for row in order]
    assert found["sequence"].tolist() == [1, 2, 600]


def test_tritonclient_is_told_why(
    service: FakeService, port: int, frames: list[bytes], require_package: Callable[[str], None]
) -> None:
    require_package("tritonclient.http")
    from tritonclient.http import InferenceServerClient, InferInput
    from tritonclient.utils import InferenceServerException

    with InferenceServerClient(f"127.0.0.1:{port}") as client:
        tensor = InferInput("bitstream", [2], "BYTES")
        bad = frames[1][:-1] + b"?"
        tensor.set_data_from_numpy(np.array([frames[0], bad], np.object_))
        with pytest.raises(InferenceServerException) as caught:
            client.infer("digits", [tensor])
        assert caught.value.status() == "422"
        assert caught.value.message().startswith("inputs[0].data[1]: frame.header.checksum: is ")


def test_kserve(
    service: FakeService, port: int, frames: list[bytes], require_package: Callable[[str], None]
) -> None:
    require_package("kserve")
    frame = frames[2]
    bad = frame[:-1] + b"?"
    text = run_client("kserve_client.py", "rest", str(port), "digits", frame.hex(), bad.hex())
    found = json.loads(text)
    assert [found[key] for key in ("live", "ready", "model_ready")] == [True] * 3
    assert found["other_ready"] is True
    check_kserve(found["binary"], frame, 2)
    check_kserve(found["json"], frame, 2)
    assert "422" in found["error"]
    assert "inputs[0].data[1]" in found["error"]
    assert service.seen[-1][1].device == "7"


def check_kserve(found: dict[str, Any], frame: bytes, n: int) -> None:
    assert found["model"] == "digits"
    expected = expected_outputs(frame)
    outputs = found["outputs"]
    assert outputs["probabilities"]["shape"] == [n, 10]
    assert outputs["probabilities"]["data"] == expected.tolist() * n
    order = np.argsort(-expected, kind="stable")[:5].tolist()
    assert outputs["top_indices"]["data"] == order * n
    assert outputs["top_labels"]["data"] == [LABELS[i] for i in order] * n
    assert outputs["sequence"]["data"] == [600] * n


def test_one_frame_as_the_whole_body(port: int, frames: list[bytes]) -> None:
    status, found = ask_json(
        port, "POST", "/v2/models/digits/infer", frames[0], Inference_Header_Content_Length="0"
    )
    assert status == 200
    assert found["outputs"][0]["data"] == expected_outputs(frames[0]).tolist()


def test_plain_frames(service: FakeService, port: int, frames: list[bytes]) -> None:
    version = service.digits.version
    for path in (
        "/v2/frames", "/v2/models/digits/frames", f"/v2/models/digits/versions/{version}/frames",
    ):  # fmt: skip
        status, found = ask_json(port, "POST", path, frames[2], X_Isthmus_Device="cellar")
        assert status == 200
        assert (found["model"], found["version"], found["device"]) == ("digits", version, "cellar")
        assert (found["sequence"], found["rung"]) == (600, 0)
        assert list(found["outputs"]) == ["probabilities"]
        values = np.array(found["outputs"]["probabilities"], np.float32)
        np.testing.assert_array_equal(values, expected_outputs(frames[2]))
        assert found["bits_per_element"] == 8 * len(frames[2]) / 256
    ask_json(port, "POST", "/v2/frames?x=1&device=attic%203", frames[0])
    link, device, peer = (getattr(service.seen[-1][1], k) for k in ("link", "device", "peer"))
    assert (link, device, peer) == ("http", "attic 3", "127.0.0.1")


def test_compact_answers(port: int, frames: list[bytes]) -> None:
    accept = "application/octet-stream"
    status, found, body = ask(port, "POST", "/v2/frames", frames[2], Accept=accept)
    assert (status, found["content-type"]) == (200, accept)
    answer = unpack(body)
    values = expected_outputs(frames[2])
    order = np.argsort(-values, kind="stable")[:5]
    assert (answer.status, answer.sequence) == (0, 600)
    assert list(answer.top) == [(int(i), float(values[i])) for i in order]
    status, found, body = ask(port, "POST", "/v2/frames", frames[2][:-1] + b"?", Accept=accept)
    assert (status, found["content-type"]) == (422, accept)
    assert body == struct.pack("<BBHB", 0x10, 8, 600, 0)


def test_refusals_of_frames(service: FakeService, port: int, frames: list[bytes]) -> None:
    cases: list[tuple[str, bytes, int, str, int | None]] = [
        ("/v2/frames", frames[2][:-1] + b"?", 422, "checksum", 600),
        ("/v2/frames", b"", 422, "truncated", None),
        ("/v2/frames", b"\xff" + frames[2][1:], 422, "version", None),
        ("/v2/frames", frames[2][:4] + b"??" + frames[2][6:], 404, "digest_unknown", 600),
        ("/v2/models/none/frames", frames[2], 404, "model_unknown", 600),
    ]
    for path, body, status, name, sequence in cases:
        got, found = ask_json(port, "POST", path, body)
        assert (got, found["error"]["name"], found["sequence"]) == (status, name, sequence)


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (BusyError("queue", "is full"), 429, "1"),
        (DrainingError("server", "is shutting down"), 503, "1"),
        (BackHalfError("back half", "failed"), 500, None),
    ],
)
def test_the_status_of_what_the_service_refuses(
    service: FakeService, port: int, frames: list[bytes], error: Exception, status: int,
    retry: str | None,
) -> None:  # fmt: skip
    service.refuse[frames[0]] = error
    try:
        for path, body in (
            ("/v2/frames", frames[0]),
            ("/v2/models/digits/infer", infer_json(frames[0])),
        ):
            got, headers, _ = ask(port, "POST", path, body)
            assert (got, headers.get("retry-after")) == (status, retry)
    finally:
        service.refuse.clear()


@pytest.mark.parametrize("path", ["/v2/frames", "/v2/models/digits/infer"])
def test_long_bodies(service: FakeService, port: int, path: str) -> None:
    seen = len(service.seen)
    too_long = bytes(LIMIT + 1)
    assert ask(port, "POST", path, too_long)[0] == 413
    for packed, name in ((gzip.compress(too_long), "gzip"), (zlib.compress(too_long), "deflate")):
        assert ask(port, "POST", path, packed, Content_Encoding=name)[0] == 413
    # Said in the header, and not sent: it is refused before the body comes.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(1 << 40))
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("connection")) == (413, "close")
    finally:
        connection.close()
    # Not said: in chunks, refused once there are too many bytes.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        pieces = (bytes(LIMIT // 10) for _ in range(11))
        connection.request("POST", path, pieces, encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})  # fmt: skip
        assert connection.getresponse().status == 413
    finally:
        connection.close()
    assert len(service.seen) == seen


def test_a_body_that_does_not_come(frames: list[bytes]) -> None:
    service = FakeService(ServerConfig(limits=LimitsConfig(request_s=0.1)))
    with served_http(service) as taken:
        connection = http.client.HTTPConnection("127.0.0.1", taken, timeout=SECONDS)
        try:
            connection.putrequest("POST", "/v2/frames")
            connection.putheader("Content-Length", "20")
            connection.endheaders(b"ten bytes.")
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("connection")) == (400, "close")
            assert json.loads(answer.read())["error"]["what"] == "did not arrive in 0.1 s"
        finally:
            connection.close()
    assert service.seen == []


def test_a_frame_in_chunks(port: int, frames: list[bytes]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        pieces = iter([frames[0][:5], frames[0][5:9], frames[0][9:]])
        connection.request("POST", "/v2/frames", pieces, encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})  # fmt: skip
        assert json.loads(connection.getresponse().read())["sequence"] == 1
    finally:
        connection.close()


def test_large_bodies_are_read_like_small_ones(port: int, frames: list[bytes]) -> None:
    body = infer_json(frames[0], id="x" * 80_000)
    for sent, headers in ((body, {}), (gzip.compress(body, 0), {"Content_Encoding": "gzip"})):
        status, found = ask_json(port, "POST", "/v2/models/digits/infer", sent, **headers)
        assert (status, len(found["id"])) == (200, 80_000)


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"Inference_Header_Content_Length": "x"}, "Inference-Header-Content-Length"),
        ({"Inference_Header_Content_Length": "999999"}, "Inference-Header-Content-Length"),
        ({"Content_Encoding": "br"}, "Content-Encoding"),
        ({"Content_Encoding": "gzip"}, "body"),
        ({"X_Isthmus_Device": "d" * 129}, "X-Isthmus-Device"),
    ],
)
def test_headers_that_are_refused(
    port: int, frames: list[bytes], headers: dict[str, str], path: str
) -> None:
    body = infer_json(frames[0])
    status, found = ask_json(port, "POST", "/v2/models/digits/infer", body, **headers)
    assert (status, found["path"]) == (400, path)


def test_more_frames_than_the_queue_holds(port: int) -> None:
    tensor = {"name": "bitstream", "datatype": "BYTES", "shape": [17], "data": ["x"] * 17}
    body = json.dumps({"inputs": [tensor]}).encode()
    status, found = ask_json(port, "POST", "/v2/models/digits/infer", body)
    assert (status, found["path"]) == (400, "inputs[0].shape")
