"""The loss benchmark's tables and plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.sections import markdown_table

if TYPE_CHECKING:
    from benchmarks.loss import Measured
    from isthmus_gen.loss import LossPoint

__all__ = ["draw", "section"]

_STYLES: dict[str, tuple[str, str, str]] = {
    "zero": ("#8c8c8c", "s", "zero"),
    "mean": ("#3a8a4d", "^", "mean"),
    "nearest": ("#2166ac", "o", "nearest row"),
    "fit": ("#c2452d", "D", "fit along the rows (ours)"),
    "caltec": ("#9061c2", "v", "CALTeC"),
    "restore": ("#d97706", "*", "restorer trained with losses"),
}
_PACKETS = {"slices": "packets", "channels": "4 rows of a channel"}

_INTRODUCTION = """## Accuracy against loss

Written by `python -m benchmarks.loss`; the figures are in `results/loss.json`.

Frames are cut into packets of at most 244 bytes that decode alone, go through a seeded
Gilbert-Elliott channel, and what arrives is decoded and concealed (`Decoder.decode_slices`). A
frame of which nothing arrives is answered, too. Losses are of packets, independent of one another
or in bursts of five on average, the channel running on from frame to frame. `packets` are ours: all
channels of a position are lost together. `4 rows of a channel` is the packet of the published
scheme (CALTeC, channel after channel) on the same levels: it needs a header for each of its many
packets, and is here to judge CALTeC where it can work; with ours it has no channel to copy from and
is `fit`. Accuracies are in percent, differences in points against the same frames without loss,
with the 95 % interval over pictures.

![Accuracy against loss](results/loss.svg)"""


def section(found: list[Measured]) -> str:
    """The section of RESULTS.md."""
    parts = [_INTRODUCTION]
    for entry in found:
        curves = entry.curves
        shape = "x".join(str(size) for size in entry.shape)
        mean, most = curves.packet_bytes
        other = (
            f"; {curves.packets['channels']:.0f} packets of 4 rows of a channel"
            if "channels" in curves.packets
            else ""
        )
        passes = f", {curves.repeats} passes each" if curves.repeats > 1 else ""
        parts.append(
            f"### {entry.network}: `{entry.cut}`, {shape}, N = {entry.levels}\n\n"
            f"{curves.inputs:,} test pictures{passes}. Without loss {100 * curves.accuracy:.2f} %. "
            f"Scheme `{entry.scheme}`: {curves.packets['slices']:.1f} packets a frame, {mean:.0f} "
            f"bytes on average and {most} at most, header included{other}.\n\n{_table(entry)}"
        )
    return "\n\n".join(parts)


def _table(entry: Measured) -> str:
    """A row for each kind of packet, burst and method, a column for each loss."""
    points = entry.curves.points
    losses = sorted({p.loss for p in points})
    keys = list(dict.fromkeys((p.packets, p.burst, p.method) for p in points))
    head = ["packets, losses", "concealment"]
    head += [f"{text}" for loss in losses for text in (f"{100 * loss:g} %", "difference")]
    body = []
    for packets, burst, method in keys:
        row = [f"{_PACKETS[packets]}, {_burst(burst)}", _STYLES[method][2]]
        for loss in losses:
            (point,) = [
                p
                for p in points
                if (p.packets, p.burst, p.method, p.loss) == (packets, burst, method, loss)
            ]
            row += [f"{100 * point.accuracy:.2f}", _difference(point)]
        body.append(row)
    return markdown_table(head, body)


def _burst(burst: float | None) -> str:
    return "independent" if burst is None else f"bursts of {burst:g}"


def _difference(point: LossPoint) -> str:
    half = 50 * (point.high - point.low)
    return f"{100 * point.delta:+.2f} ± {half:.2f}"


def draw(found: list[Measured]) -> str:
    """The plot as SVG: a row of panels for each network, one for each kind of packet and burst."""
    from isthmus_gen.evaluate.plots import svg_text

    return svg_text(figure(found), ink=None)


def figure(found: list[Measured]) -> Any:
    """The matplotlib figure."""
    from isthmus_gen.evaluate.plots import new_figure

    panels = list(dict.fromkeys((p.packets, p.burst) for p in found[0].curves.points))
    drawn, axes = new_figure(3.3 * len(panels), 3.3 * len(found), len(found), len(panels))
    lines: dict[str, Any] = {}
    for row, entry in zip(axes, found, strict=True):
        curves = entry.curves
        lowest = min(p.accuracy for p in curves.points)
        for axis, (packets, burst) in zip(row, panels, strict=True):
            if packets not in curves.packets:
                axis.set_visible(False)
                continue
            whole = 100 * curves.accuracy
            lines["no loss"] = axis.axhline(whole, color="black", linewidth=0.9)
            for method, (colour, mark, name) in _STYLES.items():
                own = sorted(
                    (100 * p.loss, 100 * p.accuracy)
                    for p in curves.points
                    if (p.packets, p.burst, p.method) == (packets, burst, method)
                )
                if own:
                    (lines[name],) = axis.plot(
                        [0.0, *(x for x, _ in own)], [whole, *(y for _, y in own)],
                        color=colour, marker=mark, markersize=4, linewidth=1.3,
                    )  # fmt: skip
            axis.set_ylim(100 * lowest - 2, whole + 2)
            axis.set_xticks([0, 5, 10, 20, 30])
            axis.set_title(f"{entry.network}, {_PACKETS[packets]},\n{_burst(burst)}", fontsize=9)
        row[0].set_ylabel("accuracy, %")
    for axis in axes[-1]:
        axis.set_xlabel("packets lost, %")
    drawn.legend(
        list(lines.values()), list(lines), loc="outside lower center", ncols=4, frameon=False,
        fontsize=9,
    )  # fmt: skip
    return drawn
