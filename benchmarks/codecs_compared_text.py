"""The comparison of codecs in tables and plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.codecs_compared import CODECS, Found
from benchmarks.sections import markdown_table
from isthmus_gen.evaluate import Row, comparison_table
from isthmus_gen.evaluate.comparison_plot import plot_comparison
from isthmus_gen.evaluate.comparison_report import COMPARISON_HEAD, COST_HEAD

__all__ = ["LOSSES", "cheapest", "draw", "section"]

#: Points of accuracy that may be lost in the short table, as shares.
LOSSES = (0.01, 0.02)
_NONE = "–"


def section(found: Sequence[Found]) -> str:
    """RESULTS.md's section."""
    parts = [
        "## Three codecs on the same cuts\n\n"
        "Written by `python -m benchmarks.codecs_compared`. Every bundle is made by"
        " `isthmus generate --codec ...` for a Cortex-M4 and measured as `isthmus evaluate"
        " BUNDLE BUNDLE ...` measures it, on the same test inputs; bytes are means of whole frames,"
        " headers included. Bits per element count the network's own tensor at the cut; “of its"
        " own” is for the tensor that is sent, a smaller one for a bottleneck (C channels, stride"
        " S). “Against whole” is the difference to the whole network's accuracy on the same"
        " inputs, in points, with the paired interval of Agresti and Min. “The picture” is sent in"
        " place of features, and the whole network answers from what arrives."
    ]
    for one in found:
        shapes = ", ".join(
            f"{cut} {'x'.join(str(size) for size in shape)}" for cut, shape in one.shapes.items()
        )
        parts += [
            f"### {one.title}\n\n{one.inputs} test inputs, {one.calibration_inputs} for"
            f" calibration, {one.training_inputs:,} to train bottlenecks. Cuts: {shapes}.",
            "Fewest bytes per input at most so many points below the whole network, as measured:",
            _short(one),
            f"![accuracy against bytes](results/{_file(one)})",
            _long(one.rows),
        ]
    return "\n\n".join(parts)


def cheapest(rows: Iterable[Row], loss: float) -> Row | None:
    """The row of the fewest bytes whose accuracy is at most ``loss`` below the whole network's."""
    near = [
        row
        for row in rows
        if row.bytes_per_input is not None and row.delta is not None and row.delta.delta >= -loss
    ]
    return min(near, key=lambda row: row.bytes_per_input or 0.0, default=None)


def _short(found: Found) -> str:
    """Bytes of each codec at each cut, and of the best picture format."""
    body = []
    for loss in LOSSES:
        for cut in found.shapes:
            own = [row for row in found.rows if row.cut == cut]
            body.append(
                [
                    f"{100 * loss:g}",
                    cut,
                    *(_bytes([r for r in own if r.codec == codec], loss) for codec in CODECS),
                    _bytes([row for row in found.rows if row.kind == "rival"], loss),
                ]
            )
    return markdown_table(["points", "cut", *CODECS, "the picture"], body)


def _bytes(rows: Iterable[Row], loss: float) -> str:
    row = cheapest(rows, loss)
    return _NONE if row is None else f"{row.bytes_per_input:,.0f} ({row.setting})"


def _long(rows: Sequence[Row]) -> str:
    """Every line without the bundles' names, which say nothing more."""
    lines = comparison_table(rows, costs=True)
    return markdown_table([*COMPARISON_HEAD[1:], *COST_HEAD], [line[1:] for line in lines])


def draw(found: Sequence[Found]) -> dict[str, str]:
    """A plot for each network, by file name: a panel for each cut."""
    return {_file(one): _draw(one) for one in found}


def _file(found: Found) -> str:
    return f"codecs_{found.network}.svg"


def _draw(found: Found) -> str:
    from isthmus_gen.evaluate.plots import new_figure, svg_text

    cuts = list(found.shapes)
    figure, axes = new_figure(max(7.0, 4.4 * len(cuts)), 4.6, 1, len(cuts))
    handles = {}
    for axis, cut in zip(axes[0], cuts, strict=True):
        rows = [row for row in found.rows if row.kind != "rung" or row.cut == cut]
        for handle in plot_comparison(axis, rows):
            label = str(handle.get_label()).removesuffix(f", {cut}")
            handles.setdefault(label, handle)
        axis.set_title(f"{cut}, {'x'.join(str(size) for size in found.shapes[cut])}", fontsize=10)
        if axis is not axes[0][0]:
            axis.set_ylabel("")
    figure.legend(
        list(handles.values()), list(handles), loc="outside upper center",
        ncols=4, fontsize=9, frameon=False,
    )  # fmt: skip
    return svg_text(figure, ink=None)
