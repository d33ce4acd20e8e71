"""The points of one cut: every codec at every setting, on the same tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.codecs import deepcabac, hevc, packed, rangecoder
from benchmarks.codecs.base import Array8, Codec, cheapest
from benchmarks.codecs.isthmus_codec import Isthmus
from benchmarks.codecs.pictures import LEVEL_BITS, Jpeg, LevelsPng, Png, WebP
from benchmarks.codecs.runlength import RUN_BITS, RunLength
from benchmarks.codecs.tiles import EightBit, Tiling
from benchmarks.rate_models import Cut
from benchmarks.rate_quantisers import SCHEMES, Quantised, quantise
from benchmarks.rate_restorer import restorers
from benchmarks.rate_score import Score, difference

__all__ = ["Plan", "Point", "absent", "measure_cut", "search"]

Floats = npt.NDArray[np.float32]
Say = Callable[[str], None]

RESTORED = "Isthmus neighbour + restorer"
QPS = (44, 41, 38, 35, 32, 28, 24)
QUALITIES = (5, 15, 30, 50, 75, 90)
INPUT_BITS = (2, 3, 4, 5, 6, 8)
#: Rivals on levels are measured for every N at the first family of quantisers; of each other one at
#: the smallest N that loses at most this much, since larger ones need more bytes and smaller ones
#: lose too much to be an answer.
_WORTH = 0.01
_SAMPLE = 4
_WORDS = 400
_SLOW = 2


@dataclass(frozen=True)
class Point:
    """One codec at one setting. ``metric`` and ``loss`` are in 0..1, loss and its standard error
    against the uncoded network on the same inputs; bytes are means for an input.

    ``bytes_bare`` leaves out what a receiver could be told once and for all. ``bits`` are those
    of a whole upload for an element of the cut tensor, also where a picture is sent instead.
    """

    task: str
    cut: str
    codec: str
    setting: str
    inputs: int
    bytes: float
    bytes_bare: float
    bits: float
    metric: float
    loss: float
    error: float


def absent() -> dict[str, str]:
    """Codecs that cannot be measured here, and what would bring them."""
    found = {
        packed.Zstd.name: packed.absent_zstd(),
        packed.ZstdDictionary.name: packed.absent_zstd(),
        packed.Lz4.name: packed.absent_lz4(),
        rangecoder.RangeCoder.name: rangecoder.absent(),
        deepcabac.DeepCabac.name: deepcabac.absent(),
        hevc.Hevc.name: hevc.absent(),
    }
    return {name: why for name, why in found.items() if why is not None}


class Ranges:
    """Points of one cut: keeps what every point is measured against."""

    def __init__(self, cut: Cut, reference: Score) -> None:
        self.cut = cut
        self.reference = reference

    def answer(self, features: Floats) -> Score:
        """What the back half makes of features."""
        return self.cut.scorer.score(self.cut.back(features))

    def point(self, codec: Codec, codes: Sequence[bytes], score: Score, note: str = "") -> Point:
        """A point from its codes and answers."""
        size = sum(len(code) for code in codes) / len(codes)
        bare = sum(codec.bare(code) for code in codes) / len(codes)
        loss, error = difference(self.reference, score)
        cut = self.cut
        return Point(
            cut.task.name, cut.name, codec.name, codec.setting + note, len(codes), size, bare,
            8 * size / cut.elements, score.value, loss, error,
        )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What of it is measured: ``without`` names codecs that are absent, ``part`` is "all" (but no
    restorer, which has to be trained), "isthmus", "rivals" or "restorer"; ``quick`` takes a few
    settings."""

    without: Sequence[str]
    part: str = "all"
    quick: bool = False

    def measures(self, codec: str) -> bool:
        """Whether points of this codec come out."""
        if codec == RESTORED:
            return self.part == "restorer"
        return self.part in ("all", "isthmus" if codec.startswith("Isthmus") else "rivals")


def measure_cut(cut: Cut, reference: Score, plan: Plan, say: Say) -> Iterator[Point]:
    """Every codec of levels, of tiles and of inputs."""
    ranges = Ranges(cut, reference)
    if plan.part == "restorer":
        yield from _restored(ranges, plan, say)
        return
    yield from _levels(ranges, plan, say)
    if plan.part != "isthmus":
        yield from _tiles(ranges, plan, say)
        yield from _whole(ranges, plan)
        say(f"{cut.task.name} {cut.name}: inputs themselves")


