"""Intervals, percentiles, classes and labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.errors import DataDtypeError, DataShapeError
from isthmus_gen.evaluate.statistics import (
    Tally,
    check_labels,
    paired_interval,
    percentiles,
    top_class,
)


@pytest.mark.parametrize(("gained", "lost", "count"), [(0, 0, 40), (7, 3, 200), (0, 60, 500)])
def test_interval_is_wald_with_half_an_input_in_each_cell(
    gained: int, lost: int, count: int
) -> None:
    same = count - gained - lost
    values = np.array([1.0, -1.0, 0.0, 0.0])
    weights = np.array([gained + 0.5, lost + 0.5, same / 2 + 0.5, same / 2 + 0.5])
    mean = np.average(values, weights=weights)
    spread = math.sqrt(np.average((values - mean) ** 2, weights=weights) / weights.sum())
    found = paired_interval(gained, lost, count)
    assert found.delta == (gained - lost) / count
    assert found.low == pytest.approx(mean - 1.959964 * spread, abs=1e-7)
    assert found.high == pytest.approx(mean + 1.959964 * spread, abs=1e-7)


def test_interval_covers_what_it_says() -> None:
    rng = np.random.default_rng(11)
    cells = [0.86, 0.08, 0.03, 0.03]  # both right, lost, gained, both wrong
    covered = 0
    for _ in range(2000):
        _, lost, gained, _ = rng.multinomial(300, cells)
        found = paired_interval(int(gained), int(lost), 300)
        covered += found.low <= cells[2] - cells[1] <= found.high
    assert 0.935 <= covered / 2000 <= 0.97


def test_percentiles_are_lengths_that_occur() -> None:
    lengths = np.array([50, 10, 20, 40, 30], dtype=np.int64)
    found = percentiles(lengths)
    assert found == {
        "min": 10,
        "p5": 10,
        "p25": 20,
        "p50": 30,
        "p75": 40,
        "p95": 50,
        "p99": 50,
        "max": 50,
    }


def test_classes() -> None:
    rows = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], np.float32)
    assert top_class(rows) is not None
    np.testing.assert_array_equal(top_class(rows), [1, 0])
    np.testing.assert_array_equal(top_class(rows.reshape(2, 1, 1, 3)), [1, 0])
    np.testing.assert_array_equal(top_class(np.array([[0.4], [0.5]], np.float32)), [0, 1])
    assert top_class(np.zeros((2, 10, 10, 3), np.float32)) is None


@pytest.mark.parametrize(
    "y",
    [
        np.array([2, 0], np.uint8),
        np.array([[2], [0]]),
        np.array([[0, 0, 1], [1, 0, 0]]),
        np.array([2.0, 0.0]),
    ],
)
def test_labels(y: NDArray[np.float64]) -> None:
    np.testing.assert_array_equal(check_labels(y, 3, "set.npz"), [2, 0])


@pytest.mark.parametrize(
    ("y", "error"),
    [
        (np.array([3]), DataShapeError),
        (np.array([-1]), DataShapeError),
        (np.array([0.5]), DataDtypeError),
        (np.zeros((2, 2, 2)), DataShapeError),
    ],
)
def test_labels_that_are_none(y: NDArray[np.float64], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"set\.npz: y"):
        check_labels(y, 3, "set.npz")


def test_tally() -> None:
    whole = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    other = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], np.float32)
    labels = np.array([0, 1, 1, 1])
    tally = Tally()
    tally.add(other, whole, labels)
    assert (tally.accuracy, tally.agreement) == (0.75, 0.5)
    assert (tally.gained, tally.lost) == (1, 1)
    assert tally.output_error == pytest.approx(1.0)
    assert Tally().accuracy is None
    assert Tally().interval is None
