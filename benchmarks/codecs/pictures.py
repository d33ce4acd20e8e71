"""JPEG, WebP and PNG by Pillow: for tiles of one plane and for colour pictures."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from benchmarks.codecs.base import Array8, Codec
from isthmus_gen.evaluate.rivals import jpeg_scan_bytes

__all__ = ["LEVEL_BITS", "Jpeg", "LevelsPng", "Png", "WebP"]

LEVEL_BITS = (1, 2, 4, 8)


class _File(Codec):
    """A picture file of Pillow's."""

    def __init__(self, name: str, setting: str, kind: str, **options: Any) -> None:
        self.name = name
        self.setting = setting
        self._kind = kind
        self._options = options

    def encode(self, array: Array8) -> bytes:
        from PIL import Image

        out = io.BytesIO()
        Image.fromarray(array).save(out, self._kind, **self._options)
        return out.getvalue()

    def decode(self, code: bytes) -> Array8:
        return _read(code, "RGB")


class Jpeg(_File):
    """JPEG with Huffman tables made for each picture, as they are the smallest."""

    def __init__(self, name: str, quality: int, *, colour: bool) -> None:
        super().__init__(name, f"quality {quality}", "JPEG", quality=quality, optimize=True)
        self._mode = "RGB" if colour else "L"

    def decode(self, code: bytes) -> Array8:
        return _read(code, self._mode)

    def bare(self, code: bytes) -> int:
        return jpeg_scan_bytes(code)


class WebP(_File):
    """Lossy WebP (VP8) at its slowest method. A picture of one plane is sent as a grey one."""

    def __init__(self, name: str, quality: int, *, colour: bool) -> None:
        super().__init__(name, f"quality {quality}", "WEBP", quality=quality, method=6)
        self._colour = colour

    def decode(self, code: bytes) -> Array8:
        # Not mode L, whose weights of red, green and blue would round once more.
        picture = _read(code, "RGB")
        return picture if self._colour else np.ascontiguousarray(picture[..., 1])


class Png(_File):
    """PNG of one plane of 8 bits."""

    lossless = True

    def __init__(self, name: str, setting: str) -> None:
        super().__init__(name, setting, "PNG", optimize=True)

    def decode(self, code: bytes) -> Array8:
        return _read(code, "L")


class LevelsPng(_File):
    """PNG of a tile of levels at 1, 2 or 4 bits a pixel (which costs a palette) or at 8."""

    lossless = True

    def __init__(self, name: str, setting: str, levels: int, bits: int) -> None:
        super().__init__(name, setting, "PNG", optimize=True, bits=bits)
        self._palette = [value for level in range(levels) for value in (level,) * 3]
        self._bits = bits

    def encode(self, array: Array8) -> bytes:
        from PIL import Image

        if self._bits == 8:
            return Png(self.name, self.setting).encode(array)
        image = Image.frombytes("P", (array.shape[1], array.shape[0]), array.tobytes())
        image.putpalette(self._palette)
        out = io.BytesIO()
        image.save(out, "PNG", compress_level=9, bits=self._bits)
        return out.getvalue()

    def decode(self, code: bytes) -> Array8:
        from PIL import Image

        with Image.open(io.BytesIO(code)) as image:
            return np.asarray(image, dtype=np.uint8)


def _read(code: bytes, mode: str) -> Array8:
    from PIL import Image

    with Image.open(io.BytesIO(code)) as image:
        return np.asarray(image.convert(mode), dtype=np.uint8)
