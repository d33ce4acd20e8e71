"""Divergences and losses against numbers worked out by hand and by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from isthmus_gen.ladder import Answers
from isthmus_gen.ladder.divergence import output_kind

EVERY = slice(None)


def single(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_probabilities_of_classes() -> None:
    before = single([0.5, 0.3, 0.2], [0.1, 0.8, 0.1])
    after = single([0.3, 0.5, 0.2], [0.2, 0.6, 0.2])
    answers = Answers(before, np.array([0, 1]))
    losses = answers.losses(after, EVERY)
    expected = [entropy(p, q) for p, q in zip(before, after, strict=True)]
    # six decimals are smoothed away: no class has probability zero
    assert losses.divergence == pytest.approx(expected, abs=2e-5)
    assert losses.changed is not None
    assert losses.changed.tolist() == [True, False]
    assert losses.lost is not None
    assert losses.lost.tolist() == [1, 0]


def test_logits_go_through_a_softmax() -> None:
    before, after = single([2.0, -1.0, 0.5]), single([1.0, 1.5, 0.0])
    losses = Answers(before, None).losses(after, EVERY)
    assert losses.divergence == pytest.approx(
        [entropy(softmax(before[0]), softmax(after[0]))], abs=2e-5
    )
    assert losses.lost is None


def test_one_probability_is_that_of_two_classes() -> None:
    losses = Answers(single([0.9], [0.2]), None).losses(single([0.4], [0.3]), EVERY)
    expected = [entropy([0.1, 0.9], [0.6, 0.4]), entropy([0.8, 0.2], [0.7, 0.3])]
    assert losses.divergence == pytest.approx(expected, abs=2e-5)
    assert losses.changed is not None
    assert losses.changed.tolist() == [True, False]


def test_values_are_compared_in_squares() -> None:
    before = single([3.0, -4.0], [0.0, 5.0])
    losses = Answers(before, None, (2,)).losses(single([3.0, -3.0], [2.0, 5.0]), EVERY)
    # mean square of the outputs: (9 + 16 + 0 + 25) / 4 = 12.5; errors 1/2 and 4/2
    assert losses.divergence == pytest.approx([0.5 / 12.5, 2 / 12.5])
    assert losses.changed is None
    assert losses.lost is None


def test_a_wrong_answer_that_becomes_right_is_a_gain() -> None:
    answers = Answers(single([0.6, 0.4], [0.6, 0.4], [0.6, 0.4]), np.array([1, 0, 1]))
    losses = answers.losses(single([0.2, 0.8], [0.2, 0.8], [0.9, 0.1]), EVERY)
    assert losses.lost is not None
    assert losses.lost.tolist() == [-1, 1, 0]


def test_rows_choose_the_inputs() -> None:
    answers = Answers(single([0.6, 0.4], [0.1, 0.9]), None)
    losses = answers.losses(single([0.1, 0.9]), np.array([1]))
    assert losses.divergence == pytest.approx([0.0], abs=1e-9)


@pytest.mark.parametrize(
    ("outputs", "shape", "labelled", "kind"),
    [
        (np.full((2, 4), 0.25), (8,), False, "probabilities"),
        (np.array([[0.7], [0.1]]), (8,), False, "probabilities"),
        (np.array([[0.7], [1.4]]), (8,), False, "values"),
        (np.array([[3.0, -1.0]]), (8,), False, "logits"),
        (np.array([[3.0, -1.0]]), (2,), False, "values"),  # the shape of the input: a copy of it
        (np.array([[3.0, -1.0]]), (2,), True, "logits"),
        (np.zeros((2, 3, 3)), (8,), False, "values"),
    ],
)
def test_kinds_of_outputs(
    outputs: np.ndarray, shape: tuple[int, ...], labelled: bool, kind: str
) -> None:
    assert output_kind(outputs.astype(np.float32), shape, labelled) == kind
