"""From calibration to the codec's part of the profile: quantisers, tables, the coder's start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.codec.bound import MAX_PAYLOAD, neighbour_payload_max, payload_max
from isthmus.codec.packets import packet_need
from isthmus.codec.start import choose_start
from isthmus.errors import OptionError
from isthmus.profile import (
    MAX_SLICES,
    MAX_UNITS,
    Contexts,
    Packets,
    Profile,
    Rung,
    TensorSpec,
)
from isthmus_gen.calibrate import (
    Quantizer,
    TensorStatistics,
    calibrate_quantizer,
    lut_int8,
    thresholds_f32_keys,
    thresholds_i16,
)
from isthmus_gen.contexts import choose_neighbour_rate, design_contexts
from isthmus_gen.models import ActivationInfo
from isthmus_gen.near_lossless import design_near_rungs
from isthmus_gen.options import GenerateOptions
from isthmus_gen.targets import load_target

__all__ = [
    "RungDesign",
    "design_near_lossless",
    "design_rungs",
    "packets_of",
    "profile_of",
    "slice_rows_of",
]


@dataclass(frozen=True)
class RungDesign:
    """A rung, the quantiser it was made from, and what the report says of it."""

    rung: Rung
    quantizer: Quantizer
    report: dict[str, Any]


def slice_rows_of(tensor: TensorSpec, asked: int) -> int:
    """Rows of a slice: ``asked``, or all of them for 0; OptionError where it cannot be.

    A tensor without rows or of one row is one slice.
    """
    if asked == 0 or tensor.rows <= 1:
        return max(1, tensor.rows)
    if asked > tensor.rows:
        raise OptionError(
            "--slice-rows", f"is {asked}", allowed=f"0..{tensor.rows}, the rows of {tensor.name}"
        )
    if -(-tensor.rows // asked) > MAX_SLICES:
        raise OptionError(
            "--slice-rows", f"{asked} makes more than {MAX_SLICES} slices", allowed="larger values"
        )
    return asked


def design_rungs(
    options: GenerateOptions,
    tensor: TensorSpec,
    statistics: TensorStatistics,
    activation: ActivationInfo,
    samples: Sequence[npt.NDArray[np.float32]],
    quantizers: Sequence[Quantizer] | None = None,
) -> list[RungDesign]:
    """A rung for each of ``quantizers``, by default those that ``options`` ask for.

    ``samples`` are some calibration tensors (float32, the tensor's shape) from which the coder's
    start is taken.
    """
    made = _quantizers(options, statistics, activation) if quantizers is None else quantizers
    return [_design(tensor, quantizer, samples, options) for quantizer in made]


def design_near_lossless(
    options: GenerateOptions,
    tensor: TensorSpec,
    statistics: TensorStatistics,
    tensors: Sequence[npt.NDArray[Any]],
) -> list[RungDesign]:
    """A rung for each of ``options.bounds``.

    ``tensors`` are calibration tensors as the device's front half makes them, in its dtype.
    """
    rows = restarts = slice_rows_of(tensor, options.slice_rows)
    if options.mtu:
        # packets begin anew about as often as slices of so many rows, at four bits an element
        restarts = max(1, min(rows, 2 * options.mtu // max(1, tensor.row_elements)))
    made = design_near_rungs(
        tensor, statistics, tensors, options.bounds, rows, restarts,
        channels=options.min_max == "channel",
    )  # fmt: skip
    return [RungDesign(near.rung, near.quantizer, near.report) for near in made]


def profile_of(
    options: GenerateOptions,
    tensor: TensorSpec,
    designs: Sequence[RungDesign],
    extra: Mapping[str, Any] | None = None,
) -> Profile:
    """The profile with these rungs, cut into slices or packets as ``options`` ask."""
    rungs = tuple(design.rung for design in designs)
    packets = packets_of(tensor, rungs, options.mtu) if options.mtu else None
    return Profile(
        tensor=tensor,
        rungs=rungs,
        slice_rows=slice_rows_of(tensor, options.slice_rows),
        extra={} if extra is None else extra,
        packets=packets,
    )


def packets_of(tensor: TensorSpec, rungs: Sequence[Rung], size: int) -> Packets:
    """Packets of at most ``size`` bytes: their unit is a position, or as much of one as fits.

    OptionError where not even a small part of a position fits whatever its data.
    """
    row = tensor.row_elements
    if tensor.elements == 0:
        raise OptionError("--mtu", "cuts a tensor without elements", allowed="0")
    position = tensor.shape[-1]
    fewest = -(-tensor.elements // MAX_UNITS)
    sizes = [unit for unit in range(position, 0, -1) if position % unit == 0 and unit >= fewest]
    sizes += [unit for unit in range(position, row + 1, position) if row % unit == 0]
    for unit in sizes:
        need = max(packet_need(rung, unit) for rung in rungs)
        if unit >= fewest and need <= size:
            return Packets(size, unit)
    least = max(packet_need(rung, max(1, fewest)) for rung in rungs)
    raise OptionError("--mtu", f"is {size}", allowed=f"{least} or more for {tensor.name}")


def _quantizers(
    options: GenerateOptions, statistics: TensorStatistics, activation: ActivationInfo
) -> list[Quantizer]:
    """One for every entry of ``options.levels``."""
    from isthmus_gen.calibrate import parse_clip

    clip = parse_clip(options.clip)
    return [
        calibrate_quantizer(
            statistics,
            levels=levels,
            clip=clip,
            quantizer=options.quantizer,
            lam=options.lam,
            rate=options.rate_term,
            activation=activation,
            c_min=options.c_min,
        )
        for levels in options.levels
    ]


def _design(
    tensor: TensorSpec,
    quantizer: Quantizer,
    samples: Sequence[npt.NDArray[np.float32]],
    options: GenerateOptions,
) -> RungDesign:
    levels = [quantizer.level(sample).astype(np.uint8).reshape(-1) for sample in samples]
    slice_rows = slice_rows_of(tensor, options.slice_rows)
    elements = min(slice_rows, tensor.rows) * tensor.row_elements
    start = _start(tensor, quantizer.levels, levels, elements, options)
    bound = payload_max if start.contexts is None else neighbour_payload_max
    limit = bound(quantizer.levels, start.rate, elements)
    if limit > MAX_PAYLOAD:
        raise OptionError(
            "--slice-rows",
            f"a slice of {elements} elements may need {limit} bytes",
            allowed=f"<= {MAX_PAYLOAD} bytes",
            remedy="cut the frame into slices with --slice-rows",
        )
    chosen = quantizer.values
    if options.values == "centroid" and quantizer.values_centroid is not None:
        chosen = quantizer.values_centroid
    return RungDesign(
        rung=Rung(
            levels=quantizer.levels,
            clip=(float(quantizer.clip.c_min), float(quantizer.clip.c_max)),
            quantizer=quantizer.kind,
            thresholds=tuple(float(value) for value in quantizer.thresholds),
            values=tuple(float(value) for value in chosen),
            rate=start.rate,
            initial=start.initial,
            table_i8=_table(quantizer, tensor),
            thresholds_i16=_thresholds_i16(quantizer, tensor),
            thresholds_f32=tuple(int(key) for key in thresholds_f32_keys(quantizer)),
            payload_max=limit,
            contexts=start.contexts,
        ),
        quantizer=quantizer,
        report={
            "levels": quantizer.levels,
            "quantizer": quantizer.kind,
            "clip_rule": quantizer.clip.rule,
            "clip_min": float(quantizer.clip.c_min),
            "clip_max": float(quantizer.clip.c_max),
            "values": [float(value) for value in chosen],
            "rate": start.rate,
            "context_sets": 1 if start.contexts is None else start.contexts.sets,
            "contexts": len(start.initial),
            "coded_bits": start.bits,
            "end_shares": _end_shares(levels, quantizer.levels),
            "clip_details": dict(quantizer.clip.details),
            "quantizer_details": dict(quantizer.details),
            "notes": _notes(quantizer),
        },
    )


def _end_shares(levels: Sequence[npt.NDArray[np.uint8]], count: int) -> list[float] | None:
    """The shares of the calibration samples' elements in the first and the last cell.

    A server compares them with those of the frames it gets: inputs that drift fill the ends.
    """
    total = sum(one.size for one in levels)
    if total == 0:
        return None
    ends = [sum(int(np.count_nonzero(one == end)) for one in levels) for end in (0, count - 1)]
    return [found / total for found in ends]


@dataclass(frozen=True)
class _Start:
    """Where a rung's coder starts."""

    rate: int
    initial: tuple[int, ...]
    contexts: Contexts | None
    bits: float | None


def _start(
    tensor: TensorSpec,
    levels: int,
    tensors: Sequence[npt.NDArray[np.uint8]],
    slice_elements: int,
    options: GenerateOptions,
) -> _Start:
    """The coder's start in the scheme that ``options`` ask for, from calibration levels."""
    if options.scheme == "paper":
        rate, initial = choose_start(levels, tensors)
        return _Start(rate, initial, None, None)
    allowed = options.context_bytes or load_target(options.target).codec.context_bytes
    # Every slice starts its contexts anew, about five instructions each: at most one for two
    # elements, two bytes each. Packets are taken to have a bit an element. A bottleneck has few
    # elements and statistics of its own for each channel: there the contexts are worth it.
    if options.codec != "bottleneck":
        allowed = min(allowed, min(slice_elements, 8 * options.mtu or slice_elements))
    found = design_contexts(
        tensor, levels, tensors, context_bytes=allowed, restarts=_restarts(tensor, options)
    )
    rate = choose_neighbour_rate(tensor, levels, found, tensors)
    return _Start(rate, found.initial, found.contexts, found.bits)


def _restarts(tensor: TensorSpec, options: GenerateOptions) -> float:
    """The share of elements in the first row of a slice; packets are taken to have a bit each."""
    if options.mtu:
        return min(1.0, tensor.row_elements / (8 * options.mtu))
    rows = slice_rows_of(tensor, options.slice_rows)
    return 1.0 / rows if rows < tensor.rows else 0.0


def _notes(quantizer: Quantizer) -> list[str]:
    """Where the quantiser is another than the options asked for, in words."""
    notes = []
    fallback = quantizer.clip.details.get("fallback")
    if fallback:
        notes.append(f"{quantizer.levels} levels: {fallback}")
    if quantizer.kind == "ecsq-zero" and not quantizer.details["pinned"]:
        notes.append(f"{quantizer.levels} levels: zero is not pinned, it lies outside the range")
    return notes


def _table(quantizer: Quantizer, tensor: TensorSpec) -> bytes | None:
    if tensor.dtype != "int8":
        return None
    return lut_int8(quantizer, tensor.scale, tensor.zero_point).tobytes()


def _thresholds_i16(quantizer: Quantizer, tensor: TensorSpec) -> tuple[int, ...] | None:
    if tensor.dtype != "int16":
        return None
    values = thresholds_i16(quantizer, tensor.scale, tensor.zero_point)
    return tuple(int(value) for value in values)
