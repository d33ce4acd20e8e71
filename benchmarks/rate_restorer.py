"""Isthmus's frames with a restorer on the host, trained as ``isthmus generate`` trains one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.codecs.base import Array8
from benchmarks.codecs.isthmus_codec import Isthmus
from benchmarks.rate_models import Cut
from benchmarks.rate_quantisers import Designer, Quantised
from isthmus_gen.restoration import BackRunner, FeatureSet, make_restorer

__all__ = ["SETTINGS", "restorers"]

Floats = npt.NDArray[np.float32]
#: N and clip percentile: coarser and lower than without a restorer, which makes up for it.
SETTINGS = ((3, "p97"), (3, "p98.7"), (2, "p92"), (4, "p98.5"))
_BATCH = 64
_SEED = 1


def restorers(
    cut: Cut, name: str, say: Callable[[str], None], *, quick: bool = False
) -> Iterator[tuple[Isthmus, Quantised, Callable[[Array8], Floats]]]:
    """A trained restorer for each setting, with the codec of its frames.

    The better of cell centroids and network on inputs held out is taken, as ``--restorer auto``
    does; which one is said in the codec's setting. Networks need a back half in Keras or are
    trained on features alone; answers of several outputs are not compared: centroids there.
    """
    features = _training(cut, quick)
    outputs = cut.back(features[:_BATCH])
    single = isinstance(outputs, np.ndarray)
    given = FeatureSet(features, _outputs(cut, features) if single else _flat(cut, features))
    back = BackRunner(cut.back if single else lambda x: _flat(cut, x), cut.graph)
    designer = Designer(cut)
    for count, clip in SETTINGS[:1] if quick else SETTINGS:
        (one,) = designer.family("uniform", clip, (count,), ("neighbour",))
        ((_, profile, rung),) = one.profiles
        made = make_restorer(
            profile, given, back, use="auto" if single else "centroids",
            epochs=1 if quick else 6, seed=_SEED,
        )  # fmt: skip
        kind = made.rungs[rung].kind
        say(f"{cut.task.name} {cut.name}: {one.setting}, restorer {kind}")
        codec = Isthmus(name, f"{one.setting}, {kind}", profile, rung)
        yield codec, one, _in_batches(made.rungs[rung])


def _training(cut: Cut, quick: bool) -> Floats:
    """Features of the training inputs; the calibration features where there are no others."""
    part = cut.task.training
    if part is None or quick:
        return cut.calibration
    inputs, _ = part.load(cut.data, cut.task.size, part.most)
    return cut.front(inputs)


def _outputs(cut: Cut, features: Floats) -> Floats:
    parts = [cut.back(features[i : i + _BATCH]) for i in range(0, len(features), _BATCH)]
    return np.concatenate(parts)


def _flat(cut: Cut, features: Floats) -> Floats:
    """Answers of several outputs side by side, [n, values]."""
    return np.concatenate([out.reshape(len(features), -1) for out in cut.back(features)], axis=1)


def _in_batches(restore: Callable[[Array8], Floats]) -> Callable[[Array8], Floats]:
    def whole(levels: Array8) -> Floats:
        return np.concatenate(
            [restore(levels[i : i + _BATCH]) for i in range(0, len(levels), _BATCH)]
        )

    return whole
