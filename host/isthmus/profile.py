"""The profile: everything encoder and decoder must agree on, and the digest that names it.

``profile.json`` holds it as canonical JSON (sorted keys, no spaces, shortest round-trip floats);
the SHA-256 of those bytes is the profile's digest. Its first two bytes travel in every frame and
all of it goes into every checksum, so a frame of another profile is refused, never decoded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.binarisation import binarisation
from isthmus.errors import BundleFormatError, BundleMissingError
from isthmus.files import read_text_inside

__all__ = ["FORMAT", "MAX_RUNGS", "MAX_SLICES", "Profile", "Rung", "TensorSpec"]

FORMAT = "1.0"
MAX_RUNGS = 8
MAX_SLICES = 256
_DTYPES = ("int8", "int16", "float32")
_QUANTIZERS = ("uniform", "ecsq", "ecsq-zero")
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class TensorSpec:
    """The feature tensor: name, shape without the batch dimension, dtype, scale, zero point.

    ``scale`` and ``zero_point`` belong to int8 and int16 tensors: real = scale * (q - zero point).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    @property
    def elements(self) -> int:
        """Elements of the tensor."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Rows: indices of the first axis; a tensor of rank 1 is one row."""
        return self.shape[0] if len(self.shape) > 1 else 1

    @property
    def row_elements(self) -> int:
        """Elements of one row."""
        return math.prod(self.shape[1:]) if len(self.shape) > 1 else math.prod(self.shape)


@dataclass(frozen=True)
class Rung:
    """One quantiser of the ladder with its coder's start.

    levels          N, 2..256
    clip            (c_min, c_max), reals
    quantizer       how the cells were made: "uniform", "ecsq", "ecsq-zero"
    thresholds      float64 [N - 1], nondecreasing; level = number of thresholds <= x
    values          float64 [N], reconstruction values
    rate            adaptation shift 5..7
    initial         uint16 [contexts], P(bin = 1) * 65536 at a slice's start, 128..65408
    table_i8        uint8 [256], level of int8 value v at v + 128 (int8 tensors)
    thresholds_i16  int32 [N - 1] (int16 tensors)
    thresholds_f32  uint32 [N - 1], ordered keys of float32 (BITSTREAM.md, 4)
    payload_max     bytes no payload of one slice exceeds
    """

    levels: int
    clip: tuple[float, float]
    quantizer: str
    thresholds: tuple[float, ...]
    values: tuple[float, ...]
    rate: int
    initial: tuple[int, ...]
    table_i8: bytes | None
    thresholds_i16: tuple[int, ...] | None
    thresholds_f32: tuple[int, ...]
    payload_max: int

    def values_array(self) -> npt.NDArray[np.float32]:
        """The reconstruction values as float32 [N]."""
        return np.asarray(self.values, dtype=np.float32)


