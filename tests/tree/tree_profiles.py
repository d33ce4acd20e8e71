"""Fixed profiles whose trees are kept as files, made from numbers alone."""

from __future__ import annotations

import numpy as np

from isthmus.binarisation import binarisation
from isthmus.codec.quantise import float32_keys
from isthmus.profile import Profile, Rung, TensorSpec
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


PROFILES = {
    "int8_sliced": make_profile("int8", (4, 3, 5), (4, 2, 20), 3),
    "int16_flat": make_profile("int16", (24,), (8,), 1),
    "float32": make_profile("float32", (2, 6), (3, 5), 2),
}


def tree_of(name: str) -> dict[str, bytes]:
    """The tree of one of ``PROFILES``: path -> bytes."""
    return render_tree(TreeInput(PROFILES[name], TARGET, "golden"), make_environment())
