"""The search's arithmetic: candidates, budget, front and estimates, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.errors import CutIllegalError, CutUnknownError, OptionError
from isthmus_gen.bottleneck.search import Candidate, Cost, Point, SearchPlan, parse_numbers
from isthmus_gen.bottleneck.search.candidates import candidates, default_cuts
from isthmus_gen.bottleneck.search.cost import encoder_bytes_most
from isthmus_gen.bottleneck.search.estimate import (
    CODER_BIN,
    CODER_FRAME,
    coder_instructions,
    core_of,
    estimate,
)
from isthmus_gen.bottleneck.search.estimate_table import COEFFICIENTS
from isthmus_gen.bottleneck.search.front import cheapest, over_budget, pareto, survivors
from isthmus_gen.bottleneck.search.store import network_name
from isthmus_gen.targets import list_targets, load_target


def _cost(ram: int = 1000, instructions: int | None = 5000) -> Cost:
    return Cost(ram, ram - 300, 200, 100, 64, 4000, instructions, True)


def _point(name: str, size: float, loss: float) -> Point:
    return Point(Candidate(name, 1, 2), _cost(), size, 0.1, None, None, loss, 3, 1, f"{name}.keras")


#: Bytes and loss; a, c, e are on the front: b loses more than the cheaper a, d as much as c for
#: more bytes, f both more bytes and more loss than e.
POINTS = [
    _point("a", 10, 0.30), _point("b", 20, 0.40), _point("c", 30, 0.10), _point("d", 40, 0.10),
    _point("e", 50, 0.02), _point("f", 60, 0.05),
]  # fmt: skip


def _names(points: list[Point] | list[Candidate]) -> str:
    return "".join((p if isinstance(p, Candidate) else p.candidate).cut for p in points)


def test_the_front_is_what_no_other_point_beats() -> None:
    assert _names(pareto(POINTS)) == "ace"
    assert _names(pareto(POINTS[::-1])) == "ace"
    assert _names(pareto([_point("y", 5, 0.1), _point("x", 5, 0.1)])) == "x"


def test_the_better_half_is_the_front_and_the_best_of_the_next() -> None:
    assert _names(survivors(POINTS)) == "ace"  # the half is the front itself
    more = [*POINTS, _point("g", 70, 0.5), _point("h", 80, 0.5)]
    # four of eight: the front, then of the next front (b, d, f) the one of least loss
    assert _names(survivors(more)) == "acef"
    all_on_front = [_point(name, 10 + i, 0.5 - i / 10) for i, name in enumerate("abcd")]
    assert _names(survivors(all_on_front)) == "abcd"
    assert _names(survivors(POINTS[:1])) == "a"


def test_the_cheapest_that_keeps_a_loss() -> None:
    found = {limit: cheapest(POINTS, limit) for limit in (40.0, 10.0, 9.9, 2.0, 1.9)}
    names = {limit: None if p is None else p.candidate.cut for limit, p in found.items()}
    assert names == {40.0: "a", 10.0: "c", 9.9: "e", 2.0: "e", 1.9: None}
    seven = _point("g", 10, 35 / 500)  # 100 times it is more than 7 in floats
    assert cheapest([seven], 7.0) is seven


def test_a_budget_is_kept_to_the_byte_and_the_instruction() -> None:
    cost = _cost(ram=1000, instructions=5000)
    assert over_budget(cost, None, None) == ""
    assert over_budget(cost, 1000, 5000) == ""
    assert over_budget(cost, 999, None) == "needs 1,000 bytes of RAM, 1 too many"
    assert over_budget(cost, None, 4000) == "takes 5,000 instructions, 1,000 too many"
    assert over_budget(cost, 1, 1).count("too many") == 2
    assert over_budget(_cost(instructions=None), None, 1) == ""


def test_combinations_of_what_is_named(folder: Path) -> None:
    from isthmus_gen.models import load_model

    model = load_model(folder / "network.keras")
    plan = SearchPlan(channels=(2, 3), strides=(1, 2))
    cuts, found = candidates(model, ["middle", "middle"], plan)
    assert list(cuts) == ["middle"]
    assert [(c.stride, c.channels) for c in found] == [(1, 2), (1, 3), (2, 2), (2, 3)]
    assert str(found[0]) == "middle C=2 s=1"
    with pytest.raises(CutUnknownError):
        candidates(model, ["nowhere"], plan)
    with pytest.raises(CutIllegalError, match="height x width x channels"):
        candidates(model, ["flat"], plan)
    with pytest.raises(OptionError, match="1 to 5 for a tensor of 7x5"):
        candidates(model, ["middle"], SearchPlan(strides=(2, 6)))
    with pytest.raises(CutIllegalError, match="takes stride 6"):
        candidates(model, [], SearchPlan(strides=(2, 6)))


def test_default_cuts_are_one_for_each_piece_of_work(folder: Path) -> None:
    """first, norm and middle are one layer on the device, as are second and second_norm."""
    from isthmus_gen.models import load_model

    model = load_model(folder / "network.keras")
    assert [cut.name for cut in default_cuts(model, [2])] == ["middle", "second_norm"]
    assert [cut.name for cut in default_cuts(model, [2, 4])] == ["middle"]  # second is 3x2


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"channels": ()}, "--channels"),
        ({"channels": (0,)}, "--channels"),
        ({"channels": (2, 2)}, "--channels"),
        ({"strides": (17,)}, "--strides"),
        ({"levels": 1}, "--levels"),
        ({"epochs": 0}, "--epochs"),
        ({"first_epochs": 0}, "--first-epochs"),
        ({"ram": 0}, "--ram"),
        ({"instructions": -1}, "--instructions"),
        ({"max_loss": 101.0}, "--max-loss"),
        ({"max_loss": float("nan")}, "--max-loss"),
    ],
)
def test_plans_that_cannot_be(fields: dict[str, object], option: str) -> None:
    with pytest.raises(OptionError, match=f"^{option}"):
        SearchPlan(**fields)  # type: ignore[arg-type]


def test_numbers() -> None:
    assert parse_numbers("--strides", "2,4") == (2, 4)
    for text in ("", "2;4", "two", "2,"):
        with pytest.raises(OptionError, match="--strides"):
            parse_numbers("--strides", text)


def test_names_of_files_are_safe() -> None:
    assert network_name(Candidate("a/b:0 ö", 4, 2), 12) == "a-b-0--_c4_s2_e12.keras"


def test_encoder_memory_by_hand() -> None:
    """4x3x3 of four levels: three bins, 5 x 5 pairs of classes, three channels.

    225 contexts of two bytes; 3 bytes outside and a row of 9, in whole words 6; 80 bytes of state:
    80 + 2 (225 + 6) = 542, whole words of four bytes 544.
    """
    target = load_target("cortex-m4f")
    assert encoder_bytes_most((4, 3, 3), 4, target) == 544
    # the target's contexts are the limit: 4,096 bytes hold 2,048; (64 + 5 * 64) / 2 = 192 words
    assert target.codec.context_bytes == 4096
    assert encoder_bytes_most((5, 5, 64), 4, target) == 80 + 2 * (2048 + 192)


def test_every_board_has_a_core_that_was_counted() -> None:
    cores = {name: core_of(load_target(name)) for name in list_targets()}
    assert cores["nucleo-f446re"] == cores["cortex-m4f"] == "cortex-m4f"
    assert cores["pico"] == "cortex-m0plus"
    unknown = {name for name, core in cores.items() if core is None}
    assert unknown == {name for name in cores if not load_target(name).bare}
    assert set(CODER_BIN) == set(COEFFICIENTS)


def test_the_coder_by_hand() -> None:
    """Two levels: one bin each. Three: 0 is "0", 1 is "10", 2 is "11", 5 / 3 bins on the mean."""
    assert coder_instructions(100, 2, "cortex-m4f") == CODER_FRAME + 3400
    assert coder_instructions(300, 3, "cortex-m4f") == CODER_FRAME + 500 * 34


def test_an_estimate_by_hand(folder: Path) -> None:
    """The small network's front half and units of three channels and stride 2.

    7x5x2 -> 7x5x6: 35 x 6 outputs of 18 products, 3,780; -> 4x3x6 of 54 products, 3,888;
    -> 4x3x3 of 6 products, 216.
    """
    import numpy as np

    from isthmus_gen.bottleneck import insert
    from isthmus_gen.bottleneck.search.cost import front_tflite
    from isthmus_gen.front import plan_front
    from isthmus_gen.models import load_model

    inserted = insert(load_model(folder / "network.keras"), "middle", 3, 2)
    with np.load(folder / "data.npz") as data:
        inputs = [data["x"][i : i + 1] for i in range(4)]
    plan = plan_front(front_tflite(inserted, inputs))
    assert plan.output_shape == (4, 3, 3)
    assert plan.macs == 3780 + 3888 + 216
    names = [layer.kernel for layer in plan.layers]
    assert names == ["isth_k_conv_2d", "isth_k_conv_2d", "isth_k_conv_1x1"]
    table = {
        "isth_k_conv_2d": {"macs": 2.0, "outputs": 10.0, "gathered": 1.0},
        "isth_k_conv_1x1": {"macs": 3.0, "positions": 100.0, "weights": 1.0},
    }
    first = 2 * 3780 + 10 * 210 + 35 * 18
    second = 2 * 3888 + 10 * 72 + 12 * 54
    third = 3 * 216 + 100 * 12 + 18
    assert estimate(plan, table) == first + second + third
