"""How a depthwise convolution is laid out for ``isth_k_depthwise``: its plane, turned or not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from isthmus_gen.front.filters import FAST

if TYPE_CHECKING:
    from isthmus_gen.front.operators.base import Window

__all__ = ["DepthwiseForm", "depthwise_form", "plane_bytes", "plane_scratch"]

_WIDTHS = (16, 32, 64)  # planes whose width is part of the instructions
_SUMS = 64  # sums kept between the two passes, or one row of them


@dataclass(frozen=True)
class DepthwiseForm:
    """Geometry and strides as the kernel walks; ``window`` is turned where the picture is.

    ``sums`` is the number of int32 sums behind the plane, 0 for the general kernel.
    """

    window: Window
    turned: bool
    plane_w: int
    sums: int
    scratch_bytes: int

    def fields(self) -> tuple[tuple[str, int], ...]:
        """The rest of ``isth_k_depthwise_layer``."""
        window = self.window
        steps: list[int] = []
        for size, channels in ((window.in_size, window.in_c), (window.out_size, window.out_c)):
            pair = (channels * size[1], channels)
            steps += [channels, channels * size[0]] if self.turned else pair
        names = ("x_row", "x_column", "y_row", "y_column")
        return (
            *zip(names, steps, strict=True),
            ("turned", int(self.turned)),
            ("plane_w", self.plane_w),
            ("sums", self.sums),
        )

    def weights(self, filters: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """int8 [channels, height, width] in the kernel's order: rows of 3 are written as 4."""
        turned = filters.transpose(0, 2, 1) if self.turned else filters
        return turned[:, :, [0, 1, 1, 2]] if turned.shape[2] == 3 else turned


def _turned(window: Window) -> Window:
    def swap(pair: tuple[int, int]) -> tuple[int, int]:
        return pair[1], pair[0]

    return replace(
        window,
        in_size=swap(window.in_size),
        out_size=swap(window.out_size),
        kernel=swap(window.kernel),
        stride=swap(window.stride),
        dilation=swap(window.dilation),
        before=swap(window.before),
    )


def _reach(window: Window, axis: int, outputs: int) -> int:
    """Inputs along ``axis`` under so many outputs."""
    return (
        (outputs - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] + 1
    )


def plane_scratch(window: Window, plane_w: int, sums: int, rows: int) -> int:
    """Scratch bytes for ``rows`` output rows: isth_k_depthwise.h."""
    plane = _reach(window, 0, rows) * plane_w
    return plane_bytes(plane, sums, window.stride[1])


def plane_bytes(plane: int, sums: int, stride: int) -> int:
    """Scratch bytes of a plane of so many elements and its sums.

    Two bytes an element, and a word, which the sums may give, where the last pair of positions is
    half outside; or one byte, and what the last vector of eight outputs reads beyond.
    """
    return 4 * sums + max(2 * plane + (0 if sums else 4), plane + 8 * stride + 8)


def depthwise_form(window: Window, mode: int) -> DepthwiseForm:
    """The form of one layer; ``mode`` is that of its filters (isthmus_gen.front.filters).

    Long rows are fast rows, so a picture that is much higher than wide is turned. Only with a
    stride of 1: no network tried has such a picture with another.
    """
    regular = (
        window.kernel == (3, 3)
        and window.dilation == (1, 1)
        and window.stride in ((1, 1), (2, 2))
        and mode <= FAST
    )
    height, width = window.out_size
    turned = regular and window.stride == (1, 1) and height >= 2 * width
    if turned and _reach(window, 0, height) <= _WIDTHS[-1]:
        window = _turned(window)
        height, width = width, height
    else:
        turned = False
    columns = _reach(window, 1, width)
    plane_w = columns + columns % 2
    fixed = next((w for w in _WIDTHS if w >= plane_w), 0)
    sums = 0
    if regular and fixed:
        plane_w = fixed
        sums = max(1, min(_SUMS // width, height)) * width + 1
    return DepthwiseForm(
        window, turned, plane_w, sums, plane_scratch(window, plane_w, sums, height)
    )
