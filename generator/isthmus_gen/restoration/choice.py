"""Which restorer a rung gets: each candidate is measured on inputs that were held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import OptionError
from isthmus.profile import Profile
from isthmus.restore import RungRestorer, write_restorer
from isthmus_gen.progress import Progress, no_progress
from isthmus_gen.restoration.back import BackRunner, Divergence
from isthmus_gen.restoration.centroids import cell_centroids
from isthmus_gen.restoration.collection import FeatureSet, levels_on_device
from isthmus_gen.restoration.training import TrainingPlan, plan_training, train_net

__all__ = ["MadeRestorer", "make_restorer"]

Floats = npt.NDArray[np.float32]
#: Inputs below which no network is tried, and none are held out.
_LEAST_INPUTS = 40
_BATCH = 64


@dataclass(frozen=True)
class MadeRestorer:
    """A restorer and its account.

    rungs   one for each rung of the profile
    files   what the bundle holds of it, by name
    report  for ``report.json``: what is used, and the divergences that decided
    """

    rungs: tuple[RungRestorer, ...]
    files: dict[str, bytes]
    report: dict[str, Any]


def make_restorer(
    profile: Profile,
    features: FeatureSet,
    back: BackRunner,
    *,
    use: str = "auto",
    epochs: int = 6,
    losses: float = 0.0,
    seed: int = 1,
    width: int = 64,
    progress: Progress = no_progress,
) -> MadeRestorer:
    """The restorer of every rung of ``profile``.

    ``use``: "auto" takes what diverges least on held-out inputs among the profile's values, the
    centroids and the network; "centroids" and "conv" take that one. OptionError where no network
    can be had: rank 4, or fewer than 40 inputs.
    """
    obstacle = _obstacle(profile, features)
    if use == "conv" and obstacle:
        raise OptionError("--restorer", f"is conv, and {obstacle}", allowed="auto, centroids, none")
    divergence = Divergence.of(features.outputs)
    made, entries = [], []
    for index in range(len(profile.rungs)):
        rung = _Rung(profile, index, features, back, divergence)
        candidates = {"values": rung.published(), "centroids": rung.centroids()}
        notes = [obstacle] if obstacle else []
        steps = 0
        if use in ("auto", "conv") and not obstacle:
            stage = f"training the restorer of rung {index}"
            candidates["conv"], steps = rung.network(
                candidates["centroids"],
                lambda shape, levels, inputs: plan_training(
                    shape, levels, inputs, epochs=epochs, losses=losses, width=width, seed=seed
                ),
                progress,
                stage,
            )
            notes += [back.why] if back.why else []
        found = {name: rung.measure(candidate) for name, candidate in candidates.items()}
        name = min(found, key=lambda key: found[key]) if use == "auto" else use
        made.append(candidates[name])
        entry = {"used": name, "held_out": found, "steps": steps, "notes": notes}
        if losses > 0 and "conv" in candidates:
            entry["trained_with_losses"] = losses
        entries.append(entry)
    report = {
        "divergence": divergence.kind,
        "trained_on": "features" if back.graph is None else "features and outputs",
        "inputs": len(features.training),
        "held_out_inputs": len(features.held_out),
        "seed": seed,
        "rungs": entries,
    }
    return MadeRestorer(tuple(made), write_restorer(profile, tuple(made), report), report)


def _obstacle(profile: Profile, features: FeatureSet) -> str:
    """Why no network can be trained, or ""."""
    if len(profile.tensor.shape) > 3:
        return f"the tensor has rank {len(profile.tensor.shape)}, above 3: no network"
    if len(features.features) < _LEAST_INPUTS:
        return f"{len(features.features)} inputs are too few for a network"
    return ""


class _Rung:
    """The candidates of one rung."""

    def __init__(
        self,
        profile: Profile,
        index: int,
        features: FeatureSet,
        back: BackRunner,
        divergence: Divergence,
    ) -> None:
        self.profile, self.index, self.features = profile, index, features
        self.back, self.divergence = back, divergence
        self.channels = profile.tensor.shape[-1]
        self.base = profile.rungs[index].values_array()
        # what is measured must not be what was learned from, where there is enough of both
        self.held = features.held_out if len(features.held_out) else features.training
        self.learned = features.training if len(features.training) else features.held_out
        self.means = np.zeros(self.channels, dtype=np.float32)

    def levels(self, features: Floats) -> npt.NDArray[np.uint8]:
        """Levels as the device sends them."""
        return levels_on_device(self.profile, self.index, features)

    def _batches(self) -> Iterator[tuple[npt.NDArray[np.uint8], Floats]]:
        for start in range(0, len(self.learned), _BATCH):
            x = self.features.features[self.learned[start : start + _BATCH]]
            yield self.levels(x), x

    def published(self) -> RungRestorer:
        """The profile's values."""
        values = np.repeat(self.base[:, np.newaxis], self.channels, axis=1)
        return RungRestorer("values", values, self.means)

    def centroids(self) -> RungRestorer:
        """Cell centroids by channel."""
        values, means = cell_centroids(self._batches(), self.base, self.channels)
        self.means = means
        return RungRestorer("centroids", values, means)

    def network(
        self,
        start: RungRestorer,
        planned: Callable[[tuple[int, ...], int, int], TrainingPlan],
        progress: Progress,
        stage: str,
    ) -> tuple[RungRestorer, int]:
        """The trained network and its steps."""
        plan = planned(self.profile.tensor.shape, len(self.base), len(self.learned))
        trained = train_net(
            self.features, self.levels, (start.values, start.mean), self.back, self.divergence,
            plan, progress, stage,
        )  # fmt: skip
        return RungRestorer("conv", trained.values, start.mean, trained.net), plan.steps

    def measure(self, candidate: RungRestorer) -> float:
        """The divergence of the back half's outputs on held-out inputs, none of them lost."""
        outputs = []
        for start in range(0, len(self.held), _BATCH):
            levels = self.levels(self.features.features[self.held[start : start + _BATCH]])
            outputs.append(self.back.run(candidate(levels)))
        return self.divergence(self.features.outputs[self.held], np.concatenate(outputs))
