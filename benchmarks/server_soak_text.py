"""The section of RESULTS.md on the server's endurance."""

from __future__ import annotations

from typing import Any

from benchmarks.sections import markdown_table
from isthmus.errors import ERROR_TABLE

__all__ = ["section"]

_INTRODUCTION = """## The server for a long time

Written by `python -m benchmarks.server_soak`; the figures are in `results/server_soak.json`.
`isthmus serve` with the digits on {machine}, and {devices:,} simulated devices on the same cores:
{rate:g} frames a second in all for {seconds:g} seconds, most by HTTP, every tenth device by
UDP{mqtt}. 1 % of the frames are damaged and 1 % of an unknown digest; one device in a hundred
sends nothing but damaged frames, three a second, and is shut out for half a minute at a time."""


def section(result: dict[str, Any]) -> str:
    """What was sent, what came of it, and the memory."""
    names = {str(row.code): row.name for row in ERROR_TABLE}
    rows = [
        [f"answered, {link}", "", f"{count:,}"] for link, count in result["answered"].items()
    ]  # fmt: skip
    rows += [
        [f"refused, {code}", names.get(code, ""), f"{count:,}"]
        for code, count in result["refused"].items()
    ]
    rows.append(["no answer", "", f"{result['unanswered']:,}"])
    rows.append(["wrong answer or reason", "", f"{sum(result['wrong'].values()):,}"])
    rows.append(["sent", "", f"{sum(result['sent'].values()):,}"])
    agree = "are the same" if result["agree"] else "DIFFER"
    mqtt = " and every tenth by MQTT" if "mqtt" in result["sent"] else ""
    head = _INTRODUCTION.format(**{**result, "mqtt": mqtt})
    return (
        f"{head}\n\n{markdown_table(('frames', 'reason', 'count'), rows)}\n\n"
        f"The counts of the devices, of `/metrics` and of `/api/state` {agree}. From a frame's\n"
        f"due time to its answer: p50 {result['p50_ms']:.1f} ms, p99 {result['p99_ms']:.1f} ms."
        f" Resident memory of the\nserver: {result['rss_warm_mib']:.1f} MiB after"
        f" {result['warm_s']:g} s, {result['rss_end_mib']:.1f} MiB at the end:"
        f" {100 * result['growth']:+.1f} %."
    )
