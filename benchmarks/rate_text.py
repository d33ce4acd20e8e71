"""The rivals' comparison in tables and plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.sections import markdown_table

if TYPE_CHECKING:
    from benchmarks.rate import Reference
    from benchmarks.rate_points import Point

__all__ = ["draw", "front", "section"]

LOSS = 0.01
#: Curves in the order of tables and legends: colour, marker, line.
_CURVES = {
    "Isthmus neighbour + restorer": ("#7a0177", "*", "-"),
    "Isthmus neighbour": ("#c51b8a", "o", "-"),
    "Isthmus paper": ("#2166ac", "o", "-"),
    "HEVC on tiles": ("#1a1a1a", "s", "-"),
    "WebP on tiles": ("#3a8a4d", "s", "-"),
    "JPEG on tiles": ("#c2a52d", "s", "-"),
    "PNG of 8-bit tiles": ("#8c6d31", "X", "-"),
    "DeepCABAC (nncodec)": ("#d94801", "^", "-"),
    "zstd -19, dictionary": ("#6a51a3", "v", "-"),
    "zstd -19": ("#9e9ac8", "v", "--"),
    "range coder, order 0": ("#1c9099", "D", "--"),
    "PNG of levels": ("#b5793a", "P", "--"),
    "run-length": ("#878787", "<", "--"),
    "lz4": ("#bdbdbd", ">", "--"),
    "picture as WebP": ("#3a8a4d", "h", ":"),
    "picture as JPEG": ("#c2a52d", "h", ":"),
    "the input, fewer bits": ("#636363", "h", ":"),
}
_WHOLE = ("picture as WebP", "picture as JPEG", "the input, fewer bits")
_MOST_BITS = 3.0

_INTRODUCTION = """## Beside other codecs, on the same tensors

Written by `python -m benchmarks.rate`; every point is in `results/rate.json`.

The float features of the network at the cut go into every codec; loss is against the same network
without coding on the same inputs. Isthmus, zstd, lz4, run-length (Carra and Neglia), the range
coder (constriction), DeepCABAC (nncodec) and PNG code the same levels: N = 2..8, uniform steps
clipped by the model, at the 99.9th, 99th and 98th percentile, and ECSQ; the rivals every N at the
first clip and elsewhere the smallest N that keeps the limit. HEVC (x265 by ffmpeg, 4:0:0, 8 bit,
intra, preset slow, fixed QP), JPEG and WebP get the features as 8-bit tiles at two clip ranges;
between the settings about the limit of one point each is searched by halving, down to single steps.
All bytes of a single upload count: Isthmus's header of 12 bytes, HEVC's parameter sets (some 79
bytes), JPEG's tables. `without headers` leaves out what a receiver could be told once and for all.
Bits are for an element of the cut tensor, also where a picture is sent in its place. `±` is the
standard error of the loss (paired; the jackknife over inputs). A codec with more settings has more
chances to meet the limit by luck: where the error is near one point, so are the figures'
differences."""


def section(points: list[Point], references: list[Reference], missing: dict[str, str]) -> str:
    """The section of RESULTS.md."""
    parts = [_INTRODUCTION]
    if missing:
        parts.append("Absent in this run: " + ", ".join(sorted(missing)) + ".")
    parts.append(_summary(points, references))
    if equal := _equal_levels(points, references):
        parts.append(equal)
    for task in dict.fromkeys(r.task for r in references):
        parts += [_cut(r, _of(points, r)) for r in references if r.task == task]
        title = next(r.title for r in references if r.task == task)
        parts.append(f"![{title}](results/rate_{task}.svg)")
    return "\n\n".join(parts)


def _of(points: list[Point], reference: Reference) -> list[Point]:
    return [p for p in points if (p.task, p.cut) == (reference.task, reference.cut)]


def _codecs(points: list[Point]) -> list[str]:
    """Those that occur, in the order of the legend; unknown ones last."""
    found = list(dict.fromkeys(p.codec for p in points))
    return [n for n in _CURVES if n in found] + [n for n in found if n not in _CURVES]


def _summary(points: list[Point], references: list[Reference]) -> str:
    from benchmarks.rate import cheapest_within

    best = [cheapest_within(_of(points, reference), LOSS) for reference in references]
    body = []
    for codec in _codecs(points):
        line = [codec]
        for found in best:
            point = found.get(codec)
            line.append("-" if codec not in found else "none" if point is None
                        else f"{point.bits:.3f}")  # fmt: skip
        body.append(line)
    head = ["codec", *(f"{r.task} {r.cut}" for r in references)]
    return (
        "### Bits an element needed for at most one point lost\n\n"
        "The cheapest measured point, nothing interpolated; `none`: no setting keeps the limit.\n\n"
        + markdown_table(head, body)
    )


def _equal_levels(points: list[Point], references: list[Reference]) -> str:
    """``neighbour`` against ``paper`` at the same levels; nothing where there is no neighbour."""
    counts = list(range(2, 9))
    body = []
    for reference in references:
        bits: dict[tuple[str, str], float] = {
            (p.codec, p.setting): p.bits for p in _of(points, reference)
        }
        share = {
            setting: size / bits["Isthmus paper", setting]
            for (codec, setting), size in bits.items()
            if codec == "Isthmus neighbour" and ("Isthmus paper", setting) in bits
        }
        if not share:
            continue
        line = [reference.task, reference.cut]
        for count in counts:
            found = share.get(f"N {count}, uniform, model, published")
            line.append("-" if found is None else f"{found:.3f}")
        body.append([*line, f"{max(share.values()):.3f}"])
    if not body:
        return ""
    head = ["network", "cut", *(f"N = {count}" for count in counts), "most, all quantisers"]
    return (
        "### Equal levels: frames of `neighbour` over frames of `paper`, headers included\n\n"
        "Uniform steps, the model's clip.\n\n" + markdown_table(head, body)
    )


def _cut(reference: Reference, points: list[Point]) -> str:
    from benchmarks.rate import cheapest_within

    best = cheapest_within(points, LOSS)
    paper = best.get("Isthmus paper")
    body = []
    for codec in _codecs(points):
        point = best[codec]
        if point is None:
            body.append([codec, "none", "", "", "", "", ""])
            continue
        share = "" if paper is None else f"{point.bytes / paper.bytes:.2f}"
        body.append(
            [
                codec, point.setting, f"{point.bits:.3f}", f"{point.bytes:.0f}",
                f"{point.bytes_bare:.0f}", f"{100 * point.loss:+.2f} ± {100 * point.error:.2f}",
                share,
            ]
        )  # fmt: skip
    head = ["codec", "cheapest setting", "bit", "bytes", "without headers", "points lost",
            "of paper's"]  # fmt: skip
    shape = "x".join(str(size) for size in reference.shape)
    return (
        f"### {reference.title}: `{reference.cut}`, {shape}\n\n"
        f"{reference.inputs:,} inputs, calibrated on {reference.calibration_inputs:,}; "
        f"{reference.metric_name} of the whole network {100 * reference.metric:.2f} %.\n\n"
        + markdown_table(head, body)
    )


def front(points: list[Point]) -> list[Point]:
    """The points that no cheaper (or equally cheap) one of the list matches in accuracy."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.bytes, -p.metric)):
        if not kept or point.metric > kept[-1].metric:
            kept.append(point)
    return kept


