"""Profiles as text: every field's range, its path in the error, and the digest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from codec_profiles import make_profile, neighbour_profile

from isthmus.codec.bound import MAX_PAYLOAD
from isthmus.codec.packets import check_packets
from isthmus.errors import BundleFormatError
from isthmus.profile import Profile

FIELDS: list[tuple[str, Any, str]] = [
    ("format", "2.0", "profile.format: is '2.0'; allowed: '1.0'"),
    ("format", 1, "profile.format: is 1; allowed: a string"),
    ("codec", "other", "profile.codec: is 'other'; allowed: lightweight"),
    ("scheme", "other", "profile.scheme: is 'other'; allowed: paper"),
    ("slice_rows", 0, "profile.slice_rows: is 0; allowed: an integer in 1..4"),
    ("slice_rows", 5, "profile.slice_rows: is 5; allowed: an integer in 1..4"),
    ("slice_rows", 1.0, "profile.slice_rows: is 1.0; allowed: an integer in 1..4"),
    ("slice_rows", True, "profile.slice_rows: is True"),
    ("extra", [], "profile.extra: is []; allowed: an object"),
    ("rungs", [], "profile.rungs: is []; allowed: a list of 1..8 entries"),
    ("rungs", {}, "profile.rungs: is {}; allowed: a list of 1..8 entries"),
    ("rungs.0", 7, "profile.rungs[0]: is a int; allowed: an object"),
    ("tensor", None, "profile.tensor: is a NoneType; allowed: an object"),
    ("tensor.shape", [], "profile.tensor.shape: is []; allowed: a list of 1..4 entries"),
    ("tensor.shape", [1] * 5, "profile.tensor.shape: is [1, 1, 1, 1, 1]; allowed: a list of 1..4"),
    ("tensor.shape", [4, -1], "profile.tensor.shape[1]: is -1; allowed: an integer in 0..16777216"),
    ("tensor.shape", [4, 1 << 23], "profile.tensor.shape: has too many elements; allowed: <= 2^24"),
    ("tensor.dtype", "uint8", "profile.tensor.dtype: is 'uint8'; allowed: int8 or int16"),
    ("tensor.scale", float("nan"), "profile.tensor.scale: is nan; allowed: a finite number"),
    ("tensor.scale", float("inf"), "profile.tensor.scale: is inf; allowed: a finite number"),
    ("tensor.scale", "1", "profile.tensor.scale: is '1'; allowed: a finite number"),
    ("tensor.scale", 10**400, "profile.tensor.scale: is 1000"),
    ("tensor.zero_point", 40000, "profile.tensor.zero_point: is 40000; allowed: an integer in"),
    ("tensor.name", 3, "profile.tensor.name: is 3; allowed: a string"),
    ("rungs.1.levels", 1, "profile.rungs[1].levels: is 1; allowed: an integer in 2..256"),
    ("rungs.1.levels", 257, "profile.rungs[1].levels: is 257; allowed: an integer in 2..256"),
    ("rungs.0.rate", 4, "profile.rungs[0].rate: is 4; allowed: an integer in 5..7"),
    ("rungs.0.rate", 8, "profile.rungs[0].rate: is 8; allowed: an integer in 5..7"),
    ("rungs.0.initial", [1, 2], "profile.rungs[0].initial[0]: is 1; allowed: an integer in 128"),
    ("rungs.0.initial", [128], "profile.rungs[0].initial: is [128]; allowed: a list of 2..2"),
    ("rungs.0.initial.1", 65409, "profile.rungs[0].initial[1]: is 65409"),
    ("rungs.0.table_i8", None, "profile.rungs[0].table_i8: is missing; allowed: a table"),
    ("rungs.0.table_i8", "00" * 255, "profile.rungs[0].table_i8: is not a table of levels"),
    ("rungs.0.table_i8", "03" * 256, "profile.rungs[0].table_i8: is not a table of levels"),
    ("rungs.0.table_i8", "zz" * 256, "profile.rungs[0].table_i8: is not a table of levels"),
    ("rungs.0.table_i8", 3, "profile.rungs[0].table_i8: is 3; allowed: a string"),
    ("rungs.0.thresholds_f32", [2, 1], "profile.rungs[0].thresholds_f32: falls somewhere"),
    ("rungs.0.thresholds_f32.1", 1 << 32, "profile.rungs[0].thresholds_f32[1]: is 4294967296"),
    ("rungs.0.thresholds", [1.5, 0.5], "profile.rungs[0].thresholds: falls somewhere"),
    ("rungs.0.thresholds", [1.5], "profile.rungs[0].thresholds: is [1.5]; allowed: a list of 2..2"),
    ("rungs.0.thresholds.0", 10**400, "profile.rungs[0].thresholds[0]: is 1000"),
    ("rungs.0.thresholds_i16", [0, 32769], "profile.rungs[0].thresholds_i16[1]: is 32769"),
    ("rungs.0.values.2", None, "profile.rungs[0].values[2]: is None; allowed: a finite number"),
    ("rungs.0.values.2", 1e39, "profile.rungs[0].values[2]: is 1e+39; allowed: a number in -3.4"),
    ("rungs.0.values.2", -(10**39), "profile.rungs[0].values[2]: is -1000"),
    ("rungs.0.clip", [0.0], "profile.rungs[0].clip: is [0.0]; allowed: a list of 2..2 entries"),
    ("rungs.0.payload_max", -1, "profile.rungs[0].payload_max: is -1; allowed: an integer in 0"),
    ("rungs.0.payload_max", MAX_PAYLOAD + 1, "profile.rungs[0].payload_max: is 2097152"),
    ("rungs.0.quantizer", None, "profile.rungs[0].quantizer: is None; allowed: a string"),
    ("rungs.0.quantizer", "", "profile.rungs[0].quantizer: is ''; allowed: uniform or ecsq"),
    ("rungs.0.quantizer", "*/", "profile.rungs[0].quantizer: is '*/'; allowed: uniform or ecsq"),
]  # fmt: skip


NEWER: list[tuple[str, Any, str]] = [
    ("format", "1.0", "profile.packets: is not a field"),
    ("scheme", "paper", "profile.rungs[0].contexts: is {"),
    ("packets", 3, "profile.packets: is a int; allowed: an object"),
    ("packets", {"bytes": 60}, "profile.packets.unit: is missing"),
    ("packets", {"bytes": 60, "unit": 2, "x": 1}, "profile.packets.x: is not a field"),
    ("packets.bytes", 19, "profile.packets.bytes: is 19; allowed: an integer in 20..8192"),
    ("packets.bytes", 8193, "profile.packets.bytes: is 8193; allowed: an integer in 20..8192"),
    ("packets.bytes", 60.0, "profile.packets.bytes: is 60.0; allowed: an integer"),
    ("packets.unit", 0, "profile.packets.unit: is 0; allowed: an integer in 1..12"),
    ("packets.unit", 13, "profile.packets.unit: is 13; allowed: an integer in 1..12"),
    ("packets.unit", 5, "profile.packets.unit: is 5; allowed: a divisor of 12"),
    ("slice_rows", 2, "profile.slice_rows: is 2; allowed: an integer in 4..4"),
    ("rungs.1.contexts", None, "profile.rungs[1].contexts: is a NoneType; allowed: an object"),
    ("rungs.0.contexts.step", 0, "profile.rungs[0].contexts.step: is 0; allowed: an integer in 1"),
    ("rungs.0.contexts.step", 13, "profile.rungs[0].contexts.step: is 13; allowed: an integer in"),
    ("rungs.0.contexts.more", 1, "profile.rungs[0].contexts.more: is not a field"),
    ("rungs.0.contexts.clusters", [], "profile.rungs[0].contexts.clusters: is []; allowed: a list"),
    ("rungs.0.contexts.clusters", [0] * 5, "profile.rungs[0].contexts.clusters: has 5 entries"),
    ("rungs.0.contexts.clusters", [0] * 13, "profile.rungs[0].contexts.clusters: is [0, 0"),
    ("rungs.0.contexts.clusters", [0, 2], "profile.rungs[0].contexts.clusters: leaves numbers out"),
    ("rungs.0.contexts.clusters.0", 256, "profile.rungs[0].contexts.clusters[0]: is 256; allowed"),
    ("rungs.0.contexts.classes", [0] * 3, "profile.rungs[0].contexts.classes: is [0, 0, 0]"),
    ("rungs.0.contexts.classes", [1] * 4, "profile.rungs[0].contexts.classes: leaves numbers out"),
    ("rungs.0.contexts.classes.3", -1, "profile.rungs[0].contexts.classes[3]: is -1; allowed"),
    ("rungs.0.contexts.classes.3", True, "profile.rungs[0].contexts.classes[3]: is True; allowed"),
    ("rungs.0.initial", [128, 128], "profile.rungs[0].initial: is [128, 128]; allowed: a string"),
    ("rungs.0.initial", "80" * 3, "profile.rungs[0].initial: is not a table of states; allowed:"),
    ("rungs.0.initial", "8", "profile.rungs[0].initial: is not a table of states; allowed:"),
    ("rungs.0.initial", "zz" * 16, "profile.rungs[0].initial: is not a table of states"),
    ("rungs.0.budget_start", -1, "profile.rungs[0].budget_start: is -1; allowed: an integer in 0"),
    ("rungs.1.budget_start", 1 << 32, "profile.rungs[1].budget_start: is 4294967296; allowed"),
    ("rungs.0.size_ratios", [4096], "profile.rungs[0].size_ratios: is [4096]; allowed: a list"),
    ("rungs.0.size_ratios", [1, 2, 3], "profile.rungs[0].size_ratios: is [1, 2, 3]; allowed"),
    ("rungs.0.size_ratios", [0, 1], "profile.rungs[0].size_ratios[0]: is 0; allowed: an integer"),
    ("rungs.0.size_ratios", [1, 65536], "profile.rungs[0].size_ratios[1]: is 65536; allowed"),
    ("rungs.0.size_ratios", None, "profile.rungs[0].size_ratios: is None; allowed: a list"),
]  # fmt: skip


def newer() -> dict[str, Any]:
    """A profile with every field of 1.1, as data."""
    profile = neighbour_profile(
        (3, 6), (4, 12), channels=6, clusters=2, classes=2, unit=6, packet_bytes=60
    )
    data: dict[str, Any] = json.loads(profile.canonical())
    for rung in data["rungs"]:
        rung["size_ratios"] = [4096, 4000]
    return data


@pytest.mark.parametrize(("path", "value", "text"), NEWER, ids=range(len(NEWER)))
def test_newer_fields_out_of_range(path: str, value: Any, text: str) -> None:
    data = newer()
    assert json.loads(Profile.from_dict(data).canonical()) == data
    container, key = place(data, path)
    container[key] = value
    with pytest.raises(BundleFormatError) as caught:
        Profile.from_dict(data)
    assert str(caught.value).startswith(text)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "path",
    ["packets", "rungs.0.contexts", "rungs.0.budget_start", "rungs.0.size_ratios",
     "rungs.0.contexts.step", "rungs.0.contexts.clusters", "rungs.0.contexts.classes"],
)  # fmt: skip
def test_missing_newer_fields(path: str) -> None:
    data = newer()
    container, key = place(data, path)
    del container[key]
    with pytest.raises(BundleFormatError) as caught:
        Profile.from_dict(data)
    assert caught.value.path == "profile." + path.replace("rungs.0", "rungs[0]")
    assert caught.value.what == "is missing"


def test_fields_that_only_fit_together() -> None:
    """Too many contexts, too many units, packets of nothing, packets too small for a unit."""
    data = newer()
    data["rungs"][1]["contexts"] = {
        "step": 1, "clusters": [0], "classes": [0, 1, 2, 3, 4, 5, 6],
    }  # fmt: skip
    data["rungs"][1]["initial"] = "80" * (49 * 5)
    Profile.from_dict(data)
    wide = json.loads(neighbour_profile(40, (4, 256), seed=1, classes=1, clusters=1).canonical())
    wide["rungs"][0]["contexts"]["classes"] = list(range(19)) + [0] * 22
    with pytest.raises(BundleFormatError, match=r"rungs\[0\].contexts: makes \d+ sets of \d+ cont"):
        Profile.from_dict(wide)
    wide["rungs"][0]["contexts"] = {"step": 1, "clusters": list(range(256)),
                                    "classes": [0, 1, 2, 3] + [0] * 37}  # fmt: skip
    with pytest.raises(BundleFormatError, match=r"contexts: makes 4096 sets of \d+ contexts"):
        Profile.from_dict(wide)
    units = json.loads(neighbour_profile(3, (65537, 1), unit=1, packet_bytes=40).canonical())
    with pytest.raises(BundleFormatError, match=r"packets.unit: makes 65537 units; allowed: <= 65"):
        Profile.from_dict(units)
    nothing = newer() | {"packets": {"bytes": 60, "unit": 1}}
    nothing["tensor"] = nothing["tensor"] | {"shape": [0, 12]}
    nothing["slice_rows"] = 1
    with pytest.raises(BundleFormatError, match="packets: are given for a tensor without elements"):
        Profile.from_dict(nothing)
    small = json.loads(neighbour_profile(256, (4, 24), unit=24, packet_bytes=20).canonical())
    with pytest.raises(BundleFormatError, match=r"^profile.packets.bytes: is 20; allowed: >= \d+"):
        check_packets(Profile.from_dict(small))
    check_packets(Profile.from_dict(newer()))


def test_a_profile_is_of_the_oldest_format_that_holds_it() -> None:
    """1.0 where nothing of 1.1 is in it, and a text that claims another is refused."""
    plain = make_profile((3, 6), (4, 12))
    assert plain.as_dict()["format"] == "1.0"
    assert Profile.from_dict(newer()).format == "1.1"
    data = newer()
    data["scheme"], data["packets"] = "paper", None
    for rung, old in zip(data["rungs"], plain.as_dict()["rungs"], strict=True):
        rung.update(contexts=None, initial=old["initial"], size_ratios=[])
    with pytest.raises(BundleFormatError, match=r"profile.format: is '1.1'; allowed: '1.0' for"):
        Profile.from_dict(data)
    data["rungs"][1]["budget_start"] = 5
    assert Profile.from_dict(data).format == "1.1"


def place(data: Any, path: str) -> tuple[Any, Any]:
    """(container, key) of a dotted path."""
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        data = data[part]
    return data, last


@pytest.mark.parametrize(("path", "value", "text"), FIELDS, ids=range(len(FIELDS)))
def test_fields_out_of_range(path: str, value: Any, text: str) -> None:
    """One line that names the field, what it is and what it may be."""
    data = make_profile((3, 6), (4, 5)).as_dict()
    container, key = place(data, path)
    container[key] = value
    with pytest.raises(BundleFormatError) as caught:
        Profile.from_dict(data)
    assert str(caught.value).startswith(text)
    assert len(str(caught.value)) < 200


def leaves(data: Any, path: str = "") -> list[str]:
    """The dotted paths of all keys."""
    out = []
    if isinstance(data, dict):
        for key, value in data.items():
            out += [f"{path}{key}", *leaves(value, f"{path}{key}.")]
    elif isinstance(data, list) and data and isinstance(data[0], dict):
        out += leaves(data[0], f"{path}0.")
    return out


OPTIONAL = ("rungs.0.thresholds_i16",)


@pytest.mark.parametrize("path", leaves(make_profile(3, (4, 5)).as_dict()))
def test_missing_fields(path: str) -> None:
    data = make_profile(3, (4, 5)).as_dict()
    container, key = place(data, path)
    del container[key]
    if path in OPTIONAL:
        Profile.from_dict(data)
        return
    with pytest.raises(BundleFormatError) as caught:
        Profile.from_dict(data)
    named = path.replace("rungs.0", "rungs[0]")
    assert caught.value.path == f"profile.{named}"
    assert caught.value.what == "is missing"


def test_too_many_slices() -> None:
    data = make_profile(3, (257, 1)).as_dict()
    data["slice_rows"] = 1
    with pytest.raises(BundleFormatError, match=r"slice_rows: makes 257 slices; allowed: <= 256"):
        Profile.from_dict(data)


def test_a_profile_survives_its_own_text() -> None:
    """Canonical JSON reads back to the same bytes and digest."""
    for dtype in ("int8", "int16", "float32"):
        profile = make_profile((3, 200), (3, 2), dtype=dtype, extra={"b": [1, {"a": 0.1}], "ä": 2})
        again = Profile.from_dict(json.loads(profile.canonical()))
        assert again.canonical() == profile.canonical()
        assert again.digest == profile.digest
        assert profile.canonical().isascii()
