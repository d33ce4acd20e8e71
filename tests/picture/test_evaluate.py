"""``evaluate``: how near the pictures come, in figures, in the report and in files."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.decoder import Decoder
from isthmus.picture import PictureDecoder
from isthmus_gen import api
from isthmus_gen.data import load_data
from isthmus_gen.evaluate import (
    Evaluation,
    evaluate_bundle,
    open_front,
    render_report,
    save_plots,
)
from isthmus_gen.evaluate.picture import PictureMeter, PictureResult, PictureRung
from isthmus_gen.evaluate.picture_report import picture_section

INPUTS = 40


@pytest.fixture(scope="module")
def evaluation(pair: Any) -> Evaluation:
    """The bundle with a picture decoder, on the first test digits."""
    return api.evaluate(pair.seeing.path, data=pair.data["test"], limit=INPUTS)


def test_the_figures_are_those_of_the_frames(pair: Any, evaluation: Evaluation) -> None:
    """Frames coded and decoded here, and TensorFlow's PSNR."""
    import tensorflow as tf

    found = evaluation.picture
    assert found is not None
    assert (found.inputs, found.peak) == (INPUTS, 16)
    with np.load(pair.data["test"]) as test:
        x = test["x"][:INPUTS]
    coder, decoder = Decoder(pair.seeing), PictureDecoder(pair.seeing)
    tensors = open_front(pair.seeing).features(x)
    for rung in (0, 1):
        frames = [coder.encode(tensor, rung=rung) for tensor in tensors]
        features = np.stack([coder.decode(frame).features for frame in frames])
        pictures = decoder.picture(features)
        expected = tf.image.psnr(pictures.astype(np.float32), x, 16).numpy().mean()
        entry = found.rungs[rung]
        assert (entry.rung, entry.ssim) == (rung, None)
        assert entry.psnr_db == pytest.approx(expected, rel=1e-5)
        assert np.array_equal(entry.examples, pictures[:8])
    assert np.array_equal(found.examples, x[:8].astype(np.uint8))
    values = evaluation.as_dict()["picture"]
    assert [entry["psnr_db"] for entry in values["rungs"]] == [r.psnr_db for r in found.rungs]


def test_a_bundle_without_decoder_has_no_such_figures(pair: Any) -> None:
    found = api.evaluate(pair.plain.path, data=pair.data["test"], limit=8)
    assert found.picture is None
    assert "picture" not in found.as_dict()
    assert "reveal" not in render_report(pair.plain, found)


def test_inputs_that_are_no_pictures_have_no_such_figures(pair: Any, tmp_path: Path) -> None:
    with np.load(pair.data["test"]) as test:
        np.savez(tmp_path / "half.npz", x=test["x"][:8] + 0.5)
    found = evaluate_bundle(pair.seeing, load_data(tmp_path / "half.npz"), rival_limit=0)
    assert found.picture is None


def images(html: str) -> list[np.ndarray]:
    """The pictures inside a page, as Pillow reads them."""
    from PIL import Image

    parts = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(part)))) for part in parts]


def test_the_report_shows_them_and_says_what_they_mean(pair: Any, evaluation: Evaluation) -> None:
    html = render_report(pair.seeing, evaluation)
    assert "Features reveal the picture." in html
    found = evaluation.picture
    assert found is not None
    assert f"<td>{found.rungs[0].psnr_db:.2f}</td>" in html
    strips = images(html)
    assert len(strips) == 3  # the inputs, then each rung's
    # eight digits of 8x8, twelve times as large, four pixels apart, 0..16 shown as 0..255
    assert {strip.shape for strip in strips} == {(96, 8 * 96 + 7 * 4)}
    second = strips[0][:, 100:196]
    assert second[::12, ::12] == pytest.approx(found.examples[1, ..., 0] * (255 / 16), abs=0.5)
    assert render_report(pair.seeing, evaluation) == html


def test_files_beside_the_plots(pair: Any, evaluation: Evaluation, tmp_path: Path) -> None:
    from PIL import Image

    names = {file.name for file in save_plots(evaluation, tmp_path)}
    assert {"picture_psnr.png", "pictures.png", "rate_accuracy.png"} <= names
    with Image.open(tmp_path / "pictures.png") as image:
        assert image.size == (8 * 96 + 7 * 4, 3 * 96 + 2 * 4)


def test_pictures_with_ssim(pair: Any) -> None:
    """A made-up result: the table has both figures, the plot both lines."""
    evaluation = api.evaluate(pair.seeing.path, data=pair.data["test"], limit=4)
    examples = np.zeros((2, 16, 16, 3), np.uint8)
    rungs = tuple(PictureRung(k, 20.0 + k, 0.5 + k / 8, examples) for k in range(2))
    made = {**evaluation.__dict__, "picture": PictureResult(4, 255, examples, rungs)}
    text = picture_section(Evaluation(**made))
    for figure in ("20.00", "0.500", "21.00", "0.625"):
        assert f"<td>{figure}</td>" in text
    assert "SSIM" in text


def test_a_meter_adds_up(pair: Any) -> None:
    meter = PictureMeter.of(pair.seeing, [0])
    assert meter is not None
    assert meter.result() is None
    assert PictureMeter.of(pair.plain, [0]) is None
    shape = pair.seeing.profile.tensor.shape
    decoder = PictureDecoder(pair.seeing)
    levels = np.zeros((1, *shape), np.uint8)
    same = decoder.of_levels(levels, 0)
    meter.add(same, [levels])  # as if the input had been just what comes out: 100 dB
    other = np.where(same < 8, same + 4, same - 4).astype(np.uint8)  # 4 of 16 everywhere
    meter.add(other, [levels])
    found = meter.result()
    assert found is not None
    assert found.rungs[0].psnr_db == pytest.approx((100 + 10 * np.log10(16)) / 2)