def draw(points: list[Point], references: list[Reference]) -> dict[str, str]:
    """A plot for each network, by file name: a column for each cut, bits above, bytes below."""
    return {
        f"rate_{task}.svg": _draw_task(points, [r for r in references if r.task == task])
        for task in dict.fromkeys(r.task for r in references)
    }


def _draw_task(points: list[Point], references: list[Reference]) -> str:
    from isthmus_gen.evaluate.plots import new_figure, svg_text

    figure, axes = new_figure(max(7.5, 4.6 * len(references)), 8.6, 2, len(references))
    shown: dict[str, Any] = {}
    for column, reference in enumerate(references):
        own = _of(points, reference)
        above, below = axes[0][column], axes[1][column]
        for codec in _codecs(own):
            curve = front([p for p in own if p.codec == codec])
            if codec not in _WHOLE:
                shown[codec] = _plot(above, [p.bits for p in curve], curve, codec)
            shown[codec] = _plot(below, [p.bytes for p in curve], curve, codec)
        whole = 100 * reference.metric
        for axis in (above, below):
            shown["no coding"] = axis.axhline(whole, color="black", linewidth=1.0)
            limit = axis.axhline(whole - 100 * LOSS, color="black", linewidth=0.8, linestyle="--")
            shown["one point less"] = limit
            axis.set_ylim(max(whole - 14, 0), whole + 2.5)
        shape = "x".join(str(size) for size in reference.shape)
        above.set_title(f"{reference.title}\n{reference.cut}, {shape}", fontsize=10)
        above.set_xlim(0, _MOST_BITS)
        above.set_xlabel("bit per element, headers included (dearer points not shown)")
        below.set_xscale("log")
        below.set_xlabel("bytes per input, headers included (log scale)")
        _plain_ticks(below)
    for line in axes:
        line[0].set_ylabel(f"{references[0].metric_name}, %")
    order = [name for name in (*_CURVES, *shown) if name in shown]
    names = list(dict.fromkeys(order))
    figure.legend(
        [shown[name] for name in names], names, loc="outside lower center",
        ncols=3 if len(references) == 1 else 4, frameon=False, fontsize=8,
    )  # fmt: skip
    return svg_text(figure, ink=None)


def _plot(axis: Any, x: list[float], curve: list[Point], codec: str) -> Any:
    colour, marker, line = _CURVES.get(codec, ("#444444", ".", "-"))
    ours = codec.startswith("Isthmus")
    (handle,) = axis.plot(
        x, [100 * p.metric for p in curve], color=colour, marker=marker, linestyle=line,
        markersize=5 if ours else 3.5, linewidth=2.2 if ours else 1.1, zorder=3 if ours else 2,
        label=codec,
    )  # fmt: skip
    return handle


def _plain_ticks(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
