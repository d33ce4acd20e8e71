"""Plots of an evaluation. Same figures in, same bytes out.

matplotlib is imported when a plot is drawn, without its global state (no pyplot). Inline SVG takes
the colour of the text around it (``currentColor``), so that a plot is readable on a light and on a
dark page; files on their own get a fixed ink.
"""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np

from isthmus.errors import MissingExtraError
from isthmus_gen.evaluate.result import Evaluation
from isthmus_gen.evaluate.rungs import RungResult

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PLOTS",
    "PURPLE",
    "draw_bytes",
    "draw_features",
    "draw_levels",
    "draw_rate_accuracy",
    "new_figure",
    "plain_log_ticks",
    "png_bytes",
    "svg_text",
]

_INK = "#123456"
"""Stands for the text's colour until the SVG is written."""
_PAPER_INK = "#24292f"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#3b82c4", "#d97706", "#2f9e6e", "#9061c2", "#9aa0a8"
_BLUE, _ORANGE, _GREEN, _PURPLE = BLUE, ORANGE, GREEN, PURPLE
_CYCLE = (_BLUE, _ORANGE, _GREEN, _PURPLE, "#c4475e", "#8a8f3a", "#3aa0a8", "#a86c4b")
#: Levels that bars still show apart.
_BARS = 32
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "isthmus",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
}
_INKED = (
    "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "grid.color", "text.color",
    "xtick.color", "ytick.color",
)  # fmt: skip


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """A figure of ``width`` x ``height`` inches and its axes [rows][columns]."""
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    figure.patch.set_alpha(0.0)
    for axis in axes.flat:
        axis.patch.set_alpha(0.0)
    return figure, axes


def svg_text(figure: Any, *, prefix: str = "", ink: str | None = "currentColor") -> str:
    """The figure as one ``<svg>`` element.

    ``prefix`` goes before every id, so that several plots may stand in one page. ``ink`` is the
    colour of text and axes; None gives a file to look at on its own: dark ink on white.
    """
    out = io.StringIO()
    _ink_text(figure, _INK)
    if ink is None:
        figure.patch.set(facecolor="white", alpha=1.0)
    with _style():
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(_INK, ink or _PAPER_INK)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def png_bytes(figure: Any, *, dpi: int = 110) -> bytes:
    """The figure as a PNG, dark ink on white."""
    out = io.BytesIO()
    _ink_text(figure, _PAPER_INK)
    figure.patch.set(facecolor="white", alpha=1.0)
    with _style():
        figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()


def draw_features(evaluation: Evaluation) -> Any:
    """Histogram of the device's features, with clip range and thresholds of the chosen rung."""
    rung = evaluation.chosen
    edges, counts = evaluation.histogram.edges, evaluation.histogram.counts
    used = np.flatnonzero(counts)
    figure, axes = new_figure(6.4, 3.6)
    axis = axes[0][0]
    share = counts / max(1, int(counts.sum()))
    axis.stairs(share, edges, fill=True, color=_BLUE, alpha=0.75, label="features")
    axis.set_yscale("log")
    low, high = rung.clip
    axis.axvspan(low, high, color=_GREEN, alpha=0.12, label=f"clip range {low:.3g} to {high:.3g}")
    inside = [t for t in rung.thresholds if edges[0] <= t <= edges[-1]]
    for number, threshold in enumerate(inside if len(inside) <= 64 else []):
        axis.axvline(
            threshold, color=_ORANGE, linewidth=1.1, linestyle="--",
            label=f"thresholds, {rung.setting}" if number == 0 else None,
        )  # fmt: skip
    if used.size:
        room = 0.02 * (edges[used[-1] + 1] - edges[used[0]])
        axis.set_xlim(min(edges[used[0]], low) - room, max(edges[used[-1] + 1], high) + room)
    axis.set_xlabel("feature value (units of the network)")
    axis.set_ylabel("share of elements, log scale")
    axis.legend(fontsize=9, framealpha=0.0)
    return figure


def draw_levels(evaluation: Evaluation) -> Any:
    """How often each level is sent, at every rung."""
    figure, axes = new_figure(6.4, 3.6)
    axis = axes[0][0]
    rungs = sorted(evaluation.rungs, key=lambda rung: rung.levels)
    most = max(rung.levels for rung in rungs)
    many = most > _BARS
    width = 0.8 / len(rungs)
    for number, rung in enumerate(rungs):
        share = rung.level_counts / max(1, int(rung.level_counts.sum()))
        look: dict[str, Any] = {
            "color": _CYCLE[number % len(_CYCLE)], "label": _rung_name(rung),
        }  # fmt: skip
        if many:  # bars would be too thin to be seen
            axis.stairs(share, np.arange(rung.levels + 1) - 0.5, baseline=None, **look)
            continue
        centre = np.arange(rung.levels) + (number - (len(rungs) - 1) / 2) * width
        axis.bar(centre, share, width, **look)
    if most <= 16:
        axis.set_xticks(range(most))
    if many:
        axis.set_yscale("log")
    axis.set_xlabel("level")
    axis.set_ylabel("probability" + (", log scale" if many else ""))
    axis.grid(axis="x", visible=False)
    axis.legend(fontsize=9, framealpha=0.0)
    return figure


