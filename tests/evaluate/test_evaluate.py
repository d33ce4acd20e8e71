"""Figures of an evaluation against a plain computation: reference codec, other interpreters."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.bundle import Bundle
from isthmus.codec import decode_frame, encode_frame
from isthmus.errors import (
    BundleEditedError,
    BundleMissingError,
    DataShapeError,
    OptionError,
)
from isthmus.interpreters import open_tflite
from isthmus_gen.data import DataSet, load_data
from isthmus_gen.digits import digits_model_path
from isthmus_gen.evaluate import Evaluation, evaluate_bundle

KEYS = {
    "accuracy_whole",
    "accuracy_halves",
    "accuracy_front_int8",
    "accuracy_decoded",
    "bits_per_element",
    "bits_per_element_payload",
    "bytes_per_input",
    "inputs",
    "rungs",
}


@pytest.fixture(scope="module")
def plain(digits_bundle: Bundle, digits_data: DataSet) -> dict[str, Any]:
    """The same paths, one input at a time, in the reference kernels and the Python codec."""
    import keras

    profile = digits_bundle.profile
    x, y = digits_data.x.astype(np.float32), digits_data.y
    entry = profile.extra["input"]
    front = open_tflite(digits_bundle.read("front.tflite"), engine="litert_ref")
    floats = open_tflite(digits_bundle.read("front_float.tflite"), engine="litert_ref")
    back = open_tflite(digits_bundle.read("back.tflite"), engine="litert_ref")
    whole = np.asarray(keras.models.load_model(digits_model_path(), compile=False)(x))

    def right(answers: Any) -> float:
        return float((np.argmax(answers, axis=1) == y).mean())

    q = np.clip(np.round(x / entry["scale"]) + entry["zero_point"], -128, 127).astype(np.int8)
    tensors = np.concatenate([front.run(one[np.newaxis])[0] for one in q])
    real = (tensors.astype(np.float32) - profile.tensor.zero_point) * profile.tensor.scale
    rungs = []
    for number, rung in enumerate(profile.rungs):
        frames = [encode_frame(profile, number, i, t) for i, t in enumerate(tensors)]
        levels = np.stack([decode_frame(profile, frame).levels for frame in frames])
        features = np.asarray(rung.values)[levels].astype(np.float32)
        answers = back.run(features)[0]
        rungs.append(
            {
                "lengths": [len(frame) for frame in frames],
                "accuracy": right(answers),
                "agreement": float((answers.argmax(1) == whole.argmax(1)).mean()),
                "counts": [int((levels == n).sum()) for n in range(rung.levels)],
                "mse": float(np.mean((features - real) ** 2)),
                "clipped": float(np.mean((real < rung.clip[0]) | (real > rung.clip[1]))),
            }
        )
    return {
        "whole": right(whole),
        "halves": right(back.run(floats.run(x)[0])[0]),
        "front": right(back.run(real)[0]),
        "rungs": rungs,
    }


def test_accuracies_are_those_of_a_plain_computation(
    digits_evaluation: Evaluation, plain: dict[str, Any]
) -> None:
    found = digits_evaluation.as_dict()
    assert found["accuracy_whole"] == plain["whole"]
    assert found["accuracy_halves"] == plain["halves"]
    assert found["accuracy_front_int8"] == plain["front"]
    assert found["accuracy_decoded"] == plain["rungs"][0]["accuracy"]
    assert found["agreement_decoded"] == plain["rungs"][0]["agreement"]
    # The network is better than chance by far: the comparison is not one of zeros.
    assert found["accuracy_whole"] > 0.9


def test_bits_are_those_of_the_frames(
    digits_evaluation: Evaluation, plain: dict[str, Any], digits_bundle: Bundle
) -> None:
    elements = digits_bundle.profile.tensor.elements
    for rung, expected in zip(digits_evaluation.rungs, plain["rungs"], strict=True):
        lengths = expected["lengths"]
        assert rung.lengths.tolist() == lengths
        assert rung.bits_per_element == 8 * sum(lengths) / (len(lengths) * elements)
        bare = 8 * sum(length - 12 for length in lengths) / (len(lengths) * elements)
        assert rung.bits_per_element_payload == bare
        assert rung.bytes_per_input == sum(lengths) / len(lengths)
        assert rung.as_dict()["bytes_percentiles"]["max"] == max(lengths)


def test_rung_figures(digits_evaluation: Evaluation, plain: dict[str, Any]) -> None:
    for rung, expected in zip(digits_evaluation.rungs, plain["rungs"], strict=True):
        assert rung.accuracy_decoded == expected["accuracy"]
        assert rung.level_counts.tolist() == expected["counts"]
        assert rung.feature_mse == pytest.approx(expected["mse"], rel=1e-4)
        assert rung.clip_fraction == pytest.approx(expected["clipped"], abs=1e-6)


def test_json_has_the_keys_and_plain_types(digits_evaluation: Evaluation) -> None:
    found = json.loads(json.dumps(digits_evaluation.as_dict(), allow_nan=False))
    assert set(found) >= KEYS
    assert found["inputs"] == 100
    assert [rung["levels"] for rung in found["rungs"]] == [4, 8, 2]
    assert found["delta_decoded"]["low"] <= found["delta_decoded"]["delta"]
    assert found["delta_decoded"]["delta"] == pytest.approx(
        found["accuracy_decoded"] - found["accuracy_whole"], abs=1e-12
    )
    assert found["macs_device"] < found["macs_whole"]


def test_the_first_rung_asked_for_is_the_chosen_one(
    digits_bundle: Bundle, digits_data: DataSet, digits_evaluation: Evaluation
) -> None:
    seen: list[tuple[str, int, int]] = []
    found = evaluate_bundle(
        digits_bundle,
        digits_data,
        rungs=(2, 0),
        limit=70,
        rival_limit=0,
        progress=lambda stage, done, total: seen.append((stage, done, total)),
    )
    assert [rung.rung for rung in found.rungs] == [2, 0]
    assert found.as_dict()["levels"] == 2
    assert found.inputs == 70
    assert found.rivals == ()
    assert found.rungs[1].lengths.tolist() == digits_evaluation.rungs[0].lengths[:70].tolist()
    assert seen == [("evaluating", 64, 70), ("evaluating", 70, 70)]


def test_without_labels_there_is_agreement_alone(
    digits_bundle: Bundle, digits_data: DataSet, tmp_path: Path, digits_evaluation: Evaluation
) -> None:
    np.savez(tmp_path / "bare.npz", x=digits_data.x)
    found = evaluate_bundle(digits_bundle, load_data(tmp_path / "bare.npz"), rival_limit=0)
    values = found.as_dict()
    assert [values[key] for key in sorted(KEYS) if key.startswith("accuracy")] == [None] * 4
    assert values["delta_decoded"] is None
    assert values["agreement_decoded"] == digits_evaluation.as_dict()["agreement_decoded"]
    assert values["bits_per_element"] == digits_evaluation.as_dict()["bits_per_element"]
    assert "no labels" in values["notes"][0]


def test_the_histogram_counts_every_feature(
    digits_evaluation: Evaluation, digits_bundle: Bundle
) -> None:
    histogram = digits_evaluation.histogram
    assert histogram.counts.sum() == 100 * digits_bundle.profile.tensor.elements
    centres = (histogram.edges[1:] + histogram.edges[:-1]) / 2
    table = digits_bundle.profile.rungs[0].table_i8
    assert table is not None
    levels = np.frombuffer(table, np.uint8)  # the level of int8 value v at v + 128
    by_level = np.bincount(levels, weights=histogram.counts)
    assert by_level.tolist() == digits_evaluation.rungs[0].level_counts.tolist()
    assert centres[histogram.counts > 0].min() == pytest.approx(0.0, abs=1e-9)


def test_an_edited_tree_is_refused(
    digits_bundle: Bundle, digits_data: DataSet, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(digits_bundle.path, copy)
    source = copy / "firmware" / "src" / "isth_front.c"
    source.write_text(source.read_text() + "/* mine */\n")
    with pytest.raises(BundleEditedError, match=r"isth_front\.c"):
        evaluate_bundle(copy, digits_data)


def test_a_bundle_without_its_network_is_refused(
    digits_bundle: Bundle, digits_data: DataSet
) -> None:
    files = {k: v for k, v in digits_bundle.files.items() if not k.startswith("model/")}
    model = digits_bundle.path / "model"
    away = digits_bundle.path / "away"
    model.rename(away)
    try:
        with pytest.raises(BundleMissingError, match="generate the bundle again"):
            evaluate_bundle(Bundle(digits_bundle.path, digits_bundle.profile, files), digits_data)
    finally:
        away.rename(model)


@pytest.mark.parametrize("rungs", [(), (3,), (-1,)])
def test_rungs_that_are_not_there(
    digits_bundle: Bundle, digits_data: DataSet, rungs: tuple[int, ...]
) -> None:
    with pytest.raises(OptionError, match=r"0\.\.2"):
        evaluate_bundle(digits_bundle, digits_data, rungs=rungs)


def test_data_of_another_shape(digits_bundle: Bundle, tmp_path: Path) -> None:
    np.savez(tmp_path / "wide.npz", x=np.zeros((3, 9, 9, 1), np.float32), y=np.zeros(3, int))
    with pytest.raises(DataShapeError):
        evaluate_bundle(digits_bundle, load_data(tmp_path / "wide.npz"))


def test_labels_beyond_the_networks_classes(
    digits_bundle: Bundle, digits_data: DataSet, tmp_path: Path
) -> None:
    np.savez(tmp_path / "many.npz", x=digits_data.x[:3], y=np.array([1, 2, 10]))
    with pytest.raises(DataShapeError, match=r"0\.\.9"):
        evaluate_bundle(digits_bundle, load_data(tmp_path / "many.npz"))


def test_a_network_that_is_int8_from_the_start(
    data_dir: Path, make_bundle: Any, tmp_path: Path
) -> None:
    bundle = make_bundle(
        model=data_dir / "models" / "mlperf_tiny" / "resnet8_int8.tflite",
        cut=_cut_of(data_dir / "models" / "mlperf_tiny" / "resnet8_int8.tflite", (8, 8, 64)),
        calibration=data_dir / "cifar10" / "train_lossless_8068.npz",
        limit=32,
        levels=(8,),
        out=tmp_path / "int8",
    )
    data = load_data(data_dir / "cifar10" / "test_lossless_500.npz", limit=12)
    found = evaluate_bundle(bundle, data, rival_limit=0).as_dict()
    # Cut in the flatbuffer: the composed halves are the whole network, element for element.
    assert found["agreement_halves"] == 1.0
    assert found["output_error_halves"] == 0.0
    assert found["accuracy_front_int8"] == found["accuracy_halves"] == found["accuracy_whole"]


def test_a_device_that_computes_in_float(
    make_bundle: Any, digits: dict[str, Path], digits_data: DataSet, tmp_path: Path
) -> None:
    import tensorflow as tf

    from isthmus.optional import quiet_stderr

    model = tf.keras.models.load_model(digits_model_path(), compile=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    with quiet_stderr():
        (tmp_path / "hybrid.tflite").write_bytes(converter.convert())
    bundle = make_bundle(
        model=tmp_path / "hybrid.tflite",
        cut=_cut_of(tmp_path / "hybrid.tflite", (4, 4, 32)),
        calibration=digits["calibration"],
        out=tmp_path / "float",
    )
    assert bundle.profile.tensor.dtype == "float32"
    found = evaluate_bundle(bundle, digits_data, rival_limit=0)
    values = found.as_dict()
    assert found.front_engine == "float"
    assert values["accuracy_front_int8"] is None
    assert values["accuracy_decoded"] > 0.9
    assert found.histogram.counts.sum() == 100 * 512


def test_resnet8_on_a_few_pictures(data_dir: Path, make_bundle: Any, tmp_path: Path) -> None:
    bundle = make_bundle(
        model=data_dir / "models" / "mlperf_tiny" / "resnet8.keras",
        cut="activation_4",
        calibration=data_dir / "cifar10" / "train_lossless_8068.npz",
        limit=128,
        levels=(8, 2),
        out=tmp_path / "resnet8",
    )
    data = load_data(data_dir / "cifar10" / "test_lossless_500.npz", limit=64)
    found = evaluate_bundle(bundle, data, rival_limit=16)
    values = found.as_dict()
    assert set(values) >= KEYS
    assert values["agreement_halves"] == 1.0
    assert values["accuracy_whole"] > 0.8
    assert abs(values["accuracy_decoded"] - values["accuracy_whole"]) <= 3 / 64
    # One bit and a coded source: N = 2 needs less than a bit, N = 8 less than three.
    assert values["rungs"][1]["bits_per_element"] < 1.0 < values["bits_per_element"] < 3.0
    assert values["macs_whole"] == 12_501_632
    raw = next(rival for rival in found.rivals if rival.format == "raw")
    assert raw.bytes_per_input == 32 * 32 * 3
    assert {rival.format for rival in found.rivals} == {"raw", "png", "jpeg", "webp"}


def _cut_of(path: Path, shape: tuple[int, ...]) -> str:
    """The last legal cut of that shape."""
    from isthmus_gen.models import load_model

    cuts = [c for c in load_model(path).cuts() if c.legal and tuple(c.shape) == shape]
    assert math.prod(shape) == cuts[-1].elements
    return f"tensor:{cuts[-1].index}"
