"""The firmware's C codec on the host, through cffi; the same bytes, the GIL released."""

from __future__ import annotations

from isthmus.native.codec import NativeCodec

__all__ = ["NativeCodec"]
