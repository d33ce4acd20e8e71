"""The back half as the judge of features: how far its outputs are from those without coding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from isthmus_gen.models import Cut, Halves, LoadedModel
from isthmus_gen.models.halves import open_back_half

__all__ = ["BackRunner", "Divergence", "open_back"]

Floats = npt.NDArray[np.float32]
_FLOOR = 1e-7
_BATCH = 64


@dataclass(frozen=True)
class BackRunner:
    """A back half that can be run, and differentiated where ``graph`` is a Keras model.

    run     features float32 [n, *shape] -> outputs float32 [n, ...]
    graph   the same as a ``keras.Model``, or None: then only features can be trained on
    why     why there is no graph, else ""
    """

    run: Callable[[Floats], Floats]
    graph: Any = None
    why: str = ""


def open_back(model: LoadedModel, cut: Cut, halves: Halves, *, own: bool) -> BackRunner:
    """The back half of a cut network; ``own`` where it is one of the user's, from ``--back``."""
    graph = None if own else model.back_graph(cut)
    if graph is not None:
        return BackRunner(lambda features: _run_graph(graph, features), graph)
    runner = open_back_half(halves)
    kind = f"--back {halves.back_suffix}" if own else model.kind
    return BackRunner(
        lambda features: np.asarray(runner.run_float(features)[0], dtype=np.float32),
        None,
        f"a back half of kind {kind} cannot be differentiated: trained on features alone",
    )


def _run_graph(graph: Any, features: Floats) -> Floats:
    parts = [
        np.asarray(graph(features[i : i + _BATCH], training=False), dtype=np.float32)
        for i in range(0, len(features), _BATCH)
    ]
    return np.concatenate(parts)


@dataclass(frozen=True)
class Divergence:
    """How outputs are compared.

    "kl"   Kullback-Leibler divergence in nats, where every output is a distribution (not negative,
           sums to one): sum p log(p / q), p without coding; mean over the inputs
    "mse"  mean squared error over the variance of the outputs without coding, else
    """

    kind: Literal["kl", "mse"]
    variance: float

    @classmethod
    def of(cls, outputs: Floats) -> Divergence:
        """The kind that fits ``outputs`` [n, ...], those of the network without coding."""
        flat = outputs.reshape(len(outputs), -1)
        whole = flat.shape[1] > 1 and bool(
            (flat >= 0).all() and (np.abs(flat.sum(axis=1) - 1) < 1e-3).all()
        )
        return cls("kl" if whole else "mse", max(float(outputs.var()), 1e-12))

    def __call__(self, expected: Floats, found: Floats) -> float:
        """The divergence of ``found`` from ``expected``, both [n, ...], in float64."""
        p, q = expected.astype(np.float64), found.astype(np.float64)
        if self.kind == "kl":
            terms = p * (np.log(p + _FLOOR) - np.log(q + _FLOOR))
            return float(terms.reshape(len(p), -1).sum(axis=1).mean())
        return float(((p - q) ** 2).mean() / self.variance)
