"""The search on a toy network: what it measures, what it picks, that it repeats itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from isthmus.decoder import Decoder, make_codec
from isthmus.profile import TensorSpec
from isthmus_gen.calibrate import Activation, TensorStatistics
from isthmus_gen.ladder import Answers, Choice, Features, Maker, Meter, Recipe, search_ladder
from isthmus_gen.ladder.measure import levels_of, neighbour_entropy, values_of

RELU = Activation("relu")
SOME = tuple(
    Recipe(n, kind, clip, scale, weight)
    for n in (2, 3, 4, 8, 16)
    for kind, clip, scale, weight in (
        ("uniform", "model", 1.0, 0.0),
        ("uniform", "percentile", 99.0, 0.0),
        ("ecsq-zero", "model", 1.0, 1.0),
        ("ecsq", "percentile", 99.0, 1.0),
    )
)


def features_of(toy: dict[str, Any]) -> Features:
    return Features(toy["spec"], toy["elements"])


def search(toy: dict[str, Any], make_profile: Callable[..., Any], **options: Any) -> Choice:
    asked = {"rungs": 3, "recipes": SOME, **options}
    return search_ladder(features_of(toy), toy["back"], RELU, make_profile(toy["spec"]), **asked)


def test_rungs_go_from_best_to_cheapest(
    toy: dict[str, Any], make_profile: Callable[..., Any]
) -> None:
    choice = search(toy, make_profile)
    rungs = sorted(
        (p for p in choice.report["points"] if p["rung"] is not None), key=lambda p: p["rung"]
    )
    bits = [p["bits_per_element"] for p in rungs]
    divergence = [p["divergence"] for p in rungs]
    assert len(rungs) == len(choice.quantizers) == 3
    assert bits == sorted(bits, reverse=True)
    assert len(set(bits)) == 3
    assert divergence == sorted(divergence)
    assert [q.levels for q in choice.quantizers] == [p["levels"] for p in rungs]
    assert choice.report["measure"] == "changed"
    assert choice.report["candidates"] == len(SOME)


def test_no_measured_point_beats_a_rung(
    toy: dict[str, Any], make_profile: Callable[..., Any]
) -> None:
    points = search(toy, make_profile).report["points"]
    for rung in (p for p in points if p["rung"] is not None):
        assert not [
            p
            for p in points
            if p["bits_per_element"] < rung["bits_per_element"]
            and p["divergence"] <= rung["divergence"]
        ]


def test_the_same_arguments_give_the_same_choice(
    toy: dict[str, Any], make_profile: Callable[..., Any]
) -> None:
    one, two = (search(toy, make_profile, labels=toy["labels"], max_loss=0.05) for _ in range(2))
    assert json.dumps(one.report, sort_keys=True) == json.dumps(two.report, sort_keys=True)
    for a, b in zip(one.quantizers, two.quantizers, strict=True):
        assert a.thresholds.tobytes() == b.thresholds.tobytes()
        assert a.values.tobytes() == b.values.tobytes()


def test_labels_make_accuracy_the_measure(
    toy: dict[str, Any], make_profile: Callable[..., Any]
) -> None:
    report = search(toy, make_profile, labels=toy["labels"], max_loss=0.05).report
    assert report["measure"] == "accuracy"
    assert all(p["loss"] == p["lost"] for p in report["points"])
    # a right answer can only be lost where the answer changed
    assert all(abs(p["lost"]) <= p["changed"] for p in report["points"])


def test_max_loss_is_kept_by_the_first_rung_and_by_no_cheaper_one(
    toy: dict[str, Any], make_profile: Callable[..., Any]
) -> None:
    report = search(toy, make_profile, max_loss=0.06, rungs=1).report
    front = [p for p in report["points"] if p["front"]]
    first = next(p for p in front if p["rung"] == 0)
    assert first["bound"] <= 0.06
    cheaper = [p for p in front if p["bits_per_element"] < first["bits_per_element"]]
    assert cheaper
    assert all(p["bound"] > 0.06 for p in cheaper)


def test_bits_are_those_of_real_frames_of_the_other_half(
    toy: dict[str, Any], make_profile: Callable[..., Any]
) -> None:
    features, recipe = features_of(toy), SOME[8]
    answers = Answers(toy["exact"], None)
    make = make_profile(toy["spec"])
    meter = Meter(features, answers, toy["back"], RELU, make)
    ((_, bits, losses),) = meter.full([recipe], lambda stage, done, total: None)
    size, changed = 0, 0
    for parity in (0, 1):
        own, other = (
            features.part(slice(parity, None, 2)),
            features.part(slice(1 - parity, None, 2)),
        )
        statistics = TensorStatistics(toy["spec"].shape)
        statistics.update(own.real())
        quantizer = Maker(statistics, RELU).make(recipe)
        profile = make([quantizer], list(own.real()))
        decoder, codec = Decoder(profile), make_codec(profile, "reference")
        for tensor, exact in zip(other.elements, toy["exact"][1 - parity :: 2], strict=True):
            frame = codec.encode(0, 0, tensor)
            size += len(frame)
            answer = toy["back"](decoder.decode(frame).features[np.newaxis])
            changed += int(answer.argmax() != exact.argmax())
    assert bits == pytest.approx(8 * size / features.elements.size, rel=1e-12)
    assert losses.changed is not None
    assert int(losses.changed.sum()) == changed


def test_levels_and_values_are_the_codec_s(
    toy: dict[str, Any], make_profile: Callable[..., Any]
) -> None:
    features = features_of(toy)
    statistics = TensorStatistics(toy["spec"].shape)
    statistics.update(features.real())
    for recipe in SOME:
        quantizer = Maker(statistics, RELU).make(recipe)
        decoder = Decoder(make_profile(toy["spec"])([quantizer], list(features.real()[:8])))
        levels = levels_of(quantizer, features.part(slice(0, 3)))
        for tensor, mine in zip(features.elements, levels, strict=False):
            assert np.array_equal(decoder.levels(tensor), mine)
            sent = decoder.decode(decoder.encode(tensor)).features
            assert np.array_equal(sent, values_of(quantizer, mine))


def test_percentile_ranges_end_at_the_percentile(toy: dict[str, Any]) -> None:
    real = features_of(toy).real()
    statistics = TensorStatistics(toy["spec"].shape)
    statistics.update(real)
    made = Maker(statistics, RELU).make(Recipe(4, "uniform", "percentile", 97.0))
    assert made.clip.c_max == pytest.approx(float(np.percentile(real, 97.0)))
    assert made.clip.c_min == 0.0
    free = Maker(statistics, Activation("linear"), c_min="free")
    wide = free.make(Recipe(4, "uniform", "percentile", 97.0)).clip
    assert (wide.c_min, wide.c_max) == pytest.approx(tuple(np.percentile(real, [3.0, 97.0])))


def test_features_that_do_not_vary_still_make_a_ladder(
    make_profile: Callable[..., Any],
) -> None:
    spec = TensorSpec("t", (4, 4, 3), "float32", 1.0, 0)
    features = Features(spec, np.full((8, *spec.shape), 2.0, dtype=np.float32))
    choice = search_ladder(
        features,
        lambda x: x.reshape(len(x), -1)[:, :2],
        RELU,
        make_profile(spec),
        rungs=4,
        recipes=SOME,
    )
    assert 1 <= len(choice.quantizers) <= 4


@pytest.mark.parametrize("shape", [(5, 4, 3), (7, 6), (9,)])
def test_the_quick_rate_is_a_conditional_entropy(shape: tuple[int, ...]) -> None:
    levels = np.random.default_rng(1).integers(0, 3, (6, *shape)).astype(np.uint8)
    seen: dict[tuple[int, int], list[int]] = {}
    for tensor in levels:
        for place in np.ndindex(*shape):
            step = (*place[:-2], place[-2] - 1, place[-1]) if len(shape) == 3 else None
            if len(shape) == 3:
                left = int(tensor[step]) if step is not None and place[-2] > 0 else 0
            else:
                left = int(tensor[(*place[:-1], place[-1] - 1)]) if place[-1] > 0 else 0
            up = int(tensor[(place[0] - 1, *place[1:])]) if len(shape) > 1 and place[0] > 0 else 0
            seen.setdefault((up, left), [0, 0, 0])[int(tensor[place])] += 1
    bits = 0.0
    for counts in seen.values():
        total = sum(counts)
        bits -= sum(n * np.log2(n / total) for n in counts if n)
    assert neighbour_entropy(levels, 3) == pytest.approx(bits / levels.size)
