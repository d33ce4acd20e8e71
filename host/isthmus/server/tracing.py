"""OpenTelemetry spans of frames: a frame, and in it queue, decode and compute.

An extra (``pip install "isthmus[otel]"``), imported where ``log.otlp`` names a collector and
nowhere else; without one there is no tracer, and nothing is done for any frame. Spans are made
after the fact from the durations that every answer carries anyway. Sampling and batching are set by
OpenTelemetry's own environment variables (``OTEL_TRACES_SAMPLER`` and so on).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from isthmus.errors import IsthmusError, MissingExtraError
from isthmus.server.counts import Item, Served
from isthmus.server.types import Origin

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["FrameTracer", "make_tracer"]

_PARTS = ("queue", "decode", "compute")


def make_tracer(otlp: str) -> FrameTracer | None:
    """A tracer that sends to the OTLP/HTTP collector at ``otlp``; None for "".

    MissingExtraError where the extra is not installed.
    """
    if not otlp:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise MissingExtraError(
            "log.otlp", "needs OpenTelemetry", remedy='pip install "isthmus[otel]"'
        ) from error
    address = otlp.rstrip("/")
    if not address.endswith("/v1/traces"):
        address += "/v1/traces"
    return FrameTracer(OTLPSpanExporter(endpoint=address))


class FrameTracer:
    """Makes the spans. ``batch`` and ``refused`` are called as the monitor's are."""

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        wall: Callable[[], int] = time.time_ns,
        at_once: bool = False,
    ) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

        resource = Resource.create({"service.name": "isthmus"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        processor = SimpleSpanProcessor if at_once else BatchSpanProcessor
        self._provider.add_span_processor(processor(exporter))
        self._tracer = self._provider.get_tracer("isthmus.server")
        self._wall = wall

    def batch(self, generation: Served, items: Sequence[Item]) -> None:
        """Spans of answered frames, which end now."""
        from opentelemetry.trace import set_span_in_context

        end = self._wall()
        for origin, answer, _, _ in items:
            times = answer.timings
            begin = end - round(1e9 * times.total)
            span = self._tracer.start_span(
                "frame",
                start_time=begin,
                attributes={
                    **_attributes(origin),
                    "isthmus.model": generation.name,
                    "isthmus.version": generation.version,
                    "isthmus.device": answer.device or origin.name,
                    "isthmus.sequence": answer.sequence,
                    "isthmus.rung": answer.rung,
                    "isthmus.frame_bytes": answer.frame_bytes,
                    "isthmus.concealed": answer.concealed,
                    "isthmus.slices_lost": answer.slices_lost,
                },
            )
            if span.is_recording():
                context = set_span_in_context(span)
                at = begin
                for part in _PARTS:
                    until = at + round(1e9 * getattr(times, part))
                    self._tracer.start_span(part, context, start_time=at).end(until)
                    at = until
            span.end(end)

    def refused(self, origin: Origin, error: IsthmusError, model: str = "") -> None:
        """A span without length for a frame that was refused."""
        from opentelemetry.trace import Status, StatusCode

        now = self._wall()
        attributes: dict[str, Any] = {
            **_attributes(origin),
            "isthmus.device": origin.name,
            "isthmus.model": model,
            "error.type": error.name,
            "isthmus.code": error.code,
        }
        span = self._tracer.start_span("frame", start_time=now, attributes=attributes)
        span.set_status(Status(StatusCode.ERROR, str(error)))
        span.end(now)

    def close(self) -> None:
        """Sends what waits and ends."""
        self._provider.shutdown()


def _attributes(origin: Origin) -> dict[str, Any]:
    return {"isthmus.link": origin.link, "network.peer.address": origin.peer}