def _levels(ranges: Ranges, plan: Plan, say: Say) -> Iterator[Point]:
    """Isthmus and the lossless rivals, at every quantiser."""
    cut = ranges.cut
    used = () if plan.part == "rivals" else SCHEMES
    met: set[str] = set()
    for number, one in enumerate(quantise(cut, used, quick=plan.quick)):
        levels = one.levels(cut.features)
        scores = {name: ranges.answer(values[levels]) for name, values in one.values.items()}
        losses = {name: difference(ranges.reference, s)[0] for name, s in scores.items()}
        best = min(losses, key=lambda name: losses[name])
        for scheme, profile, rung in one.profiles:
            ours = Isthmus(f"Isthmus {scheme}", one.setting, profile, rung)
            codes = _coded(ours, levels)
            for name, score in scores.items():
                yield ranges.point(ours, codes, score, f", {name}")
        wanted = one.first or (one.family not in met and losses[best] <= _WORTH + 1e-9)
        if plan.part != "isthmus" and wanted:
            met.add(one.family)
            for codec in _level_rivals(cut, one, plan.without):
                given = _tiled(cut, levels) if isinstance(codec, LevelsPng) else levels
                codes = _coded(codec, given)
                yield ranges.point(codec, codes, scores[best], f", {best}")
        say(f"{cut.task.name} {cut.name}: {one.setting} ({number + 1})")


def _restored(ranges: Ranges, plan: Plan, say: Say) -> Iterator[Point]:
    """``neighbour`` with a restorer on the host: the same frames, other features."""
    cut = ranges.cut
    for codec, one, restore in restorers(cut, RESTORED, say, quick=plan.quick):
        levels = one.levels(cut.features)
        codes = _coded(codec, levels)
        yield ranges.point(codec, codes, ranges.answer(restore(levels)))


def _coded(codec: Codec, arrays: Array8) -> list[bytes]:
    """The codes; RuntimeError where a lossless codec does not give back what it was given."""
    codes = codec.encode_all(arrays)
    if codec.lossless:
        slow = isinstance(codec, rangecoder.RangeCoder)
        checked = _SLOW if slow else len(codes)
        if not np.array_equal(codec.decode_all(codes[:checked]), arrays[:checked]):
            raise RuntimeError(f"{codec.name}, {codec.setting}: other levels came back")
    return codes


