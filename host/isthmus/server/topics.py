"""MQTT topics: ROOT/BUNDLE/DEVICE/frames up, ROOT/BUNDLE/DEVICE/results down. Text alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

from isthmus.errors import LinkError

__all__ = ["Address", "Topics"]

_FRAMES = "frames"
_RESULTS = "results"
#: One level of a topic: what a bundle or a device may be called.
_LEVEL = re.compile(r"[^+#/\x00-\x1f\x7f]{1,128}")
_TOPIC_BYTES_MAX = 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Who sends what: a bundle's name and a device's."""

    bundle: str
    device: str


class Topics:
    """The topics below ``root`` (one or more levels), shared by the servers of ``group``."""

    def __init__(self, root: str, group: str = "") -> None:
        self.root = root.strip("/")
        self.group = group
        if not all(_LEVEL.fullmatch(level) for level in self.root.split("/")):
            raise LinkError(
                "mqtt.root", f"is {root!r}", allowed="levels of 1 to 128 characters without + and #"
            )
        self._prefix = f"{self.root}/"

    @property
    def subscription(self) -> str:
        """The filter that every frame's topic matches."""
        plain = f"{self._prefix}+/+/{_FRAMES}"
        return f"$share/{self.group}/{plain}" if self.group else plain

    def parse(self, topic: str) -> Address:
        """The address in a frame's topic; LinkError where it is none."""
        levels = topic.removeprefix(self._prefix).split("/")
        good = (
            topic.startswith(self._prefix)
            and len(levels) == 3
            and levels[2] == _FRAMES
            and all(_LEVEL.fullmatch(level) and level.isprintable() for level in levels[:2])
        )
        if not good:
            raise LinkError(
                "mqtt.topic", f"is {topic[:200]!r}",
                allowed=f"{self._prefix}BUNDLE/DEVICE/{_FRAMES}",
            )  # fmt: skip
        return Address(levels[0], levels[1])

    def frames(self, address: Address) -> str:
        """Where a device sends frames."""
        return f"{self._prefix}{address.bundle}/{address.device}/{_FRAMES}"

    def results(self, address: Address) -> str:
        """Where its answers go."""
        return f"{self._prefix}{address.bundle}/{address.device}/{_RESULTS}"

    def answer_to(self, address: Address, response_topic: str | None) -> str:
        """Where the answer to one frame goes: its response topic if it may, else the results.

        A response topic below the root must be below the device's own ROOT/BUNDLE/DEVICE, and not
        that of frames: a device answers to nobody else's name. Elsewhere the broker's access list
        decides what the server may write.
        """
        if not response_topic or not self._may_answer(address, response_topic):
            return self.results(address)
        return response_topic

    def _may_answer(self, address: Address, topic: str) -> bool:
        if re.search(r"[+#\x00\ud800-\udfff]", topic) or topic.startswith("$"):
            return False
        if len(topic.encode("utf-8")) > _TOPIC_BYTES_MAX:
            return False
        if topic != self.root and not topic.startswith(self._prefix):
            return True
        own = f"{self._prefix}{address.bundle}/{address.device}/"
        return topic.startswith(own) and topic != self.frames(address)
