"""Decoder, bundles on disk, the choice of the backend, and threads."""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from codec_bad_frames import bad_frames, error_profiles
from codec_bad_packets import bad_packets, packet_profiles
from codec_profiles import level_patterns, make_profile, neighbour_profile, tensor_of

from isthmus.backhalf import BackHalf
from isthmus.bundle import Bundle, make_manifest
from isthmus.decoder import Decoder, ReferenceCodec, make_codec
from isthmus.errors import (
    BuildError,
    BundleEditedError,
    BundleFormatError,
    BundleMissingError,
    DataDtypeError,
    FrameError,
    OptionError,
    RungError,
    ToolMissingError,
)
from isthmus.native import NativeCodec, build
from isthmus.profile import Profile


def write_bundle(path: Path, profile: Profile, files: dict[str, bytes] | None = None) -> Path:
    """A bundle with a profile and any files."""
    content = {"profile.json": profile.canonical(), **(files or {})}
    for name, data in content.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (path / "manifest.json").write_bytes(make_manifest(profile, content))
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "b", make_profile((3, 6), (4, 5)), {"firmware/src/a.c": b"1"})


def edit(file: Path, change: Callable[[Any], object]) -> None:
    """Changes a JSON file in place."""
    data = json.loads(file.read_text("utf-8"))
    change(data)
    file.write_text(json.dumps(data), encoding="utf-8")


@pytest.mark.parametrize("backend", ["auto", "native", "reference"])
def test_decoder_of_a_bundle(bundle: Path, backend: Any) -> None:
    """Levels, features in the network's units, rung and sequence, one by one and as a batch."""
    decoder = Decoder(bundle, backend)
    levels = level_patterns(6, 20)["random"].reshape(4, 5)
    tensor = tensor_of(decoder.profile, levels)
    frame = decoder.encode(tensor, rung=1, sequence=300)
    decoded = decoder.decode(frame)
    assert np.array_equal(decoded.levels, levels)
    assert decoded.features.dtype == np.float32
    assert np.array_equal(decoded.features, levels.astype(np.float32))
    assert (decoded.rung, decoded.sequence) == (1, 300)
    assert np.array_equal(decoder.levels(tensor, 1), levels)
    good, bad = decoder.decode_batch([frame, frame + b"\0"])
    assert np.array_equal(good.features, decoded.features)  # type: ignore[union-attr]
    assert isinstance(bad, FrameError)
    assert bad.name == "trailing"


def test_features_are_the_rung_s_values() -> None:
    data = make_profile((2, 3), (3,)).as_dict()
    data["rungs"][0]["values"] = [-1.5, 0.1]
    decoder = Decoder(Profile.from_dict(data), "reference")
    frame = decoder.codec.encode_levels(0, 0, np.array([1, 0, 1], np.uint8))
    expected = np.array([0.1, -1.5, 0.1], np.float32)
    assert np.array_equal(decoder.decode(frame).features, expected)


def test_what_can_be_wrong_with_a_bundle(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleMissingError, match="is not a directory"):
        Decoder(tmp_path / "none")
    with pytest.raises(BundleMissingError, match=r"profile\.json: no such file"):
        Decoder(tmp_path)
    (bundle / "manifest.json").rename(bundle / "m")
    with pytest.raises(BundleMissingError, match=r"manifest\.json: no such file"):
        Bundle.open(bundle)


def test_an_edited_profile_is_refused(bundle: Path) -> None:
    """One reconstruction value, or the note of a model: another digest than the manifest's."""
    edit(bundle / "profile.json", lambda p: p["rungs"][0]["values"].__setitem__(0, 0.25))
    with pytest.raises(BundleEditedError, match=r"profile\.json: has digest .* the manifest says"):
        Decoder(bundle)


def test_an_edited_file_is_found(bundle: Path) -> None:
    assert Bundle.open(bundle, check=True).firmware == bundle / "firmware"
    (bundle / "firmware/src/a.c").write_bytes(b"2")
    Bundle.open(bundle)
    with pytest.raises(BundleEditedError, match=r"a\.c: was changed after it was generated"):
        Bundle.open(bundle, check=True)
    with pytest.raises(BundleEditedError, match=r"a\.c: was changed"):
        Bundle.open(bundle).read("firmware/src/a.c")
    (bundle / "firmware/src/a.c").unlink()
    with pytest.raises(BundleEditedError, match=r"a\.c: cannot be read"):
        Bundle.open(bundle, check=True)
    with pytest.raises(BundleFormatError, match=r"a\.c: cannot be read"):
        Bundle.open(bundle).read("firmware/src/a.c")


def test_files_beside_the_manifest_are_not_the_bundle_s(bundle: Path) -> None:
    (bundle / "extra.bin").write_bytes(b"x")
    with pytest.raises(BundleEditedError, match=r"extra\.bin"):
        Bundle.open(bundle).read("extra.bin")


