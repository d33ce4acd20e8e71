"""Data files: real sets, packed sets, and files that must be refused with what is wrong."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from isthmus.errors import (
    DataDtypeError,
    DataEmptyError,
    DataError,
    DataFileError,
    DataNotFiniteError,
    DataShapeError,
    OptionError,
)
from isthmus_gen.data import load_data

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(**arrays: Any) -> Path:
        path = tmp_path / "set.npz"
        np.savez(path, **arrays)
        return path

    return write


def jpeg(array: np.ndarray, quality: int = 95) -> bytes:
    image = Image.fromarray(array)
    stream = io.BytesIO()
    image.save(stream, "PNG" if quality == 0 else "JPEG", quality=quality)
    return stream.getvalue()


def packed(*files: bytes) -> dict[str, np.ndarray]:
    offset = np.cumsum([0, *map(len, files)])
    return {"data": np.frombuffer(b"".join(files), np.uint8), "offset": offset}


def test_plain_set_is_read_as_it_was_written(save: Save) -> None:
    x = np.arange(5 * 3 * 2, dtype=np.uint8).reshape(5, 3, 2)
    y = np.array([4, 3, 2, 1, 0])
    data = load_data(save(x=x, y=y), need_labels=True, input_shape=(3, None))
    assert len(data) == 5
    assert data.shape == (3, 2)
    assert data.x.dtype == np.uint8
    np.testing.assert_array_equal(data.x, x)
    np.testing.assert_array_equal(data.y, y)


def test_batches_cover_the_set_once_and_in_order(save: Save) -> None:
    x = np.arange(7.0).reshape(7, 1)
    batches = list(load_data(save(x=x, y=np.arange(7))).batches(3))
    assert [len(part) for part, _ in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([part for part, _ in batches]), x)
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), np.arange(7))


def test_limit_keeps_the_first(save: Save) -> None:
    data = load_data(save(x=np.arange(8).reshape(4, 2), y=np.arange(4)), limit=3)
    assert len(data) == 3
    np.testing.assert_array_equal(data.x, np.arange(6).reshape(3, 2))
    np.testing.assert_array_equal(data.y, [0, 1, 2])


def test_a_limit_hides_nothing_of_the_labels_length(save: Save) -> None:
    with pytest.raises(DataShapeError, match="one label for each of the 4 inputs"):
        load_data(save(x=np.zeros((4, 2)), y=np.arange(3)), limit=2)


def test_packed_pictures_are_decoded(save: Save) -> None:
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (4, 6, 5, 3)).astype(np.uint8)
    files = [jpeg(p, quality=0) for p in pictures]  # PNG: lossless, so equality is meant
    data = load_data(save(**packed(*files), y=np.arange(4)), input_shape=(6, 5, 3))
    assert len(data) == 4
    np.testing.assert_array_equal(data.x, pictures)
    taken = [part for part, _ in data.batches(3)]
    np.testing.assert_array_equal(np.concatenate(taken), pictures)


def test_packed_pictures_become_grey_for_one_channel(save: Save) -> None:
    picture = np.full((4, 4, 3), 77, np.uint8)
    data = load_data(save(**packed(jpeg(picture, quality=0))), input_shape=(4, 4, 1))
    np.testing.assert_array_equal(data.x, np.full((1, 4, 4, 1), 77))


def test_packed_pictures_are_decoded_only_when_taken(save: Save) -> None:
    good = jpeg(np.zeros((4, 4, 3), np.uint8))
    data = load_data(save(**packed(good, good, b"not a picture")))
    batches = data.batches(2)
    assert next(batches)[0].shape == (2, 4, 4, 3)
    with pytest.raises(DataFileError, match=r"data\[2\]: not a picture"):
        next(batches)


def test_truncated_picture_is_refused(save: Save) -> None:
    rng = np.random.default_rng(2)
    whole = jpeg(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8))
    with pytest.raises(DataFileError, match=r"data\[0\]"):
        load_data(save(**packed(whole[: len(whole) // 2])))


def test_pictures_of_two_sizes_need_resize(save: Save) -> None:
    files = [jpeg(np.zeros((4, 4, 3), np.uint8)), jpeg(np.zeros((6, 4, 3), np.uint8))]
    path = save(**packed(*files))
    with pytest.raises(DataShapeError, match=r"data\[1\].*6x4x3.*resize=True"):
        _ = load_data(path).x
    assert load_data(path, input_shape=(5, 5, 3), resize=True).x.shape == (2, 5, 5, 3)


@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        ({"z": np.zeros(3)}, DataFileError, "no x in the file, which holds z"),
        ({"data": np.zeros(3, np.uint8)}, DataFileError, "no offset in the file"),
        ({"x": np.zeros((0, 4))}, DataEmptyError, "the set is empty, shape 0x4"),
        ({"x": np.zeros((3, 0))}, DataEmptyError, "shape 3x0"),
        ({"x": np.zeros(4)}, DataShapeError, "shape 4"),
        ({"x": np.array(1.0)}, DataShapeError, r"shape \(\)"),
        ({"x": np.array([["a"]])}, DataDtypeError, "x: the array holds <U1"),
        ({"x": np.zeros((2, 2), complex)}, DataDtypeError, "complex128"),
        ({"x": np.zeros((2, 2), bool)}, DataDtypeError, "bool"),
        ({"x": np.array([[1.0], [np.nan]])}, DataNotFiniteError, r"x\[1\]"),
        ({"x": np.array([[1.0], [2.0], [-np.inf]])}, DataNotFiniteError, r"x\[2\]"),
        ({"x": np.zeros((2, 2)), "y": np.array(["a", "b"])}, DataDtypeError, "y: "),
        ({"x": np.zeros((2, 2)), "y": np.zeros(3)}, DataShapeError, "y: "),
        ({"x": np.zeros((2, 2)), "y": np.array(1)}, DataShapeError, "y: "),
        ({"x": np.zeros((2, 2)), "y": np.array([0, np.nan])}, DataNotFiniteError, r"y\[1\]"),
        ({"data": np.zeros(9), "offset": np.arange(3)}, DataDtypeError, "not bytes"),
        ({"data": np.zeros(9, np.uint8), "offset": np.zeros(1, int)}, DataEmptyError, "offset"),
        ({"data": np.zeros(9, np.uint8), "offset": np.array([0, 10])}, DataFileError, "offset"),
        ({"data": np.zeros(9, np.uint8), "offset": np.array([0, 5, 3])}, DataFileError, "offset"),
        ({"data": np.zeros(9, np.uint8), "offset": np.array([-1, 5])}, DataFileError, "offset"),
        ({"data": np.zeros(9, np.uint8), "offset": np.array([0.0, 5])}, DataDtypeError, "offset"),
    ],
)
def test_bad_sets_are_refused(
    save: Save, arrays: dict[str, np.ndarray], error: type[DataError], words: str
) -> None:
    path = save(**arrays)
    with pytest.raises(error, match=words) as caught:
        load_data(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_labels(save: Save) -> None:
    path = save(x=np.zeros((2, 2)))
    assert load_data(path).y is None
    with pytest.raises(DataFileError, match="no y in the file"):
        load_data(path, need_labels=True)


def test_wrong_input_shape_names_both(save: Save) -> None:
    path = save(x=np.zeros((2, 8, 8)))
    with pytest.raises(DataShapeError, match="shape 8x8; allowed: 8x8x1"):
        load_data(path, input_shape=(8, 8, 1))


def test_limit_must_be_positive(save: Save) -> None:
    with pytest.raises(OptionError, match="limit"):
        load_data(save(x=np.zeros((2, 2))), limit=0)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no such file"):
        load_data(tmp_path / "none.npz")


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"not an \.npz"):
        load_data(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00", b"PK\x03\x04"])
def test_files_that_are_not_npz(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=r"not an \.npz"):
        load_data(path)


def test_single_array_file_is_not_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 2)))
    with pytest.raises(DataFileError, match=r"not an \.npz"):
        load_data(tmp_path / "x.npy")


class Boom:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a data file was unpickled",))


def test_objects_are_not_unpickled(save: Save) -> None:
    array = np.empty((1, 1), object)
    array[0, 0] = Boom()
    with pytest.raises(DataDtypeError, match="Python objects"):
        load_data(save(x=array))


def test_damaged_archive_is_refused(save: Save) -> None:
    path = save(x=np.arange(4096.0).reshape(64, 64))
    content = bytearray(path.read_bytes())
    content[9000] ^= 0xFF  # inside the array's bytes: the archive's checksum no longer fits
    path.write_bytes(content)
    with pytest.raises(DataFileError, match="cannot be read"):
        load_data(path)


def test_header_that_promises_more_than_is_there(tmp_path: Path) -> None:
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 4)}
    np.lib.format.write_array_header_1_0(stream, header)
    path = tmp_path / "huge.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", stream.getvalue() + bytes(16))
    with pytest.raises(DataFileError, match="the file holds 16 bytes"):
        load_data(path)


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "count", "classes"),
    [
        ("cifar10/test_lossless_500.npz", (32, 32, 3), np.uint8, 500, 10),
        ("kws/test_994_mfcc.npz", (49, 10, 1), np.float32, 994, 12),
        ("vww/eval_400.npz", (96, 96, 3), np.uint8, 400, 2),
        ("cifar10/train_jpeg_20000_packed.npz", (32, 32, 3), np.uint8, 20000, 10),
    ],
)
def test_real_sets(
    data_dir: Path, name: str, shape: tuple[int, ...], dtype: type, count: int, classes: int
) -> None:
    path = data_dir / name
    data = load_data(path, need_labels=True, input_shape=shape)
    assert len(data) == count
    first, labels = next(data.batches(16))
    assert first.shape == (16, *shape)
    assert first.dtype == dtype
    assert labels is not None
    assert set(np.unique(data.y)) == set(range(classes))


def test_real_pictures_of_many_sizes(data_dir: Path) -> None:
    path = data_dir / "coco" / "train2017_64_packed.npz"
    data = load_data(path, limit=3, input_shape=(320, 320, 3), resize=True)
    assert data.x.shape == (3, 320, 320, 3)
    assert data.y is None
    with pytest.raises(DataShapeError, match="allowed: 320x320x3"):
        load_data(path, input_shape=(320, 320, 3))
