"""The rungs of a near-lossless profile, one for each bound."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.codec.bound import MAX_PAYLOAD
from isthmus.codec.near_bound import near_payload_max
from isthmus.codec.quantise import levels_of
from isthmus.errors import OptionError
from isthmus.profile import Profile, Rung, TensorSpec
from isthmus.trained import Trained
from isthmus_gen.calibrate import (
    Quantizer,
    TensorStatistics,
    lut_int8,
    thresholds_f32_keys,
    thresholds_i16,
)
from isthmus_gen.near_lossless.grid import Grid, make_channel_grid, make_grid
from isthmus_gen.near_lossless.training import TrainedDesign, train_distributions

__all__ = ["NearRung", "design_near_rungs"]


class NearRung:
    """A rung of a bound: the rung, its quantiser, and what the report says of it."""

    def __init__(self, rung: Rung, quantizer: Quantizer, report: dict[str, Any]) -> None:
        self.rung, self.quantizer, self.report = rung, quantizer, report


def design_near_rungs(
    tensor: TensorSpec,
    statistics: TensorStatistics,
    tensors: Sequence[npt.NDArray[Any]],
    bounds: Sequence[int],
    slice_rows: int,
    restart_rows: int | None = None,
    *,
    channels: bool = False,
) -> list[NearRung]:
    """A rung for each of ``bounds``, trained on ``tensors``, for slices of ``slice_rows`` rows.

    With ``channels`` every channel has its own grid of 256 steps (float32 and int16 tensors).
    ``restart_rows`` are the rows after which neighbours begin anew, by default a slice's.

    ``tensors`` are calibration tensors as the device holds them (int8, int16 or float32, the
    tensor's shape): the front half's own rounding leaves traces that the distributions learn.
    """
    elements = min(slice_rows, tensor.rows) * tensor.row_elements
    restarts = slice_rows if restart_rows is None else restart_rows
    grids = [
        make_channel_grid(statistics, bound) if channels else make_grid(tensor, statistics, bound)
        for bound in bounds
    ]
    return [_design(grid, tensor, tensors, elements, restarts) for grid in grids]


def _design(
    grid: Grid,
    tensor: TensorSpec,
    tensors: Sequence[npt.NDArray[Any]],
    elements: int,
    restart_rows: int,
) -> NearRung:
    quantizer = grid.quantizer()
    bare = _bare_rung(grid, quantizer, tensor)
    profile = Profile(tensor, (bare,), max(1, tensor.rows))
    levels = [levels_of(profile, bare, one) for one in tensors]
    made = train_distributions(tensor, grid.levels, grid.blank, levels, slice_rows=restart_rows)
    limit = near_payload_max(made.trained.level_bits, elements)
    if limit > MAX_PAYLOAD:
        raise OptionError(
            "--slice-rows", f"a slice of {elements} elements may need {limit} bytes",
            allowed=f"<= {MAX_PAYLOAD} bytes",
            remedy="cut the frame into slices with --slice-rows",
        )  # fmt: skip
    rung = dataclasses.replace(bare, payload_max=limit, trained=made.trained)
    report = _report(grid, quantizer, made, levels)
    report["table_bytes"] = table_bytes(rung, tensor.dtype)
    return NearRung(rung, quantizer, report)


def _bare_rung(grid: Grid, quantizer: Quantizer, tensor: TensorSpec) -> Rung:
    """The rung without what codes its levels."""
    table = steps = None
    if tensor.dtype == "int8":
        table = lut_int8(quantizer, tensor.scale, tensor.zero_point).tobytes()
        assert table == grid.level_of_step().tobytes()  # one grid, told twice
    if tensor.dtype == "int16":
        steps = tuple(
            int(value)
            for one in grid.by_channel()
            for value in thresholds_i16(one.quantizer(), tensor.scale, tensor.zero_point)
        )
    return Rung(
        levels=grid.levels,
        clip=grid.ends,
        quantizer=quantizer.kind,
        thresholds=tuple(float(value) for value in quantizer.thresholds),
        values=tuple(float(value) for value in quantizer.values),
        rate=0,
        initial=(),
        table_i8=table,
        thresholds_i16=steps,
        thresholds_f32=tuple(
            int(key) for one in grid.by_channel() for key in thresholds_f32_keys(one.quantizer())
        ),
        payload_max=0,
        bound=grid.bound,
        grids=grid.channels,
    )


def _report(
    grid: Grid,
    quantizer: Quantizer,
    made: TrainedDesign,
    levels: Sequence[npt.NDArray[np.uint8]],
) -> dict[str, Any]:
    counts = sum((np.bincount(one, minlength=grid.levels) for one in levels), np.zeros(grid.levels))
    share = counts / max(1.0, float(counts.sum()))
    trained = made.trained
    return {
        "bound": grid.bound,
        "levels": grid.levels,
        "quantizer": quantizer.kind,
        "clip_rule": quantizer.clip.rule,
        "clip_min": grid.ends[0],
        "clip_max": grid.ends[1],
        "values": [float(value) for value in quantizer.values],
        "rate": None,
        "context_sets": len(trained.frequencies),
        "contexts": 0,
        "coded_bits": made.bits,
        "end_shares": [float(share[0]), float(share[-1])] if counts.any() else None,
        "clip_details": {},
        "quantizer_details": {
            "entropy_bits": float(-(share[share > 0] * np.log2(share[share > 0])).sum()),
            "mse": _error(grid, share),
            **quantizer.details,
        },
        "notes": [],
    }


def _error(grid: Grid, share: npt.NDArray[np.float64]) -> float:
    """Mean squared error of the bound itself, steps of a level taken as equally frequent."""
    level, steps = grid.level_of_step().astype(np.int64), grid.steps()
    squares = (np.arange(len(level)) - steps[level]).astype(np.float64) ** 2
    mean = np.bincount(level, squares) / np.bincount(level)
    square = np.mean([one.scale**2 for one in grid.by_channel()])
    return float((share * mean).sum() * square)


def table_bytes(rung: Rung, dtype: str) -> int:
    """Flash that a rung's tables take in the tree of a tensor of ``dtype``."""
    assert rung.trained is not None  # a near-lossless rung is
    if dtype == "int8":
        return _trained_bytes(rung.trained) + 256 + 2 * 256  # levels, and their symbols, by value
    return _trained_bytes(rung.trained) + 4 * len(rung.thresholds_f32)


def _trained_bytes(trained: Trained) -> int:
    rows = len(trained.frequencies) * (trained.symbol_count + 1) * 2
    own = trained.class_count * 256 + trained.channels * 64 + 2 * len(trained.symbols)
    return rows + own + trained.symbol_count
