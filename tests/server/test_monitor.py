"""What the monitor counts, against numbers worked out by hand or by numpy's own functions."""

from __future__ import annotations

import base64
import json
import time
import tracemalloc

import numpy as np
import pytest
from monitor_cases import Clock, FakeFleet, FakeServed, FakeService, frame, rung

from isthmus.errors import BusyError, ChecksumError, DigestUnknownError
from isthmus.profile import Profile, TensorSpec
from isthmus.server.config import ServerConfig
from isthmus.server.counts import clips_below, end_shares
from isthmus.server.histogram import BITS, SECONDS, Scale
from isthmus.server.monitor import Monitor
from isthmus.server.snapshot import channel_grid
from isthmus.server.types import Origin, Timings


def make(devices: int = 1000, **more: object) -> tuple[Monitor, Clock]:
    clock = Clock(5000.25)
    config = ServerConfig.model_validate({"limits": {"devices": devices}})
    return Monitor(config, clock=clock, wall=lambda: 1e9 + clock.now, **more), clock  # type: ignore[arg-type]


def test_a_value_lies_in_the_bucket_that_ends_with_it() -> None:
    scale = Scale((1.0, 2.0, 4.0), 3.0)
    assert scale.edges.tolist() == [1.0, 2.0, 4.0]
    counts = scale.count([0.0, 1.0, 1.001, 2.0, 4.0, 4.001, 1e9])
    assert counts.tolist() == [2, 2, 1, 2]
    assert scale.at_most(counts) == [2, 4, 5, 7]


@pytest.mark.parametrize("scale", [SECONDS, BITS])
def test_percentiles_are_within_a_bucket_of_the_true_ones(scale: Scale) -> None:
    rng = np.random.default_rng(3)
    middle = float(np.sqrt(scale.marks[0] * scale.marks[-1]))
    values = np.minimum(middle * rng.lognormal(0, 0.8, 20_000), scale.marks[-1])
    found = scale.percentiles(scale.count(values), (0.5, 0.9, 0.99))
    true = np.percentile(values, [50, 90, 99], method="inverted_cdf")
    assert np.all(np.abs(np.log(found / true)) <= np.log(1.0601))


def test_percentiles_of_nothing_are_unknown() -> None:
    assert np.isnan(SECONDS.percentiles(np.zeros(SECONDS.buckets, int), (0.5,))).all()


def test_the_series_hold_whole_seconds_oldest_first() -> None:
    monitor, clock = make()
    served = FakeServed()
    for second, count in ((5000, 3), (5001, 0), (5002, 5)):
        clock.now = second + 0.5
        if count:
            monitor.batch(served, [frame(served, f"d{k}") for k in range(count)])
    series = monitor.state()["series"]
    assert series["frames"][-2:] == [3, 0]  # the running second is not whole
    clock.now = 5003.0
    series = monitor.state()["series"]
    assert series["frames"] == [0] * 117 + [3, 0, 5]
    assert series["latency_ms"]["total"]["p50"][:118] == [None] * 117 + [
        pytest.approx(6.0, rel=0.06)
    ]
    clock.now = 5122.9
    assert monitor.state()["series"]["frames"] == [5] + [0] * 119
    clock.now = 5123.0
    assert monitor.state()["series"]["frames"] == [0] * 120
    clock.now = 9999.0  # a long silence
    monitor.batch(served, [frame(served, "d0")])
    clock.now = 10000.0
    assert monitor.state()["series"]["frames"] == [0] * 119 + [1]


def test_rates_are_of_a_minute_or_since_the_start() -> None:
    monitor, clock = make()
    served = FakeServed()
    for second in range(5000, 5010):
        clock.now = second + 0.5
        monitor.batch(served, [frame(served, "d")] * 3)
    clock.now = 5010.25
    assert monitor.state()["minute"]["frames_per_s"] == 3
    assert monitor.state()["models"][0]["frames_per_s"] == 3
    clock.now = 5060
    assert monitor.state()["minute"]["frames_per_s"] == 30 / 60


def test_durations_keep_to_their_second() -> None:
    """What waits to be sorted into buckets belongs to the second in which it came."""
    monitor, clock = make()
    served = FakeServed()
    for second, total in ((5000, 0.001), (5001, 0.1), (5002, 1.0)):
        clock.now = second + 0.5
        monitor.batch(served, [frame(served, "d", timings=Timings(0, 0, 0, total))])
    clock.now = 5003
    series = monitor.state()["series"]["latency_ms"]["total"]["p99"]
    assert series[-3:] == [pytest.approx(v, rel=0.06) for v in (1.0, 100.0, 1000.0)]


