"""One whole answer over ASGI."""

from __future__ import annotations

from starlette.types import Send

__all__ = ["BINARY", "JSON", "send_body"]

JSON = b"application/json"
BINARY = b"application/octet-stream"


async def send_body(
    send: Send,
    status: int,
    body: bytes,
    kind: bytes = JSON,
    *more: tuple[bytes, bytes],
    close: bool = False,
) -> None:
    """One whole answer; ``close`` where what follows on the connection is no new request."""
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *more]
    if close:
        headers.append((b"connection", b"close"))
    if status in (429, 503):
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
