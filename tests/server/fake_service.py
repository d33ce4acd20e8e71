"""A service without bundles, threads or batches, for the tests of links.

Its frames have a header and a checksum as BITSTREAM.md says and a payload of any bytes; what it
answers is a function of the frame's bytes alone: sixteen bits of their SHA-256 for each output,
over 65536, so that each value is a float32 exactly.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field

import numpy as np
from codec_profiles import make_profile

from isthmus.codec.frame import Octets, SliceHeader
from isthmus.errors import DigestUnknownError, ModelUnknownError
from isthmus.profile import Profile
from isthmus.server.config import ServerConfig
from isthmus.server.types import Answer, Origin, Timings, Top

CLASSES = 10
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass
class FakeGeneration:
    """One bundle as the links see it."""

    name: str
    profile: Profile
    labels: tuple[str, ...] = LABELS
    latest: bool = True
    outputs: list[tuple[str, tuple[int, ...]]] = field(
        default_factory=lambda: [("probabilities", (CLASSES,))]
    )

    @property
    def version(self) -> str:
        return self.profile.digest.hex()[:12]

    def frame(self, sequence: int = 0, payload: bytes = b"payload", rung: int = 0) -> bytes:
        """A frame that the service answers."""
        header = SliceHeader(
            version=1, sliced=False, rung=rung, payload_bytes=len(payload),
            digest_prefix=self.profile.digest[:2], sequence=sequence, checksum=0, slice=0, slices=1,
        )  # fmt: skip
        return header.write(self.profile.digest, payload)


@dataclass
class FakeFleet:
    """What ``service.fleet`` is to a link."""

    generations: list[FakeGeneration]

    def models(self) -> list[FakeGeneration]:
        return self.generations


def expected_outputs(frame: bytes) -> np.ndarray:
    """What the service answers to ``frame``."""
    digest = hashlib.sha256(frame).digest()[: 2 * CLASSES]
    return (np.frombuffer(digest, "<u2").astype(np.float32) / np.float32(65536)).copy()


class FakeService:
    """Answers at once, or when ``gate`` is set.

    ``seen`` are the frames and origins that came, in order; ``refuse`` maps a frame's bytes to the
    error it gets.
    """

    def __init__(self, config: ServerConfig | None = None, names: tuple[str, ...] = ("digits",)):
        self.config = config or ServerConfig()
        self.fleet = FakeFleet(
            [
                FakeGeneration(name, make_profile((4, 2), (8, 8, 4), extra={"fake": name}))
                for name in names
            ]
        )
        self.ready = True
        self.gate: asyncio.Event | None = None
        self.seen: list[tuple[bytes, Origin]] = []
        self.refuse: dict[bytes, Exception] = {}

    @property
    def digits(self) -> FakeGeneration:
        """The first generation."""
        return self.fleet.generations[0]

    async def answer(
        self, data: Octets, origin: Origin, *, model: str = "", version: str = ""
    ) -> Answer:
        frame = bytes(data)
        self.seen.append((frame, origin))
        if self.gate is not None:
            await self.gate.wait()
        if frame in self.refuse:
            raise self.refuse[frame]
        known = [g for g in self.fleet.generations if not model or g.name == model]
        known = [g for g in known if not version or g.version == version]
        if not known:
            raise ModelUnknownError("model", f"is {model!r}", allowed="a model of the fleet")
        header = SliceHeader.read(frame)
        for generation in known:
            if generation.profile.digest[:2] == header.digest_prefix:
                return self._answer(generation, frame, origin)
        raise DigestUnknownError("frame.header.digest", f"is {header.digest_prefix.hex()}")

    async def receive(self, data: Octets, origin: Origin, *, model: str = "") -> Answer | None:
        return await self.answer(data, origin, model=model)

    def _answer(self, generation: FakeGeneration, frame: bytes, origin: Origin) -> Answer:
        header = SliceHeader.parse(generation.profile, frame)
        values = expected_outputs(frame)
        order = np.argsort(-values, kind="stable")[: self.config.top]
        labels = generation.labels
        name = generation.outputs[0][0]
        return Answer(
            model=generation.name,
            version=generation.version,
            device=origin.device,
            sequence=header.sequence,
            rung=header.rung,
            outputs={name: values},
            top=tuple(Top(int(i), float(values[i]), labels[i] if labels else "") for i in order),
            frame_bytes=len(frame),
            elements=generation.profile.tensor.elements,
            timings=Timings(0.001, 0.002, 0.003, 0.006),
        )
