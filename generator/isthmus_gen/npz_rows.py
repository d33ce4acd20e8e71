"""Arrays in an ``.npz`` read row by row, so that a set larger than memory can be gone through."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import DataFileError

__all__ = ["READ_ERRORS", "Header", "NpzRows", "read_header", "unreadable"]

Array = NDArray[Any]
# RuntimeError: an archive with a password, or packed in a way that this Python cannot unpack.
READ_ERRORS = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_PIECE = 1 << 20  # bytes taken from the archive at a time


@dataclass(frozen=True)
class Header:
    """What the head of a ``.npy`` says; ``held`` bytes come after it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    held: int

    @property
    def fits(self) -> bool:
        """Whether the file holds as many bytes as the shape needs."""
        return math.prod(self.shape) * self.dtype.itemsize == self.held


def read_header(archive: zipfile.ZipFile, name: str) -> Header:
    """The head of array ``name``. Raises what zipfile and numpy raise (READ_ERRORS)."""
    with archive.open(f"{name}.npy") as member:
        shape, fortran, dtype = _head(member)
        held = archive.getinfo(f"{name}.npy").file_size - member.tell()
    return Header(tuple(shape), dtype, bool(fortran), held)


def unreadable(path: Path, error: Exception) -> DataFileError:
    """The error for an archive that breaks off while it is read."""
    return DataFileError(str(path), f"the file cannot be read ({error})", remedy="write it again")


class NpzRows:
    """The first ``count`` rows of an array in an ``.npz``, read anew in every pass.

    Of the array no more is held than one batch. An array in Fortran order has no rows that lie
    together: it is read whole.
    """

    def __init__(self, path: Path, name: str, header: Header, count: int) -> None:
        self._path = path
        self._name = name
        self._header = header
        self._row = header.shape[1:]
        self.dtype = header.dtype
        self.shape = (min(count, header.shape[0]), *self._row)

    def __len__(self) -> int:
        return self.shape[0]

    def batches(self, n: int) -> Iterator[Array]:
        """Successive arrays [<= n, ...] in C order. Raises DataFileError."""
        if self._header.fortran:
            whole = self._whole()
            for begin in range(0, len(self), n):
                yield whole[begin : min(begin + n, len(self))]
            return
        try:
            with zipfile.ZipFile(self._path) as archive, self._open(archive) as member:
                _head(member)
                for begin in range(0, len(self), n):
                    yield self._take(member, min(n, len(self) - begin))
                if len(self) == self._header.shape[0]:
                    member.read(1)  # at its end zipfile compares the checksum
        except READ_ERRORS as error:
            raise unreadable(self._path, error) from error

    def all(self) -> Array:
        """All rows at once."""
        return next(self.batches(max(1, len(self))))

    def chunks(self) -> Iterator[Array]:
        """Batches of about a megabyte (one row, where that is more)."""
        return self.batches(max(1, _PIECE // max(1, math.prod(self._row) * self.dtype.itemsize)))

    def _open(self, archive: zipfile.ZipFile) -> IO[bytes]:
        return archive.open(f"{self._name}.npy")

    def _take(self, member: IO[bytes], count: int) -> Array:
        rows = np.empty((count, *self._row), self.dtype)
        room = rows.reshape(-1).view(np.uint8).data
        place = 0
        while place < len(room):
            piece = member.read(min(_PIECE, len(room) - place))
            if not piece:
                raise EOFError(f"{self._name} breaks off")
            room[place : place + len(piece)] = piece
            place += len(piece)
        return rows

    def _whole(self) -> Array:
        try:
            with np.load(self._path, allow_pickle=False) as archive:
                array: Array = archive[self._name]
        except READ_ERRORS as error:
            raise unreadable(self._path, error) from error
        return array


def _head(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    return read(member)