def _level_rivals(cut: Cut, one: Quantised, without: Sequence[str]) -> Iterator[Codec]:
    """Each rival in the form that needs the fewest bytes on calibration levels."""
    trained = one.levels(cut.calibration[:_WORDS])
    sample = list(trained[:: max(1, len(trained) // _SAMPLE)][:_SAMPLE])
    count, shape, setting = one.count, cut.shape, one.setting
    choices: dict[str, list[Codec]] = {
        RunLength.name: [
            RunLength(setting, count, shape, bits=bits, planes=planes)
            for bits in RUN_BITS
            for planes in (False, True)
        ]
    }
    if packed.Zstd.name not in without:
        plain: list[Codec] = [packed.Zstd(setting, count, shape, form) for form in packed.LAYOUTS]
        chosen = cheapest(plain, sample)
        assert isinstance(chosen, packed.Zstd)
        choices[packed.Zstd.name] = [chosen]
        choices[packed.ZstdDictionary.name] = [
            packed.ZstdDictionary(setting, count, shape, chosen.layout, trained)
        ]
    if packed.Lz4.name not in without:
        choices[packed.Lz4.name] = [
            packed.Lz4(setting, count, shape, form) for form in packed.LAYOUTS
        ]
    if rangecoder.RangeCoder.name not in without:
        choices[rangecoder.RangeCoder.name] = [
            rangecoder.RangeCoder(setting, count, shape, trained, weight)
            for weight in (16, 64, 256)
        ]
    if deepcabac.DeepCabac.name not in without:
        choices[deepcabac.DeepCabac.name] = [
            deepcabac.DeepCabac(setting, shape, planes=planes) for planes in (True, False)
        ]
    for candidates in choices.values():
        yield candidates[0] if len(candidates) == 1 else cheapest(candidates, sample)
    depth = next(bits for bits in LEVEL_BITS if count <= 1 << bits)
    forms: list[Codec] = [
        LevelsPng("PNG of levels", setting, count, bits) for bits in sorted({depth, 8})
    ]
    yield cheapest(forms, list(_tiled(cut, np.stack(sample))))


def _tiled(cut: Cut, levels: Array8) -> Array8:
    return Tiling.near_square(cut.shape).tile(levels)


def _tiles(ranges: Ranges, plan: Plan, say: Say) -> Iterator[Point]:
    """Codecs of pictures on tiles of 8 bits, each at two clip ranges."""
    cut = ranges.cut
    tiling = Tiling.near_square(cut.shape)
    rectified = float(cut.calibration.min()) >= 0
    for share in (1.0, 0.999):
        low, high = np.quantile(cut.calibration, [0.0 if rectified else 1 - share, share])
        eight = EightBit(float(low), float(high))
        name = "min-max" if share == 1 else f"p{100 * share:g}"
        pictures = tiling.tile(eight.forward(cut.features))

        def measured(
            codec: Codec, pictures: Array8 = pictures, eight: EightBit = eight, name: str = name
        ) -> Point:
            codes = _coded(codec, pictures)
            features = eight.back(tiling.untile(codec.decode_all(codes)))
            return ranges.point(codec, codes, ranges.answer(features), f", {name}")

        yield measured(Png("PNG of 8-bit tiles", "8 bit"))
        for codec, make, grid in lossy_tiles(tiling.size):
            if codec not in plan.without:
                yield from search(lambda x, of=make: measured(of(x)), grid, quick=plan.quick)  # type: ignore[misc]
        say(f"{cut.task.name} {cut.name}: tiles, {name}")


Make = Callable[[int], Codec]


def lossy_tiles(size: tuple[int, int]) -> tuple[tuple[str, Make, Sequence[int]], ...]:
    """The lossy codecs of tiles: name, codec of a setting, settings from coarse to fine."""
    return (
        (hevc.Hevc.name, lambda qp: hevc.Hevc(qp, size), QPS),
        ("JPEG on tiles", lambda q: Jpeg("JPEG on tiles", q, colour=False), QUALITIES),
        ("WebP on tiles", lambda q: WebP("WebP on tiles", q, colour=False), QUALITIES),
    )


def lossy_pictures() -> tuple[tuple[str, Make, Sequence[int]], ...]:
    """The same for the pictures themselves."""
    return (
        ("picture as JPEG", lambda q: Jpeg("picture as JPEG", q, colour=True), QUALITIES),
        ("picture as WebP", lambda q: WebP("picture as WebP", q, colour=True), QUALITIES),
    )


def search(
    measure: Callable[[int], Point],
    grid: Sequence[int],
    *,
    quick: bool = False,
    known: Mapping[int, Point] | None = None,
) -> Iterator[Point]:
    """A lossy codec at every setting of ``grid`` (from coarse to fine), and then at those that
    halve the way from the coarsest that keeps the limit to the next coarser one, which does not,
    down to single steps: a coarse grid must not be what a rival is judged by.

    ``known`` holds points that were measured before; they do not come out again.
    """
    found = dict(known or {})
    for setting in grid[:: len(grid) - 1] if quick else grid:
        if setting not in found:
            found[setting] = measure(setting)
            yield found[setting]
    first = next((n for n, x in enumerate(grid) if x in found and _keeps(found[x])), 0)
    if quick or first == 0:
        return
    fine, coarse = grid[first], grid[first - 1]
    while abs(fine - coarse) > 1:
        middle = (fine + coarse) // 2
        if middle not in found:
            found[middle] = measure(middle)
            yield found[middle]
        fine, coarse = (middle, coarse) if _keeps(found[middle]) else (fine, middle)


def _keeps(point: Point) -> bool:
    return point.loss <= _WORTH + 1e-9


class _InputBits(Codec):
    """Inputs that are no picture, at fewer bits: steps of equal size over the calibration range,
    as many bits for each value, nothing else. Both sides know the range."""

    name = "the input, fewer bits"

    def __init__(self, bits: int) -> None:
        self.setting = f"{bits} bit"
        self._bits = bits

    def encode(self, array: Array8) -> bytes:
        planes = (array.reshape(-1, 1) >> np.arange(self._bits - 1, -1, -1)) & 1
        return np.packbits(planes.astype(np.uint8).reshape(-1)).tobytes()

    def decode(self, code: bytes) -> Array8:
        bits = np.unpackbits(np.frombuffer(code, dtype=np.uint8))
        planes = bits[: bits.size // self._bits * self._bits].reshape(-1, self._bits)
        return (planes @ (1 << np.arange(self._bits - 1, -1, -1))).astype(np.uint8)


def _whole(ranges: Ranges, plan: Plan) -> Iterator[Point]:
    """What the whole network answers to inputs that were sent themselves.

    The range of inputs that are no pictures is that of the calibration inputs.
    """
    cut = ranges.cut
    if cut.inputs.dtype == np.uint8:

        def measured(codec: Codec) -> Point:
            codes = codec.encode_all(cut.inputs)
            answers = cut.whole(codec.decode_all(codes))
            return ranges.point(codec, codes, cut.scorer.score(answers))

        for _, make, grid in lossy_pictures():
            yield from search(lambda x, of=make: measured(of(x)), grid, quick=plan.quick)  # type: ignore[misc]
        return
    low, high = cut.input_range
    for bits in INPUT_BITS:
        scale = (high - low) / ((1 << bits) - 1)
        steps = np.clip(np.rint((cut.inputs - low) / scale), 0, (1 << bits) - 1).astype(np.uint8)
        coder = _InputBits(bits)
        codes = coder.encode_all(steps)
        found = coder.decode_all(codes)[:, : steps[0].size].reshape(steps.shape)
        answers = cut.whole((low + found * scale).astype(np.float32))
        yield ranges.point(coder, codes, cut.scorer.score(answers))
