"""report.html: one file that says what was cut where, what it costs and what it is worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isthmus import __version__
from isthmus.bundle import Bundle, codec_name
from isthmus.errors import OutputError
from isthmus_gen.evaluate import plots
from isthmus_gen.evaluate.html import (
    Markup,
    card,
    definitions,
    join,
    page,
    paragraph,
    table,
)
from isthmus_gen.evaluate.ladder import ladder_section
from isthmus_gen.evaluate.picture_report import picture_files, picture_section
from isthmus_gen.evaluate.report_parts import (
    NONE,
    again_section,
    device_section,
    heading,
    quantisers_section,
    verify_section,
)
from isthmus_gen.evaluate.result import Evaluation
from isthmus_gen.evaluate.rungs import RungResult
from isthmus_gen.evaluate.statistics import Interval, percentiles

__all__ = ["render_report", "report_body", "save_plots", "write_report"]

_CAPTIONS = {
    "rate_accuracy": "Accuracy against the bits that were sent, for every rung of the ladder.",
    "bytes": "How many bytes one input needs: the share of inputs that need no more.",
    "features": "The device's features before the quantiser, with the chosen rung's cells.",
    "levels": "How often each level is sent: the flatter, the more bits.",
}


def write_report(
    path: str | Path,
    bundle: Bundle,
    evaluation: Evaluation | None = None,
    *,
    verify: Sequence[Mapping[str, Any]] | None = None,
    commands: Sequence[str] | None = None,
) -> None:
    """Writes the report of ``bundle`` to ``path`` (a file of its own, nothing is fetched).

    ``verify`` are the ``targets`` that ``isthmus verify --json`` prints, ``commands`` the lines
    that make all this again (default: from report.json). Raises OutputError.
    """
    text = render_report(bundle, evaluation, verify=verify, commands=commands)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            str(path), f"cannot be written ({error.strerror})", remedy="give another place"
        ) from error


def save_plots(evaluation: Evaluation, directory: str | Path) -> list[Path]:
    """Every plot as ``<name>.png`` in ``directory``, which is made where it is missing."""
    folder = Path(directory)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in plots.PLOTS.items():
            file = folder / f"{name}.png"
            file.write_bytes(plots.png_bytes(draw(evaluation)))
            written.append(file)
        for name, content in picture_files(evaluation).items():
            file = folder / name
            file.write_bytes(content)
            written.append(file)
    except OSError as error:
        raise OutputError(
            str(folder), f"cannot be written ({error.strerror})", remedy="give another place"
        ) from error
    return written


def render_report(
    bundle: Bundle,
    evaluation: Evaluation | None = None,
    *,
    verify: Sequence[Mapping[str, Any]] | None = None,
    commands: Sequence[str] | None = None,
) -> str:
    """The document's text; the same arguments give the same text."""
    title, body = report_body(bundle, evaluation, verify=verify, commands=commands)
    return page(title, body)


def report_body(
    bundle: Bundle,
    evaluation: Evaluation | None = None,
    *,
    verify: Sequence[Mapping[str, Any]] | None = None,
    commands: Sequence[str] | None = None,
    prefix: str = "",
) -> tuple[str, Markup]:
    """Title and content of a bundle's report; ``prefix`` keeps its ids apart from others'."""
    report: dict[str, Any] = json.loads(bundle.read("report.json"))
    place = bundle.profile.extra.get("bottleneck")
    cut = report["cut"] if place is None else place["cut"]
    title = f"{report['model']} cut at {cut}, {codec_name(bundle.profile)}"
    parts = [
        Markup(f"<h1>{join([title])}</h1>"),
        paragraph(
            f"Isthmus {__version__}, profile {report['digest'][:16]}, target {report['target']}",
            soft=True,
        ),
    ]
    if evaluation is not None:
        parts.append(_cards(evaluation))
    parts.append(_cut(report, place))
    if evaluation is not None:
        parts += [_paths(evaluation), _rungs(evaluation, report), _plots(evaluation, prefix)]
        parts += [picture_section(evaluation, prefix), _end_points(evaluation)]
    parts += [quantisers_section(report), ladder_section(report, prefix), device_section(report)]
    if verify is not None:
        parts.append(verify_section(verify))
    parts.append(again_section(report, evaluation, commands))
    return title, join(parts)


