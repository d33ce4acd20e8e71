"""The longest payload there can be, proven (BITSTREAM.md, 9).

A context is a finite machine: its value p moves by :func:`~isthmus.codec.arithmetic.adapt`, and a
bin costs at most ``cost(p, bin)`` bits. Compare the cost with that of a fixed code, which gives a
one the probability q. With any function h over the states and

    e = max over p, bin of  cost(p, bin) - fixed(bin) + h(next p) - h(p)

every sequence of n bins costs at most the fixed code's bits plus ``n * e + max h - min h``, since
the h's telescope. :func:`derive` finds a good h by value iteration; its results stand in
``_EXCESS`` (a test derives them again). For the fixed code take, in unary class k of H, the
q = (H - 1 - k) / (H - k) that makes all classes equally long: log2 H bits an element and one
for each suffix bit. So the worst case is little more than the fixed-length code's size, not the
number of bins times the cost of the rarest one.
"""

from __future__ import annotations

import math

from isthmus.binarisation import binarisation
from isthmus.codec.walk import CHECK_ELEMENTS, SLACK_BYTES, element_cost

__all__ = [
    "MAX_PAYLOAD",
    "RATES",
    "derive",
    "element_bits_q16",
    "flat_unit_shifts",
    "neighbour_payload_max",
    "payload_max",
]

RATES = (5, 6, 7)
MAX_PAYLOAD = (1 << 21) - 1
"""The header's length field has 21 bits."""

# rate -> for q = j / (j + 1), j = 1..15: (e in bits / 65536, max h - min h in bits), rounded up
_EXCESS: dict[int, tuple[tuple[int, int], ...]] = {
    5: (
        (1964, 34),
        (2307, 45),
        (2185, 52),
        (2034, 56),
        (2192, 59),
        (2166, 61),
        (1649, 63),
        (1609, 65),
        (2000, 66),
        (1779, 67),
        (1651, 68),
        (1913, 69),
        (1728, 69),
        (1951, 70),
        (1899, 70),
    ),
    6: (
        (839, 59),
        (1153, 82),
        (1046, 95),
        (1234, 104),
        (878, 110),
        (1032, 115),
        (1009, 119),
        (1028, 122),
        (1152, 124),
        (1003, 126),
        (789, 128),
        (945, 130),
        (975, 131),
        (1026, 132),
        (818, 133),
    ),
    7: (
        (465, 110),
        (593, 156),
        (560, 183),
        (659, 201),
        (518, 213),
        (511, 223),
        (420, 230),
        (486, 236),
        (582, 242),
        (747, 246),
        (436, 250),
        (536, 253),
        (412, 256),
        (494, 258),
        (429, 260),
    ),
}


def payload_max(levels: int, rate: int, elements: int) -> int:
    """Bytes that no payload of ``elements`` elements exceeds, whatever the data.

    ``levels`` 2..256, ``rate`` 5..7. Linear in ``elements``; holds for any initial contexts.
    """
    form = binarisation(levels)
    table = _EXCESS[rate]
    bits_q16 = element_bits_q16(levels, rate)
    constant = sum(table[remaining - 1][1] for remaining in range(1, form.classes))
    constant += (form.context_count - (form.classes - 1)) * table[0][1]
    if elements == 0:
        return 0
    bits = ((elements * bits_q16) >> 16) + 1 + constant
    return (bits + 7) // 8 + 1


def element_bits_q16(levels: int, rate: int) -> int:
    """What :func:`payload_max` grows by with each element, bits * 65536."""
    form = binarisation(levels)
    table = _EXCESS[rate]
    bits_q16 = math.ceil(math.log2(form.classes) * 65536) + (form.suffix_bits << 16)
    bits_q16 += sum(table[remaining - 1][0] for remaining in range(1, form.classes))
    return bits_q16 + form.suffix_bits * table[0][0]


def neighbour_payload_max(levels: int, rate: int, elements: int) -> int:
    """The same in scheme "neighbour", whose many contexts have no useful bound of their own.

    At every look at the length (BITSTREAM.md, 6.3) the payload is at most the slack longer than
    ``element_cost`` an element, or the rest of the slice is coded flat, for which
    :func:`payload_max` holds; between two looks at most CHECK_ELEMENTS elements cost twelve bits
    and a little a bin; the coder's window adds five bytes.
    """
    if elements == 0:
        return 0
    form = binarisation(levels)
    costly = math.ceil(CHECK_ELEMENTS * (form.classes - 1 + form.suffix_bits) * 12.01 / 8)
    even = -(-elements * element_cost(form) // 256)
    return max(even, payload_max(levels, rate, elements)) + SLACK_BYTES + costly + 5


def flat_unit_shifts(levels: int, rate: int, elements: int) -> int:
    """Bytes that the coder shifts out for so many elements coded flat from the start, at most.

    Flat contexts start with all classes about equally likely, log2 H bits an element. Each earlier
    element lowers a bin's probability by the factor 1 - 2^-rate at most, so bin by bin the excess
    of element i is i log2(1 / (1 - 2^-rate)); rounding to 12 bits and the coder's truncation add
    less than 0.03 bit a bin while probabilities stay above 1/128, so for elements < 2^(rate + 1).
    For more elements, or where it is less, :func:`payload_max` holds.
    """
    form = binarisation(levels)
    general = payload_max(levels, rate, elements)
    if elements >= 2 << rate:
        return general
    step = -math.log2(1 - 2.0**-rate)
    per_bin = step * elements * (elements - 1) / 2 + 0.03 * elements
    bins = form.classes - 1 + form.suffix_bits
    bits = elements * (math.log2(form.classes) + form.suffix_bits) + bins * per_bin
    return min(general, math.floor(bits / 8 + 0.01))


def derive(rate: int, q: float, steps: int) -> tuple[float, float]:
    """(e, max h - min h) in bits for one context against a fixed P(one) of ``q``.

    Value iteration over every state of the context; any number of ``steps`` gives a valid pair,
    more steps a smaller e.
    """
    import numpy as np

    lowest = (1 << rate) - 1
    state = np.arange(lowest, 65536 - lowest + 1)
    estimate = ((state + 8) >> 4).astype(np.float64)
    # range >> 12 drops less than 4096 of a range of at least 2^24; the loss is the one's
    truncation = -math.log2(1 - 4095 / (1 << 24))
    one = np.log2(4096 / estimate) + truncation + math.log2(q)
    zero = np.log2(4096 / (4096 - estimate)) + math.log2(1 - q)
    after_one = state + ((65536 - state) >> rate) - lowest
    after_zero = state - (state >> rate) - lowest
    potential = np.zeros(len(state))
    excess = math.inf
    for _ in range(steps):
        following = np.maximum(one + potential[after_one], zero + potential[after_zero])
        excess = float(np.max(following - potential))
        span = float(np.ptp(potential))
        potential = following
    return excess, span
