"""From network to bundle and back for every kind of source, rank, rule and quantiser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from whole_path import check_whole_path

from isthmus.bundle import Bundle
from isthmus.errors import ModelOperatorError
from isthmus.profile import Profile

SMALL = {"limit": 32}

# name -> (network, options); all with the digits, cut at stage2
DIGITS: dict[str, tuple[str, dict[str, Any]]] = {
    "ladder": ("digits", {"levels": (4, 2, 256)}),
    "slices": ("digits", {"levels": (4, 20), "slice_rows": 1}),
    "uneven_slices": ("digits", {"levels": (3,), "slice_rows": 3}),
    "model_free": ("digits", {"c_min": "free"}),
    "empirical": ("digits", {"clip": "empirical"}),
    "empirical_free_ecsq": ("digits", {"clip": "empirical", "c_min": "free", "quantizer": "ecsq"}),
    "aciq_centroid": ("digits", {"clip": "aciq", "values": "centroid", "rounding": "litert"}),
    "fixed": ("digits", {"clip": "0.25:3", "levels": (5,)}),
    "ecsq_unary": ("digits", {"quantizer": "ecsq", "rate_term": "unary", "lam": 0.02}),
    "ecsq_zero": ("digits", {"quantizer": "ecsq-zero", "lam": 0.02}),
    "int16": ("digits", {"element": "int16", "levels": (4, 17)}),
    "float32": ("digits", {"element": "float32", "levels": (4, 17), "slice_rows": 2}),
    "h5": ("digits_h5", {}),
    "savedmodel": ("digits_savedmodel", {}),
    "float_tflite": ("digits_float_tflite", {}),
}


def _cut_of(network: Path, cut: str) -> str:
    """The cut after the second stage under the name it has in ``network``."""
    from isthmus_gen.models import load_model

    legal = [found for found in load_model(network).cuts() if found.legal]
    named = [found.name for found in legal if found.name == cut]
    return named[0] if named else [c.name for c in legal if tuple(c.shape) == (4, 4, 32)][-1]


@pytest.mark.parametrize("name", DIGITS)
def test_digits(name: str, network: Any, digits_data: Any, make_bundle: Any) -> None:
    source, options = DIGITS[name]
    path = network(source)
    made = make_bundle(
        model=path,
        cut=_cut_of(path, "stage2"),
        calibration=digits_data["calibration"],
        **{**SMALL, **options},
    )
    profile = made.bundle.profile
    assert profile.tensor.shape == (4, 4, 32)
    assert profile.tensor.dtype == options.get("element", "int8")
    assert [rung.levels for rung in profile.rungs] == list(options.get("levels", (4,)))
    rows = options.get("slice_rows", 0)
    assert profile.slices == (1 if rows == 0 else -(-4 // rows))
    if options.get("clip") == "0.25:3":
        assert profile.rungs[0].clip == (0.25, 3.0)
    check_whole_path(made.bundle.path)


RANKS = {
    "flat": ("flat", "features", (8, 8, 1), (64,)),
    "flattened": ("flat", "flattened", (8, 8, 1), (64,)),
    "conv1d": ("conv1d", "features", (32, 3), (16, 8)),
    "leaky": ("leaky", "features", (8, 8, 1), (8, 8, 8)),
}


@pytest.mark.parametrize("name", RANKS)
def test_ranks(name: str, network: Any, random_data: Any, make_bundle: Any) -> None:
    source, cut, given, shape = RANKS[name]
    made = make_bundle(
        model=network(source), cut=cut, calibration=random_data(given), levels=(4, 8),
        **({"c_min": "free", "element": "float32"} if name == "leaky" else {}),
    )  # fmt: skip
    assert made.bundle.profile.tensor.shape == shape
    # the two roundings differ in FULLY_CONNECTED, which `features` of `flat` comes from
    check_whole_path(made.bundle.path, exact_front=name != "flat")


def test_leaky_keeps_negative_features(network: Any, random_data: Any, make_bundle: Any) -> None:
    made = make_bundle(
        model=network("leaky"), cut="features", calibration=random_data((8, 8, 1)),
        c_min="free", element="float32", levels=(16,),
    )  # fmt: skip
    assert made.report["feature_min"] < 0
    assert made.bundle.profile.rungs[0].clip[0] < 0


def test_an_operator_without_c_is_refused_with_a_cut_that_works(
    network: Any, random_data: Any, make_bundle: Any
) -> None:
    options = {"model": network("elu"), "calibration": random_data((8, 8, 1))}
    with pytest.raises(ModelOperatorError) as caught:
        make_bundle(cut="features", **options)
    assert caught.value.path.endswith(" ELU")
    assert "DEQUANTIZE" not in str(caught.value)
    assert "--element float32" in caught.value.remedy
    named = re.search(r"cut at '([^']+)', which works", caught.value.remedy)
    assert named is not None
    made = make_bundle(cut=named.group(1), **options)
    assert made.bundle.profile.tensor.shape == (8, 8, 8)


def test_a_float_tree_has_no_front_half(network: Any, digits_data: Any, make_bundle: Any) -> None:
    path = network("digits_float_tflite")
    made = make_bundle(
        model=path, cut=_cut_of(path, "stage2"), calibration=digits_data["calibration"],
        element="float32", **SMALL,
    )  # fmt: skip
    tree = made.bundle.firmware / "src"
    assert not list(tree.glob("isth_front*"))
    assert "#define ISTH_HAS_FRONT 0" in (tree / "isth.h").read_text()
    assert "typedef float isth_element;" in (tree / "isth.h").read_text()
    check_whole_path(made.bundle.path)


REAL: dict[str, tuple[str, str | tuple[int, ...], str, dict[str, Any]]] = {
    "resnet8_int8": ("resnet8_int8.tflite", (16, 16, 32), "cifar10/test_lossless_500.npz", {}),
    "kws": ("kws.keras", "activation_8", "kws/test_994_mfcc.npz", {"levels": (4, 8)}),
    "vww": ("vww_96.keras", (6, 6, 128), "vww/eval_400.npz", {"preprocess": "unit"}),
    "resnet8_h5": ("resnet8_legacy.h5", (16, 16, 32), "cifar10/test_lossless_500.npz", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_networks(name: str, data_dir: Path, make_bundle: Any) -> None:
    from isthmus_gen.models import load_model

    file, cut, data, options = REAL[name]
    path = data_dir / "models" / "mlperf_tiny" / file
    if not isinstance(cut, str):
        legal = [found for found in load_model(path).cuts() if found.legal]
        cut = [found.name for found in legal if tuple(found.shape) == cut][-1]
    made = make_bundle(
        model=path, cut=cut, calibration=data_dir / data, limit=16, vectors=1, **options
    )
    check_whole_path(made.bundle.path)
    entry = made.bundle.profile.extra["input"]["preprocessing"]
    assert entry["kind"] == options.get("preprocess", "none")


def test_vectors_say_what_they_hold(network: Any, digits_data: Any, make_bundle: Any) -> None:
    import hashlib

    made = make_bundle(
        model=network("digits"), cut="stage2", calibration=digits_data["calibration"],
        levels=(4, 2), vectors=3, slice_rows=2, **SMALL,
    )  # fmt: skip
    root = made.bundle.path / "vectors"
    index = json.loads((root / "vectors.json").read_text())
    assert len(index["vectors"]) == 3
    seen = {"vectors.json"}
    for number, entry in enumerate(index["vectors"]):
        assert len(entry["rungs"]) == 2
        parts = [entry["input"], entry["tensor"]]
        for rung in entry["rungs"]:
            assert rung["sequence"] == number
            assert len(rung["final"]) == 2  # slices
            parts += [rung["levels"], rung["frame"]]
        for part in parts:
            data = (root / part["file"]).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (part["bytes"], part["sha256"])
            seen.add(part["file"])
    assert seen == {file.name for file in root.iterdir()}


def test_profile_digest_names_the_bundle(network: Any, digits_data: Any, make_bundle: Any) -> None:
    import hashlib

    made = make_bundle(
        model=network("digits"), cut="stage2", calibration=digits_data["calibration"], **SMALL
    )
    root = made.bundle.path
    digest = hashlib.sha256((root / "profile.json").read_bytes()).hexdigest()
    assert made.report["digest"] == digest
    assert json.loads((root / "manifest.json").read_text())["digest"] == digest
    frame = (root / "vectors" / "0_rung0_frame.bin").read_bytes()
    assert frame[4:6].hex() == digest[:4]
    assert Bundle.open(root, check=True).profile == Profile.load(root / "profile.json")


def test_calibration_is_streamed_over_all_inputs(
    network: Any, digits_data: Any, make_bundle: Any
) -> None:
    """Mean and variance of the report against the whole tensor at once, in numpy."""
    from isthmus_gen.models import load_model

    path = network("digits")
    made = make_bundle(model=path, cut="stage2", calibration=digits_data["calibration"])
    with np.load(digits_data["calibration"]) as archive:
        features = load_model(path).features("stage2", archive["x"]).astype(np.float64)
    assert made.report["calibration_inputs"] == len(features) == 200
    assert made.report["feature_mean"] == pytest.approx(features.mean(), rel=1e-6)
    assert made.report["feature_variance"] == pytest.approx(features.var(), rel=1e-6)
    assert made.report["feature_min"] == features.min()
    assert made.report["feature_max"] == pytest.approx(features.max(), rel=1e-6)
