"""Structured logs on standard error: JSON lines, or lines for people.

Every part of the server logs through ``structlog.get_logger("isthmus.server")``, and what libraries
send to :mod:`logging` comes out in the same form. A warning that repeats is written a few times and
then once an interval, with the number of those that were held back: a thousand broken devices must
not fill the disk.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from isthmus.server.config import LogConfig

__all__ = ["RepeatLimit", "configure_logs", "reset_logs"]

_KINDS = 1024
_TEXT = 2000


class RepeatLimit:
    """A structlog processor that drops warnings and errors which repeat.

    Of one event (its text, level and ``code``, where it has one) ``burst`` pass in ``interval``
    seconds; the first one after that carries ``held_back``, how many were dropped.
    """

    def __init__(
        self, burst: int = 5, interval: float = 10.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._interval = interval
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str, str], list[float]] = OrderedDict()

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """The event, or DropEvent."""
        level = str(event.get("level", method))
        held = self.admit(level, str(event.get("event")), str(event.get("code", "")))
        if held is None:
            raise structlog.DropEvent
        return {**event, "held_back": held} if held else event

    def admit(self, level: str, text: str, code: str = "") -> int | None:
        """None where the event is to be dropped, else how many like it were held back before."""
        if level not in ("warning", "error"):
            return 0
        key = (level, text[:200], code)
        now = self._clock()
        found = self._seen.get(key)
        if found is None or now - found[0] >= self._interval:
            self._seen[key] = [now, 1, 0]
            self._seen.move_to_end(key)
            if len(self._seen) > _KINDS:
                self._seen.popitem(last=False)
            return 0 if found is None else int(found[2])
        if found[1] < self._burst:
            found[1] += 1
            return 0
        found[2] += 1
        return None


def configure_logs(config: LogConfig, stream: TextIO | None = None) -> None:
    """Sets up structlog and :mod:`logging` for the process, on ``stream`` or standard error."""
    out = sys.stderr if stream is None else stream
    level = getattr(logging, config.level.upper())
    limit = RepeatLimit()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _shorten,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            limit,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _Handler(out)
    handler.addFilter(_LibraryLimit(limit))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta]
            + (_json_end() if config.json_lines else _people_end(out)),
        )
    )
    _remove_handler()
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.NOTSET)  # an application that embeds uvicorn may have set others
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)


def reset_logs() -> None:
    """Takes back what :func:`configure_logs` set up."""
    _remove_handler()
    logging.getLogger().setLevel(logging.WARNING)
    structlog.reset_defaults()


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that it can be found again."""

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk or a closed pipe: there is no better place to say so, and nothing stops."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _LibraryLimit(logging.Filter):
    """The repeat limit for what libraries log; our own events have passed theirs."""

    def __init__(self, limit: RepeatLimit) -> None:
        super().__init__()
        self._limit = limit

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, dict):
            return True
        held = self._limit.admit(record.levelname.lower(), record.getMessage(), record.name)
        if held:
            record.msg = f"{record.getMessage()} ({held} like it were held back)"
            record.args = ()
        return held is not None


def _remove_handler() -> None:
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(handler)


def _json_end() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(ensure_ascii=True, default=repr),
    ]


def _people_end(out: TextIO) -> list[Processor]:
    return [_printable, structlog.dev.ConsoleRenderer(colors=out.isatty())]


def _shorten(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """No value of a device's fills a line."""
    for key, value in event.items():
        if isinstance(value, str) and len(value) > _TEXT:
            event[key] = value[:_TEXT] + "..."
    return event


def _printable(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Devices' names may hold what a terminal would obey; JSON escapes it by itself."""

    def escaped(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)

    return {key: escaped(value) for key, value in event.items()}
