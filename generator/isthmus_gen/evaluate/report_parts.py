"""The report's sections that need no evaluation: quantisers, device, verification, commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from isthmus_gen.evaluate.html import Markup, code_block, definitions, join, paragraph, table
from isthmus_gen.evaluate.result import Evaluation

__all__ = [
    "NONE",
    "again_section",
    "device_section",
    "heading",
    "quantisers_section",
    "verify_section",
]

NONE = "–"
"""Stands where there is no figure."""


def heading(text: str) -> Markup:
    """A section's heading."""
    return Markup(f"<h2>{join([text])}</h2>")


def quantisers_section(report: Mapping[str, Any]) -> Markup:
    """The quantiser of each rung."""
    rows = []
    for number, rung in enumerate(report["rungs"]):
        details = rung.get("quantizer_details", {})
        lam = details.get("lambda")
        values = ", ".join(f"{value:.3g}" for value in rung["values"][:8])
        rows.append(
            [
                str(number),
                str(rung["levels"]),
                rung["quantizer"],
                rung["clip_rule"],
                f"{rung['clip_min']:.4g} to {rung['clip_max']:.4g}",
                NONE if lam is None else f"{lam:.4g}",
                f"{details['entropy_bits']:.3f}" if "entropy_bits" in details else NONE,
                values + (", …" if len(rung["values"]) > 8 else ""),
            ]
        )
    head = ["rung", "N", "quantiser", "clip rule", "clip range", "lambda", "entropy, bit",
            "reconstruction values"]  # fmt: skip
    return join([heading("Quantisers"), table(head, rows, text_columns=0)])


def device_section(report: Mapping[str, Any]) -> Markup:
    """Memory plan and layers of the int8 front half."""
    parts = [heading("On the device")]
    if "arena_bytes" not in report:
        parts.append(paragraph("The device runs the front half in float: no memory plan."))
        return join(parts)
    arena, bound = int(report["arena_bytes"]), int(report["arena_lower_bound_bytes"])
    parts.append(
        definitions(
            [
                *_tree_sizes(report),
                ("Tensor arena", f"{arena:,} bytes; no plan of these layers is below {bound:,}"),
                *_row_by_row(report),
                ("Constants of the front half", f"{int(report['constant_bytes']):,} bytes"),
            ]
        )
    )
    parts.append(table(*_layer_table(report), text_columns=3))
    parts.append(
        paragraph(
            "Sizes in bytes. In use: what of the arena is alive while the layer runs, its scratch"
            " included. Stack: the deepest chain of calls of the layer's kernel, where the tree was"
            " built."
        )
    )
    return join(parts)


def _tree_sizes(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Flash, RAM and stack, where the tree was built when the bundle was made."""
    if not report.get("footprint_measured"):
        return []
    return [
        ("Flash", f"{int(report['flash_bytes']):,} bytes, weights included, {report['compiler']}"),
        ("RAM", f"{int(report['ram_bytes']):,} bytes: arena, encoder and one frame"),
        ("Stack", f"{_figure('stack_bytes', report['stack_bytes'])} bytes"),
    ]


def _row_by_row(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the arena would take if the feature tensor were whole, where it is not."""
    if "streamed_layers" not in report:
        return []
    layers, whole = int(report["streamed_layers"]), int(report["arena_whole_bytes"])
    text = f"the last {layers} of the layers; {whole:,} bytes with the whole tensor"
    return [("Row by row", text if layers else "the coder alone: it saves no memory here")]


def _layer_table(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the layers; a bundle of an older version lacks some columns."""
    total = max(1, sum(int(layer["macs"]) for layer in report["layers"]))
    stacks = report.get("kernel_stack_bytes", {})
    rows = [
        [
            str(number),
            str(layer["operator"]),
            "x".join(str(size) for size in layer.get("shape", ())) or NONE,
            f"{int(layer['macs']):,}",
            f"{100 * int(layer['macs']) / total:.1f} %",
            *(
                _figure(key, layer.get(key))
                for key in ("constant_bytes", "alive_bytes", "scratch_bytes")
            ),
            _figure("stack_bytes", stacks.get(layer.get("kernel"))),
        ]
        for number, layer in enumerate(report["layers"])
    ]
    head = ["layer", "operator", "output", "multiply-accumulates", "share", "constants",
            "in use", "scratch", "stack"]  # fmt: skip
    return head, rows


_VERIFY = (
    ("name", "target"),
    ("inputs", "inputs"),
    ("mismatches_front", "front mismatches"),
    ("mismatches_bytes", "byte mismatches"),
    ("front_instructions", "front instructions"),
    ("encode_instructions_per_element", "encode instr. / element"),
    ("flash_bytes", "flash, bytes"),
    ("ram_bytes", "RAM, bytes"),
    ("stack_bytes", "stack, bytes"),
)


def verify_section(targets: Sequence[Mapping[str, Any]]) -> Markup:
    """What `isthmus verify` found for each target."""
    rows = [[_figure(key, target.get(key)) for key, _ in _VERIFY] for target in targets]
    return join(
        [
            heading("Verified against the reference"),
            paragraph("The tree as built for each target, run natively or under emulation."),
            table([label for _, label in _VERIFY], rows),
        ]
    )


def _figure(key: str, value: Any) -> str:
    if value is None:
        return NONE
    if key.startswith("mismatches_"):
        kind = "good" if value == 0 else "bad"
        return Markup(f'<span class="{kind}">{int(value):,}</span>')
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def again_section(
    report: Mapping[str, Any], evaluation: Evaluation | None, commands: Sequence[str] | None
) -> Markup:
    """The commands that make all this again."""
    lines = list(commands) if commands is not None else _commands(report, evaluation)
    return join(
        [
            heading("How to make it again"),
            paragraph("Equal options and inputs give equal bytes."),
            code_block("\n".join(lines)),
        ]
    )


def _commands(report: Mapping[str, Any], evaluation: Evaluation | None) -> list[str]:
    """The commands, files by their names."""
    data = "DATA.npz" if evaluation is None else evaluation.data
    evaluate = ["isthmus", "evaluate", "bundle", "--data", data]
    return [shlex.join(report["command"]), "isthmus verify bundle", shlex.join(evaluate)]
