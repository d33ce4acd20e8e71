"""Which engine may stand in for the tflite-micro wheel where that is not installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import MissingExtraError, ModelLoadError
from isthmus_gen import golden


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The engines that were opened; there is no tflite-micro wheel."""
    opened: list[str] = []

    def open_tflite(tflite: bytes, *, engine: str) -> None:
        opened.append(engine)
        if engine == "tflm":
            raise MissingExtraError("verify", "no wheel")

    monkeypatch.setattr(golden, "open_tflite", open_tflite)
    return opened


def _product(builder: Any, output_scale: float) -> bytes:
    model = builder()
    x, y = model.tensor((1, 8), 0.03235, 7), model.tensor((1, 8), output_scale, -5)
    factors = model.tensor((8,), 0.1517, -3, data=np.arange(8, dtype=np.int8))
    model.operator("MUL", [x, factors], [y], "MulOptions")
    return bytes(model.build([x], [y]))


def test_the_other_engine_stands_in_where_both_agree(new_model: Any, engines: list[str]) -> None:
    exact = float(np.float32(0.03235)) * float(np.float32(0.1517)) * 128
    tflite = next(
        found
        for found in (_product(new_model, exact * factor) for factor in np.linspace(1, 2, 50))
        if golden._profiles_agree(found)
    )
    golden.open_golden(tflite, "tflm")
    assert engines == ["tflm", "litert_ref"]


def test_nothing_stands_in_where_they_differ(new_model: Any, engines: list[str]) -> None:
    """Each engine's ratio of these scales is another number (test_operators_elementwise.py)."""
    with pytest.raises(MissingExtraError):
        golden.open_golden(_product(new_model, 0.4382), "tflm")
    assert engines == ["tflm"]
    golden.open_golden(_product(new_model, 0.4382), "litert")
    assert engines == ["tflm", "litert_ref"]


def test_nothing_stands_in_for_fully_connected(new_model: Any, engines: list[str]) -> None:
    model = new_model()
    x, y = model.tensor((1, 4), 0.1), model.tensor((1, 2), 0.1)
    w = model.tensor((2, 4), 0.1, data=np.ones((2, 4), np.int8))
    model.operator("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions")
    with pytest.raises(MissingExtraError):
        golden.open_golden(model.build([x], [y]), "tflm")
    assert engines == ["tflm"]


def test_what_the_wheel_refuses_says_which_profile_to_take(
    new_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TILE, which the wheel lacks: LiteRT stands in, unless another operator differs."""

    def open_tflite(tflite: bytes, *, engine: str) -> str:
        if engine == "tflm":
            raise ModelLoadError("model", "tflm refuses it")
        return engine

    monkeypatch.setattr(golden, "open_tflite", open_tflite)
    model = new_model()
    x, y = model.tensor((1, 4), 0.1), model.tensor((1, 8), 0.1)
    times = model.tensor((2,), dtype="INT32", data=np.array([1, 2], dtype=np.int32))
    model.operator("TILE", [x, times], [y], "TileOptions")
    assert golden.open_golden(model.build([x], [y]), "tflm") == "litert_ref"
    with pytest.raises(ModelLoadError, match="tflm refuses it; take --rounding litert"):
        golden.open_golden(_product(new_model, 0.4382), "tflm")
