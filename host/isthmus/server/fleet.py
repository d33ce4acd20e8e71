"""The bundles that a server holds: routing by digest, decoding and the back half of each."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isthmus.backhalf import BackHalf
from isthmus.bundle import Bundle
from isthmus.codec.frame import HEADER_BYTES, SLICED_HEADER_BYTES, Octets, SliceHeader, checksum
from isthmus.decoder import Decoder, check_concealment
from isthmus.errors import (
    ChecksumError,
    ConfigError,
    DigestUnknownError,
    FrameError,
    ModelUnknownError,
    TruncatedError,
)
from isthmus.interpreters import Engine, TfliteModel
from isthmus.labels import read_label_file, read_labels
from isthmus.native import NativeCodec
from isthmus.server.config import BundleConfig, ServerConfig
from isthmus.server.types import Top

__all__ = ["DecodedBatch", "Fleet", "Generation"]

#: What a model may be called: it stands in paths, topics and labels.
MODEL_NAME = re.compile("[A-Za-z0-9_.-]{1,64}")
_VERSION_DIGITS = 12
#: Bytes of a back half whose interpreters may be many.
_SMALL_FILE = 4 << 20
#: Outputs of so many values are sorted whole.
_SORTED = 64


@dataclass(slots=True)
class DecodedBatch:
    """Frames after decoding, those that were good.

    index     which of the frames given each row is
    features  float32 [n, *shape]
    levels    uint8 [n, *shape]
    received  bool of the tensor's shape for rows with concealed elements, else None
    errors    the refusal of each frame that has no row
    lost      slices that were damaged or missing, by row
    """

    index: list[int]
    rungs: list[int]
    sequences: list[int]
    levels: npt.NDArray[np.uint8]
    features: npt.NDArray[np.float32]
    received: list[npt.NDArray[np.bool_] | None]
    lost: list[int]
    errors: dict[int, FrameError]


def _interpreter_sizes(back_half: BackHalf, bundle: Bundle, most: int) -> tuple[int, ...]:
    """The batches that interpreters are kept for, largest first; (1,): one, for any batch.

    Only .tflite interpreters plan for a batch. Those of a large file are fewer: each holds its
    weights, packed for the processor.
    """
    model = back_half.model
    if not isinstance(model, TfliteModel) or model.inputs[0].shape[0] != -1:
        return (1,)
    name = str(bundle.profile.extra["back"]["file"])
    step = 1 if (bundle.path / name).stat().st_size <= _SMALL_FILE else 3
    return tuple(1 << bit for bit in reversed(range(0, most.bit_length(), step)))


class Generation:
    """One bundle as it is served. Safe to use from several threads.

    ``name`` and ``version`` (12 hex digits of the digest) are what clients call it by. Decoding and
    computing are plain functions of their arguments, so that a thread pool, or another machine,
    may run them.
    """

    def __init__(self, config: BundleConfig, server: ServerConfig) -> None:
        self.bundle = Bundle.open(config.path, check=True)
        self.profile = self.bundle.profile
        self.name = config.name or config.path.resolve().name
        if not MODEL_NAME.fullmatch(self.name):
            raise ConfigError(
                f"{config.path}: name", f"is {self.name!r:.80}, as the directory's",
                allowed="1 to 64 of A-Z a-z 0-9 _ . -", remedy=f"give another: NAME={config.path}",
            )  # fmt: skip
        self.version = self.profile.digest.hex()[:_VERSION_DIGITS]
        self.latest = True
        self.decoder = Decoder(self.bundle)
        self.labels = (
            read_labels(self.bundle) if config.labels is None else read_label_file(config.labels)
        )
        self._conceal = server.conceal
        self._top = server.top
        self._engine: Engine = server.batch.engine  # type: ignore[assignment]  # checked by open
        self._engine_threads = server.batch.engine_threads
        self._local = threading.local()
        first = self._open_back_half()
        self._sizes = _interpreter_sizes(first, self.bundle, server.batch.max)
        self.outputs = [(info.name, tuple(info.shape[1:])) for info in first.model.outputs]
        if self.labels and len(self.labels) != self._classes():
            raise ConfigError(
                f"{config.path}: labels", f"are {len(self.labels)} names",
                allowed=f"{self._classes()}, one for each value of {self.outputs[0][0]!r}",
            )  # fmt: skip
        self.elements = self.profile.tensor.elements

    @property
    def in_packets(self) -> bool:
        """Whether frames may arrive in parts: as slices or packets."""
        return self.profile.packets is not None or self.profile.slices > 1

    def _classes(self) -> int:
        shape = self.outputs[0][1]
        return int(np.prod(shape)) if shape else 1

    def _open_back_half(self) -> BackHalf:
        return BackHalf(self.bundle, engine=self._engine, threads=self._engine_threads)

    def decode(self, frames: Sequence[Octets | list[bytes]]) -> DecodedBatch:
        """Decodes whole frames (bytes) and frames of which parts are missing (lists of packets).

        In C, without the GIL. Bad frames are in ``errors`` and spoil nothing else.
        """
        whole = [i for i, frame in enumerate(frames) if not isinstance(frame, list)]
        batch = self._decode_whole([frames[i] for i in whole], whole)  # type: ignore[misc]
        if len(whole) == len(frames):
            return batch
        return self._add_partial(batch, frames)

    def _decode_whole(self, frames: list[Octets], index: list[int]) -> DecodedBatch:
        errors: dict[int, FrameError] = {}
        shape = self.profile.tensor.shape
        codec = self.decoder.codec
        if isinstance(codec, NativeCodec):
            levels, results = codec.decode_arrays(frames)
            good = [k for k, one in enumerate(results) if not isinstance(one, FrameError)]
            if len(good) != len(frames):
                levels = levels[good]
            meta = [results[k] for k in good]
            errors = {index[k]: r for k, r in enumerate(results) if isinstance(r, FrameError)}
            rungs = [m[0] for m in meta]  # type: ignore[index]
            sequences = [m[1] for m in meta]  # type: ignore[index]
        else:
            decoded = codec.decode_batch(frames)
            good, rungs, sequences, kept = [], [], [], []
            for k, result in enumerate(decoded):
                if isinstance(result, FrameError):
                    errors[index[k]] = result
                else:
                    good.append(k)
                    rungs.append(result.rung)
                    sequences.append(result.sequence)
                    kept.append(result.levels)
            levels = np.stack(kept) if kept else np.empty((0, *shape), np.uint8)
        return DecodedBatch(
            [index[k] for k in good], rungs, sequences, levels,
            self._features(levels, rungs), [None] * len(good), [0] * len(good), errors,
        )  # fmt: skip

    def _features(self, levels: npt.NDArray[np.uint8], rungs: list[int]) -> npt.NDArray[np.float32]:
        """One call of the restorer for each rung in the batch."""
        kinds = set(rungs)
        if len(kinds) == 1:
            return self.decoder.restorer.restore(levels, rungs[0])
        out = np.empty(levels.shape, np.float32)
        of = np.array(rungs)
        for rung in kinds:
            rows = of == rung
            out[rows] = self.decoder.restorer.restore(levels[rows], rung)
        return out

    def _add_partial(
        self, batch: DecodedBatch, frames: Sequence[Octets | list[bytes]]
    ) -> DecodedBatch:
        levels, features = list(batch.levels), list(batch.features)
        for i, packets in enumerate(frames):
            if not isinstance(packets, list):
                continue
            try:
                one = self.decoder.decode_slices(packets, self._conceal)
            except FrameError as error:
                batch.errors[i] = error.with_traceback(None)
                continue
            batch.index.append(i)
            batch.rungs.append(one.rung)
            batch.sequences.append(one.sequence)
            batch.received.append(one.received)
            batch.lost.append(len(one.errors))
            levels.append(one.levels)
            features.append(one.features)
        shape = (0, *self.profile.tensor.shape)
        batch.levels = np.stack(levels) if levels else np.empty(shape, np.uint8)
        batch.features = np.stack(features) if features else np.empty(shape, np.float32)
        return batch

    def compute(self, features: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """The back half's outputs float32 [n, ...] for features [n, *shape].

        Each thread has interpreters of its own, one for each of a few sizes, since an interpreter
        whose batch changes plans its memory anew; a batch is cut into such sizes.
        """
        if len(self._sizes) == 1:
            return self._back_half(1).model.run_float(features)
        parts = []
        start = 0
        for size in self._sizes:  # the last is 1
            while size <= len(features) - start:
                model = self._back_half(size).model
                parts.append(model.run_float(features[start : start + size]))
                start += size
        if len(parts) == 1:
            return parts[0]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def warm(self) -> None:
        """Opens this thread's interpreters and runs each once."""
        for size in self._sizes:
            self.compute(np.zeros((size, *self.profile.tensor.shape), np.float32))

    def _back_half(self, size: int) -> BackHalf:
        known: dict[int, BackHalf] | None = getattr(self._local, "back_halves", None)
        if known is None:
            known = self._local.back_halves = {}
        found = known.get(size)
        if found is None:
            found = known[size] = self._open_back_half()
        return found

    def top(self, output: npt.NDArray[np.float32]) -> list[tuple[Top, ...]]:
        """The largest values of each row of the first output [n, ...], largest first.

        Of equal ones the first comes first, as argmax has it: int8 outputs often have some.
        """
        flat = output.reshape(len(output), -1)
        count = min(self._top, flat.shape[1])
        if count == 0:
            return [()] * len(flat)
        chosen = _largest(flat, count)
        values = np.take_along_axis(flat, chosen, 1).tolist()
        labels = self.labels
        return [
            tuple(Top(i, v, labels[i] if labels else "") for i, v in zip(row, of, strict=True))
            for row, of in zip(chosen.tolist(), values, strict=True)
        ]


