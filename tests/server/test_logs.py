"""Logs as JSON lines and for people, repeats held back; spans of frames in memory."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from monitor_cases import Clock, FakeServed, frame

from isthmus.errors import ChecksumError, MissingExtraError
from isthmus.server.config import LogConfig
from isthmus.server.logs import RepeatLimit, configure_logs, reset_logs
from isthmus.server.tracing import FrameTracer, make_tracer
from isthmus.server.types import Origin, Timings


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Where the log goes; everything is as it was afterwards."""
    before = logging.getLogger().level
    yield io.StringIO()
    reset_logs()
    logging.getLogger().setLevel(before)


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_one_json_object(out: io.StringIO) -> None:
    configure_logs(LogConfig(), out)
    structlog.get_logger("isthmus.server").info("started", port=8080, device="a\nb\x1b[2J")
    (line,) = lines(out)
    assert (line["message"], line["level"], line["port"]) == ("started", "info", 8080)
    assert line["logger"] == "isthmus.server"
    assert line["device"] == "a\nb\x1b[2J"
    assert line["timestamp"].endswith("Z")
    assert out.getvalue().isascii()
    assert "\x1b" not in out.getvalue()


def test_libraries_log_in_the_same_form(out: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # as another uvicorn leaves it
    configure_logs(LogConfig(), out)
    logging.getLogger("uvicorn.error").info("Uvicorn running on %s", "http://127.0.0.1:1")
    logging.getLogger("uvicorn.access").info("GET / 200")
    (line,) = lines(out)
    assert line["message"] == "Uvicorn running on http://127.0.0.1:1"
    assert (line["logger"], line["level"]) == ("uvicorn.error", "info")


def test_an_exception_stays_in_its_line(out: io.StringIO) -> None:
    configure_logs(LogConfig(), out)
    try:
        raise ValueError("of the test")
    except ValueError:
        structlog.get_logger("isthmus.server").exception("broken")
    (line,) = lines(out)
    assert "ValueError: of the test" in line["exception"]


@pytest.mark.parametrize(
    ("level", "seen"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)]
)
def test_levels(out: io.StringIO, level: str, seen: int) -> None:
    configure_logs(LogConfig(level=level), out)
    log = structlog.get_logger("isthmus.server")
    for method in (log.debug, log.info, log.warning, log.error):
        method("event")
    assert len(lines(out)) == seen


def test_lines_for_people_hold_no_control_characters(out: io.StringIO) -> None:
    configure_logs(LogConfig(json_lines=False), out)
    structlog.get_logger("isthmus.server").warning("quarantine", device="cam\x1b[2J\n\u202eb")
    text = out.getvalue()
    assert "quarantine" in text
    assert "cam\\x1b[2J\\n\\u202eb" in text.replace("\\\\", "\\")
    assert "\x1b" not in text
    assert text.count("\n") == 1


def test_a_long_value_is_cut(out: io.StringIO) -> None:
    configure_logs(LogConfig(), out)
    structlog.get_logger("isthmus.server").info("event", device="x" * 100_000)
    assert lines(out)[0]["device"] == "x" * 2000 + "..."


def test_configuring_again_writes_once(out: io.StringIO) -> None:
    configure_logs(LogConfig(), io.StringIO())
    configure_logs(LogConfig(), out)
    structlog.get_logger("isthmus.server").info("event")
    assert len(lines(out)) == 1


def test_repeats_are_held_back_and_counted() -> None:
    clock = Clock(0.0)
    limit = RepeatLimit(burst=2, interval=10.0, clock=clock)

    def say(event: str, level: str = "warning", **more: Any) -> dict[str, Any] | None:
        try:
            return dict(limit(None, level, {"event": event, "level": level, **more}))
        except structlog.DropEvent:
            return None

    assert [say("refused", device=str(k)) is not None for k in range(5)] == [True, True] + [
        False
    ] * 3
    # other events, codes and levels have counts of their own
    assert say("other") is not None
    assert say("refused", code=8) is not None
    assert all(say("refused", "info") for _ in range(5))
    clock.now = 9.9
    assert say("refused") is None
    clock.now = 10.0
    told = say("refused")
    assert told is not None
    assert told["held_back"] == 4
    assert "held_back" not in (say("refused") or {})


