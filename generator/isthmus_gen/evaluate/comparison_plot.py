"""Accuracy against bytes of several bundles in one plot."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

from isthmus_gen.evaluate import plots
from isthmus_gen.evaluate.comparison import Row

__all__ = ["draw_comparison", "plot_comparison"]

_COLOURS = {"lightweight": plots.BLUE, "near-lossless": plots.ORANGE, "bottleneck": plots.PURPLE}
_MARKERS = "osD^vP*X"
_LINES = ("-", "--", ":", "-.")


def draw_comparison(rows: Sequence[Row]) -> Any:
    """Accuracy (agreement without labels) against bytes per input on a log axis.

    A line for each codec and cut: colours tell codecs apart, markers cuts. The whole network is a
    line across, the picture in other formats grey points.
    """
    figure, axes = plots.new_figure(8.4, 4.8)
    handles = plot_comparison(axes[0][0], rows)
    figure.legend(
        handles=handles, loc="outside upper center", ncols=3, fontsize=9, frameon=False
    )  # fmt: skip
    return figure


def plot_comparison(axis: Any, rows: Sequence[Row]) -> list[Any]:
    """The plot of :func:`draw_comparison` on an axis; the handles of its legend."""
    level = next((row.accuracy for row in rows if row.kind == "whole"), None)
    labelled = level is not None
    handles = []
    heights: list[float] = []
    cuts: list[str] = []
    drawn: dict[tuple[str, str], int] = {}
    for label, some in _series(rows).items():
        points = sorted(
            (row.bytes_per_input, value)
            for row in some
            if row.bytes_per_input is not None and (value := _height(row, labelled)) is not None
        )
        if not points:
            continue
        heights += [value for _, value in points]
        codec, cut = some[0].codec, some[0].cut
        if cut not in cuts:
            cuts.append(cut)
        again = drawn[codec, cut] = drawn.get((codec, cut), -1) + 1
        (handle,) = axis.plot(
            *zip(*points, strict=True),
            color=_COLOURS.get(codec, plots.GREEN),
            marker=_MARKERS[cuts.index(cut) % len(_MARKERS)],
            linestyle=_LINES[again % len(_LINES)],
            markersize=5.5, linewidth=1.5, label=label,
        )  # fmt: skip
        handles.append(handle)
    handles += _draw_rivals(axis, rows, labelled)
    if level is not None:
        handles.append(
            axis.axhline(
                100 * level,
                color=plots.GREEN,
                linewidth=1.3,
                label=f"whole network {100 * level:.2f} %",
            )
        )
    axis.set_xscale("log")
    plots.plain_log_ticks(axis)
    axis.margins(x=0.06, y=0.12)
    if heights and level is not None:
        # what is far worse than the worst rung would flatten the rest
        low, top = min(*heights, 100 * level), max(*heights, 100 * level)
        room = max(1.0, 0.15 * (top - low))
        axis.set_ylim(low - 2 * room, top + room)
    axis.set_xlabel("bytes per input, headers included, log scale")
    axis.set_ylabel("accuracy, %" if labelled else "agreement with the whole network, %")
    return handles


def _draw_rivals(axis: Any, rows: Sequence[Row], labelled: bool) -> list[Any]:
    """Grey points, a marker for each format, qualities beside them."""
    formats: dict[str, list[tuple[Row, float]]] = {}
    for row in rows:
        value = _height(row, labelled)
        if row.kind == "rival" and value is not None:
            formats.setdefault(row.setting.partition(" ")[0], []).append((row, value))
    handles = []
    for marker, (name, some) in zip(cycle("sD+x"), formats.items(), strict=False):
        (handle,) = axis.plot(
            [row.bytes_per_input for row, _ in some],
            [value for _, value in some],
            color=plots.GREY, marker=marker, markersize=6, linestyle="", zorder=1.5,
            label=f"the picture, {name}",
        )  # fmt: skip
        handles.append(handle)
        for row, value in some:
            axis.annotate(
                row.setting.partition(" ")[2], (row.bytes_per_input, value), xytext=(3, -8),
                color=plots.GREY, textcoords="offset points", fontsize=7,
            )  # fmt: skip
    return handles


def _height(row: Row, labelled: bool) -> float | None:
    value = row.accuracy if labelled else row.agreement
    return None if value is None else 100 * value


def _series(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rungs by the name of their line.

    Bottlenecks of one cut are one line: they differ by their size alone. Bundles of one codec and
    cut that are told apart by nothing else have their own names added.
    """
    bundles: dict[int, list[Row]] = {}
    for row in rows:
        if row.bundle is not None:
            bundles.setdefault(row.bundle, []).append(row)
    kinds: dict[tuple[str, str], list[list[Row]]] = {}
    for some in bundles.values():
        kinds.setdefault((some[0].codec, some[0].cut), []).append(some)
    out: dict[str, list[Row]] = {}
    for (codec, cut), several in kinds.items():
        label = f"{codec}, {cut}"
        if len(several) == 1 or codec == "bottleneck":
            out[label] = [row for some in several for row in some]
            continue
        for some in several:
            out[f"{label} ({some[0].name})"] = some
    return out
