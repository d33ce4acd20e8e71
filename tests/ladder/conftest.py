"""What the tests of the ladder share: profiles from quantisers, a small network in numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from isthmus.profile import Profile, TensorSpec
from isthmus_gen.calibrate import Quantizer, TensorStatistics
from isthmus_gen.codec_design import design_rungs
from isthmus_gen.models import ActivationInfo
from isthmus_gen.options import make_options

Floats = npt.NDArray[np.float32]
MakeProfile = Callable[[Sequence[Quantizer], Sequence[Floats]], Profile]
RELU = ActivationInfo("relu", 0.0)


@pytest.fixture(scope="session")
def make_profile() -> Callable[[TensorSpec], MakeProfile]:
    """``make_profile(spec)``: profiles as the generator makes them, with its default options."""

    def of(spec: TensorSpec) -> MakeProfile:
        options = make_options({"model": "m", "cut": "c", "calibration": "d", "out": "o"})

        def make(quantizers: Sequence[Quantizer], samples: Sequence[Floats]) -> Profile:
            designs = design_rungs(
                options, spec, TensorStatistics(spec.shape), RELU, samples, quantizers=quantizers
            )
            return Profile(spec, tuple(d.rung for d in designs), max(1, spec.rows))

        return make

    return of


@pytest.fixture(scope="session")
def toy() -> dict[str, Any]:
    """Features int8 [n, 4, 4, 3], classes that a fixed linear layer tells from them, labels."""
    rng = np.random.default_rng(11)
    spec = TensorSpec("t", (4, 4, 3), "int8", 4.0 / 255, -128)
    real = np.maximum(rng.normal(0.0, 1.0, (240, *spec.shape)), 0)
    elements = np.clip(np.rint(real / spec.scale) - 128, -128, 127).astype(np.int8)
    weights = rng.normal(0.0, 1.0, (48, 5)).astype(np.float32)

    def back(features: Floats) -> Floats:
        scores = features.reshape(len(features), -1) @ weights
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float32)

    exact = back(((elements.astype(np.float32) + 128) * spec.scale).astype(np.float32))
    labels = exact.argmax(axis=1).astype(np.int64)
    wrong = rng.random(len(labels)) < 0.1
    labels[wrong] = (labels[wrong] + 1) % 5
    return {"spec": spec, "elements": elements, "back": back, "labels": labels, "exact": exact}