def test_repeats_of_libraries_are_held_back_too(out: io.StringIO) -> None:
    configure_logs(LogConfig(), out)
    for _ in range(100):
        logging.getLogger("aiomqtt").warning("reconnecting to %s", "broker")
        structlog.get_logger("isthmus.server").warning("refused", code=8)
    assert [line["message"] for line in lines(out)] == ["reconnecting to broker", "refused"] * 5


def test_a_closed_pipe_stops_nothing() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    configure_logs(LogConfig(), Broken())
    try:
        structlog.get_logger("isthmus.server").info("event")
    finally:
        reset_logs()


def test_spans_hold_a_frame_and_its_parts(require_package: Callable[[str], None]) -> None:
    require_package("opentelemetry.sdk")
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    tracer = FrameTracer(exporter, wall=lambda: 5_000_000_000, at_once=True)
    served = FakeServed()
    times = Timings(queue=0.25, decode=0.5, compute=1.0, total=2.0)
    tracer.batch(served, [frame(served, "cam-1", 7, link="mqtt", timings=times)])
    tracer.refused(Origin("udp", "cam-2", "10.0.0.9:1"), ChecksumError("frame", "is wrong"))
    by_name = {span.name: span for span in exporter.get_finished_spans()[:4]}
    assert set(by_name) == {"frame", "queue", "decode", "compute"}
    whole = by_name["frame"]
    assert (whole.start_time, whole.end_time) == (3_000_000_000, 5_000_000_000)
    assert whole.attributes is not None
    assert whole.attributes["isthmus.device"] == "cam-1"
    assert whole.attributes["isthmus.model"] == "digits"
    assert whole.attributes["isthmus.sequence"] == 7
    at = 3_000_000_000
    for part, length in (("queue", 250), ("decode", 500), ("compute", 1000)):
        span = by_name[part]
        assert span.parent is not None
        assert span.parent.span_id == whole.context.span_id
        assert (span.start_time, span.end_time) == (at, at + length * 1_000_000)
        at += length * 1_000_000
    refused = exporter.get_finished_spans()[4]
    assert refused.status.status_code.name == "ERROR"
    assert refused.attributes is not None
    assert refused.attributes["isthmus.code"] == 8
    assert refused.attributes["network.peer.address"] == "10.0.0.9:1"
    tracer.close()


def test_spans_reach_a_collector(require_package: Callable[[str], None]) -> None:
    """A small HTTP server takes what is posted; it is read with the published schema."""
    require_package("opentelemetry.exporter.otlp.proto.http")
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            got.append((self.path, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            tracer = make_tracer(f"http://127.0.0.1:{server.server_address[1]}")
            assert tracer is not None
            served = FakeServed()
            tracer.batch(served, [frame(served, "cam-1")])
            tracer.close()
        finally:
            server.shutdown()
            thread.join(10)
    assert [path for path, _ in got] == ["/v1/traces"]
    sent = ExportTraceServiceRequest.FromString(got[0][1])
    names = [s.name for r in sent.resource_spans for c in r.scope_spans for s in c.spans]
    assert sorted(names) == ["compute", "decode", "frame", "queue"]


def test_no_collector_no_tracer() -> None:
    assert make_tracer("") is None


def test_opentelemetry_is_not_imported_until_it_is_asked_for(repo_root: Path) -> None:
    program = (
        "import sys; import isthmus.server.tracing as t; assert t.make_tracer('') is None; "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(repo_root / "host")}, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0


def test_without_the_extra_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingExtraError, match=r"isthmus\[otel\]"):
        make_tracer("http://127.0.0.1:4318")
