"""The pictures themselves as rivals of the coded features."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus_gen.data import load_data
from isthmus_gen.evaluate.rivals import as_pictures, jpeg_scan_bytes, measure_rivals


def _pictures() -> NDArray[np.uint8]:
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (70, 4, 4, 3)).astype(np.uint8)
    return small.repeat(6, axis=1).repeat(6, axis=2)


@pytest.mark.parametrize(("quality", "progressive"), [(90, False), (20, False), (60, True)])
def test_scan_bytes_are_what_stands_between_the_markers(quality: int, progressive: bool) -> None:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(_pictures()[0]).save(out, "JPEG", quality=quality, progressive=progressive)
    file = out.getvalue()
    total = 0
    for part in file.split(b"\xff\xda")[1:]:
        # After the marker: two bytes of length, the header, then data up to the next marker.
        data = part[int.from_bytes(part[:2], "big") :]
        marks = (i for i in range(len(data) - 1) if data[i] == 0xFF and data[i + 1])
        end = next(marks, len(data))  # split() took the marker of a scan that follows at once
        total += end
    assert jpeg_scan_bytes(file) == total
    assert 0 < total < len(file) - 150


def test_what_counts_as_pictures() -> None:
    pictures = _pictures()
    assert as_pictures(pictures) is pictures
    floats = np.arange(16.0, dtype=np.float32).reshape(1, 4, 4, 1)
    found = as_pictures(floats)
    assert found is not None
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, floats)
    assert as_pictures(floats / 16) is None
    assert as_pictures(floats - 1) is None
    assert as_pictures(pictures[:, :, :, :2]) is None
    assert as_pictures(np.zeros((3, 10), np.uint8)) is None


def test_sizes_and_answers(tmp_path: Path) -> None:
    from PIL import Image

    x = _pictures()
    np.savez(tmp_path / "set.npz", x=x, y=np.zeros(len(x), np.int64))
    seen: list[NDArray[Any]] = []

    def predict(given: NDArray[Any]) -> NDArray[np.float32]:
        """Class 0 for the exact picture, class 1 for one that lost something on its way."""
        seen.append(given)
        known = {picture.tobytes() for picture in x}
        lost = np.array([p.astype(np.uint8).tobytes() not in known for p in given])
        return np.stack([~lost, lost], axis=1).astype(np.float32)

    found = measure_rivals(
        load_data(tmp_path / "set.npz"), predict, np.zeros(len(x), np.int64), limit=66
    )
    by_name = {rival.name: rival for rival in found}
    assert by_name["raw"].bytes_per_input == 24 * 24 * 3
    sizes = []
    for picture in x[:66]:
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "PNG", optimize=True)
        sizes.append(len(out.getvalue()))
    assert by_name["PNG"].bytes_per_input == sum(sizes) / 66
    assert by_name["PNG"].accuracy == 1.0
    assert by_name["JPEG 10"].accuracy == 0.0
    assert by_name["JPEG 10"].inputs == 66
    jpegs = [by_name[f"JPEG {q}"] for q in (90, 75, 50, 25, 10)]
    assert all(a.bytes_per_input > b.bytes_per_input for a, b in pairwise(jpegs))
    for rival in jpegs:
        assert rival.bytes_without_tables is not None
        assert rival.bytes_without_tables < rival.bytes_per_input


def test_lossy_formats_are_left_out_where_values_do_not_span_a_byte(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=np.ones((3, 8, 8, 1), np.float32))
    answers = np.zeros((3, 2), np.float32)
    found = measure_rivals(load_data(tmp_path / "set.npz"), lambda _: answers, None, limit=9)
    assert [rival.name for rival in found] == ["raw", "PNG"]
    assert found[0].accuracy is None
    assert found[0].bytes_per_input == 64


def test_other_inputs_have_no_rivals(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=np.full((3, 8, 8, 1), 0.25, np.float32))
    assert measure_rivals(load_data(tmp_path / "set.npz"), lambda x: x, None, limit=9) == ()
