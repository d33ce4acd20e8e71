"""``generate --reconstruct-input``: what it adds to a bundle, and that it changes nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.bundle import MANIFEST, Bundle
from isthmus.decoder import Decoder
from isthmus.errors import OptionError
from isthmus.interpreters import open_tflite, quantize
from isthmus.picture import PICTURE, PICTURE_MODEL, PictureDecoder
from isthmus_gen import api
from isthmus_gen.digits import DIGITS_DEFAULT_CUT, digits_model_path
from isthmus_gen.models.convert import keras_to_tflite
from isthmus_gen.options import make_options
from isthmus_gen.picture import PictureSet, plan_picture, train_picture


def files(root: Path) -> dict[str, bytes]:
    """A bundle's files by name."""
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def test_a_picture_decoder_changes_no_byte_that_is_sent(pair: Any) -> None:
    before, after = files(pair.plain.path), files(pair.seeing.path)
    assert set(after) - set(before) == {PICTURE, PICTURE_MODEL}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"report.json", MANIFEST}
    assert pair.seeing.profile.digest == pair.plain.profile.digest
    assert {PICTURE, PICTURE_MODEL} <= set(json.loads(after[MANIFEST])["files"])
    report = pair.report["picture"]
    assert (report["trained_inputs"], report["held_out_inputs"]) == (160, 20)
    assert [rung["levels"] for rung in report["rungs"]] == [8, 2]
    assert report["rungs"][0]["ssim"] is None  # 8x8 is smaller than the window
    assert json.loads(after["report.json"])["command"].count("--reconstruct-input") == 1


def mse(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a.astype(float) - b.astype(float)) ** 2).mean())


def test_the_pictures_show_what_was_sent(pair: Any) -> None:
    """On digits that it never saw, from frames: nearer than the mean, and than another's."""
    with np.load(pair.data["test"]) as test, np.load(pair.data["calibration"]) as known:
        x, mean = test["x"][:100], known["x"].mean(axis=0)
    front = open_tflite(pair.seeing.path / "front.tflite")
    coder = Decoder(pair.seeing)
    sent = [coder.encode(t) for t in front.run(quantize(x, front.inputs[0]))[0]]
    levels = np.stack([coder.decode(frame).levels for frame in sent])
    decoder = PictureDecoder(pair.seeing)
    assert (decoder.shape, decoder.peak) == ((8, 8, 1), 16)
    found = decoder.of_levels(levels, 0)
    assert (found.dtype, found.shape) == (np.uint8, (100, 8, 8, 1))
    assert found.max() <= 16
    assert mse(found, x) < 0.4 * mse(np.broadcast_to(mean, x.shape), x)
    assert mse(found, x) < 0.25 * mse(np.roll(found, 1, axis=0), x)
    features = np.stack([coder.decode(frame).features for frame in sent])
    assert np.array_equal(decoder.picture(features), found)


def training_set() -> PictureSet:
    """Pictures whose features are their pixels, four by four."""
    rng = np.random.default_rng(3)
    features = rng.random((60, 4, 4, 1)).astype(np.float32)
    return PictureSet(features, np.rint(features * 200).astype(np.uint8), 255)


def test_training_learns_is_seeded_and_stops() -> None:
    pairs = training_set()
    plan = plan_picture((4, 4, 1), (4, 4, 1), len(pairs.training), epochs=4)
    told: list[tuple[str, int, int]] = []
    made = [
        train_picture(pairs, lambda _, f: f, 1, plan, lambda *step: told.append(step))
        for _ in range(2)
    ]
    assert told[-1][1:] == (plan.steps, plan.steps)
    wanted = pairs.pictures[pairs.watched] / 255
    assert made[0].best_mse < 0.02 * wanted.var()
    for a, b in zip(made[0].model.get_weights(), made[1].model.get_weights(), strict=True):
        assert np.array_equal(a, b)
    # features that tell nothing: it gives up long before the end
    blind = train_picture(pairs, lambda _, f: np.zeros_like(f), 1, plan)
    assert blind.steps < plan.steps


