"""Other cuts, other networks, other elements, slices and rungs: no difference either."""

from __future__ import annotations

import pytest
from firmware_cases import PICTURES, Bench, Case, Make

from isthmus.codec import decode_frame
from isthmus.errors import RungError
from isthmus_gen.digits import DIGITS_DEFAULT_CUT

M4 = ("cortex-m4f", "gcc", "qemu-system")
HOST = ("host", "native", "native")
PIP_CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4f", "cortex-m33")


@pytest.mark.parametrize("place", [M4, HOST], ids=lambda place: place[0])
@pytest.mark.parametrize("cut", ["activation_2", "activation_6"])
def test_stages_1_and_3(cut: str, place: tuple[str, str, str], resnet8: Make, bench: Bench) -> None:
    bench.hold(resnet8(cut, levels=(4, 8)), *place, count=8)


@pytest.mark.parametrize("core", PIP_CORES)
@pytest.mark.parametrize("compiler", ["zig", "gcc"])
def test_digits_on_the_pip_only_cores(core: str, compiler: str, digits: Make, bench: Bench) -> None:
    bench.hold(digits(DIGITS_DEFAULT_CUT), core, compiler, "unicorn", count=PICTURES)


@pytest.mark.parametrize("rung", [0, 1, 2, 3])
def test_every_rung_of_a_ladder(rung: int, stage2: Case, bench: Bench) -> None:
    result = bench.hold(stage2, *M4, count=8, rung=rung)
    assert result.encode_instructions_per_element is not None
    # the frame says which rung it was coded with, and that rung's levels come back
    profile = stage2.bundle.profile
    decoded = [decode_frame(profile, frame) for frame in stage2.references(8, rung).frames]
    assert {frame.rung for frame in decoded} == {rung}
    assert max(int(frame.levels.max()) for frame in decoded) == profile.rungs[rung].levels - 1


@pytest.mark.parametrize("levels", [17, 64, 256])
def test_levels_with_a_suffix(levels: int, digits: Make, bench: Bench) -> None:
    case = digits(DIGITS_DEFAULT_CUT, levels=(levels,))
    bench.hold(case, *M4, count=16)
    bench.hold(case, "cortex-m0plus", "zig", "unicorn", count=16)


@pytest.mark.parametrize(
    "place",
    [M4, HOST, ("cortex-m0plus", "gcc", "qemu-system"), ("rv32imac", "gcc", "qemu-system")],
    ids=lambda place: place[0],
)
def test_a_sliced_profile(place: tuple[str, str, str], resnet8: Make, bench: Bench) -> None:
    case = resnet8("activation_4", levels=(4, 8), slice_rows=5)
    assert case.bundle.profile.slices == 4  # 5 + 5 + 5 + 1 of 16 rows
    bench.hold(case, *place, count=8)
    bench.hold(case, *place, count=8, rung=1)


@pytest.mark.parametrize("element", ["float32", "int16"])
@pytest.mark.parametrize(
    "place",
    [
        HOST,
        ("host", "zig", "native"),
        ("armv7-linux", "gcc", "qemu-user"),
        ("aarch64-linux", "gcc", "qemu-user"),
        M4,
        ("cortex-m0plus", "zig", "unicorn"),
    ],
    ids=lambda place: "-".join(place[:2]),
)
def test_tensors_of_other_elements(
    place: tuple[str, str, str], element: str, resnet8: Make, bench: Bench
) -> None:
    case = resnet8("activation_6", element=element, levels=(4, 32))
    assert case.bundle.profile.tensor.dtype == element
    for rung in (0, 1):
        result = bench.hold(case, *place, count=8, rung=rung)
        # the front half is the device's own interpreter: nothing of it is in the tree
        assert result.front_instructions is None


def test_a_rung_that_is_not_there_is_refused(stage2: Case) -> None:
    with pytest.raises(RungError, match=r"rung: is 4; allowed: 0\.\.3"):
        stage2.references(1, rung=4)
