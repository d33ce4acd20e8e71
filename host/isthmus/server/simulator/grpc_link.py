"""Simulated boards over gRPC: ModelInfer of the Open Inference Protocol."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import numpy as np

from isthmus.errors import ERROR_TABLE, LinkError
from isthmus.server.protocol import open_inference_pb2 as pb
from isthmus.server.simulator.links import LinkOptions, authority
from isthmus.server.simulator.replies import Reply

__all__ = ["GrpcSender"]

_State = grpc.ChannelConnectivity
_CONNECT_S = 5.0
_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_CODES = {row.code for row in ERROR_TABLE}


class GrpcSender:
    """Calls over a few channels; a channel carries any number of them at once."""

    in_packets = False
    unexpected = 0

    def __init__(self, host: str, port: int, options: LinkOptions) -> None:
        self._where = authority(host, port)
        self._options = options
        self._count = options.count(4)
        self._channels: list[Any] = []
        self._calls: list[Any] = []

    async def open(self) -> None:
        """Opens the channels and connects one of them."""
        for number in range(self._count):
            # else gRPC would join channels of equal options in one connection
            channel = grpc.aio.insecure_channel(self._where, [("isthmus.channel", number)])
            self._channels.append(channel)
            self._calls.append(
                channel.unary_unary(
                    _METHOD,
                    request_serializer=pb.ModelInferRequest.SerializeToString,
                    response_deserializer=pb.ModelInferResponse.FromString,
                )
            )

        first = self._channels[0]
        state = first.get_state(try_to_connect=True)
        try:
            async with asyncio.timeout(_CONNECT_S):
                while state not in (_State.READY, _State.TRANSIENT_FAILURE):
                    await first.wait_for_state_change(state)
                    state = first.get_state(try_to_connect=True)
        except TimeoutError:
            state = _State.TRANSIENT_FAILURE
        if state is not _State.READY:
            raise LinkError(self._where, "cannot be reached by gRPC", remedy="start the server")

    async def send(self, device: int, sequence: int, units: list[bytes]) -> Reply:
        """One call."""
        (unit,) = units
        request = pb.ModelInferRequest(model_name=self._options.name)
        request.parameters["device"].string_param = self._options.device_name(device)
        request.inputs.add(name="bitstream", datatype="BYTES", shape=[1])
        request.raw_input_contents.append(len(unit).to_bytes(4, "little") + unit)
        try:
            response = await self._calls[device % self._count](request)
        except grpc.aio.AioRpcError as error:
            said = dict(error.trailing_metadata() or ())
            code = str(said.get("isthmus-code", ""))
            if code.isdecimal() and int(code) in _CODES:
                return Reply(int(code))
            raise LinkError(self._where, f"{error.code().name}: {error.details()}") from error
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=False):
            if output.name == "top_indices":
                return Reply(0, int(np.frombuffer(raw, "<i4")[0]))
        return Reply(0)

    async def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels:
            await channel.close()
