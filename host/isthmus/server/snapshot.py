"""What the dashboard shows, as JSON-ready data, worked out from a monitor's counts.

:func:`state` has these members (times in seconds since 1970, durations in ms; null: not known):

    time, uptime_s, ready, queue      of the server; ``queue`` is frames accepted, not yet answered
    frames, refused, slices_lost      in all
    models       [{name, version, shape, dtype, levels, labels, links, frames, bits_per_element,
                 slices_lost, concealed_share, clip: [{rung, first, last, calibrated}]}]; shares of
                 elements in the first and last cell over a minute, beside calibration's
    selected     the model whose series are given, "name version", or "" for all
    series       {seconds, frames, refused, bits, lost, concealed, latency_ms: {stage: {p50, p99}}},
                 lists with an entry for each of the last 120 whole seconds, oldest first
    minute       {frames_per_s, refused_per_s, bits_per_element, latency_ms: {stage: {p50, p90,
                 p99}}} of the last minute, or since the start
    refusals     [{model, code, name, text, count}], the most frequent first
    last_refusals, answers            the last ones, newest first
    devices      {total, found, strangers, sort, descending, rows: [...]}: the rows that ``search``,
                 ``sort`` and ``limit`` ask for

:func:`device` gives a device's row and, of its frame kept last,

    features     {height, width, channels, first, step, levels, received, values}: ``levels`` is
                 base64 of uint8 [channels from first, height, width], ``received`` base64 of bits
                 of the same elements, or null where all arrived; ``step`` > 1 where only every
                 step-th row and column is given
    outputs      {name, count, rows: [{index, label, value}]}, all or the largest

to which the page's server adds ``picture``: whether ``/api/picture?name=`` has one of that frame.
"""

from __future__ import annotations

import base64
import heapq
import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import ERROR_TABLE
from isthmus.server.counts import HISTORY, STAGES, ModelCounts
from isthmus.server.histogram import SECONDS
from isthmus.server.monitor import Device, Kept, Monitor
from isthmus.server.types import Answer

__all__ = ["SORTS", "channel_grid", "device", "state"]

_MINUTE = 60
_OUTPUT_ROWS = 24
_ROW = 64
_FEATURE_BYTES = 1 << 18
_DIGITS = re.compile("([0-9]+)")
_TEXTS = {row.code: row.text for row in ERROR_TABLE}

SORTS = (
    "name", "model", "link", "rate", "frames", "bits", "latency", "lost", "concealed", "refused",
    "seen",
)  # fmt: skip
"""Columns that devices can be sorted by."""


def state(
    monitor: Monitor,
    *,
    model: str = "",
    sort: str = "name",
    descending: bool = False,
    search: str = "",
    limit: int = 100,
) -> dict[str, Any]:
    """The server as the dashboard shows it."""
    now = monitor.clock()
    second = int(now)
    known = {f"{name} {version}": counts for (name, version), counts in monitor.models.items()}
    selected = model if model in known else ""
    chosen = [known[selected]] if selected else list(known.values())
    wall = monitor.wall()
    service = monitor.service
    sums, stages = _summed(chosen, second)
    if not selected:
        sums[:, 4] += monitor.lost_unanswered.last(second)[:, 0]
    refused = monitor.refusals.last(second)[:, 0]
    seconds = max(1, min(_MINUTE, second - int(monitor.begun)))
    return {
        "time": wall,
        "uptime_s": wall - monitor.started,
        "ready": None if service is None else service.ready,
        "queue": None if service is None else service.waiting,
        "frames": sum(counts.frames for counts in known.values()),
        "refused": sum(monitor.failures.values()),
        "slices_lost": sum(c.slices_lost for c in known.values()) + monitor.lost_total,
        "models": [_model(counts, second, seconds) for counts in known.values()],
        "selected": selected,
        "series": _series(sums, stages, refused),
        "minute": _minute(sums[-_MINUTE:], stages[-_MINUTE:], refused[-_MINUTE:], seconds),
        "refusals": _refusals(monitor),
        "last_refusals": [one._asdict() for one in reversed(monitor.refused_last)],
        "answers": [
            {"time": at, "link": link, **_answer(answer), "device": name}
            for at, name, link, answer in reversed(monitor.answers)
        ],
        "devices": _devices(monitor, now, selected, sort, descending, search, limit),
    }


def device(monitor: Monitor, name: str, first: int = 0) -> dict[str, Any] | None:
    """A device's counts, features and answer; None where it is not known."""
    found = monitor.devices.get(name) or monitor.strangers.get(name)
    if found is None:
        return None
    out = {**_row(found, monitor.clock()), "first_seen": found.first, "answer": None}
    kept = monitor.kept(name)
    if kept is not None:
        out["time"] = kept.time
        out["answer"] = _answer(kept.answer)
        out["features"] = _features(kept, first)
        out["outputs"] = _outputs(kept)
    return out


