"""Levels as bytes, for codecs that take bytes: zstd and lz4."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.codecs.base import Array8, Codec

__all__ = ["LAYOUTS", "Layout", "Lz4", "Packed", "Zstd", "ZstdDictionary", "absent_lz4",
           "absent_zstd"]  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """How levels become bytes: the tensor's order or channel by channel (``planes``); one level a
    byte, or as many as fit (8 of N = 2, 5 of 3, 4 of 4, 3 of 5 and 6, 2 of 7 to 16) as the digits
    of a number in base N (``packed``), first the highest."""

    planes: bool
    packed: bool

    def pack(self, levels: Array8, base: int) -> bytes:
        """One tensor's levels as bytes."""
        flat = (np.moveaxis(levels, -1, 0) if self.planes else levels).reshape(-1)
        if not self.packed:
            return flat.tobytes()
        each = _digits(base)
        padded = np.zeros(-(-flat.size // each) * each, dtype=np.int64)
        padded[: flat.size] = flat
        numbers = np.asarray(padded.reshape(-1, each) @ _weights(base), dtype=np.uint8)
        return numbers.tobytes()

    def unpack(self, content: bytes, base: int, shape: tuple[int, ...]) -> Array8:
        """The inverse of :meth:`pack`."""
        flat = np.frombuffer(content, dtype=np.uint8)
        if self.packed:
            flat = (flat[:, np.newaxis] // _weights(base) % base).astype(np.uint8).reshape(-1)
        flat = flat[: int(np.prod(shape))]
        if not self.planes:
            return flat.reshape(shape)
        return np.ascontiguousarray(np.moveaxis(flat.reshape(shape[-1], *shape[:-1]), 0, -1))


LAYOUTS = tuple(Layout(planes, packed) for planes in (False, True) for packed in (False, True))


def _digits(base: int) -> int:
    return max(n for n in range(1, 9) if base**n <= 256)


def _weights(base: int) -> Any:
    return np.int64(base) ** np.arange(_digits(base) - 1, -1, -1, dtype=np.int64)


class Packed(Codec):
    """A general compressor on packed levels."""

    lossless = True

    def __init__(self, setting: str, levels: int, shape: tuple[int, ...], layout: Layout) -> None:
        self.setting = setting
        self.levels = levels
        self.shape = shape
        self.layout = layout

    def encode(self, array: Array8) -> bytes:
        return self._press(self.layout.pack(array, self.levels))

    def decode(self, code: bytes) -> Array8:
        return self.layout.unpack(self._expand(code), self.levels, self.shape)

    @property
    def _bytes(self) -> int:
        """Bytes before compression; both sides know them."""
        elements = int(np.prod(self.shape))
        return -(-elements // _digits(self.levels)) if self.layout.packed else elements

    @abstractmethod
    def _press(self, content: bytes) -> bytes: ...

    @abstractmethod
    def _expand(self, code: bytes) -> bytes: ...


class Zstd(Packed):
    """zstd -19 without magic number, checksum and length, which both sides know."""

    name = "zstd -19"

    def __init__(
        self, setting: str, levels: int, shape: tuple[int, ...], layout: Layout, words: Any = None
    ) -> None:
        import zstandard

        super().__init__(setting, levels, shape, layout)
        parameters = zstandard.ZstdCompressionParameters.from_level(
            19, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=False,
            write_checksum=False, write_dict_id=False,
        )  # fmt: skip
        given = {} if words is None else {"dict_data": words}
        self._compressor = zstandard.ZstdCompressor(compression_params=parameters, **given)
        self._decompressor = zstandard.ZstdDecompressor(
            format=zstandard.FORMAT_ZSTD1_MAGICLESS, **given
        )

    def _press(self, content: bytes) -> bytes:
        return self._compressor.compress(content)

    def _expand(self, code: bytes) -> bytes:
        return self._decompressor.decompress(code, max_output_size=self._bytes)


class ZstdDictionary(Zstd):
    """The same with a dictionary of 16 KiB that was trained on calibration levels beforehand."""

    name = "zstd -19, dictionary"
    _WORDS = 16 << 10

    def __init__(
        self,
        setting: str,
        levels: int,
        shape: tuple[int, ...],
        layout: Layout,
        calibration: Array8,
    ) -> None:
        import zstandard

        samples: list[Any] = [layout.pack(one, levels) for one in calibration]
        words = zstandard.train_dictionary(self._WORDS, samples, level=19)
        super().__init__(setting, levels, shape, layout, words)


class Lz4(Packed):
    """An lz4 block at the highest compression, without the length, which both sides know."""

    name = "lz4"

    def _press(self, content: bytes) -> bytes:
        import lz4.block

        return bytes(
            lz4.block.compress(content, mode="high_compression", compression=12, store_size=False)
        )

    def _expand(self, code: bytes) -> bytes:
        import lz4.block

        return bytes(lz4.block.decompress(code, uncompressed_size=self._bytes))


def absent_zstd() -> str | None:
    """Why zstd cannot be measured, or None."""
    try:
        import zstandard  # noqa: F401
    except ImportError:
        return 'pip install "zstandard"'
    return None


def absent_lz4() -> str | None:
    """Why lz4 cannot be measured, or None."""
    try:
        import lz4.block  # noqa: F401
    except ImportError:
        return 'pip install "lz4"'
    return None
