"""Where an interrupted training goes on: everything it changes, after each pass, in one file."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import OutputError
from isthmus_gen.bottleneck.plan import TrainingPlan

if TYPE_CHECKING:
    from isthmus_gen.bottleneck.training import Epoch

__all__ = ["Checkpoint", "State"]

Arrays = list[npt.NDArray[Any]]
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


@dataclass(frozen=True)
class State:
    """Passes that were made, the best of them (-1: none yet), arrays of now and of the best."""

    epochs: tuple[Epoch, ...]
    best: int
    arrays: Arrays
    best_arrays: Arrays
    started: bool


@dataclass(frozen=True)
class Checkpoint:
    """A file that is replaced as a whole after each pass; ``file`` None keeps nothing."""

    file: Path | None

    @classmethod
    def at(cls, work: Path | None, key: str, plan: TrainingPlan) -> Checkpoint:
        """The file of this plan, network and data in folder ``work``, which is made.

        OutputError where it cannot be written.
        """
        if work is None:
            return cls(None)
        words = json.dumps([key, plan.as_dict()], sort_keys=True)
        name = f"bottleneck-{hashlib.sha256(words.encode()).hexdigest()[:16]}.npz"
        try:
            work.mkdir(parents=True, exist_ok=True)
            (work / f"{name}.part").write_bytes(b"")
            (work / f"{name}.part").unlink()
        except OSError as error:
            raise _unwritable(work, error) from error
        return cls(work / name)

    def save(self, state: State) -> None:
        """Written aside, then renamed: what was there stays until the new one is complete."""
        if self.file is None:
            return
        about = {
            "epochs": [asdict(epoch) for epoch in state.epochs],
            "best": state.best,
            "started": state.started,
        }
        named: dict[str, npt.NDArray[Any]] = {
            f"now_{i}": array for i, array in enumerate(state.arrays)
        }
        named["about"] = np.array(json.dumps(about))
        named |= {f"best_{i}": array for i, array in enumerate(state.best_arrays)}
        aside = self.file.with_name(f"{self.file.name}.part")
        try:
            with aside.open("wb") as file:
                np.savez(file, allow_pickle=False, **named)
            aside.replace(self.file)
        except OSError as error:
            raise _unwritable(self.file.parent, error) from error
        finally:
            aside.unlink(missing_ok=True)

    def load(self, like: Arrays) -> State | None:
        """What was saved, where its arrays have the shapes of ``like``; None otherwise."""
        from isthmus_gen.bottleneck.training import Epoch

        if self.file is None or not self.file.is_file():
            return None
        try:
            with self.file.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                about = json.loads(str(saved["about"]))
                now = [saved[f"now_{i}"] for i in range(len(like))]
                best = [saved[f"best_{i}"] for i in range(len(like))]
            epochs = tuple(Epoch(**epoch) for epoch in about["epochs"])
        except _UNREADABLE:
            return None  # not one of ours, or damaged: training starts again
        fits = all(
            a.shape == b.shape == c.shape for a, b, c in zip(like, now, best, strict=True)
        ) and 0 <= about["best"] < len(epochs)
        return State(epochs, about["best"], now, best, about["started"]) if fits else None


def _unwritable(work: Path, error: OSError) -> OutputError:
    return OutputError(
        str(work), f"cannot be written ({error.strerror})", remedy="choose another --work"
    )
