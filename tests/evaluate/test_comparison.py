"""Several bundles in one table: what stands there is what each gives by itself, and by hand."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from page_reader import read

from isthmus.bundle import Bundle, codec_name
from isthmus.codec import encode_frame
from isthmus.errors import BundleEditedError, OptionError, OutputError
from isthmus.interpreters import open_tflite
from isthmus_gen.data import DataSet
from isthmus_gen.digits import digits_model_path
from isthmus_gen.evaluate import (
    BottleneckCut,
    Comparison,
    Evaluation,
    Row,
    compare_bundles,
    comparison_of,
    comparison_table,
    evaluate_bundle,
    evaluate_bundles,
    plots,
    render_comparison,
    save_comparison_plots,
    write_comparison,
)
from isthmus_gen.evaluate.comparison_plot import draw_comparison
from isthmus_gen.models import load_model


@pytest.fixture(scope="module")
def early(make_bundle, digits, tmp_path_factory) -> Bundle:  # type: ignore[no-untyped-def]
    """The same network, cut earlier."""
    return make_bundle(
        model=digits_model_path(), cut="stage1", calibration=digits["calibration"],
        levels=(3,), limit=100, out=tmp_path_factory.mktemp("early") / "early",
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundles(digits_bundle: Bundle, early: Bundle) -> list[Bundle]:
    return [digits_bundle, early]


@pytest.fixture(scope="module")
def comparison(bundles: list[Bundle], digits_data: DataSet) -> Comparison:
    return compare_bundles(bundles, digits_data)


def test_rows_are_those_of_single_evaluations(
    comparison: Comparison, digits_evaluation: Evaluation, early: Bundle, digits_data: DataSet
) -> None:
    alone = [digits_evaluation, evaluate_bundle(early, digits_data)]
    rows = [row for row in comparison.rows if row.kind == "rung"]
    assert [row.bundle for row in rows] == [0, 0, 0, 1]
    expected = [(found, rung) for found in alone for rung in found.as_dict()["rungs"]]
    for row, (found, rung) in zip(rows, expected, strict=True):
        values = row.as_dict()
        assert values["codec"] == "lightweight"
        assert (values["cut"], values["levels"]) == (found.cut, rung["levels"])
        assert values["setting"] == f"N = {rung['levels']}"
        assert values["bytes_per_input"] == rung["bytes_per_input"]
        assert values["bytes_percentiles"] == rung["bytes_percentiles"]
        assert values["bits_per_element"] == rung["bits_per_element"]
        assert values["bits_per_element_sent"] == rung["bits_per_element"]
        assert values["accuracy"] == rung["accuracy_decoded"]
        assert values["agreement"] == rung["agreement_decoded"]
        assert values["delta"] == rung["delta_decoded"]
        assert values["macs_device"] == found.macs_device
    assert [found.as_dict() for found in comparison.evaluations] == [f.as_dict() for f in alone]


def test_bytes_are_those_of_frames_made_by_hand(
    comparison: Comparison, early: Bundle, digits_data: DataSet
) -> None:
    profile = early.profile
    entry = profile.extra["input"]
    x = digits_data.x.astype(np.float32)
    q = np.clip(np.round(x / entry["scale"]) + entry["zero_point"], -128, 127).astype(np.int8)
    front = open_tflite(early.read("front.tflite"), engine="litert_ref")
    tensors = [front.run(one[np.newaxis])[0][0] for one in q]
    lengths = [len(encode_frame(profile, 0, i, tensor)) for i, tensor in enumerate(tensors)]
    (row,) = [row for row in comparison.rows if row.name == "early"]
    assert row.bytes_per_input == sum(lengths) / len(lengths)
    assert row.percentiles is not None
    assert (row.percentiles["min"], row.percentiles["max"]) == (min(lengths), max(lengths))
    # stage 1 has 8 x 8 x 16 elements
    assert row.bits_per_element == 8 * sum(lengths) / (len(lengths) * 1024)


def test_the_whole_network_and_rivals_stand_there_once(
    comparison: Comparison, digits_data: DataSet
) -> None:
    import keras

    model = keras.models.load_model(digits_model_path(), compile=False)
    answers = np.asarray(model(digits_data.x.astype(np.float32))).argmax(1)
    right = float((answers == digits_data.y).mean())
    (whole,) = [row for row in comparison.rows if row.kind == "whole"]
    assert whole.accuracy == right
    rivals = [row for row in comparison.rows if row.kind == "rival"]
    assert [row.setting for row in rivals] == ["raw", "PNG"]  # the digits are no 0..255
    assert rivals[0].bytes_per_input == 64  # 8 x 8 pixels
    assert rivals[0].accuracy == right
    assert rivals[0].delta is not None
    assert rivals[0].delta.delta == 0
    assert rivals[0].inputs == len(digits_data)


def test_the_network_is_run_once_for_all(
    bundles: list[Bundle], digits_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(load_model(digits_model_path()))
    predict = kind.predict
    seen = []

    def counted(self, x):  # type: ignore[no-untyped-def]
        seen.append(len(x))
        return predict(self, x)

    monkeypatch.setattr(kind, "predict", counted)
    evaluate_bundles(bundles, digits_data, limit=10, rival_limit=0)
    # one input tells the number of classes
    assert seen == [1, 10]


def test_a_bottleneck_is_counted_by_the_tensor_it_stands_for(
    digits_evaluation: Evaluation,
) -> None:
    place = BottleneckCut("stage1", 1024, 8, 2)
    other = replace(digits_evaluation, codec="bottleneck", bottleneck=place)
    made = comparison_of([Path("a"), Path("b")], [digits_evaluation, other])
    rows = [row for row in made.rows if row.kind == "rung"]
    for plain, row in zip(rows[:3], rows[3:], strict=True):
        assert (row.codec, row.cut) == ("bottleneck", "stage1")
        assert (row.channels, row.stride) == (8, 2)
        assert row.setting == f"C = 8, S = 2, N = {plain.levels}"
        # 512 elements are sent for 1,024
        assert row.bits_per_element_sent == plain.bits_per_element
        assert row.bits_per_element == pytest.approx(row.bits_per_element_sent / 2, rel=1e-12)
    assert other.as_dict()["bottleneck"] == {
        "cut": "stage1", "elements": 1024, "channels": 8, "stride": 2,
    }  # fmt: skip
    assert "bottleneck" not in digits_evaluation.as_dict()


def test_a_bottleneck_is_named_from_the_profile(digits_bundle: Bundle) -> None:
    profile = digits_bundle.profile
    assert codec_name(profile) == "lightweight"
    extra = {**profile.extra, "bottleneck": {"channels": 2, "stride": 2, "cut": "stage1"}}
    assert codec_name(replace(profile, extra=extra)) == "bottleneck"


def test_equal_names_are_told_apart(digits_evaluation: Evaluation) -> None:
    paths = [Path("x/digits"), Path("other"), Path("y/digits")]
    assert comparison_of(paths, [digits_evaluation] * 3).names == (
        "digits (1)", "other", "digits (2)",
    )  # fmt: skip


def test_json_holds_bundles_and_rows(comparison: Comparison) -> None:
    found = json.loads(json.dumps(comparison.as_dict(), allow_nan=False))
    assert set(found) == {"bundles", "rows"}
    assert [bundle["bundle"] for bundle in found["bundles"]] == ["digits", "early"]
    assert [bundle["cut"] for bundle in found["bundles"]] == ["stage2", "stage1"]
    assert [row["kind"] for row in found["rows"]] == ["rung"] * 4 + ["whole"] + ["rival"] * 2
    assert "percentiles" not in found["rows"][0]
    assert tuple(Row.from_dict(row) for row in found["rows"]) == comparison.rows


def test_other_networks_are_refused(
    digits_bundle: Bundle, digits_data: DataSet, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(digits_bundle.path, copy)
    network = copy / "model" / "digits.keras"
    network.write_bytes(network.read_bytes() + b"other")
    manifest = json.loads((copy / "manifest.json").read_bytes())
    manifest["files"]["model/digits.keras"] = hashlib.sha256(network.read_bytes()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OptionError) as caught:
        compare_bundles([digits_bundle, copy], digits_data)
    assert "another network" in caught.value.what
    assert str(copy) in caught.value.what
    assert manifest["files"]["model/digits.keras"][:12] in caught.value.what
    assert "one by one" in caught.value.remedy


def test_other_preprocessing_is_refused(
    make_bundle, digits: dict[str, Path], digits_bundle: Bundle, digits_data: DataSet,
    tmp_path: Path,
) -> None:  # type: ignore[no-untyped-def]  # fmt: skip
    other = make_bundle(
        model=digits_model_path(), cut="stage2", calibration=digits["calibration"],
        preprocess="0.5,0", limit=16, out=tmp_path / "other",
    )  # fmt: skip
    with pytest.raises(OptionError, match="prepares its inputs otherwise"):
        compare_bundles([digits_bundle, other], digits_data)


def test_an_edited_bundle_is_found_before_anything_runs(
    digits_bundle: Bundle, early: Bundle, digits_data: DataSet, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(early.path, copy)
    (copy / "report.json").write_bytes((copy / "report.json").read_bytes() + b"\n")
    with pytest.raises(BundleEditedError, match=r"report\.json"):
        compare_bundles([digits_bundle, copy], digits_data)


def test_no_bundle_is_refused(digits_data: DataSet) -> None:
    with pytest.raises(OptionError, match="missing"):
        evaluate_bundles([], digits_data)


def test_the_table_says_what_the_rows_hold(comparison: Comparison) -> None:
    lines = comparison_table(comparison.rows, costs=True)
    first, row = lines[0], comparison.rows[0]
    assert first[:4] == ["digits", "lightweight", "stage2", "N = 4"]
    assert row.bytes_per_input is not None
    assert first[4] == f"{row.bytes_per_input:.1f}"
    assert first[7] == f"{100 * (row.accuracy or 0):.2f} %"
    # 3x3 and 1x1 convolutions up to the second stage
    assert (
        first[11] == f"{(64 * 9 * 16 * (1 + 2 * 16) + 16 * (9 * 512 + 9 * 1024 + 512)) / 1e6:.2f} M"
    )
    assert lines[4][:4] == ["", "whole network", "", ""]
    assert lines[5][:4] == ["", "the picture", "", "raw"]


def test_the_plot_holds_every_point(comparison: Comparison) -> None:
    (axis,) = draw_comparison(comparison.rows).axes
    assert axis.get_xscale() == "log"
    lines = {line.get_label(): line for line in axis.lines}
    assert set(lines) == {
        "lightweight, stage2", "lightweight, stage1", "the picture, raw", "the picture, PNG",
        f"whole network {100 * (comparison.evaluations[0].whole or 0):.2f} %",
    }  # fmt: skip
    drawn = sorted(zip(*lines["lightweight, stage2"].get_data(), strict=True))
    assert drawn == sorted(
        (rung.bytes_per_input, 100 * (rung.accuracy_decoded or 0))
        for rung in comparison.evaluations[0].rungs
    )


def test_lines_of_the_plot(digits_evaluation: Evaluation) -> None:
    """Equal codecs and cuts have their bundles' names; bottlenecks of a cut are one line."""
    small, large = (
        replace(
            digits_evaluation, codec="bottleneck", bottleneck=BottleneckCut("stage2", 512, c, 2)
        )
        for c in (2, 4)
    )
    made = comparison_of(
        [Path(name) for name in "abcd"], [digits_evaluation, digits_evaluation, small, large]
    )
    (axis,) = draw_comparison(made.rows).axes
    lines = {line.get_label(): len(line.get_xdata()) for line in axis.lines}
    assert lines["lightweight, stage2 (a)"] == lines["lightweight, stage2 (b)"] == 3
    assert lines["bottleneck, stage2"] == 6
    colours = {line.get_label(): line.get_color() for line in axis.lines}
    assert colours["lightweight, stage2 (a)"] != colours["bottleneck, stage2"]


