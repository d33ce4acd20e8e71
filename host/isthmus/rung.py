"""One quantiser of a profile's ladder, with the start of its coder (BITSTREAM.md, 2, 5 and 6)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.binarisation import binarisation
from isthmus.errors import BundleFormatError
from isthmus.fields import FieldReader
from isthmus.grids import Grids, grids_dict, read_grids
from isthmus.trained import Trained, read_trained, trained_dict

__all__ = ["MAX_CONTEXTS", "Contexts", "Rung", "read_rung", "rung_dict"]

#: Contexts that a rung may have.
MAX_CONTEXTS = 1 << 15
#: A neighbour's class times the bins of a context set is kept in one byte of the row.
_MAX_CLASS_BINS = 255
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_QUANTIZERS = ("uniform", "ecsq", "ecsq-zero")
_GRID = ("grid",)


@dataclass(frozen=True)
class Contexts:
    """Which context set an element's bins use, in scheme "neighbour" (BITSTREAM.md, 6.2).

    The set is chosen by the classes of the levels above and to the left, and by the cluster of the
    element's channel.

    step      elements between an element and its left neighbour in the row
    clusters  cluster 0 .. G-1 of each channel; element i of a row is of channel
              ``i % len(clusters)``
    classes   class 0 .. A-1 of each level, and last that of a place outside the slice
    """

    step: int
    clusters: tuple[int, ...]
    classes: tuple[int, ...]

    @property
    def class_count(self) -> int:
        """A, the classes of a neighbour."""
        return max(self.classes) + 1

    @property
    def cluster_count(self) -> int:
        """G, the clusters of channels."""
        return max(self.clusters) + 1

    @property
    def sets(self) -> int:
        """Context sets: one for each cluster, class above and class to the left."""
        return self.cluster_count * self.class_count**2


@dataclass(frozen=True)
class Rung:
    """One quantiser of the ladder with its coder's start.

    levels          N, 2..256
    clip            (c_min, c_max), reals
    quantizer       how the cells were made: "uniform", "ecsq", "ecsq-zero"
    thresholds      float64 [N - 1], nondecreasing; level = number of thresholds <= x
    values          float64 [N], reconstruction values
    rate            adaptation shift 5..7
    initial         uint16 [contexts], P(bin = 1) * 65536 at a slice's start, 128..65408; scheme
                    "neighbour": 256 b + 128 with b in 0..255
    table_i8        uint8 [256], level of int8 value v at v + 128 (int8 tensors)
    thresholds_i16  int32 [N - 1] (int16 tensors)
    thresholds_f32  uint32 [N - 1], ordered keys of float32 (BITSTREAM.md, 4)
    payload_max     bytes no payload of one slice exceeds
    contexts        the choice of context sets in scheme "neighbour"; None in scheme "paper"
    budget_start    bytes from which on a byte budget begins with this rung (0..2^32 - 1)
    size_ratios     uint16 [rungs], at most how long a frame of each rung is beside the same
                    tensor's frame of this rung, times 4096; () where there is no such table

    of the near-lossless codec, whose ``rate`` is 0 and ``initial`` empty:

    bound           D: no value decoded is further than so many of 256 steps from the device's
    trained         the distributions that code the levels
    grids           where each channel's steps lie; None where one grid is all channels'. With it
                    thresholds and values count in steps, and thresholds_i16 and thresholds_f32 are
                    [C * (N - 1)], channel after channel
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
    contexts: Contexts | None = None
    budget_start: int = 0
    size_ratios: tuple[int, ...] = ()
    bound: int | None = None
    trained: Trained | None = None
    grids: Grids | None = None

    @property
    def context_count(self) -> int:
        """Contexts that the rung's coder needs."""
        if self.trained is not None:
            return 0
        sets = 1 if self.contexts is None else self.contexts.sets
        return sets * binarisation(self.levels).context_count

    def values_array(self) -> npt.NDArray[np.float32]:
        """The reconstruction values as float32 [N]; [C, N] where every channel has its grid."""
        if self.grids is not None:
            return self.grids.reals(self.values).astype(np.float32)
        return np.asarray(self.values, dtype=np.float32)

    def features(self, levels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The value of each of ``levels`` (any shape that ends in whole rows), float32."""
        if self.grids is None:
            return np.take(self._table, levels)  # a third of the time of an index
        first = np.arange(self.grids.channels) * self.levels
        rows = levels.reshape(-1, self.grids.channels)
        return np.take(self._table, rows + first).reshape(levels.shape)

    @cached_property
    def _table(self) -> npt.NDArray[np.float32]:
        return self.values_array()


def rung_dict(rung: Rung, *, plain: bool) -> dict[str, Any]:
    """The rung as JSON-ready data; ``plain`` in the form of format 1.0."""
    out: dict[str, Any] = {
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
    if plain:
        return out
    out["budget_start"] = rung.budget_start
    out["size_ratios"] = list(rung.size_ratios)
    if rung.trained is not None:
        del out["rate"], out["initial"]
        out |= {"bound": rung.bound, "trained": trained_dict(rung.trained)}
        return out if rung.grids is None else out | {"grids": grids_dict(rung.grids)}
    out["contexts"] = None
    if rung.contexts is not None:
        out["contexts"] = {
            "step": rung.contexts.step,
            "clusters": list(rung.contexts.clusters),
            "classes": list(rung.contexts.classes),
        }
        out["initial"] = bytes(value >> 8 for value in rung.initial).hex()
    return out


def _nondecreasing(
    read: FieldReader, key: str, values: tuple[float, ...] | tuple[int, ...], length: int
) -> None:
    """Refuses a row of ``length`` that falls."""
    for start in range(0, len(values), length):
        if any(b < a for a, b in itertools.pairwise(values[start : start + length])):
            raise BundleFormatError(
                f"{read.path}.{key}", "falls somewhere", allowed="nondecreasing"
            )


def _read_table(read: FieldReader, levels: int) -> bytes | None:
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


def _read_numbering(read: FieldReader, key: str, count: int) -> tuple[int, ...]:
    """``count`` numbers that use every value from 0 to their largest."""
    numbers = read.integers(key, count, 0, 255)
    if set(numbers) != set(range(max(numbers) + 1)):
        raise BundleFormatError(f"{read.path}.{key}", "leaves numbers out", allowed="0, 1, .. all")
    return numbers


def _read_contexts(read: FieldReader, levels: int, row_elements: int) -> Contexts:
    read.only(*(field.name for field in dataclasses.fields(Contexts)))
    clusters = read.sequence("clusters", 1, max(1, row_elements))
    if row_elements % len(clusters):
        raise BundleFormatError(
            f"{read.path}.clusters",
            f"has {len(clusters)} entries",
            allowed=f"a divisor of the row's {row_elements} elements",
        )
    contexts = Contexts(
        step=read.integer("step", 1, max(1, row_elements)),
        clusters=_read_numbering(read, "clusters", len(clusters)),
        classes=_read_numbering(read, "classes", levels + 1),
    )
    bins = binarisation(levels).context_count
    if contexts.class_count * bins > _MAX_CLASS_BINS or contexts.sets * bins > MAX_CONTEXTS:
        raise BundleFormatError(
            read.path,
            f"makes {contexts.sets} sets of {bins} contexts",
            allowed=f"<= {MAX_CONTEXTS} contexts, <= {_MAX_CLASS_BINS // bins} classes",
        )
    return contexts


def _read_initial_bytes(read: FieldReader, count: int) -> tuple[int, ...]:
    """The 8-bit starting states of scheme "neighbour"."""
    text = read.text("initial")
    try:
        states = bytes.fromhex(text)
    except ValueError:
        states = b""
    if len(states) != count:
        raise BundleFormatError(
            f"{read.path}.initial", "is not a table of states", allowed=f"{count} bytes in hex"
        )
    return tuple(256 * state + 128 for state in states)


def _read_ratios(read: FieldReader, rungs: int) -> tuple[int, ...]:
    """One entry for each of the ladder's ``rungs``, or none."""
    found = read.sequence("size_ratios", 0, rungs)
    if not found:
        return ()
    return read.integers("size_ratios", rungs, 1, (1 << 16) - 1)


def read_rung(
    read: FieldReader, dtype: str, row_elements: int, scheme: str | None, rungs: int
) -> Rung:
    """The rung in ``read``, of a ladder of ``rungs``; ``scheme`` is None in format 1.0.

    BundleFormatError names the field that is wrong.
    """
    read.only(*_keys(scheme))
    levels = read.integer("levels", 2, 256)
    grids = _read_grids(read, dtype, row_elements) if "grids" in read.data else None
    rung = _read_quantizer(
        read, dtype, levels, _GRID if scheme == "trained" else _QUANTIZERS, grids
    )
    if scheme is not None:
        rung = dataclasses.replace(
            rung,
            budget_start=read.integer("budget_start", 0, (1 << 32) - 1),
            size_ratios=_read_ratios(read, rungs),
        )
    if scheme == "trained":
        if levels == 256 and rung.table_i8 not in (None, bytes(range(256))):
            raise BundleFormatError(
                f"{read.path}.table_i8", "moves values", allowed="0, 1, .. 255 for 256 levels"
            )
        trained = read_trained(read.child("trained"), levels, row_elements)
        if grids is not None and grids.channels != trained.channels:
            raise BundleFormatError(
                f"{read.path}.grids", f"are of {grids.channels} channels",
                allowed=f"{trained.channels}",
            )  # fmt: skip
        return dataclasses.replace(rung, bound=read.integer("bound", 0, 127), trained=trained)
    contexts = None
    bins = binarisation(levels).context_count
    if scheme == "neighbour":
        contexts = _read_contexts(read.child("contexts"), levels, row_elements)
        initial = _read_initial_bytes(read, contexts.sets * bins)
    else:
        if scheme is not None and read.get("contexts") is not None:
            raise read.fail("contexts", read.get("contexts"), "null in scheme paper")
        initial = read.integers("initial", bins, 128, 65408)
    rate = read.integer("rate", 5, 7)
    return dataclasses.replace(rung, rate=rate, initial=initial, contexts=contexts)


def _keys(scheme: str | None) -> list[str]:
    """The fields of a rung in this scheme."""
    keys = [field.name for field in dataclasses.fields(Rung)]
    later = ("contexts", "budget_start", "size_ratios")
    if scheme == "trained":
        return [key for key in keys if key not in ("rate", "initial", "contexts")]
    keys = [key for key in keys if key not in ("bound", "trained", "grids")]
    return keys if scheme is not None else [key for key in keys if key not in later]


def _read_grids(read: FieldReader, dtype: str, row_elements: int) -> Grids:
    if dtype == "int8":
        raise BundleFormatError(
            f"{read.path}.grids", "are given for an int8 tensor", allowed="left out: it has one"
        )
    return read_grids(read.child("grids"), row_elements)


def _read_quantizer(
    read: FieldReader,
    dtype: str,
    levels: int,
    quantizers: tuple[str, ...],
    grids: Grids | None,
) -> Rung:
    """What every rung has: how values become levels and levels values."""
    count = (levels - 1) * (1 if grids is None else grids.channels)
    thresholds_f32 = read.integers("thresholds_f32", count, 0, 0xFFFFFFFF)
    most = math.inf if grids is None else 255.0
    thresholds = read.reals("thresholds", levels - 1, most)
    _nondecreasing(read, "thresholds_f32", thresholds_f32, levels - 1)
    _nondecreasing(read, "thresholds", thresholds, levels - 1)
    thresholds_i16 = None
    if read.data.get("thresholds_i16") is not None:
        thresholds_i16 = read.integers("thresholds_i16", count, -32768, 32768)
        _nondecreasing(read, "thresholds_i16", thresholds_i16, levels - 1)
    table = _read_table(read, levels)
    if dtype == "int8" and table is None:
        raise BundleFormatError(f"{read.path}.table_i8", "is missing", allowed="a table")
    if dtype == "int16" and thresholds_i16 is None:
        raise BundleFormatError(f"{read.path}.thresholds_i16", "is missing", allowed="a list")
    low, high = read.reals("clip", 2)
    return Rung(
        levels=levels,
        clip=(low, high),
        quantizer=read.choice("quantizer", quantizers),
        thresholds=thresholds,
        values=read.reals("values", levels, min(most, _FLOAT32_MAX)),
        rate=0,
        initial=(),
        table_i8=table,
        thresholds_i16=thresholds_i16,
        thresholds_f32=thresholds_f32,
        payload_max=read.integer("payload_max", 0, (1 << 21) - 1),
        grids=grids,
    )
