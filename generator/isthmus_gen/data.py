"""Data files: pictures (or any tensors) with labels, and what is done to them before the network.

A data file is an ``.npz``. Plain sets hold ``x`` [n, ...] of any real dtype, and ``y`` [n] where
there are labels. Packed sets hold encoded pictures instead of ``x``: ``data`` (uint8, all files end
to end) and ``offset`` (integers, n + 1, picture i is ``data[offset[i]:offset[i + 1]]``); they are
decoded by Pillow as they are asked for. Plain inputs are read from the file in every pass over the
set; so a set larger than memory can be gone through.

Nothing is unpickled, and what is read is checked here once: later stages may rely on a
numeric, finite, non-empty set of the expected shape.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import (
    BundleFormatError,
    DataDtypeError,
    DataEmptyError,
    DataFileError,
    DataNotFiniteError,
    DataShapeError,
    MissingExtraError,
    OptionError,
)
from isthmus_gen.npz_rows import READ_ERRORS, Header, NpzRows, read_header, unreadable

__all__ = ["DataSet", "Preprocessing", "load_data"]

Array = NDArray[Any]
#: A shape without the batch dimension; None stands for any length.
Shape = Sequence[int | None]

_FILE_REMEDY = "give an .npz with x (and y for labels), or with data and offset for packed pictures"
_CHUNK = 256  # rows checked at a time, so that the check needs little memory of its own
_LARGEST = float(np.finfo(np.float32).max)
_LEAST = float(np.finfo(np.float32).tiny)


class PackedPictures:
    """Encoded pictures that are decoded when they are taken: ``[i]`` and ``[i:j]`` give uint8."""

    def __init__(
        self, path: Path, data: Array, offset: Array, *, channels: int, size: tuple[int, int] | None
    ) -> None:
        self._path = path
        self._data = data
        self._offset = offset
        self._channels = channels
        self._size = size
        self.shape_one = self.picture(0).shape

    def __len__(self) -> int:
        return len(self._offset) - 1

    def picture(self, index: int) -> Array:
        """Picture ``index`` as uint8 [height, width, channels], scaled where a size was asked."""
        try:
            from PIL import Image, UnidentifiedImageError
        except ImportError as error:
            raise MissingExtraError(
                "pillow",
                "packed pictures need Pillow, which is not installed",
                remedy="pip install 'isthmus[generate]'",
            ) from error
        content = self._data[self._offset[index] : self._offset[index + 1]].tobytes()
        try:
            with Image.open(io.BytesIO(content)) as image:
                picture = image.convert("L" if self._channels == 1 else "RGB")
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            # Pillow's own words for an unknown format are the address of an object of ours.
            known = not isinstance(error, UnidentifiedImageError)
            raise DataFileError(
                f"{self._path}: data[{index}]",
                f"not a picture that Pillow can decode ({error if known else 'unknown format'})",
                remedy="write the file again without this picture",
            ) from error
        if self._size is not None and picture.size != (self._size[1], self._size[0]):
            picture = picture.resize((self._size[1], self._size[0]), Image.Resampling.BILINEAR)
        return np.asarray(picture, dtype=np.uint8).reshape(picture.height, picture.width, -1)

    def batches(self, n: int) -> Iterator[Array]:
        """Successive arrays of at most ``n`` pictures."""
        for begin in range(0, len(self), n):
            yield self.rows(begin, begin + n)

    def rows(self, begin: int, end: int) -> Array:
        """Pictures ``begin`` to ``end - 1`` as uint8 [n, height, width, channels]."""
        pictures = []
        for index in range(begin, min(end, len(self))):
            picture = self.picture(index)
            if picture.shape != self.shape_one:
                raise DataShapeError(
                    f"{self._path}: data[{index}]",
                    f"the picture has shape {_text(picture.shape)}",
                    allowed=f"{_text(self.shape_one)}, the shape of the first",
                    remedy="make all pictures one size, or load the set with resize=True",
                )
            pictures.append(picture)
        return np.stack(pictures)


class DataSet:
    """A checked set of n inputs.

    ``x`` [n, ...] in the file's dtype (uint8 for packed pictures), read on first use, ``y`` [n] or
    None, ``path`` the file, ``shape`` one input's shape. Take large sets by ``batches``, which hold
    no more than a batch.
    """

    def __init__(self, path: Path, x: NpzRows | PackedPictures, y: Array | None) -> None:
        self.path = path
        self.y = y
        self._source = x
        self._count = len(x)

    def __len__(self) -> int:
        return self._count

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        if isinstance(self._source, PackedPictures):
            return self._source.shape_one
        return self._source.shape[1:]

    @cached_property
    def x(self) -> Array:
        """All inputs, [n, ...]."""
        if isinstance(self._source, PackedPictures):
            return self._source.rows(0, self._count)
        return self._source.all()

    def rows(self, begin: int, end: int) -> Array | None:
        """Inputs ``begin`` to ``end - 1`` where they can be had without those before, else None."""
        if isinstance(self._source, PackedPictures):
            return self._source.rows(begin, end)
        return None

    def batches(self, n: int) -> Iterator[tuple[Array, Array | None]]:
        """Go through the set ``n`` inputs at a time (the last batch may be shorter)."""
        if n < 1:
            raise OptionError("batch", f"{n} is not a batch size", allowed="1 or more")
        begin = 0
        for x in self._source.batches(n):
            yield x, None if self.y is None else self.y[begin : begin + len(x)]
            begin += len(x)


def load_data(
    path: str | Path,
    *,
    need_labels: bool = False,
    limit: int | None = None,
    input_shape: Shape | None = None,
    resize: bool = False,
) -> DataSet:
    """Read and check a data file.

    ``limit`` keeps the first inputs only. ``input_shape`` is the shape one input must have (no
    batch dimension, None for any length). ``resize`` stretches packed pictures to it.

    Raises DataFileError (missing, not an .npz, no ``x``, no labels where they are needed),
    DataDtypeError, DataShapeError, DataEmptyError, DataNotFiniteError or OptionError.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise OptionError("limit", f"{limit} inputs were asked for", allowed="1 or more")
    headers, members = _read(path)
    source: NpzRows | PackedPictures
    if "x" in headers:
        source = _checked_x(path, headers["x"], limit, input_shape)
        total = headers["x"].shape[0]
    else:
        source = _packed(path, members, limit, input_shape, resize)
        _check_shape(path, "data", source.shape_one, input_shape)
        total = len(members["offset"]) - 1
    y = _checked_y(path, members.get("y"), need_labels, total)
    if y is not None:
        _check_finite(path, "y", y[: len(source)])
        y = y[:limit]
    return DataSet(path, source, y)


