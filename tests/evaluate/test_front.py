"""The firmware's C front half on this machine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from isthmus.bundle import Bundle
from isthmus.errors import (
    BundleFormatError,
    DataDtypeError,
    DataShapeError,
    ToolMissingError,
)
from isthmus_gen.data import DataSet
from isthmus_gen.evaluate import CompiledFront, GoldenFront, NativeFront, front, open_front


def test_native_equals_golden(digits_bundle: Bundle, digits_data: DataSet) -> None:
    native = open_front(digits_bundle)
    assert isinstance(native, NativeFront)
    expected = GoldenFront(digits_bundle).features(digits_data.x)
    np.testing.assert_array_equal(native.features(digits_data.x), expected)
    assert np.unique(expected).size > 50


def test_any_int8_input_equals_golden(digits_bundle: Bundle) -> None:
    rng = np.random.default_rng(5)
    inputs = rng.integers(-128, 128, (40, 8, 8, 1)).astype(np.int8)
    found = NativeFront(digits_bundle).run(inputs)
    np.testing.assert_array_equal(found, GoldenFront(digits_bundle).run(inputs))


def test_threads_do_not_meet(digits_bundle: Bundle, digits_data: DataSet) -> None:
    native = NativeFront(digits_bundle)
    expected = native.features(digits_data.x)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: native.features(digits_data.x), range(8)):
            np.testing.assert_array_equal(found, expected)


def test_without_a_compiler_the_golden_model_stands_in(
    digits_bundle: Bundle, digits_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> NoReturn:
        raise ToolMissingError("C compiler", "none was found")

    expected = open_front(digits_bundle).features(digits_data.x[:8])
    monkeypatch.setattr(front, "compile_shared", none)
    found = open_front(digits_bundle)
    assert found.engine == "golden"
    np.testing.assert_array_equal(found.features(digits_data.x[:8]), expected)


def test_no_inputs(digits_bundle: Bundle) -> None:
    found = NativeFront(digits_bundle).run(np.zeros((0, 8, 8, 1), np.int8))
    assert found.shape == (0, 4, 4, 32)


def test_wrong_inputs(digits_bundle: Bundle) -> None:
    native = NativeFront(digits_bundle)
    with pytest.raises(DataShapeError):
        native.run(np.zeros((2, 8, 9, 1), np.int8))
    with pytest.raises(DataDtypeError):
        native.run(np.zeros((2, 8, 8, 1), np.uint8))


def test_files_without_a_front(tmp_path: Path) -> None:
    with pytest.raises(BundleFormatError, match=r"isth_front\.h"):
        CompiledFront([tmp_path / "isth_k_sum.c"])