def _largest(rows: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.intp]:
    """Where the ``count`` largest of each row are: by value, then by place; NaN last."""
    size = rows.shape[1]
    falling = -rows
    if count == size or size <= _SORTED:
        return falling.argsort(axis=1, kind="stable")[:, :count]
    some = np.sort(np.argpartition(falling, count, axis=1)[:, : count + 1], axis=1)
    values = np.take_along_axis(falling, some, 1)
    order = values.argsort(axis=1, kind="stable")
    chosen = np.take_along_axis(some, order[:, :count], 1)
    ends = np.take_along_axis(values, order[:, count - 1 :], 1)
    # Where the last that is chosen equals the first that is not, others may equal them, too.
    for row in np.flatnonzero(~(ends[:, 0] < ends[:, 1])):
        chosen[row] = falling[row].argsort(kind="stable")[:count]
    return chosen


class Fleet:
    """All generations, and which of them a frame belongs to."""

    def __init__(self, config: ServerConfig) -> None:
        check_concealment(config.conceal, "config: conceal")
        if not config.bundles:
            raise ConfigError("bundles", "are missing", allowed="one directory or more")
        self._generations = [Generation(bundle, config) for bundle in config.bundles]
        seen: dict[bytes, Path] = {}
        latest: dict[str, Generation] = {}
        for one, entry in zip(self._generations, config.bundles, strict=True):
            digest = one.profile.digest
            if digest in seen:  # whatever its name: frames say no more than the digest
                raise ConfigError(
                    f"bundles: {entry.path}", f"is {seen[digest]} a second time ({one.version})",
                    remedy="give each bundle once",
                )  # fmt: skip
            seen[digest] = entry.path
            if one.name in latest:
                latest[one.name].latest = False
            latest[one.name] = one
        self._latest = latest
        self._by_prefix: dict[bytes, list[Generation]] = {}
        self._with_packets = []
        for one in self._generations:
            if one.profile.packets is None:
                self._by_prefix.setdefault(one.profile.digest[:2], []).append(one)
            else:
                self._with_packets.append(one)

    def models(self) -> list[Generation]:
        """Every generation, in the order of the configuration; the last of a name is its latest."""
        return list(self._generations)

    def find(self, model: str, version: str = "") -> Generation:
        """The generation of a name (the latest where no version is given); ModelUnknownError."""
        for one in self._generations:
            if one.name == model and (one.version == version if version else one.latest):
                return one
        names = ", ".join(f"{g.name} {g.version}" for g in self._generations)
        raise ModelUnknownError(
            "model", f"is {model!r:.80}" + (f" {version!r:.40}" if version else ""), allowed=names
        )

    def route(self, data: Octets, model: str = "", version: str = "") -> Generation:
        """The generation that made the frame, slice or packet; never a guess.

        Prefix first, then the checksum over the whole digest where the prefix leaves a choice.
        FrameError, DigestUnknownError; ModelUnknownError where ``model`` or ``version`` is unknown.
        """
        if model or version:
            self.find(model, version)
        if len(data) < HEADER_BYTES:
            SliceHeader.read(data)
            raise TruncatedError("frame.header", f"has {len(data)} bytes", allowed=">= 12 bytes")
        if data[0] & 2:
            one = self._packet_owner(data)
        else:
            candidates = self._by_prefix.get(bytes(data[4:6]), ())
            one = candidates[0] if len(candidates) == 1 else self._owner(data, candidates)
        if (model and one.name != model) or (version and one.version != version):
            raise DigestUnknownError(
                "frame.header.profile", f"belongs to {one.name} {one.version}",
                allowed=f"{model} {version}".strip(),
                remedy="send the frame to its own model",
            )  # fmt: skip
        return one

    def _owner(self, data: Octets, candidates: Sequence[Generation]) -> Generation:
        header = SliceHeader.read(data)
        if not candidates:
            raise DigestUnknownError(
                "frame.header.profile", f"is {header.digest_prefix.hex()}",
                allowed=", ".join(g.profile.digest[:2].hex() for g in self._generations),
                remedy="serve the bundle that the firmware was generated with",
            )  # fmt: skip
        return self._by_checksum(data, header, candidates)

    def _packet_owner(self, data: Octets) -> Generation:
        header = SliceHeader.read(data)
        if not self._with_packets:
            raise DigestUnknownError(
                "frame.header.flags", "say packets, and no bundle here has packets",
                remedy="serve the bundle that the firmware was generated with",
            )  # fmt: skip
        return self._by_checksum(data, header, self._with_packets)

    @staticmethod
    def _by_checksum(
        data: Octets, header: SliceHeader, candidates: Sequence[Generation]
    ) -> Generation:
        start = SLICED_HEADER_BYTES if header.sliced else HEADER_BYTES
        end = start + header.payload_bytes
        if len(data) < end:
            raise TruncatedError(
                "frame.payload", f"has {len(data) - start} bytes",
                allowed=f"the {header.payload_bytes} its header says",
            )  # fmt: skip
        for one in candidates:
            if checksum(one.profile.digest, data[:8], data[12:end]) == header.checksum:
                return one
        raise ChecksumError(
            "frame.header.checksum", f"is {header.checksum:#010x}, and fits no bundle here",
            remedy="the frame was damaged on its way, or its bundle is not served",
        )  # fmt: skip
