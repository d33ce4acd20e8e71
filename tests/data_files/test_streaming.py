"""Sets larger than memory, values beyond float32, and what an error says of them."""

from __future__ import annotations

import io
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import DataFileError, DataNotFiniteError, OptionError
from isthmus_gen.data import Preprocessing, load_data

SAVERS = {"stored": np.savez, "compressed": np.savez_compressed}
ROWS, SHAPE = 6000, (32, 32, 3)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """18 MB of pictures, both kinds of archive; picture i has the value i % 251 everywhere."""
    x = np.empty((ROWS, *SHAPE), np.uint8)
    x[:] = (np.arange(ROWS) % 251).reshape(-1, 1, 1, 1)
    folder = tmp_path_factory.mktemp("large")
    for name, save in SAVERS.items():
        save(folder / f"{name}.npz", x=x, y=np.arange(ROWS))
    return {name: folder / f"{name}.npz" for name in SAVERS}


def peak_of(step: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", SAVERS)
def test_a_pass_over_a_large_set_holds_one_batch(large: dict[str, Path], kind: str) -> None:
    def go_through() -> None:
        seen = 0
        for x, y in load_data(large[kind]).batches(64):
            assert y is not None
            assert (x[:, 0, 0, 0] == y % 251).all()
            assert (x == x[:, :1, :1, :1]).all()
            seen += len(x)
        assert seen == ROWS

    assert peak_of(go_through) < 6 << 20  # the set has 18 MB


@pytest.mark.parametrize("kind", SAVERS)
def test_a_limit_reads_no_more_than_it_asks_for(
    large: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    original = zipfile.ZipExtFile.read

    def counted(self: Any, n: int | None = -1) -> bytes:
        piece = original(self, n)
        if self.name == "x.npy":
            taken.append(len(piece))
        return piece

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    data = load_data(large[kind], limit=100)
    assert len(data) == 100
    assert data.x.shape == (100, *SHAPE)
    assert data.x[-1, 0, 0, 0] == 99
    assert sum(taken) < 3 * 100 * 32 * 32 * 3  # checked once, taken once, and heads


def test_all_inputs_are_those_of_the_batches(large: dict[str, Path]) -> None:
    data = load_data(large["compressed"])
    np.testing.assert_array_equal(data.x, np.concatenate([x for x, _ in data.batches(1000)]))
    np.testing.assert_array_equal(data.x, np.load(large["stored"])["x"])


@pytest.mark.parametrize("kind", SAVERS)
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">i2", "u1", "<f2"])
def test_every_order_of_bytes_and_axes(tmp_path: Path, kind: str, dtype: str) -> None:
    x = np.arange(7 * 3 * 2).reshape(7, 3, 2).astype(dtype)
    for number, given in enumerate((x, np.asfortranarray(x))):
        path = tmp_path / f"{number}.npz"
        SAVERS[kind](path, x=given)
        data = load_data(path, limit=6)
        assert data.x.dtype == x.dtype
        np.testing.assert_array_equal(data.x, x[:6])
        np.testing.assert_array_equal(np.concatenate([b for b, _ in data.batches(4)]), x[:6])


@pytest.mark.parametrize("kind", SAVERS)
def test_a_bad_value_is_named_by_its_row(tmp_path: Path, kind: str) -> None:
    x = np.zeros((3000, 200))  # several chunks
    x[2345, 7] = np.nan
    SAVERS[kind](tmp_path / "nan.npz", x=x)
    with pytest.raises(DataNotFiniteError, match=r"nan\.npz: x\[2345\]: the data hold NaN"):
        load_data(tmp_path / "nan.npz")
    assert len(load_data(tmp_path / "nan.npz", limit=2345)) == 2345


def test_a_file_that_changes_after_it_was_checked(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, x=np.arange(4096.0).reshape(64, 64))
    data = load_data(path)
    content = bytearray(path.read_bytes())
    content[9000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataFileError, match="cannot be read"):
        list(data.batches(8))


@pytest.mark.filterwarnings("error")
def test_values_beyond_float32_are_named(tmp_path: Path) -> None:
    path = tmp_path / "wide.npz"
    x = np.ones((5, 4))
    x[3, 2] = -1e300
    np.savez(path, x=x)
    with pytest.raises(DataNotFiniteError) as caught:
        load_data(path)
    assert str(caught.value) == (
        f"{path}: x[3]: the value -1e+300 is beyond float32; "
        "allowed: -3.40282e+38 to 3.40282e+38; scale the data, or remove that input"
    )
    np.savez(path, x=np.full((5, 4), np.finfo(np.float32).max, np.float64))
    assert np.isfinite(Preprocessing("none").apply(load_data(path).x)).all()


@pytest.mark.filterwarnings("error")
def test_a_preprocessing_that_leaves_float32() -> None:
    with pytest.raises(OptionError, match="--preprocess: 1e\\+30,0 takes these inputs beyond"):
        Preprocessing.parse("1e30,0").apply(np.array([[1e10]]))
    for text in ("1e39,0", "1,1e39", "1e-60,0"):
        with pytest.raises(OptionError, match="is not a preprocessing"):
            Preprocessing.parse(text)


def test_a_bad_picture_is_told_without_addresses(tmp_path: Path) -> None:
    path = tmp_path / "packed.npz"
    np.savez(path, data=np.frombuffer(b"no picture", np.uint8), offset=np.array([0, 10]))
    with pytest.raises(DataFileError) as caught:
        load_data(path)
    assert "not a picture that Pillow can decode (unknown format)" in str(caught.value)
    assert not re.search("0x[0-9a-f]{6}", str(caught.value))


def test_an_archive_with_a_password_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 2)))
    path = tmp_path / "locked.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", stream.getvalue())
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag of encryption in the member's own header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    path.write_bytes(content)
    with pytest.raises(DataFileError, match="cannot be read"):
        load_data(path)
