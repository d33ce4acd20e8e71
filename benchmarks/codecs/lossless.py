"""Lossless coders of pictures and bytes at their best: PNG, JPEG-LS, WebP, JPEG XL, HEVC, lzma."""

from __future__ import annotations

import io
import lzma
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from benchmarks.codecs import hevc
from benchmarks.codecs.base import Array8, Codec
from benchmarks.codecs.packed import Layout, Packed
from benchmarks.codecs.tiles import Tiling

__all__ = ["PICTURE_LAYOUTS", "HevcLossless", "JpegLs", "JpegXl", "LosslessPng", "LosslessWebP",
           "Lzma", "OnPicture", "absent_imagecodecs", "picture_tiling"]  # fmt: skip

#: How channels become one picture: in a grid; one below the other; one beside the other; or each
#: channel as one row of the picture.
PICTURE_LAYOUTS = ("grid", "column", "row", "lines")
#: More than any tensor here; the preset's 64 MiB would only take time.
_LZMA_WINDOW = 1 << 20
#: Markers of JPEG-LS: the scan's header, and the segment of SPIFF.
_SOS, _APP8 = 0xDA, 0xE8


def absent_imagecodecs() -> str | None:
    """Why JPEG-LS and JPEG XL cannot be measured, or None."""
    try:
        import imagecodecs
    except ImportError:
        return 'pip install "imagecodecs"'
    missing = [name for name in ("JPEGLS", "JPEGXL") if not getattr(imagecodecs, name).available]
    return f"an imagecodecs with {', '.join(missing)}" if missing else None


def picture_tiling(layout: str, shape: tuple[int, int, int]) -> Tiling:
    """The tiling of a tensor [height, width, channels] under one of ``PICTURE_LAYOUTS``.

    The grid is that of Choi and Bajic (MMSP 2018), 2^ceil(log2(C)/2) tiles wide; where that leaves
    tiles empty, the one nearest to a square.
    """
    height, width, channels = shape
    if layout == "grid":
        columns = 1 << math.ceil(math.log2(channels) / 2)
        if channels % columns:
            return Tiling.near_square(shape)
        return Tiling(height, width, channels, columns)
    if layout == "column":
        return Tiling(height, width, channels, 1)
    if layout == "row":
        return Tiling(height, width, channels, channels)
    if layout == "lines":
        return Tiling(1, height * width, channels, 1)
    raise ValueError(f"no layout is named {layout!r}: {', '.join(PICTURE_LAYOUTS)}")


class OnPicture(Codec):
    """A coder of pictures on tensors [height, width, channels], laid out as ``layout`` says."""

    def __init__(self, inner: Codec, layout: str, shape: tuple[int, int, int]) -> None:
        self.name = inner.name
        self.setting = f"{inner.setting}, {layout}" if inner.setting else layout
        self.lossless = inner.lossless
        self._inner = inner
        self._shape = shape
        self._tiling = picture_tiling(layout, shape)

    def encode(self, array: Array8) -> bytes:
        return self.encode_all([array])[0]

    def decode(self, code: bytes) -> Array8:
        return np.asarray(self.decode_all([code])[0])

    def encode_all(self, arrays: Iterable[Array8]) -> list[bytes]:
        return self._inner.encode_all([self._tiling.tile(self._folded(one))[0] for one in arrays])

    def decode_all(self, codes: Sequence[bytes]) -> Array8:
        pictures = np.ascontiguousarray(self._inner.decode_all(codes))
        tensors = self._tiling.untile(pictures)
        return tensors.reshape(-1, *self._shape)

    def bare(self, code: bytes) -> int:
        return self._inner.bare(code)

    def _folded(self, array: Array8) -> Array8:
        """The tensor as the tiling sees it: a line has all positions in one row."""
        return array.reshape(1, self._tiling.height, self._tiling.width, self._tiling.channels)


class LosslessPng(Codec):
    """PNG of grey bytes: filters chosen for each row by Pillow ("adaptive"), or none; deflate at
    its highest level."""

    name = "PNG"
    lossless = True

    def __init__(self, setting: str = "adaptive") -> None:
        self.setting = setting

    def encode(self, array: Array8) -> bytes:
        if self.setting != "adaptive":
            return _plain_png(array)
        from PIL import Image

        out = io.BytesIO()
        Image.fromarray(array).save(out, "PNG", optimize=True)
        return out.getvalue()

    def decode(self, code: bytes) -> Array8:
        return _opened(code, "L")

    def bare(self, code: bytes) -> int:
        """The deflated rows, without zlib's two bytes before and four behind."""
        return sum(len(body) for kind, body in _chunks(code) if kind == b"IDAT") - 6


def _plain_png(array: Array8) -> bytes:
    """A PNG file without filters (ISO/IEC 15948: 5.3, 11.2)."""
    height, width = array.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)
    rows[:, 1:] = array
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    ]
    out = b"\x89PNG\r\n\x1a\n"
    for kind, body in parts:
        out += struct.pack(">I", len(body)) + kind + body
        out += struct.pack(">I", zlib.crc32(kind + body))
    return out


