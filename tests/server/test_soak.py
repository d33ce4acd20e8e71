"""The short form of `python -m benchmarks.server_soak`, and whether its checks can fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks import server_soak
from benchmarks.server_soak_devices import Crowd, Frame, Frames, Outcome, Tally
from benchmarks.server_soak_text import section
from served import Served

SECONDS = 15.0


def test_a_crowd_for_a_short_time(
    require_tool: Callable[[str], str], digits: Served, digits_data: Path, tmp_path: Path
) -> None:
    """300 devices over three links: everything answered or refused, counted alike by all three.

    Memory after five seconds still holds what is made once; a leak of a frame's bytes or of a task
    a frame would be some megabytes more.
    """
    require_tool("mosquitto")
    found = server_soak.soak(
        digits.path, digits_data / "digits_test.npz", tmp_path, 300, SECONDS, 150.0
    )
    assert found["wrong"] == {}
    assert found["unanswered"] == 0
    assert found["agree"], found["counts"]
    assert found["exit"] == 0
    assert found["growth"] < 0.08
    assert set(found["answered"]) == {"http", "mqtt", "udp"}
    assert sum(found["sent"].values()) >= SECONDS * (150 + 9)
    assert {"8", "92", "96"} == set(found["refused"])  # damaged, unknown digest, shut out
    assert server_soak.good(found, 0.08)
    assert "are the same" in section({"machine": "this machine", **found})


GOOD = {"growth": 0.01, "agree": True, "unanswered": 0, "wrong": {}}


@pytest.mark.parametrize(
    ("field", "value"),
    [("growth", 0.051), ("agree", False), ("unanswered", 1), ("wrong", {"good: busy": 1})],
)
def test_anything_amiss_is_no_success(field: str, value: Any) -> None:
    assert server_soak.good(GOOD)
    assert not server_soak.good({**GOOD, field: value})


def test_growth_is_seen() -> None:
    """A MiB every ten seconds, beginning at 100."""
    memory = [(float(at), 100.0 + at / 10) for at in range(601)]
    before, after = server_soak.growth_marks(memory, 60.0, 600.0)
    assert before == pytest.approx(100 + (60 + 27) / 10)
    assert after == pytest.approx(100 + (600 - 27) / 10)
    assert not server_soak.good({**GOOD, "growth": after / before - 1})


def test_what_a_frame_deserves() -> None:
    tally = Tally()

    def note(kind: str, outcome: Outcome) -> bool:
        before = sum(tally.wrong.values())
        tally.note("http", Frame(kind, 1, 7, b"", 3, 0.0), outcome)
        return sum(tally.wrong.values()) == before

    assert note("good", Outcome(0, 7, 3))
    assert not note("good", Outcome(0, 7, 4))
    assert not note("good", Outcome(0, 8, 3))
    assert not note("good", Outcome(96, name="quarantine"))
    assert note("bad", Outcome(8, name="checksum"))
    assert not note("bad", Outcome(0, 7, 3))
    assert not note("bad", Outcome(92, name="digest_unknown"))
    assert note("strange", Outcome(92, name="digest_unknown"))
    assert note("worst", Outcome(8))
    assert note("worst", Outcome(96))
    assert not note("worst", Outcome(0, 7, 3))
    assert sum(tally.answered.values()) == 5
    assert sum(tally.refused.values()) == 6


def test_a_frame_without_an_answer_is_missed(digits: Served, digits_data: Path) -> None:
    """A port where nobody answers: datagrams go nowhere, and the count says so."""
    frames = Frames(digits.path, digits_data / "digits_test.npz")
    crowd = Crowd(frames, 20, 10.0, {"http": 9, "udp": 9}, "digits")

    async def main() -> None:
        async with crowd._udp.open():
            await crowd._udp.prepare(1)
            crowd.tally.sent["udp"] += 1
            crowd._udp.send(frames.make("good", 1, 0, 0.0))
            await asyncio.sleep(0.1)

    asyncio.run(main())
    assert crowd.tally.unanswered == 1


def test_kinds_of_frames(digits: Served, digits_data: Path) -> None:
    frames = Frames(digits.path, digits_data / "digits_test.npz")
    good = frames.make("good", 3, 9, 0.0)
    assert digits.decoder.decode(good.data).sequence == 9
    bad, strange = frames.make("bad", 3, 9, 0.0), frames.make("strange", 3, 9, 0.0)
    assert [k for k in range(len(good.data)) if bad.data[k] != good.data[k]] == [len(good.data) - 1]
    assert [k for k in range(len(good.data)) if strange.data[k] != good.data[k]] == [4]


def test_the_recorded_run(repo_root: Path) -> None:
    found = json.loads((repo_root / "benchmarks" / "results" / "server_soak.json").read_text())
    assert found["devices"] == server_soak.DEVICES
    assert server_soak.good(found)
    assert sum(found["sent"].values()) >= found["rate"] * found["seconds"]
