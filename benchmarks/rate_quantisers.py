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
from isthmus_gen.codec_design import design_rungs, profile_of
from isthmus_gen.options import make_options

__all__ = ["LEVELS", "SCHEMES", "Designer", "Quantised", "quantise"]

Floats = npt.NDArray[np.float32]

LEVELS = (2, 3, 4, 5, 6, 7, 8)
SCHEMES = ("paper", "neighbour")
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


class Designer:
    """Makes the quantisers and profiles of one cut as ``isthmus generate`` makes them for float
    features: the calibration set is gone through once."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._tensor = TensorSpec(cut.name, cut.shape, "float32", 0.0, 0)
        self._statistics = TensorStatistics(cut.shape, name=f"features of {cut.name}")
        for begin in range(0, len(cut.calibration), _BATCH):
            self._statistics.update(cut.calibration[begin : begin + _BATCH])
        self._samples = list(cut.calibration[: max(1, _SAMPLE_ELEMENTS // cut.elements)])

    def family(
        self, kind: str, clip: str, levels: Sequence[int], schemes: Sequence[str]
    ) -> Iterator[Quantised]:
        """One kind of quantiser at every N, each with a rung in every scheme."""
        given: dict[str, object] = {
            "model": self._cut.task.model, "calibration": self._cut.task.calibration.file,
            "out": "none", "cut": self._cut.name, "levels": tuple(levels),
            "clip": _clip(self._cut, clip), "quantizer": kind, "element": "float32",
        }  # fmt: skip
        quantizers: list[Quantizer] | None = None
        profiles: dict[str, Profile] = {}
        for scheme in dict.fromkeys(("paper", *schemes)):
            options = make_options({**given, "scheme": scheme})
            designs = design_rungs(
                options, self._tensor, self._statistics, self._cut.activation, self._samples,
                quantizers,
            )  # fmt: skip
            quantizers = [design.quantizer for design in designs]
            profiles[scheme] = profile_of(options, self._tensor, designs)
        for rung, quantizer in enumerate(quantizers or []):
            values = {"published": quantizer.values}
            if quantizer.values_centroid is not None:
                values["centroid"] = quantizer.values_centroid
            yield Quantised(
                f"{kind}, {clip}",
                quantizer.levels,
                quantizer,
                {name: found.astype(np.float32) for name, found in values.items()},
                tuple((scheme, profiles[scheme], rung) for scheme in schemes),
                (kind, clip) == FAMILIES[0],
            )


def quantise(cut: Cut, schemes: Sequence[str], *, quick: bool = False) -> Iterator[Quantised]:
    """Every quantiser of a cut, with a profile for each of ``schemes``."""
    designer = Designer(cut)
    for kind, clip in FAMILIES[:2] if quick else FAMILIES:
        yield from designer.family(kind, clip, (2, 4) if quick else LEVELS, schemes)


def _clip(cut: Cut, rule: str) -> str:
    """A clip rule as ``isthmus generate`` takes it; both ends where features go below zero."""
    if not rule.startswith("p"):
        return rule
    share = float(rule[1:]) / 100
    if float(cut.calibration.min()) >= 0:
        return f"{np.quantile(cut.calibration, share):.9g}"
    low, high = np.quantile(cut.calibration, [1 - share, share])
    return f"{low:.9g}:{high:.9g}"