def _cards(evaluation: Evaluation) -> Markup:
    chosen = evaluation.chosen
    cards = []
    if chosen.accuracy_decoded is not None and evaluation.whole is not None:
        cards += [
            card(_percent(evaluation.whole), "accuracy of the whole network"),
            card(_percent(chosen.accuracy_decoded), "accuracy after coding and decoding"),
        ]
    elif chosen.agreement_decoded is not None:
        cards.append(card(_percent(chosen.agreement_decoded), "same answer as the whole network"))
    cards += [
        card(f"{chosen.bits_per_element:.3f}", "bit per element, headers included"),
        card(f"{chosen.bytes_per_input:,.0f} B", "sent per input"),
        card(
            f"{100 * evaluation.macs_device / max(1, evaluation.macs_whole):.0f} %",
            "of the multiply-accumulates on the device",
        ),
    ]
    return Markup(f'<div class="cards">{join(cards)}</div>')


def _cut(report: Mapping[str, Any], place: Mapping[str, Any] | None) -> Markup:
    shape = " x ".join(str(size) for size in report["tensor_shape"])
    share = 100 * report["macs_before"] / max(1, report["macs_total"])
    pairs = [
        ("Network", report["model"]),
        ("Cut tensor", report["cut"] if place is None else place["cut"]),
        *(
            []
            if place is None
            else [("Bottleneck", f"{place['channels']} channels, stride {place['stride']}")]
        ),
        ("Tensor", f"{shape} {report['tensor_dtype']}, {report['tensor_elements']:,} elements"),
        (
            "Work on the device",
            f"{report['macs_before']:,} of {report['macs_total']:,} multiply-accumulates "
            f"({share:.1f} %)",
        ),
        ("Calibration", f"{report['calibration_inputs']:,} inputs"),
        (
            "Features",
            f"{report['feature_min']:.4g} to {report['feature_max']:.4g}, mean "
            f"{report['feature_mean']:.4g}, variance {report['feature_variance']:.4g}",
        ),
        ("Profile", report["digest"]),
    ]
    notes = [paragraph(f"Note: {note}.") for note in report.get("notes", ())]
    return join([heading("What was cut where"), definitions(pairs), *notes])


def _paths(evaluation: Evaluation) -> Markup:
    halves, front, chosen = evaluation.halves, evaluation.front_int8, evaluation.chosen
    rows = [
        ["whole network", _percent(evaluation.whole), NONE, NONE, NONE, NONE],
        _path_row("both halves, float", halves.accuracy, halves.delta, halves.agreement, halves),
    ]
    if front is not None:
        rows.append(
            _path_row("int8 front half", front.accuracy, front.delta, front.agreement, front)
        )
    rows.append(
        _path_row(
            f"decoded, {chosen.setting}",
            chosen.accuracy_decoded,
            chosen.delta_decoded,
            chosen.agreement_decoded,
            chosen,
        )
    )
    head = ["path", "accuracy", "difference, points", "95 % interval", "same answer",
            "output error"]  # fmt: skip
    notes = [paragraph(f"Note: {note}.") for note in evaluation.notes]
    return join(
        [
            heading("Accuracy, step by step"),
            paragraph(
                f"{evaluation.inputs:,} inputs of {evaluation.data}. Differences are against the "
                "whole network on the same inputs, with the paired interval of Agresti and Min; "
                "output error is the relative root mean square of the outputs."
            ),
            table(head, rows, chosen=len(rows) - 1),
            *notes,
        ]
    )


def _path_row(
    name: str, accuracy: float | None, delta: Interval | None, agreement: float | None, path: Any
) -> list[str]:
    return [
        name,
        _percent(accuracy),
        NONE if delta is None else f"{100 * delta.delta:+.2f}",
        NONE if delta is None else f"{100 * delta.low:+.2f} to {100 * delta.high:+.2f}",
        _percent(agreement),
        f"{100 * float(path.output_error):.2g} %",
    ]


