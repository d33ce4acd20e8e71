"""The embedded digits: the parts, the committed network and its accuracy."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np

from isthmus_gen.data import load_data
from isthmus_gen.digits import (
    DIGITS_DEFAULT_CUT,
    digits_model_path,
    load_digits_split,
    write_digits_npz,
)


def test_parts_are_fixed_and_cover_the_set_once() -> None:
    from sklearn.datasets import load_digits

    parts = load_digits_split()
    assert [len(part) for part in parts] == [1197, 200, 400]
    bunch = load_digits()
    together = np.concatenate([part.x for part in parts])
    np.testing.assert_array_equal(together[..., 0], bunch.images)
    np.testing.assert_array_equal(np.concatenate([part.y for part in parts]), bunch.target)
    # The split is part of every figure printed for it: it must not move.
    digest = hashlib.sha256(parts[2].x.astype(np.uint8).tobytes()).hexdigest()
    assert digest.startswith("5b68afde1863bc44")


def test_no_test_picture_is_a_training_picture() -> None:
    train, calibration, test = load_digits_split()
    seen = {picture.tobytes() for part in (train, calibration) for picture in part.x}
    assert not any(picture.tobytes() in seen for picture in test.x)


def test_parts_as_data_files(tmp_path: Path) -> None:
    paths = write_digits_npz(tmp_path / "new")
    for name, part in zip(("train", "calibration", "test"), load_digits_split(), strict=True):
        data = load_data(paths[name], need_labels=True, input_shape=(8, 8, 1))
        np.testing.assert_array_equal(data.x, part.x)
        np.testing.assert_array_equal(data.y, part.y)


def test_network_is_small_and_holds_no_times(repo_root: Path) -> None:
    path = digits_model_path()
    assert path == repo_root / "examples" / "digits" / "digits.keras"
    assert path.stat().st_size < 200_000
    with zipfile.ZipFile(path) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        assert set(json.loads(archive.read("metadata.json"))) == {"keras_version"}


def test_network_reads_97_percent_of_the_test_part() -> None:
    import keras

    network = keras.models.load_model(digits_model_path())
    _, _, test = load_digits_split()
    guess = np.argmax(network.predict(test.x, batch_size=100, verbose=0), axis=1)
    assert np.mean(guess == test.y) >= 0.97
    assert network.get_layer(DIGITS_DEFAULT_CUT).output.shape == (None, 4, 4, 32)
