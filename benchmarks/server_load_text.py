"""The tables of the server's load."""

from __future__ import annotations

from typing import Any

from benchmarks.sections import markdown_table

__all__ = ["section"]

_INTRODUCTION = """## How many frames a second the server answers

Written by `python -m benchmarks.server_load`; the figures are in `results/server_load.json`.
ResNet-8 after stage 2, N = 4, real pictures, frames of about a kilobyte over HTTP/1.1 with
connections kept open, each client with one frame on its way. {machine}; the clients run on the
same cores. {rounds} rounds of {seconds:g} seconds, everything once in each round; the round of the
median throughput.

- isthmus: `isthmus serve` with its defaults, one process. identity: the same server, nothing
  decoded and nothing computed: HTTP, queue, batches, JSON and metrics alone. fastapi: `Decoder` and
  `BackHalf` in a handler, uvicorn as it comes; fastapi2: the same in two processes. They have no
  queue, no limits, no metrics and no batches. litserve: the same two behind LitServe, batches of
  32; it takes JSON only, so its frames travel as base64.
- server, client: microseconds of CPU time a frame, all processes of the server together."""


def section(result: dict[str, Any]) -> str:
    """The section of RESULTS.md."""
    head = ("server", "clients", "frames/s", "p50, ms", "p99, ms", "server, us", "client, us")
    body = [
        [
            name, str(row["clients"]), f"{row['frames_per_s']:,.0f}", f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}", f"{row['server_us']:.0f}", f"{row['client_us']:.0f}",
        ]
        for name, rows in result["servers"].items()
        for row in rows
    ]  # fmt: skip
    bare = result["bare"]
    most = result["servers"]["isthmus"][-1]
    text = (
        f"The bare work in one process: {bare['decode_us']:.0f} us to decode a frame and"
        f" {bare['infer_us']:.0f} us for the back half, in batches in one thread:"
        f" {bare['frames_per_s']:,.0f} frames a second, of which the server answers"
        f" {100 * result['share_of_bare']:.0f} % with {most['clients']} clients (median of the"
        f" ratios within a round). Two threads at once do"
        f" {bare['both_frames_per_s']:,.0f} frames a second: what is left of two cores when no"
        f" byte goes over HTTP and no client runs."
    )
    return f"{_INTRODUCTION.format(**result)}\n\n{markdown_table(head, body)}\n\n{text}"