def test_bits_and_concealment_are_weighted_by_elements() -> None:
    monitor, clock = make()
    small, large = FakeServed("a", shape=(2, 2, 4)), FakeServed("b", shape=(4, 4, 32))
    received = np.ones(large.shape, bool)
    received[0] = False
    monitor.batch(small, [frame(small, "s", frame_bytes=8)])
    monitor.batch(large, [frame(large, "l", frame_bytes=64, received=received, slices_lost=2)])
    clock.now = 5001
    state = monitor.state()
    assert state["series"]["bits"][-1] == pytest.approx(8 * 72 / 528, abs=1e-4)
    assert state["series"]["concealed"][-1] == pytest.approx(128 / 528, abs=1e-5)
    assert state["series"]["lost"][-1] == 2
    one = monitor.state(model="a 0123456789ab")
    assert one["selected"] == "a 0123456789ab"
    assert one["series"]["bits"][-1] == 4.0
    assert monitor.state(model="no such")["selected"] == ""


def test_the_shares_of_the_outer_cells() -> None:
    monitor, clock = make()
    served = FakeServed(shape=(2, 2, 2), rungs=(rung(4, (0.0, 3.0)), rung(3, (-1.0, 1.0))))
    a = np.array([3, 3, 0, 1, 2, 0, 0, 0], np.uint8).reshape(2, 2, 2)
    b = np.array([0, 0, 0, 2, 1, 1, 1, 1], np.uint8).reshape(2, 2, 2)
    received = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool).reshape(2, 2, 2)
    monitor.batch(served, [frame(served, "d", levels=a), frame(served, "d", levels=b, rung=1)])
    monitor.batch(served, [frame(served, "d", levels=b, rung=1, received=received)])
    # rung 0 begins at zero, below which nothing is clipped; what was concealed does not count
    assert monitor.counts(served).cells(5000) == [(None, 2 / 8), ((3 + 3) / 12, (1 + 1) / 12)]
    clock.now = 5059.9
    assert monitor.counts(served).cells(5059)[0] == (None, 0.25)
    assert monitor.counts(served).cells(5060) == [(None, None)] * 2


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "low", "clips"),
    [
        ("int8", 0.1, -128, 0.0, False),  # after a ReLU: no element is below zero
        ("int8", 0.1, 0, 0.0, True),
        ("int8", 0.1, 0, -12.8, False),
        ("int8", 0.1, 0, -6.0, True),
        ("float32", 1.0, 0, 0.0, False),
        ("float32", 1.0, 0, -2.0, True),
    ],
)
def test_whether_the_first_cell_clips(
    dtype: str, scale: float, zero_point: int, low: float, clips: bool
) -> None:
    tensor = TensorSpec("t", (2, 2, 2), dtype, scale, zero_point)
    assert clips_below(Profile(tensor, (rung(4, (low, 3.0)),), 2), 0) is clips


def test_what_calibration_found_is_read_from_a_report() -> None:
    report = {"rungs": [{"end_shares": [0.5, 0.125]}, {"end_shares": None}, {"levels": 3}, 7]}
    assert end_shares(report, 4) == [(0.5, 0.125), None, None, None]
    for bad in (None, [], {"rungs": 3}, {"rungs": [{"end_shares": ["a", 2]}]}, {"rungs": []}):
        assert end_shares(bad, 1) == [None]


def test_devices_are_bounded_and_the_oldest_goes() -> None:
    monitor, _ = make(devices=3)
    served = FakeServed()
    for name in ("a", "b", "c", "a", "d"):
        monitor.batch(served, [frame(served, name)])
    assert list(monitor.devices) == ["c", "a", "d"]
    assert monitor.device("b") is None
    assert monitor.kept("b") is None


def test_who_is_only_refused_pushes_nobody_out() -> None:
    monitor, _ = make(devices=3)
    served = FakeServed()
    monitor.batch(served, [frame(served, "good")])
    for k in range(5000):
        monitor.refused(Origin("udp", "", f"10.0.0.{k}:1"), DigestUnknownError("f", "is new"))
    assert list(monitor.devices) == ["good"]
    assert len(monitor.strangers) == 256
    state = monitor.state()
    assert state["refused"] == 5000
    assert state["devices"]["total"] == 257
    # one whose frame is answered at last is a device like others, with its refusals
    monitor.batch(served, [frame(served, "10.0.0.4999:1")])
    assert monitor.devices["10.0.0.4999:1"].refused == 1
    assert "10.0.0.4999:1" not in monitor.strangers


