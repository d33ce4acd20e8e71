"""The vectors in the repository: complete, reproduced by everyone, confirmed independently."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from codec_backends import Backend
from codec_encoder import within
from independent_codec import IndependentCodec, Interval, RefusedError
from independent_model import Model

from isthmus.codec.reference import final_states, slices_of
from isthmus.decoder import make_codec
from isthmus.errors import ERROR_TABLE, FrameError
from isthmus.profile import Profile

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "vectors"
FORMATS = ("v1", "v1_1", "v1_3")
CASES = {
    name: sorted(f"{name}/{path.parent.name}" for path in FOLDER.glob(f"{name}/*/vector.json"))
    for name in FORMATS
}
ALL = [name for names in CASES.values() for name in names]
ERRORS: dict[str, list[dict[str, Any]]] = {
    name: json.loads((FOLDER / name / "errors" / "errors.json").read_text("ascii"))
    for name in FORMATS
}


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """tools/make_vectors.py as a module."""
    spec = importlib.util.spec_from_file_location("make_vectors", ROOT / "tools/make_vectors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Case:
    """A case's files."""

    def __init__(self, name: str) -> None:
        self.folder = FOLDER / name
        self.json = self.read("profile.json")
        self.profile = Profile.from_dict(json.loads(self.json))
        self.content = json.loads(self.read("vector.json"))
        dtype = np.dtype(self.content["dtype"]).newbyteorder("<")
        flat = np.frombuffer(self.read("tensor.bin"), dtype).astype(dtype.newbyteorder("="))
        self.tensor = flat.reshape(self.profile.tensor.shape)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def test_the_maker_writes_the_same_bytes(maker: ModuleType) -> None:
    """No file missing, none too many, none different: else run tools/make_vectors.py."""
    assert maker.differences(maker.render()) == []
    assert len(CASES["v1"]) == len(list(maker.cases())) >= 20
    assert len(CASES["v1_1"]) == len(list(maker.newer_cases())) >= 20
    assert len(CASES["v1_3"]) == len(list(maker.near_cases())) >= 15


