"""tritonclient's gRPC client, unmodified: asks a server and prints what it says as JSON.

python triton_grpc_client.py PORT MODEL FRAME BAD, the frames in hex
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException


def tensor(*frames: bytes) -> InferInput:
    made = InferInput("bitstream", [len(frames), 1], "BYTES")
    made.set_data_from_numpy(np.array([[frame] for frame in frames], np.object_))
    return made


def shown(result: Any, names: tuple[str, ...]) -> dict[str, Any]:
    outputs = {}
    for name in names:
        data = result.as_numpy(name)
        flat = [x.decode() if isinstance(x, bytes) else x for x in data.ravel().tolist()]
        outputs[name] = {"shape": list(data.shape), "data": flat, "dtype": str(data.dtype)}
    response = result.get_response()
    return {"id": response.id, "model": response.model_name, "outputs": outputs}


def main(port: str, model: str, good: str, bad: str) -> None:
    frame, damaged = bytes.fromhex(good), bytes.fromhex(bad)
    names = ("probabilities", "top_labels", "top_indices", "top_values", "sequence")
    with InferenceServerClient(f"127.0.0.1:{port}") as client:
        found: dict[str, Any] = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(model),
            "server": client.get_server_metadata(as_json=True),
            "metadata": client.get_model_metadata(model, as_json=True),
        }
        result = client.infer(
            model, [tensor(frame, frame)], request_id="id 1", parameters={"device": "7"}
        )
        found["raw"] = shown(result, names)
        wanted = [InferRequestedOutput("sequence"), InferRequestedOutput("probabilities")]
        result = client.infer(model, [tensor(frame)], outputs=wanted)
        found["chosen"] = shown(result, ("sequence", "probabilities"))
        errors = {
            "frame": lambda: client.infer(model, [tensor(frame, damaged)]),
            "model": lambda: client.infer("none", [tensor(frame)]),
            "metadata": lambda: client.get_model_metadata(model, "0"),
            "size": lambda: client.infer(model, [tensor(bytes(1 << 20))]),
            "gzip": lambda: client.infer(
                model, [tensor(bytes(1 << 20))], compression_algorithm="gzip"
            ),
        }
        found["errors"] = {}
        for name, call in errors.items():
            try:
                call()
            except InferenceServerException as error:
                found["errors"][name] = [error.status(), error.message()]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