def draw_rate_accuracy(evaluation: Evaluation) -> Any:
    """Accuracy (agreement where there are no labels) against bits per element, over the rungs.

    Beside it against bytes per input, on a log axis, with the picture itself as JPEG and WebP.
    """
    uploads = _uploads(evaluation)
    figure, axes = new_figure(9.6 if uploads else 6.4, 3.9, columns=2 if uploads else 1)
    axis = axes[0][0]
    labelled = evaluation.whole is not None
    rungs = sorted(evaluation.rungs, key=lambda rung: rung.bits_per_element)
    points = [
        (rung, rung.accuracy_decoded if labelled else rung.agreement_decoded) for rung in rungs
    ]
    known = [(rung, 100 * value) for rung, value in points if value is not None]
    axis.plot(
        [rung.bits_per_element for rung, _ in known],
        [value for _, value in known],
        color=_BLUE, marker="o", linewidth=1.6, label="decoded",
    )  # fmt: skip
    paper = sorted(
        (rung.bits_per_element_paper, value)
        for rung, value in known
        if rung.bits_per_element_paper is not None
    )
    if paper:
        axis.plot(
            *zip(*paper, strict=True), color=_INK, marker="x", linewidth=1.1, linestyle=":",
            label="the same levels, scheme paper",
        )  # fmt: skip
    for rung, value in known:
        axis.annotate(
            rung.setting, (rung.bits_per_element, value), xytext=(-6, 6),
            textcoords="offset points", fontsize=9, ha="right",
        )  # fmt: skip
    front = evaluation.front_int8
    lines = [
        ("whole network", evaluation.whole if labelled else None, _GREEN, "-"),
        (
            "int8 front, no coding",
            None if front is None else front.accuracy if labelled else front.agreement,
            _ORANGE,
            "--",
        ),
    ]
    for name, level, colour, style in lines:
        if level is not None:
            axis.axhline(
                100 * level, color=colour, linewidth=1.3, linestyle=style,
                label=f"{name} {100 * level:.2f} %",
            )  # fmt: skip
    axis.margins(x=0.12, y=0.15)
    axis.set_xlabel("bit per element, headers included")
    axis.set_ylabel("accuracy, %" if labelled else "agreement with the whole network, %")
    if not uploads:
        axis.legend(fontsize=9, framealpha=0.0, loc="best")
        return figure
    right = axes[0][1]
    right.plot(
        [rung.bytes_per_input for rung, _ in known],
        [value for _, value in known],
        color=_BLUE, marker="o", linewidth=1.6,
    )  # fmt: skip
    for number, (name, curve) in enumerate(uploads.items()):
        right.plot(
            *zip(*curve, strict=True), color=_CYCLE[(number + 2) % len(_CYCLE)], marker=".",
            linewidth=1.3, label=f"the picture as {name}",
        )  # fmt: skip
    right.set_xscale("log")
    plain_log_ticks(right)
    right.margins(x=0.12, y=0.15)
    right.set_xlabel("bytes per input, headers included")
    figure.legend(loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    return figure


def _uploads(evaluation: Evaluation) -> dict[str, list[tuple[float, float]]]:
    """(bytes per input, accuracy or agreement in per cent) of each kind of picture file."""
    out: dict[str, list[tuple[float, float]]] = {}
    for rival in evaluation.rivals:
        value = rival.accuracy if evaluation.whole is not None else rival.agreement
        if rival.quality is not None and value is not None:
            name = rival.name.split()[0]
            out.setdefault(name, []).append((rival.bytes_per_input, 100 * value))
    return {kind: sorted(points) for kind, points in out.items()}


def draw_bytes(evaluation: Evaluation) -> Any:
    """Share of inputs below a number of bytes, at every rung, and what rivals need on average."""
    figure, axes = new_figure(6.4, 4.0)
    axis = axes[0][0]
    rungs = sorted(evaluation.rungs, key=lambda rung: rung.levels)
    for number, rung in enumerate(rungs):
        lengths = np.sort(rung.lengths)
        share = np.arange(1, lengths.size + 1) / lengths.size
        axis.step(
            lengths, 100 * share, where="post", linewidth=1.8,
            color=_CYCLE[number % len(_CYCLE)], label=f"frames, {_rung_name(rung)}",
        )  # fmt: skip
    shown = [r for r in evaluation.rivals if r.quality in (None, 90, 50, 10)]
    for rival in shown:
        axis.axvline(rival.bytes_per_input, color=_INK, linewidth=0.9, linestyle=":")
        axis.annotate(
            rival.name, (rival.bytes_per_input, 101), xytext=(2, 0), rotation=90,
            textcoords="offset points", fontsize=8, va="top",
        )  # fmt: skip
    means = [rival.bytes_per_input for rival in shown]
    least = min([*means, *(int(rung.lengths.min()) for rung in rungs)])
    most = max([*means, *(int(rung.lengths.max()) for rung in rungs)])
    if most > 5 * max(least, 1.0):
        axis.set_xscale("log")
        plain_log_ticks(axis)
    note = " (dotted: the picture itself, mean of its files)" if shown else ""
    axis.set_xlabel(f"bytes per input{note}")
    axis.set_ylabel("inputs that need no more, %")
    axis.set_ylim(0, 103)
    figure.legend(
        loc="outside upper center", ncols=3 if len(rungs) > 3 else 4, fontsize=9, frameon=False
    )
    return figure


PLOTS = {
    "rate_accuracy": draw_rate_accuracy,
    "bytes": draw_bytes,
    "features": draw_features,
    "levels": draw_levels,
}
"""Every plot by name, in the order of the report."""


def _rung_name(rung: RungResult) -> str:
    return f"{rung.setting}, {rung.quantizer}"


def plain_log_ticks(axis: Any) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def _ink_text(figure: Any, ink: str) -> None:
    """Gives all text that has no colour of its own the ink's."""
    from matplotlib.colors import same_color
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if same_color(text.get_color(), "black") or same_color(text.get_color(), _INK):
            text.set_color(ink)


def _style() -> Any:
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise MissingExtraError(
            "matplotlib", "is not installed", remedy='pip install "isthmus[generate]"'
        ) from error
    style: Any = {**_STYLE, **dict.fromkeys(_INKED, _INK)}
    return rc_context(style)
