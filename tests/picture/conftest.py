"""The digits with and without a picture decoder, once a session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isthmus.bundle import Bundle


@dataclass(frozen=True)
class Pair:
    """The same bundle without and with a picture decoder, and the digits' files."""

    plain: Bundle
    seeing: Bundle
    data: dict[str, Path]
    report: dict[str, Any]


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The packaged digits at their second stage, in two rungs."""
    from isthmus_gen import api
    from isthmus_gen.digits import DIGITS_DEFAULT_CUT, digits_model_path, write_digits_npz

    root = tmp_path_factory.mktemp("picture")
    data = write_digits_npz(root / "data")
    made = [
        api.generate(
            model=digits_model_path(), cut=DIGITS_DEFAULT_CUT, calibration=data["calibration"],
            out=root / name, levels=(8, 2), reconstruct_input=name == "seeing",
            picture_epochs=4,
        )
        for name in ("plain", "seeing")
    ]  # fmt: skip
    return Pair(made[0].bundle, made[1].bundle, data, made[1].report)
