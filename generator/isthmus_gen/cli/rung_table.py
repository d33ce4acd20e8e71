"""The rungs of a new bundle as a table, in the columns of its codec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus.cli.console import table

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["grid_line", "rung_table"]


def grid_line(rungs: list[dict[str, Any]]) -> str:
    """What the 256 steps of a near-lossless bundle span; "" for other codecs."""
    if not rungs or rungs[0].get("bound") is None:
        return ""
    kinds = {"int8": "the front half's own", "min-max": "minimum to maximum"}
    rule = rungs[0]["clip_rule"]
    return f"grid: 256 steps, {kinds.get(rule, rule)}, {_range(rungs[0])}"


def rung_table(rungs: list[dict[str, Any]]) -> Table:
    """The table of ``report["rungs"]``; those of near-lossless have a bound."""
    near = bool(rungs) and rungs[0].get("bound") is not None
    columns = [("rung", "right"), *(_NEAR if near else _LIGHTWEIGHT)]
    cells = _near if near else _lightweight
    return table("", columns, [(str(index), *cells(rung)) for index, rung in enumerate(rungs)])


_LIGHTWEIGHT = [
    ("levels", "right"), ("quantiser", "left"), ("clip rule", "left"), ("clip range", "left"),
    ("entropy, bits", "right"), ("coded, bits", "right"), ("contexts", "right"),
    ("error", "right"),
]  # fmt: skip
_NEAR = [
    ("bound", "right"), ("levels", "right"), ("entropy, bits", "right"),
    ("coded, bits", "right"), ("distributions", "right"), ("tables, bytes", "right"),
]  # fmt: skip


def _lightweight(rung: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(rung["levels"]), rung["quantizer"], rung["clip_rule"], _range(rung), _entropy(rung),
        _coded(rung), f"{rung['contexts']:,}", f"{rung['quantizer_details']['mse']:.4g}",
    )  # fmt: skip


def _near(rung: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(rung["bound"]), str(rung["levels"]), _entropy(rung), _coded(rung),
        str(rung["context_sets"]), f"{rung['table_bytes']:,}",
    )  # fmt: skip


def _range(rung: dict[str, Any]) -> str:
    return f"{rung['clip_min']:.4g} .. {rung['clip_max']:.4g}"


def _entropy(rung: dict[str, Any]) -> str:
    return f"{rung['quantizer_details']['entropy_bits']:.3f}"


def _coded(rung: dict[str, Any]) -> str:
    return "-" if rung["coded_bits"] is None else f"{rung['coded_bits']:.3f}"