def _chunks(code: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the chunks of a PNG file."""
    at = 8
    while at < len(code):
        size = int.from_bytes(code[at : at + 4], "big")
        yield code[at + 4 : at + 8], code[at + 8 : at + 8 + size]
        at += size + 12


class LosslessWebP(Codec):
    """Lossless WebP (VP8L) at its slowest method and highest effort, of a grey picture."""

    name = "WebP lossless"
    setting = ""
    lossless = True

    def encode(self, array: Array8) -> bytes:
        from PIL import Image

        out = io.BytesIO()
        Image.fromarray(array).save(out, "WEBP", lossless=True, quality=100, method=6, exact=True)
        return out.getvalue()

    def decode(self, code: bytes) -> Array8:
        return np.ascontiguousarray(_opened(code, "RGB")[..., 1])

    def bare(self, code: bytes) -> int:
        """Without RIFF's 20 bytes of lengths and names, and VP8L's 5 of signature and size."""
        return len(code) - 25


class JpegLs(Codec):
    """JPEG-LS (ITU-T T.87) by CharLS, every value within ``near``; the optional SPIFF header, which
    imagecodecs writes, is not sent."""

    def __init__(self, near: int = 0) -> None:
        self.name = f"JPEG-LS NEAR={near}" if near else "JPEG-LS"
        self.setting = ""
        self.lossless = near == 0
        self._near = near

    def encode(self, array: Array8) -> bytes:
        import imagecodecs

        code: bytes = bytes(imagecodecs.jpegls_encode(array, level=self._near))
        at = 2
        kept = code[:at]
        while True:
            size = 2 + int.from_bytes(code[at + 2 : at + 4], "big")
            if code[at + 1] != _APP8:
                kept += code[at : at + size]
            if code[at + 1] == _SOS:
                return kept + code[at + size :]
            at += size

    def decode(self, code: bytes) -> Array8:
        import imagecodecs

        return np.asarray(imagecodecs.jpegls_decode(code), dtype=np.uint8)

    def bare(self, code: bytes) -> int:
        """What stands between the scan's header and the mark of the end."""
        at = 2
        while code[at + 1] != _SOS:
            at += 2 + int.from_bytes(code[at + 2 : at + 4], "big")
        return len(code) - (at + 2 + int.from_bytes(code[at + 2 : at + 4], "big")) - 2


class JpegXl(Codec):
    """JPEG XL, lossless, by libjxl: a bare codestream without a container."""

    lossless = True

    def __init__(self, effort: int) -> None:
        self.name = f"JPEG XL effort {effort}"
        self.setting = ""
        self._effort = effort
        self._headers: dict[tuple[int, ...], int] = {}

    def encode(self, array: Array8) -> bytes:
        import imagecodecs

        return bytes(
            imagecodecs.jpegxl_encode(
                array, effort=self._effort, lossless=True, usecontainer=False, numthreads=1
            )
        )

    def decode(self, code: bytes) -> Array8:
        import imagecodecs

        found: Array8 = np.asarray(imagecodecs.jpegxl_decode(code), dtype=np.uint8)
        return found

    def bare(self, code: bytes) -> int:
        """Its headers end within a byte, so less all that a picture of zeros takes at that size."""
        size = self.decode(code).shape
        if size not in self._headers:
            self._headers[size] = len(self.encode(np.zeros(size, dtype=np.uint8)))
        return len(code) - self._headers[size]


class HevcLossless(hevc.Hevc):
    """HEVC that codes without transform and quantisation (x265 --lossless), slowest preset.

    x265 takes no picture less than 32 high or wide: smaller ones are made so by repeating their
    last row and column, which costs next to nothing.
    """

    name = "HEVC lossless"
    preset = "placebo"
    lossless = True
    control = "lossless=1"
    _LEAST = 32

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__(0, (max(size[0], self._LEAST), max(size[1], self._LEAST)))
        self.setting = ""
        self._part = size

    def encode_all(self, arrays: Iterable[Array8]) -> list[bytes]:
        more = [(0, full - part) for full, part in zip(self._size, self._part, strict=True)]
        return super().encode_all([np.pad(array, more, mode="edge") for array in arrays])

    def decode_all(self, codes: Sequence[bytes]) -> Array8:
        return super().decode_all(codes)[:, : self._part[0], : self._part[1]]


class Lzma(Packed):
    """LZMA without a container; ``bits`` of the byte before choose among literals' models."""

    name = "LZMA"

    def __init__(
        self, setting: str, levels: int, shape: tuple[int, ...], layout: Layout, bits: int
    ) -> None:
        super().__init__(setting, levels, shape, layout)
        self._filters = [
            {"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "lc": bits, "lp": 0,
             "pb": 0, "dict_size": _LZMA_WINDOW}
        ]  # fmt: skip

    def _press(self, content: bytes) -> bytes:
        return lzma.compress(content, lzma.FORMAT_RAW, filters=self._filters)

    def _expand(self, code: bytes) -> bytes:
        return lzma.decompress(code, lzma.FORMAT_RAW, filters=self._filters)


def _opened(code: bytes, mode: str) -> Array8:
    from PIL import Image

    with Image.open(io.BytesIO(code)) as image:
        return np.asarray(image.convert(mode), dtype=np.uint8)
