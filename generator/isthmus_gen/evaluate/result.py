"""What an evaluation found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus_gen.evaluate.picture import PictureResult
from isthmus_gen.evaluate.rivals import Rival
from isthmus_gen.evaluate.rungs import RungResult
from isthmus_gen.evaluate.statistics import Interval

__all__ = ["BottleneckCut", "Evaluation", "FeatureHistogram", "PathResult"]


@dataclass(frozen=True)
class PathResult:
    """One path through the network: accuracy and agreement with the whole network, 0..1."""

    accuracy: float | None
    agreement: float | None
    delta: Interval | None
    output_error: float


@dataclass(frozen=True)
class FeatureHistogram:
    """Counts int64 [bins] of the device's features between edges float64 [bins + 1]."""

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]


@dataclass(frozen=True)
class BottleneckCut:
    """Where a learned bottleneck was put into the network.

    ``cut`` and ``elements`` are the whole network's tensor that it stands for; what is sent has
    ``channels`` channels and 1 / ``stride`` of its height and width.
    """

    cut: str
    elements: int
    channels: int
    stride: int


@dataclass(frozen=True)
class Evaluation:
    """An evaluated bundle. Accuracies and agreements are fractions in 0..1, None without labels.

    inputs       inputs evaluated
    whole        accuracy of the whole network
    halves       front and back half in float (int8 halves of a network that is int8 itself)
    front_int8   the device's int8 front, no coding; None where the device runs floats
    rungs        the coded path at each rung asked for; the first is the chosen one
    front_engine "native" (the firmware's C), "golden" or "float"
    front_mse    mean squared error of the device's features against the float front's, or None
    flash_bytes, ram_bytes  of the tree on the bundle's target where they are known, else None
    bottleneck   where a learned bottleneck stands, or None; ``cut`` is then its own output
    picture      the inputs' pictures out of the features, or None without a picture decoder
    """

    model: str
    cut: str
    digest: str
    data: str
    inputs: int
    elements: int
    front_engine: str
    whole: float | None
    halves: PathResult
    front_int8: PathResult | None
    rungs: tuple[RungResult, ...]
    rivals: tuple[Rival, ...]
    histogram: FeatureHistogram
    front_mse: float | None
    macs_device: int
    macs_whole: int
    answer_bytes: int
    notes: tuple[str, ...] = ()
    codec: str = "lightweight"
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    bottleneck: BottleneckCut | None = None
    picture: PictureResult | None = None

    @property
    def network_cut(self) -> str:
        """The tensor of the whole network that is sent, or that a bottleneck stands for."""
        return self.cut if self.bottleneck is None else self.bottleneck.cut

    @property
    def network_elements(self) -> int:
        """Elements of :attr:`network_cut`: what rates of different codecs are compared by."""
        return self.elements if self.bottleneck is None else self.bottleneck.elements

    def setting(self, rung: RungResult) -> str:
        """What a rung is, in a few words: its bound, or its levels and the bottleneck's size."""
        place = self.bottleneck
        if place is None:
            return rung.setting
        return f"C = {place.channels}, S = {place.stride}, {rung.setting}"

    @property
    def chosen(self) -> RungResult:
        """The rung whose figures stand at the top."""
        return self.rungs[0]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: one flat object for the chosen rung, and lists for the rest."""
        chosen = self.chosen.as_dict()
        front = self.front_int8
        return {
            "model": self.model,
            "codec": self.codec,
            "cut": self.cut,
            "digest": self.digest,
            "data": self.data,
            "inputs": self.inputs,
            "elements": self.elements,
            "front_engine": self.front_engine,
            "accuracy_whole": self.whole,
            "accuracy_halves": self.halves.accuracy,
            "accuracy_front_int8": None if front is None else front.accuracy,
            "accuracy_decoded": chosen["accuracy_decoded"],
            "agreement_halves": self.halves.agreement,
            "agreement_front_int8": None if front is None else front.agreement,
            "agreement_decoded": chosen["agreement_decoded"],
            "delta_halves": _interval(self.halves.delta),
            "delta_front_int8": None if front is None else _interval(front.delta),
            "delta_decoded": chosen["delta_decoded"],
            "output_error_halves": self.halves.output_error,
            "output_error_front_int8": None if front is None else front.output_error,
            "output_error_decoded": chosen["output_error_decoded"],
            "rung": chosen["rung"],
            "levels": chosen["levels"],
            "bits_per_element": chosen["bits_per_element"],
            "bits_per_element_payload": chosen["bits_per_element_payload"],
            "bytes_per_input": chosen["bytes_per_input"],
            "bytes_percentiles": chosen["bytes_percentiles"],
            "level_counts": chosen["level_counts"],
            "clip_fraction": chosen["clip_fraction"],
            "feature_mse": chosen["feature_mse"],
            "feature_mse_front_int8": self.front_mse,
            "rungs": [rung.as_dict() for rung in self.rungs],
            "rivals": [rival.as_dict() for rival in self.rivals],
            "macs_device": self.macs_device,
            "macs_whole": self.macs_whole,
            "answer_bytes": self.answer_bytes,
            "notes": list(self.notes),
            **({} if self.bottleneck is None else {"bottleneck": asdict(self.bottleneck)}),
            **({} if self.picture is None else {"picture": self.picture.as_dict()}),
        }


def _interval(value: Interval | None) -> dict[str, float] | None:
    return None if value is None else value.as_dict()
