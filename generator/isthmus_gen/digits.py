"""The embedded default: handwritten digits of scikit-learn and the small network trained on them.

The pictures are the 1,797 digits of ``sklearn.datasets.load_digits`` (8 x 8 pixels, values 0..16,
part of the UCI set "Optical Recognition of Handwritten Digits"); they lie inside the scikit-learn
package, so nothing is downloaded. The network lies beside ``examples/digits/train.py`` in a
checkout and under ``isthmus_gen/_data`` in a wheel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import MissingExtraError, ModelFileError

__all__ = [
    "DIGITS_DEFAULT_CUT",
    "DIGITS_PREPROCESSING",
    "DigitsPart",
    "digits_model_path",
    "load_digits_split",
    "write_digits_names",
    "write_digits_npz",
]

#: The tensor after the second residual stage: 4 x 4 x 32, after a ReLU.
DIGITS_DEFAULT_CUT = "stage2"
#: The network takes the values 0..16 as they are.
DIGITS_PREPROCESSING = "none"

# Blocks of the file's own order. The set was collected writer by writer, so a block holds writers
# of its own and the test pictures come from hands that training has hardly seen; a random split
# would put the same hands on both sides and flatter the network.
_TRAIN_END = 1197
_CALIBRATION_END = 1397


@dataclass(frozen=True)
class DigitsPart:
    """One part of the digits: ``x`` float32 [n, 8, 8, 1] in 0..16, ``y`` int64 [n] in 0..9."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)


def load_digits_split() -> tuple[DigitsPart, DigitsPart, DigitsPart]:
    """The parts (train 1,197, calibration 200, test 400): fixed, without overlap.

    Raises MissingExtraError where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError(
            "scikit-learn",
            "the digits come from scikit-learn, which is not installed",
            remedy="pip install 'isthmus[generate]'",
        ) from error
    pictures, labels = load_digits(return_X_y=True)
    x = np.asarray(pictures, dtype=np.float32).reshape(-1, 8, 8, 1)
    y = np.asarray(labels, dtype=np.int64)
    edges = (0, _TRAIN_END, _CALIBRATION_END, len(x))
    parts = [DigitsPart(x[begin:end], y[begin:end]) for begin, end in pairwise(edges)]
    return parts[0], parts[1], parts[2]


def write_digits_npz(directory: Path) -> dict[str, Path]:
    """Write the three parts as ``digits_<part>.npz`` (x, y) and return their paths by part."""
    directory.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    for name, part in zip(("train", "calibration", "test"), load_digits_split(), strict=True):
        paths[name] = directory / f"digits_{name}.npz"
        np.savez_compressed(paths[name], x=part.x, y=part.y)
    return paths


def write_digits_names(directory: Path) -> Path:
    """Write ``digits_names.txt``, the names of the ten classes, and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "digits_names.txt"
    path.write_text("".join(f"{digit}\n" for digit in range(10)), encoding="utf-8")
    return path


def digits_model_path() -> Path:
    """Where ``digits.keras`` lies: in the checkout if this is one, else in the installed package.

    Raises ModelFileError where it is in neither.
    """
    package = Path(__file__).resolve().parent
    candidates = (
        package.parents[1] / "examples" / "digits" / "digits.keras",
        package / "_data" / "digits" / "digits.keras",
    )
    for path in candidates:
        if path.is_file():
            return path
    raise ModelFileError(
        "digits.keras",
        "the packaged digits network is missing",
        remedy="reinstall isthmus, or run `make digits` in a checkout",
    )
