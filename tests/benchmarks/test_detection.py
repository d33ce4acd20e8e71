"""Detections and AP50 against cases that were worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from benchmarks.detection import (
    Detections,
    Head,
    average_precision,
    corner_boxes,
    decode_heads,
    match,
    overlap,
    suppress,
)


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def found(entries: list[tuple[tuple[float, float, float, float], float, int]]) -> Detections:
    return Detections(
        boxes(*(entry[0] for entry in entries)),
        np.array([entry[1] for entry in entries], dtype=np.float64),
        np.array([entry[2] for entry in entries], dtype=np.int64),
    )


def test_overlap_is_the_shared_area_over_the_area_of_both() -> None:
    # Two squares of side 2, one moved by 1: they share 2 of 6. One apart, one inside another.
    a = boxes((0, 0, 2, 2))
    b = boxes((1, 0, 3, 2), (5, 5, 6, 6), (0, 0, 1, 1), (2, 0, 4, 2))
    assert overlap(a, b).tolist() == [[1 / 3, 0.0, 0.25, 0.0]]


def test_boxes_without_area_overlap_nothing() -> None:
    flat = boxes((0.5, 0.5, 0.5, 0.5))
    assert overlap(flat, flat).tolist() == [[0.0]]


def test_a_head_of_zeros_is_the_anchor_in_the_middle_of_each_cell() -> None:
    head = Head(((32.0, 64.0),), 2)
    output = np.zeros((1, 7, 2, 2), dtype=np.float32)
    output[0, 4, 0, 1] = 60  # objectness 1 in the upper right cell, one half elsewhere
    output[0, 6, 0, 1] = math.log(3)  # class 1 at 3/4
    (seen,) = decode_heads([output], [head], 128, least=0.6)
    # Cell (row 0, column 1) of 2x2: centre (0.75, 0.25); the anchor is 1/4 wide, 1/2 high.
    assert seen.boxes.tolist() == [[0.625, 0.0, 0.875, 0.5]]
    assert seen.scores == pytest.approx([0.75])
    assert seen.classes.tolist() == [1]


def test_width_and_height_grow_by_the_exponential_of_the_output() -> None:
    output = np.zeros((1, 6, 1, 1), dtype=np.float32)
    output[0, 2] = math.log(2)
    output[0, 3] = math.log(0.5)
    (seen,) = decode_heads([output], [Head(((10.0, 20.0),), 1)], 100, least=0.1)
    # 10 * 2 and 20 / 2 of 100 pixels, about the middle.
    assert seen.boxes[0] == pytest.approx([0.4, 0.45, 0.6, 0.55])


def test_the_second_anchor_has_the_second_group_of_channels() -> None:
    output = np.full((1, 12, 1, 1), -60, dtype=np.float32)
    output[0, 6:10] = 0
    output[0, 10] = output[0, 11] = 60
    (seen,) = decode_heads([output], [Head(((10.0, 10.0), (40.0, 20.0)), 1)], 100, least=0.5)
    assert seen.boxes[0] == pytest.approx([0.3, 0.4, 0.7, 0.6])


def test_suppression_keeps_the_best_of_a_heap_within_a_class_only() -> None:
    given = boxes((0, 0, 2, 2), (0, 0, 2, 2.1), (3, 3, 4, 4))
    scores = np.array([[0.8, 0.0], [0.9, 0.6], [0.7, 0.0]])
    seen = suppress(given, scores, least=0.5, iou=0.45, most=10)
    assert list(zip(seen.scores, seen.classes, strict=True)) == [(0.9, 0), (0.7, 0), (0.6, 1)]
    assert len(suppress(given, scores, least=0.5, iou=0.45, most=2).scores) == 2
    assert suppress(given, scores, least=0.95, iou=0.45, most=2).boxes.shape == (0, 4)


def test_a_true_box_is_met_once_and_by_its_own_class() -> None:
    truth = [(boxes((0, 0, 1, 1)), np.array([3]))]
    seen = [found([((0, 0, 1, 1), 0.9, 3), ((0, 0, 1, 0.9), 0.8, 3), ((0, 0, 1, 1), 0.7, 2)])]
    assert match(seen, truth, 5).right.tolist() == [True, False, False]


def test_half_an_overlap_is_enough_and_less_is_not() -> None:
    truth = [(boxes((0, 0, 1, 1)), np.array([0]))]
    for height, right in ((0.5, True), (0.49, False)):
        seen = [found([((0, 0, 1, height), 0.9, 0)])]
        assert match(seen, truth, 1).right.tolist() == [right]


def worked_case() -> tuple[list[Detections], list[tuple[np.ndarray, np.ndarray]]]:
    """Class 0 has three true boxes in two pictures; by score: right, wrong, right, and one is
    never found. Class 1 has one, found at once. Class 2 is seen but never true."""
    one, two, far = (0.0, 0.0, 1.0, 1.0), (2.0, 2.0, 3.0, 3.0), (8.0, 8.0, 9.0, 9.0)
    seen = [
        found([(one, 0.9, 0), (far, 0.8, 0), (far, 0.5, 2)]),
        found([(two, 0.95, 1), (one, 0.7, 0)]),
    ]
    truth = [
        (boxes(one, two), np.array([0, 0])),
        (boxes(one, two), np.array([0, 1])),
    ]
    return seen, truth


def test_average_precision_by_hand() -> None:
    # Class 0: recalls 1/3, 1/3, 2/3 at precisions 1, 1/2, 2/3. Made monotone: 1 up to recall
    # 1/3 (grid points 0..33, 34 of them), 2/3 up to 2/3 (34..66, 33 of them), then 0.
    matched = match(*worked_case(), 3)
    assert average_precision(matched) == pytest.approx(((34 + 33 * 2 / 3) / 101 + 1.0) / 2)


def test_average_precision_without_a_picture() -> None:
    matched = match(*worked_case(), 3)
    # Without the second picture: class 0 alone, two true boxes, right then wrong: recall 1/2 at
    # precision 1 (grid points 0..50), then nothing. Without the first: both classes are perfect.
    assert average_precision(matched, without=1) == pytest.approx(51 / 101)
    assert average_precision(matched, without=0) == 1.0


def test_nothing_found_is_zero() -> None:
    truth = [(boxes((0, 0, 1, 1)), np.array([0]))]
    assert average_precision(match([found([])], truth, 1)) == 0.0


def test_corners_of_a_centred_box() -> None:
    assert corner_boxes(boxes((0.5, 0.25, 0.5, 0.25))).tolist() == [[0.25, 0.125, 0.75, 0.375]]
