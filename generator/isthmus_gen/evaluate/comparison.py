"""Several bundles of one network in one table: every codec, every rung, and the rivals once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.bundle import Bundle
from isthmus.interpreters import Engine
from isthmus_gen.data import DataSet
from isthmus_gen.evaluate.result import Evaluation
from isthmus_gen.evaluate.rivals import Rival
from isthmus_gen.evaluate.run import evaluate_bundles
from isthmus_gen.evaluate.rungs import RungResult
from isthmus_gen.evaluate.statistics import Interval, percentiles
from isthmus_gen.progress import Progress, no_progress

__all__ = ["Comparison", "Row", "compare_bundles", "comparison_of"]


@dataclass(frozen=True)
class Row:
    """A line of the table. Accuracies and agreements in 0..1, lengths in bytes.

    kind              "rung" of a bundle, the "whole" network on the device, or a "rival": the
                      picture itself, answered by the whole network
    bundle            number and name of the bundle, None for others
    setting           what the rung is: "N = 4", "D = 1", "C = 4, S = 2, N = 4"; a rival's name
    bits_per_element  of the whole network's cut tensor, whatever is sent in its place
    bits_per_element_sent  of the tensor that is sent
    percentiles       of the frames' lengths, None where one mean is known
    macs_device       multiply-accumulates on the device for an input
    flash_bytes, ram_bytes  of the device's tree, where the bundle knows them
    """

    kind: str
    codec: str
    cut: str
    setting: str
    bundle: int | None = None
    name: str | None = None
    rung: int | None = None
    levels: int | None = None
    bound: int | None = None
    channels: int | None = None
    stride: int | None = None
    inputs: int = 0
    bytes_per_input: float | None = None
    percentiles: dict[str, int] | None = None
    bits_per_element: float | None = None
    bits_per_element_sent: float | None = None
    accuracy: float | None = None
    delta: Interval | None = None
    agreement: float | None = None
    macs_device: int = 0
    flash_bytes: int | None = None
    ram_bytes: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["delta"] = None if self.delta is None else self.delta.as_dict()
        values["bytes_percentiles"] = values.pop("percentiles")
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Row:
        """The row that :meth:`as_dict` gave."""
        given = dict(values)
        given["percentiles"] = given.pop("bytes_percentiles")
        given["delta"] = None if given["delta"] is None else Interval(**given["delta"])
        return cls(**given)


@dataclass(frozen=True)
class Comparison:
    """Bundles of one network, evaluated on the same inputs; ``names`` are theirs, all different."""

    names: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every rung of every bundle in order, the whole network, the rivals."""
        first = self.evaluations[0]
        rungs = [
            _rung_row(number, name, found, rung)
            for number, (name, found) in enumerate(zip(self.names, self.evaluations, strict=True))
            for rung in found.rungs
        ]
        return (*rungs, _whole_row(first), *(_rival_row(rival) for rival in first.rivals))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: each bundle as it is evaluated by itself, and the table."""
        return {
            "bundles": [
                {"bundle": name, **found.as_dict()}
                for name, found in zip(self.names, self.evaluations, strict=True)
            ],
            "rows": [row.as_dict() for row in self.rows],
        }


def compare_bundles(
    bundles: Sequence[Bundle | str | Path],
    data: DataSet,
    *,
    limit: int | None = None,
    rival_limit: int | None = None,
    engine: Engine = "auto",
    progress: Progress = no_progress,
) -> Comparison:
    """Evaluates bundles of one network on the same inputs; arguments and errors are those of
    :func:`isthmus_gen.evaluate.run.evaluate_bundles`.
    """
    opened = [one if isinstance(one, Bundle) else Bundle.open(one) for one in bundles]
    found = evaluate_bundles(
        opened, data, limit=limit, rival_limit=rival_limit, engine=engine, progress=progress
    )
    return comparison_of([one.path for one in opened], found)


def comparison_of(paths: Sequence[Path], evaluations: Sequence[Evaluation]) -> Comparison:
    """A comparison of what was evaluated; bundles are called as their directories are."""
    return Comparison(_names(paths), tuple(evaluations))


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Names of directories; equal ones get the number of their appearance."""
    plain = [path.resolve().name for path in paths]
    often, seen = Counter(plain), Counter[str]()
    out = []
    for name in plain:
        seen[name] += 1
        out.append(f"{name} ({seen[name]})" if often[name] > 1 else name)
    return tuple(out)


def _rung_row(number: int, name: str, found: Evaluation, rung: RungResult) -> Row:
    place = found.bottleneck
    bits = 8 * int(np.sum(rung.lengths))
    return Row(
        kind="rung",
        codec=found.codec,
        cut=found.network_cut,
        setting=found.setting(rung),
        bundle=number,
        name=name,
        rung=rung.rung,
        levels=rung.levels,
        bound=rung.bound,
        channels=None if place is None else place.channels,
        stride=None if place is None else place.stride,
        inputs=found.inputs,
        bytes_per_input=rung.bytes_per_input,
        percentiles=percentiles(rung.lengths),
        bits_per_element=bits / max(1, len(rung.lengths) * found.network_elements),
        bits_per_element_sent=rung.bits_per_element,
        accuracy=rung.accuracy_decoded,
        delta=rung.delta_decoded,
        agreement=rung.agreement_decoded,
        macs_device=found.macs_device,
        flash_bytes=found.flash_bytes,
        ram_bytes=found.ram_bytes,
    )


def _whole_row(found: Evaluation) -> Row:
    return Row(
        kind="whole",
        codec="",
        cut="",
        setting="",
        inputs=found.inputs,
        accuracy=found.whole,
        agreement=None if found.halves.agreement is None else 1.0,
        macs_device=found.macs_whole,
    )


def _rival_row(rival: Rival) -> Row:
    return Row(
        kind="rival",
        codec="",
        cut="",
        setting=rival.name,
        inputs=rival.inputs,
        bytes_per_input=rival.bytes_per_input,
        accuracy=rival.accuracy,
        delta=rival.delta,
        agreement=rival.agreement,
    )
