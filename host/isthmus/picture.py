"""The input's picture out of decoded features, where the bundle has a decoder for it.

``generate --reconstruct-input`` trains that decoder on the calibration set. It lies beside the
profile (``picture.json``, ``picture.tflite``) and is no part of its digest: frames are the same
with it and without.

That it can be trained is a warning. Features reveal the picture: whoever holds frames of a device
and the bundle, or enough pictures and features to train on, sees what the camera saw.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.bundle import Bundle
from isthmus.errors import (
    BundleFormatError,
    BundleMissingError,
    DataDtypeError,
    DataShapeError,
    OptionError,
)
from isthmus.interpreters import Engine, open_tflite
from isthmus.profile import Profile
from isthmus.restore import Restorer

__all__ = [
    "PICTURE", "PICTURE_MODEL", "PictureDecoder", "as_picture", "has_picture", "open_picture",
    "write_picture",
]  # fmt: skip

PICTURE = "picture.json"
PICTURE_MODEL = "picture.tflite"
_FORMAT = "1.0"
_FILE_MAX = 64 << 20
_SIZE_MAX = 1 << 26

Pictures = npt.NDArray[np.uint8]


def has_picture(bundle: Bundle) -> bool:
    """Whether the bundle has a picture decoder."""
    return PICTURE in bundle.files


def open_picture(bundle: Bundle, *, engine: Engine = "auto") -> PictureDecoder | None:
    """The bundle's picture decoder, or None where it has none."""
    return PictureDecoder(bundle, engine=engine) if has_picture(bundle) else None


class PictureDecoder:
    """Pictures from features. Safe to use from several threads, one at a time runs.

    shape   of a picture, (height, width, 1 or 3)
    peak    its largest value: 255, or less where the network's inputs never had more
    about   what ``generate`` wrote of it: PSNR and SSIM on inputs held out, restrictions

    Raises BundleMissingError where the bundle has no decoder, BundleFormatError or
    BundleEditedError where it is damaged or another profile's, MissingExtraError without LiteRT.
    """

    def __init__(self, bundle: Bundle, *, engine: Engine = "auto") -> None:
        where = str(bundle.path / PICTURE)
        if not has_picture(bundle):
            raise BundleMissingError(
                where, "the bundle has no picture decoder",
                remedy="generate it again with --reconstruct-input",
            )  # fmt: skip
        self.profile = bundle.profile
        content = bundle.read_addition(PICTURE, _FORMAT, limit=_FILE_MAX)
        self.shape, self.peak = _shape(content, where), _peak(content, where)
        about = content.get("about")
        self.about: dict[str, Any] = dict(about) if isinstance(about, dict) else {}
        self._restorer = Restorer(self.profile)
        self._model = open_tflite(bundle.read(PICTURE_MODEL, limit=_FILE_MAX), engine=engine)
        given, made = self._model.inputs, self._model.outputs
        fits = len(given) == 1 and len(made) == 1
        fits = fits and tuple(given[0].shape[1:]) == self.profile.tensor.shape
        if not fits or tuple(made[0].shape[1:]) != self.shape:
            raise BundleFormatError(
                str(bundle.path / PICTURE_MODEL), "has other inputs or outputs than it should",
                allowed=f"{list(self.profile.tensor.shape)} to {list(self.shape)}",
                remedy="generate the bundle again",
            )  # fmt: skip

    def picture(self, features: npt.NDArray[np.float32]) -> Pictures:
        """Pictures uint8 [n, height, width, channels], 0..``peak``, for features [n, *shape].

        Features are those of the profile's values, without a restorer. DataShapeError,
        DataDtypeError.
        """
        shape = self.profile.tensor.shape
        if features.ndim != len(shape) + 1 or features.shape[1:] != shape:
            raise DataShapeError(
                "features", f"have shape {list(features.shape)}", allowed=f"[n, *{list(shape)}]"
            )
        if features.dtype != np.float32:
            raise DataDtypeError("features", f"are {features.dtype}", allowed="float32")
        if not len(features):
            return np.zeros((0, *self.shape), dtype=np.uint8)
        return as_picture(self._model.run(features)[0], self.peak)

    def of_levels(
        self,
        levels: npt.NDArray[np.uint8],
        rung: int,
        missing: npt.NDArray[np.bool_] | None = None,
    ) -> Pictures:
        """As :meth:`picture` for decoded levels uint8 [n, *shape] of ``rung``.

        Where ``missing`` is true the element did not arrive: it counts as 0.
        """
        rungs = len(self.profile.rungs)
        if not 0 <= rung < rungs:
            raise OptionError("rung", f"is {rung}", allowed=f"0..{rungs - 1}")
        return self.picture(self._restorer.restore(levels, rung, missing))


def as_picture(output: npt.NDArray[Any], peak: int) -> Pictures:
    """A decoder's output in 0..1 as whole values 0..``peak``; NaN becomes 0."""
    scaled = np.rint(np.nan_to_num(output.astype(np.float32)) * np.float32(peak))
    whole: Pictures = np.clip(scaled, 0, peak).astype(np.uint8)
    return whole


def write_picture(
    profile: Profile, shape: Sequence[int], peak: int, about: Mapping[str, Any]
) -> dict[str, bytes]:
    """The description of a picture decoder, by its file's name; the network is the caller's."""
    content = {
        "format": _FORMAT,
        "profile": profile.digest.hex(),
        "input": {"shape": list(profile.tensor.shape), "dtype": "float32"},
        "output": {"shape": list(shape), "dtype": "uint8", "peak": peak},
        "about": dict(about),
    }
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    return {PICTURE: text.encode("ascii")}


def _output(content: Mapping[str, Any]) -> Mapping[str, Any]:
    found = content.get("output")
    return found if isinstance(found, dict) else {}


def _shape(content: Mapping[str, Any], where: str) -> tuple[int, int, int]:
    shape = _output(content).get("shape")
    if isinstance(shape, list) and len(shape) == 3 and all(type(one) is int for one in shape):
        height, width, channels = shape
        if min(height, width) > 0 and height * width <= _SIZE_MAX and channels in (1, 3):
            return height, width, channels
    raise BundleFormatError(
        f"{where}: output.shape", "is no picture's", allowed="[height, width, 1 or 3]"
    )


def _peak(content: Mapping[str, Any], where: str) -> int:
    peak = _output(content).get("peak")
    if type(peak) is not int or not 1 <= peak <= 255:
        raise BundleFormatError(f"{where}: output.peak", "is wrong", allowed="1..255")
    return peak
