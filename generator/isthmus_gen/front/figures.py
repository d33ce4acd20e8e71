"""What each layer of a planned front half takes, as far as the plan alone tells."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus_gen.front.build import FrontPlan
from isthmus_gen.front.plan import Place

__all__ = ["LayerFigures", "layer_figures"]


@dataclass(frozen=True)
class LayerFigures:
    """One layer; sizes in bytes.

    ``shape`` is that of its output without the batch axis. ``constant_bytes`` are its weights and
    tables in flash, ``alive_bytes`` what of the arena is in use while it runs (tensors that wait
    for a later layer and its own scratch counted), ``scratch_bytes`` its working memory alone.
    ``kernel`` is the C function, empty where the layer only changes a shape.
    """

    index: int
    operator: str
    kernel: str
    shape: tuple[int, ...]
    macs: int
    constant_bytes: int
    alive_bytes: int
    scratch_bytes: int


def layer_figures(plan: FrontPlan) -> tuple[LayerFigures, ...]:
    """The figures of every layer in the order of execution.

    Layer i is step i + 1 of the memory plan. Bytes that two buffers share count once.
    """
    found = []
    for index, layer in enumerate(plan.layers):
        alive = [b for b in plan.arena.buffers if b.first <= index + 1 <= b.last]
        found.append(
            LayerFigures(
                index=index,
                operator=layer.operator,
                kernel=layer.kernel,
                shape=plan.graph.tensors[layer.output].shape[1:],
                macs=layer.macs,
                constant_bytes=sum(array.bytes for array in layer.arrays),
                alive_bytes=_covered(alive),
                scratch_bytes=layer.scratch_bytes,
            )
        )
    return tuple(found)


def _covered(places: list[Place]) -> int:
    """Bytes of the arena that lie in one of ``places`` or more."""
    total = end = 0
    for place in sorted(places, key=lambda p: p.offset):
        total += max(0, place.offset + place.size - max(end, place.offset))
        end = max(end, place.offset + place.size)
    return total
