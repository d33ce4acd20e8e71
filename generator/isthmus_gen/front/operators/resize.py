"""RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR: where each output lies is a table."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from isthmus_gen.front.flatbuffer import Tensor
from isthmus_gen.front.layers import Array, Layer, Ref
from isthmus_gen.front.operators.base import Request
from isthmus_gen.front.quantize import round_half_away

__all__ = ["bilinear_taps", "lower_resize_bilinear", "lower_resize_nearest", "nearest_indices"]

_SIZE_MAX = (1 << 15) - 1
_ONE = 1 << 10


def nearest_indices(size: int, out: int, *, corners: bool, centers: bool) -> npt.NDArray[np.int64]:
    """``GetNearestNeighbor`` in its float32 arithmetic: the input of each of ``out`` outputs.

    >>> nearest_indices(2, 4, corners=False, centers=False).tolist()
    [0, 0, 1, 1]
    """
    ratio = (
        np.float32(size - 1) / np.float32(out - 1)
        if corners and out > 1
        else np.float32(size) / np.float32(out)
    )
    offset = np.float32(0.5 if centers else 0.0)
    found = []
    for index in range(out):
        value = float((np.float32(index) + offset) * ratio)
        nearest = round_half_away(value) if corners else math.floor(value)
        found.append(max(0, min(nearest, size - 1)))
    return np.array(found, dtype=np.int64)


def bilinear_taps(size: int, out: int, *, corners: bool, centers: bool) -> npt.NDArray[np.int64]:
    """``ComputeInterpolationValuesInteger``: lower index, upper index, weight of the upper one.

    int64 [out, 3]; weights are in 1/1024. Where the rounded ratio leads beyond the last input,
    the lower index is larger than ``size - 1``: the reference reads there.

    >>> bilinear_taps(2, 4, corners=False, centers=True).tolist()
    [[0, 0, -256], [0, 1, 256], [0, 1, 768], [1, 1, 256]]
    """
    if corners and out > 1:
        ratio = (_ONE * (size - 1) + (out - 1) // 2) // (out - 1)
    else:
        ratio = (_ONE * size + out // 2) // out
    taps = []
    for index in range(out):
        at = index * ratio + (ratio // 2 - _ONE // 2 if centers else 0)
        lower = max(0, at // _ONE)
        upper = min(max(0, -(-at // _ONE)), size - 1)
        taps.append((lower, upper, at - _ONE * lower))
    return np.array(taps, dtype=np.int64)


def _ends(request: Request) -> tuple[Tensor, Tensor, dict[str, bool]]:
    x, y = request.input(), request.output()
    request.same_quantisation(x, y)
    in_h, in_w, in_c = request.spatial(x, "input")
    out_h, out_w, out_c = request.spatial(y, "output")
    if request.integers(1, "size") != [out_h, out_w] or in_c != out_c:
        raise request.refuse(f"shapes {x.shape} and {y.shape}")
    if max(in_h, in_w, out_h, out_w) > _SIZE_MAX:
        raise request.refuse(f"shapes {x.shape} and {y.shape}", allowed=f"sides up to {_SIZE_MAX}")
    flags = {
        "corners": bool(request.option("alignCorners")),
        "centers": bool(request.option("halfPixelCenters")),
    }
    return x, y, flags


def _layer(request: Request, kind: str, x: Tensor, y: Tensor, arrays: tuple[Array, ...]) -> Layer:
    kernel = f"isth_k_resize_{kind}"
    run = ("isth_k_run.h",) if kind == "nearest" else ()
    return Layer(
        operator=request.operator.name,
        place=request.operator.place,
        inputs=(x.index,),
        output=y.index,
        kernel=kernel,
        files=("isth_k_common.h", *run, f"{kernel}.h", f"{kernel}.c"),
        ctype=f"{kernel}_layer",
        params=(
            ("rows", Ref("rows")),
            ("columns", Ref("columns")),
            ("in_w", x.shape[2]),
            ("out_h", y.shape[1]),
            ("out_w", y.shape[2]),
            ("channels", y.shape[3]),
        ),
        arrays=arrays,
    )


def lower_resize_nearest(request: Request) -> Layer:
    """RESIZE_NEAREST_NEIGHBOR with any of its options."""
    x, y, flags = _ends(request)
    arrays = tuple(
        Array(name, "uint16_t", nearest_indices(x.shape[axis], y.shape[axis], **flags), 2)
        for name, axis in (("rows", 1), ("columns", 2))
    )
    return _layer(request, "nearest", x, y, arrays)


def lower_resize_bilinear(request: Request) -> Layer:
    """RESIZE_BILINEAR with either of its options; both at once are refused by the engines."""
    x, y, flags = _ends(request)
    if all(flags.values()):
        raise request.refuse("align_corners with half_pixel_centers", allowed="one of them")
    arrays = []
    for name, axis in (("rows", 1), ("columns", 2)):
        taps = bilinear_taps(x.shape[axis], y.shape[axis], **flags)
        if taps[:, 0].max() >= x.shape[axis]:
            raise request.refuse(
                f"{x.shape[axis]} to {y.shape[axis]} is too far for a ratio of ten bits"
            )
        arrays.append(Array(name, "int16_t", taps.reshape(-1), 2))
    return _layer(request, "bilinear", x, y, tuple(arrays))
