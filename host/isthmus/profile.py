"""The profile: everything encoder and decoder must agree on, and the digest that names it.

``profile.json`` holds it as canonical JSON (sorted keys, no spaces, shortest round-trip floats);
the SHA-256 of those bytes is the profile's digest. Its first two bytes travel in every frame and
all of it goes into every checksum, so a frame of another profile is refused, never decoded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus.errors import BundleFormatError, BundleMissingError
from isthmus.fields import FieldReader
from isthmus.files import read_text_inside
from isthmus.rung import Contexts, Rung, read_rung, rung_dict

__all__ = [
    "FORMATS",
    "MAX_PACKET_UNITS",
    "MAX_RUNGS",
    "MAX_SLICES",
    "MAX_UNITS",
    "Contexts",
    "Packets",
    "Profile",
    "Rung",
    "TensorSpec",
]

FORMATS = ("1.0", "1.1", "1.3")
#: The codec of each scheme.
_CODECS = {"paper": "lightweight", "neighbour": "lightweight", "trained": "near-lossless"}
MAX_RUNGS = 8
MAX_SLICES = 256
#: Units that one packet may hold, and units that a tensor may have.
MAX_PACKET_UNITS = 256
MAX_UNITS = 1 << 16
_MAX_PACKET_BYTES = 8192
_DTYPES = ("int8", "int16", "float32")


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
class Packets:
    """Frames cut where a packet is full (BITSTREAM.md, 3.2).

    bytes  no packet is longer, header included
    unit   elements that are never parted: a packet holds whole units; a divisor of the row
    """

    bytes: int
    unit: int


@dataclass(frozen=True)
class Profile:
    """A codec's contract. ``extra`` holds what the bundle adds (model, halves, preprocessing).

    With ``packets`` a frame's slices are packets, cut by their size; ``slice_rows`` is then the
    whole tensor's.
    """

    tensor: TensorSpec
    rungs: tuple[Rung, ...]
    slice_rows: int
    extra: Mapping[str, Any] = field(default_factory=dict)
    packets: Packets | None = None

    @property
    def format(self) -> str:
        """The oldest format that can hold this profile."""
        if self.scheme == "trained":
            return "1.3"
        plain = self.scheme == "paper" and self.packets is None
        plain = plain and not any(rung.budget_start or rung.size_ratios for rung in self.rungs)
        return "1.0" if plain else "1.1"

    @property
    def scheme(self) -> str:
        """How levels are coded: with contexts that are chosen ("neighbour") or one set of them
        ("paper"), or with "trained" distributions."""
        if self.rungs[0].trained is not None:
            return "trained"
        return "paper" if self.rungs[0].contexts is None else "neighbour"

    @property
    def codec(self) -> str:
        """What codes the levels: "lightweight" or "near-lossless"."""
        return _CODECS[self.scheme]

    @property
    def slices(self) -> int:
        """Slices of a frame; 1 where it is cut into packets."""
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
        plain = self.format == "1.0"
        out: dict[str, Any] = {
            "format": self.format,
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
            "rungs": [rung_dict(rung, plain=plain) for rung in self.rungs],
            "extra": dict(self.extra),
        }
        if not plain:
            out["packets"] = None
            if self.packets is not None:
                out["packets"] = {"bytes": self.packets.bytes, "unit": self.packets.unit}
        return out

    @classmethod
    def from_dict(cls, data: Any, path: str = "profile") -> Profile:
        """The profile in ``data``; BundleFormatError names the field that is wrong."""
        read = FieldReader(data, path)
        if (version := read.text("format")) not in FORMATS:
            raise BundleFormatError(
                f"{path}.format",
                f"is {version!r}",
                allowed=" or ".join(repr(known) for known in FORMATS),
                remedy="generate the bundle again with this version of Isthmus",
            )
        plain = version == "1.0"
        keys = ["format", "codec", "scheme", "tensor", "slice_rows", "rungs", "extra"]
        read.only(*keys, *([] if plain else ["packets"]))
        tensor = _read_tensor(read.child("tensor"))
        codec = read.choice("codec", tuple(sorted(set(_CODECS.values()))))
        schemes = tuple(name for name, of in _CODECS.items() if of == codec)
        scheme = read.choice("scheme", ("paper",) if plain else schemes)
        packets = None
        if not plain and read.get("packets") is not None:
            packets = _read_packets(read.child("packets"), tensor)
        most = max(1, tensor.rows)
        slice_rows = read.integer("slice_rows", 1 if packets is None else most, most)
        entries = read.sequence("rungs", 1, MAX_RUNGS)
        rungs = tuple(
            read_rung(
                FieldReader(entry, f"{path}.rungs[{i}]"),
                tensor.dtype,
                tensor.row_elements,
                None if plain else scheme,
                len(entries),
            )
            for i, entry in enumerate(entries)
        )
        _check_grids(tensor, rungs, path)
        extra = read.mapping("extra")
        profile = cls(tensor, rungs, slice_rows, extra, packets)
        if profile.slices > MAX_SLICES:
            raise BundleFormatError(
                f"{path}.slice_rows", f"makes {profile.slices} slices", allowed=f"<= {MAX_SLICES}"
            )
        if profile.format != version:
            raise BundleFormatError(
                f"{path}.format", f"is {version!r}", allowed=f"{profile.format!r} for these fields"
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


def _read_tensor(read: FieldReader) -> TensorSpec:
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


def _check_grids(tensor: TensorSpec, rungs: tuple[Rung, ...], path: str) -> None:
    """Channels with grids of their own are those of the tensor's last axis."""
    channels = max(1, tensor.shape[-1])
    for index, rung in enumerate(rungs):
        if rung.grids is not None and rung.grids.channels != channels:
            raise BundleFormatError(
                f"{path}.rungs[{index}].grids", f"are of {rung.grids.channels} channels",
                allowed=f"{channels}",
            )  # fmt: skip


def _read_packets(read: FieldReader, tensor: TensorSpec) -> Packets:
    read.only("bytes", "unit")
    packets = Packets(
        bytes=read.integer("bytes", 20, _MAX_PACKET_BYTES),
        unit=read.integer("unit", 1, max(1, tensor.row_elements)),
    )
    if tensor.elements == 0:
        raise BundleFormatError(
            read.path, "are given for a tensor without elements", allowed="null"
        )
    if tensor.row_elements % packets.unit:
        raise BundleFormatError(
            f"{read.path}.unit", f"is {packets.unit}", allowed=f"a divisor of {tensor.row_elements}"
        )
    if tensor.elements // packets.unit > MAX_UNITS:
        raise BundleFormatError(
            f"{read.path}.unit",
            f"makes {tensor.elements // packets.unit} units",
            allowed=f"<= {MAX_UNITS}",
        )
    return packets