def channel_grid(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``array`` as channels [channels, height, width]; the last axis counts channels.

    Tensors of rank 4 have their first two axes stacked; one of rank 2 is one channel, and so is one
    of rank 1, in rows of at most 64 elements where its length can be parted so.
    """
    if array.ndim >= 3:
        return np.moveaxis(array.reshape(-1, *array.shape[-2:]), -1, 0)
    width = array.shape[-1] if array.ndim else 1
    if array.ndim == 1 and width > _ROW:
        width = next((k for k in range(_ROW, 7, -1) if width % k == 0), width)
    return array.reshape(1, -1, width)


def _summed(
    chosen: Iterable[ModelCounts], second: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    sums = np.zeros((HISTORY, 5))
    stages = np.zeros((HISTORY, len(STAGES), SECONDS.buckets), np.int64)
    for counts in chosen:
        sums += counts.sums(second)
        stages += counts.stages(second)
    return sums, stages


def _series(
    sums: npt.NDArray[np.float64], stages: npt.NDArray[np.int64], refused: npt.NDArray[np.int64]
) -> dict[str, Any]:
    times = SECONDS.percentiles(stages, (0.5, 0.9, 0.99)) * 1000
    return {
        "seconds": HISTORY,
        "frames": _numbers(sums[:, 0]),
        "refused": _numbers(refused),
        "bits": _numbers(_ratio(sums[:, 1], sums[:, 2]), 4),
        "lost": _numbers(sums[:, 4]),
        "concealed": _numbers(_ratio(sums[:, 3], sums[:, 2]), 5),
        "latency_ms": {
            stage: {
                share: _numbers(times[:, k, at], 4)
                for at, share in enumerate(("p50", "p90", "p99"))
            }
            for k, stage in enumerate(STAGES)
        },
    }


def _minute(
    sums: npt.NDArray[np.float64],
    stages: npt.NDArray[np.int64],
    refused: npt.NDArray[np.int64],
    seconds: int,
) -> dict[str, Any]:
    times = SECONDS.percentiles(stages.sum(axis=0), (0.5, 0.9, 0.99)) * 1000
    total = sums.sum(axis=0)
    return {
        "frames_per_s": float(total[0]) / seconds,
        "refused_per_s": float(refused.sum()) / seconds,
        "bits_per_element": _number(_ratio(total[1:2], total[2:3])[0], 4),
        "concealed_share": _number(_ratio(total[3:4], total[2:3])[0], 6),
        "latency_ms": {
            stage: dict(zip(("p50", "p90", "p99"), _numbers(times[k], 4), strict=True))
            for k, stage in enumerate(STAGES)
        },
    }


def _model(counts: ModelCounts, second: int, seconds: int) -> dict[str, Any]:
    served = counts.served
    tensor = served.profile.tensor
    total = counts.sums(second, _MINUTE).sum(axis=0)
    return {
        "name": served.name,
        "version": served.version,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "levels": [rung.levels for rung in served.profile.rungs],
        "packets": None if served.profile.packets is None else served.profile.packets.bytes,
        "slices": served.profile.slices,
        "labels": len(served.labels),
        "outputs": [{"name": name, "shape": list(shape)} for name, shape in served.outputs],
        "links": counts.links,
        "frames": counts.frames,
        "frames_per_s": float(total[0]) / seconds,
        "bits_per_element": _number(_ratio(total[1:2], total[2:3])[0], 4),
        "concealed_share": _number(_ratio(total[3:4], total[2:3])[0], 6),
        "slices_lost": counts.slices_lost,
        "clip": [
            {
                "rung": rung,
                "first": first,
                "last": last,
                "calibrated_first": None if calibrated is None else calibrated[0],
                "calibrated_last": None if calibrated is None else calibrated[1],
            }
            for rung, ((first, last), calibrated) in enumerate(
                zip(counts.cells(second), counts.calibrated, strict=True)
            )
        ],
    }


def _refusals(monitor: Monitor) -> list[dict[str, Any]]:
    most = sorted(monitor.failures.items(), key=lambda entry: (-entry[1], entry[0]))
    return [
        {"model": model, "code": code, "name": name, "text": _TEXTS.get(code, ""), "count": count}
        for (model, code, name), count in most
    ]


def _devices(
    monitor: Monitor,
    now: float,
    selected: str,
    sort: str,
    descending: bool,
    search: str,
    limit: int,
) -> dict[str, Any]:
    sort = sort if sort in SORTS else "name"
    rows: Iterable[Device] = [*monitor.devices.values(), *monitor.strangers.values()]
    if selected:
        rows = [one for one in rows if f"{one.model} {one.version}" == selected]
    if word := search.casefold():
        rows = [one for one in rows if _has(one, word)]
    found = list(rows)
    pick = heapq.nlargest if descending else heapq.nsmallest
    first = pick(limit, found, key=lambda one: (_sort_value(one, sort, now), one.name))
    return {
        "total": len(monitor.devices) + len(monitor.strangers),
        "found": len(found),
        "sort": sort,
        "descending": descending,
        "rows": [_row(one, now) for one in first],
    }


def _has(one: Device, word: str) -> bool:
    label = one.top.label if one.top else ""
    text = f"{one.name}\n{one.model} {one.version}\n{one.link}\n{label}\n{one.error}"
    return word in text.casefold()


def _sort_value(one: Device, sort: str, now: float) -> Any:
    if sort == "name":  # cam-9 before cam-10
        return _natural(one)
    if sort == "rate":
        return one.frames_a_second(now)
    if sort == "latency":
        return one.seconds
    if sort == "lost":
        return one.slices_lost
    if sort == "concealed":
        return one.concealed / one.elements if one.elements else 0.0
    return getattr(one, sort)


def _natural(one: Device) -> list[str | int]:
    """Texts and numbers in turn: runs of ASCII digits compare as numbers. Worked out once."""
    if one.order is None:
        parts = _DIGITS.split(one.name)
        one.order = [int(part) if k % 2 else part for k, part in enumerate(parts)]
    return one.order


def _row(one: Device, now: float) -> dict[str, Any]:
    return {
        "name": one.name,
        "link": one.link,
        "model": one.model,
        "version": one.version,
        "seen": one.seen,
        "rate": round(one.frames_a_second(now), 3),
        "frames": one.frames,
        "bits": round(one.bits, 4),
        "latency_ms": round(one.seconds * 1000, 4),
        "slices_lost": one.slices_lost,
        "concealed_share": one.concealed / one.elements if one.elements else 0.0,
        "refused": one.refused,
        "error": one.error,
        "sequence": one.sequence,
        "rung": one.rung,
        "top": None
        if one.top is None
        else {
            "index": one.top.index,
            "label": one.top.label,
            "value": _number(one.top.value, 6),
        },
    }


def _answer(answer: Answer) -> dict[str, Any]:
    times = answer.timings
    return {
        "model": answer.model,
        "version": answer.version,
        "device": answer.device,
        "sequence": answer.sequence,
        "rung": answer.rung,
        "bits_per_element": round(answer.bits_per_element, 4),
        "frame_bytes": answer.frame_bytes,
        "concealed_share": answer.concealed / answer.elements if answer.elements else 0.0,
        "slices_lost": answer.slices_lost,
        "timings_ms": {stage: round(getattr(times, stage) * 1000, 4) for stage in STAGES},
        "top": [
            {"index": one.index, "label": one.label, "value": _number(one.value, 6)}
            for one in answer.top[:3]
        ],
    }


def _features(kept: Kept, first: int) -> dict[str, Any]:
    grid = channel_grid(kept.levels)
    channels, height, width = grid.shape
    step = max(1, math.ceil(math.sqrt(height * width / _FEATURE_BYTES)))
    most = max(1, _FEATURE_BYTES // max(1, -(-height // step) * -(-width // step)))
    first = max(0, min(first, channels - 1)) // most * most
    part = grid[first : first + most, ::step, ::step]
    received = None
    if kept.received is not None and not kept.received.all():
        bits = channel_grid(kept.received)[first : first + most, ::step, ::step]
        received = _base64(np.packbits(bits))
    return {
        "channels": channels,
        "height": part.shape[1],
        "width": part.shape[2],
        "first": first,
        "count": len(part),
        "step": step,
        "shape": list(kept.levels.shape),
        "levels": _base64(part),
        "received": received,
        "values": [float(v) for v in kept.served.profile.rungs[kept.answer.rung].values],
    }


def _outputs(kept: Kept) -> dict[str, Any]:
    labels = kept.served.labels
    name = kept.served.outputs[0][0] if kept.served.outputs else ""
    if kept.output is None:
        top = kept.answer.top
        rows = [{"index": t.index, "label": t.label, "value": _number(t.value, 6)} for t in top]
        return {"name": name, "count": None, "rows": rows}
    flat = kept.output.reshape(-1)
    index = np.arange(len(flat))
    if len(flat) > _OUTPUT_ROWS:
        index = np.argsort(-flat, kind="stable")[:_OUTPUT_ROWS]
    rows = [
        {
            "index": i,
            "label": labels[i] if i < len(labels) else "",
            "value": _number(float(flat[i]), 6),
        }
        for i in index.tolist()
    ]
    return {"name": name, "count": len(flat), "rows": rows}


def _base64(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """part / whole, NaN where there is nothing."""
    out = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def _number(value: float, digits: int = 3) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def _numbers(values: npt.NDArray[Any], digits: int = 3) -> list[float | None]:
    return [_number(value, digits) for value in values.tolist()]