ESCAPES = ["../x", "/etc/passwd", "a/../../x", "a//b", "a\\b", "", "..", "a\0b", "a/"]


@pytest.mark.parametrize("name", ESCAPES)
def test_a_manifest_does_not_leave_the_bundle(bundle: Path, name: str) -> None:
    edit(bundle / "manifest.json", lambda m: m["files"].__setitem__(name, "0" * 64))
    with pytest.raises(BundleFormatError, match=r"manifest\.json: is not a manifest"):
        Bundle.open(bundle)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a\0b", "firmware", "none.tflite"])
def test_a_back_half_does_not_leave_the_bundle(tmp_path: Path, name: str) -> None:
    """The profile names its file; only what the manifest lists is opened."""
    (tmp_path / "secret").write_bytes(b"")
    path = write_bundle(tmp_path / "b", make_profile(3, (2,), extra={"back": {"file": name}}))
    with pytest.raises((BundleFormatError, BundleEditedError)):
        BackHalf(path)


@pytest.mark.parametrize("extra", [{}, {"back": 3}, {"back": {}}, {"back": {"file": 1}}])
def test_a_bundle_without_a_back_half(tmp_path: Path, extra: dict[str, Any]) -> None:
    path = write_bundle(tmp_path / "b", make_profile(3, (2,), extra=extra))
    with pytest.raises(BundleFormatError, match=r"^profile\.extra\.back\.file: is missing$"):
        BackHalf(path)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"{}", b'{"files":{}}', b'{"digest":"00"}',
     b'{"digest":1,"files":{}}', b'{"digest":"0","files":{"a":1}}', b'{"digest":"0","files":[]}',
     b"[" * 100_000],
)  # fmt: skip
def test_broken_manifests(bundle: Path, text: bytes) -> None:
    (bundle / "manifest.json").write_bytes(text)
    with pytest.raises(BundleFormatError, match=r"manifest\.json: "):
        Bundle.open(bundle)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"{}", b"[" * 100_000])
def test_broken_profiles(bundle: Path, text: bytes) -> None:
    (bundle / "profile.json").write_bytes(text)
    with pytest.raises(BundleFormatError, match=r"profile"):
        Bundle.open(bundle)


def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any C compiler: an empty PATH and no ziglang."""
    build.load_library.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def fresh_library() -> Any:
    """Loads the native library anew in the test and again after it."""
    build.load_library.cache_clear()
    yield
    build.load_library.cache_clear()


@pytest.mark.usefixtures("fresh_library")
def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ "auto" falls back and says so; "native" is refused with what to install."""
    no_compiler(monkeypatch, tmp_path)
    profile = make_profile(3, (4,))
    with pytest.warns(RuntimeWarning, match=r"no C compiler.*isthmus\[native\]"):
        assert isinstance(make_codec(profile, "auto"), ReferenceCodec)
    with pytest.raises(ToolMissingError, match=r'pip install "isthmus\[native\]"') as caught:
        make_codec(profile, "native")
    assert caught.value.exit_code == 4
    assert isinstance(make_codec(profile, "reference"), ReferenceCodec)


def test_unknown_backend() -> None:
    with pytest.raises(OptionError, match=r"^backend: is 'fast'; allowed: auto"):
        make_codec(make_profile(3, (4,)), "fast")  # type: ignore[arg-type]


@pytest.mark.usefixtures("fresh_library")
@pytest.mark.parametrize("name", ["file", "file/cache"])
def test_a_cache_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """The error names the folder and the setting; "auto" falls back, and not in silence."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / name))
    profile = make_profile(3, (4,))
    with pytest.raises(BuildError, match=r"cannot be written.*set ISTHMUS_CACHE"):
        make_codec(profile, "native")
    with pytest.warns(RuntimeWarning, match=r"slow reference codec.*set ISTHMUS_CACHE"):
        assert isinstance(make_codec(profile, "auto"), ReferenceCodec)


@pytest.mark.usefixtures("fresh_library")
def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its first message is the error, and no half-built library stays behind."""
    compiler = tmp_path / "badcc"
    compiler.write_text("#!/bin/sh\necho 'x.c:1: error: no good' >&2\nexit 1\n", encoding="ascii")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BuildError, match=r"^isth_host\.c: x\.c:1: error: no good$"):
        NativeCodec(make_profile(3, (4,)))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.usefixtures("fresh_library")
