"""Near-lossless profiles as text: every field's range, and its path in the error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from codec_near_profiles import near_profile
from test_profile import place

from isthmus.codec.packets import check_packets
from isthmus.errors import BundleFormatError
from isthmus.profile import Profile

TRAINED = "profile.rungs[0].trained."
FIELDS: list[tuple[str, Any, str]] = [
    ("format", "1.1", "profile.format: is '1.1'; allowed: '1.3' for these fields"),
    ("format", "1.0", "profile.packets: is not a field"),
    ("codec", "lightweight", "profile.scheme: is 'trained'; allowed: paper or neighbour"),
    ("codec", "lossless", "profile.codec: is 'lossless'; allowed: lightweight or near-lossless"),
    ("scheme", "neighbour", "profile.scheme: is 'neighbour'; allowed: trained"),
    ("rungs.0.rate", 5, "profile.rungs[0].rate: is not a field"),
    ("rungs.0.initial", [], "profile.rungs[0].initial: is not a field"),
    ("rungs.0.contexts", None, "profile.rungs[0].contexts: is not a field"),
    ("rungs.0.quantizer", "uniform", "profile.rungs[0].quantizer: is 'uniform'; allowed: grid"),
    ("rungs.0.bound", -1, "profile.rungs[0].bound: is -1; allowed: an integer in 0..127"),
    ("rungs.1.bound", 128, "profile.rungs[1].bound: is 128; allowed: an integer in 0..127"),
    ("rungs.1.bound", 2.0, "profile.rungs[1].bound: is 2.0; allowed: an integer in 0..127"),
    ("rungs.1.bound", None, "profile.rungs[1].bound: is None; allowed: an integer"),
    ("rungs.0.table_i8", "00" + bytes(range(255)).hex(), "profile.rungs[0].table_i8: moves values"),
    ("rungs.1.table_i8", "34" * 256, "profile.rungs[1].table_i8: is not a table of levels"),
    ("rungs.0.budget_start", -1, "profile.rungs[0].budget_start: is -1; allowed"),
    ("rungs.0.size_ratios", [1], "profile.rungs[0].size_ratios: is [1]; allowed: a list of 2..2"),
    ("rungs.0.grids", {}, "profile.rungs[0].grids: are given for an int8 tensor; allowed: left"),
    ("rungs.0.trained", None, "profile.rungs[0].trained: is a NoneType; allowed: an object"),
    ("rungs.0.trained.more", 1, TRAINED + "more: is not a field"),
    ("rungs.0.trained.channels", 0, TRAINED + "channels: is 0; allowed: an integer in 1..12"),
    ("rungs.0.trained.channels", 13, TRAINED + "channels: is 13; allowed: an integer in 1..12"),
    ("rungs.0.trained.channels", 5, TRAINED + "channels: is 5; allowed: a divisor of the row's 12"),
    ("rungs.0.trained.channels", 6, TRAINED + "choices: is '"),
    ("rungs.0.trained.classes", "00" * 256, TRAINED + "classes: is '0000"),
    ("rungs.0.trained.classes", "00" * 256 + "10", TRAINED + "classes: is '0000"),
    ("rungs.0.trained.classes", "zz" * 257, TRAINED + "classes: is 'zzzz"),
    ("rungs.0.trained.classes", 7, TRAINED + "classes: is 7; allowed: a string"),
    ("rungs.0.trained.cells", "", TRAINED + "cells: is ''; allowed: 27 bytes in hex, each < 32"),
    ("rungs.0.trained.cells", "00" * 26 + "20", TRAINED + "cells: is '0000"),
    ("rungs.0.trained.choices", "", TRAINED + "choices: is ''; allowed: "),
    ("rungs.0.trained.choices", "09" * 12, TRAINED + "choices: is '0909"),
    ("rungs.0.trained.symbols", "00" * 256, TRAINED + "symbols: is '0000"),
    ("rungs.0.trained.symbols", "01" * 256, TRAINED + "symbols: is '0101"),
    ("rungs.0.trained.symbols", "0102" + "00" * 254, TRAINED + "symbols: is '0102"),
    ("rungs.0.trained.frequencies", [], TRAINED + "frequencies: is []; allowed: a list of 1..255"),
    ("rungs.0.trained.frequencies", ["ffff"] * 256, TRAINED + "frequencies: is ['ffff'"),
    ("rungs.0.trained.frequencies.0", 3, TRAINED + "frequencies[0]: is 3; allowed: 2 to 256"),
    ("rungs.0.trained.frequencies.0", "ffff", TRAINED + "frequencies[0]: is 'ffff'; allowed: 2"),
    ("rungs.0.trained.frequencies.0", "0001fffef", TRAINED + "frequencies[0]: is '0001fffef'"),
    ("rungs.0.trained.frequencies.0", "0001fffd", TRAINED + "frequencies[0]: is '0001fffd'; al"),
    ("rungs.0.trained.frequencies.0", "0000ffff", TRAINED + "frequencies[0]: is '0000ffff'; al"),
    ("rungs.0.trained.frequencies.0", "0101fefe", TRAINED + "frequencies[0]: is '0101fefe'; "
     "allowed: a first number of at most 256"),
    ("rungs.0.trained.frequencies.1", "0001fffe", TRAINED + "frequencies[1]: has 2 entries"),
]  # fmt: skip


def data() -> dict[str, Any]:
    """A near-lossless profile with two rungs and packets, as data; three classes in the first."""
    profile = near_profile(
        (0, 2), (4, 12), unit=6, packet_bytes=60, channels=3, distributions=2, own=5, classes=3,
        seed=2,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(profile.canonical())
    assert max(bytes.fromhex(found["rungs"][0]["trained"]["classes"])) == 2
    return found


@pytest.mark.parametrize(("path", "value", "text"), FIELDS, ids=range(len(FIELDS)))
def test_fields_out_of_range(path: str, value: Any, text: str) -> None:
    changed = data()
    assert json.loads(Profile.from_dict(changed).canonical()) == changed
    container, key = place(changed, path)
    container[key] = value
    with pytest.raises(BundleFormatError) as caught:
        Profile.from_dict(changed)
    assert str(caught.value).startswith(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "path",
    ["packets", "rungs.0.bound", "rungs.0.trained", "rungs.0.values", "rungs.0.budget_start",
     "rungs.0.size_ratios", "rungs.0.trained.channels", "rungs.0.trained.classes",
     "rungs.0.trained.cells", "rungs.0.trained.choices", "rungs.0.trained.symbols",
     "rungs.0.trained.frequencies"],
)  # fmt: skip
def test_missing_fields(path: str) -> None:
    changed = data()
    container, key = place(changed, path)
    del container[key]
    with pytest.raises(BundleFormatError) as caught:
        Profile.from_dict(changed)
    assert caught.value.path == "profile." + path.replace("rungs.0", "rungs[0]")
    assert caught.value.what == "is missing"


def test_packets_too_small_for_a_unit() -> None:
    """24 elements of 8 bits, a header, a byte: 37 bytes are enough, 36 are not."""
    profile = near_profile(0, (4, 24), unit=24, packet_bytes=36)
    with pytest.raises(BundleFormatError, match=r"^profile.packets.bytes: is 36; allowed: >= 37"):
        check_packets(Profile.from_dict(json.loads(profile.canonical())))
    check_packets(near_profile(0, (4, 24), unit=24, packet_bytes=37))


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
def test_a_profile_survives_its_own_text(dtype: str) -> None:
    """Canonical JSON reads back to the same bytes, digest and format, grids included."""
    for grids in (False, dtype != "int8"):
        profile = near_profile((0, 9), (3, 4), dtype=dtype, grids=grids, seed=1)
        again = Profile.from_dict(json.loads(profile.canonical()))
        assert again == profile
        assert again.canonical() == profile.canonical()
        assert again.digest == profile.digest
        assert (again.format, again.codec, again.scheme) == ("1.3", "near-lossless", "trained")
        assert ("grids" in json.loads(profile.canonical())["rungs"][0]) == grids
        assert [rung.context_count for rung in again.rungs] == [0, 0]


GRIDS: list[tuple[str, Any, str]] = [
    ("origins", [0.0], "profile.rungs[0].grids.origins: is [0.0]; allowed: a list of 4..4"),
    ("origins.1", 2.0**127, "profile.rungs[0].grids.origins[1]: is 1.7"),
    ("origins.1", None, "profile.rungs[0].grids.origins[1]: is None; allowed: a "),
    ("scales.2", 0.0, "profile.rungs[0].grids.scales[2]: is 0.0; allowed: a number above 0"),
    ("scales.2", -1.0, "profile.rungs[0].grids.scales[2]: is -1.0; allowed: a number above 0"),
    ("scales.2", 2.0**119, "profile.rungs[0].grids.scales[2]: is 6.6"),
    ("scales", [], "profile.rungs[0].grids.scales: is []; allowed: a list of 1..4"),
    ("more", 1, "profile.rungs[0].grids.more: is not a field"),
]


@pytest.mark.parametrize(("path", "value", "text"), GRIDS, ids=range(len(GRIDS)))
def test_grids_out_of_range(path: str, value: Any, text: str) -> None:
    changed = json.loads(near_profile(1, (3, 4), dtype="float32", grids=True).canonical())
    container, key = place(changed["rungs"][0]["grids"], path)
    container[key] = value
    with pytest.raises(BundleFormatError) as caught:
        Profile.from_dict(changed)
    assert str(caught.value).startswith(text)
