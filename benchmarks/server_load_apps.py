"""The servers that `server_load` compares, each a program of its own.

    python -m benchmarks.server_load_apps NAME BUNDLE PORT

isthmus    ``isthmus serve``, as it is started by its command
identity   the same server; no frame is decoded, and the back half is ten numbers copied
fastapi    a plain FastAPI application: Decoder and BackHalf in the handler, one process
fastapi2   the same application in two processes
litserve   LitServe: the same two in its LitAPI, with its batching
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PATHS = {
    "isthmus": "/v2/models/net/frames",
    "identity": "/v2/models/net/frames",
    "fastapi": "/frames",
    "fastapi2": "/frames",
    "litserve": "/predict",
}


def settings(bundle: Path, port: int) -> dict[str, Any]:
    """The configuration of our servers: defaults, HTTP alone."""
    return {
        "bundles": [{"path": str(bundle), "name": "net"}],
        "http": {"port": port},
        "grpc": {"enabled": False},
        "log": {"level": "warning"},
    }


def isthmus(bundle: Path, port: int) -> None:
    """The server."""
    from isthmus.server.config import load_config
    from isthmus.server.run import run

    run(load_config(None, **settings(bundle, port)), lambda server: None)


def identity(bundle: Path, port: int) -> None:
    """The server around nothing: the protocol's own cost, with queue, batches and metrics."""
    from isthmus.codec.frame import SliceHeader
    from isthmus.server.fleet import DecodedBatch, Generation

    def decode(self: Generation, frames: Sequence[Any]) -> DecodedBatch:
        count = len(frames)
        headers = [SliceHeader.read(frame) for frame in frames]
        shape = (count, *self.profile.tensor.shape)
        return DecodedBatch(
            list(range(count)), [h.rung for h in headers], [h.sequence for h in headers],
            np.zeros(shape, np.uint8), np.zeros((count, 10), np.float32), [None] * count,
            [0] * count, {},
        )  # fmt: skip

    def compute(self: Generation, features: Any) -> list[Any]:
        return [np.array(features.reshape(len(features), -1)[:, :10])]

    Generation.decode = decode  # type: ignore[method-assign]
    Generation.compute = compute  # type: ignore[method-assign]
    isthmus(bundle, port)


def fastapi(bundle: Path, port: int, processes: int = 1) -> None:
    """uvicorn as it comes, in so many processes."""
    import uvicorn

    os.environ["ISTHMUS_LOAD_BUNDLE"] = str(bundle)
    uvicorn.run(
        "benchmarks.server_load_fastapi:make_app", factory=True, port=port, workers=processes,
        log_level="warning", access_log=False,
    )  # fmt: skip


def fastapi2(bundle: Path, port: int) -> None:
    """uvicorn with a process for each of two cores."""
    fastapi(bundle, port, 2)


def litserve(bundle: Path, port: int) -> None:
    """LitServe, its defaults but for the batch."""
    from benchmarks.server_load_litserve import serve

    serve(bundle, port)


if __name__ == "__main__":
    name, folder, number = sys.argv[1:]
    servers: dict[str, Callable[[Path, int], None]] = {
        "isthmus": isthmus, "identity": identity, "fastapi": fastapi, "fastapi2": fastapi2,
        "litserve": litserve,
    }  # fmt: skip
    servers[name](Path(folder), int(number))
