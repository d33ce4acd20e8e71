"""The quantisers of the rivals' comparison: every N of several families, and Isthmus's profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.codecs.base import Array8
from benchmarks.rate_models import Cut
from isthmus.profile import Profile, TensorSpec
from isthmus_gen.calibrate import Quantizer, TensorStatistics
from isthmus_gen.codec_design import design_rungs
from isthmus_gen.options import GenerateOptions, make_options

__all__ = ["LEVELS", "Quantised", "quantise", "schemes"]

Floats = npt.NDArray[np.float32]

LEVELS = (2, 3, 4, 5, 6, 7, 8)
#: Quantiser and clip rule; "p99" clips at that percentile of the calibration features.
FAMILIES = (
    ("uniform", "model"),
    ("uniform", "p99.9"),
    ("uniform", "p99"),
    ("uniform", "p98"),
    ("ecsq", "model"),
)
_SAMPLE_ELEMENTS = 1 << 22
_BATCH = 64


@dataclass(frozen=True)
class Quantised:
    """A quantiser of ``count`` levels, the ``values`` float32 [count] that may be put back for
    them, and the rung of a profile for each of Isthmus's schemes.

    ``first`` marks the first family of quantisers.
    """

    family: str
    count: int
    quantizer: Quantizer
    values: Mapping[str, Floats]
    profiles: tuple[tuple[str, Profile, int], ...]
    first: bool

    @property
    def setting(self) -> str:
        """As tables say it."""
        return f"N {self.count}, {self.family}"

    def levels(self, features: Floats) -> Array8:
        """The levels of features, batch by batch (int64 of the whole set would be large)."""
        out = np.empty(features.shape, dtype=np.uint8)
        for begin in range(0, len(features), _BATCH):
            at = slice(begin, begin + _BATCH)
            out[at] = self.quantizer.level(features[at])
        return out


def schemes() -> tuple[str, ...]:
    """The context schemes that this version of Isthmus has."""
    known = GenerateOptions.model_fields.get("scheme")
    return ("paper",) if known is None else ("paper", "neighbour")


def quantise(cut: Cut, used: Sequence[str], *, quick: bool = False) -> Iterator[Quantised]:
    """Every quantiser of a cut, as ``isthmus generate`` would make it for float features, with a
    profile for each of the schemes ``used``."""
    tensor = TensorSpec(cut.name, cut.shape, "float32", 0.0, 0)
    statistics = TensorStatistics(cut.shape, name=f"features of {cut.name}")
    for begin in range(0, len(cut.calibration), _BATCH):
        statistics.update(cut.calibration[begin : begin + _BATCH])
    samples = list(cut.calibration[: max(1, _SAMPLE_ELEMENTS // cut.elements)])
    levels = (2, 4) if quick else LEVELS
    for number, (kind, clip) in enumerate(FAMILIES[:2] if quick else FAMILIES):
        given: dict[str, object] = {
            "model": cut.task.model, "calibration": cut.task.calibration.file, "out": "none",
            "cut": cut.name, "levels": levels, "clip": _clip(cut, clip), "quantizer": kind,
            "element": "float32",
        }  # fmt: skip
        designs = {}
        profiles = {}
        for scheme in {"paper": None, **dict.fromkeys(used)}:
            named = {"scheme": scheme} if len(schemes()) > 1 else {}
            options = make_options({**given, **named})
            made = design_rungs(options, tensor, statistics, cut.activation, samples)
            designs[scheme] = made
            rungs = tuple(design.rung for design in made)
            profiles[scheme] = Profile(tensor, rungs, tensor.rows)
        for rung, count in enumerate(levels):
            quantizer = designs["paper"][rung].quantizer
            values = {"published": quantizer.values}
            if quantizer.values_centroid is not None:
                values["centroid"] = quantizer.values_centroid
            yield Quantised(
                f"{kind}, {clip}",
                count,
                quantizer,
                {name: found.astype(np.float32) for name, found in values.items()},
                tuple((scheme, profiles[scheme], rung) for scheme in used),
                number == 0,
            )


def _clip(cut: Cut, rule: str) -> str:
    """A clip rule as ``isthmus generate`` takes it; both ends where features go below zero."""
    if not rule.startswith("p"):
        return rule
    share = float(rule[1:]) / 100
    if float(cut.calibration.min()) >= 0:
        return f"{np.quantile(cut.calibration, share):.9g}"
    low, high = np.quantile(cut.calibration, [1 - share, share])
    return f"{low:.9g}:{high:.9g}"
