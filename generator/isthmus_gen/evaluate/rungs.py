"""The coded path of one rung: tensors to frames, frames to features, and what that costs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.binarisation import binarisation
from isthmus.codec import SliceHeader, payload_max
from isthmus.conceal_slices import cut_frame
from isthmus.decoder import Codec, Decoder, make_codec
from isthmus.errors import FrameError
from isthmus.profile import Profile, Rung
from isthmus_gen.evaluate.front import dequantise
from isthmus_gen.evaluate.statistics import Interval, Tally, percentiles

__all__ = ["RungMeter", "RungResult", "header_bytes"]


def header_bytes(frame: bytes) -> int:
    """Bytes of all headers of one frame."""
    return sum(SliceHeader.read(part).header_bytes for part in cut_frame(frame))


def _paper_codec(profile: Profile, rung: Rung) -> Codec | None:
    """A codec of the same levels as published: one context a bin, started at one half.

    None for near-lossless rungs, whose grid is not the published codec's.
    """
    if rung.bound is not None:
        return None
    plain = dataclasses.replace(
        rung,
        contexts=None,
        initial=(1 << 15,) * binarisation(rung.levels).context_count,
        payload_max=payload_max(rung.levels, rung.rate, profile.tensor.elements),
        budget_start=0,
        size_ratios=(),
    )
    return make_codec(Profile(profile.tensor, (plain,), max(1, profile.tensor.rows)))


@dataclass(frozen=True)
class RungResult:
    """What one rung does on a data set. Accuracies and shares in 0..1, lengths in bytes.

    thresholds, values        reals; () where every channel has its own
    bits_per_element          of the whole frame, headers included
    bits_per_element_payload  without headers
    bits_per_element_paper    of the same levels as one slice of scheme "paper", contexts started at
                              one half as published, header included; None for near-lossless
    lengths                   int64 [inputs], the frames' lengths
    level_counts              int64 [levels], how often each level was sent
    clip_fraction             share of elements outside the clip range
    feature_mse               mean squared error of decoded features against the device's tensor
    output_error              relative RMS error of the network's outputs against the whole's
    bound                     near-lossless: D, in steps of 8 bits; None for other codecs
    """

    rung: int
    levels: int
    quantizer: str
    clip: tuple[float, float]
    thresholds: tuple[float, ...]
    values: tuple[float, ...]
    accuracy_decoded: float | None
    agreement_decoded: float | None
    delta_decoded: Interval | None
    output_error: float
    bits_per_element: float
    bits_per_element_payload: float
    bits_per_element_paper: float | None
    bytes_per_input: float
    lengths: npt.NDArray[np.int64]
    level_counts: npt.NDArray[np.int64]
    clip_fraction: float
    feature_mse: float
    bound: int | None = None

    @property
    def setting(self) -> str:
        """What the rung is: its levels, or its bound."""
        return f"N = {self.levels}" if self.bound is None else f"D = {self.bound}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; lengths as percentiles."""
        return {
            "rung": self.rung,
            "levels": self.levels,
            "quantizer": self.quantizer,
            "clip_min": self.clip[0],
            "clip_max": self.clip[1],
            "accuracy_decoded": self.accuracy_decoded,
            "agreement_decoded": self.agreement_decoded,
            "delta_decoded": None if self.delta_decoded is None else self.delta_decoded.as_dict(),
            "output_error_decoded": self.output_error,
            "bits_per_element": self.bits_per_element,
            "bits_per_element_payload": self.bits_per_element_payload,
            "bits_per_element_paper": self.bits_per_element_paper,
            "bytes_per_input": self.bytes_per_input,
            "bytes_percentiles": percentiles(self.lengths),
            "level_counts": [int(count) for count in self.level_counts],
            "clip_fraction": self.clip_fraction,
            "feature_mse": self.feature_mse,
            **({} if self.bound is None else {"bound": self.bound}),
        }


class RungMeter:
    """Sends batches of tensors through one rung and adds up what happens."""

    def __init__(self, decoder: Decoder, rung: int) -> None:
        self.profile = decoder.profile
        self.index = rung
        self.rung = self.profile.rungs[rung]
        self.tally = Tally()
        self._decoder = decoder
        self._lengths: list[int] = []
        self._counts = np.zeros(self.rung.levels, dtype=np.int64)
        self._outside = self._elements = self._headers = self._paper_bytes = 0
        self._paper = _paper_codec(self.profile, self.rung)
        self._squares = 0.0

    def send(self, tensors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Device tensors [n, *shape] -> features float32 [n, *shape] as the host gets them.

        Each tensor becomes a frame in the C (or reference) encoder; the frames are decoded from
        their bytes. Raises FrameError where one is refused, which would be a defect.
        """
        start = len(self._lengths)
        frames = [
            self._decoder.encode(tensor, rung=self.index, sequence=start + number)
            for number, tensor in enumerate(tensors)
        ]
        features = np.empty(tensors.shape, dtype=np.float32)
        self.levels = np.empty(tensors.shape, dtype=np.uint8)
        for number, decoded in enumerate(self._decoder.decode_batch(frames)):
            if isinstance(decoded, FrameError):
                raise decoded
            features[number], self.levels[number] = decoded.features, decoded.levels
            if self._paper is not None:
                self._paper_bytes += len(self._paper.encode_levels(0, number, decoded.levels))
            self._counts += np.bincount(decoded.levels.reshape(-1), minlength=self.rung.levels)
        self._lengths += [len(frame) for frame in frames]
        self._headers += sum(header_bytes(frame) for frame in frames)
        sent = dequantise(self.profile, tensors)
        self._squares += float(((features - sent).astype(np.float64) ** 2).sum())
        low, high = self.rung.clip
        self._outside += int(((sent < low) | (sent > high)).sum())
        self._elements += sent.size
        return features

    def result(self) -> RungResult:
        """The figures so far; at least one input must have been sent."""
        lengths = np.asarray(self._lengths, dtype=np.int64)
        total = int(lengths.sum())
        elements = max(1, self._elements)
        return RungResult(
            rung=self.index,
            levels=self.rung.levels,
            quantizer=self.rung.quantizer,
            clip=self.rung.clip,
            thresholds=() if self.rung.grids is not None else self.rung.thresholds,
            values=() if self.rung.grids is not None else self.rung.values,
            accuracy_decoded=self.tally.accuracy,
            agreement_decoded=self.tally.agreement,
            delta_decoded=self.tally.interval,
            output_error=self.tally.output_error,
            bits_per_element=8 * total / elements,
            bits_per_element_payload=8 * (total - self._headers) / elements,
            bits_per_element_paper=None
            if self._paper is None
            else 8 * self._paper_bytes / elements,
            bytes_per_input=total / len(lengths),
            lengths=lengths,
            level_counts=self._counts.copy(),
            clip_fraction=self._outside / elements,
            feature_mse=self._squares / elements,
            bound=self.rung.bound,
        )
