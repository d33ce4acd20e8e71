"""The Open Inference Protocol over gRPC: ``serve_grpc``.

The same requests and answers as over HTTP, in the published messages. A request whose input is in
``raw_input_contents`` is answered in ``raw_output_contents``, another one in ``contents``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import grpc

from isthmus.errors import ConfigError, IsthmusError, RequestError
from isthmus.server.access import read_file
from isthmus.server.config import GrpcConfig, SecurityConfig
from isthmus.server.infer import http_status, infer, most_frames
from isthmus.server.oip import (
    InferRequest,
    WantedOutput,
    check_device,
    check_input,
    check_sequence,
    read_parameters,
    split_bytes,
)
from isthmus.server.oip_answer import (
    OipService,
    find_generations,
    model_metadata,
    output_tensors,
    server_metadata,
)
from isthmus.server.protocol import open_inference_pb2 as pb
from isthmus.server.types import Answer, Origin

__all__ = ["GrpcServer", "Guard", "infer_request", "infer_response", "serve_grpc"]

SERVICE = "inference.GRPCInferenceService"

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
#: One bit for each algorithm that may be received: none but identity, whose size is what is sent.
_IDENTITY_ONLY = 1


class Guard(Protocol):
    """Who may call: raises UnauthorizedError."""

    def check(self, authorization: bytes | None) -> None: ...


def _parameters(message: Any, path: str) -> dict[str, Any]:
    found = {}
    for name, value in message.items():
        choice = value.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(value, choice)
    return dict(read_parameters(found, path))


def infer_request(message: Any, most: int) -> tuple[InferRequest, bool]:
    """A ModelInferRequest of at most ``most`` frames, and whether it holds them raw."""
    shared = _parameters(message.parameters, "parameters")
    if len(message.inputs) != 1:
        raise RequestError("inputs", f"are {len(message.inputs)}", allowed="one")
    tensor = message.inputs[0]
    own = _parameters(tensor.parameters, "inputs[0].parameters")
    count = check_input(tensor.name, tensor.datatype, list(tensor.shape), most)
    raw = message.raw_input_contents
    frames = list(tensor.contents.bytes_contents)
    if raw:
        if len(raw) != 1 or tensor.HasField("contents"):
            raise RequestError("raw_input_contents", "do not fit the inputs", allowed="one of one")
        frames = split_bytes(raw[0], count, "raw_input_contents[0]")
    elif len(frames) != count:
        raise RequestError(
            "inputs[0].contents.bytes_contents", f"are {len(frames)}", allowed=str(count)
        )
    check_sequence(own, shared, frames[0])
    wanted = tuple(WantedOutput(output.name) for output in message.outputs)
    if len({one.name for one in wanted}) != len(wanted):
        raise RequestError("outputs", "have one name twice", allowed="each output once")
    for i, output in enumerate(message.outputs):
        if output.parameters:
            read_parameters(_parameters(output.parameters, f"outputs[{i}]"), f"outputs[{i}]")
    return InferRequest(frames, message.id, check_device(own, shared), wanted), bool(raw)


def infer_response(answers: Sequence[Answer], request: InferRequest, raw: bool) -> Any:
    """The ModelInferResponse to ``infer_request``'s result."""
    message = pb.ModelInferResponse(
        model_name=answers[0].model, model_version=answers[0].version, id=request.id
    )
    for tensor in output_tensors(answers, request):
        output = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            message.raw_output_contents.append(tensor.raw())
        elif isinstance(tensor.values, list):
            output.contents.bytes_contents.extend(text.encode("utf-8") for text in tensor.values)
        elif tensor.datatype == "INT32":
            output.contents.int_contents.extend(tensor.flat())
        else:
            output.contents.fp32_contents.extend(tensor.flat())
    return message


def _host(peer: str) -> str:
    """``ipv4:127.0.0.1:40000`` without what differs between connections."""
    return peer.partition(":")[2].rpartition(":")[0].strip("[]") if ":" in peer else peer


