"""Many clients of one HTTP server, each with one frame on its way at any time (closed loop).

    python -m benchmarks.server_load_client FRAMES PORT PATH CLIENTS SECONDS BODY

FRAMES is a .npz of ``data`` (uint8, frames end to end) and ``offset``; BODY is "bytes", or "json"
for a server that takes nothing else. Prints one JSON object.
Requests are made beforehand and answers are read no further than their length, so that the load
takes as little of the machine as it can; what it takes is reported.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from base64 import b64encode
from typing import cast

import numpy as np
import uvloop

WARM_UP = 0.7


class Client(asyncio.Protocol):
    """One connection: sends, waits for the whole answer, sends the next."""

    def __init__(self, requests: list[bytes], start: int, latencies: list[float]) -> None:
        self.requests = requests
        self.next = start
        self.latencies = latencies
        self.failures = 0
        self.refusal = b""
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are of no such class
        self.send()

    def send(self) -> None:
        """The next request."""
        self.sent = time.perf_counter()
        self.transport.write(self.requests[self.next])
        self.next = (self.next + 1) % len(self.requests)

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.buffer = data
            return
        at = data.lower().find(b"content-length:", 0, end)
        length = int(data[at + 15 : data.find(b"\r", at)])
        if len(data) < end + 4 + length:
            self.buffer = data
            return
        self.buffer = b""
        self.latencies.append(time.perf_counter() - self.sent)
        if not data.startswith(b"HTTP/1.1 200"):
            self.failures += 1
            self.refusal = data[:200]
        self.send()


async def load(
    requests: list[bytes], port: int, clients: int, seconds: float
) -> dict[str, float | int]:
    """The figures of ``clients`` connections over ``seconds``."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    made = [Client(requests, (7 * k) % len(requests), latencies) for k in range(clients)]
    for one in made:
        await loop.create_connection(lambda one=one: one, "127.0.0.1", port)
    await asyncio.sleep(WARM_UP)
    latencies.clear()
    cpu, begin = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    took, cpu = time.perf_counter() - begin, time.process_time() - cpu
    for one in made:
        one.transport.abort()
    refused = [one.refusal for one in made if one.failures]
    if refused or not latencies:
        raise SystemExit(f"not every request was answered: {refused[:1]}")
    return {
        "clients": clients,
        "answers": len(latencies),
        "frames_per_s": len(latencies) / took,
        "p50_ms": float(np.percentile(latencies, 50)) * 1e3,
        "p99_ms": float(np.percentile(latencies, 99)) * 1e3,
        "client_us": cpu / len(latencies) * 1e6,
    }


def main(arguments: list[str]) -> int:
    """Loads the server and prints what came of it."""
    file, port, path, clients, seconds, kind = arguments
    with np.load(file) as packed:
        data, offset = packed["data"].tobytes(), packed["offset"]
    bodies = [data[a:b] for a, b in itertools.pairwise(offset)]
    media = "application/octet-stream"
    if kind == "json":
        media = "application/json"
        bodies = [json.dumps({"frame": b64encode(body).decode()}).encode() for body in bodies]
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media}\r\n"
    requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(load(requests, int(port), int(clients), float(seconds)))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
