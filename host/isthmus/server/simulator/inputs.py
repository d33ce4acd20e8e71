"""What simulated boards see: an .npz of inputs, or the inputs of the bundle's vectors."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.errors import (
    BundleFormatError,
    DataDtypeError,
    DataEmptyError,
    DataFileError,
    DataShapeError,
)
from isthmus.server.simulator.board import Board, device_inputs

__all__ = ["Inputs", "read_inputs"]


@dataclass(frozen=True)
class Inputs:
    """Device inputs, and the right class of each where it is known. ``source`` says whence."""

    data: list[bytes]
    labels: npt.NDArray[np.int64] | None
    source: str

    def __len__(self) -> int:
        return len(self.data)


def read_inputs(bundle: Bundle, board: Board, path: Path | None) -> Inputs:
    """The inputs in ``path`` (x, and y where it is there), else those of the vectors."""
    if path is None:
        return Inputs(_vectors(bundle, board), None, "vectors")
    x, y = _read_npz(path)
    if len(x) == 0:
        raise DataEmptyError(str(path), "holds no input", remedy="give at least one")
    return Inputs(device_inputs(bundle, board, x), y, str(path))


def _vectors(bundle: Bundle, board: Board) -> list[bytes]:
    """What the firmware takes first: inputs, or tensors where it has no front half."""
    where = bundle.path / "vectors" / "vectors.json"
    try:
        rows = json.loads(bundle.read("vectors/vectors.json"))["vectors"]
        key = "input" if board.has_front else "tensor"
        found = [bundle.read(f"vectors/{row[key]['file']}") for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleFormatError(str(where), f"is no list of vectors ({error})") from error
    if not found:
        raise DataEmptyError(str(where), "has no vectors", remedy="give inputs with --data")
    return found


def _read_npz(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64] | None]:
    try:
        with np.load(path, allow_pickle=False) as content:
            if not isinstance(content, np.lib.npyio.NpzFile) or "x" not in content:
                raise DataFileError(str(path), "has no array x", allowed="an .npz of x and y")
            x, y = content["x"], content.get("y")
    except OSError as error:
        raise DataFileError(str(path), f"cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataFileError(str(path), f"is no .npz ({error})") from error
    if x.ndim == 0 or x.dtype.kind not in "fiu":
        raise DataDtypeError(f"{path}: x", f"is {x.dtype}", allowed="an array of real numbers")
    if y is None or y.dtype.kind not in "iu" or y.ndim != 1:
        return x, None  # not the numbers of classes: accuracy is not told
    if len(y) != len(x):
        raise DataShapeError(f"{path}: y", f"has {len(y)} rows", allowed=f"{len(x)}, as x has")
    return x, y.astype(np.int64)
