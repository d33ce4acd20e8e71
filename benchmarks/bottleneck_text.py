"""What the bottleneck's rows say: the section of RESULTS.md, and what is not as it should be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.sections import markdown_table

if TYPE_CHECKING:
    from benchmarks.bottleneck import Row

__all__ = ["best_within", "bytes_at", "compare", "data_bytes", "failures", "text_of"]

#: Points of accuracy that may be lost, the part of the raw features' bytes, and of JPEG's.
MOST_LOST, RAW_PART, JPEG_PART = 2.0, 84, 0.7
HEADER = 12
_PICTURE = 3072
#: The quality that the test pictures were coded with.
PICTURE_QUALITY = 75


def lost_points(row: Row) -> tuple[float, float]:
    """Points lost and the standard error of that paired mean."""
    mean = (row.lost - row.gained) / row.inputs
    variance = (row.lost + row.gained) / row.inputs - mean**2
    return 100 * mean, 100 * math.sqrt(max(variance, 0.0) / row.inputs)


def best_within(rows: Sequence[Row], stage: int, coder: str = "isthmus") -> Row | None:
    """A coder's row of fewest bytes at a stage that loses at most two points, as published."""
    fits = [
        row for row in rows
        if row.stage == stage and row.coder == coder and lost_points(row)[0] <= MOST_LOST
    ]  # fmt: skip
    return min(fits, key=lambda row: row.bytes) if fits else None


def data_bytes(row: Row) -> float:
    """Coded data alone: what a frame holds without its header; of JPEG what ``bytes`` are."""
    return row.bytes - HEADER if row.coder == "isthmus" else row.bytes


def bytes_at(rows: Sequence[Row], accuracy: float) -> float | None:
    """Coded bytes at which these rows reach ``accuracy``, on lines between their best points.

    None above the best row. Below the worst, the fewest bytes of all: an upper bound.
    """
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.bytes, -row.accuracy)):
        if not front or row.accuracy > front[-1].accuracy:
            front.append(row)
    if not front or accuracy > front[-1].accuracy:
        return None
    if accuracy <= front[0].accuracy:
        return data_bytes(front[0])
    after = next(i for i, row in enumerate(front) if row.accuracy >= accuracy)
    low, high = front[after - 1], front[after]
    part = (accuracy - low.accuracy) / (high.accuracy - low.accuracy)
    return data_bytes(low) + part * (data_bytes(high) - data_bytes(low))


def compare(rows: Sequence[Row], stage: int) -> list[tuple[Row, float | None]]:
    """Each JPEG row of a stage, and our coded bytes at its accuracy."""
    ours = [row for row in rows if row.stage == stage and row.coder == "isthmus"]
    return [
        (row, bytes_at(ours, row.accuracy))
        for row in rows
        if row.stage == stage and row.coder == "jpeg"
    ]


def failures(rows: Sequence[Row]) -> list[str]:
    """What is not as it should be, a line each; stages without rows say nothing."""
    out = []
    for stage in sorted({row.stage for row in rows}):
        ours = best_within(rows, stage)
        if ours is None:
            out.append(f"stage {stage}: no point of ours loses at most {MOST_LOST:g} points")
            continue
        if ours.bytes * RAW_PART > ours.raw:
            out.append(
                f"stage {stage}: {ours.bytes:.1f} bytes are more than 1/{RAW_PART} of {ours.raw}"
            )
        for row, found in compare(rows, stage):
            if found is None:
                out.append(f"stage {stage}: no point of ours is as accurate as {row.point}")
            elif found > JPEG_PART * row.bytes:
                part = found / row.bytes
                out.append(f"stage {stage}: {part:.2f} of the bytes of {row.point}")
    return out


def text_of(rows: Sequence[Row]) -> str:
    """The section of RESULTS.md."""
    lines = [
        "## A learned bottleneck",
        "",
        "Written by `python -m benchmarks.bottleneck` (`make bottleneck-figures`). ResNet-8 tuned"
        " on JPEG pictures of CIFAR-10, units trained on training pictures, the network as it was."
        " Bytes are means of a test picture: for `isthmus` whole frames with their 12 bytes of"
        " header (length, digest, sequence, checksum), for `jpeg` (as published) the coded data"
        " alone: its headers, its tables and each picture's minimum and maximum are not counted."
        " `data` leaves out our header too, and coders are compared by it. Points lost are paired,"
        " with the standard error of their mean.",
        "",
    ]
    for stage in sorted({row.stage for row in rows}):
        own = [row for row in rows if row.stage == stage]
        raw = own[0].raw
        lines += [
            f"### After stage {stage}: {raw:,} bytes of float32 features, 1/{RAW_PART} of them"
            f" {raw // RAW_PART} bytes; {own[0].inputs:,} pictures, {100 * own[0].whole:.2f} %",
            "",
        ]
        cells = []
        for row in own:
            mean, error = lost_points(row)
            cells.append([
                row.point, "x".join(str(size) for size in row.shape), f"{row.bytes:.1f}",
                f"{data_bytes(row):.1f}",
                "-" if row.file_bytes is None else f"{row.file_bytes:.0f}",
                f"{raw / row.bytes:.0f}", f"{_PICTURE / row.bytes:.1f}",
                f"{100 * row.accuracy:.2f}", f"{mean:.2f} ± {error:.2f}", f"{row.seconds:.0f}",
            ])  # fmt: skip
        head = [
            "bottleneck", "shape", "bytes", "data", "JPEG file", "features / bytes",
            "picture / bytes", "accuracy, %", "points lost", "training, s",
        ]  # fmt: skip
        lines += [markdown_table(head, cells), ""]
        lines += _words(rows, stage)
    if missed := failures(rows):
        lines += ["Short of what was to be reached:", "", *(f"- {one}" for one in missed), ""]
    return "\n".join(lines)


def _words(rows: Sequence[Row], stage: int) -> list[str]:
    lines = []
    ours, jpeg = best_within(rows, stage), best_within(rows, stage, "jpeg")
    pairs = compare(rows, stage)
    if ours is not None:
        lines.append(
            f"At most {MOST_LOST:g} points lost: {ours.bytes:.1f} bytes ({ours.point}),"
            f" 1/{ours.raw / ours.bytes:.0f} of the features and"
            f" 1/{_PICTURE / ours.bytes:.1f} of the picture's {_PICTURE:,} bytes; as a JPEG file of"
            f" quality {PICTURE_QUALITY} the picture takes {ours.picture_file:.0f} bytes,"
            f" {ours.picture_data:.0f} of them coded data. "
            + (_beside(ours, jpeg) if pairs else "JPEG is not measured here yet.")
        )
    if pairs:
        words = [
            f"{row.point}: not reached" if found is None
            else f"{row.point}: {found / row.bytes:.2f}, with our header"
            f" {(found + HEADER) / row.bytes:.2f}"
            for row, found in pairs
        ]  # fmt: skip
        lines += ["", "Our bytes over JPEG's at each accuracy of JPEG, data to data (on lines"]
        lines[-1] += f" between our points): {'; '.join(words)}."
    return [*lines, ""] if lines else []


def _beside(ours: Row, jpeg: Row | None) -> str:
    """JPEG's best row at the same accepted loss, in words."""
    if jpeg is None:
        return "No point of JPEG loses so little."
    return (
        f"JPEG's is {jpeg.bytes:.1f} bytes ({jpeg.point}): ours are"
        f" {data_bytes(ours) / data_bytes(jpeg):.2f} of it data to data, and"
        f" {ours.bytes / jpeg.bytes:.2f} with our header against its data alone."
    )
