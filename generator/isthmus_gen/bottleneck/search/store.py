"""The folder of a search: what is finished is kept there, and not done again.

    costs/KEY.json     what a candidate takes of the device
    points/KEY.json    a candidate's figures after a training
    NAME.keras         its trained network
    checkpoints/       trainings that are under way
    objects/           compiled objects

KEY is a digest of all that a result depends on: another network, data or option has others.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.errors import OutputError
from isthmus_gen.bottleneck.search.candidates import Candidate
from isthmus_gen.bottleneck.search.cost import Cost
from isthmus_gen.bottleneck.search.front import Point

__all__ = ["Store", "network_name"]

_UNREADABLE = (OSError, ValueError, KeyError, TypeError)


def network_name(candidate: Candidate, epochs: int) -> str:
    """The file of a trained candidate: letters and digits of the cut's name alone.

    >>> network_name(Candidate("stage/2", 4, 2), 12)
    'stage-2_c4_s2_e12.keras'
    """
    cut = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "-" for c in candidate.cut)
    return f"{cut}_c{candidate.channels}_s{candidate.stride}_e{epochs}.keras"


@dataclass(frozen=True)
class Store:
    """Results under ``folder``; ``about`` is what all of them depend on."""

    folder: Path
    about: dict[str, Any]

    def prepare(self) -> None:
        """Makes the folder. OutputError where it cannot be written."""
        try:
            for name in ("costs", "points", "checkpoints", "objects"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    @property
    def checkpoints(self) -> Path:
        """Where trainings that are under way keep their state."""
        return self.folder / "checkpoints"

    @property
    def objects(self) -> Path:
        """Where compiled objects are kept."""
        return self.folder / "objects"

    def cost(self, candidate: Candidate, what: dict[str, Any]) -> Cost | None:
        """What was kept of a candidate's cost for ``what``, or None."""
        return _cost(self._read("costs", candidate, what))

    def keep_cost(self, candidate: Candidate, what: dict[str, Any], cost: Cost) -> None:
        """Keeps it. OutputError."""
        self._write("costs", candidate, what, cost.as_dict())

    def point(self, candidate: Candidate, what: dict[str, Any], cost: Cost) -> Point | None:
        """What was kept of a trained candidate for ``what``, or None.

        None, too, where its network is not there or is another than was kept.
        """
        found = self._read("points", candidate, what)
        try:
            if found is None:
                return None
            file = self.folder / found["network"]
            if hashlib.sha256(file.read_bytes()).hexdigest() != found.pop("sha256"):
                return None
            return Point(candidate=candidate, cost=cost, **found)
        except _UNREADABLE:
            return None

    def keep_point(self, what: dict[str, Any], point: Point, content: bytes) -> None:
        """Keeps a point and its network, and drops what its training kept. OutputError."""
        self._put(self.folder / point.network, content)
        values = {
            "bytes": point.bytes, "bits": point.bits, "accuracy": point.accuracy,
            "agreement": point.agreement, "loss": point.loss, "epochs": point.epochs,
            "best_epoch": point.best_epoch, "network": point.network,
            "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
        self._write("points", point.candidate, what, values)
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def _file(self, kind: str, candidate: Candidate, what: dict[str, Any]) -> Path:
        words = json.dumps([self.about, candidate.as_dict(), what], sort_keys=True)
        return self.folder / kind / f"{hashlib.sha256(words.encode()).hexdigest()[:24]}.json"

    def _read(self, kind: str, candidate: Candidate, what: dict[str, Any]) -> dict[str, Any] | None:
        try:
            found = json.loads(self._file(kind, candidate, what).read_text(encoding="utf-8"))
        except _UNREADABLE:
            return None
        return found if isinstance(found, dict) else None

    def _write(
        self, kind: str, candidate: Candidate, what: dict[str, Any], values: dict[str, Any]
    ) -> None:
        text = json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"
        self._put(self._file(kind, candidate, what), text.encode("utf-8"))

    def _put(self, file: Path, content: bytes) -> None:
        """Written aside, then renamed."""
        aside = file.with_name(f".{file.name}.{os.getpid()}.part")
        try:
            aside.write_bytes(content)
            aside.replace(file)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            aside.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            str(self.folder), f"cannot be written ({error.strerror})",
            remedy="choose another --work",
        )  # fmt: skip


def _cost(found: dict[str, Any] | None) -> Cost | None:
    try:
        return None if found is None else Cost(**found)
    except TypeError:
        return None
