"""Fixed profiles whose trees are kept as files, made from numbers alone."""

from __future__ import annotations

import numpy as np

from isthmus.binarisation import binarisation
from isthmus.codec.quantise import float32_keys
from isthmus.profile import Profile, Rung, TensorSpec
from isthmus.trained import Trained
from isthmus_gen.emit import TreeInput, make_environment, render_tree

TARGET = "cortex-m4f"
# well above what any of these tensors can need, and no function of the coder: a golden tree changes
# with the emitter, not with the proof of the bound
_PAYLOAD_MAX = 2000


def _rung(levels: int, dtype: str, scale: float, zero_point: int) -> Rung:
    steps = 4.0 / (levels - 1)
    thresholds = (np.arange(levels - 1, dtype=np.float64) + 0.5) * steps
    table = None
    thresholds_i16 = None
    if dtype == "int8":
        real = (np.arange(-128, 128, dtype=np.float64) - zero_point) * scale
        table = np.searchsorted(thresholds, real, side="right").astype(np.uint8).tobytes()
    if dtype == "int16":
        bounds = np.ceil(thresholds / scale) + zero_point
        thresholds_i16 = tuple(int(value) for value in bounds)
    contexts = binarisation(levels).context_count
    return Rung(
        levels=levels,
        clip=(0.0, 4.0),
        quantizer="uniform",
        thresholds=tuple(thresholds.tolist()),
        values=tuple((np.arange(levels) * steps).tolist()),
        rate=5,
        initial=tuple(20000 + 1000 * (index % 40) for index in range(contexts)),
        table_i8=table,
        thresholds_i16=thresholds_i16,
        thresholds_f32=tuple(int(key) for key in float32_keys(thresholds.astype(np.float32))),
        payload_max=_PAYLOAD_MAX,
    )


def make_profile(
    dtype: str, shape: tuple[int, ...], levels: tuple[int, ...], slice_rows: int
) -> Profile:
    """A profile with clip 0..4 and uniform cells."""
    scale, zero_point = {"int8": (0.03125, -128), "int16": (0.0009765625, 0)}.get(dtype, (1.0, 0))
    tensor = TensorSpec("stage/relu", shape, dtype, scale, zero_point)
    rungs = tuple(_rung(count, dtype, scale, zero_point) for count in levels)
    return Profile(tensor, rungs, slice_rows, extra={"made_for": "golden tree"})


def _near_rung(bound: int, scale: float) -> Rung:
    """A rung of a bound around 0: nine levels have symbols, those next to zero's."""
    pitch = 2 * bound + 1
    centres = [n * pitch for n in range(-128, 129) if -128 - bound <= n * pitch <= 127 + bound]
    levels, zero = len(centres), centres.index(0)
    edges = (np.array(centres[:-1], np.float64) + bound + 0.5) * scale
    trained = Trained(
        channels=3,
        classes=bytes([*(min(2, abs(level - zero)) for level in range(levels)), 0]),
        cells=bytes(min(3, number % 3 + number // 9) for number in range(27)),
        choices=bytes((channel + cell) % 2 for channel in range(3) for cell in range(4)),
        symbols=bytes(max(0, level - zero + 5) * (level < zero + 5) for level in range(levels)),
        frequencies=(
            (35, 150, 500, 2000, 8000, 40000, 10000, 4000, 700, 150),
            (135, 5400, 7000, 8000, 8000, 9000, 8000, 8000, 7000, 5000),
        ),
    )
    real = np.arange(-128, 128) * scale
    return Rung(
        levels=levels,
        clip=(-128 * scale, 127 * scale),
        quantizer="grid",
        thresholds=tuple(edges.tolist()),
        values=tuple((np.clip(centres, -128, 127) * scale).tolist()),
        rate=0,
        initial=(),
        table_i8=np.searchsorted(edges, real, side="right").astype(np.uint8).tobytes(),
        thresholds_i16=None,
        thresholds_f32=tuple(int(key) for key in float32_keys(edges.astype(np.float32))),
        payload_max=_PAYLOAD_MAX,
        bound=bound,
        trained=trained,
    )


def make_near_profile(shape: tuple[int, ...], bounds: tuple[int, ...]) -> Profile:
    """A near-lossless profile of an int8 tensor around 0, of three channels."""
    tensor = TensorSpec("stage/add", shape, "int8", 0.03125, 0)
    rungs = tuple(_near_rung(bound, tensor.scale) for bound in bounds)
    return Profile(tensor, rungs, shape[0], extra={"made_for": "golden tree"})


PROFILES = {
    "int8_sliced": make_profile("int8", (4, 3, 5), (4, 2, 20), 3),
    "int16_flat": make_profile("int16", (24,), (8,), 1),
    "float32": make_profile("float32", (2, 6), (3, 5), 2),
    "near_lossless": make_near_profile((4, 3, 6), (0, 2)),
}


def tree_of(name: str) -> dict[str, bytes]:
    """The tree of one of ``PROFILES``: path -> bytes."""
    return render_tree(TreeInput(PROFILES[name], TARGET, "golden"), make_environment())
