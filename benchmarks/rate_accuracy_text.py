"""The rate-accuracy benchmark's tables and plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.sections import markdown_table

if TYPE_CHECKING:
    from benchmarks.rate_accuracy import Reference, Row

__all__ = ["draw", "section"]

_COLOURS = {"uniform": "#2166ac", "ecsq": "#c2452d", "ecsq-zero": "#3a8a4d"}
_LINES = {"model": "-", "empirical": "--"}
_MARKS = {"model": "o", "empirical": "s"}
_NAMES = {"uniform": "uniform", "ecsq": "ECSQ, ends pinned", "ecsq-zero": "ECSQ, zero pinned"}


def section(rows: list[Row], references: list[Reference]) -> str:
    """The section of RESULTS.md."""
    parts = [_INTRODUCTION, _goal(rows, references)]
    for reference in references:
        of_cut = [r for r in rows if (r.network, r.stage) == (reference.network, reference.stage)]
        shape = "x".join(str(size) for size in reference.shape)
        share = 100 * reference.macs_device / reference.macs_whole
        parts.append(
            f"### {reference.network}, {reference.stage}: `{reference.cut}`, {shape}\n\n"
            f"{reference.inputs:,} test pictures, calibrated on {reference.calibration_inputs:,}. "
            f"Whole network {_percent(reference.accuracy_whole)}, int8 front without coding "
            f"{_percent(reference.accuracy_front_int8)}. The device does {share:.0f} % of the "
            f"{reference.macs_whole / 1e6:.2f} million multiply-accumulates.\n\n{_table(of_cut)}"
        )
    return "\n\n".join(parts)


_INTRODUCTION = """## Accuracy against bits per element

Written by `python -m benchmarks.rate_accuracy`; the figures are in `results/rate_accuracy.json`.

ResNet-8 on CIFAR-10, cut after stages 1, 2 and 3. The int8 front is the C of the firmware, built
for the workstation; every figure comes from frames that were encoded and decoded. `bit` is bits per
element with the header of 12 bytes, `payload` without it. Clip ranges start at zero. Accuracies are
in percent, differences in points against the whole network on the same pictures; the interval is
the paired 95 % interval of the centroid column. `centroid` puts back the mean of the calibration
values of each cell, `published` the values that the quantiser was made with (for the uniform one
the grid of the paper). ECSQ: rate term -log2 p, lambda = 2 ln 2 Var[Y] / N^2 (the default), in
squared units of the features per bit; `ECSQ, ends pinned` holds both clip ends as values,
`ECSQ, zero pinned` only zero (its clip range places the start alone).

![Accuracy against bits per element](results/rate_accuracy.svg)"""


def _goal(rows: list[Row], references: list[Reference]) -> str:
    """The line that was asked for: N = 8 after stage 2."""
    lines = ["### N = 8 after stage 2, against the same pictures without compression", ""]
    body = []
    for row in rows:
        if row.stage != "stage 2" or row.levels != 8:
            continue
        body.append(
            [
                row.network,
                f"{_NAMES[row.quantizer]}, {row.clip}",
                f"{row.bits_per_element:.3f}",
                _points(row.delta_centroid),
                "yes" if row.delta_centroid >= -0.01 else "NO",
                _points(row.delta_published),
                "yes" if row.delta_published >= -0.01 else "NO",
            ]
        )
    head = ["network", "quantiser, clip", "bit", "centroid", "within 1", "published", "within 1"]
    lines.append(markdown_table(head, body))
    return "\n".join(lines)


def _table(rows: list[Row]) -> str:
    head = ["quantiser, clip", "N", "c_max", "bit", "payload", "bytes", "centroid", "difference",
            "95 % interval", "published", "difference"]  # fmt: skip
    body = [
        [
            f"{_NAMES[row.quantizer]}, {row.clip}",
            str(row.levels),
            f"{row.c_max:.3f}",
            f"{row.bits_per_element:.3f}",
            f"{row.bits_per_element_payload:.3f}",
            f"{row.bytes_per_input:.0f}",
            _percent(row.accuracy_centroid),
            _points(row.delta_centroid),
            f"{_points(row.delta_low)} .. {_points(row.delta_high)}",
            _percent(row.accuracy_published),
            _points(row.delta_published),
        ]
        for row in rows
    ]
    return markdown_table(head, body)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _points(delta: float) -> str:
    return f"{100 * delta:+.2f}"


def draw(rows: list[Row], references: list[Reference]) -> str:
    """The plot as SVG: a panel for each network and cut, centroid values."""
    from isthmus_gen.evaluate.plots import new_figure, svg_text

    stages = list(dict.fromkeys(r.stage for r in references))
    networks = list(dict.fromkeys(r.network for r in references))
    figure, axes = new_figure(11.0, 3.4 * len(networks), len(networks), len(stages))
    for reference in references:
        axis = axes[networks.index(reference.network)][stages.index(reference.stage)]
        whole = 100 * reference.accuracy_whole
        axis.axhline(whole, color="black", linewidth=0.9, label="whole network")
        axis.axhline(whole - 1, color="black", linewidth=0.7, linestyle=":", label="1 point less")
        for quantizer, colour in _COLOURS.items():
            for clip, line in _LINES.items():
                own = [
                    r
                    for r in rows
                    if (r.network, r.stage) == (reference.network, reference.stage)
                    and (r.quantizer, r.clip) == (quantizer, clip)
                ]
                axis.plot(
                    [r.bits_per_element for r in own],
                    [100 * r.accuracy_centroid for r in own],
                    color=colour,
                    linestyle=line,
                    marker=_MARKS[clip],
                    markersize=3.5,
                    linewidth=1.2,
                    label=f"{_NAMES[quantizer]}, {clip} clip",
                )
        axis.set_title(f"{reference.network}, {reference.stage}", fontsize=10)
        axis.set_ylim(max(whole - 16, 0), whole + 2)
    for line in axes:
        line[0].set_ylabel("accuracy, %")
    for axis in axes[-1]:
        axis.set_xlabel("bit per element, header included")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return svg_text(figure, ink=None)
