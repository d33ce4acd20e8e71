"""The counts as Prometheus reads them. Labels are bundles, never devices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from isthmus.errors import DigestUnknownError, ProfileMismatchError, ReplayError
from isthmus.server.counts import STAGES, ModelCounts
from isthmus.server.histogram import BITS, SECONDS, Scale

if TYPE_CHECKING:
    from isthmus.server.monitor import Monitor

__all__ = ["MonitorCollector", "render"]

_STAGE_TEXTS = {
    "queue": "Seconds that frames waited for a thread",
    "decode": "Seconds in which a frame's batch was decoded",
    "compute": "Seconds in which the back half ran on a frame's batch",
    "total": "Seconds from a frame's arrival to its answer",
}


def render(monitor: Monitor, accept: str = "") -> tuple[bytes, str]:
    """The metrics in the format that the header ``accept`` asks for, and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(MonitorCollector(monitor))
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


class MonitorCollector(Collector):
    """Reads a monitor's counts when it is scraped; nothing is counted twice."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        yield from self._frames()
        yield from self._failures()
        yield from self._durations()
        yield from self._elements()
        yield from self._clips()
        yield from self._server()

    def _models(self) -> list[ModelCounts]:
        models = list(self._monitor.models.values())
        for counts in models:
            counts.fold()
        return models

    def _frames(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "isthmus_frames", "Frames answered", labels=("model", "version", "link")
        )
        for counts in self._models():
            for link, count in counts.links.items():
                family.add_metric((counts.served.name, counts.served.version, link), count)
        yield family

    def _failures(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "isthmus_failures",
            "Frames refused, by the number and name of the error; model is empty where none was "
            "found",
            labels=("model", "code", "name"),
        )
        digests = replays = 0
        for (model, code, name), count in self._monitor.failures.items():
            family.add_metric((model, str(code), name), count)
            if code in (DigestUnknownError.code, ProfileMismatchError.code):
                digests += count
            if code == ReplayError.code:
                replays += count
        yield family
        yield CounterMetricFamily(
            "isthmus_refused_digests", "Frames of profiles that are not served", value=digests
        )
        yield CounterMetricFamily(
            "isthmus_replays", "Units whose counter was used before or is too old", value=replays
        )

    def _durations(self) -> Iterator[Metric]:
        models = self._models()
        names = dict.fromkeys(counts.served.name for counts in models)
        for stage, text in _STAGE_TEXTS.items():
            at = STAGES.index(stage)
            family = HistogramMetricFamily(f"isthmus_{stage}_seconds", text, labels=("model",))
            for name in names:
                of = [counts for counts in models if counts.served.name == name]
                buckets = np.sum([counts.stage_counts[at] for counts in of], axis=0)
                total = sum(float(counts.stage_sums[at]) for counts in of)
                _add_histogram(family, name, SECONDS, buckets, total)
            yield family
        bits = HistogramMetricFamily(
            "isthmus_bits_per_element", "Bits of a frame for each element", labels=("model",)
        )
        for name in names:
            of = [counts for counts in models if counts.served.name == name]
            buckets = np.sum([counts.bit_counts for counts in of], axis=0)
            _add_histogram(bits, name, BITS, buckets, sum(counts.bit_sum for counts in of))
        yield bits

    def _elements(self) -> Iterator[Metric]:
        lost = CounterMetricFamily(
            "isthmus_slices_lost",
            "Slices or packets that were damaged or did not come; model is empty for frames that "
            "were never answered",
            labels=("model",),
        )
        concealed = CounterMetricFamily(
            "isthmus_concealed_elements",
            "Elements that did not arrive and were filled",
            labels=("model",),
        )
        sums: dict[str, tuple[int, int]] = {}
        for counts in self._models():
            before = sums.get(counts.served.name, (0, 0))
            sums[counts.served.name] = (
                before[0] + counts.slices_lost,
                before[1] + counts.concealed,
            )
        for name, (slices, elements) in sums.items():
            lost.add_metric((name,), slices)
            concealed.add_metric((name,), elements)
        lost.add_metric(("",), self._monitor.lost_total)
        yield lost
        yield concealed

    def _clips(self) -> Iterator[Metric]:
        labels = ("model", "version", "rung", "cell")
        found = GaugeMetricFamily(
            "isthmus_clip_fraction",
            "Share of elements in the outer cells over the last minute",
            labels=labels,
        )
        calibrated = GaugeMetricFamily(
            "isthmus_clip_fraction_calibrated",
            "The same share on the calibration set",
            labels=labels,
        )
        second = int(self._monitor.clock())
        for counts in self._models():
            served = counts.served
            for rung, shares in enumerate(counts.cells(second)):
                expected = counts.calibrated[rung]
                for at, cell in enumerate(("first", "last")):
                    key = (served.name, served.version, str(rung), cell)
                    share = shares[at]
                    if share is not None:
                        found.add_metric(key, share)
                    if expected is not None and (at == 1 or counts.bottom_clips[rung]):
                        calibrated.add_metric(key, expected[at])
        yield found
        yield calibrated

    def _server(self) -> Iterator[Metric]:
        monitor, service = self._monitor, self._monitor.service
        yield GaugeMetricFamily(
            "isthmus_devices", "Devices whose state is kept", value=len(monitor.devices)
        )
        yield GaugeMetricFamily(
            "isthmus_queue_frames",
            "Frames accepted and not yet answered",
            value=0 if service is None else service.waiting,
        )
        yield GaugeMetricFamily(
            "isthmus_ready",
            "1 while frames are taken",
            value=int(service is not None and service.ready),
        )


def _add_histogram(
    family: HistogramMetricFamily, model: str, scale: Scale, counts: object, total: float
) -> None:
    edges = [*(repr(mark) for mark in scale.marks), "+Inf"]
    sums = scale.at_most(np.asarray(counts))
    family.add_metric((model,), buckets=list(zip(edges, sums, strict=True)), sum_value=total)