def _rungs(evaluation: Evaluation, report: Mapping[str, Any]) -> Markup:
    letter = "N" if evaluation.chosen.bound is None else "D"
    head = ["rung", letter, "quantiser", "accuracy", "difference, points", "same answer",
            "bit / element", "without header", "bytes / input", "p5 to p95", "clipped",
            "feature MSE"]  # fmt: skip
    rows = [_rung_row(rung) for rung in evaluation.rungs]
    return join(
        [
            heading("Rates, rung by rung"),
            paragraph(
                "The device may change the rung from frame to frame; the bundle holds them all. "
                f"Every figure comes from frames that were coded and decoded, {_headers(report)}."
            ),
            table(head, rows, chosen=0, text_columns=0),
        ]
    )


def _headers(report: Mapping[str, Any]) -> str:
    elements = max(1, int(report["tensor_elements"]))
    return f"headers counted (12 bytes are {96 / elements:.3f} bit per element here)"


def _rung_row(rung: RungResult) -> list[str]:
    spread = percentiles(rung.lengths)
    delta = rung.delta_decoded
    return [
        str(rung.rung),
        str(rung.levels if rung.bound is None else rung.bound),
        rung.quantizer,
        _percent(rung.accuracy_decoded),
        NONE if delta is None else f"{100 * delta.delta:+.2f}",
        _percent(rung.agreement_decoded),
        f"{rung.bits_per_element:.3f}",
        f"{rung.bits_per_element_payload:.3f}",
        f"{rung.bytes_per_input:,.1f}",
        f"{spread['p5']:,} to {spread['p95']:,}",
        f"{100 * rung.clip_fraction:.2f} %",
        f"{rung.feature_mse:.3g}",
    ]


def _plots(evaluation: Evaluation, prefix: str) -> Markup:
    figures = [
        Markup(
            f"<figure>{plots.svg_text(draw(evaluation), prefix=f'{prefix}{name}-')}"
            f"<figcaption>{join([_CAPTIONS[name]])}</figcaption></figure>"
        )
        for name, draw in plots.PLOTS.items()
    ]
    return join([heading("Plots"), Markup(f'<div class="plots">{join(figures)}</div>')])


def _end_points(evaluation: Evaluation) -> Markup:
    chosen = evaluation.chosen
    parts = [
        heading("The two end points"),
        paragraph(
            "A cut has to beat sending the input and running the whole network on the device. "
            f"All on the device: {evaluation.macs_whole:,} multiply-accumulates instead of "
            f"{evaluation.macs_device:,}, every weight in its flash, and an answer of "
            f"{evaluation.answer_bytes} byte{'s' if evaluation.answer_bytes > 1 else ''}."
        ),
    ]
    if not evaluation.rivals:
        parts.append(paragraph("The inputs are no pictures: no picture format was tried."))
        return join(parts)
    rows = [
        [
            rival.name,
            f"{rival.bytes_per_input:,.0f}",
            NONE if rival.bytes_without_tables is None else f"{rival.bytes_without_tables:,.0f}",
            _percent(rival.accuracy),
            _percent(rival.agreement),
        ]
        for rival in evaluation.rivals
    ]
    rows.append(
        [
            f"this cut, {chosen.setting}",
            f"{chosen.bytes_per_input:,.0f}",
            NONE,
            _percent(chosen.accuracy_decoded),
            _percent(chosen.agreement_decoded),
        ]
    )
    pictures = evaluation.rivals[0].inputs
    few = "" if pictures == evaluation.inputs else f"; the cut on all {evaluation.inputs:,}"
    head = ["sent", "bytes / input", "without tables", "accuracy", "same answer"]
    return join(
        [
            *parts,
            paragraph(
                f"Sending the picture: the whole network answers from what arrives, on the first "
                f"{pictures:,} inputs{few}. “Without tables” counts a JPEG's entropy-coded data "
                "alone, as if both ends knew the rest."
            ),
            table(head, rows, chosen=len(rows) - 1),
        ]
    )


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.2f} %"
