"""The restorer in a bundle: optional, beside the profile, refused where it is damaged."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from restoration_cases import uniform_profile, write_bundle

from isthmus import Decoder, FrameError
from isthmus.bundle import file_digest
from isthmus.errors import BundleEditedError, BundleFormatError
from isthmus.restore import RESTORER, RESTORER_ARRAYS, Restorer, RungRestorer, write_restorer
from isthmus.restore_net import RestorerNet

SHAPE = (4, 4, 2)
PROFILE = uniform_profile(SHAPE, 2.0, 3)


def _rung(losses: bool = False) -> RungRestorer:
    rng = np.random.default_rng(1)
    kernel = rng.standard_normal((3, 3, 4 + losses, 2)).astype(np.float32)
    net = RestorerNet(((kernel, np.ones(2, np.float32)),), np.full(2, 0.5, np.float32), losses)
    return RungRestorer("conv", rng.random((3, 2)).astype(np.float32), np.ones(2, np.float32), net)


def _frames(decoder: Decoder, count: int = 5) -> list[bytes]:
    rng = np.random.default_rng(2)
    tensors = rng.random((count, *SHAPE), dtype=np.float32) * 2
    return [decoder.encode(tensor, sequence=i) for i, tensor in enumerate(tensors)]


def test_frames_are_the_same_and_the_restorer_can_be_left_out(tmp_path: Path) -> None:
    plain = Decoder(write_bundle(tmp_path / "plain", PROFILE, {}), "reference")
    files = write_restorer(PROFILE, (_rung(),), {})
    bundle = write_bundle(tmp_path / "restored", PROFILE, files)
    restored = Decoder(bundle, "reference")
    without = Decoder(bundle, "reference", restorer="none")
    assert bundle.profile.digest == PROFILE.digest
    assert (plain.restorer.kinds, restored.restorer.kinds) == (("values",), ("conv",))
    assert without.restorer.kinds == ("values",)
    frames = _frames(plain)
    assert frames == _frames(restored)
    for frame in frames:
        a, b, c = (decoder.decode(frame) for decoder in (plain, restored, without))
        assert np.array_equal(a.levels, b.levels)
        assert np.array_equal(a.features, c.features)
        assert np.array_equal(b.features, _rung()(b.levels[np.newaxis])[0])
        assert not np.array_equal(a.features, b.features)


def test_a_batch_gives_what_single_frames_give(tmp_path: Path) -> None:
    files = write_restorer(PROFILE, (_rung(),), {})
    decoder = Decoder(write_bundle(tmp_path / "b", PROFILE, files), "reference")
    frames = _frames(decoder, 70)
    frames[7] = b"\x00" + frames[7][1:]
    found = decoder.decode_batch(frames)
    assert isinstance(found[7], FrameError)
    for index, (frame, result) in enumerate(zip(frames, found, strict=True)):
        if index != 7:
            alone = decoder.decode(frame)
            assert not isinstance(result, FrameError)
            assert (result.sequence, result.features.base) == (alone.sequence, None)
            np.testing.assert_allclose(result.features, alone.features, atol=1e-5)
    again = pickle.loads(pickle.dumps(decoder))
    assert np.array_equal(again.decode(frames[0]).features, decoder.decode(frames[0]).features)


def _edited(change: Any, arrays: Any = None) -> dict[str, bytes]:
    """Restorer files after ``change`` of the JSON object and ``arrays`` of the arrays."""
    files = write_restorer(PROFILE, (_rung(),), {"seed": 1})
    content = json.loads(files[RESTORER])
    change(content)
    files[RESTORER] = json.dumps(content).encode()
    if arrays is not None:
        loaded = dict(np.load(io.BytesIO(files[RESTORER_ARRAYS])))
        arrays(loaded)
        stream = io.BytesIO()
        np.savez(stream, **loaded)
        files[RESTORER_ARRAYS] = stream.getvalue()
    return files


def _nothing(_: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "arrays", "message"),
    [
        (lambda c: c.update(format="9"), None, "format"),
        (lambda c: c.update(rungs=[]), None, "rungs"),
        (lambda c: c["rungs"][0].update(kind="magic"), None, "values, centroids, conv"),
        (lambda c: c["rungs"][0].update(layers=17), None, "1..16"),
        (lambda c: c["rungs"][0].update(layers=2), None, "kernel1"),
        (lambda c: c["rungs"][0].update(losses=True), None, "kernel0"),
        (lambda c: c["rungs"][0].update(losses=1), None, "no network"),
        (_nothing, lambda a: a.pop("0.values"), r"rungs\[0\].values"),
        (_nothing, lambda a: a.update({"0.values": a["0.values"][:2]}), r"\(3, 2\)"),
        (_nothing, lambda a: a.update({"0.mean": a["0.mean"] * np.nan}), "mean"),
        (_nothing, lambda a: a.update({"0.scale": a["0.scale"].astype(float)}), "scale"),
        (_nothing, lambda a: a.update({"0.kernel0": a["0.kernel0"][:2]}), "odd"),
        (
            _nothing,
            lambda a: a.update({"0.kernel0": a["0.kernel0"][..., :1], "0.bias0": a["0.bias0"][:1]}),
            "ends in 1 channels",
        ),
    ],
)
def test_a_restorer_that_does_not_fit_is_refused(
    tmp_path: Path, change: Any, arrays: Any, message: str
) -> None:
    bundle = write_bundle(tmp_path / "b", PROFILE, _edited(change, arrays))
    with pytest.raises(BundleFormatError, match=message):
        Restorer(bundle)
    assert Restorer(bundle, "none").kinds == ("values",)


def test_another_profiles_restorer_and_an_edited_one_are_refused(tmp_path: Path) -> None:
    other = write_restorer(uniform_profile(SHAPE, 3.0, 3), (_rung(),), {})
    with pytest.raises(BundleEditedError, match="another profile"):
        Restorer(write_bundle(tmp_path / "other", PROFILE, other))
    bundle = write_bundle(tmp_path / "b", PROFILE, write_restorer(PROFILE, (_rung(),), {}))
    file = bundle.path / RESTORER_ARRAYS
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleEditedError, match=RESTORER_ARRAYS):
        Restorer(bundle)


def test_arrays_that_need_unpickling_are_refused(tmp_path: Path) -> None:
    files = write_restorer(PROFILE, (_rung(),), {})
    stream = io.BytesIO()
    np.savez(stream, **{"0.values": np.array([{}], dtype=object)})
    files[RESTORER_ARRAYS] = stream.getvalue()
    with pytest.raises(BundleFormatError, match="cannot be read"):
        Restorer(write_bundle(tmp_path / "b", PROFILE, files))
    files[RESTORER_ARRAYS] = b"PK nonsense"
    assert file_digest(files[RESTORER_ARRAYS])
    with pytest.raises(BundleFormatError, match="cannot be read"):
        Restorer(write_bundle(tmp_path / "c", PROFILE, files))
