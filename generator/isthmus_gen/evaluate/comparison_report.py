"""Several bundles on one page: the table, the plot, then each bundle's own report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus import __version__
from isthmus.bundle import Bundle
from isthmus.errors import OutputError
from isthmus_gen.evaluate import plots
from isthmus_gen.evaluate.comparison import Comparison, Row
from isthmus_gen.evaluate.comparison_plot import draw_comparison
from isthmus_gen.evaluate.html import Markup, join, page, paragraph, table
from isthmus_gen.evaluate.report import report_body, save_plots
from isthmus_gen.evaluate.report_parts import NONE, heading
from isthmus_gen.evaluate.statistics import Interval

__all__ = [
    "COMPARISON_HEAD",
    "COST_HEAD",
    "TEXT_COLUMNS",
    "comparison_table",
    "comparison_text",
    "render_comparison",
    "save_comparison_plots",
    "write_comparison",
]

COMPARISON_HEAD = ("bundle", "codec", "cut", "rung", "bytes / input", "bit / element", "of its own",
                   "accuracy", "against whole", "95 % interval", "same answer",
                   "device MACs")  # fmt: skip
"""Head of :func:`comparison_table`."""
COST_HEAD = ("flash, bytes", "RAM, bytes")
"""What is added to it with ``costs``."""
TEXT_COLUMNS = 4
"""So many columns, the first ones, are text."""


def comparison_table(rows: Sequence[Row], *, costs: bool = False) -> list[list[str]]:
    """Lines of :data:`COMPARISON_HEAD`; with ``costs`` flash and RAM on the device follow."""
    return [[*_line(row), *(_costs(row) if costs else ())] for row in rows]


def _line(row: Row) -> list[str]:
    many = row.macs_device
    return [
        row.name or "",
        {"rung": row.codec, "whole": "whole network", "rival": "the picture"}[row.kind],
        row.cut,
        row.setting,
        NONE if row.bytes_per_input is None else f"{row.bytes_per_input:,.1f}",
        _bits(row.bits_per_element),
        _bits(row.bits_per_element_sent),
        _percent(row.accuracy),
        NONE if row.delta is None else f"{100 * row.delta.delta:+.2f}",
        _interval(row.delta),
        _percent(row.agreement),
        f"{many / 1e6:,.2f} M" if many >= 1e5 else f"{many:,}",
    ]


def _costs(row: Row) -> list[str]:
    return [NONE if n is None else f"{n:,}" for n in (row.flash_bytes, row.ram_bytes)]


def _bits(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.2f} %"


def _interval(delta: Interval | None) -> str:
    return NONE if delta is None else f"{100 * delta.low:+.2f} to {100 * delta.high:+.2f}"


def comparison_text(comparison: Comparison) -> str:
    """What the table's columns mean, in one paragraph."""
    first = comparison.evaluations[0]
    text = (
        f"{first.model}, {first.inputs:,} inputs of {first.data}, the same for every line. "
        "Bytes are means of whole frames, headers included. Bits per element are counted for the "
        "network's own tensor at the cut, so that codecs compare; “of its own” is for the tensor "
        "that is sent, which for a bottleneck is a smaller one. “Against whole” is the difference "
        "to the whole network's accuracy on the same inputs, in points, with the paired interval "
        "of Agresti and Min."
    )
    if first.rivals and first.rivals[0].inputs != first.inputs:
        text += f" The picture itself was tried on the first {first.rivals[0].inputs:,} inputs."
    return text


def render_comparison(bundles: Sequence[Bundle], comparison: Comparison) -> str:
    """The page's text; the same arguments give the same text."""
    first = comparison.evaluations[0]
    title = f"{first.model}: {len(bundles)} bundles compared"
    figure = plots.svg_text(draw_comparison(comparison.rows), prefix="codecs-")
    links = (
        f'<a href="#bundle-{number}">{join([name])}</a>'
        for number, name in enumerate(comparison.names)
    )
    lines = table(
        [*COMPARISON_HEAD, *COST_HEAD],
        comparison_table(comparison.rows, costs=True),
        text_columns=TEXT_COLUMNS,
    )
    parts = [
        Markup(f"<h1>{join([title])}</h1>"),
        paragraph(f"Isthmus {__version__}", soft=True),
        paragraph(comparison_text(comparison)),
        *(paragraph(f"Note: {note}.") for note in _notes(comparison)),
        Markup(f'<div class="compact">{lines}</div>'),
        heading("Accuracy against bytes"),
        Markup(
            f'<figure class="wide">{figure}<figcaption>Every rung of every bundle; up and left is '
            "better. Grey: the whole network answers from the picture in other formats, with its "
            "quality beside it; what is far below every rung is not shown.</figcaption></figure>"
        ),
        heading("The bundles one by one"),
        paragraph(Markup(", ".join(links))),
    ]
    for number, (bundle, found) in enumerate(zip(bundles, comparison.evaluations, strict=True)):
        _, body = report_body(bundle, found, prefix=f"bundle-{number}-")
        name = paragraph(f"Bundle {comparison.names[number]}", soft=True)
        parts.append(Markup(f'<section class="bundle" id="bundle-{number}">{name}{body}</section>'))
    return page(title, join(parts))


def _notes(comparison: Comparison) -> list[str]:
    """Each note once."""
    return list(dict.fromkeys(note for found in comparison.evaluations for note in found.notes))


def write_comparison(path: str | Path, bundles: Sequence[Bundle], comparison: Comparison) -> None:
    """Writes the page to ``path``, a file of its own. Raises OutputError."""
    text = render_comparison(bundles, comparison)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            str(path), f"cannot be written ({error.strerror})", remedy="give another place"
        ) from error


def save_comparison_plots(comparison: Comparison, directory: str | Path) -> list[Path]:
    """``codecs.png`` in ``directory``, and each bundle's plots in a folder by its number.

    Raises OutputError.
    """
    folder = Path(directory)
    file = folder / "codecs.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(plots.png_bytes(draw_comparison(comparison.rows)))
    except OSError as error:
        raise OutputError(
            str(folder), f"cannot be written ({error.strerror})", remedy="give another place"
        ) from error
    written = [file]
    for number, found in enumerate(comparison.evaluations):
        written += save_plots(found, folder / f"bundle_{number}")
    return written
