"""Features of the calibration set, kept in memory up to a bound, and cut in two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.codec.quantise import levels_of
from isthmus.interpreters import TensorInfo, quantize
from isthmus.profile import Profile
from isthmus_gen.data import DataSet, Preprocessing
from isthmus_gen.models import Cut, LoadedModel
from isthmus_gen.progress import Progress, no_progress

__all__ = ["FeatureSet", "collect_features", "levels_on_device"]

Floats = npt.NDArray[np.float32]
#: Bytes of features kept; the first inputs of the calibration set are taken.
MEMORY = 768 << 20
_BATCH = 64
_HELD_OUT_EVERY = 10


@dataclass(frozen=True)
class FeatureSet:
    """Features float32 [n, *shape] of the network itself and its outputs for them [n, ...].

    Every tenth input is held out: no weight is trained on it.
    """

    features: Floats
    outputs: Floats

    @property
    def held_out(self) -> npt.NDArray[np.int64]:
        """Indices that are held out."""
        return np.arange(_HELD_OUT_EVERY - 1, len(self.features), _HELD_OUT_EVERY)

    @property
    def training(self) -> npt.NDArray[np.int64]:
        """The other indices."""
        return np.setdiff1d(np.arange(len(self.features)), self.held_out)


def collect_features(
    model: LoadedModel,
    cut: Cut,
    data: DataSet,
    preprocessing: Preprocessing,
    back: Callable[[Floats], Floats],
    progress: Progress = no_progress,
    *,
    memory: int = MEMORY,
) -> FeatureSet:
    """One pass: features of as many inputs as ``memory`` bytes hold, and ``back``'s outputs."""
    count = max(1, min(len(data), memory // (4 * max(1, cut.elements))))
    features = np.empty((count, *cut.shape), dtype=np.float32)
    outputs: list[Floats] = []
    done = 0
    for x, _ in data.batches(_BATCH):
        found = model.features(cut, preprocessing.apply(x[: count - done]))
        features[done : done + len(found)] = found
        outputs.append(back(found))
        done += len(found)
        progress("collecting features", done, count)
        if done >= count:
            break
    return FeatureSet(features[:done], np.concatenate(outputs))


def levels_on_device(profile: Profile, rung: int, features: Floats) -> npt.NDArray[np.uint8]:
    """The levels uint8 [n, *shape] that the device sends for float features [n, *shape].

    Features are rounded to the device's elements first, as its own tensor is; what its int8 front
    half computes differently from the float network is not in it.
    """
    spec, chosen = profile.tensor, profile.rungs[rung]
    elements: npt.NDArray[Any] = features
    if spec.dtype != "float32":
        info = TensorInfo(spec.name, spec.shape, np.dtype(spec.dtype), spec.scale, spec.zero_point)
        elements = quantize(features, info)
    if spec.dtype == "int8" and chosen.table_i8 is not None:
        return np.frombuffer(chosen.table_i8, np.uint8)[elements.astype(np.int16) + 128]
    return np.stack([levels_of(profile, chosen, e).reshape(spec.shape) for e in elements])