def test_memory_does_not_grow_with_frames_or_devices() -> None:
    monitor, clock = make(devices=200, keep_bytes=100_000)
    served = FakeServed()
    levels = np.zeros((16, *served.shape), np.uint8)

    def run(names: int, rounds: int) -> None:
        for k in range(rounds):
            clock.now += 0.05
            start = 16 * k % names
            monitor.batch(
                served, [frame(served, f"d{start + j}", levels=levels[j]) for j in range(16)]
            )
            monitor.refused(Origin("http", f"x{k}"), ChecksumError("frame", "is wrong"))

    tracemalloc.start()
    try:
        run(400, 300)
        before = tracemalloc.get_traced_memory()[0]
        run(4000, 600)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(monitor.devices) == 200
    assert before > 100_000
    assert after < 1.05 * before


def test_kept_frames_are_copies_within_a_budget() -> None:
    monitor, clock = make(keep_bytes=3000)
    served = FakeServed()
    batch = np.zeros((8, *served.shape), np.uint8)
    monitor.batch(served, [frame(served, f"d{k}", levels=batch[k]) for k in range(8)])
    kept = [monitor.kept(f"d{k}") for k in range(8)]
    assert [one is not None for one in kept] == [False] * 3 + [True] * 5
    last = kept[-1]
    assert last is not None
    assert last.levels.base is None
    batch[7] = 3
    assert not last.levels.any()
    # and a device's own frame is replaced, not more often than five times a second
    monitor.batch(served, [frame(served, "d7", 1, levels=batch[7])])
    assert monitor.kept("d7") is last
    clock.now += 0.25
    monitor.batch(served, [frame(served, "d7", 2, levels=batch[7])])
    replaced = monitor.kept("d7")
    assert replaced is not None
    assert replaced.answer.sequence == 2
    assert replaced.levels.min() == 3


def test_refusals_are_counted_by_model_and_code() -> None:
    monitor, clock = make()
    served = FakeServed()
    monitor.attach(FakeService(FakeFleet([served])))
    monitor.refused(Origin("http", "a"), BusyError("queue", "is full"), "digits")
    monitor.refused(Origin("http", "a"), BusyError("queue", "is full"), "digits")
    monitor.refused(Origin("http", "b"), ChecksumError("frame", "is wrong"), "../../made up")
    clock.now = 5001
    state = monitor.state()
    assert [(r["model"], r["code"], r["count"]) for r in state["refusals"]] == [
        ("digits", 94, 2), ("", 8, 1),
    ]  # fmt: skip
    assert state["refusals"][0]["text"] == "the server's queue is full"
    assert state["series"]["refused"][-1] == 3
    assert state["last_refusals"][0]["text"] == "frame: is wrong"


def test_lost_slices_of_frames_that_were_never_answered() -> None:
    monitor, clock = make()
    served = FakeServed()
    monitor.batch(served, [frame(served, "a", slices_lost=1)])
    monitor.lost(Origin("udp", "a"), 4)
    monitor.lost(Origin("udp", "nobody"), 2)
    clock.now = 5001
    state = monitor.state()
    assert state["slices_lost"] == 7
    assert state["series"]["lost"][-1] == 7
    assert state["devices"]["rows"][0]["slices_lost"] == 5


def test_devices_are_sorted_searched_and_cut() -> None:
    monitor, _ = make()
    served, other = FakeServed(), FakeServed("other", labels=())
    for k in (10, 9, 100, 1):
        for _ in range(k):
            monitor.batch(served, [frame(served, f"cam-{k}", link="mqtt")])
    monitor.batch(other, [frame(other, "Meter", frame_bytes=640)])

    def names(**query: object) -> list[str]:
        return [row["name"] for row in monitor.state(**query)["devices"]["rows"]]

    assert names() == ["Meter", "cam-1", "cam-9", "cam-10", "cam-100"]
    assert names(sort="frames", descending=True)[:2] == ["cam-100", "cam-10"]
    assert names(sort="bits", descending=True, limit=1) == ["Meter"]
    assert names(search="METER") == ["Meter"]
    assert names(search="mqtt", sort="frames") == ["cam-1", "cam-9", "cam-10", "cam-100"]
    assert names(model="other 0123456789ab") == ["Meter"]
    found = monitor.state(search="cam", limit=2)["devices"]
    assert (found["total"], found["found"], len(found["rows"])) == (5, 4, 2)


