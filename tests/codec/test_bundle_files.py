"""A bundle's files: where they may lie, what they may be, and who says what is in them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from codec_profiles import make_profile

from isthmus import backhalf, files
from isthmus.backhalf import BackHalf
from isthmus.bundle import Bundle, file_digest, make_manifest
from isthmus.errors import (
    BundleEditedError,
    BundleError,
    BundleFormatError,
    DataDtypeError,
    DataShapeError,
    ModelLoadError,
)
from isthmus.interpreters import TensorInfo
from isthmus.profile import Profile

BACK = b"the back half"
FRONT = b"the front half"


def write(path: Path, name: str = "back.tflite", content: bytes = BACK) -> Path:
    """A bundle with two halves and a source file."""
    halves = {"front": ("front.tflite", FRONT), "back": (name, content)}
    extra = {
        key: {"file": file, "sha256": file_digest(data)} for key, (file, data) in halves.items()
    }
    profile = make_profile(3, (2, 2), extra=extra)
    content_of = dict(halves.values())
    content_of |= {"profile.json": profile.canonical(), "firmware/src/a.c": b"1"}
    for file, data in content_of.items():
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_bytes(data)
    (path / "manifest.json").write_bytes(make_manifest(profile, content_of))
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write(tmp_path / "bundle")


class Doubler:
    """Stands for an engine: twice the features."""

    def __init__(self, inputs: int = 1) -> None:
        self.inputs = [TensorInfo(f"x{k}", (-1, 2, 2), np.dtype(np.float32)) for k in range(inputs)]

    def run_float(self, x: Any) -> list[Any]:
        assert x.dtype == np.float32
        return [2 * x]


def forge(bundle: Path, name: str, content: bytes) -> None:
    """Changes a file and makes the manifest say so, as whoever can write the one can the other."""
    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = file_digest(content)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["front.tflite", "back.tflite"])
def test_a_half_is_what_the_profile_names(bundle: Path, name: str) -> None:
    """The frames' digest covers the halves; a manifest that was edited along with one does not."""
    Bundle.open(bundle, check=True)
    forge(bundle, name, b"another half")
    opened = Bundle.open(bundle)
    with pytest.raises(BundleEditedError, match=rf"{name}: was changed after it was generated"):
        opened.check()
    with pytest.raises(BundleEditedError, match=rf"{name}: was changed after it was generated"):
        opened.read(name)
    if name.startswith("back"):
        with pytest.raises(BundleEditedError):
            BackHalf(bundle)


