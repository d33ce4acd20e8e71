"""Training: equal inputs, equal bytes; better features on pictures that were never seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from restoration_cases import Case, uniform_profile

from isthmus.errors import OptionError
from isthmus.restore import RungRestorer, write_restorer
from isthmus_gen.restoration import (
    BackRunner,
    Divergence,
    FeatureSet,
    TrainingPlan,
    cell_centroids,
    make_restorer,
    plan_training,
    train_net,
)
from isthmus_gen.restoration.collection import levels_on_device


def kl(p: Any, q: Any) -> float:
    """Mean Kullback-Leibler divergence in nats, in float64."""
    a, b = p.astype(np.float64), q.astype(np.float64)
    return float((a * np.log((a + 1e-9) / (b + 1e-9))).sum(axis=1).mean())


def _unseen(case: Case, rung: object) -> tuple[float, float]:
    """Divergence of the outputs and squared error of the features on unseen pictures."""
    levels = levels_on_device(case.profile, 0, case.unseen)
    restored = rung(levels)  # type: ignore[operator]
    apart = kl(case.unseen_outputs, case.back.run(restored))
    return apart, float(((restored - case.unseen) ** 2).mean())


def test_the_network_is_better_than_centroids_on_unseen_pictures(coarse: Case) -> None:
    stages: list[tuple[int, int]] = []
    made = make_restorer(
        coarse.profile, coarse.features, coarse.back, use="auto", width=12,
        progress=lambda _, done, total: stages.append((done, total)),
    )  # fmt: skip
    assert made.report["rungs"][0]["used"] == "conv"
    assert made.report["trained_on"] == "features and outputs"
    assert stages[-1] == (400, 400)
    assert len(stages) == 40
    plain = make_restorer(coarse.profile, coarse.features, coarse.back, use="centroids")
    network, centroids = (_unseen(coarse, m.rungs[0]) for m in (made, plain))
    assert network[0] < 0.8 * centroids[0]
    assert network[1] < 0.9 * centroids[1]
    held = made.report["rungs"][0]["held_out"]
    assert held["conv"] == min(held.values())


@pytest.mark.parametrize("losses", [0.0, 0.2])
def test_equal_inputs_and_seed_give_equal_weights(coarse: Case, losses: float) -> None:
    def train(seed: int) -> dict[str, bytes]:
        plan = TrainingPlan((12, 12, 16), (3, 3), steps=12, losses=losses, seed=seed)
        start = (np.zeros((2, 16), np.float32), np.zeros(16, np.float32))
        trained = train_net(
            coarse.features, lambda x: levels_on_device(coarse.profile, 0, x), start,
            coarse.back, Divergence("kl", 1.0), plan,
        )  # fmt: skip
        assert np.abs(trained.values).max() > 0
        rung = RungRestorer("conv", trained.values, start[1], trained.net)
        return write_restorer(coarse.profile, (rung,), {})

    assert train(1) == train(1)
    assert train(1) != train(2)


def test_a_network_trained_with_losses_fills_what_is_missing(coarse: Case) -> None:
    made = make_restorer(
        coarse.profile, coarse.features, coarse.back, use="conv", losses=0.3, width=16
    )
    rung = made.rungs[0]
    assert rung.net is not None
    assert rung.net.losses
    levels = levels_on_device(coarse.profile, 0, coarse.unseen)
    missing = np.zeros(levels.shape, dtype=np.bool_)
    missing[:, 3] = True
    levels[missing] = 1  # what stands there must not be looked at
    filled = rung(levels, missing)
    whole = levels_on_device(coarse.profile, 0, coarse.unseen)
    assert np.array_equal(filled, rung(whole, missing))
    plain = make_restorer(coarse.profile, coarse.features, coarse.back, use="conv", width=16)
    apart = [
        kl(coarse.unseen_outputs, coarse.back.run(features))
        for features in (filled, plain.rungs[0](whole, missing), rung(whole))
    ]
    assert apart[0] < 0.9 * apart[1]  # a network without losses has only the means
    assert apart[2] < apart[0]  # and everything is better than a part


def test_a_back_half_that_cannot_be_differentiated_still_judges(coarse: Case) -> None:
    blind = BackRunner(coarse.back.run, None, "no gradient")
    made = make_restorer(coarse.profile, coarse.features, blind, use="conv", width=12)
    assert made.report["trained_on"] == "features"
    assert made.report["rungs"][0]["notes"] == ["no gradient"]
    plain = make_restorer(coarse.profile, coarse.features, blind, use="centroids")
    assert _unseen(coarse, made.rungs[0])[1] < 0.9 * _unseen(coarse, plain.rungs[0])[1]


def test_too_few_inputs_give_centroids(coarse: Case) -> None:
    few = FeatureSet(coarse.features.features[:12], coarse.features.outputs[:12])
    made = make_restorer(coarse.profile, few, coarse.back, use="auto")
    entry = made.report["rungs"][0]
    assert entry["used"] in ("values", "centroids")
    assert "conv" not in entry["held_out"]
    assert entry["notes"] == ["12 inputs are too few for a network"]
    with pytest.raises(OptionError, match="too few"):
        make_restorer(coarse.profile, few, coarse.back, use="conv")
    one = FeatureSet(coarse.features.features[:1], coarse.features.outputs[:1])
    assert make_restorer(coarse.profile, one, coarse.back, use="centroids").rungs


def test_rank_4_gives_centroids() -> None:
    rng = np.random.default_rng(0)
    features = rng.random((50, 2, 2, 2, 3)).astype(np.float32)
    back = BackRunner(lambda f: f.reshape(len(f), -1)[:, :4])
    made = make_restorer(
        uniform_profile((2, 2, 2, 3), 1.0, 3), FeatureSet(features, back.run(features)), back
    )
    assert made.report["divergence"] == "mse"
    assert "above 3" in made.report["rungs"][0]["notes"][0]


def test_centroids_are_means_drawn_to_the_cell_of_all_channels() -> None:
    levels = np.array([[0, 0], [0, 1], [0, 1], [1, 1]], dtype=np.uint8)
    features = np.array([[0, 8], [1, 20], [2, 22], [10, 24]], dtype=np.float32)
    published = np.array([0.0, 5.0, 7.0], dtype=np.float32)
    values, means = cell_centroids([(levels, features)], published, 2)
    low, high = (0 + 1 + 2 + 8) / 4, (10 + 20 + 22 + 24) / 4
    expected = [
        [(3 + 16 * low) / 19, (8 + 16 * low) / 17],
        [(10 + 16 * high) / 17, (66 + 16 * high) / 19],
        [7.0, 7.0],
    ]
    np.testing.assert_allclose(values, np.array(expected, dtype=np.float32), rtol=1e-6)
    np.testing.assert_allclose(means, [13 / 4, 74 / 4])


def test_divergence_by_hand() -> None:
    p = np.array([[0.5, 0.5], [1.0, 0.0]], dtype=np.float32)
    q = np.array([[0.25, 0.75], [1.0, 0.0]], dtype=np.float32)
    kl = Divergence.of(p)
    assert kl.kind == "kl"
    expected = 0.5 * (0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert kl(p, q) == pytest.approx(expected, abs=1e-6)
    mse = Divergence.of(2 * p)
    assert mse.kind == "mse"
    assert mse(2 * p, 2 * p + 1) == pytest.approx(1 / (2 * p).var())


def test_plans_are_bounded() -> None:
    small = plan_training((8, 8, 8), 3, 100)
    assert (small.steps, small.kernel, small.widths) == (400, (3, 3), (64, 64, 8))
    assert plan_training((16, 16, 32), 3, 18000).steps == 1688
    assert plan_training((49, 40), 3, 100).kernel == (3, 1)
    assert plan_training((64,), 3, 100).kernel == (1, 1)
    huge = plan_training((112, 112, 64), 3, 100000)
    positions = 112 * 112
    macs = 3 * 9 * (128 * 64 + 64 * 64 + 64 * 64) * positions * huge.batch * huge.steps
    assert 0.9 * 6e13 < macs <= 6e13
    assert replace(huge, steps=1) != huge
