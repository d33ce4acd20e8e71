"""The table of a new bundle's rungs: every column of each codec, on a narrow terminal too."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from isthmus_gen.cli.rung_table import grid_line, rung_table

RUNG: dict[str, Any] = {
    "levels": 86, "quantizer": "uniform", "clip_rule": "model", "clip_min": 0.0,
    "clip_max": 4.7381, "quantizer_details": {"entropy_bits": 1.3959, "mse": 0.13951},
    "coded_bits": 0.99402, "contexts": 1800, "context_sets": 64,
}  # fmt: skip
NEAR = {**RUNG, "quantizer": "grid", "clip_rule": "min-max", "bound": 1, "table_bytes": 12767}


def lines(rungs: list[dict[str, Any]], width: int = 80) -> list[list[str]]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(rung_table(rungs))
    return [line.split() for line in console.export_text().splitlines() if line.strip()]


def test_near_lossless_fits_eighty_columns() -> None:
    head, first, second = lines([NEAR, {**NEAR, "bound": 4, "levels": 29}])
    assert " ".join(head) == (
        "rung bound levels entropy, bits coded, bits distributions tables, bytes"
    )
    assert first == ["0", "1", "86", "1.396", "0.994", "64", "12,767"]
    assert second[:3] == ["1", "4", "29"]


def test_the_lightweight_codec() -> None:
    head, row = lines([RUNG], width=120)
    assert " ".join(head) == (
        "rung levels quantiser clip rule clip range entropy, bits coded, bits contexts error"
    )
    assert row == [
        "0", "86", "uniform", "model", "0", "..", "4.738", "1.396", "0.994", "1,800", "0.1395",
    ]  # fmt: skip
    assert lines([{**RUNG, "coded_bits": None}], width=120)[1][8] == "-"


def test_what_the_grid_spans() -> None:
    assert grid_line([RUNG]) == ""
    assert grid_line([NEAR]) == "grid: 256 steps, minimum to maximum, 0 .. 4.738"
    whole = {**NEAR, "clip_rule": "int8"}
    assert grid_line([whole]) == "grid: 256 steps, the front half's own, 0 .. 4.738"
    by_channel = {**NEAR, "clip_rule": "min-max of each channel"}
    assert grid_line([by_channel]).startswith("grid: 256 steps, min-max of each channel, ")