def test_a_missing_or_changed_file_is_noticed(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a/b.bin": b"1", "c.bin": b"2", "d.bin": b"3"}
    monkeypatch.setattr(maker, "FOLDER", tmp_path)
    for name, data in (("c.bin", b"2"), ("d.bin", b"4"), ("e.bin", b"5")):
        (tmp_path / name).write_bytes(data)
    assert maker.differences(files) == ["a/b.bin", "d.bin", "e.bin"]


@pytest.mark.parametrize("name", ALL)
def test_every_implementation_reproduces_it(
    backend: Callable[[Profile], Backend], name: str
) -> None:
    case = Case(name)
    assert case.profile.digest.hex() == case.content["digest"]
    under_test = backend(case.profile)
    for index, rung in enumerate(case.content["rungs"]):
        frame = case.read(f"rung{index}_frame.bin")
        assert under_test.encode(index, rung["sequence"], case.tensor) == frame
        levels = under_test.decode(frame)
        if levels is not None:
            assert levels.tobytes() == case.read(f"rung{index}_levels.bin")


@pytest.mark.parametrize("name", ALL)
def test_levels_and_final_states_confirmed_independently(name: str) -> None:
    """The independent codec and the reference's decoder both end in the states on file."""
    case = Case(name)
    codec = IndependentCodec(case.json)
    for index, rung in enumerate(case.content["rungs"]):
        levels = list(case.read(f"rung{index}_levels.bin"))
        states = [(s["low"], s["range"], s["shifts"]) for s in rung["final"]]
        frame = case.read(f"rung{index}_frame.bin")
        assert codec.levels(index, case.tensor) == levels
        decoded = codec.decode(frame)
        assert (decoded.rung, decoded.sequence) == (index, rung["sequence"])
        assert decoded.levels == levels
        assert decoded.states == states
        found = final_states(case.profile, frame)
        assert [(state.low, state.range, state.shifts) for state in found] == states


def test_vectors_cover_the_format() -> None:
    """Both ends of every field, all ranks, dtypes and rates."""
    profiles = [Case(name).profile for name in CASES["v1"]]
    rungs = [rung for profile in profiles for rung in profile.rungs]
    assert {2, 3, 4, 16, 17, 256} <= {rung.levels for rung in rungs}
    assert {rung.rate for rung in rungs} == {5, 6, 7}
    assert {profile.tensor.dtype for profile in profiles} == {"int8", "int16", "float32"}
    assert {len(profile.tensor.shape) for profile in profiles} == {1, 2, 3, 4}
    assert {0, 1} <= {profile.tensor.elements for profile in profiles}
    assert {1, 256} <= {profile.slices for profile in profiles}
    assert max(len(profile.rungs) for profile in profiles) == 8
    assert {error["code"] for error in ERRORS["v1"]} == set(range(1, 14))


def test_newer_vectors_cover_the_format() -> None:
    """Every field of 1.1 in use, flat slices and packets, both schemes in packets."""
    cases = {name: Case(name) for name in CASES["v1_1"]}
    profiles = [case.profile for case in cases.values()]
    rungs = [rung for profile in profiles for rung in profile.rungs]
    assert {profile.format for profile in profiles} == {"1.1"}
    assert {2, 4, 8, 20, 256} <= {rung.levels for rung in rungs if rung.contexts is not None}
    assert {len(profile.tensor.shape) for profile in profiles} == {1, 2, 3, 4}
    assert {profile.tensor.dtype for profile in profiles} == {"int8", "int16", "float32"}
    assert any(profile.slices > 1 for profile in profiles)
    assert {profile.scheme for profile in profiles if profile.packets} == {"paper", "neighbour"}
    assert any(rung.size_ratios for rung in rungs)
    # all codes but that of the digest's prefix, which packets do not carry
    assert {error["code"] for error in ERRORS["v1_1"]} == set(range(1, 14)) - {4}
    case = cases["v1_1/flat_packet"]
    packets = slices_of(case.profile, case.read("rung0_frame.bin"))
    assert any(header.flat for _, header, _ in packets)
    case = cases["v1_1/flat_slice"]
    codec = IndependentCodec(case.json)
    model, interval = Model(codec.profile, 0, 0), Interval()
    codec.code(model, interval, list(case.read("rung0_levels.bin"))[: codec.parts[0] - 1])
    assert model.flat is not None


def test_near_lossless_vectors_cover_the_format() -> None:
    """Every field of 1.3: bounds, escapes, flat slices and packets, the ends of every table."""
    cases = {name: Case(name) for name in CASES["v1_3"]}
    profiles = [case.profile for case in cases.values()]
    rungs = [rung for profile in profiles for rung in profile.rungs]
    found = [rung.trained for rung in rungs if rung.trained is not None]
    assert len(found) == len(rungs)
    assert {profile.format for profile in profiles} == {"1.3"}
    assert {0, 1, 2, 4, 9, 40} <= {rung.bound for rung in rungs}
    assert {len(profile.tensor.shape) for profile in profiles} == {1, 2, 3, 4}
    assert {profile.tensor.dtype for profile in profiles} == {"int8", "int16", "float32"}
    assert {rung.grids is None for rung in rungs} == {True, False}
    assert any(profile.slices > 1 for profile in profiles)
    assert max(trained.class_count for trained in found) == 16
    assert max(trained.cell_count for trained in found) == 32
    assert max(len(trained.frequencies) for trained in found) == 255
    assert max(trained.symbol_count for trained in found) > 200
    assert {error["code"] for error in ERRORS["v1_3"]} >= {1, 3, 4, 6, 8, 10, 11, 13}
    packets = cases["v1_3/flat_packet"]
    parts = slices_of(packets.profile, packets.read("rung0_frame.bin"))
    assert any(header.flat for _, header, _ in parts)
    case = cases["v1_3/flat_slice"]
    codec = IndependentCodec(case.json)
    near, interval = codec.model(0, 0), Interval()
    codec.code(near, interval, list(case.read("rung0_levels.bin"))[: codec.parts[0] - 1])
    assert near.flat is True
    escapes = cases["v1_3/escapes"]
    trained = escapes.profile.rungs[0].trained
    assert trained is not None
    symbols = [trained.symbols[level] for level in escapes.read("rung0_levels.bin")]
    assert 0 < symbols.count(0) < len(symbols)


def test_budgets_on_file(native: Callable[[Profile], Backend]) -> None:
    """The rung that C chooses for each budget is the one on file, and so is whether it fits."""
    case = Case("v1_1/budgets")
    listing = json.loads(case.read("budgets.json"))
    assert {entry["rung"] for entry in listing} == {0, 1, 2}
    assert {entry["fits"] for entry in listing} == {True, False}
    for entry in listing:
        status, rung, _, data = within(case.profile, case.tensor, entry["budget"])
        assert (rung, status == 0) == (entry["rung"], entry["fits"])
        if entry["fits"]:
            assert data == native(case.profile).encode(rung, 9, case.tensor)


@pytest.mark.parametrize(
    ("name", "error"), [(name, error) for name in FORMATS for error in ERRORS[name]],
    ids=lambda value: value if isinstance(value, str) else value["frame"],
)  # fmt: skip
def test_bad_frames_get_their_code(name: str, error: dict[str, Any]) -> None:
    """Reference, C and the independent decoder give the number on file, and its class."""
    folder = FOLDER / name / "errors"
    text = (folder / f"{error['profile']}.profile.json").read_bytes()
    frame = (folder / f"{error['frame']}.bin").read_bytes()
    profile = Profile.from_dict(json.loads(text))
    with pytest.raises(RefusedError) as refused:
        IndependentCodec(text).decode(frame)
    assert refused.value.code == error["code"]
    expected = next(row.cls for row in ERROR_TABLE if row.code == error["code"])
    for decoder in ("reference", "native"):
        with pytest.raises(FrameError) as raised:
            make_codec(profile, decoder).decode(frame)  # type: ignore[arg-type]
        assert type(raised.value) is expected, decoder
        assert raised.value.path.startswith("frame"), name