@dataclass(frozen=True)
class Profile:
    """A codec's contract. ``extra`` holds what the bundle adds (model, halves, preprocessing)."""

    tensor: TensorSpec
    rungs: tuple[Rung, ...]
    slice_rows: int
    extra: Mapping[str, Any] = field(default_factory=dict)
    codec: str = "lightweight"
    scheme: str = "paper"

    @property
    def slices(self) -> int:
        """Slices of a frame."""
        return max(1, -(-self.tensor.rows // self.slice_rows))

    def slice_elements(self, index: int) -> int:
        """Elements of slice ``index``."""
        first = index * self.slice_rows
        return min(self.slice_rows, self.tensor.rows - first) * self.tensor.row_elements

    def canonical(self) -> bytes:
        """The profile's canonical JSON; what the digest is taken over."""
        return json.dumps(
            self.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True,
            allow_nan=False,
        ).encode("ascii")  # fmt: skip

    @property
    def digest(self) -> bytes:
        """SHA-256 of :meth:`canonical`, 32 bytes."""
        cached = self.__dict__.get("_digest")
        if cached is None:
            cached = hashlib.sha256(self.canonical()).digest()
            self.__dict__["_digest"] = cached
        return bytes(cached)

    def as_dict(self) -> dict[str, Any]:
        """The profile as JSON-ready data."""
        return {
            "format": FORMAT,
            "codec": self.codec,
            "scheme": self.scheme,
            "tensor": {
                "name": self.tensor.name,
                "shape": list(self.tensor.shape),
                "dtype": self.tensor.dtype,
                "scale": self.tensor.scale,
                "zero_point": self.tensor.zero_point,
            },
            "slice_rows": self.slice_rows,
            "rungs": [_rung_dict(rung) for rung in self.rungs],
            "extra": dict(self.extra),
        }

    @classmethod
    def from_dict(cls, data: Any, path: str = "profile") -> Profile:
        """The profile in ``data``; BundleFormatError names the field that is wrong."""
        read = _Reader(data, path)
        if (version := read.text("format")) != FORMAT:
            raise BundleFormatError(
                f"{path}.format",
                f"is {version!r}",
                allowed=repr(FORMAT),
                remedy="generate the bundle again with this version of Isthmus",
            )
        read.only("format", "codec", "scheme", "tensor", "slice_rows", "rungs", "extra")
        tensor = _read_tensor(read.child("tensor"))
        slice_rows = read.integer("slice_rows", 1, max(1, tensor.rows))
        codec = read.choice("codec", ("lightweight",))
        scheme = read.choice("scheme", ("paper",))
        entries = read.sequence("rungs", 1, MAX_RUNGS)
        rungs = tuple(
            _read_rung(_Reader(entry, f"{path}.rungs[{i}]"), tensor)
            for i, entry in enumerate(entries)
        )
        extra = read.mapping("extra")
        profile = cls(tensor, rungs, slice_rows, extra, codec, scheme)
        if profile.slices > MAX_SLICES:
            raise BundleFormatError(
                f"{path}.slice_rows", f"makes {profile.slices} slices", allowed=f"<= {MAX_SLICES}"
            )
        return profile

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Reads a ``profile.json``."""
        file = Path(path)
        try:
            text = read_text_inside(file.parent, file.name)
        except FileNotFoundError:
            raise BundleMissingError(
                str(file), "no such file", remedy="give the directory that `isthmus generate` wrote"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise BundleFormatError(str(file), f"cannot be read ({error})") from error
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleFormatError(str(file), f"is not JSON ({error})") from error
        return cls.from_dict(data, "profile")


def _rung_dict(rung: Rung) -> dict[str, Any]:
    return {
        "levels": rung.levels,
        "clip": list(rung.clip),
        "quantizer": rung.quantizer,
        "thresholds": list(rung.thresholds),
        "values": list(rung.values),
        "rate": rung.rate,
        "initial": list(rung.initial),
        "table_i8": None if rung.table_i8 is None else rung.table_i8.hex(),
        "thresholds_i16": None if rung.thresholds_i16 is None else list(rung.thresholds_i16),
        "thresholds_f32": list(rung.thresholds_f32),
        "payload_max": rung.payload_max,
    }


class _Reader:
    """Typed access to one JSON object; every error carries the path of the field."""

    def __init__(self, data: Any, path: str) -> None:
        if not isinstance(data, Mapping):
            raise BundleFormatError(path, f"is a {type(data).__name__}", allowed="an object")
        self.data = data
        self.path = path

    def only(self, *keys: str) -> None:
        """Refuses unknown keys: they would be left out of the digest without a word."""
        for key in self.data:
            if key not in keys:
                raise BundleFormatError(
                    f"{self.path}.{key}", "is not a field", allowed=", ".join(keys)
                )

    def _get(self, key: str) -> Any:
        if key not in self.data:
            raise BundleFormatError(f"{self.path}.{key}", "is missing")
        return self.data[key]

    def _fail(self, key: str, value: Any, allowed: str) -> BundleFormatError:
        return BundleFormatError(f"{self.path}.{key}", f"is {value!r:.60}", allowed=allowed)

    def text(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str):
            raise self._fail(key, value, "a string")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in allowed:
            raise self._fail(key, value, " or ".join(allowed))
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._fail(key, value, f"an integer in {low}..{high}")
        return value

    def real(self, key: str) -> float:
        value = self._get(key)
        if not _is_real(value):
            raise self._fail(key, value, "a finite number")
        return float(value)

    def mapping(self, key: str) -> dict[str, Any]:
        value = self._get(key)
        if not isinstance(value, Mapping):
            raise self._fail(key, value, "an object")
        return dict(value)

    def sequence(self, key: str, low: int, high: int) -> list[Any]:
        value = self._get(key)
        if not isinstance(value, list) or not low <= len(value) <= high:
            raise self._fail(key, value, f"a list of {low}..{high} entries")
        return value

    def integers(self, key: str, count: int, low: int, high: int) -> tuple[int, ...]:
        values = self.sequence(key, count, count)
        for index, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise self._fail(f"{key}[{index}]", value, f"an integer in {low}..{high}")
        return tuple(values)

    def reals(self, key: str, count: int, limit: float = math.inf) -> tuple[float, ...]:
        values = self.sequence(key, count, count)
        for index, value in enumerate(values):
            if not _is_real(value):
                raise self._fail(f"{key}[{index}]", value, "a finite number")
            if abs(value) > limit:
                raise self._fail(f"{key}[{index}]", value, f"a number in -{limit:g}..{limit:g}")
        return tuple(float(value) for value in values)

    def child(self, key: str) -> _Reader:
        return _Reader(self._get(key), f"{self.path}.{key}")


def _is_real(value: Any) -> bool:
    """Whether a JSON value is a number that a double holds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every double
        return False


def _read_tensor(read: _Reader) -> TensorSpec:
    read.only("name", "shape", "dtype", "scale", "zero_point")
    shape = read.sequence("shape", 1, 4)
    size = read.integers("shape", len(shape), 0, 1 << 24)
    if math.prod(size) > 1 << 24:
        raise BundleFormatError(f"{read.path}.shape", "has too many elements", allowed="<= 2^24")
    return TensorSpec(
        name=read.text("name"),
        shape=size,
        dtype=read.choice("dtype", _DTYPES),
        scale=read.real("scale"),
        zero_point=read.integer("zero_point", -32768, 32767),
    )


def _nondecreasing(read: _Reader, key: str, values: tuple[float, ...] | tuple[int, ...]) -> None:
    if any(b < a for a, b in itertools.pairwise(values)):
        raise BundleFormatError(f"{read.path}.{key}", "falls somewhere", allowed="nondecreasing")


def _read_table(read: _Reader, levels: int) -> bytes | None:
    if read.data.get("table_i8") is None:
        return None
    text = read.text("table_i8")
    try:
        table = bytes.fromhex(text)
    except ValueError:
        table = b""
    if len(table) != 256 or max(table) >= levels:
        raise BundleFormatError(
            f"{read.path}.table_i8",
            "is not a table of levels",
            allowed="256 bytes in hex, each < N",
        )
    return table


def _read_rung(read: _Reader, tensor: TensorSpec) -> Rung:
    read.only(*(field.name for field in dataclasses.fields(Rung)))
    levels = read.integer("levels", 2, 256)
    thresholds_f32 = read.integers("thresholds_f32", levels - 1, 0, 0xFFFFFFFF)
    thresholds = read.reals("thresholds", levels - 1)
    _nondecreasing(read, "thresholds_f32", thresholds_f32)
    _nondecreasing(read, "thresholds", thresholds)
    thresholds_i16 = None
    if read.data.get("thresholds_i16") is not None:
        thresholds_i16 = read.integers("thresholds_i16", levels - 1, -32768, 32768)
        _nondecreasing(read, "thresholds_i16", thresholds_i16)
    table = _read_table(read, levels)
    if tensor.dtype == "int8" and table is None:
        raise BundleFormatError(f"{read.path}.table_i8", "is missing", allowed="a table")
    if tensor.dtype == "int16" and thresholds_i16 is None:
        raise BundleFormatError(f"{read.path}.thresholds_i16", "is missing", allowed="a list")
    low, high = read.reals("clip", 2)
    return Rung(
        levels=levels,
        clip=(low, high),
        quantizer=read.choice("quantizer", _QUANTIZERS),
        thresholds=thresholds,
        values=read.reals("values", levels, _FLOAT32_MAX),
        rate=read.integer("rate", 5, 7),
        initial=read.integers("initial", binarisation(levels).context_count, 128, 65408),
        table_i8=table,
        thresholds_i16=thresholds_i16,
        thresholds_f32=thresholds_f32,
        payload_max=read.integer("payload_max", 0, (1 << 21) - 1),
    )
