"""The Open Inference Protocol over gRPC, asked by clients that others wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from fake_service import LABELS, FakeService, expected_outputs
from served_app import loop_thread, run_client

from isthmus.errors import (
    BackHalfError,
    BusyError,
    ConfigError,
    DrainingError,
    IsthmusError,
    ReplayError,
    SealError,
    UnauthorizedError,
)
from isthmus.server.config import GrpcConfig, LimitsConfig, SecurityConfig, ServerConfig
from isthmus.server.grpc_oip import serve_grpc
from isthmus.server.protocol import open_inference_pb2 as pb

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20.0


class OneToken:
    """Takes ``Bearer right``."""

    def check(self, authorization: bytes | None) -> None:
        if authorization != b"Bearer right":
            raise UnauthorizedError("header Authorization", "holds no valid token")


@pytest.fixture(scope="module")
def service() -> FakeService:
    return FakeService(ServerConfig(limits=LimitsConfig(body_bytes=1 << 20, queue=16)))


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[[Any], Any]]:
    with loop_thread() as call:
        yield call


@pytest.fixture(scope="module")
def port(service: FakeService, run: Callable[[Any], Any]) -> Iterator[int]:
    server = run(serve_grpc(service, GrpcConfig(port=0)))
    yield server.port
    run(server.aclose(0))


def call(port: int, name: str, request: Any, **options: Any) -> Any:
    """One call; the answer, or the grpc.RpcError."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary(
            f"/inference.GRPCInferenceService/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=getattr(pb, f"{name}Response").FromString,
        )
        return method(request, timeout=SECONDS, **options)


def infer_message(*frames: bytes, raw: bytes | None = None, **changes: Any) -> Any:
    tensor = {"name": "bitstream", "datatype": "BYTES", "shape": [max(1, len(frames))]}
    message = pb.ModelInferRequest(model_name="digits")
    made = message.inputs.add(**{**tensor, **changes})
    if raw is None:
        made.contents.bytes_contents.extend(frames)
    else:
        message.raw_input_contents.append(raw)
    return message


def check_outputs(found: dict[str, Any], frame: bytes, n: int) -> None:
    expected = expected_outputs(frame)
    order = np.argsort(-expected, kind="stable")[:5].tolist()
    assert found["probabilities"]["shape"] == [n, 10]
    assert found["probabilities"]["data"] == expected.tolist() * n
    assert found["top_labels"]["data"] == [LABELS[i] for i in order] * n
    assert found["top_indices"]["data"] == order * n
    assert found["top_values"]["data"] == [float(expected[i]) for i in order] * n
    assert found["sequence"]["data"] == [600] * n


def test_tritonclient(
    service: FakeService, port: int, require_package: Callable[[str], None]
) -> None:
    require_package("tritonclient.grpc")
    frame = service.digits.frame(600, b"\xff\x00\x80")
    bad = frame[:-1] + b"?"
    text = run_client("triton_grpc_client.py", str(port), "digits", frame.hex(), bad.hex())
    found = json.loads(text)
    assert [found[key] for key in ("live", "ready", "model_ready")] == [True] * 3
    assert found["server"]["extensions"] == ["binary_tensor_data"]
    assert found["metadata"]["versions"] == [service.digits.version]
    assert found["metadata"]["inputs"] == [
        {"name": "bitstream", "datatype": "BYTES", "shape": ["-1"]}
    ]
    assert (found["raw"]["id"], found["raw"]["model"]) == ("id 1", "digits")
    check_outputs(found["raw"]["outputs"], frame, 2)
    assert found["raw"]["outputs"]["sequence"]["dtype"] == "int32"
    assert list(found["chosen"]["outputs"]) == ["sequence", "probabilities"]
    codes = {name: error[0] for name, error in found["errors"].items()}
    assert codes == {
        "frame": "StatusCode.INVALID_ARGUMENT",
        "model": "StatusCode.NOT_FOUND",
        "metadata": "StatusCode.NOT_FOUND",
        "size": "StatusCode.RESOURCE_EXHAUSTED",
        # What is compressed may be a thousand times as long as what is sent.
        "gzip": "StatusCode.UNIMPLEMENTED",
    }
    assert found["errors"]["frame"][1].startswith("inputs[0].data[1]: frame.header.checksum: is ")
    devices = [origin.device for data, origin in service.seen if data == frame]
    assert devices[:3] == ["7", "7", ""]
    assert service.seen[0][1].link == "grpc"
    assert service.seen[0][1].peer == "127.0.0.1"


