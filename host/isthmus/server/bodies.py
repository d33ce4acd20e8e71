"""Bodies of HTTP requests: how long they may be, and compressed ones made plain. No sockets."""

from __future__ import annotations

import zlib

from isthmus.errors import BodyTooLargeError, RequestError

__all__ = ["check_length", "inflate", "too_large"]

#: What tells zlib how each encoding's stream is wrapped.
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def too_large(what: str, limit: int) -> BodyTooLargeError:
    """The refusal of a body of more than ``limit`` bytes."""
    return BodyTooLargeError(
        "body", what, allowed=f"<= {limit} bytes", remedy="limits.body_bytes sets it"
    )


def check_length(value: bytes, limit: int) -> None:
    """Refuses a Content-Length that says too much, before anything is read."""
    if len(value) > 20 or not value.isdigit():
        raise RequestError("Content-Length", "is no number")
    if int(value) > limit:
        raise too_large(f"is said to have {int(value)} bytes", limit)


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """The body that was compressed as Content-Encoding says, if it is not longer than ``limit``.

    Never makes more than ``limit`` + 1 bytes. The stream must be whole and end with the body.
    """
    window = _WINDOWS.get(encoding)
    if window is None:
        raise RequestError(
            "Content-Encoding", f"is {encoding[:40]!r}", allowed="gzip, deflate, identity"
        )
    stream = zlib.decompressobj(window)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error:
        raise RequestError("body", f"is no {encoding} stream") from None
    if len(plain) > limit:
        raise too_large(f"has more than {limit} bytes when it is decompressed", limit)
    if not stream.eof:
        raise RequestError("body", f"ends before its {encoding} stream does")
    if stream.unused_data:
        raise RequestError(
            "body", f"has {len(stream.unused_data)} bytes behind its {encoding} stream", allowed="0"
        )
    return plain
