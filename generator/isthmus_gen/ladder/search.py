"""The search for a ladder: candidates, two stages of measurement, the front, the rungs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus_gen.calibrate import ActivationLike, Quantizer, TensorStatistics
from isthmus_gen.ladder.candidates import Maker, Recipe, candidate_recipes
from isthmus_gen.ladder.divergence import Answers
from isthmus_gen.ladder.front import (
    Point,
    bounded,
    make_point,
    pareto,
    pick_rungs,
)
from isthmus_gen.ladder.measure import Back, Features, MakeProfile, Meter
from isthmus_gen.progress import Progress, no_progress

__all__ = ["Choice", "search_ladder"]

_QUICK_INPUTS = 64
_BANDS = 12
_PER_BAND = 3
_HOPELESS = 0.30


@dataclass(frozen=True)
class Choice:
    """The rungs' quantisers, best first, and how they were chosen, for report.json."""

    quantizers: tuple[Quantizer, ...]
    report: dict[str, Any]


def search_ladder(
    features: Features,
    back: Back,
    activation: ActivationLike,
    make_profile: MakeProfile,
    *,
    rungs: int,
    max_loss: float | None = None,
    labels: npt.NDArray[np.int64] | None = None,
    input_shape: tuple[int, ...] = (),
    recipes: Sequence[Recipe] | None = None,
    progress: Progress = no_progress,
    **options: Any,
) -> Choice:
    """At most ``rungs`` quantisers on the front of rate against loss, best first.

    ``features`` are the device's tensors of some inputs, ``labels`` int64 [n] their classes where
    they are known. ``max_loss`` is a share (0.01 is one point). ``options`` are those of
    :class:`~isthmus_gen.ladder.candidates.Maker`. The quantisers that are returned are made from
    all features by the recipes chosen. Same arguments, same choice.
    """
    reference = _answers(back, features, labels, input_shape)
    meter = Meter(features, reference, back, activation, make_profile, **options)
    every = tuple(candidate_recipes() if recipes is None else recipes)
    finalists = _prune(meter, every, progress)
    progress("measuring rungs", 0, len(finalists))
    points = bounded([make_point(*found) for found in meter.full(finalists, progress)])
    front = pareto(points)
    picked, notes = pick_rungs(front, rungs, max_loss)
    statistics = TensorStatistics(features.spec.shape, name="features")
    for start in range(0, len(features), _QUICK_INPUTS):
        statistics.update(features.part(slice(start, start + _QUICK_INPUTS)).real())
    maker = Maker(statistics, activation, **options)
    return Choice(
        tuple(maker.make(point.recipe) for point in picked),
        _report(reference, points, front, picked, notes, len(every), max_loss),
    )


def _answers(
    back: Back,
    features: Features,
    labels: npt.NDArray[np.int64] | None,
    input_shape: tuple[int, ...],
) -> Answers:
    outputs = [
        back(features.part(slice(start, start + _QUICK_INPUTS)).real())
        for start in range(0, len(features), _QUICK_INPUTS)
    ]
    return Answers(np.concatenate(outputs), labels, input_shape)


def _prune(meter: Meter, recipes: Sequence[Recipe], progress: Progress) -> list[Recipe]:
    """The candidates worth a full measurement, by a look at few inputs.

    Those that change more than _HOPELESS of the answers go. The others are put into _BANDS bands of
    rate, and of each the _PER_BAND stay that come nearest to the front in divergence. The candidate
    of least divergence always stays: the others are held against it.
    """
    inputs = min(_QUICK_INPUTS, len(meter.features))
    seen: list[tuple[float, float, Recipe]] = []
    spare: list[tuple[float, float, Recipe]] = []
    for number, recipe in enumerate(recipes):
        bits, losses = meter.quick(recipe, max(2, inputs))
        worst = losses.divergence.mean() if losses.changed is None else losses.changed.mean()
        place = (max(bits, 1e-4), float(losses.divergence.mean()), recipe)
        (seen if worst <= _HOPELESS else spare).append(place)
        progress("looking at quantisers", number + 1, len(recipes))
    # where all seem hopeless the choice is still the best of them
    found = sorted(seen or spare)
    low, high = math.log(found[0][0]), math.log(found[-1][0])
    width = (high - low) / _BANDS or 1.0
    least = math.inf
    bands: dict[int, list[tuple[float, Recipe]]] = {}
    for bits, divergence, recipe in found:
        least = min(least, divergence)
        excess = divergence / max(least, 1e-12)
        band = min(_BANDS - 1, int((math.log(bits) - low) / width))
        bands.setdefault(band, []).append((excess, recipe))
    kept = {recipe for band in bands.values() for _, recipe in sorted(band)[:_PER_BAND]}
    kept.add(min(found, key=lambda place: place[1])[2])
    return [recipe for recipe in recipes if recipe in kept]


_RULES = {
    "accuracy": "share of right answers lost less gained (paired, against the answers without "
    "coding)",
    "changed": "share of inputs whose first class changed by coding, which no loss of accuracy "
    "can exceed",
    "error": "squared error of the outputs over their mean square",
}


def _report(
    reference: Answers,
    points: Sequence[Point],
    front: Sequence[Point],
    picked: Sequence[Point],
    notes: Sequence[str],
    tried: int,
    max_loss: float | None,
) -> dict[str, Any]:
    kind = "error" if reference.kind == "values" else "changed"
    kind = "accuracy" if reference.labels is not None else kind
    order = sorted(points, key=lambda p: (-p.bits, p.recipe))
    chosen = {point.recipe: rung for rung, point in enumerate(picked)}
    on_front = {point.recipe for point in front}
    return {
        "measure": kind,
        "measure_text": _RULES[kind],
        "outputs": reference.kind,
        "inputs": len(reference),
        "candidates": tried,
        "max_loss": max_loss,
        "notes": list(notes),
        "points": [
            {
                "levels": point.recipe.levels,
                "quantizer": point.recipe.kind,
                "recipe": str(point.recipe),
                "bits_per_element": point.bits,
                "divergence": point.divergence,
                "divergence_se": point.divergence_se,
                "changed": point.changed,
                "lost": point.lost,
                "loss": point.loss,
                "bound": point.bound,
                "front": point.recipe in on_front,
                "rung": chosen.get(point.recipe),
            }
            for point in order
        ],
    }
