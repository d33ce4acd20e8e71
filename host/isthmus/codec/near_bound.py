"""The longest payload of a near-lossless slice, proven (BITSTREAM.md, 9 and 13).

A part ``size`` of 2^b equal parts costs b - log2 size bits, and what ``range >> b`` drops. The
range is 2^24 or more when a part is coded, so with b = 16 that is less than log2(1 / (1 - 2^-8)) =
0.0057 bit, and with b <= 8 less than log2(1 / (1 - 2^-16)) < 2^-15 bit. So a symbol costs at most
16.0057 bits, an escape the level's bits more, and an element coded flat the level's bits and 2^-15.
"""

from __future__ import annotations

import math

from isthmus.codec.walk import CHECK_ELEMENTS, SLACK_BYTES

__all__ = ["element_bits", "flat_bits", "near_payload_max"]

_SYMBOL_BITS = 16.006


def element_bits(level_bits: int) -> float:
    """Bits that no element exceeds, whatever its distribution."""
    return _SYMBOL_BITS + level_bits + 2**-15


def flat_bits(level_bits: int, elements: int) -> int:
    """Bits that so many elements coded flat do not exceed."""
    return elements * level_bits + (elements >> 15) + 1


def near_payload_max(level_bits: int, elements: int) -> int:
    """Bytes that no payload of ``elements`` elements exceeds, whatever the data.

    At every look at the length the payload is at most the slack longer than ``level_bits`` an
    element, or the rest of the slice is coded flat; between two looks at most CHECK_ELEMENTS
    elements cost what one may; the coder's window adds five bytes.
    """
    if elements == 0:
        return 0
    costly = math.ceil(CHECK_ELEMENTS * element_bits(level_bits) / 8)
    return -(-flat_bits(level_bits, elements) // 8) + SLACK_BYTES + costly + 5
