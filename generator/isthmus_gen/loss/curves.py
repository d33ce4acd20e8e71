"""Accuracy against loss: frames go through a channel, what arrives is concealed and answered.

Two ways to make packets are measured. "slices" are those of the bundle's own frames (or its
packets, where it cuts frames by size): they are encoded, lost, decoded by
``Decoder.decode_slices``. "channels" is the published way, ``r`` rows of one channel a packet,
channel after channel: the levels are the same and only the mask differs, so that methods made for
it are judged on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.backhalf import BackHalf
from isthmus.bundle import Bundle
from isthmus.conceal import METHODS, zero_level
from isthmus.conceal_slices import cut_frame
from isthmus.decoder import Decoder
from isthmus.errors import DataShapeError, MissingSliceError, OptionError
from isthmus_gen.data import DataSet
from isthmus_gen.evaluate.front import open_front
from isthmus_gen.evaluate.statistics import top_class
from isthmus_gen.loss.channel import GilbertElliott
from isthmus_gen.progress import Progress, no_progress

__all__ = ["PACKETS", "LossCurves", "LossPoint", "Sent", "channel_mask", "loss_curves", "send"]

PACKETS = ("slices", "channels")
_BATCH = 64
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class LossPoint:
    """One concealment at one loss. Shares in 0..1; ``delta`` against the same frames without loss,
    with its paired 95 % interval over pictures. ``lost`` is the share of packets that was lost."""

    packets: str
    burst: float | None
    loss: float
    method: str
    lost: float
    accuracy: float
    delta: float
    low: float
    high: float


@dataclass(frozen=True)
class LossCurves:
    """Every point, and what stands against them.

    accuracy      without loss (decoded frames), 0..1
    packets       packets a frame on average, by how they are made
    packet_bytes  mean and largest slice of the bundle's frames, header included
    """

    inputs: int
    repeats: int
    accuracy: float
    packets: dict[str, float]
    packet_bytes: tuple[float, int]
    points: tuple[LossPoint, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "packet_bytes": list(self.packet_bytes)}


@dataclass(frozen=True)
class Sent:
    """Frames of a data set: their slices, their levels uint8 [n, *shape], the labels [n]."""

    slices: list[list[bytes]]
    levels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def loss_curves(
    bundle: Bundle,
    data: DataSet,
    *,
    losses: Sequence[float] = (0.01, 0.05, 0.1, 0.3),
    bursts: Sequence[float | None] = (None, 5.0),
    packets: Sequence[str] = PACKETS,
    rung: int = 0,
    repeats: int = 1,
    seed: int = 0,
    packet_rows: int = 4,
    progress: Progress = no_progress,
) -> LossCurves:
    """Accuracy of ``bundle`` on labelled ``data`` for every concealment.

    Each of ``repeats`` passes over the pictures has its own seed of the channel, the same for all
    methods. OptionError, DataShapeError where the labels are missing.
    """
    unknown = [kind for kind in packets if kind not in PACKETS]
    if unknown or repeats < 1:
        raise OptionError("packets, repeats", f"are {packets}, {repeats}", allowed=f"{PACKETS}, 1")
    decoder, back = Decoder(bundle), BackHalf(bundle)
    sent = send(bundle, decoder, data, rung, progress)
    whole = _right(decoder, back, sent, rung)
    count = {
        "slices": float(np.mean([len(parts) for parts in sent.slices])),
        "channels": float(channel_packets(decoder.profile.tensor.shape, packet_rows)),
    }
    runs = [(k, b, p) for k in packets for b in bursts for p in losses if count[k] > 1]
    points: list[LossPoint] = []
    for number, (kind, burst, loss) in enumerate(runs):
        channels = [
            GilbertElliott(loss, burst, (seed, PACKETS.index(kind), int(1e6 * loss), repeat))
            for repeat in range(repeats)
        ]
        right, lost = _run(decoder, back, sent, rung, kind, channels, packet_rows)
        points += [
            _point(kind, burst, loss, method, lost, own, whole) for method, own in right.items()
        ]
        progress("losing packets", number + 1, len(runs))
    sizes = [len(part) for parts in sent.slices for part in parts]
    return LossCurves(
        len(sent.levels),
        repeats,
        float(whole.mean()),
        {kind: count[kind] for kind in packets},
        (float(np.mean(sizes)), max(sizes)),
        tuple(points),
    )


def send(
    bundle: Bundle, decoder: Decoder, data: DataSet, rung: int, progress: Progress = no_progress
) -> Sent:
    """Every picture through the front half and the encoder, frames cut into their slices."""
    front = open_front(bundle)
    slices: list[list[bytes]] = []
    levels: list[npt.NDArray[np.uint8]] = []
    labels: list[npt.NDArray[np.int64]] = []
    for x, y in data.batches(_BATCH):
        if y is None:
            raise DataShapeError(str(data.path), "has no labels", allowed="an array y beside x")
        labels.append(np.asarray(y).reshape(len(y), -1)[:, 0].astype(np.int64))
        for tensor in front.features(x):
            frame = decoder.encode(tensor, rung=rung, sequence=len(slices) & 0xFFFF)
            slices.append(cut_frame(frame))
            levels.append(decoder.decode(frame).levels)
        progress("encoding", len(slices), len(data))
    return Sent(slices, np.stack(levels), np.concatenate(labels))


def channel_packets(shape: Sequence[int], rows: int) -> int:
    """Packets of a tensor [rows, ..., channels] with ``rows`` rows of a channel each.

    0 where a tensor has no rows beside its channels.
    """
    return -(-shape[0] // rows) * shape[-1] if len(shape) >= 3 else 0


def channel_mask(
    shape: Sequence[int], lost: npt.NDArray[np.bool_], rows: int
) -> npt.NDArray[np.bool_]:
    """What arrived, bool of ``shape``, where ``lost`` [packets] says which packets did not.

    Packets go channel by channel, from the first rows of each to the last.
    """
    blocks = lost.reshape(shape[-1], -1).T
    by_row = np.repeat(~blocks, rows, axis=0)[: shape[0]]
    middle = (1,) * (len(shape) - 2)
    return np.broadcast_to(by_row.reshape(shape[0], *middle, shape[-1]), tuple(shape)).copy()


def _run(
    decoder: Decoder,
    back: BackHalf,
    sent: Sent,
    rung: int,
    kind: str,
    channels: Sequence[GilbertElliott],
    packet_rows: int,
) -> tuple[dict[str, npt.NDArray[np.float64]], float]:
    """Share of the passes in which each picture is answered right, by method; share lost."""
    methods = [m for m in METHODS if m != "caltec" or kind == "channels"]
    net = decoder.restorer.rungs[rung].net if decoder.restorer.rungs else None
    extra = ["restore"] if net is not None and net.losses else []
    right = {method: np.zeros(len(sent.levels)) for method in (*methods, *extra)}
    gone = total = 0
    for channel in channels:
        for begin in range(0, len(sent.levels), _BATCH):
            at = slice(begin, begin + _BATCH)
            levels, received, lost, packets = _transmit(
                decoder, sent, at, rung, kind, channel, packet_rows
            )
            gone, total = gone + lost, total + packets
            for method, own in right.items():
                features = decoder.conceal(levels, received, rung, method)
                own[at] += _answers(back, features) == sent.labels[at]
    return {m: own / len(channels) for m, own in right.items()}, gone / total


def _transmit(
    decoder: Decoder,
    sent: Sent,
    at: slice,
    rung: int,
    kind: str,
    channel: GilbertElliott,
    packet_rows: int,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], int, int]:
    """Levels and masks of some frames after the channel, packets lost and sent."""
    profile = decoder.profile
    levels, received = [], []
    lost = packets = 0
    for number in range(at.start, min(at.stop, len(sent.levels))):
        if kind == "channels":
            own = channel.send(channel_packets(profile.tensor.shape, packet_rows))
            levels.append(sent.levels[number])
            received.append(channel_mask(profile.tensor.shape, own, packet_rows))
        else:
            parts = sent.slices[number]
            own = channel.send(len(parts))
            try:
                kept = [part for part, gone in zip(parts, own, strict=True) if not gone]
                decoded = decoder.decode_slices(kept, "zero")
                assert decoded.received is not None  # decode_slices gives a mask
                levels.append(decoded.levels)
                received.append(decoded.received)
            except MissingSliceError:  # nothing arrived: still a picture to be answered
                blank = np.asarray(zero_level(profile.rungs[rung]), np.uint8)
                levels.append(np.resize(blank, profile.tensor.shape))
                received.append(np.zeros(profile.tensor.shape, dtype=np.bool_))
        lost, packets = lost + int(own.sum()), packets + len(own)
    return np.stack(levels), np.stack(received), lost, packets


def _right(decoder: Decoder, back: BackHalf, sent: Sent, rung: int) -> npt.NDArray[np.float64]:
    """Which pictures are answered right without loss, 0 or 1."""
    parts = []
    for begin in range(0, len(sent.levels), _BATCH):
        levels = sent.levels[begin : begin + _BATCH]
        answers = _answers(back, decoder.restorer.restore(levels, rung))
        parts.append(answers == sent.labels[begin : begin + _BATCH])
    return np.concatenate(parts).astype(np.float64)


def _answers(back: BackHalf, features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    outputs = np.asarray(back(features))
    classes = top_class(outputs)
    if classes is None:
        raise DataShapeError(
            "back half", f"answers {outputs.shape}", allowed="classes [n, classes]"
        )
    return classes


def _point(
    kind: str,
    burst: float | None,
    loss: float,
    method: str,
    lost: float,
    own: npt.NDArray[np.float64],
    whole: npt.NDArray[np.float64],
) -> LossPoint:
    difference = own - whole
    delta = float(difference.mean())
    half = _Z95 * float(difference.std(ddof=1)) / len(difference) ** 0.5 if len(own) > 1 else 1.0
    return LossPoint(
        kind, burst, loss, method, lost, float(own.mean()), delta, delta - half, delta + half
    )
