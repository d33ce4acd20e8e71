"""A search as table, plot and page. Same result in, same bytes out."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from isthmus import __version__
from isthmus.errors import OutputError
from isthmus_gen.bottleneck.search.front import Point
from isthmus_gen.bottleneck.search.run import SearchResult
from isthmus_gen.evaluate import plots
from isthmus_gen.evaluate.html import Markup, code_block, join, page, paragraph, table
from isthmus_gen.evaluate.report_parts import NONE, heading

__all__ = [
    "EXCLUDED_HEAD",
    "HEAD",
    "PLOT",
    "chosen_text",
    "draw_search",
    "excluded_rows",
    "render_search",
    "search_rows",
    "search_text",
    "write_search",
]

HEAD = ("cut", "C", "s", "bytes", "bit / element", "accuracy", "loss", "RAM, bytes",
        "instructions, M", "")  # fmt: skip
"""Head of :func:`search_rows`; the last says whether a point is on the front."""
EXCLUDED_HEAD = ("cut", "C", "s", "RAM, bytes", "instructions, M", "not trained:")
"""Head of :func:`excluded_rows`."""
PLOT = "bottleneck_search.png"
"""The plot's file in the directory for plots."""
_COLOURS = (plots.BLUE, plots.ORANGE, plots.PURPLE, "#c4475e", "#8a8f3a", "#3aa0a8")
_MARKERS = "osD^vP*X"


def search_rows(result: SearchResult) -> list[list[str]]:
    """A line for each point that was trained, the fewest bytes first."""
    front = {point.candidate for point in result.front}
    rows = []
    for point in sorted(result.points, key=lambda p: (p.bytes, p.loss, p.candidate)):
        verdict = "front" if point.candidate in front else "dominated"
        if point.epochs < result.plan.epochs:
            verdict += f", {point.epochs} passes"
        if result.chosen is not None and point.candidate == result.chosen.candidate:
            verdict += ", chosen"
        rows.append(
            [
                *_names(point),
                f"{point.bytes:,.1f}",
                f"{point.bits:.3f}",
                NONE if (height := _height(result, point)) is None else f"{height:.2f} %",
                f"{100 * point.loss:+.2f}",
                *_device(point),
                verdict,
            ]
        )
    return rows


def excluded_rows(result: SearchResult) -> list[list[str]]:
    """A line for each candidate over the budget."""
    return [[*_names(one), *_device(one), one.reason] for one in result.excluded]


def _names(one: Any) -> list[str]:
    candidate = one.candidate
    return [candidate.cut, str(candidate.channels), str(candidate.stride)]


def _device(one: Any) -> list[str]:
    count = one.cost.instructions
    about = "" if one.cost.counted else "~"
    return [f"{one.cost.ram:,}", NONE if count is None else f"{about}{count / 1e6:.3f}"]


def _height(result: SearchResult, point: Point) -> float | None:
    """Accuracy, or agreement without labels, in per cent; None for outputs that are no classes."""
    value = point.accuracy if result.labelled else point.agreement
    return None if value is None else 100 * value


def search_text(result: SearchResult) -> str:
    """What the table's columns mean, in one paragraph."""
    what = "accuracy and loss (points of accuracy against the whole network's"
    if result.whole is not None:
        what += f" {100 * result.whole:.2f} %"
    what += ")"
    if not result.labelled:
        what = (
            "“accuracy” (answers that stay the whole network's) and loss (points of it)"
            if result.classes
            else "loss (relative error of the outputs, per cent)"
        )
    costs = [p.cost for p in result.points] + [one.cost for one in result.excluded]
    counted = all(cost.counted for cost in costs)
    how = "counted" if counted else "~: estimated"
    return (
        f"{result.held_out:,} of {result.inputs:,} inputs were held out for bytes, {what}, on "
        "float features. Bytes are means of whole frames, headers included; bits are counted for "
        "the elements of the network's own tensor at the cut. RAM is arena, encoder and frame "
        f"buffer; instructions are those of front half ({how}) and coder on "
        f"{result.plan.target}, for one input."
    )