class _Calls:
    """The calls of the service."""

    def __init__(self, service: OipService, guard: Guard | None) -> None:
        self._service = service
        self._guard = guard
        self._most = most_frames(service.config.limits)

    def handlers(self) -> Any:
        """What the server is told of them."""
        calls: dict[str, tuple[Callable[[Any, Any], Awaitable[Any]], str, bool]] = {
            "ServerLive": (self.server_live, "ServerLive", False),
            "ServerReady": (self.server_ready, "ServerReady", False),
            "ModelReady": (self.model_ready, "ModelReady", True),
            "ServerMetadata": (self.server_metadata, "ServerMetadata", True),
            "ModelMetadata": (self.model_metadata, "ModelMetadata", True),
            "ModelInfer": (self.model_infer, "ModelInfer", True),
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    self._refusing(call, guarded),
                    request_deserializer=getattr(pb, f"{message}Request").FromString,
                    response_serializer=getattr(pb, f"{message}Response").SerializeToString,
                )
                for name, (call, message, guarded) in calls.items()
            },
        )

    def _refusing(
        self, call: Callable[[Any, Any], Awaitable[Any]], guarded: bool
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        guard = self._guard if guarded else None

        async def handle(request: Any, context: Any) -> Any:
            try:
                if guard is not None:
                    metadata = dict(context.invocation_metadata() or ())
                    value = metadata.get("authorization")
                    guard.check(value.encode() if isinstance(value, str) else value)
                return await call(request, context)
            except IsthmusError as error:
                await context.abort(
                    _CODES.get(http_status(error), grpc.StatusCode.INTERNAL),
                    str(error),
                    (("isthmus-code", str(error.code)), ("isthmus-name", error.name)),
                )

        return handle

    async def server_live(self, request: Any, context: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, request: Any, context: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._service.ready)

    async def model_ready(self, request: Any, context: Any) -> Any:
        find_generations(self._service.fleet, request.name, request.version)
        return pb.ModelReadyResponse(ready=self._service.ready)

    async def server_metadata(self, request: Any, context: Any) -> Any:
        return pb.ServerMetadataResponse(**server_metadata())

    async def model_metadata(self, request: Any, context: Any) -> Any:
        found = find_generations(self._service.fleet, request.name, request.version)
        return pb.ModelMetadataResponse(**model_metadata(found, self._service.config.top))

    async def model_infer(self, request: Any, context: Any) -> Any:
        wanted, raw = infer_request(request, self._most)
        origin = Origin("grpc", wanted.device, _host(context.peer()))
        answers = await infer(
            self._service, wanted.frames, origin, request.model_name, request.model_version
        )
        return infer_response(answers, wanted, raw)


class GrpcServer:
    """A server that listens; ``port`` is the one it took."""

    def __init__(self, server: Any, port: int) -> None:
        self._server = server
        self.port = port

    async def aclose(self, grace: float = 1.0) -> None:
        """Takes no more calls and ends after ``grace`` seconds those that are under way."""
        await self._server.stop(grace)


def _credentials(security: SecurityConfig) -> Any:
    """TLS as configured, None without; with ``client_ca`` clients must show a certificate."""
    if security.certificate is None or security.key is None:
        return None
    roots = None
    if security.client_ca is not None:
        roots = read_file(security.client_ca, "security.client_ca")
    pair = (
        read_file(security.key, "security.key"),
        read_file(security.certificate, "security.certificate"),
    )
    return grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)


async def serve_grpc(
    service: OipService,
    config: GrpcConfig,
    security: SecurityConfig | None = None,
    guard: Guard | None = None,
) -> GrpcServer:
    """Listens as configured; ``guard`` is asked before every call but the two of health."""
    limits = service.config.limits
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limits.body_bytes),
            ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=limits.queue,
    )
    server.add_generic_rpc_handlers((_Calls(service, guard).handlers(),))
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"{host}:{config.port}"
    credentials = _credentials(security or SecurityConfig())
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError:
        port = 0
    if port == 0:
        raise ConfigError(
            "grpc", f"{address} cannot be listened on", remedy="choose another --grpc-port"
        )
    await server.start()
    return GrpcServer(server, port)
