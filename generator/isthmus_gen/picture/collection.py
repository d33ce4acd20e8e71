"""Features of the calibration set beside the pictures they came from, in memory up to a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import OptionError
from isthmus_gen.data import DataSet, Preprocessing
from isthmus_gen.models import Cut, LoadedModel
from isthmus_gen.picture.inputs import as_pictures
from isthmus_gen.progress import Progress, no_progress

__all__ = ["OPTION", "PictureSet", "collect_pictures", "pictures_of"]

OPTION = "--reconstruct-input"
Floats = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]
#: Bytes of features kept; the first inputs of the calibration set are taken.
MEMORY = 768 << 20
_BATCH = 64
_HELD_OUT_EVERY = 5


@dataclass(frozen=True)
class PictureSet:
    """Features float32 [n, *shape] without coding and their pictures uint8 [n, h, w, 1 or 3].

    ``peak`` is the largest value that the pictures may have. Of ten inputs eight are trained on,
    one says when to stop, and one is only measured.
    """

    features: Floats
    pictures: Pictures
    peak: int

    @property
    def training(self) -> npt.NDArray[np.int64]:
        """Indices that are trained on."""
        index: npt.NDArray[np.int64] = np.arange(len(self.features), dtype=np.int64)
        return np.delete(index, slice(_HELD_OUT_EVERY - 1, None, _HELD_OUT_EVERY))

    @property
    def watched(self) -> npt.NDArray[np.int64]:
        """Indices whose error says when to stop."""
        return np.arange(_HELD_OUT_EVERY - 1, len(self.features), 2 * _HELD_OUT_EVERY)

    @property
    def held_out(self) -> npt.NDArray[np.int64]:
        """Indices that are only measured."""
        return np.arange(2 * _HELD_OUT_EVERY - 1, len(self.features), 2 * _HELD_OUT_EVERY)


def pictures_of(data: DataSet, x: npt.NDArray[Any]) -> Pictures:
    """Inputs [n, ...] of ``data`` as pictures; OptionError where they are none."""
    found = as_pictures(x)
    if found is None:
        raise OptionError(
            OPTION, f"the inputs of {data.path.name}, {list(x.shape[1:])} each, are no pictures",
            allowed="[height, width, 1 or 3] with whole values 0..255 before --preprocess",
        )  # fmt: skip
    return found


def collect_pictures(
    model: LoadedModel,
    cut: Cut,
    data: DataSet,
    preprocessing: Preprocessing,
    progress: Progress = no_progress,
    *,
    memory: int = MEMORY,
) -> PictureSet:
    """One pass over as many inputs as ``memory`` bytes of features hold.

    ``peak`` becomes 255 for uint8 inputs, else the largest value there is. OptionError where
    inputs are no pictures.
    """
    count = max(1, min(len(data), memory // (4 * max(1, cut.elements))))
    features = np.empty((count, *cut.shape), dtype=np.float32)
    pictures: Pictures = np.empty((count, *data.shape), dtype=np.uint8)
    done = peak = 0
    for batch, _ in data.batches(_BATCH):
        x = batch[: count - done]
        found = pictures_of(data, x)
        peak = 255 if x.dtype == np.uint8 else max(peak, int(found.max(initial=0)))
        features[done : done + len(x)] = model.features(cut, preprocessing.apply(x))
        pictures[done : done + len(x)] = found
        done += len(x)
        progress("collecting pictures", done, count)
        if done >= count:
            break
    return PictureSet(features, pictures, max(1, peak))
