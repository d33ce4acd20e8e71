"""The metrics, read with Prometheus's own parsers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from monitor_cases import Clock, FakeFleet, FakeServed, FakeService, frame, rung
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from isthmus.errors import (
    BusyError,
    ChecksumError,
    DigestUnknownError,
    ProfileMismatchError,
    ReplayError,
)
from isthmus.server.metrics import render
from isthmus.server.monitor import Monitor
from isthmus.server.types import Origin, Timings

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(monitor: Monitor) -> Samples:
    """Every sample by its name and labels."""
    text = monitor.metrics().decode("utf-8")
    return {
        (s.name, frozenset(s.labels.items())): s.value
        for family in prometheus(text)
        for s in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.fixture
def fed() -> tuple[Monitor, FakeService]:
    """Two generations of one bundle and another bundle, some frames and refusals."""
    monitor = Monitor(clock=Clock(100.5))
    old = FakeServed("digits", "aaaaaaaaaaaa")
    new = FakeServed("digits", "bbbbbbbbbbbb")
    other = FakeServed("cam", "cccccccccccc", rungs=(rung(4, (-1.0, 1.0)),))
    service = FakeService(FakeFleet([old, new, other]), waiting=3)
    monitor.attach(service)
    times = Timings(0.0002, 0.001, 0.003, 0.03)
    monitor.batch(old, [frame(old, "a", link="mqtt", timings=times)])
    monitor.batch(new, [frame(new, d, frame_bytes=96, timings=times) for d in "ab"])
    levels = np.zeros(other.shape, np.uint8)
    levels[0] = 3
    received = np.ones(other.shape, bool)
    received[3] = False
    monitor.batch(
        other, [frame(other, "c", levels=levels, received=received, slices_lost=1, link="udp")]
    )
    monitor.lost(Origin("udp", "c"), 2)
    for error in (
        DigestUnknownError("f", "x"), ProfileMismatchError("f", "x"), ReplayError("f", "x"),
        ReplayError("f", "x"), ChecksumError("f", "x"),
    ):  # fmt: skip
        monitor.refused(Origin("http", "z"), error)
    monitor.refused(Origin("http", "z"), BusyError("f", "x"), "cam")
    return monitor, service


def test_counters(fed: tuple[Monitor, FakeService]) -> None:
    samples = scrape(fed[0])
    for model, version, link, count in (
        ("digits", "aaaaaaaaaaaa", "mqtt", 1),
        ("digits", "bbbbbbbbbbbb", "http", 2),
        ("cam", "cccccccccccc", "udp", 1),
    ):
        labels = {"model": model, "version": version, "link": link}
        assert value(samples, "isthmus_frames_total", **labels) == count
    failures = {
        dict(labels)["name"]: (dict(labels)["code"], dict(labels)["model"], count)
        for (name, labels), count in samples.items()
        if name == "isthmus_failures_total"
    }
    assert failures == {
        "digest_unknown": ("92", "", 1),
        "profile": ("4", "", 1),
        "replay": ("100", "", 2),
        "checksum": ("8", "", 1),
        "busy": ("94", "cam", 1),
    }
    assert value(samples, "isthmus_refused_digests_total") == 2
    assert value(samples, "isthmus_replays_total") == 2
    assert value(samples, "isthmus_slices_lost_total", model="cam") == 1
    assert value(samples, "isthmus_slices_lost_total", model="") == 2
    assert value(samples, "isthmus_concealed_elements_total", model="cam") == 128
    assert value(samples, "isthmus_concealed_elements_total", model="digits") == 0


def test_histograms_add_up_over_the_generations(fed: tuple[Monitor, FakeService]) -> None:
    samples = scrape(fed[0])
    assert value(samples, "isthmus_total_seconds_count", model="digits") == 3
    assert value(samples, "isthmus_total_seconds_sum", model="digits") == pytest.approx(0.09)
    for le, count in (("0.01", 0), ("0.025", 0), ("0.05", 3), ("10.0", 3), ("+Inf", 3)):
        assert value(samples, "isthmus_total_seconds_bucket", model="digits", le=le) == count
    for le, count in (("0.0001", 0), ("0.00025", 3)):
        assert value(samples, "isthmus_queue_seconds_bucket", model="digits", le=le) == count
    # a duration that is an edge counts below it
    assert value(samples, "isthmus_decode_seconds_bucket", model="digits", le="0.001") == 3
    assert value(samples, "isthmus_compute_seconds_sum", model="cam") == pytest.approx(0.003)
    # 64 bytes for 512 elements are one bit, 96 are one and a half
    for le, count in (("0.75", 0), ("1.0", 1), ("1.5", 3)):
        assert value(samples, "isthmus_bits_per_element_bucket", model="digits", le=le) == count
    assert value(samples, "isthmus_bits_per_element_sum", model="digits") == 4.0


def test_gauges(fed: tuple[Monitor, FakeService]) -> None:
    monitor, service = fed
    samples = scrape(monitor)
    assert value(samples, "isthmus_devices") == 3
    assert value(samples, "isthmus_queue_frames") == 3
    assert value(samples, "isthmus_ready") == 1
    service.ready = False
    service.waiting = 0
    samples = scrape(monitor)
    assert value(samples, "isthmus_ready") == 0
    assert value(samples, "isthmus_queue_frames") == 0
    assert value(samples, "process_resident_memory_bytes") > 1e6


def test_clip_fractions(fed: tuple[Monitor, FakeService]) -> None:
    monitor = fed[0]
    monitor.models["cam", "cccccccccccc"].calibrated = [(0.5, 0.125)]
    monitor.models["digits", "aaaaaaaaaaaa"].calibrated = [(0.5, 0.25)]
    samples = scrape(monitor)
    cam = {"model": "cam", "version": "cccccccccccc", "rung": "0"}
    # three of four rows arrived, one of them in the last cell
    assert value(samples, "isthmus_clip_fraction", **cam, cell="last") == pytest.approx(1 / 3)
    assert value(samples, "isthmus_clip_fraction", **cam, cell="first") == pytest.approx(2 / 3)
    assert value(samples, "isthmus_clip_fraction_calibrated", **cam, cell="first") == 0.5
    assert value(samples, "isthmus_clip_fraction_calibrated", **cam, cell="last") == 0.125
    old = {"model": "digits", "version": "aaaaaaaaaaaa", "rung": "0"}
    assert value(samples, "isthmus_clip_fraction_calibrated", **old, cell="last") == 0.25
    # nothing is clipped below a range that begins where the features do
    key = frozenset({**old, "cell": "first"}.items())
    assert ("isthmus_clip_fraction", key) not in samples
    assert ("isthmus_clip_fraction_calibrated", key) not in samples


def test_ten_thousand_devices_add_no_series(fed: tuple[Monitor, FakeService]) -> None:
    monitor = fed[0]
    served = monitor.models["digits", "bbbbbbbbbbbb"].served
    before = set(scrape(monitor))
    for start in range(0, 10_000, 100):
        monitor.batch(served, [frame(served, f"device-{start + k}") for k in range(100)])  # type: ignore[arg-type]
        monitor.refused(Origin("http", f"bad-{start}"), ChecksumError("f", "x"), f"model-{start}")
    after = scrape(monitor)
    assert set(after) == before
    assert value(after, "isthmus_devices") == 10_000
    assert not any("device-" in v for _, labels in after for _, v in labels)


def test_both_formats_say_the_same(fed: tuple[Monitor, FakeService]) -> None:
    accept = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    body, kind = render(fed[0], accept)
    assert kind.startswith("application/openmetrics-text")
    text = body.decode("utf-8")
    assert text.endswith("# EOF\n")
    newer = {
        (s.name, frozenset(s.labels.items())): s.value
        for family in openmetrics(text)
        for s in family.samples
        if s.name.startswith("isthmus")
    }
    plain, plain_kind = render(fed[0], "")
    assert plain_kind.startswith("text/plain")
    older = {
        (s.name, frozenset(s.labels.items())): s.value
        for family in prometheus(plain.decode("utf-8"))
        for s in family.samples
        if s.name.startswith("isthmus")
    }
    assert newer == older


def test_odd_names_are_escaped() -> None:
    monitor = Monitor(clock=Clock())
    served: Any = FakeServed('a"b\\c\nd')
    monitor.batch(served, [frame(served, "d")])
    labels = {"model": served.name, "version": served.version, "link": "http"}
    assert value(scrape(monitor), "isthmus_frames_total", **labels) == 1


def test_every_family_has_a_help_text_and_a_type() -> None:
    text = Monitor().metrics().decode("utf-8")
    families = [f for f in prometheus(text) if f.name.startswith("isthmus")]
    assert len(families) >= 12
    for family in families:
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
