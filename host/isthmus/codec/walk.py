"""Which contexts each element of a slice uses, in plain Python (BITSTREAM.md, 6.2 and 6.3).

A walk follows the elements of one slice in coding order. In scheme "paper" it always names the
first and only context set. In scheme "neighbour" it keeps one row of what was coded, so that each
element's set follows from the levels above and to the left of it and from its channel; and it
watches the length of the payload: data unlike any the states were trained for would make it long,
so past a limit the rest of the slice is coded **flat**, with one context set that starts even.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.binarisation import Binarisation, binarisation
from isthmus.rung import Contexts, Rung

__all__ = [
    "CHECK_ELEMENTS",
    "SLACK_BYTES",
    "ChoiceTables",
    "Walk",
    "choice_tables",
    "element_cost",
    "flat_start",
]

#: The length is looked at after this many channels of a position, and after the last.
CHECK_ELEMENTS = 32
#: Bytes that a slice may be longer than equally long codes would make it.
SLACK_BYTES = 64


def element_cost(form: Binarisation) -> int:
    """Bits of an element in a code of equally long classes, times 32, rounded up."""
    # classes ** 32 is exact, so no rounding of a logarithm decides
    return (form.classes**32 - 1).bit_length() + 32 * form.suffix_bits


def flat_start(form: Binarisation) -> list[int]:
    """The context set that makes all levels about equally likely."""
    ahead = [form.classes - 1 - index for index in range(form.classes - 1)]
    unary = [(left << 16) // (left + 1) for left in ahead]
    return unary + [1 << 15] * (form.context_count - len(unary))


class Walk:
    """The elements of one slice, from element ``start`` of the tensor on.

    ``contexts`` is the list that the coder adapts, changed in place where the walk turns flat;
    ``slack`` as SLACK_BYTES; ``flat`` starts the slice flat.
    """

    def __init__(
        self,
        rung: Rung,
        row_elements: int,
        *,
        start: int = 0,
        slack: int = SLACK_BYTES,
        flat: bool = False,
    ) -> None:
        self.form = binarisation(rung.levels)
        self.contexts = list(rung.initial)
        self.flat = rung.contexts is None
        self._rung = rung
        self._column = start % row_elements if row_elements else 0
        self._row_elements = row_elements
        self._allowed = slack << 8
        if rung.contexts is not None:
            outside = rung.contexts.classes[-1]
            self._row = [outside] * (rung.contexts.step + row_elements)
        if flat:
            self._turn_flat()

    @property
    def base(self) -> int:
        """Number of the first context of the element's set."""
        choice = self._rung.contexts
        if self.flat or choice is None:
            return 0
        up = self._row[choice.step + self._column]
        left = self._row[self._column]
        cluster = choice.clusters[self._column % len(choice.clusters)]
        number = (cluster * choice.class_count + up) * choice.class_count + left
        return number * self.form.context_count

    def put(self, level: int, shifts: int) -> None:
        """Goes on past an element of ``level``; ``shifts`` bytes have left the coder since."""
        choice = self._rung.contexts
        if choice is None:
            return
        self._row[choice.step + self._column] = choice.classes[level]
        channels = len(choice.clusters)
        channel = self._column % channels
        self._column = (self._column + 1) % self._row_elements
        self._allowed += element_cost(self.form)
        looks = (channel + 1) % CHECK_ELEMENTS == 0 or channel + 1 == channels
        if looks and not self.flat and shifts << 8 > self._allowed:
            self._turn_flat()

    def _turn_flat(self) -> None:
        self.contexts[: self.form.context_count] = flat_start(self.form)
        self.flat = True


@dataclass(frozen=True)
class ChoiceTables:
    """A rung's choice of context sets as the C runtime takes it.

    channel_base  uint16 [channels], number of the first context of each channel's sets
    class_bins    uint8 [N + 1], class of each level times the bins of a set; last: outside
    element_cost  as :func:`element_cost`
    """

    channel_base: tuple[int, ...]
    class_bins: tuple[int, ...]
    element_cost: int


def choice_tables(rung: Rung, contexts: Contexts) -> ChoiceTables:
    """The tables of ``isth_choice`` for a rung of scheme "neighbour"."""
    form = binarisation(rung.levels)
    of_cluster = contexts.class_count**2 * form.context_count
    return ChoiceTables(
        channel_base=tuple(cluster * of_cluster for cluster in contexts.clusters),
        class_bins=tuple(number * form.context_count for number in contexts.classes),
        element_cost=element_cost(form),
    )