def test_kserve(service: FakeService, port: int, require_package: Callable[[str], None]) -> None:
    require_package("kserve")
    frame = service.digits.frame(600, b"\xff\x00\x81")
    bad = frame[:-1] + b"?"
    text = run_client("kserve_client.py", "grpc", str(port), "digits", frame.hex(), bad.hex())
    found = json.loads(text)
    assert [found[key] for key in ("live", "ready", "model_ready")] == [True] * 3
    check_outputs(found["raw"]["outputs"], frame, 2)
    check_outputs(found["contents"]["outputs"], frame, 1)
    assert found["error"].startswith("INVALID_ARGUMENT: inputs[0].data[1]: frame.header.checksum")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BusyError("queue", "is full"), "RESOURCE_EXHAUSTED"),
        (DrainingError("server", "is shutting down"), "UNAVAILABLE"),
        (SealError("seal", "does not match"), "PERMISSION_DENIED"),
        (ReplayError("seal.counter", "was used before"), "ALREADY_EXISTS"),
        (BackHalfError("back half", "failed"), "INTERNAL"),
    ],
)
def test_the_status_of_what_the_service_refuses(
    service: FakeService, port: int, error: IsthmusError, status: str
) -> None:
    frame = service.digits.frame(1)
    service.refuse[frame] = error
    try:
        with pytest.raises(grpc.RpcError) as caught:
            call(port, "ModelInfer", infer_message(frame))
    finally:
        service.refuse.clear()
    assert (caught.value.code().name, caught.value.details()) == (status, str(error))
    told = {entry.key: entry.value for entry in caught.value.trailing_metadata()}
    assert (told["isthmus-code"], told["isthmus-name"]) == (str(error.code), error.name)


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (pb.ModelInferRequest(model_name="digits"), "inputs: "),
        (infer_message(b"a", name="x"), "inputs[0].name: "),
        (infer_message(b"a", datatype="UINT8"), "inputs[0].datatype: "),
        (infer_message(b"a", shape=[0]), "inputs[0].shape: "),
        (infer_message(b"a", shape=[17]), "inputs[0].shape: "),
        (infer_message(b"a", shape=[-1]), "inputs[0].shape: "),
        (infer_message(b"a", shape=[2]), "inputs[0].contents.bytes_contents: "),
        (infer_message(raw=b"\x01\0\0\0ab"), "raw_input_contents[0]: has 1 bytes behind"),
        (infer_message(raw=b"\x05\0\0\0ab"), "raw_input_contents[0][0]: is said to have 5"),
    ],
)
def test_requests_that_are_refused(port: int, message: Any, path: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(port, "ModelInfer", message)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith(path)


def test_raw_and_contents_are_one_or_the_other(port: int) -> None:
    both = infer_message(b"a")
    both.raw_input_contents.append(b"\x01\0\0\0a")
    shared = infer_message(b"a")
    shared.inputs[0].parameters["shared_memory_region"].string_param = "r"
    twice = infer_message(b"a")
    twice.outputs.add(name="a")
    twice.outputs.add(name="a")
    for message in (both, shared, twice):
        with pytest.raises(grpc.RpcError) as caught:
            call(port, "ModelInfer", message)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_parameters(service: FakeService, port: int) -> None:
    frame = service.digits.frame(600)
    message = infer_message(frame)
    message.parameters["device"].string_param = "request"
    message.inputs[0].parameters["device"].int64_param = 9
    message.inputs[0].parameters["sequence"].int64_param = 600
    call(port, "ModelInfer", message)
    assert service.seen[-1][1].device == "9"
    message.inputs[0].parameters["sequence"].int64_param = 601
    with pytest.raises(grpc.RpcError, match="is 601; allowed: 600"):
        call(port, "ModelInfer", message)


def test_readiness(service: FakeService, port: int) -> None:
    service.ready = False
    try:
        assert not call(port, "ServerReady", pb.ServerReadyRequest()).ready
        assert not call(port, "ModelReady", pb.ModelReadyRequest(name="digits")).ready
        assert call(port, "ServerLive", pb.ServerLiveRequest()).live
    finally:
        service.ready = True
    assert call(port, "ModelReady", pb.ModelReadyRequest(name="digits")).ready


def test_tokens(service: FakeService, run: Callable[[Any], Any]) -> None:
    server = run(serve_grpc(service, GrpcConfig(port=0), None, OneToken()))
    try:
        message = infer_message(service.digits.frame(1))
        for metadata in ((), (("authorization", "Bearer wrong"),)):
            with pytest.raises(grpc.RpcError) as caught:
                call(server.port, "ModelInfer", message, metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        right = (("authorization", "Bearer right"),)
        assert call(server.port, "ModelInfer", message, metadata=right).model_name == "digits"
        assert call(server.port, "ServerLive", pb.ServerLiveRequest()).live
    finally:
        run(server.aclose(0))


def test_an_address_that_is_taken(
    service: FakeService, port: int, run: Callable[[Any], Any]
) -> None:
    with pytest.raises(ConfigError, match="cannot be listened on"):
        run(serve_grpc(service, GrpcConfig(port=port)))


def test_tls_with_client_certificates(
    service: FakeService, run: Callable[[Any], Any], tmp_path: Path,
    require_tool: Callable[[str], str],
) -> None:  # fmt: skip
    openssl = require_tool("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    security = SecurityConfig(certificate=certificate, key=key, client_ca=certificate)
    server = run(serve_grpc(service, GrpcConfig(port=0), security))
    pair = (key.read_bytes(), certificate.read_bytes())
    try:
        for own, code in ((pair, None), ((None, None), grpc.StatusCode.UNAVAILABLE)):
            credentials = grpc.ssl_channel_credentials(pair[1], *own)
            address = f"localhost:{server.port}"
            with grpc.secure_channel(address, credentials) as channel:
                method = channel.unary_unary(
                    "/inference.GRPCInferenceService/ServerLive",
                    request_serializer=pb.ServerLiveRequest.SerializeToString,
                    response_deserializer=pb.ServerLiveResponse.FromString,
                )
                if code is None:
                    assert method(pb.ServerLiveRequest(), timeout=SECONDS).live
                else:
                    with pytest.raises(grpc.RpcError) as caught:
                        method(pb.ServerLiveRequest(), timeout=SECONDS)
                    assert caught.value.code() is code
    finally:
        run(server.aclose(0))


def test_the_messages_are_what_the_proto_gives(require_package: Callable[[str], None]) -> None:
    require_package("grpc_tools")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/make_proto.py"), "--check"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


DESCRIBE = """
import importlib, json, sys
def fields(d):
    own = {f.name: [f.number, f.type, bool(f.is_repeated),
                    f.message_type.full_name if f.message_type else "",
                    f.containing_oneof.name if f.containing_oneof else ""] for f in d.fields}
    return {"fields": own, "nested": {n.name: fields(n) for n in d.nested_types}}
file = importlib.import_module(sys.argv[1]).DESCRIPTOR
service = file.services_by_name["GRPCInferenceService"]
json.dump({
    "package": file.package,
    "messages": {n: fields(d) for n, d in file.message_types_by_name.items()},
    "methods": {m.name: [m.input_type.full_name, m.output_type.full_name]
                for m in service.methods},
}, sys.stdout)
"""


def described(module: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", DESCRIBE, module], capture_output=True, text=True, timeout=60,
        check=False, env={"PYTHONPATH": str(ROOT / "host")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("tritonclient.grpc.service_pb2", "tritonclient.grpc"),
        ("kserve.protocol.grpc.grpc_predict_v2_pb2", "kserve"),
    ],
)
def test_the_messages_are_those_of_others(
    module: str, package: str, require_package: Callable[[str], None]
) -> None:
    require_package(package)
    ours, theirs = described("isthmus.server.protocol.open_inference_pb2"), described(module)
    assert ours["package"] == theirs["package"]
    for name, types in ours["methods"].items():
        assert theirs["methods"][name] == types
    for name, message in ours["messages"].items():
        match_message(message, theirs["messages"][name], name)


def match_message(ours: Any, theirs: Any, path: str) -> None:
    """Every field of theirs is ours, number and type; parameters have two kinds kserve has not."""
    extra = set(ours["fields"]) - set(theirs["fields"])
    assert extra <= ({"double_param", "uint64_param"} if path == "InferParameter" else set())
    for name, field in theirs["fields"].items():
        assert ours["fields"].get(name) == field, f"{path}.{name}"
    assert set(ours["nested"]) == set(theirs["nested"]), path
    for name, nested in ours["nested"].items():
        match_message(nested, theirs["nested"][name], f"{path}.{name}")
