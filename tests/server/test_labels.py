"""Class names: what a file of them may hold, and how they come into a bundle."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.bundle import MANIFEST, Bundle
from isthmus.errors import BundleEditedError, BundleFormatError, OptionError
from isthmus.labels import (
    LABELS,
    MAX_LABEL_LENGTH,
    make_labels,
    parse_labels,
    read_label_file,
    read_labels,
)
from isthmus_gen import api
from isthmus_gen.digits import (
    DIGITS_DEFAULT_CUT,
    DIGITS_PREPROCESSING,
    digits_model_path,
    write_digits_names,
    write_digits_npz,
)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"cat\ndog\n", ("cat", "dog")),
        (b"cat\ndog", ("cat", "dog")),
        (b"\xef\xbb\xbfcat\r\ndog\r\n", ("cat", "dog")),
        ("Käse\nネコ\n".encode(), ("Käse", "ネコ")),
        (b"<script>\n a b \n", ("<script>", " a b ")),
    ],
)
def test_names_are_read(data: bytes, names: tuple[str, ...]) -> None:
    assert parse_labels(data, "labels.txt") == names


@pytest.mark.parametrize(
    ("data", "where", "what"),
    [
        (b"", "labels.txt", "holds no names"),
        (b"\n", "labels.txt", "holds no names"),
        (b"cat\n\ndog\n", "labels.txt:2", "is empty"),
        (b"cat\n   \n", "labels.txt:2", "is empty"),
        (b"cat\n\xff\n", "labels.txt", "is not UTF-8 (byte 4)"),
        (b"cat\nd\x1b[2Jog\n", "labels.txt:2", "holds the control character U+001B"),
        (b"ca\x00t\n", "labels.txt:1", "holds the control character U+0000"),
        (b"ca\rt\n", "labels.txt:1", "holds the control character U+000D"),
        ("a\u202eb\n".encode(), "labels.txt:1", "holds the control character U+202E"),
        ("a\u2028b\n".encode(), "labels.txt:1", "holds the control character U+2028"),
        (b"x" * 201, "labels.txt:1", "has 201 characters, more than 200"),
        (b"x\n" * 65537, "labels.txt", "has 65537 lines"),
    ],
)
def test_what_cannot_be_shown_is_refused(data: bytes, where: str, what: str) -> None:
    with pytest.raises(BundleFormatError) as caught:
        parse_labels(data, "labels.txt")
    assert (caught.value.path, caught.value.what) == (where, what)


def test_the_longest_name_is_taken() -> None:
    assert parse_labels(b"x" * MAX_LABEL_LENGTH, "l") == ("x" * 200,)


def test_what_is_written_is_read_again() -> None:
    names = ("0", "ß", "a b")
    assert parse_labels(make_labels(names), "l") == names


def test_a_file_beside_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a\nb\n", encoding="utf-8")
    assert read_label_file(tmp_path / "names.txt") == ("a", "b")
    for name in ("none.txt", "."):
        with pytest.raises(OptionError):
            read_label_file(tmp_path / name)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same bundle without names and with them."""
    root = tmp_path_factory.mktemp("labels")
    data = write_digits_npz(root)

    def make(name: str, class_names: Path | None) -> Bundle:
        return api.generate(
            model=digits_model_path(), cut=DIGITS_DEFAULT_CUT, calibration=data["calibration"],
            out=root / name, levels=(3,), preprocess=DIGITS_PREPROCESSING, limit=40,
            class_names=class_names,
        ).bundle  # fmt: skip

    return {
        "root": root,
        "data": data,
        "make": make,
        "plain": make("plain", None),
        "named": make("named", write_digits_names(root)),
    }


def test_generate_writes_them_beside_the_profile(digits: dict[str, Any]) -> None:
    plain, named = digits["plain"], digits["named"]
    assert read_labels(plain) == ()
    assert read_labels(named) == tuple("0123456789")
    assert set(named.files) - set(plain.files) == {LABELS}
    assert named.files[LABELS] == hashlib.sha256(b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n").hexdigest()
    assert named.profile.digest == plain.profile.digest
    report = json.loads(named.read("report.json"))
    at = report["command"].index("--class-names")
    assert report["command"][at + 1] == "digits_names.txt"


def test_the_report_tells_the_shares_of_the_outer_cells(digits: dict[str, Any]) -> None:
    """Counted again from the frames that the bundle's own quantiser makes of the same inputs."""
    from isthmus_gen.data import Preprocessing
    from isthmus_gen.models import load_model, resolve_cut

    bundle = digits["plain"]
    low, high = json.loads(bundle.read("report.json"))["rungs"][0]["end_shares"]
    with np.load(digits["data"]["calibration"]) as file:
        x = file["x"][:40]
    model = load_model(digits_model_path())
    features = model.features(
        resolve_cut(model, DIGITS_DEFAULT_CUT), Preprocessing.parse("none").apply(x)
    )
    thresholds = bundle.profile.rungs[0].thresholds
    assert high == pytest.approx(np.mean(features >= thresholds[-1]), abs=1e-3)
    assert low == pytest.approx(np.mean(features < thresholds[0]), abs=1e-3)
    assert 0 < high < low < 1


def test_a_wrong_count_is_refused_before_any_work(digits: dict[str, Any]) -> None:
    nine = digits["root"] / "nine.txt"
    nine.write_text("a\n" * 9, encoding="utf-8")
    with pytest.raises(OptionError) as caught:
        digits["make"]("wrong", nine)
    assert caught.value.path == f"--class-names {nine}"
    assert caught.value.what == "holds 9 names"
    assert caught.value.allowed.startswith("10, one for each value of the output")
    with pytest.raises(OptionError) as caught:
        digits["make"]("wrong", digits["root"] / "missing.txt")
    assert caught.value.path.startswith("--class-names")
    assert not (digits["root"] / "wrong").exists()


def test_an_edited_file_is_refused(digits: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(digits["named"].path, copy)
    (copy / LABELS).write_text("1\n0\n", encoding="utf-8")
    with pytest.raises(BundleEditedError):
        read_labels(Bundle.open(copy))
    # and one that is long beyond reason before it is read
    with (copy / LABELS).open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(BundleFormatError, match="is too long"):
        read_labels(Bundle.open(copy))
    assert (copy / MANIFEST).is_file()