def test_without_labels_the_plot_shows_agreement(digits_evaluation: Evaluation) -> None:
    rungs = tuple(replace(r, accuracy_decoded=None) for r in digits_evaluation.rungs)
    bare = replace(digits_evaluation, whole=None, rungs=rungs)
    (axis,) = draw_comparison(comparison_of([Path("a"), Path("b")], [bare, bare]).rows).axes
    assert axis.get_ylabel().startswith("agreement")
    values = [100 * (rung.agreement_decoded or 0) for rung in rungs]
    assert sorted(axis.lines[0].get_ydata()) == sorted(values)


def test_the_page(bundles: list[Bundle], comparison: Comparison, tmp_path: Path) -> None:
    write_comparison(tmp_path / "report.html", bundles, comparison)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text == render_comparison(bundles, comparison)
    reader = read(text)
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    assert used <= set(ids)
    assert {"bundle-0", "bundle-1"} <= set(ids)
    assert reader.tags["svg"] == 1 + 2 * len(plots.PLOTS)
    for line in comparison_table(comparison.rows, costs=True):
        assert line in reader.rows
    with pytest.raises(OutputError):
        write_comparison(tmp_path / "no" / "report.html", bundles, comparison)


def test_plots_as_files(comparison: Comparison, tmp_path: Path) -> None:
    files = save_comparison_plots(comparison, tmp_path / "p")
    names = [file.relative_to(tmp_path / "p").as_posix() for file in files]
    assert names[0] == "codecs.png"
    assert names[1:] == [f"bundle_{n}/{name}.png" for n in (0, 1) for name in plots.PLOTS]
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG")
    again = save_comparison_plots(comparison, tmp_path / "q")
    assert again[0].read_bytes() == files[0].read_bytes()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_comparison_plots(comparison, tmp_path / "file" / "p")
