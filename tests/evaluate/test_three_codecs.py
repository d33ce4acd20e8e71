"""The demo's bundles of all three codecs: what each promises, and their one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_reader import read

from isthmus.bundle import Bundle, codec_name
from isthmus.codec import decode_frame, encode_frame
from isthmus.errors import OptionError
from isthmus_gen.data import load_data
from isthmus_gen.demo import DEMO_CODECS, Demo, make_demo_bundle, run_demo
from isthmus_gen.evaluate import Comparison, Row, compare_bundles, render_comparison
from isthmus_gen.evaluate.comparison_plot import draw_comparison
from isthmus_gen.evaluate.front import open_front

LIMIT = 100


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demos(out: Path) -> dict[str, Demo]:
    return {
        codec: run_demo(out, ("host",), 2, codec=codec) for codec in ("near-lossless", "bottleneck")
    }


@pytest.fixture(scope="module")
def bundles(out: Path, demos: dict[str, Demo]) -> list[Bundle]:
    plain, _ = make_demo_bundle(out)
    return [plain.bundle, *(demo.bundle for demo in demos.values())]


@pytest.fixture(scope="module")
def comparison(bundles: list[Bundle], out: Path) -> Comparison:
    return compare_bundles(bundles, load_data(out / "data" / "digits_test.npz", limit=LIMIT))


def rungs_of(comparison: Comparison, codec: str) -> list[Row]:
    return [row for row in comparison.rows if row.codec == codec]


@pytest.mark.parametrize("codec", ["near-lossless", "bottleneck"])
def test_the_demo_of_a_codec(demos: dict[str, Demo], out: Path, codec: str) -> None:
    demo = demos[codec]
    assert demo.bundle.path == out / f"digits-{codec}"
    assert codec_name(demo.bundle.profile) == codec
    assert demo.evaluation["codec"] == codec
    assert demo.evaluation["accuracy_decoded"] > 0.9
    (target,) = demo.targets
    assert (target["mismatches_front"], target["mismatches_bytes"]) == (0, 0)
    assert demo.report_file == out / f"report-{codec}.html"
    assert f", {codec}</h1>" in demo.report_file.read_text(encoding="utf-8")


def test_an_unknown_codec_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--codec"):
        make_demo_bundle(tmp_path / "out", codec="jpeg")
    assert not (tmp_path / "out").exists()
    assert DEMO_CODECS[0] == "lightweight"


def test_every_value_is_within_the_bound(bundles: list[Bundle], out: Path) -> None:
    """Through the reference codec: levels on a grid of step 2 D + 1, errors of at most D steps."""
    bundle = bundles[1]
    profile = bundle.profile
    tensors = open_front(bundle).features(load_data(out / "data" / "digits_test.npz", limit=8).x)
    for number, rung in enumerate(profile.rungs):
        values = np.asarray(rung.values)
        for tensor in tensors:
            levels = decode_frame(profile, encode_frame(profile, number, 0, tensor)).levels
            steps = values[levels] / profile.tensor.scale + profile.tensor.zero_point
            assert np.abs(np.rint(steps) - tensor).max() <= rung.bound


def test_lossless_answers_are_those_without_coding(comparison: Comparison) -> None:
    near = comparison.evaluations[1].as_dict()
    assert [rung["bound"] for rung in near["rungs"]] == [0, 1, 2, 4]
    assert near["accuracy_decoded"] == near["accuracy_front_int8"]
    assert near["output_error_decoded"] == near["output_error_front_int8"]
    assert near["feature_mse"] == 0
    rows = rungs_of(comparison, "near-lossless")
    assert [row.setting for row in rows] == ["D = 0", "D = 1", "D = 2", "D = 4"]
    lengths = [row.bytes_per_input or 0 for row in rows]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] < 512  # as the int8 tensor itself


def test_a_bottleneck_is_compared_by_the_network_s_tensor(
    comparison: Comparison, bundles: list[Bundle]
) -> None:
    (row,) = rungs_of(comparison, "bottleneck")
    assert (row.cut, row.setting) == ("stage2", "C = 8, S = 2, N = 4")
    # 4 x 4 x 32 elements become 2 x 2 x 8
    assert bundles[2].profile.tensor.shape == (2, 2, 8)
    assert row.bytes_per_input is not None
    assert row.bits_per_element == pytest.approx(row.bytes_per_input * 8 / 512)
    assert row.bits_per_element_sent == pytest.approx(row.bytes_per_input * 8 / 32)
    plain = rungs_of(comparison, "lightweight")[0]
    assert row.bytes_per_input < (plain.bytes_per_input or 0)
    # the units come on top of the network up to the cut
    assert row.macs_device > plain.macs_device
    (whole,) = [row for row in comparison.rows if row.kind == "whole"]
    assert whole.macs_device == comparison.evaluations[2].macs_whole


def test_all_codecs_stand_in_one_table_plot_and_page(
    comparison: Comparison, bundles: list[Bundle]
) -> None:
    assert comparison.names == ("digits", "digits-near-lossless", "digits-bottleneck")
    assert len({found.whole for found in comparison.evaluations}) == 1
    (axis,) = draw_comparison(comparison.rows).axes
    labels: list[Any] = [line.get_label() for line in axis.lines]
    assert labels[:3] == [f"{codec}, stage2" for codec in DEMO_CODECS]
    reader = read(render_comparison(bundles, comparison))
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
