"""What goes through the server: where a unit came from, and what is answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from isthmus.codec.frame import Octets

__all__ = ["Answer", "FrameService", "Origin", "Timings", "Top"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a unit came from.

    link    "http", "grpc", "mqtt", "udp" or "serial"
    device  the device's name as the link tells it, "" where it tells none
    peer    an address, for logs and for limits where there is no device
    """

    link: str
    device: str = ""
    peer: str = ""

    @property
    def name(self) -> str:
        """What limits and counts go by: the device, else the peer."""
        return self.device or self.peer


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that a frame took: waiting, decoding and computing (with its batch), in all."""

    queue: float = 0.0
    decode: float = 0.0
    compute: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Top:
    """One of the largest outputs: ``label`` is "" where the bundle has no label names."""

    index: int
    value: float
    label: str = ""


@dataclass(slots=True)
class Answer:
    """What the back half said to one frame.

    model, version    the bundle's name, and its digest's first 12 hex digits
    device            as in the seal, else as the link told it
    sequence, rung    from the frame's header
    outputs           float32 by the back half's output names, without the batch dimension
    top               the largest values of the first output, largest first
    frame_bytes       bytes of the frame as it was sent, without a seal
    elements          elements of the feature tensor
    concealed         how many of them did not arrive and were filled
    slices_lost       packets or slices that were refused or did not come before the deadline
    """

    model: str
    version: str
    device: str
    sequence: int
    rung: int
    outputs: dict[str, npt.NDArray[np.float32]]
    top: tuple[Top, ...] = ()
    frame_bytes: int = 0
    elements: int = 0
    concealed: int = 0
    slices_lost: int = 0
    timings: Timings = field(default_factory=Timings)

    @property
    def bits_per_element(self) -> float:
        """Bits of the frame for each element of the tensor."""
        return 8.0 * self.frame_bytes / self.elements if self.elements else 0.0


class FrameService(Protocol):
    """What every link calls. Both raise IsthmusError subclasses: the refusal and its number."""

    async def answer(
        self, data: Octets, origin: Origin, *, model: str = "", version: str = ""
    ) -> Answer:
        """The answer to one whole frame, sealed or not.

        ``model`` and ``version`` narrow what the frame's digest may name: it is refused if it
        belongs to another bundle.
        """
        ...

    async def receive(self, data: Octets, origin: Origin, *, model: str = "") -> Answer | None:
        """The answer to what a link delivered: a frame, or one of a frame's slices or packets.

        Slices and packets are gathered by (device, sequence) until all are there or the deadline
        passes; then the missing ones are concealed. The call that brought the first one of a frame
        gets the Answer, the calls with the others get None at the same moment.
        """
        ...
