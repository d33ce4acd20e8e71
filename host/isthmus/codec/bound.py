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

__all__ = ["MAX_PAYLOAD", "RATES", "derive", "payload_max"]

RATES = (5, 6, 7)
MAX_PAYLOAD = (1 << 21) - 1
"""The header's length field has 21 bits."""

# rate -> for q = j / (j + 1), j = 1..15: (e in bits / 65536, max h - min h in bits), rounded up
_EXCESS: dict[int, tuple[tuple[int, int], ...]] = {
    5: (
        (1575, 35),
        (2266, 46),
        (2052, 53),
        (1996, 57),
        (1840, 60),
        (2115, 63),
        (1762, 64),
        (1659, 66),
        (1802, 67),
        (1683, 68),
        (1770, 69),
        (1733, 70),
        (1989, 70),
        (1795, 71),
        (1880, 71),
    ),
    6: (
        (813, 60),
        (1144, 83),
        (858, 96),
        (1236, 104),
        (804, 111),
        (1080, 115),
        (866, 119),
        (1081, 122),
        (1130, 125),
        (862, 127),
        (953, 129),
        (1094, 130),
        (859, 132),
        (891, 133),
        (834, 134),
    ),
    7: (
        (441, 111),
        (619, 157),
        (542, 183),
        (686, 201),
        (444, 214),
        (585, 223),
        (420, 231),
        (490, 237),
        (517, 242),
        (734, 246),
        (552, 250),
        (540, 253),
        (534, 256),
        (546, 258),
        (486, 261),
    ),
}


def payload_max(levels: int, rate: int, elements: int) -> int:
    """Bytes that no payload of ``elements`` elements exceeds, whatever the data.

    ``levels`` 2..256, ``rate`` 5..7. Linear in ``elements``; holds for any initial contexts.
    """
    form = binarisation(levels)
    table = _EXCESS[rate]
    bits_q16 = math.ceil(math.log2(form.classes) * 65536) + (form.suffix_bits << 16)
    constant = 0
    for remaining in range(1, form.classes):
        bits_q16 += table[remaining - 1][0]
        constant += table[remaining - 1][1]
    bits_q16 += form.suffix_bits * table[0][0]
    constant += (form.context_count - (form.classes - 1)) * table[0][1]
    if elements == 0:
        return 0
    bits = ((elements * bits_q16) >> 16) + 1 + constant
    return (bits + 7) // 8 + 1


def derive(rate: int, q: float, steps: int) -> tuple[float, float]:
    """(e, max h - min h) in bits for one context against a fixed P(one) of ``q``.

    Value iteration over every state of the context; any number of ``steps`` gives a valid pair,
    more steps a smaller e.
    """
    import numpy as np

    lowest = (1 << rate) - 1
    state = np.arange(lowest, 65536 - lowest + 1)
    estimate = (state >> 4).astype(np.float64)
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