def draw_search(result: SearchResult) -> Any:
    """Accuracy (agreement, or error) against bytes on a log axis: the front as a line.

    A colour and a marker for each cut; points on the front are filled. What is over the budget is
    not shown.
    """
    figure, axes = plots.new_figure(8.4, 4.8)
    axis = axes[0][0]
    front = {point.candidate for point in result.front}
    error = not (result.labelled or result.classes)

    def place(point: Point) -> tuple[float, float]:
        height = _height(result, point)
        return point.bytes, 100 * point.loss if height is None else height

    (line,) = axis.plot(
        *zip(*(place(point) for point in result.front), strict=True),
        color=plots.GREY, linewidth=1.6, zorder=1.5, label="front",
    )  # fmt: skip
    handles = [line]
    cuts = list(dict.fromkeys(point.candidate.cut for point in result.points))
    for number, cut in enumerate(cuts):
        colour = _COLOURS[number % len(_COLOURS)]
        marker = _MARKERS[number % len(_MARKERS)]
        some = [point for point in result.points if point.candidate.cut == cut]
        for point in some:
            filled = point.candidate in front
            axis.plot(
                *place(point), color=colour, marker=marker, markersize=7 if filled else 6,
                markerfacecolor=colour if filled else "none", linestyle="",
            )  # fmt: skip
            names = point.candidate
            axis.annotate(
                f"C={names.channels} s={names.stride}", place(point), fontsize=7.5,
                xytext=(-5, 7) if filled else (5, -11), ha="right" if filled else "left",
                textcoords="offset points",
            )  # fmt: skip
        (handle,) = axis.plot([], [], color=colour, marker=marker, linestyle="", label=cut)
        handles.append(handle)
    if result.whole is not None:
        handles.append(
            axis.axhline(
                100 * result.whole,
                color=plots.GREEN,
                linewidth=1.3,
                linestyle="--",
                label=f"whole network {100 * result.whole:.2f} %",
            )
        )
    axis.set_xscale("log")
    plots.plain_log_ticks(axis)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")  # 22.5 is not 22
    axis.margins(x=0.1, y=0.12)
    axis.set_xlabel("bytes per input, headers included, log scale (hollow: dominated)")
    if error:
        axis.set_ylabel("relative error of the outputs, %")
    else:
        axis.set_ylabel("accuracy, %" if result.labelled else "agreement with the whole network, %")
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    return figure


def chosen_text(result: SearchResult) -> str:
    """What is said of ``max_loss``; empty where it was not asked for."""
    limit = result.plan.max_loss
    if limit is None:
        return ""
    if result.chosen is None:
        best = min(result.points, key=lambda p: (p.loss, p.bytes))
        return (
            f"no point loses at most {limit:g}: the best, {best.candidate}, loses "
            f"{100 * best.loss:.2f}"
        )
    point = result.chosen
    return (
        f"the cheapest that loses at most {limit:g}: {point.candidate}, {point.bytes:,.1f} bytes, "
        f"loss {100 * point.loss:+.2f}"
    )


def render_search(result: SearchResult, folder: str = "") -> str:
    """The page's text; ``folder`` is where the trained networks are, for the commands."""
    title = f"{result.model}: bottlenecks searched"
    svg = plots.svg_text(draw_search(result), prefix="search-")
    lines, said = table(HEAD, search_rows(result), text_columns=1), chosen_text(result)
    parts = [
        Markup(f"<h1>{join([title])}</h1>"),
        paragraph(f"Isthmus {__version__}", soft=True),
        paragraph(search_text(result)),
        *([paragraph(f"{said[:1].upper()}{said[1:]}.")] if said else []),
        Markup(f'<div class="compact">{lines}</div>'),
        heading("Accuracy against bytes"),
        Markup(
            f'<figure class="wide">{svg}<figcaption>Filled: on the front, which no other point '
            "beats in both. Hollow: dominated. Candidates over the budget are not shown."
            "</figcaption></figure>"
        ),
    ]
    if result.excluded:
        parts += [
            heading("Over the budget"),
            Markup(f'<div class="compact">{table(EXCLUDED_HEAD, excluded_rows(result))}</div>'),
        ]
    parts.append(heading("Bundles of the front"))
    parts += [code_block(shlex.join(result.command(point, folder))) for point in result.front]
    return page(title, join(parts))


def write_search(
    result: SearchResult,
    out: Path,
    *,
    report: Path | None = None,
    plots_dir: Path | None = None,
    folder: str = "",
) -> list[Path]:
    """Writes JSON, and page and plot where they are asked for; what was written. OutputError."""
    text = json.dumps(result.as_dict(), indent=1, sort_keys=True, allow_nan=False) + "\n"
    files: list[tuple[Path, bytes]] = [(out, text.encode("ascii"))]
    if report is not None:
        files.append((report, render_search(result, folder).encode("utf-8")))
    if plots_dir is not None:
        files.append((plots_dir / PLOT, plots.png_bytes(draw_search(result))))
    for file, content in files:
        _write(file, content)
    return [file for file, _ in files]


def _write(file: Path, content: bytes) -> None:
    """Written aside, then renamed."""
    aside = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(file)
    except OSError as error:
        raise OutputError(
            str(file), f"cannot be written ({error.strerror})", remedy="give another place"
        ) from error
    finally:
        aside.unlink(missing_ok=True)
