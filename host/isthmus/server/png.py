"""PNG files (ISO/IEC 15948) of 8-bit pictures, with zlib alone."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

__all__ = ["png_bytes"]

_COLOUR = {1: 0, 3: 2}


def png_bytes(picture: npt.NDArray[np.uint8]) -> bytes:
    """A picture uint8 [height, width, 1 or 3], grey or RGB, as a PNG file.

    Rows are not filtered; pictures here are small.
    """
    height, width, channels = picture.shape
    rows = np.zeros((height, 1 + width * channels), dtype=np.uint8)  # filter 0 before each row
    rows[:, 1:] = picture.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR[channels], 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", head),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