def test_the_library_is_built_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A second process finds it; a changed flag makes another."""
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    source = tmp_path / "f.c"
    source.write_text("int f(void);\nint f(void) { return 1; }\n", encoding="ascii")
    first = build.compile_shared([source], [], [])
    stamp = first.stat().st_mtime_ns
    assert build.compile_shared([source], [], []) == first
    assert first.stat().st_mtime_ns == stamp
    assert build.compile_shared([source], [], [], flags=("-DX",)) != first
    source.write_text("int f(void);\nint f(void) { return 2; }\n", encoding="ascii")
    assert build.compile_shared([source], [], []) != first


@pytest.mark.parametrize(
    "profile",
    [make_profile(8, (64, 64), slice_rows=16), neighbour_profile(8, (64, 64), slice_rows=16),
     neighbour_profile(8, (64, 64), unit=16, packet_bytes=244)],
    ids=["paper", "neighbour", "packets"],
)  # fmt: skip
def test_threads_share_a_codec(profile: Profile) -> None:
    """Eight threads on one codec, each with frames of its own, good and bad."""
    codec = NativeCodec(profile)
    rng = np.random.default_rng(3)
    failures: list[str] = []

    def work(seed: int, tensors: list[npt.NDArray[np.uint8]]) -> None:
        for repeat in range(10):
            frames = [codec.encode_levels(0, seed, levels) for levels in tensors]
            frames.insert(2, frames[0][:-1])
            results = codec.decode_batch(frames)
            bad = results.pop(2)
            if not isinstance(bad, FrameError):
                failures.append(f"thread {seed}, {repeat}: a cut frame passed")
            for levels, result in zip(tensors, results, strict=True):
                if isinstance(result, FrameError) or not np.array_equal(result.levels, levels):
                    failures.append(f"thread {seed}, {repeat}: wrong levels")

    threads = [
        threading.Thread(
            target=work,
            args=(k, [rng.integers(0, 8, (64, 64)).astype(np.uint8) for _ in range(6)]),
        )
        for k in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_decoding_releases_the_interpreter() -> None:
    """While one thread is inside a long C call, another one goes on running Python."""
    profile = make_profile(256, (1 << 20,))
    codec = NativeCodec(profile)
    flat = np.random.default_rng(0).integers(0, 256, 1 << 20).astype(np.uint8)
    frame = codec.encode_levels(0, 0, flat)
    frames = [frame] * 12
    span: list[float] = []

    def work() -> None:
        start = time.monotonic()
        codec.decode_batch(frames)
        span.extend((start, time.monotonic()))

    thread = threading.Thread(target=work)
    ticks = []
    thread.start()
    while thread.is_alive():
        ticks.append(time.monotonic())
        time.sleep(0.001)
    thread.join()
    start, end = span
    inside = [t for t in ticks if start + 0.25 * (end - start) < t < end - 0.25 * (end - start)]
    assert end - start > 0.05, "the call must be long enough to tell"
    assert len(inside) >= 3, "no Python ran in the middle half of the call"


def test_errors_of_a_batch_are_the_single_ones() -> None:
    """decode and decode_batch agree on every bad frame, features included."""
    for name, profile in (error_profiles() | packet_profiles()).items():
        cases = [bad for bad in (*bad_frames(), *bad_packets()) if bad.profile_name == name]
        for backend in ("reference", "native"):
            decoder = Decoder(profile, backend)  # type: ignore[arg-type]
            for bad, result in zip(
                cases, decoder.decode_batch([bad.frame for bad in cases]), strict=True
            ):
                assert isinstance(result, FrameError)
                with pytest.raises(type(result)) as caught:
                    decoder.decode(bad.frame)
                assert str(caught.value) == str(result)
                assert result.code == bad.code


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_decoder_travels_to_other_processes(bundle: Path, backend: Any) -> None:
    decoder = Decoder(bundle, backend)
    copy = pickle.loads(pickle.dumps(decoder))
    frame = decoder.encode(np.zeros((4, 5), np.int8), rung=1)
    assert type(copy.codec) is type(decoder.codec)
    assert copy.profile.digest == decoder.profile.digest
    assert np.array_equal(copy.decode(frame).features, decoder.decode(frame).features)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_options_of_encode(bundle: Path, backend: Any) -> None:
    """Numbers of any integer type; nothing that merely looks like one, nothing out of range."""
    decoder = Decoder(bundle, backend)
    tensor = np.zeros((4, 5), np.int8)
    frame = decoder.encode(tensor, rung=1, sequence=65535)
    assert decoder.encode(tensor, rung=np.uint8(1), sequence=np.int64(65535)) == frame
    for name, value in [
        ("rung", 1.0), ("rung", True), ("rung", "1"), ("rung", None), ("sequence", 3.0),
        ("sequence", -1), ("sequence", 65536), ("sequence", np.True_), ("sequence", 1 << 80),
    ]:  # fmt: skip
        with pytest.raises(OptionError, match=rf"^{name}: is .*; allowed: "):
            decoder.encode(tensor, **{name: value})
    for rung in (-1, 2, 1 << 80):
        with pytest.raises(RungError, match=r"allowed: 0\.\.1"):
            decoder.encode(tensor, rung=rung)
        with pytest.raises(RungError):
            decoder.levels(tensor, rung)
    with pytest.raises(OptionError, match=r"^rung: is 1\.0"):
        decoder.levels(tensor, 1.0)  # type: ignore[arg-type]
    with pytest.raises(DataDtypeError):
        decoder.encode(tensor.tolist())
