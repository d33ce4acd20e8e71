"""The picture decoder in a bundle: optional, beside the profile, refused where it is damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.bundle import MANIFEST, Bundle, make_manifest
from isthmus.errors import (
    BundleEditedError,
    BundleFormatError,
    BundleMissingError,
    DataDtypeError,
    DataShapeError,
    ModelLoadError,
    OptionError,
)
from isthmus.picture import (
    PICTURE,
    PICTURE_MODEL,
    PictureDecoder,
    as_picture,
    has_picture,
    open_picture,
)


def test_a_bundle_without_one(pair: Any) -> None:
    assert not has_picture(pair.plain)
    assert open_picture(pair.plain) is None
    with pytest.raises(BundleMissingError) as caught:
        PictureDecoder(pair.plain)
    assert "--reconstruct-input" in caught.value.remedy


def test_what_it_says_of_itself(pair: Any) -> None:
    decoder = open_picture(pair.seeing)
    assert decoder is not None
    about = decoder.about
    assert [set(rung) for rung in about["rungs"]] == [{"levels", "psnr_db", "ssim"}] * 2
    assert any("features reveal the picture" in line for line in about["restrictions"])


def test_what_it_is_given_is_checked(pair: Any) -> None:
    decoder = PictureDecoder(pair.seeing)
    shape = pair.seeing.profile.tensor.shape
    assert decoder.picture(np.zeros((0, *shape), np.float32)).shape == (0, 8, 8, 1)
    with pytest.raises(DataDtypeError):
        decoder.picture(np.zeros((1, *shape)))
    for wrong in (shape, (1, *shape[:2], 3), (1, 1, *shape)):
        with pytest.raises(DataShapeError):
            decoder.picture(np.zeros(wrong, np.float32))
    with pytest.raises(OptionError):
        decoder.of_levels(np.zeros((1, *shape), np.uint8), 2)


def test_what_did_not_arrive_counts_as_zero(pair: Any) -> None:
    decoder = PictureDecoder(pair.seeing)
    shape = (1, *pair.seeing.profile.tensor.shape)
    levels = np.ones(shape, np.uint8)
    lost = np.zeros(shape, np.bool_)
    lost[:, 1] = True
    features = np.full(shape, pair.seeing.profile.rungs[0].values[1], np.float32)
    features[:, 1] = 0.0
    assert np.array_equal(decoder.of_levels(levels, 0, lost), decoder.picture(features))
    assert not np.array_equal(decoder.of_levels(levels, 0, lost), decoder.of_levels(levels, 0))


def test_outputs_become_whole_values() -> None:
    given = np.array([-1.0, 0.0, 0.49 / 16, 0.51 / 16, 1.0, 2.0, np.nan], np.float32)
    assert as_picture(given, 16).tolist() == [0, 0, 0, 1, 16, 16, 0]


def edited(source: Bundle, out: Path, name: str, content: bytes) -> Bundle:
    """A copy whose manifest agrees with a file that was replaced."""
    shutil.copytree(source.path, out)
    files = {one: (source.path / one).read_bytes() for one in source.files}
    files[name] = content
    (out / name).write_bytes(content)
    (out / MANIFEST).write_bytes(make_manifest(source.profile, files))
    return Bundle.open(out)


def _set(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (_set("format", value="9.0"), BundleFormatError, "format"),
        (_set("profile", value="00" * 32), BundleEditedError, "another profile"),
        (_set("output", value=3), BundleFormatError, "output.shape"),
        (_set("output", "shape", value=[8, 8, 2]), BundleFormatError, "output.shape"),
        (_set("output", "shape", value=[8, True, 1]), BundleFormatError, "output.shape"),
        (_set("output", "shape", value=[1 << 20, 1 << 20, 1]), BundleFormatError, "output.shape"),
        (_set("output", "shape", value=[9, 8, 1]), BundleFormatError, "inputs or outputs"),
        (_set("output", "peak", value=0), BundleFormatError, "output.peak"),
        (_set("output", "peak", value=1.5), BundleFormatError, "output.peak"),
    ],
)
def test_a_wrong_description_is_refused(
    pair: Any, tmp_path: Path, change: Callable[[dict[str, Any]], None], error: Any, words: str
) -> None:
    content = json.loads((pair.seeing.path / PICTURE).read_bytes())
    change(content)
    bundle = edited(pair.seeing, tmp_path / "b", PICTURE, json.dumps(content).encode())
    with pytest.raises(error, match=words):
        PictureDecoder(bundle)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_description_is_refused(pair: Any, tmp_path: Path, text: bytes) -> None:
    with pytest.raises(BundleFormatError):
        PictureDecoder(edited(pair.seeing, tmp_path / "b", PICTURE, text))


def test_a_wrong_network_is_refused(pair: Any, tmp_path: Path) -> None:
    other = (pair.seeing.path / "back.tflite").read_bytes()
    with pytest.raises(BundleFormatError, match="inputs or outputs"):
        PictureDecoder(edited(pair.seeing, tmp_path / "a", PICTURE_MODEL, other))
    with pytest.raises(ModelLoadError):
        PictureDecoder(edited(pair.seeing, tmp_path / "b", PICTURE_MODEL, b"no network"))
    shutil.copytree(pair.seeing.path, tmp_path / "c")
    (tmp_path / "c" / PICTURE_MODEL).write_bytes(other)  # the manifest says otherwise
    with pytest.raises(BundleEditedError):
        PictureDecoder(Bundle.open(tmp_path / "c"))
