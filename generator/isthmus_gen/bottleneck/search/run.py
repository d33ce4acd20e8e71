"""The search: costs of all candidates, a short training of those that fit, a longer of the best.

Every candidate whose cost and figures are finished is in the store; the others are done in a fixed
order from fixed seeds, so that a search that was interrupted ends as if it had not been.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus import __version__
from isthmus.errors import BudgetError, OptionError
from isthmus_gen.bottleneck.collection import MEMORY, CutSet, collect
from isthmus_gen.bottleneck.making import data_digest, make_bottleneck
from isthmus_gen.bottleneck.search.candidates import Candidate, SearchPlan, candidates
from isthmus_gen.bottleneck.search.cost import Cost, cost_of
from isthmus_gen.bottleneck.search.front import Point, cheapest, over_budget, pareto, survivors
from isthmus_gen.bottleneck.search.store import Store, network_name
from isthmus_gen.bottleneck.units import insert
from isthmus_gen.data import DataSet, Preprocessing
from isthmus_gen.models import Cut, LoadedModel
from isthmus_gen.progress import Progress, no_progress
from isthmus_gen.targets import Target, load_target

__all__ = ["SEARCH", "Excluded", "SearchResult", "search_bottlenecks"]

#: The stage of the progress of the search as a whole, in hundredths of a pass over the data.
SEARCH = "search"
_PASS = 100
_REPRESENTATIVE = 16


@dataclass(frozen=True)
class Excluded:
    """A candidate that was not trained, and why."""

    candidate: Candidate
    cost: Cost
    reason: str


@dataclass(frozen=True)
class SearchResult:
    """What was found.

    points     every candidate that was trained, with the figures of its longest training, in the
               order of the search; ``front`` those that no other beats, the cheapest first
    excluded   candidates over the budget
    whole      the whole network's accuracy on the inputs held out, None without labels
    chosen     the cheapest that keeps ``plan.max_loss``; None where none was asked for or does
    """

    model: str
    data: str
    inputs: int
    held_out: int
    labelled: bool
    classes: bool
    plan: SearchPlan
    preprocessing: Preprocessing
    whole: float | None
    points: tuple[Point, ...]
    excluded: tuple[Excluded, ...]
    front: tuple[Point, ...]
    chosen: Point | None
    limits: dict[str, int | None] = field(default_factory=dict)

    def command(self, point: Point, folder: str = "") -> list[str]:
        """The command line that makes the bundle of a point; ``folder`` is the store's."""
        words = [
            "isthmus", "generate", self.model, "--cut", point.candidate.cut,
            "--calibration", self.data, "--codec", "bottleneck",
            "--trained", str(Path(folder) / point.network), "--levels", str(self.plan.levels),
            "--target", self.plan.target,
        ]  # fmt: skip
        kind = self.preprocessing.kind
        if kind == "affine":
            words += ["--preprocess", f"{self.preprocessing.scale},{self.preprocessing.offset}"]
        elif kind != "none":
            words += ["--preprocess", kind]
        return [*words, "--out", point.network.removesuffix(".keras")]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: nothing in it depends on when, where or how often the search was begun."""
        front = {point.candidate for point in self.front}
        return {
            "format": 1,
            "isthmus": __version__,
            "model": self.model,
            "data": self.data,
            "inputs": self.inputs,
            "held_out": self.held_out,
            "loss": "accuracy" if self.labelled else "changed" if self.classes else "error",
            "plan": self.plan.as_dict(),
            "limits": self.limits,
            "preprocessing": self.preprocessing.as_dict(),
            "whole": self.whole,
            "points": [
                {
                    **point.as_dict(),
                    "front": point.candidate in front,
                    "command": self.command(point),
                }
                for point in self.points
            ],
            "front": [self.points.index(point) for point in self.front],
            "chosen": None if self.chosen is None else self.points.index(self.chosen),
            "excluded": [
                {**one.candidate.as_dict(), "cost": one.cost.as_dict(), "reason": one.reason}
                for one in self.excluded
            ],
        }


def search_bottlenecks(
    model: LoadedModel,
    cuts: Sequence[str],
    data: DataSet,
    plan: SearchPlan,
    preprocessing: Preprocessing,
    progress: Progress = no_progress,
    *,
    work: Path,
    count: bool = True,
) -> SearchResult:
    """Searches ``cuts`` (none: legal ones, spread) x channels x strides.

    ``work`` is a folder where all that is finished is kept. ``count`` False estimates instructions
    even where they could be counted. The weights inside ``model`` stay as they are.

    Raises what ``candidates``, ``cost_of``, ``insert``, ``collect`` and ``train`` raise;
    BudgetError where no candidate fits, OptionError for a limit of instructions on a target where
    there is neither count nor estimate, OutputError for a ``work`` that cannot be written.
    """
    search = _Search(model, data, plan, preprocessing, progress, work, count)
    with _no_retracing_advice():
        return search.run(cuts)


@contextmanager
def _no_retracing_advice() -> Iterator[None]:
    """TensorFlow advises against tracing many functions; here every candidate is another one."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Search:
    def __init__(
        self,
        model: LoadedModel,
        data: DataSet,
        plan: SearchPlan,
        preprocessing: Preprocessing,
        progress: Progress,
        work: Path,
        count: bool,
    ) -> None:
        self.model, self.data, self.plan = model, data, plan
        self.preprocessing, self.progress, self.count = preprocessing, progress, count
        self.target: Target = load_target(plan.target)
        memory = self.target.memory
        self.limits: dict[str, int | None] = {
            "ram": plan.ram
            if plan.ram is not None or memory is None
            else memory.ram_bytes - memory.stack_bytes,
            "instructions": plan.instructions,
        }
        self.digest = data_digest(data)
        about = {
            "format": 1,
            "isthmus": __version__,
            "model": hashlib.sha256(model.path.read_bytes()).hexdigest(),
            "data": self.digest,
            "preprocessing": preprocessing.as_dict(),
        }
        self.store = Store(work, about)
        self.cuts: dict[str, Cut] = {}
        self.sets: dict[str, CutSet] = {}
        self.done = self.total = 0

    def run(self, names: Sequence[str]) -> SearchResult:
        self.cuts, every = candidates(self.model, names, self.plan)
        self.store.prepare()
        costs = self._costs(every)
        fitting, excluded = self._fitting(costs)
        first = self.plan.first_epochs if self.plan.halves else self.plan.epochs
        half = -(-len(fitting) // 2) if self.plan.halves else 0
        self.total = _PASS * (first * len(fitting) + self.plan.epochs * half)
        points = self._train(fitting, costs, first)
        if self.plan.halves:
            going = survivors(list(points.values()))
            self.total = _PASS * (first * len(fitting) + self.plan.epochs * len(going))
            points |= self._train(going, costs, self.plan.epochs)
        found = [points[candidate] for candidate in fitting]
        return self._result(found, excluded)

    def _result(self, points: list[Point], excluded: list[Excluded]) -> SearchResult:
        limit, some = self.plan.max_loss, self._set(points[0].candidate.cut)
        index = some.held_out
        whole = None
        if some.labels is not None:
            whole = float((some.outputs[index].argmax(axis=1) == some.labels[index]).mean())
        return SearchResult(
            model=self.model.path.name,
            data=self.data.path.name,
            inputs=len(self.data),
            held_out=len(index),
            labelled=some.labels is not None,
            classes=points[0].agreement is not None,
            plan=self.plan,
            preprocessing=self.preprocessing,
            whole=whole,
            points=tuple(points),
            excluded=tuple(excluded),
            front=tuple(pareto(points)),
            chosen=None if limit is None else cheapest(points, limit),
            limits=self.limits,
        )

    def _costs(self, every: Sequence[Candidate]) -> dict[Candidate, Cost]:
        """What each candidate takes; progress is told for all of them."""
        what = {
            "levels": self.plan.levels, "target": self.target.model_dump(mode="json"),
            "count": self.count,
        }  # fmt: skip
        inputs: list[npt.NDArray[np.float32]] = []
        costs = {}
        for number, candidate in enumerate(every):
            self.progress("planning for the device", number, len(every))
            cost = self.store.cost(candidate, what)
            if cost is None:
                inputs = inputs or self._inputs()
                inserted = insert(
                    self.model, self.cuts[candidate.cut], candidate.channels, candidate.stride,
                    seed=self.plan.seed,
                )  # fmt: skip
                cost = cost_of(
                    candidate, inserted, inputs, self.plan.levels, self.target,
                    count=self.count, work=self.store.objects,
                )  # fmt: skip
                self.store.keep_cost(candidate, what, cost)
            costs[candidate] = cost
        self.progress("planning for the device", len(every), len(every))
        return costs

    def _inputs(self) -> list[npt.NDArray[np.float32]]:
        """A few inputs, one by one, for the ranges of the int8 front halves."""
        x = self.preprocessing.apply(next(self.data.batches(_REPRESENTATIVE))[0])
        return [x[i : i + 1] for i in range(len(x))]

    def _fitting(self, costs: dict[Candidate, Cost]) -> tuple[list[Candidate], list[Excluded]]:
        limits = self.limits
        if limits["instructions"] is not None and any(
            cost.instructions is None for cost in costs.values()
        ):
            raise OptionError(
                "--instructions",
                f"limits what is not known for target {self.target.name}",
                allowed="with a target of a core whose instructions are counted: Cortex-M, RV32",
                remedy="leave it out, or name such a --target",
            )
        excluded = [
            Excluded(candidate, cost, reason)
            for candidate, cost in costs.items()
            if (reason := over_budget(cost, limits["ram"], limits["instructions"]))
        ]
        out = {one.candidate for one in excluded}
        fitting = [candidate for candidate in costs if candidate not in out]
        if not fitting:
            raise _nothing_fits(costs, limits)
        return fitting, excluded

    def _train(
        self, some: Sequence[Candidate], costs: dict[Candidate, Cost], epochs: int
    ) -> dict[Candidate, Point]:
        """The candidates trained for so many passes."""
        plan = self.plan.training(epochs)
        what = {"plan": plan.as_dict()}
        points = {}
        for number, candidate in enumerate(some):
            point = self.store.point(candidate, what, costs[candidate])
            if point is None:
                stage = f"{candidate}, {epochs} passes ({number + 1} of {len(some)})"
                point = self._train_one(candidate, costs[candidate], epochs, stage)
            points[candidate] = point
            self.done += _PASS * epochs
            self.progress(SEARCH, self.done, self.total)
        return points

    def _train_one(self, candidate: Candidate, cost: Cost, epochs: int, name: str) -> Point:
        plan = self.plan.training(epochs)

        def tell(stage: str, done: int, total: int, /) -> None:
            self.progress(f"{name}: {stage}", done, total)
            if stage == "training":
                share = _PASS * epochs * done // max(1, total)
                self.progress(SEARCH, self.done + share, self.total)

        made = make_bottleneck(
            self.model, candidate.cut, self.data, candidate.channels, candidate.stride, plan,
            self.preprocessing, tell, work=self.store.checkpoints, found=self._set(candidate.cut),
            digest=self.digest,
        )  # fmt: skip
        figures, training = made.account["figures"], made.account["training"]
        if figures["accuracy"] is not None:
            loss = (figures["lost"] - figures["gained"]) / figures["inputs"]
        elif figures["agreement"] is not None:
            loss = 1 - figures["agreement"]
        else:
            loss = figures["output_error"]
        point = Point(
            candidate,
            cost,
            figures["bytes"],
            8 * figures["bytes"] / math.prod(self.cuts[candidate.cut].shape),
            figures["accuracy"],
            figures["agreement"],
            loss,
            epochs,
            training["best_epoch"],
            network_name(candidate, epochs),
        )
        self.store.keep_point({"plan": plan.as_dict()}, point, made.content)
        return point

    def _set(self, name: str) -> CutSet:
        """A cut's features and the whole network's answers: kept while they fit in memory."""
        if name not in self.sets:
            cut = self.cuts[name]
            room = MEMORY - 4 * cut.elements * len(self.data)
            while self.sets and sum(one.x.nbytes for one in self.sets.values()) > room:
                del self.sets[next(iter(self.sets))]
            self.sets[name] = collect(self.model, cut, self.data, self.preprocessing, self.progress)
        return self.sets[name]


def _nothing_fits(costs: dict[Candidate, Cost], limits: dict[str, int | None]) -> BudgetError:
    """What the smallest candidates need, where none fits."""
    least = min(costs, key=lambda one: (costs[one].ram, one))
    need = [f"the smallest needs {costs[least].ram:,} bytes of RAM ({least})"]
    allowed = [] if limits["ram"] is None else [f"{limits['ram']:,} bytes of RAM"]
    if limits["instructions"] is not None:
        known = {one: cost.instructions or 0 for one, cost in costs.items()}
        fewest = min(known, key=lambda one: (known[one], one))
        need.append(f"the quickest takes {known[fewest]:,} instructions ({fewest})")
        allowed.append(f"{limits['instructions']:,} instructions")
    return BudgetError(
        "--ram" if limits["instructions"] is None else "--ram, --instructions",
        f"none of {len(costs)} candidates fits; {'; '.join(need)}",
        allowed=" and ".join(allowed),
        remedy="allow more, give earlier --cuts, larger --strides or fewer --channels",
    )