def _read(path: Path) -> tuple[dict[str, Header], dict[str, Array]]:
    """The heads of the arrays that a set is made of, and those arrays themselves but ``x``."""
    if not path.exists():
        raise DataFileError(str(path), "no such file", remedy=_FILE_REMEDY)
    if not zipfile.is_zipfile(path):
        raise DataFileError(str(path), "not an .npz file", remedy=_FILE_REMEDY)
    try:
        with zipfile.ZipFile(path) as archive:
            present = {n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")}
            wanted = ("x", "y") if "x" in present else ("data", "offset", "y")
            for name in wanted[:-1]:
                if name not in present:
                    raise DataFileError(
                        str(path),
                        f"no {'x' if name == 'data' else name} in the file, "
                        f"which holds {', '.join(sorted(present)) or 'nothing'}",
                        remedy=_FILE_REMEDY,
                    )
            headers = {n: read_header(archive, n) for n in wanted if n in present}
        for name, header in headers.items():
            _check_header(path, name, header)
        with np.load(path, allow_pickle=False) as arrays:
            return headers, {name: arrays[name] for name in headers if name != "x"}
    except READ_ERRORS as error:
        raise unreadable(path, error) from error


def _check_header(path: Path, name: str, header: Header) -> None:
    """Refuse by the header what must not be read: Python objects, and sizes that are not there."""
    if header.dtype.hasobject:  # to read them would be to unpickle them
        raise _dtype_error(path, name, "Python objects")
    if not header.fits:
        raise DataFileError(
            f"{path}: {name}",
            f"the header says {_text(header.shape)} of {header.dtype}, "
            f"the file holds {header.held} bytes",
            remedy="write it again",
        )


def _dtype_error(path: Path, name: str, dtype: str) -> DataDtypeError:
    return DataDtypeError(
        f"{path}: {name}",
        f"the array holds {dtype}",
        allowed="integers or real floats",
        remedy="convert it, for example with astype('float32')",
    )


def _checked_x(path: Path, header: Header, limit: int | None, want: Shape | None) -> NpzRows:
    """The inputs, all of what is asked for read and checked once."""
    if header.dtype.kind not in "iuf":
        raise _dtype_error(path, "x", str(header.dtype))
    if len(header.shape) < 2:
        raise DataShapeError(
            f"{path}: x",
            f"the array has shape {_text(header.shape)}",
            allowed="n inputs along the first axis, shape (n, ...)",
        )
    if math.prod(header.shape) == 0:
        raise DataEmptyError(
            f"{path}: x",
            f"the set is empty, shape {_text(header.shape)}",
            remedy="give at least one input",
        )
    _check_shape(path, "x", header.shape[1:], want)
    rows = NpzRows(path, "x", header, header.shape[0] if limit is None else limit)
    begin = 0
    for chunk in rows.chunks():
        _check_finite(path, "x", chunk, begin, largest=_LARGEST)
        begin += len(chunk)
    return rows


def _checked_y(path: Path, y: Array | None, need: bool, total: int) -> Array | None:
    if y is None:
        if need:
            raise DataFileError(
                str(path), "no y in the file", remedy="labels are needed here: add y, one an input"
            )
        return None
    if y.dtype.kind not in "biuf":
        raise _dtype_error(path, "y", str(y.dtype))
    if y.ndim < 1 or len(y) != total:
        raise DataShapeError(
            f"{path}: y",
            f"the labels have shape {_text(y.shape)}",
            allowed=f"one label for each of the {total} inputs",
        )
    return y


def _packed(
    path: Path,
    members: Mapping[str, Array],
    limit: int | None,
    input_shape: Shape | None,
    resize: bool,
) -> PackedPictures:
    data, offset = members["data"], members["offset"]
    if data.dtype != np.uint8 or data.ndim != 1:
        raise _dtype_error(path, "data", f"{data.dtype} of shape {_text(data.shape)}, not bytes")
    if offset.dtype.kind not in "iu" or offset.ndim != 1:
        raise _dtype_error(path, "offset", f"{offset.dtype} of shape {_text(offset.shape)}")
    if len(offset) < 2:
        raise DataEmptyError(f"{path}: offset", "the set holds no picture", remedy="give one")
    offset = offset.astype(np.int64)
    if offset[0] < 0 or offset[-1] > len(data) or np.any(np.diff(offset) <= 0):
        raise DataFileError(
            f"{path}: offset",
            "the offsets do not rise from picture to picture inside data",
            remedy="write the file again",
        )
    if limit is not None:
        offset = offset[: limit + 1]
    channels = 1 if input_shape is not None and len(input_shape) == 3 and input_shape[2] == 1 else 3
    size = None
    if resize and input_shape is not None and len(input_shape) == 3:
        height, width = input_shape[0], input_shape[1]
        size = None if height is None or width is None else (height, width)
    return PackedPictures(path, data, offset, channels=channels, size=size)


def _check_shape(path: Path, name: str, got: tuple[int, ...], want: Shape | None) -> None:
    if want is None:
        return
    fits = len(got) == len(want) and all(
        w is None or w == g for g, w in zip(got, want, strict=True)
    )
    if not fits:
        raise DataShapeError(
            f"{path}: {name}",
            f"each input has shape {_text(got)}",
            allowed=f"{_text(want)}, the shape of the network's input",
        )


def _check_finite(
    path: Path, name: str, array: Array, first: int = 0, *, largest: float = math.inf
) -> None:
    """Refuse NaN, infinity and magnitudes above ``largest``; ``first`` is the number of row 0."""
    if array.dtype.kind != "f":
        return
    for begin in range(0, len(array), _CHUNK):
        part = array[begin : begin + _CHUNK]
        good = np.isfinite(part)
        if part.dtype.itemsize > 4:
            good &= np.abs(part) <= largest
        if good.all():
            continue
        place = tuple(int(i) for i in np.argwhere(~good)[0])
        value = part[place]
        where = f"{path}: {name}[{first + begin + place[0]}]"
        if np.isfinite(value):
            raise DataNotFiniteError(
                where,
                f"the value {value:.6g} is beyond float32",
                allowed=f"-{largest:.6g} to {largest:.6g}",
                remedy="scale the data, or remove that input",
            )
        raise DataNotFiniteError(
            where, "the data hold NaN or infinity", remedy="remove or repair that input"
        )


def _text(shape: Shape) -> str:
    return "x".join("?" if n is None else str(n) for n in shape) or "()"


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an input before the network: one step in float32.

    ``none`` leaves the values, ``unit`` maps 0..255 to 0..1 (x / 255), ``signed`` maps 0..255 to
    -1..1 (x / 127.5 - 1), ``affine`` is x * scale + offset. The divisions are divisions, not
    products with a rounded reciprocal: they give the bits that such networks were trained with.
    """

    kind: str = "none"
    scale: float = 1.0
    offset: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Preprocessing:
        """From an option's text: ``none``, ``unit``, ``signed`` or ``SCALE,OFFSET``."""
        word = text.strip().lower()
        if word in ("none", "unit", "signed"):
            return cls(word)
        parts = word.split(",")
        try:
            scale, offset = (float(part) for part in parts)
        except ValueError:
            scale = offset = math.nan
        if not (_LEAST <= abs(scale) <= _LARGEST and abs(offset) <= _LARGEST):
            raise OptionError(
                "--preprocess",
                f"{text!r} is not a preprocessing",
                allowed="none, unit (x/255), signed (x/127.5-1), or SCALE,OFFSET (x*SCALE+OFFSET)",
            )
        return cls("affine", scale, offset)

    def apply(self, x: Array) -> NDArray[np.float32]:
        """``x`` of any real dtype -> float32 of the same shape.

        OptionError where scale and offset take values beyond float32.
        """
        with np.errstate(over="ignore"):
            # What float32 cannot hold becomes infinite here; a set read by load_data has none.
            values = np.asarray(x).astype(np.float32)
        if self.kind == "unit":
            return values / np.float32(255)
        if self.kind == "signed":
            return values / np.float32(127.5) - np.float32(1)
        if self.kind == "affine":
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = values * np.float32(self.scale) + np.float32(self.offset)
            if (np.isfinite(values) & ~np.isfinite(scaled)).any():
                raise OptionError(
                    "--preprocess",
                    f"{self.scale:g},{self.offset:g} takes these inputs beyond float32",
                    allowed="SCALE,OFFSET that fit the data",
                )
            return scaled
        return values

    def as_dict(self) -> dict[str, Any]:
        """As it stands in a profile."""
        if self.kind == "affine":
            return {"kind": "affine", "offset": self.offset, "scale": self.scale}
        return {"kind": self.kind}

    @classmethod
    def from_dict(
        cls, fields: Mapping[str, Any], path: str = "profile.preprocessing"
    ) -> Preprocessing:
        """The inverse of ``as_dict``. Raises BundleFormatError with the path of the field."""
        kind = fields.get("kind")
        names = {"kind", "scale", "offset"} if kind == "affine" else {"kind"}
        if kind not in ("none", "unit", "signed", "affine"):
            raise BundleFormatError(
                f"{path}.kind", f"{kind!r} is not known", allowed="none, unit, signed or affine"
            )
        if set(fields) != names:
            raise BundleFormatError(
                path, f"the fields are {sorted(fields)}", allowed=str(sorted(names))
            )
        if kind != "affine":
            return cls(kind)
        for name in ("scale", "offset"):
            value = fields[name]
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BundleFormatError(f"{path}.{name}", f"{value!r} is not a number")
            if not math.isfinite(value) or (name == "scale" and value == 0):
                raise BundleFormatError(f"{path}.{name}", f"{value!r} cannot be used")
        return cls("affine", float(fields["scale"]), float(fields["offset"]))
