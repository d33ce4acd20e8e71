"""Levels to features: by the value of each level, and by the bundle's restorer where it has one.

A restorer lies beside the profile (``restorer.json``, ``restorer.npz``) and is no part of its
digest: frames are the same with it, without it, and with a better one trained later.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.errors import (
    BundleFormatError,
    DataDtypeError,
    DataShapeError,
    OptionError,
)
from isthmus.profile import Profile
from isthmus.restore_net import MAX_PLANES, RestorerNet, as_planes

__all__ = [
    "RESTORER",
    "RESTORER_ARRAYS",
    "RestoreMode",
    "Restorer",
    "RungRestorer",
    "read_restorer",
    "write_restorer",
]

RESTORER = "restorer.json"
RESTORER_ARRAYS = "restorer.npz"
RestoreMode = Literal["auto", "none"]
_FORMAT = "1.0"
_KINDS = ("values", "centroids", "conv")
_MAX_LAYERS = 16
_FILE_MAX = 256 << 20
_FILE_ERRORS = (
    ValueError, TypeError, RecursionError, OSError, EOFError, RuntimeError, zipfile.BadZipFile,
)  # fmt: skip

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RungRestorer:
    """How the features of one rung are restored.

    kind    "values" (the profile's), "centroids" or "conv"
    values  float32 [N, channels], the value of each level in each channel (the last axis)
    mean    float32 [channels], where elements are missing; a network trained with losses adds to it
    net     the network whose output is added to the values; None but for "conv"
    """

    kind: str
    values: Floats
    mean: Floats
    net: RestorerNet | None = None

    def __call__(
        self, levels: npt.NDArray[np.uint8], missing: npt.NDArray[np.bool_] | None = None
    ) -> Floats:
        """Features float32 [n, *shape] for levels [n, *shape]; ``missing`` as the levels."""
        known = levels if missing is None else np.where(missing, np.uint8(0), levels)
        channels = levels.shape[-1]
        place = known.astype(np.intp) * channels + np.arange(channels)
        out: Floats = self.values.reshape(-1).take(place)
        if missing is not None:
            out = np.where(missing, self.mean, out)
        if self.net is None:
            return out
        planes = (len(levels), *as_planes(levels.shape[1:]))
        lost: npt.NDArray[np.bool_] | None = None
        if missing is not None:
            lost = np.asarray(missing.reshape(planes).any(axis=-1), dtype=np.bool_)
        added = self.net(known.reshape(planes), len(self.values), lost).reshape(levels.shape)
        if missing is not None and not self.net.losses:
            added[missing] = 0.0
        return out + added


class Restorer:
    """Turns levels into float features.

    ``source`` is a bundle or a profile alone; "none" leaves the bundle's restorer out. Without one
    every level becomes the rung's value for it. Raises BundleFormatError or BundleEditedError
    where the bundle's restorer is damaged or another profile's.
    """

    def __init__(self, source: Bundle | Profile, use: RestoreMode = "auto") -> None:
        if use not in get_args(RestoreMode):
            raise OptionError(
                "restorer", f"is {use!r:.60}", allowed=", ".join(get_args(RestoreMode))
            )
        self.profile = source if isinstance(source, Profile) else source.profile
        self.rungs: tuple[RungRestorer, ...] = ()
        if isinstance(source, Bundle) and use == "auto" and RESTORER in source.files:
            self.rungs = read_restorer(source)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What restores each rung: "values" (the profile's own), "centroids" or "conv"."""
        return tuple(r.kind for r in self.rungs) or ("values",) * len(self.profile.rungs)

    def __call__(
        self,
        levels: npt.NDArray[np.uint8],
        rung: int,
        missing: npt.NDArray[np.bool_] | None = None,
    ) -> Floats:
        """As :meth:`restore`."""
        return self.restore(levels, rung, missing)

    def restore(
        self,
        levels: npt.NDArray[np.uint8],
        rung: int,
        missing: npt.NDArray[np.bool_] | None = None,
    ) -> Floats:
        """Features float32 of the shape of ``levels``: the tensor's, or [n, *shape] for a batch.

        ``levels`` uint8 below the rung's N. ``missing`` is true where an element did not arrive:
        bool, broadcast to the shape of ``levels`` (their level is not read). A network trained with
        losses fills these from what is around; else they get their channel's mean where that is
        known, and 0 without a restorer. DataShapeError, DataDtypeError.
        """
        shape = self.profile.tensor.shape
        if levels.shape[levels.ndim - len(shape) :] != shape or levels.ndim > len(shape) + 1:
            raise DataShapeError(
                "levels", f"have shape {list(levels.shape)}", allowed=f"{list(shape)} or [n, ...]"
            )
        lost = None if missing is None else _mask(missing, levels.shape)
        if not self.rungs:
            out = self.profile.rungs[rung].features(levels)
            return out if lost is None else np.where(lost, np.float32(0.0), out)
        batch = levels.reshape(-1, *shape)
        restored = self.rungs[rung](batch, None if lost is None else lost.reshape(batch.shape))
        return restored.reshape(levels.shape)


def _mask(missing: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """``missing`` in the shape of the levels."""
    if missing.dtype != np.bool_:
        raise DataDtypeError("missing", f"is {missing.dtype}", allowed="bool")
    try:
        return np.broadcast_to(missing, shape)
    except ValueError:
        raise DataShapeError(
            "missing", f"has shape {list(missing.shape)}", allowed=f"one that fits {list(shape)}"
        ) from None


def write_restorer(
    profile: Profile, rungs: tuple[RungRestorer, ...], about: Mapping[str, Any]
) -> dict[str, bytes]:
    """The files of a restorer, by name. ``about`` says how it was made; equal in, equal bytes."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    entries = []
    for index, rung in enumerate(rungs):
        entry: dict[str, Any] = {"kind": rung.kind}
        arrays[f"{index}.values"] = rung.values
        arrays[f"{index}.mean"] = rung.mean
        if rung.net is not None:
            entry |= {"layers": len(rung.net.layers), "losses": rung.net.losses}
            arrays[f"{index}.scale"] = rung.net.scale
            for number, (kernel, bias) in enumerate(rung.net.layers):
                arrays[f"{index}.kernel{number}"] = kernel
                arrays[f"{index}.bias{number}"] = bias
        entries.append(entry)
    content = {
        "format": _FORMAT, "profile": profile.digest.hex(), "rungs": entries, "about": dict(about),
    }  # fmt: skip
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]  # savez's stub types its flags alone
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    return {RESTORER: text.encode("ascii"), RESTORER_ARRAYS: stream.getvalue()}


def read_restorer(bundle: Bundle) -> tuple[RungRestorer, ...]:
    """The restorer of each rung of ``bundle``; BundleFormatError, BundleEditedError."""
    where = str(bundle.path / RESTORER)
    content = bundle.read_addition(RESTORER, _FORMAT, limit=_FILE_MAX)
    try:
        files = _read_arrays(bundle.read(RESTORER_ARRAYS, limit=_FILE_MAX))
    except _FILE_ERRORS as error:
        raise BundleFormatError(where, f"cannot be read ({error})") from error
    entries = content.get("rungs")
    if not isinstance(entries, list) or len(entries) != len(bundle.profile.rungs):
        raise BundleFormatError(
            f"{where}: rungs", "are not the profile's", allowed=f"{len(bundle.profile.rungs)}"
        )
    return tuple(
        _Reader(bundle.profile, files, f"{where}: rungs[{index}]", index).rung(entry)
        for index, entry in enumerate(entries)
    )


def _read_arrays(content: bytes) -> dict[str, Floats]:
    """The arrays of an archive as ``np.savez`` writes it: float32, and stored as they are.

    Each is a view of ``content``: nothing is allocated by what a header says.
    """
    out: dict[str, Floats] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if member.compress_type != zipfile.ZIP_STORED or name in out:
                raise ValueError(f"member {member.filename!r:.60} is compressed, or there twice")
            if member.file_size > len(content):
                raise ValueError(f"member {member.filename!r:.60} is longer than the archive")
            data = archive.read(member)
            stream = io.BytesIO(data)
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError(f"member {member.filename!r:.60} is of another version")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            values = np.frombuffer(data[stream.tell() :], dtype=np.float32)
            if dtype != np.float32 or math.prod(shape) != values.size:
                raise ValueError(f"member {member.filename!r:.60} is no float32 of its length")
            out[name] = values.reshape(shape, order="F" if fortran else "C")
    return out


class _Reader:
    """One rung out of the files, every shape checked."""

    def __init__(
        self, profile: Profile, files: Mapping[str, npt.NDArray[Any]], where: str, index: int
    ) -> None:
        self.files, self.where, self.index = files, where, index
        self.levels = profile.rungs[index].levels
        self.shape = profile.tensor.shape
        self.channels = self.shape[-1]

    def rung(self, entry: Any) -> RungRestorer:
        """The rung that ``entry`` describes."""
        if not isinstance(entry, dict) or entry.get("kind") not in _KINDS:
            raise BundleFormatError(f"{self.where}.kind", "is unknown", allowed=", ".join(_KINDS))
        return RungRestorer(
            kind=entry["kind"],
            values=self._array("values", (self.levels, self.channels)),
            mean=self._array("mean", (self.channels,)),
            net=self._net(entry) if entry["kind"] == "conv" else None,
        )

    def _net(self, entry: Mapping[str, Any]) -> RestorerNet:
        count, losses = entry.get("layers"), entry.get("losses")
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MAX_LAYERS:
            raise BundleFormatError(f"{self.where}.layers", "is wrong", allowed=f"1..{_MAX_LAYERS}")
        if not isinstance(losses, bool) or len(self.shape) > 3:
            raise BundleFormatError(self.where, "is no network for this tensor")
        planes = self.levels - 1 if self.levels - 1 <= MAX_PLANES else 1
        width = self.channels * planes + losses
        layers = []
        for number in range(count):
            kernel = self._array(f"kernel{number}", (-1, -1, width, -1))
            width = kernel.shape[3]
            if kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
                raise BundleFormatError(f"{self.where}.kernel{number}", "is even", allowed="odd")
            layers.append((kernel, self._array(f"bias{number}", (width,))))
        if width != self.channels:
            raise BundleFormatError(
                self.where, f"ends in {width} channels", allowed=f"{self.channels}"
            )
        return RestorerNet(tuple(layers), self._array("scale", (self.channels,)), losses)

    def _array(self, name: str, shape: tuple[int, ...]) -> Floats:
        """A finite float32 array; -1 is any size but 0."""
        found = self.files.get(f"{self.index}.{name}")
        fits = (
            found is not None
            and found.dtype == np.float32
            and found.ndim == len(shape)
            and all(have == want or (want < 0 < have) for have, want in zip(found.shape, shape))  # noqa: B905
            and bool(np.isfinite(found).all())
        )
        if found is None or not fits:
            raise BundleFormatError(
                f"{self.where}.{name}",
                "is missing or has another shape",
                allowed=f"float32 {shape}",
            )
        return found
