"""Detections of a YOLO head and their average precision at an IoU of one half (AP50).

Boxes are (left, top, right, bottom) in shares of the picture's width and height. The head is that
of YOLOv3 (Redmon and Farhadi 2018); average precision is that of COCO: detections by falling
score, each matched to the free true box of its class that it overlaps most, precision made
monotone and read at 101 recalls, mean over the classes that have a true box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Detections", "Head", "MatchedDetections", "average_precision", "corner_boxes",
           "decode_heads", "match", "overlap", "suppress"]  # fmt: skip

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Head:
    """One output of the network: its anchors (width, height) in pixels of the input."""

    anchors: tuple[tuple[float, float], ...]
    classes: int


@dataclass(frozen=True)
class Detections:
    """What was found in one picture: boxes [n, 4], scores [n] falling, classes [n]."""

    boxes: Floats
    scores: Floats
    classes: Ints


@dataclass(frozen=True)
class MatchedDetections:
    """Detections of a whole set: picture, class, score and whether a true box was met, [n] each,
    and how many true boxes each class has in each picture, [pictures, classes]."""

    picture: Ints
    classes: Ints
    scores: Floats
    right: npt.NDArray[np.bool_]
    truths: Ints


def decode_heads(
    outputs: Sequence[npt.NDArray[np.float32]],
    heads: Sequence[Head],
    size: int,
    *,
    least: float = 0.01,
    iou: float = 0.45,
    most: int = 100,
) -> list[Detections]:
    """The detections of each picture from the network's outputs.

    ``outputs`` are [n, anchors * (5 + classes), rows, columns], one for each of ``heads``; ``size``
    is the width and height of the network's input. Kept are scores (objectness times class) of at
    least ``least``, after suppression within a class at ``iou``, the best ``most`` of a picture.
    """
    boxes, scores = zip(
        *(_decode_head(out, head, size) for out, head in zip(outputs, heads, strict=True)),
        strict=True,
    )
    all_boxes, all_scores = np.concatenate(boxes, axis=1), np.concatenate(scores, axis=1)
    return [
        suppress(b, s, least=least, iou=iou, most=most)
        for b, s in zip(all_boxes, all_scores, strict=True)
    ]


def _decode_head(output: npt.NDArray[np.float32], head: Head, size: int) -> tuple[Floats, Floats]:
    """Boxes [n, candidates, 4] and scores [n, candidates, classes]."""
    n, _, rows, columns = output.shape
    given = output.astype(np.float64).reshape(n, len(head.anchors), 5 + head.classes, rows, columns)
    x = (_logistic(given[:, :, 0]) + np.arange(columns)) / columns
    y = (_logistic(given[:, :, 1]) + np.arange(rows)[:, np.newaxis]) / rows
    anchors = np.array(head.anchors)[:, :, np.newaxis, np.newaxis] / size
    wide = np.exp(np.clip(given[:, :, 2], None, 20)) * anchors[:, 0]
    high = np.exp(np.clip(given[:, :, 3], None, 20)) * anchors[:, 1]
    centred = np.stack([x, y, wide, high], axis=-1).reshape(n, -1, 4)
    scores = _logistic(given[:, :, 4:5]) * _logistic(given[:, :, 5:])
    return corner_boxes(centred), np.moveaxis(scores, 2, -1).reshape(n, -1, head.classes)


def _logistic(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))))


def corner_boxes(centred: Floats) -> Floats:
    """(centre x, centre y, width, height) [..., 4] as (left, top, right, bottom)."""
    half = centred[..., 2:] / 2
    return np.concatenate([centred[..., :2] - half, centred[..., :2] + half], axis=-1)


def overlap(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes a [n, 4] and b [m, 4]: [n, m]."""
    low = np.maximum(a[:, np.newaxis, :2], b[np.newaxis, :, :2])
    high = np.minimum(a[:, np.newaxis, 2:], b[np.newaxis, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    area_a = np.prod(a[:, 2:] - a[:, :2], axis=-1)
    area_b = np.prod(b[:, 2:] - b[:, :2], axis=-1)
    union = area_a[:, np.newaxis] + area_b - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def suppress(boxes: Floats, scores: Floats, *, least: float, iou: float, most: int) -> Detections:
    """Greedy suppression within each class: boxes [n, 4], scores [n, classes]."""
    kept: list[tuple[float, int, int]] = []
    for kind in np.flatnonzero((scores >= least).any(axis=0)):
        at = np.flatnonzero(scores[:, kind] >= least)
        at = at[np.argsort(-scores[at, kind], kind="stable")][: 4 * most]
        meets = overlap(boxes[at], boxes[at]) > iou
        alive = np.ones(len(at), dtype=bool)
        for i in range(len(at)):
            if alive[i]:
                kept.append((float(scores[at[i], kind]), int(kind), int(at[i])))
                alive[i + 1 :] &= ~meets[i, i + 1 :]
    kept.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    chosen = kept[:most]
    return Detections(
        boxes[[entry[2] for entry in chosen]].reshape(-1, 4),
        np.array([entry[0] for entry in chosen], dtype=np.float64),
        np.array([entry[1] for entry in chosen], dtype=np.int64),
    )


def match(
    found: Sequence[Detections], truth: Sequence[tuple[Floats, Ints]], classes: int
) -> MatchedDetections:
    """Each detection against the true (boxes [m, 4], classes [m]) of its picture."""
    truths = np.zeros((len(found), classes), dtype=np.int64)
    right = []
    for picture, (seen, (boxes, kinds)) in enumerate(zip(found, truth, strict=True)):
        np.add.at(truths[picture], kinds, 1)
        meets = overlap(seen.boxes, boxes)
        free = np.ones(len(boxes), dtype=bool)
        for number, kind in enumerate(seen.classes):
            wanted = np.where(free & (kinds == kind), meets[number], 0.0)
            best = int(wanted.argmax()) if len(boxes) else 0
            hit = bool(len(boxes)) and wanted[best] >= 0.5
            if hit:
                free[best] = False
            right.append(hit)
    return MatchedDetections(
        np.repeat(np.arange(len(found)), [len(seen.scores) for seen in found]),
        np.concatenate([seen.classes for seen in found]),
        np.concatenate([seen.scores for seen in found]),
        np.array(right, dtype=np.bool_),
        truths,
    )


def average_precision(matched: MatchedDetections, without: int | None = None) -> float:
    """Mean over classes of the area under precision and recall, 0..1.

    ``without`` leaves one picture out.
    """
    kept = np.ones(len(matched.truths), dtype=bool)
    if without is not None:
        kept[without] = False
    counts = matched.truths[kept].sum(axis=0)
    here = kept[matched.picture]
    areas = []
    for kind in np.flatnonzero(counts):
        at = np.flatnonzero(here & (matched.classes == kind))
        order = at[np.argsort(-matched.scores[at], kind="stable")]
        hits = np.cumsum(matched.right[order])
        precision = hits / np.arange(1, len(order) + 1)
        monotone = np.maximum.accumulate(precision[::-1])[::-1]
        # 1e-12: recalls such as 3/10 and the grid's 0.3 differ in the last bit.
        place = np.searchsorted(hits / counts[kind], _RECALLS - 1e-12, side="left")
        areas.append(np.append(monotone, 0.0)[place].mean())
    return float(np.mean(areas)) if areas else 0.0
