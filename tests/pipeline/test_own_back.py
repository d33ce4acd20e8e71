"""``--back`` and ``--element``: a back half of one's own, and the type of the device's elements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus import BackHalf, Decoder
from isthmus.errors import DataShapeError, ModelFileError, OptionError


@pytest.fixture(scope="module")
def plain(network: Any, digits_data: Any, make_bundle: Any) -> Any:
    """The digits bundle with the back half of the cut."""
    return make_bundle(
        model=network("digits"), cut="stage2", calibration=digits_data["calibration"], limit=32
    )


def _keras_back(path: Path) -> Path:
    """The digits network from ``stage2`` on, as a network of its own."""
    import keras
    from pipeline_networks import save_network

    from isthmus_gen.digits import digits_model_path

    model = keras.models.load_model(digits_model_path(), compile=False)
    return save_network(keras.Model(model.get_layer("stage2").output, model.output), path)


def test_a_back_half_in_keras_gives_the_same_answers(
    plain: Any, network: Any, digits_data: Any, make_bundle: Any, tmp_path: Path
) -> None:
    made = make_bundle(
        model=network("digits"), cut="stage2", calibration=digits_data["calibration"], limit=32,
        back=_keras_back(tmp_path / "mine.keras"),
    )  # fmt: skip
    assert (made.bundle.path / "back.keras").is_file()
    # another back half, another profile: frames of one are refused by the other
    assert made.bundle.profile.digest != plain.bundle.profile.digest
    frame = (made.bundle.path / "vectors" / "0_rung0_frame.bin").read_bytes()
    features = Decoder(made.bundle).decode(frame).features
    ours, theirs = BackHalf(plain.bundle)(features), BackHalf(made.bundle)(features)
    # two float engines sum in their own order
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)
    assert theirs.argmax() == ours.argmax()


def test_a_back_half_for_another_cut_is_refused(
    plain: Any, network: Any, digits_data: Any, make_bundle: Any, tmp_path: Path
) -> None:
    options = {"model": network("digits"), "calibration": digits_data["calibration"], "limit": 8}
    out = tmp_path / "out"
    with pytest.raises(DataShapeError, match=r"\[8, 8, 16\]"):
        make_bundle(out=out, cut="stage1", back=plain.bundle.path / "back.tflite", **options)
    with pytest.raises(ModelFileError, match="no such file"):
        make_bundle(out=out, cut="stage2", back=tmp_path / "none.tflite", **options)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(OptionError, match=r"\.onnx"):
        make_bundle(out=out, cut="stage2", back=tmp_path / "mine.txt", **options)
    assert not out.exists()


def test_an_int8_network_has_no_float_front(data_dir: Path, make_bundle: Any) -> None:
    from isthmus_gen.models import load_model

    path = data_dir / "models" / "mlperf_tiny" / "resnet8_int8.tflite"
    cut = next(c.name for c in load_model(path).cuts() if c.legal and c.shape == (8, 8, 64))
    with pytest.raises(OptionError, match="--element"):
        make_bundle(
            model=path, cut=cut, calibration=data_dir / "cifar10/test_lossless_500.npz", limit=4,
            element="float32",
        )  # fmt: skip
