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
from independent_codec import IndependentCodec, RefusedError

from isthmus.codec.reference import decode_payload
from isthmus.decoder import make_codec
from isthmus.errors import ERROR_TABLE, FrameError
from isthmus.profile import Profile

ROOT = Path(__file__).resolve().parents[2]
V1 = ROOT / "tests" / "vectors" / "v1"
CASES = sorted(path.parent.name for path in V1.glob("*/vector.json"))
ERRORS: list[dict[str, Any]] = json.loads((V1 / "errors" / "errors.json").read_text("ascii"))


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
        self.folder = V1 / name
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
    assert len(CASES) == len(list(maker.cases())) >= 20


def test_a_missing_or_changed_file_is_noticed(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a/b.bin": b"1", "c.bin": b"2", "d.bin": b"3"}
    monkeypatch.setattr(maker, "FOLDER", tmp_path)
    for name, data in (("c.bin", b"2"), ("d.bin", b"4"), ("e.bin", b"5")):
        (tmp_path / name).write_bytes(data)
    assert maker.differences(files) == ["a/b.bin", "d.bin", "e.bin"]


@pytest.mark.parametrize("name", CASES)
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


@pytest.mark.parametrize("name", CASES)
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
        rest = frame
        for part, (low, range_, shifts) in zip(codec.parts, states, strict=True):
            *_, payload, rest = codec.take(rest)
            _, state = decode_payload(case.profile.rungs[index], payload, part)
            assert (state.low, state.range, state.shifts) == (low, range_, shifts)


def test_vectors_cover_the_format() -> None:
    """Both ends of every field, all ranks, dtypes and rates."""
    profiles = [Case(name).profile for name in CASES]
    rungs = [rung for profile in profiles for rung in profile.rungs]
    assert {2, 3, 4, 16, 17, 256} <= {rung.levels for rung in rungs}
    assert {rung.rate for rung in rungs} == {5, 6, 7}
    assert {profile.tensor.dtype for profile in profiles} == {"int8", "int16", "float32"}
    assert {len(profile.tensor.shape) for profile in profiles} == {1, 2, 3, 4}
    assert {0, 1} <= {profile.tensor.elements for profile in profiles}
    assert {1, 256} <= {profile.slices for profile in profiles}
    assert max(len(profile.rungs) for profile in profiles) == 8
    assert {error["code"] for error in ERRORS} == set(range(1, 14))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error["frame"])
def test_bad_frames_get_their_code(error: dict[str, Any]) -> None:
    """Reference, C and the independent decoder give the number on file, and its class."""
    folder = V1 / "errors"
    text = (folder / f"{error['profile']}.profile.json").read_bytes()
    frame = (folder / f"{error['frame']}.bin").read_bytes()
    profile = Profile.from_dict(json.loads(text))
    with pytest.raises(RefusedError) as refused:
        IndependentCodec(text).decode(frame)
    assert refused.value.code == error["code"]
    expected = next(row.cls for row in ERROR_TABLE if row.code == error["code"])
    for name in ("reference", "native"):
        with pytest.raises(FrameError) as raised:
            make_codec(profile, name).decode(frame)  # type: ignore[arg-type]
        assert type(raised.value) is expected, name
        assert raised.value.path.startswith("frame"), name