def test_a_half_that_no_manifest_lists(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["files"]["front.tflite"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    (bundle / "front.tflite").write_bytes(b"another half")
    with pytest.raises(BundleEditedError, match=r"front\.tflite: was changed"):
        Bundle.open(bundle, check=True)


def test_a_back_half_without_a_digest(tmp_path: Path) -> None:
    profile = make_profile(3, (2, 2), extra={"back": {"file": "back.tflite"}})
    content = {"profile.json": profile.canonical(), "back.tflite": BACK}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "manifest.json").write_bytes(make_manifest(profile, content))
    with pytest.raises(BundleFormatError, match=r"^profile\.extra\.back\.sha256: is missing$"):
        BackHalf(tmp_path)


def test_keras_opens_the_bytes_that_were_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle's file may be exchanged after it was read: Keras is given a private copy."""
    bundle = write(tmp_path / "bundle", "back.keras")
    seen: list[Path] = []

    def opened(path: Path) -> Any:
        (bundle / "back.keras").write_bytes(b"exchanged")
        assert path.read_bytes() == BACK
        assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0
        seen.append(path)
        return Doubler()

    monkeypatch.setattr(backhalf, "check_keras", lambda *_: None)
    monkeypatch.setattr(backhalf, "open_keras", opened)
    BackHalf(bundle)
    assert seen[0].suffix == ".keras"
    assert not seen[0].exists()

    def refused(path: Path) -> Any:
        raise ModelLoadError(str(path), "Keras refuses it", remedy="save it again")

    monkeypatch.setattr(backhalf, "open_keras", refused)
    (bundle / "back.keras").write_bytes(BACK)
    with pytest.raises(ModelLoadError) as caught:
        BackHalf(bundle)
    assert caught.value.path == str(bundle / "back.keras")


def test_what_a_back_half_takes(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists and other dtypes as numpy reads them; ragged and wrong shapes are refused."""
    monkeypatch.setattr(backhalf, "check_tflite", lambda *_: None)
    monkeypatch.setattr(backhalf, "open_tflite", lambda *_, **__: Doubler())
    back = BackHalf(bundle)
    one = [[1, 2], [3, 4]]
    assert back(one).tolist() == [[2.0, 4.0], [6.0, 8.0]]
    assert back([one, one]).shape == (2, 2, 2)
    assert back(np.array([one], np.float64)).dtype == np.float32
    for wrong in ([1, 2], 3, [[one]]):
        with pytest.raises(DataShapeError, match=r"^features: have shape"):
            back(wrong)
    for words in ([[1, 2], [3]], "text", None, [["a", "b"], ["c", "d"]]):
        with pytest.raises((DataDtypeError, DataShapeError), match=r"^features: "):
            back(words)  # type: ignore[arg-type]


@pytest.mark.parametrize("inputs", [0, 2])
def test_a_back_half_has_one_input(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, inputs: int
) -> None:
    monkeypatch.setattr(backhalf, "check_tflite", lambda *_: None)
    monkeypatch.setattr(backhalf, "open_tflite", lambda *_, **__: Doubler(inputs))
    with pytest.raises(BundleFormatError, match=rf"back\.tflite: has {inputs} inputs; allowed"):
        BackHalf(bundle)


NAMES = ["profile.json", "manifest.json", "firmware/src/a.c"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["link", "fifo", "device", "folder", "dangling"])
def test_regular_files_only(bundle: Path, tmp_path: Path, name: str, kind: str) -> None:
    """A FIFO would wait for ever, /dev/zero never end, a link lead out of the bundle."""
    file = bundle / name
    content = file.read_bytes()
    file.unlink()
    if kind == "link":
        (tmp_path / "outside").write_bytes(content)
        file.symlink_to(tmp_path / "outside")
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to(tmp_path / "none")
    with pytest.raises(BundleFormatError, match=r"symbolic link|is not a regular file") as caught:
        Bundle.open(bundle, check=True)
    assert caught.value.path == str(file)
    if name.startswith("firmware"):
        with pytest.raises(BundleFormatError, match=r"symbolic link|is not a regular file"):
            Bundle.open(bundle).read(name)


def test_folders_of_a_bundle_are_no_links(bundle: Path, tmp_path: Path) -> None:
    (bundle / "firmware").rename(tmp_path / "firmware")
    (bundle / "firmware").symlink_to(tmp_path / "firmware")
    with pytest.raises(BundleFormatError, match=r"a\.c: is reached by a symbolic link"):
        Bundle.open(bundle, check=True)


def test_the_bundle_itself_may_be_reached_by_a_link(bundle: Path, tmp_path: Path) -> None:
    """As `current -> release-7` does."""
    (tmp_path / "current").symlink_to(bundle)
    assert Bundle.open(tmp_path / "current", check=True).read("firmware/src/a.c") == b"1"


@pytest.mark.parametrize("name", ["profile.json", "manifest.json"])
def test_texts_are_read_to_a_limit(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    size = max((bundle / file).stat().st_size for file in ("profile.json", "manifest.json"))
    monkeypatch.setattr(files, "TEXT_LIMIT", size)
    Bundle.open(bundle)
    with (bundle / name).open("ab") as stream:
        stream.write(b" " * size)
    with pytest.raises(BundleFormatError, match=rf"{name}: is too long; allowed: <= {size} bytes"):
        Bundle.open(bundle)


@pytest.mark.parametrize("name", ["c:a", "C:/a", "a:b", "a/b:stream", "./a", "a/.", "."])
def test_names_that_mean_something_else_elsewhere(bundle: Path, name: str) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = "0" * 64
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleFormatError, match=r"manifest\.json: is not a manifest"):
        Bundle.open(bundle)
    with pytest.raises(BundleError):
        Bundle(bundle, Profile.load(bundle / "profile.json"), {name: "0" * 64}).read(name)


def test_a_profile_alone(bundle: Path, tmp_path: Path) -> None:
    assert Profile.load(bundle / "profile.json").tensor.shape == (2, 2)
    assert Profile.load(str(bundle / "profile.json")).tensor.shape == (2, 2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleFormatError, match=r"pipe: is not a regular file"):
        Profile.load(tmp_path / "pipe")