def test_the_rate_of_a_device_follows_its_frames() -> None:
    monitor, clock = make()
    served = FakeServed()
    for _ in range(400):
        clock.now += 0.1
        monitor.batch(served, [frame(served, "d")])
    assert monitor.state()["devices"]["rows"][0]["rate"] == pytest.approx(10, rel=0.03)
    clock.now += 30
    assert monitor.state()["devices"]["rows"][0]["rate"] < 0.05


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((3, 4, 5), (5, 3, 4)),
        ((2, 3, 4, 5), (5, 6, 4)),
        ((6, 7), (1, 6, 7)),
        ((9,), (1, 1, 9)),
        ((64,), (1, 1, 64)),
        ((256,), (1, 4, 64)),
        ((1000,), (1, 20, 50)),
        ((127,), (1, 1, 127)),
    ],
)
def test_tensors_of_any_rank_become_channels(shape: tuple[int, ...], grid: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    found = channel_grid(array)
    assert found.shape == grid
    if len(shape) == 3:
        assert all((found[c] == array[:, :, c]).all() for c in range(shape[2]))


def test_a_device_shows_its_features_and_its_answer() -> None:
    monitor, _ = make()
    served = FakeServed(shape=(4, 6, 3))
    levels = np.random.default_rng(0).integers(0, 4, served.shape).astype(np.uint8)
    received = np.ones(served.shape, bool)
    received[1:3] = False
    values = (0.0, 0.1, 0.6, 0.0, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0)
    monitor.batch(
        served, [frame(served, "cam", 9, levels=levels, received=received, values=values)]
    )
    found = monitor.device("cam")
    assert found is not None
    features = found["features"]
    assert (features["channels"], features["height"], features["width"]) == (3, 4, 6)
    assert features["values"] == [0.0, 1.0, 2.0, 3.0]
    sent = np.frombuffer(base64.b64decode(features["levels"]), np.uint8).reshape(3, 4, 6)
    assert all((sent[c] == levels[:, :, c]).all() for c in range(3))
    bits = np.unpackbits(np.frombuffer(base64.b64decode(features["received"]), np.uint8))
    assert bits[:72].reshape(3, 4, 6).any(axis=(0, 2)).tolist() == [True, False, False, True]
    assert found["outputs"]["count"] == 10
    assert [row["label"] for row in found["outputs"]["rows"]][:3] == ["zero", "one", "two"]
    assert found["outputs"]["rows"][2]["value"] == pytest.approx(0.6, abs=1e-6)
    assert found["answer"]["sequence"] == 9
    assert found["answer"]["concealed_share"] == 0.5
    json.dumps(found)


def test_large_features_and_answers_are_cut() -> None:
    monitor, _ = make()
    served = FakeServed(shape=(128, 128, 100), labels=(), outputs=[("scores", (1000,))])
    item = frame(served, "cam", levels=np.zeros(served.shape, np.uint8))
    scores = np.arange(1000, dtype=np.float32)[::-1] / 1000
    item[1].outputs = {"scores": scores}
    monitor.batch(served, [item])
    first, later = monitor.device("cam"), monitor.device("cam", 99)
    assert first is not None
    assert later is not None
    assert (first["features"]["first"], first["features"]["count"]) == (0, 16)
    assert (later["features"]["first"], later["features"]["count"]) == (96, 4)
    assert len(first["outputs"]["rows"]) == 24
    assert first["outputs"]["rows"][0] == {"index": 0, "label": "", "value": 0.999}
    assert len(json.dumps(first)) < 500_000


def test_one_huge_channel_is_thinned() -> None:
    monitor, _ = make()
    served = FakeServed(shape=(2048, 2048))
    monitor.batch(served, [frame(served, "cam", levels=np.zeros(served.shape, np.uint8))])
    found = monitor.device("cam")
    assert found is not None
    assert found["features"]["step"] == 4
    assert found["features"]["height"] * found["features"]["width"] <= 1 << 18


def test_names_are_cut_and_anything_goes_into_json() -> None:
    monitor, _ = make()
    served = FakeServed()
    name = "<b>\u202e\x00" + "x" * 1000
    monitor.batch(served, [frame(served, name, values=(float("nan"),) * 10)])
    text = json.dumps(monitor.state(), allow_nan=False)
    assert len(monitor.state()["devices"]["rows"][0]["name"]) == 128
    assert "NaN" not in text


def test_a_frame_costs_microseconds() -> None:
    """Far above what it takes (3 us), so that a busy machine does not fail it."""
    monitor = Monitor()
    served = FakeServed(shape=(16, 16, 32))
    levels = np.zeros((32, *served.shape), np.uint8)
    items = [frame(served, f"d{k}", levels=levels[k]) for k in range(32)]
    monitor.batch(served, items)
    best = 1.0
    for _ in range(30):
        start = time.perf_counter()
        monitor.batch(served, items)
        best = min(best, (time.perf_counter() - start) / 32)
    assert best < 20e-6
