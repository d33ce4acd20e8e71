"""kserve's clients, unmodified: asks a server for everything and prints what it says as JSON.

python kserve_client.py rest|grpc PORT MODEL FRAME BAD, the frames in hex
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig


def request(model: str, *frames: bytes, binary: bool = True) -> InferRequest:
    tensor = InferInput("bitstream", [len(frames)], "BYTES", parameters={"device": "7"})
    if binary:
        tensor.set_data_from_numpy(np.array(frames, np.object_), binary_data=True)
    else:
        tensor.data = [frame.decode("latin-1") for frame in frames]
        tensor.parameters["encoding"] = "latin-1"
    return InferRequest(model, [tensor], request_id="id 1")


def shown(response: Any) -> dict[str, Any]:
    outputs = {}
    for output in response.outputs:
        data = output.as_numpy()
        texts = output.datatype == "BYTES"
        flat = [x.decode() if isinstance(x, bytes) else x for x in data.ravel().tolist()]
        outputs[output.name] = {"shape": list(data.shape), "data": flat, "texts": texts}
    return {"id": response.id, "model": response.model_name, "outputs": outputs}


async def rest(port: str, model: str, frame: bytes, bad: bytes) -> dict[str, Any]:
    base = f"http://127.0.0.1:{port}"
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=20))
    async with client:
        result = {
            "live": await client.is_server_live(base),
            "ready": await client.is_server_ready(base),
            "model_ready": await client.is_model_ready(base, model),
            "other_ready": await client.is_model_ready(base, "other"),
        }
        for name, binary in (("binary", True), ("json", False)):
            made = request(model, frame, frame, binary=binary)
            result[name] = shown(await client.infer(base, made, model_name=model))
        try:
            await client.infer(base, request(model, frame, bad), model_name=model)
        except Exception as error:  # noqa: BLE001 - what it raises is what is asked
            result["error"] = f"{type(error).__name__}: {error}"
    return result


async def grpc(port: str, model: str, frame: bytes, bad: bytes) -> dict[str, Any]:
    client = InferenceGRPCClient(f"127.0.0.1:{port}", timeout=20)
    async with client:
        result: dict[str, Any] = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model_ready": await client.is_model_ready(model),
            "raw": shown(await client.infer(request(model, frame, frame))),
        }
        tensor = InferInput("bitstream", [1], "BYTES", data=[frame], parameters={"device": "7"})
        result["contents"] = shown(await client.infer(InferRequest(model, [tensor])))
        try:
            await client.infer(request(model, frame, bad))
        except Exception as error:  # noqa: BLE001
            result["error"] = f"{error.code().name}: {error.details()}"
    return result


def main(kind: str, port: str, model: str, frame: str, bad: str) -> None:
    logging.disable(logging.CRITICAL)
    ask = {"rest": rest, "grpc": grpc}[kind]
    result = asyncio.run(ask(port, model, bytes.fromhex(frame), bytes.fromhex(bad)))
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
