"""Isthmus's own coders in the near-lossless comparison, each as a codec of levels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from benchmarks.codecs.base import Array8, Codec
from benchmarks.codecs.isthmus_codec import Isthmus
from benchmarks.near_lossless_tensors import Grid, Int8Cut
from isthmus.errors import OptionError
from isthmus.profile import Profile, TensorSpec
from isthmus_gen.calibrate import ClipRange, TensorStatistics, uniform_quantizer
from isthmus_gen.codec_design import design_near_lossless, design_rungs, profile_of
from isthmus_gen.options import GenerateOptions, make_options

__all__ = ["OURS", "our_bytes", "our_codecs"]

#: Names in the order of the tables; the first is the one that the rivals are compared with.
OURS = ("Isthmus near-lossless", "Isthmus lightweight neighbour", "Isthmus lightweight paper")
_SCHEMES = ("neighbour", "paper")
_SAMPLE_ELEMENTS = 1 << 21


def our_codecs(cut: Int8Cut, bound: int) -> list[Codec]:
    """Every coder of Isthmus for the levels of ``cut`` at ``bound``, trained on its calibration."""
    return [_near_lossless(cut, bound), *(_lightweight(cut, bound, name) for name in _SCHEMES)]


def our_bytes(codec: Codec, tensors: Array8) -> tuple[list[int], list[int]]:
    """Bytes of the frames of levels [n, h, w, c], and the same without headers.

    RuntimeError where a frame does not come back exactly.
    """
    codes = codec.encode_all(tensors)
    if not np.array_equal(codec.decode_all(codes).reshape(tensors.shape), tensors):
        raise RuntimeError(f"{codec.name} {codec.setting}: what comes back is not what was given")
    return [len(code) for code in codes], [codec.bare(code) for code in codes]


def _near_lossless(cut: Int8Cut, bound: int) -> Codec:
    """The near-lossless codec as ``isthmus generate`` makes it."""
    options = _options(cut, codec="near-lossless", bounds=(bound,))
    tensor = TensorSpec(cut.name, cut.shape, "int8", cut.scale, cut.zero_point)
    calibration = [one.reshape(cut.shape) for one in cut.calibration]
    designs = design_near_lossless(options, tensor, TensorStatistics(cut.shape), calibration)
    profile = profile_of(options, tensor, designs)
    levels = Grid(bound, cut.zero_point).levels(np.arange(-128, 128).astype(np.int8))
    if profile.rungs[0].table_i8 != levels.tobytes():
        raise RuntimeError(f"{cut.name}: the codec's levels are not those of the comparison")
    return _Reshaped(OURS[0], f"N {profile.rungs[0].levels}", profile, 0)


def _lightweight(cut: Int8Cut, bound: int, scheme: str) -> Codec:
    """The lightweight codec with one level for each value of the grid, so nothing is lost."""
    grid = Grid(bound, cut.zero_point)
    rows = cut.test.shape[1]
    for slice_rows in (0, *(-(-rows // parts) for parts in range(2, rows + 1))):
        try:
            profile = _profile(cut, grid, scheme, slice_rows)
        except OptionError as error:
            if "--slice-rows" not in str(error):
                raise
            continue  # a slice's payload might become too long
        setting = f"N {grid.count}" + (f", slices of {slice_rows} rows" if slice_rows else "")
        return _Reshaped(f"Isthmus lightweight {scheme}", setting, profile, 0)
    raise RuntimeError(f"{cut.name}: one row of it is too long for a slice")


class _Reshaped(Isthmus):
    """Takes levels [1, 1, c] for a tensor [c]."""

    def encode_all(self, arrays: Iterable[Array8]) -> list[bytes]:
        shape = self._codec.profile.tensor.shape
        return super().encode_all([array.reshape(shape) for array in arrays])


def _profile(cut: Int8Cut, grid: Grid, scheme: str, slice_rows: int) -> Profile:
    tensor = TensorSpec(cut.name, cut.shape, "float32", 1.0, 0)
    clip = ClipRange(0.0, float(grid.count - 1), "grid")
    most = max(2, _SAMPLE_ELEMENTS // int(np.prod(cut.shape)))
    samples = [one.reshape(cut.shape) for one in grid.levels(cut.calibration[:most])]
    options = _options(cut, scheme=scheme, slice_rows=slice_rows, element="float32")
    designs = design_rungs(
        options, tensor, TensorStatistics(cut.shape), cut.activation,
        [one.astype(np.float32) for one in samples], [uniform_quantizer(grid.count, clip)],
    )  # fmt: skip
    return profile_of(options, tensor, designs)


def _options(cut: Int8Cut, **given: object) -> GenerateOptions:
    return make_options(
        {
            "model": cut.task.model,
            "calibration": cut.task.calibration.file,
            "out": "none",
            "cut": cut.name,
            **given,
        }
    )
