"""One pass over a data set: the whole network, its halves, the int8 front, the decoded path."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.backhalf import BackHalf
from isthmus.bundle import Bundle, codec_name
from isthmus.decoder import Decoder
from isthmus.errors import OptionError
from isthmus.interpreters import Engine, TfliteModel, open_tflite
from isthmus.profile import Profile
from isthmus_gen.data import DataSet
from isthmus_gen.evaluate.front import dequantise, open_front
from isthmus_gen.evaluate.network import WholeNetwork, check_one_network
from isthmus_gen.evaluate.picture import PictureMeter
from isthmus_gen.evaluate.result import (
    BottleneckCut,
    Evaluation,
    FeatureHistogram,
    PathResult,
)
from isthmus_gen.evaluate.rivals import Rival, measure_rivals
from isthmus_gen.evaluate.rungs import RungMeter
from isthmus_gen.evaluate.statistics import Tally
from isthmus_gen.models import resolve_cut
from isthmus_gen.progress import Progress, no_progress

__all__ = ["evaluate_bundle", "evaluate_bundles"]

_BATCH = 64
_BINS = 256


def evaluate_bundle(
    bundle: Bundle | str | Path,
    data: DataSet,
    *,
    rungs: Sequence[int] | None = None,
    limit: int | None = None,
    rival_limit: int = 300,
    engine: Engine = "auto",
    progress: Progress = no_progress,
) -> Evaluation:
    """Measures a bundle on ``data``: accuracies, agreement, rates, and the two end points.

    ``rungs`` are the rungs to measure, the first of them the chosen one (default: all in order);
    ``limit`` keeps the first inputs; ``rival_limit`` bounds the pictures that are recompressed (0
    leaves the rivals out). ``engine`` runs the back half; for a network that is int8 itself every
    path takes the reference kernels, so that paths differ by what they are and not by rounding.

    Memory is bounded: one batch of inputs and a few numbers per input.
    Raises BundleError (edited, or without its model), DataError, OptionError.
    """
    found = evaluate_bundles(
        [bundle], data, rungs=rungs, limit=limit, rival_limit=rival_limit, engine=engine,
        progress=progress,
    )  # fmt: skip
    return found[0]


def evaluate_bundles(
    bundles: Sequence[Bundle | str | Path],
    data: DataSet,
    *,
    rungs: Sequence[int] | None = None,
    limit: int | None = None,
    rival_limit: int | None = None,
    engine: Engine = "auto",
    progress: Progress = no_progress,
) -> list[Evaluation]:
    """Measures bundles of one network on the same inputs, each as :func:`evaluate_bundle` does.

    The whole network and the rivals are run once for all of them; ``rival_limit`` None: on every
    input. Raises what :func:`evaluate_bundle` raises, and OptionError where there is no bundle or
    the bundles are not of one network and one preprocessing.
    """
    opened = [one if isinstance(one, Bundle) else Bundle.open(one) for one in bundles]
    if not opened:
        raise OptionError("BUNDLE", "is missing", allowed="one or more bundles")
    for one in opened:
        one.check()
    check_one_network(opened)
    chosen = [_rungs(one.profile, rungs) for one in opened]
    if limit is not None and limit < 1:
        raise OptionError("--limit", f"is {limit}", allowed="1 or more")
    network = WholeNetwork(opened[0])
    runs = [_Run(one, network, some, engine) for one, some in zip(opened, chosen, strict=True)]
    total = len(data) if limit is None else min(limit, len(data))
    labels = network.labels(data, total)
    done = 0
    for x, _ in data.batches(_BATCH):
        part = x[: total - done]
        given = network.preprocessing.apply(part)
        whole = network.model.predict(given)
        known = None if labels is None else labels[done : done + len(part)]
        network.tally.add(whole, whole, known)
        for run in runs:
            run.add(part, given, whole, known)
        done += len(part)
        progress("evaluating", done, total)
        if done >= total:
            break
    rivals: tuple[Rival, ...] = ()
    pictures = total if rival_limit is None else min(rival_limit, total)
    if pictures > 0:
        rivals = measure_rivals(data, network.answers, labels, limit=pictures, progress=progress)
    return [run.result(data, rivals) for run in runs]


def _rungs(profile: Profile, asked: Sequence[int] | None) -> tuple[int, ...]:
    count = len(profile.rungs)
    chosen = tuple(range(count)) if asked is None else tuple(asked)
    if not chosen or any(not 0 <= rung < count for rung in chosen):
        raise OptionError("--rung", f"is {list(chosen)}", allowed=f"0..{count - 1}")
    return chosen


class _Run:
    """The paths of one bundle and what they have added up."""

    def __init__(
        self, bundle: Bundle, network: WholeNetwork, rungs: tuple[int, ...], engine: Engine
    ) -> None:
        self.bundle, self.profile, self.network = bundle, bundle.profile, network
        int8_source = network.is_int8
        host: Engine = "litert_ref" if int8_source and engine == "auto" else engine
        self.front = open_front(bundle)
        self.back = BackHalf(bundle, engine=host)
        self.half = _first_half(bundle, int8_source)
        decoder = Decoder(bundle)
        self.meters = [RungMeter(decoder, rung) for rung in rungs]
        self.pictures = PictureMeter.of(bundle, rungs)
        self.halves, self.int8 = Tally(), Tally()
        self._counts = np.zeros(_BINS, dtype=np.int64)
        self._report = json.loads(bundle.read("report.json"))
        self._edges = _edges(self.profile, self._report)
        self._front_squares = 0.0
        self._elements = 0

    def add(
        self,
        x: npt.NDArray[Any],
        given: npt.NDArray[np.float32],
        whole: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64] | None,
    ) -> None:
        """A batch through every path: raw inputs, prepared ones, the whole network's answers."""
        half = self.half.run_float(given)[0]
        self.halves.add(self.back(half), whole, labels)
        tensors = self.front.features(x)
        sent = dequantise(self.profile, tensors)
        self._front_squares += float(((sent - half).astype(np.float64) ** 2).sum())
        self._elements += sent.size
        self._counts += np.histogram(np.clip(sent, self._edges[0], self._edges[-1]), self._edges)[0]
        if self.profile.tensor.dtype == "int8":
            self.int8.add(self.back(sent), whole, labels)
        for meter in self.meters:
            meter.tally.add(self.back(meter.send(tensors)), whole, labels)
        if self.pictures is not None:
            self.pictures.add(x, [meter.levels for meter in self.meters])

    def result(self, data: DataSet, rivals: tuple[Rival, ...]) -> Evaluation:
        is_int8 = self.profile.tensor.dtype == "int8"
        notes = []
        if data.y is None:
            notes.append("the data have no labels: no accuracies, agreement alone")
        elif self.network.tally.accuracy is None:
            notes.append("the network's outputs are no classes: no accuracies")
        if self.front.engine == "golden":
            notes.append("no C compiler: the int8 front ran in the reference interpreter")
        classes = self.network.classes
        place = _bottleneck(self.profile, self.network)
        return Evaluation(
            model=str(self.profile.extra["model"]["name"]),
            codec=codec_name(self.profile),
            cut=self.profile.tensor.name,
            digest=self.profile.digest.hex(),
            data=data.path.name,
            inputs=self.network.tally.inputs,
            elements=self.profile.tensor.elements,
            front_engine=self.front.engine,
            whole=self.network.tally.accuracy,
            halves=_path(self.halves),
            front_int8=_path(self.int8) if is_int8 else None,
            rungs=tuple(meter.result() for meter in self.meters),
            rivals=rivals,
            histogram=FeatureHistogram(self._edges, self._counts),
            front_mse=self._front_squares / self._elements if is_int8 else None,
            macs_device=int(self._report["macs_before"]),
            macs_whole=int(self._report["macs_total"] if place is None else self.network.macs),
            answer_bytes=-(-max(1, (max(classes, 2) - 1).bit_length()) // 8),
            flash_bytes=self._report.get("flash_bytes"),
            ram_bytes=self._report.get("ram_bytes"),
            bottleneck=place,
            picture=None if self.pictures is None else self.pictures.result(),
            notes=tuple(notes),
        )


def _path(tally: Tally) -> PathResult:
    return PathResult(tally.accuracy, tally.agreement, tally.interval, tally.output_error)


def _bottleneck(profile: Profile, network: WholeNetwork) -> BottleneckCut | None:
    """What a learned bottleneck stands for, in the whole network's own terms."""
    entry = profile.extra.get("bottleneck")
    if entry is None:
        return None
    cut = resolve_cut(network.model, str(entry["cut"]))
    return BottleneckCut(cut.name, cut.elements, int(entry["channels"]), int(entry["stride"]))


def _first_half(bundle: Bundle, int8_source: bool) -> TfliteModel:
    """The front half without the device: in float, or the int8 one of a network that is int8."""
    if int8_source:
        return open_tflite(bundle.read(bundle.profile.extra["front"]["file"]), engine="litert_ref")
    return open_tflite(bundle.read("front_float.tflite"))


def _edges(profile: Profile, report: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Edges float64 [257]: a bin for every int8 value, or the span that calibration saw."""
    spec = profile.tensor
    if spec.dtype == "int8":
        steps = np.arange(-128, 129, dtype=np.float64) - 0.5 - spec.zero_point
        return steps * spec.scale
    low, high = float(report["feature_min"]), float(report["feature_max"])
    return np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