def test_the_parts_of_a_set_do_not_meet() -> None:
    pairs = training_set()
    parts = [pairs.training, pairs.watched, pairs.held_out]
    assert [len(part) for part in parts] == [48, 6, 6]
    assert sorted(np.concatenate(parts).tolist()) == list(range(60))


def test_a_plan_is_bounded() -> None:
    small = plan_picture((16, 16, 32), (32, 32, 3), 3200, epochs=20)
    # by hand: 1x1 from 32, four 3x3 of 64 at 16x16; 3x3 of 64 to 32, two of 32, one to 3 at 32x32
    first = 256 * (32 * 64 + 4 * 9 * 64 * 64)
    second = 1024 * 9 * (64 * 32 + 2 * 32 * 32 + 32 * 3)
    assert (small.widths, small.macs) == ((64, 32), first + second)
    assert (small.steps, small.epoch) == (2000, 100)
    large = plan_picture((28, 28, 64), (224, 224, 3), 100_000, epochs=1000)
    assert 3 * large.macs * large.batch * large.steps <= 2e13


@pytest.mark.parametrize("odd", [(3, 4, 2), (5, 7, 2), (10, 10, 2), (20, 20, 2)])
def test_sizes_that_are_no_multiples(odd: tuple[int, int, int]) -> None:
    """Maps of every size end at the picture's, and the network can be exported."""
    rng = np.random.default_rng(1)
    features = rng.random((40, *odd)).astype(np.float32)
    pairs = PictureSet(features, rng.integers(0, 256, (40, 13, 18, 3)).astype(np.uint8), 255)
    plan = plan_picture(odd, (13, 18, 3), 32, epochs=1)
    short = type(plan)(**{**plan.__dict__, "steps": 2, "epoch": 1})
    made = train_picture(pairs, lambda _, f: f, 1, short)
    expected = made.model(features[:2]).numpy()
    assert expected.shape == (2, 13, 18, 3)
    content = keras_to_tflite(made.model, input_name="features", output_name="picture")
    assert open_tflite(content).run(features[:2])[0] == pytest.approx(expected, abs=1e-4)


def refused(tmp: Path, x: Any, **options: Any) -> OptionError:
    """The error of a digits bundle from inputs ``x``; nothing is left behind."""
    np.savez(tmp / "c.npz", x=x)
    out = tmp / "out"
    with pytest.raises(OptionError) as caught:
        api.generate(
            model=digits_model_path(), calibration=tmp / "c.npz", out=out,
            reconstruct_input=True, **{"cut": DIGITS_DEFAULT_CUT, **options},
        )  # fmt: skip
    assert not out.exists()
    assert caught.value.path == "--reconstruct-input"
    return caught.value


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    found = refused(tmp_path, rng.random((60, 8, 8, 1)).astype(np.float32))
    assert "no pictures" in found.what
    assert "0..255" in found.allowed
    whole = rng.integers(0, 17, (60, 8, 8, 1)).astype(np.uint8)
    assert "too few" in refused(tmp_path, whole[:39]).what
    assert "no pictures" in refused(tmp_path, whole.astype(np.float32) - 1).what


def test_a_tensor_without_rows_and_columns_is_refused(tmp_path: Path) -> None:
    whole = np.random.default_rng(1).integers(0, 17, (60, 8, 8, 1)).astype(np.uint8)
    cuts = [cut for cut in api.cuts(digits_model_path()) if cut.legal and len(cut.shape) == 1]
    found = refused(tmp_path, whole, cut=cuts[0].name)
    assert found.allowed == "[height, width, channels]"


def test_wrong_epochs_are_named() -> None:
    with pytest.raises(OptionError) as caught:
        make_options(
            {"model": "m.keras", "cut": "c", "calibration": "x.npz", "out": "o",
             "picture_epochs": 0}
        )  # fmt: skip
    assert caught.value.path == "--picture-epochs"
    assert caught.value.allowed == "an integer, 1 to 1000"


def test_a_bundle_can_be_checked(pair: Any) -> None:
    Bundle.open(pair.seeing.path, check=True)
