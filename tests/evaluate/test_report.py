"""Plots and report.html: complete, self-contained, escaped, the same every time."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from page_reader import read

from isthmus.bundle import Bundle
from isthmus.errors import OutputError
from isthmus_gen.evaluate import Evaluation, plots, render_report, save_plots, write_report

TARGETS = [
    {
        "name": "cortex-m4f",
        "inputs": 64,
        "mismatches_front": 0,
        "mismatches_bytes": 3,
        "front_instructions": 1_234_567,
        "encode_instructions_per_element": 45.625,
        "flash_bytes": 40_123,
        "ram_bytes": 20_480,
        "stack_bytes": None,
    }
]


@pytest.fixture(scope="module")
def text(digits_bundle: Bundle, digits_evaluation: Evaluation) -> str:
    return render_report(digits_bundle, digits_evaluation, verify=TARGETS)


def test_the_page_is_well_formed_and_stands_alone(text: str) -> None:
    reader = read(text)
    assert reader.tags["script"] == 0
    assert reader.tags["link"] == 0
    outside = [
        (tag, name, value)
        for tag, name, value in reader.attributes
        if name in ("src", "href", "xlink:href", "action", "data") and not value.startswith("#")
    ]
    assert outside == []
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in text
    assert "default-src 'none'" in text
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_every_reference_inside_the_plots_has_its_target(text: str) -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    assert used
    assert used <= ids


def test_the_tables_hold_the_figures(text: str, digits_evaluation: Evaluation) -> None:
    rows = read(text).rows
    for rung in digits_evaluation.rungs:
        row = next(r for r in rows if r[:2] == [str(rung.rung), str(rung.levels)] and len(r) == 12)
        assert f"{rung.bits_per_element:.3f}" in row
        assert rung.accuracy_decoded is not None
        assert f"{100 * rung.accuracy_decoded:.2f} %" in row
    front = digits_evaluation.front_int8
    assert front is not None
    assert front.accuracy is not None
    row = next(r for r in rows if r[0] == "int8 front half")
    assert row[1] == f"{100 * front.accuracy:.2f} %"
    assert sorted(r[0] for r in rows if r[0] in ("PNG", "raw")) == ["PNG", "raw"]
    assert [
        "cortex-m4f", "64", "0", "3", "1,234,567", "45.6", "40,123", "20,480", "–",
    ] in rows  # fmt: skip


def test_figures_by_layer(text: str, digits_bundle: Bundle) -> None:
    report = json.loads(digits_bundle.read("report.json"))
    layers = report["layers"]
    rows = [row for row in read(text).rows if len(row) == 9 and row[0].isdigit()]
    assert [row[:3] for row in rows] == [
        [str(number), layer["operator"], "x".join(map(str, layer["shape"]))]
        for number, layer in enumerate(layers)
    ]
    assert sum(row[1] == "CONV_2D" for row in rows) >= 5
    assert sum(layer["constant_bytes"] for layer in layers) == report["constant_bytes"]
    assert max(layer["alive_bytes"] for layer in layers) <= report["arena_bytes"]
    assert layers[-1]["shape"] == report["tensor_shape"]
    stacks = report.get("kernel_stack_bytes", {})
    if report["footprint_measured"]:
        assert f"{report['flash_bytes']:,} bytes, weights included" in text
        assert f"{report['ram_bytes']:,} bytes: arena, encoder and one frame" in text
    for row, layer in zip(rows, layers, strict=True):
        assert row[3] == f"{layer['macs']:,}"
        assert row[5:8] == [
            f"{layer[key]:,}" for key in ("constant_bytes", "alive_bytes", "scratch_bytes")
        ]
        # the tensor that it writes and what it works in are in use while it runs
        written = int(np.prod(layer["shape"]))
        assert written <= layer["alive_bytes"]
        if report["footprint_measured"] and layer["kernel"]:
            assert row[8] == f"{stacks[layer['kernel']]:,}"
            assert stacks[layer["kernel"]] <= report["stack_bytes"]


def test_mismatches_stand_out(text: str) -> None:
    assert '<span class="good">0</span>' in text
    assert '<span class="bad">3</span>' in text


def test_plots_are_inline_and_take_the_pages_colour(text: str) -> None:
    assert read(text).tags["svg"] == len(plots.PLOTS) == 4
    assert "currentColor" in text
    assert "#123456" not in text
    assert "prefers-color-scheme: dark" in text
    assert "bit per element, headers included" in text


def test_the_same_figures_give_the_same_page(
    text: str, digits_bundle: Bundle, digits_evaluation: Evaluation
) -> None:
    assert render_report(digits_bundle, digits_evaluation, verify=TARGETS) == text


def test_text_of_the_network_is_escaped(
    digits_bundle: Bundle, digits_evaluation: Evaluation
) -> None:
    evil = "<script>alert('x')</script>&\""
    report = json.loads(digits_bundle.read("report.json"))
    report.update(model=evil, cut=evil, target=evil, notes=[evil])
    report["layers"][0]["operator"] = evil

    class Tampered:
        profile = digits_bundle.profile

        def read(self, name: str) -> bytes:
            assert name == "report.json"
            return json.dumps(report).encode()

    evaluation = replace(digits_evaluation, model=evil, cut=evil, data=evil, notes=(evil,))
    rung = replace(evaluation.rungs[0], quantizer=evil)
    evaluation = replace(evaluation, rungs=(rung, *evaluation.rungs[1:]))
    target = {**TARGETS[0], "name": evil}
    page = render_report(cast(Bundle, Tampered()), evaluation, verify=[target])
    assert "<script" not in page
    assert read(page).tags["script"] == 0
    assert page.count("&lt;script&gt;") >= 8


def test_report_without_an_evaluation(digits_bundle: Bundle) -> None:
    page = render_report(digits_bundle, commands=["isthmus demo"])
    reader = read(page)
    assert reader.tags["svg"] == 0
    assert "<pre>isthmus demo</pre>" in page
    assert any(row[1:2] == ["CONV_2D"] for row in reader.rows)


def test_report_without_labels_or_rivals(
    digits_bundle: Bundle, digits_evaluation: Evaluation
) -> None:
    none = replace(digits_evaluation.halves, accuracy=None, delta=None)
    rungs = tuple(
        replace(rung, accuracy_decoded=None, delta_decoded=None) for rung in digits_evaluation.rungs
    )
    bare = replace(
        digits_evaluation, whole=None, halves=none, front_int8=none, rungs=rungs, rivals=()
    )
    page = render_report(digits_bundle, bare)
    assert "same answer as the whole network" in page
    assert "agreement with the whole network" in page
    assert "no picture format was tried" in page


def test_report_that_cannot_be_written(digits_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        write_report(tmp_path / "nowhere" / "report.html", digits_bundle)
    write_report(tmp_path / "report.html", digits_bundle)
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_plot_files_show_something(digits_evaluation: Evaluation, tmp_path: Path) -> None:
    from PIL import Image

    files = save_plots(digits_evaluation, tmp_path / "plots")
    assert [file.stem for file in files] == list(plots.PLOTS)
    for file in files:
        with Image.open(io.BytesIO(file.read_bytes())) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.int64)
        assert min(pixels.shape[:2]) > 300
        inked = (pixels.sum(axis=2) < 3 * 250).mean()
        assert 0.01 < inked < 0.7
        coloured = (pixels.max(axis=2) - pixels.min(axis=2) > 60).mean()
        assert coloured > 0.002


@pytest.mark.parametrize("name", list(plots.PLOTS))
def test_plots_are_the_same_every_time(name: str, digits_evaluation: Evaluation) -> None:
    draw: Any = plots.PLOTS[name]
    first = plots.svg_text(draw(digits_evaluation), prefix="a-")
    assert first == plots.svg_text(draw(digits_evaluation), prefix="a-")
    assert plots.png_bytes(draw(digits_evaluation)) == plots.png_bytes(draw(digits_evaluation))
    assert "<dc:date>" not in first


def test_lines_of_the_plots_are_where_the_figures_are(digits_evaluation: Evaluation) -> None:
    axis = plots.draw_rate_accuracy(digits_evaluation).axes[0]
    line = axis.get_lines()[0]
    rungs = sorted(digits_evaluation.rungs, key=lambda rung: rung.bits_per_element)
    assert list(line.get_xdata()) == [rung.bits_per_element for rung in rungs]
    assert list(line.get_ydata()) == [100 * (rung.accuracy_decoded or 0) for rung in rungs]
    bars = plots.draw_levels(digits_evaluation).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == pytest.approx(len(rungs))


def test_a_plot_of_many_levels(digits_evaluation: Evaluation) -> None:
    counts = np.arange(256, dtype=np.int64)
    rung = replace(
        digits_evaluation.rungs[0], levels=256, level_counts=counts, thresholds=(0.5,) * 255
    )
    many = replace(digits_evaluation, rungs=(rung,))
    for draw in plots.PLOTS.values():
        assert len(plots.png_bytes(draw(many))) > 5000
