"""What a bottleneck sends and what it costs in accuracy, with whole frames of the real coder."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.decoder import make_codec
from isthmus.profile import Profile, TensorSpec
from isthmus_gen.bottleneck.codecs import jpeg_code, jpeg_scan_bytes
from isthmus_gen.bottleneck.collection import CutSet
from isthmus_gen.bottleneck.plan import TrainingPlan
from isthmus_gen.bottleneck.units import BOTTLENECK, Inserted
from isthmus_gen.calibrate import TensorStatistics
from isthmus_gen.codec_design import design_rungs, profile_of
from isthmus_gen.evaluate.statistics import Tally
from isthmus_gen.models import ActivationInfo
from isthmus_gen.options import make_options
from isthmus_gen.progress import Progress, no_progress

__all__ = ["Figures", "clip_of", "evaluate", "make_profile"]

Floats = npt.NDArray[np.float32]
_SAMPLE_ELEMENTS = 1 << 22
_MOST_SAMPLES = 8192
_BATCH = 128


@dataclass(frozen=True)
class Figures:
    """Measured on float features (the device's are int8: ``isthmus evaluate`` a bundle for those).

    bytes          mean of an input: a whole frame with its header, or JPEG's coded data alone
    file_bytes     JPEG: mean of whole files, headers and tables included; else None
    accuracy       share of right answers, None without labels
    whole          that of the whole network
    agreement      share of inputs whose first class is the whole network's; None without classes
    lost, gained   inputs that only the whole network, only the bottleneck's answers right
    output_error   the answers' root mean square difference from the whole network's, relative
    """

    inputs: int
    bytes: float
    file_bytes: float | None
    accuracy: float | None
    whole: float | None
    agreement: float | None
    lost: int
    gained: int
    output_error: float

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def clip_of(levels: int) -> str:
    """The range that coder "isthmus" was trained for, as ``--clip`` takes it: one step a level."""
    return f"0:{levels - 1}"


def make_profile(
    shape: tuple[int, int, int], levels: int, samples: Floats, *, target: str = "host"
) -> Profile:
    """The profile of float frames of a bottleneck [n, h, w, C]; contexts start from ``samples``."""
    options = make_options(
        {
            "model": Path("network"), "cut": BOTTLENECK, "calibration": Path("data"),
            "out": Path("none"), "codec": "bottleneck", "channels": shape[2], "levels": (levels,),
            "target": target, "element": "float32",
        }
    ).model_copy(update={"clip": clip_of(levels)})  # fmt: skip
    statistics = TensorStatistics(shape)
    statistics.update(samples)
    tensor = TensorSpec(BOTTLENECK, shape, "float32", 1.0, 0)
    designs = design_rungs(options, tensor, statistics, ActivationInfo("relu"), list(samples))
    return profile_of(options, tensor, designs)


def evaluate(
    inserted: Inserted,
    plan: TrainingPlan,
    calibration: CutSet,
    test: CutSet,
    index: npt.NDArray[np.int64] | None = None,
    progress: Progress = no_progress,
) -> Figures:
    """Sends inputs ``index`` of ``test`` (None: all) through the bottleneck and the real coder.

    The coder's contexts start from inputs of ``calibration`` that are not held out.
    """
    chosen = np.arange(len(test)) if index is None else index
    send = _jpeg(plan.quality) if plan.coder == "jpeg" else _frames(inserted, plan, calibration)
    tally, sizes, files = Tally(), 0, 0
    done = 0
    for part in test.batches(chosen, _BATCH):
        decoded, size, file = send(_reduced(inserted, test, part))
        sizes, files = sizes + size, files + file
        restored = inserted.restoration(decoded, training=False)
        found = np.asarray(inserted.back(restored, training=False), dtype=np.float32)
        known = None if test.labels is None else test.labels[part]
        tally.add(found, test.outputs[part], known)
        done += len(part)
        progress("measuring", done, len(chosen))
    whole = None
    if test.labels is not None:
        answers = test.outputs[chosen].argmax(axis=1)
        whole = float((answers == test.labels[chosen]).mean())
    return Figures(
        len(chosen),
        sizes / len(chosen),
        files / len(chosen) if plan.coder == "jpeg" else None,
        tally.accuracy,
        whole,
        tally.agreement,
        tally.lost,
        tally.gained,
        tally.output_error,
    )


_Send = Callable[[Floats], tuple[Floats, int, int]]


def _reduced(inserted: Inserted, data: CutSet, index: npt.NDArray[np.int64]) -> Floats:
    """The bottleneck's values of some inputs."""
    given = data.given(index)
    features = given if data.features else inserted.front(given, training=False)
    return np.asarray(inserted.reduction(features, training=False), dtype=np.float32)


def _frames(inserted: Inserted, plan: TrainingPlan, calibration: CutSet) -> _Send:
    """Codes a batch of values as frames, and gives what a host decodes of them."""
    most = min(_MOST_SAMPLES, max(1, _SAMPLE_ELEMENTS // math.prod(inserted.shape)))
    some = calibration.training[:most]
    samples = np.concatenate(
        [_reduced(inserted, calibration, part) for part in calibration.batches(some)]
    )
    profile = make_profile(inserted.shape, plan.levels, samples)
    codec, values = make_codec(profile), np.array(profile.rungs[0].values, np.float32)

    def send(features: Floats) -> tuple[Floats, int, int]:
        frames = [codec.encode(0, 0, one) for one in features]
        levels = np.stack([codec.decode(frame).levels for frame in frames])
        return values[levels].reshape(features.shape), sum(map(len, frames)), 0

    return send


def _jpeg(quality: int) -> _Send:
    def send(features: Floats) -> tuple[Floats, int, int]:
        made = [jpeg_code(one, quality) for one in features]
        scans = sum(jpeg_scan_bytes(content) for _, content in made)
        return np.stack([one for one, _ in made]), scans, sum(len(c) for _, c in made)

    return send
