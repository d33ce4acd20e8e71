"""Which cuts have an int8 front half in generated C, and what stands in the way of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isthmus.errors import CutIllegalError, ModelOperatorError
from isthmus_gen.front import plan_front, unsupported_operators
from isthmus_gen.front.operators import OPERATORS
from isthmus_gen.models import Cut, LoadedModel
from isthmus_gen.progress import Progress, no_progress

__all__ = ["CutSupport", "Unsupported", "cut_support", "nearest_working_cut"]

_TRIED_INPUTS = 8
_SEED = 0

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, order=True)
class Unsupported:
    """An operator by TensorFlow Lite's name, and how often it is refused in a front half.

    ``why`` is empty where the operator has no kernel at all; else it is this form of it that has.
    """

    operator: str
    why: str
    count: int

    def __str__(self) -> str:
        times = f" x{self.count}" if self.count > 1 else ""
        return f"{self.operator}{times}" + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True)
class CutSupport:
    """What generated C lacks for the int8 front half of a cut.

    ``reason`` says why there is no int8 front half at all; both are empty where C can be generated.
    """

    operators: tuple[Unsupported, ...] = ()
    reason: str = ""

    @property
    def generated(self) -> bool:
        """True where the front half can be written in C."""
        return not self.operators and not self.reason

    def __str__(self) -> str:
        """As the table prints it.

        >>> str(CutSupport()), str(CutSupport((Unsupported("ELU", "", 2),)))
        ('yes', 'no: ELU x2')
        """
        if self.generated:
            return "yes"
        return f"no: {self.reason or ', '.join(map(str, self.operators))}"


def cut_support(
    model: LoadedModel,
    representative: Sequence[Floats] = (),
    progress: Progress = no_progress,
) -> dict[str, CutSupport]:
    """What generated C lacks at each legal cut, by the cut's name.

    The front half of a legal cut is part of that of every later one, so where two cuts lack the
    same, those between them lack it too: few front halves are really made. In a float network each
    takes a conversion to int8 (seconds). Without ``representative`` inputs random ones set its
    ranges, which changes no operator. Raises ModelError where a model cannot be cut or converted.
    """
    cuts = [cut for cut in model.cuts() if cut.legal]
    inputs = list(representative[:_TRIED_INPUTS]) or _random_inputs(model)
    found: dict[int, CutSupport] = {}

    def at(place: int) -> CutSupport:
        if place not in found:
            found[place] = _lacking(model, cuts[place], inputs)
            progress("looking for unsupported operators", len(found), len(cuts))
        return found[place]

    def fill(first: int, last: int) -> Iterator[tuple[str, CutSupport]]:
        """From ``first`` to before ``last``."""
        if last - first == 1 or at(first) == at(last):
            yield from ((cut.name, at(first)) for cut in cuts[first:last])
            return
        middle = (first + last) // 2
        yield from fill(first, middle)
        yield from fill(middle, last)

    if not cuts:
        return {}
    end = len(cuts) - 1
    if at(end).generated:  # nothing is refused in the longest front half, nor in its parts
        return {cut.name: found[end] for cut in cuts}
    return {**dict(fill(0, end) if end else ()), cuts[end].name: at(end)}


def nearest_working_cut(
    model: LoadedModel, cut: Cut, representative: Sequence[Floats], rounding: str
) -> str | None:
    """The nearest legal cut before ``cut`` whose int8 front half can be written in C.

    By bisection, each step a front half that is made: for the error's message alone.
    """
    cuts = model.cuts()
    earlier = [found for found in cuts[: cuts.index(cut)] if found.legal]
    works, fails = 0, len(earlier)  # earlier[:works] work, earlier[fails:] do not
    while works < fails:
        middle = (works + fails) // 2
        if _works(model, earlier[middle], representative[:_TRIED_INPUTS], rounding):
            works = middle + 1
        else:
            fails = middle
    return earlier[works - 1].name if works else None


def _works(model: LoadedModel, cut: Cut, inputs: Sequence[Floats], rounding: str) -> bool:
    try:
        front, _ = model.front_int8(cut, inputs)
        if front is not None:
            plan_front(front, rounding=rounding)
    except (CutIllegalError, ModelOperatorError):
        return False
    return front is not None


def _lacking(model: LoadedModel, cut: Cut, inputs: Sequence[Floats]) -> CutSupport:
    try:
        front, note = model.front_int8(cut, inputs)
        if front is None:
            return CutSupport(reason=note)
        refused = unsupported_operators(front)
    except (CutIllegalError, ModelOperatorError) as error:
        return CutSupport(reason=error.what)
    found: Counter[tuple[str, str]] = Counter()
    for refusal in refused:
        name = refusal.path.rpartition(" ")[2]
        found[name, refusal.what if name in OPERATORS else ""] += 1
    return CutSupport(tuple(sorted(Unsupported(*key, count) for key, count in found.items())))


def _random_inputs(model: LoadedModel) -> list[Floats]:
    shape = (1, *(max(1, size) for size in model.input_shape))
    return [np.random.default_rng(_SEED).uniform(-1.0, 1.0, shape).astype(np.float32)]
