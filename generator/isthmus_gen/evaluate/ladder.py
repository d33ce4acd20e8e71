"""How a ladder was chosen: the front of rate against loss, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isthmus_gen.evaluate import plots
from isthmus_gen.evaluate.html import Markup, join, paragraph, table
from isthmus_gen.evaluate.report_parts import NONE, heading

__all__ = ["draw_ladder", "front_rows", "ladder_section"]

FRONT_HEAD = ("quantiser and range", "rung", "N", "bit / element", "loss, %", "with margin, %",
              "answers changed, %", "divergence")  # fmt: skip
"""Head of :func:`front_rows`."""

_TITLES = {
    "accuracy": "accuracy lost, points",
    "changed": "answers changed, %",
    "error": "error of the outputs, %",
}


def front_rows(ladder: Mapping[str, Any]) -> list[list[str]]:
    """The points of the front, dearest first; rungs by their number."""
    return [
        [
            str(point["recipe"]).partition(", ")[2],
            NONE if point["rung"] is None else str(point["rung"]),
            str(point["levels"]),
            f"{point['bits_per_element']:.3f}",
            f"{100 * point['loss']:.2f}",
            f"{100 * point['bound']:.2f}",
            NONE if point["changed"] is None else f"{100 * point['changed']:.2f}",
            f"{point['divergence']:.2g}",
        ]
        for point in ladder["points"]
        if point["front"]
    ]


def ladder_section(report: Mapping[str, Any], prefix: str = "") -> Markup:
    """The section of report.html; empty for a ladder that was given by hand.

    ``prefix`` goes before every id of its plot.
    """
    ladder = report.get("ladder")
    if ladder is None:
        return Markup("")
    rows = front_rows(ladder)
    first = next((number for number, row in enumerate(rows) if row[1] == "0"), None)
    asked = ladder["max_loss"]
    rule = (
        "is the cheapest that cannot be told from the best"
        if asked is None
        else f"is the cheapest whose loss, with its margin, is at most {100 * asked:g} %"
    )
    figure = plots.svg_text(draw_ladder(ladder), prefix=f"{prefix}ladder-")
    return join(
        [
            heading("How the ladder was chosen"),
            paragraph(
                f"{ladder['candidates']} quantisers were tried on {ladder['inputs']:,} calibration "
                f"inputs; the {len(ladder['points'])} nearest to the front were measured on all of "
                "them with real frames, each on the half of the inputs that it was not made from. "
                f"Loss is the {ladder['measure_text']}; its margin is one standard error. Rung 0 "
                f"{rule}; the others lie on the front at nearly equal ratios of rate."
            ),
            table(FRONT_HEAD, rows, chosen=first),
            Markup(
                f'<div class="plots"><figure>{figure}<figcaption>Every quantiser that was '
                "measured, the front, and the rungs.</figcaption></figure></div>"
            ),
        ]
    )


def draw_ladder(ladder: Mapping[str, Any]) -> Any:
    """Loss and divergence against rate: every point measured, the front, the rungs."""
    points: Sequence[Mapping[str, Any]] = ladder["points"]
    front = [point for point in points if point["front"]]
    rungs = sorted((p for p in points if p["rung"] is not None), key=lambda p: int(p["rung"]))
    figure, axes = plots.new_figure(6.4, 5.6, rows=2)
    upper, lower = axes[0][0], axes[1][0]
    # what is far worse than the worst rung would flatten the rest
    top = 100 * max([0.01, *(p["bound"] for p in rungs), ladder["max_loss"] or 0.0]) * 1.35
    for axis, key, scale in ((upper, "loss", 100.0), (lower, "divergence", 1.0)):
        for some, label, style in (
            (points, "measured", {"color": plots.GREY, "marker": ".", "linestyle": ""}),
            (front, "front", {"color": plots.BLUE, "linewidth": 1.3}),
            (rungs, "rungs", {"color": plots.ORANGE, "marker": "o", "linestyle": ""}),
        ):
            axis.plot(
                [p["bits_per_element"] for p in some],
                [scale * p[key] for p in some],
                label=label,
                **style,
            )
        for point in rungs:
            axis.annotate(
                f"{point['rung']}",
                (point["bits_per_element"], scale * point[key]),
                xytext=(6, 4), textcoords="offset points", fontsize=10, fontweight="bold",
            )  # fmt: skip
        axis.set_xscale("log")
        _plain_ticks(axis)
    upper.errorbar(
        [p["bits_per_element"] for p in rungs],
        [100 * p["loss"] for p in rungs],
        yerr=[[0.0] * len(rungs), [max(0.0, 100 * (p["bound"] - p["loss"])) for p in rungs]],
        color=plots.ORANGE, linestyle="", capsize=3, linewidth=1.0, label="margin",
    )  # fmt: skip
    if ladder["max_loss"] is not None:
        upper.axhline(
            100 * ladder["max_loss"], color=plots.GREEN, linewidth=1.1, linestyle="--",
            label=f"--max-loss {100 * ladder['max_loss']:g}",
        )  # fmt: skip
    upper.set_ylim(min(0.0, 100 * min(p["loss"] for p in points)) - 0.05 * top, top)
    upper.set_ylabel(_TITLES[ladder["measure"]])
    lower.set_yscale("log")
    lower.set_ylabel("divergence, log scale")
    lower.set_xlabel("bit per element, headers included, log scale; rungs by number")
    upper.legend(fontsize=9, framealpha=0.0, loc="upper right")
    return figure


def _plain_ticks(axis: Any) -> None:
    """Rates as plain numbers, a few in each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
