"""The front, its margins and the rungs that are picked, against cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isthmus_gen.ladder import Losses, Point, Recipe, bounded, isotonic, make_point, pareto
from isthmus_gen.ladder import pick_rungs as pick

Number = float | None


def point(
    bits: float,
    divergence: float,
    changed: Number = 0.0,
    lost: Number = None,
    *,
    bound: float | None = None,
    inputs: int = 100,
    pairs: int = 0,
) -> Point:
    """A point with a recipe of its own."""
    loss = lost if lost is not None else changed if changed is not None else divergence
    return Point(
        Recipe(4, "uniform", "model", bits),
        bits, divergence, 0.0, changed, lost, loss, loss if bound is None else bound, inputs, pairs,
    )  # fmt: skip


def bits_of(points: list[Point]) -> list[float]:
    return [p.bits for p in points]


def test_the_front_keeps_what_no_other_beats_in_both() -> None:
    points = [
        point(1.0, 0.50),
        point(1.5, 0.20),
        point(1.6, 0.20),  # dearer, no better
        point(2.0, 0.30),  # dearer and worse than 1.5
        point(2.5, 0.05),
        point(3.0, 0.01),
        point(3.0, 0.02),  # as dear, worse
    ]
    assert bits_of(pareto(points)) == [3.0, 2.5, 1.5, 1.0]
    assert bits_of(pareto(points[::-1])) == [3.0, 2.5, 1.5, 1.0]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ([3.0, 2.0, 1.0], [2.0, 2.0, 2.0]),
        ([1.0, 5.0, 3.0, 4.0, 10.0], [1.0, 4.0, 4.0, 4.0, 10.0]),
        ([4.0, 1.0, 1.0, 6.0], [2.0, 2.0, 2.0, 6.0]),
    ],
)
def test_the_isotonic_fit(row: list[float], expected: list[float]) -> None:
    assert isotonic(np.array(row)).tolist() == pytest.approx(expected)


def test_the_margin_of_changed_answers() -> None:
    # 3 of 100: (3.5 / 101) and its standard error over 101 inputs
    share = 3.5 / 101
    (only,) = bounded([point(1.0, 0.1, 0.03)])
    assert only.bound == pytest.approx(share + math.sqrt(share * (1 - share) / 101))
    assert only.loss == 0.03


def test_a_lucky_point_is_held_to_its_neighbours() -> None:
    # by divergence: 0.02, 0.06, 0.01 of the answers; the last two are fitted to 0.035 each
    good, unlucky, lucky = bounded(
        [point(3.0, 0.1, 0.02), point(2.0, 0.2, 0.06), point(1.0, 0.3, 0.01)]
    )
    assert lucky.bound > good.bound
    share = 4.0 / 101
    assert lucky.bound == pytest.approx(share + math.sqrt(share * (1 - share) / 101))
    # the unlucky one is not made better than it was seen to be
    share = 6.5 / 101
    assert unlucky.bound == pytest.approx(share + math.sqrt(share * (1 - share) / 101))


def test_with_labels_the_smaller_of_both_bounds_counts() -> None:
    # 4 of 100 answers changed: 2 right ones lost, 2 won; the loss is 0, its pairs are 4
    (only,) = bounded([point(1.0, 0.1, 0.04, 0.0, pairs=4)])
    assert only.bound == pytest.approx(math.sqrt((5 / 102) / 102))
    # 30 of 100 changed and all lost: the changed answers bound it a little lower
    (bad,) = bounded([point(1.0, 0.1, 0.30, 0.30, pairs=30)])
    share = 30.5 / 101
    assert bad.bound <= share + math.sqrt(share * (1 - share) / 101)


def test_without_classes_the_margin_is_that_of_the_divergence() -> None:
    losses = Losses(np.array([0.1, 0.3]), None, None)
    (only,) = bounded([make_point(Recipe(4, "uniform", "model", 1.0), 2.0, losses)])
    # mean 0.2, standard deviation sqrt(0.02), standard error 0.1
    assert (only.loss, only.bound) == (pytest.approx(0.2), pytest.approx(0.3))


def test_points_count_what_was_lost_and_changed() -> None:
    losses = Losses(
        np.array([0.0, 0.2, 0.4, 0.6]),
        np.array([False, True, True, True]),
        np.array([0, 1, 1, -1], dtype=np.int8),
    )
    made = make_point(Recipe(2, "uniform", "model", 1.0), 1.0, losses)
    assert (made.divergence, made.changed, made.lost) == (pytest.approx(0.3), 0.75, 0.25)
    assert (made.loss, made.gains_and_losses, made.inputs) == (0.25, 3, 4)


FRONT = [
    point(4.0, 0.001, 0.000, bound=0.004),
    point(3.0, 0.002, 0.002, bound=0.006),
    point(2.0, 0.010, 0.006, bound=0.011),
    point(1.6, 0.020, 0.015, bound=0.020),
    point(1.0, 0.050, 0.030, bound=0.040),
    point(0.5, 0.200, 0.100, bound=0.120),
    point(0.4, 0.900, 0.400, bound=0.430),
]


def test_max_loss_takes_the_cheapest_whose_bound_keeps_it() -> None:
    assert bits_of(pick(FRONT, 1, 0.01)[0]) == [3.0]
    assert bits_of(pick(FRONT, 1, 0.011)[0]) == [2.0]
    assert bits_of(pick(FRONT, 1, 0.5)[0]) == [0.4]


def test_without_max_loss_the_first_cannot_be_told_from_the_best() -> None:
    # the best one's bound is 0.004; 0.002 is within it, 0.006 is not
    assert bits_of(pick(FRONT, 1, None)[0]) == [3.0]


def test_rungs_go_down_in_equal_ratios_to_the_last_useful_one() -> None:
    picked, notes = pick(FRONT, 4, 0.01)
    # 0.4 bit loses far too much; 3.0 to 0.5 in three steps: 1.65 and 0.91
    assert bits_of(picked) == [3.0, 1.6, 1.0, 0.5]
    assert notes == []


def test_fewer_rungs_where_the_front_has_no_more() -> None:
    picked, notes = pick(FRONT, 8, 0.02)
    assert bits_of(picked) == [1.6, 1.0, 0.5]
    assert notes == ["the front has 3 rungs to choose, not 8"]


def test_every_rung_of_the_front_can_be_had() -> None:
    assert bits_of(pick(FRONT, 6, 0.005)[0]) == [4.0, 3.0, 2.0, 1.6, 1.0, 0.5]


def test_a_loss_that_cannot_be_kept_is_told() -> None:
    picked, notes = pick(FRONT, 1, 0.001)
    assert bits_of(picked) == [4.0]
    assert notes == [
        "no quantiser is shown to lose at most 0.1: the best loses 0.00 on 100 inputs, 0.40 with "
        "its margin; more calibration inputs make the margin smaller"
    ]


def test_outputs_that_are_no_classes_take_one_per_cent_of_error() -> None:
    front = [
        point(3.0, 0.001, None, bound=0.002),
        point(2.0, 0.008, None, bound=0.009),
        point(1.0, 0.009, None, bound=0.011),
    ]
    assert bits_of(pick(front, 1, None)[0]) == [2.0]
