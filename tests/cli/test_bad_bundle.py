"""Bad input to the commands that read a bundle, and outputs that cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import (
    Case,
    Make,
    check_refused,
    decode_to,
    edited,
    encode_to,
    folder,
    in_the_way,
    npz,
    other_content,
    pictures,
    profile,
    text,
    without,
)


def _set_value(data: dict[str, Any]) -> None:
    data["rungs"][0]["values"][1] += 0.25


def _set_levels(data: dict[str, Any]) -> None:
    data["rungs"][0]["levels"] = 999


BUNDLES: list[tuple[str, Callable[[Any, Path], Path], str, tuple[str, ...]]] = [
    ("missing", lambda d, t: t / "none", "bundle_missing", ("isthmus generate",)),
    ("file", lambda d, t: text(t / "f", "x"), "bundle_missing", ("not a directory",)),
    ("other", lambda d, t: folder(t), "bundle_missing", ("isthmus generate",)),
    ("profile_edited", profile(_set_value), "bundle_edited", ("generate the bundle again",)),
    (
        "profile_wrong",
        profile(_set_levels),
        "bundle_format",
        ("profile.rungs[0].levels", "2..256"),
    ),
    ("profile_text", lambda d, t: edited("profile.json")(d, t), "bundle_format", ("JSON",)),
    ("no_manifest", without("manifest.json"), "bundle_missing", ("generate",)),
]


def _readers(digits: Any, tmp: Path, bundle: Path) -> dict[str, list[Any]]:
    frame = digits.bundle / "vectors" / "0_rung0_frame.bin"
    features = tmp / "features.npy"
    np.save(features, np.zeros((4, 4, 32), dtype=np.int8))
    return {
        "verify": ["verify", bundle, "--target", "host"],
        "evaluate": ["evaluate", bundle, "--data", digits.test],
        "encode": ["encode", bundle, features, "--out", tmp / "frame.isth"],
        "decode": ["decode", bundle, frame, "--out", tmp / "out.npy"],
        "inspect": ["inspect", frame, "--bundle", bundle],
    }


def _of_bundle(command: str, make: Callable[[Any, Path], Path]) -> Make:
    return lambda digits, tmp: _readers(digits, tmp, make(digits, tmp))[command]


READERS = [
    Case(f"{command}_bundle_{name}", _of_bundle(command, make), 3, error, words)
    for command in ("verify", "evaluate", "encode", "decode", "inspect")
    for name, make, error, words in BUNDLES
]


def _verify(name: str, code: int, error: str, *words: str, **options: object) -> Case:
    def arguments(digits: Any, tmp: Path) -> list[Any]:
        line: list[Any] = ["verify", digits.bundle, "--target", options.get("target", "host")]
        for key, value in options.items():
            if key != "target":
                line += [f"--{key}", value(tmp) if callable(value) else value]
        return line

    return Case(f"verify_{name}", arguments, code, error, words)


def _verify_edited(name: str) -> Case:
    return Case(
        f"verify_edited_{Path(name).name}",
        lambda digits, tmp: ["verify", edited(name)(digits, tmp), "--target", "host"],
        3,
        "bundle_edited",
        (Path(name).name, "generate the bundle again"),
    )


VERIFY = [
    _verify("target", 3, "target_unknown", "cortex-m4f", target="cortex-m99"),
    _verify("inputs_0", 2, "option", "--inputs", "1..4096", inputs=0),
    _verify("inputs_many", 2, "option", "--inputs", inputs=5000),
    _verify("rung", 3, "rung", "0..2", rung=3),
    _verify("rung_negative", 3, "rung", rung=-1),
    _verify("data_missing", 3, "data_file", "no such file", data=lambda t: t / "none.npz"),
    _verify(
        "data_shape", 3, "data_shape", "8x8x1",
        data=lambda t: npz(t / "a.npz", x=pictures(shape=(2, 4, 4, 1))),
    ),
    _verify_edited("firmware/src/isth_encode.c"),
    _verify_edited("firmware/src/isth.h"),
    _verify_edited("front.tflite"),
    Case(
        "verify_without_source",
        lambda d, t: ["verify", without("firmware/src/isth_encode.c")(d, t), "--target", "host"],
        3, "bundle_edited", ("isth_encode.c",),
    ),
]  # fmt: skip

EVALUATE = [
    Case(
        "evaluate_missing",
        lambda d, t: ["evaluate", d.bundle, "--data", t / "none.npz"], 3, "data_file", (),
    ),
    Case(
        "evaluate_shape",
        lambda d, t: [
            "evaluate", d.bundle, "--data",
            npz(t / "a.npz", x=pictures(shape=(2, 4, 4, 1)), y=np.zeros(2)),
        ],
        3, "data_shape", ("8x8x1",),
    ),
    Case(
        "evaluate_limit",
        lambda d, t: ["evaluate", d.bundle, "--data", d.test, "--limit", -1],
        2, "option", ("limit",),
    ),
    Case(
        "evaluate_report",
        lambda d, t: [
            "evaluate", d.bundle, "--data", d.test, "--limit", 4, "--report",
            text(t / "file", "x") / "report.html",
        ],
        3, "output", ("report.html",),
    ),
]  # fmt: skip


def _encode(name: str, array: Any, error: str, *words: str) -> Case:
    def arguments(digits: Any, tmp: Path) -> list[Any]:
        np.save(tmp / "a.npy", array)
        return ["encode", digits.bundle, tmp / "a.npy", "--out", tmp / "f.isth"]

    return Case(f"encode_{name}", arguments, 3, error, words)


def _encode_file(name: str, make: Callable[[Path], Path], error: str, *words: str) -> Case:
    return Case(
        f"encode_{name}",
        lambda d, t: ["encode", d.bundle, make(t), "--out", t / "f.isth"], 3, error, words,
    )  # fmt: skip


def _npy(header: str, version: bytes = b"\x01\x00") -> bytes:
    """A .npy with a header of any text and 64 bytes after it."""
    size = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + size + header.encode("ascii") + bytes(64)


def _claim(shape: str, kind: str = "'|i1'") -> str:
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}\n"


# Headers that claim more than the file holds, and headers that are no headers.
CLAIMS = {
    "claims": _npy(_claim("(4, 4, 32)")),
    "claims_huge": _npy(_claim("(1048576, 1048576, 4, 4, 32)")),
    "claims_two": _npy(_claim("(1048576, 4, 4, 32)"), b"\x02\x00"),
    "negative": _npy(_claim("(-1, 4, 4, 32)")),
    "shape_true": _npy(_claim("(True, 4)")),
    "wide": _npy(_claim("(4,)", "'|S999999999999'")),
    "deep": _npy("(" * 9000),
    "indented": _npy("\n   x\n y"),
    "dtype_text": _npy(_claim("(4, 4, 4)", "',i1'")),
    "version": _npy(_claim("(4, 4, 4)"), b"\x09\x09"),
    "half": _npy(_claim("(4, 4, 32)"))[:20],
    "zip": b"PK\x03\x04 not really",
    "zip_end": b"PK\x05\x06" + bytes(18),
}


def _encode_option(name: str, code: int, error: str, *words: str) -> Callable[..., Case]:
    def case(*options: object) -> Case:
        def arguments(digits: Any, tmp: Path) -> list[Any]:
            np.save(tmp / "a.npy", np.zeros((4, 4, 32), dtype=np.int8))
            return ["encode", digits.bundle, tmp / "a.npy", "--out", tmp / "f.isth", *options]

        return Case(f"encode_{name}", arguments, code, error, words)

    return case


_FEATURES = np.zeros((4, 4, 32), dtype=np.float32)
ENCODE = [
    _encode("shape", _FEATURES[:3], "data_shape", "[4, 4, 32]"),
    _encode("nan", np.full_like(_FEATURES, np.nan), "data_not_finite"),
    _encode("dtype", _FEATURES.astype(np.int64), "data_dtype", "int8"),
    _encode("int16", _FEATURES.astype(np.int16), "data_dtype", "int8"),
    _encode("none", np.zeros((0, 4, 4, 32), dtype=np.int8), "data_empty"),
    _encode("objects", np.array([None], dtype=object), "data_file", "numpy.save"),
    _encode_file("missing", lambda t: t / "none.npy", "data_file", "numpy.save"),
    _encode_file("folder", folder, "data_file"),
    _encode_file("text", lambda t: text(t / "a.npy", "hello"), "data_file", "numpy.save"),
    *(
        _encode_file(
            name, lambda t, content=content: text(t / "a.npy", content), "data_file", "numpy.save"
        )
        for name, content in CLAIMS.items()
    ),
    _encode_file("npz", lambda t: npz(t / "a.npz", x=_FEATURES), "data_file", "numpy.save"),
    _encode_option("rung", 3, "rung", "0..2")("--rung", 3),
    _encode_option("sequence", 2, "option", "0..65535")("--sequence", 65536),
    _encode_option("rung_word", 2, "option", "--rung")("--rung", "one"),
]


def _frame(name: str, change: Callable[[bytes], bytes], error: str) -> list[Case]:
    def made(digits: Any, tmp: Path) -> Path:
        good = (digits.bundle / "vectors" / "0_rung0_frame.bin").read_bytes()
        return text(tmp / "bad.isth", change(good))

    return [
        Case(
            f"decode_{name}",
            lambda d, t: ["decode", d.bundle, made(d, t), "--out", t / "out.npy"], 3, error,
        ),
    ]  # fmt: skip


def _flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


FRAMES = [
    *_frame("empty", lambda data: b"", "truncated"),
    *_frame("header", lambda data: data[:7], "truncated"),
    *_frame("short", lambda data: data[:-1], "truncated"),
    *_frame("long", lambda data: data + b"\0", "trailing"),
    *_frame("version", _flip(0), "version"),
    *_frame("profile", _flip(4), "profile"),
    *_frame("checksum", _flip(9), "checksum"),
    *_frame("payload", _flip(20), "checksum"),
    Case(
        "decode_missing",
        lambda d, t: ["decode", d.bundle, t / "none.isth", "--out", t / "o.npy"],
        3, "data_file", ("path of a frame",),
    ),
    Case(
        "inspect_missing", lambda d, t: ["inspect", t / "none.isth"], 3, "data_file",
        ("path of a frame",),
    ),
    Case("inspect_folder", lambda d, t: ["inspect", folder(t)], 3, "data_file", ()),
    Case(
        "inspect_short", lambda d, t: ["inspect", text(t / "s.isth", b"\x10")], 3, "truncated", ()
    ),
]  # fmt: skip


def _output(name: str, make: Callable[[Any, Path], list[Any]], *words: str) -> Case:
    return Case(f"output_{name}", make, 3, "output", words)


OUTPUTS = [
    _output("generate_file", lambda d, t: d.generate(in_the_way(t)), "is a file"),
    _output("generate_below_file", lambda d, t: d.generate(in_the_way(t) / "out"), "--out"),
    _output("generate_proc", lambda d, t: d.generate(Path("/proc/isthmus")), "--out"),
    _output("generate_other", lambda d, t: d.generate(other_content(t)), "thesis.txt", "--out"),
    _output("decode_folder", lambda d, t: decode_to(d, folder(t)), "--out"),
    _output("decode_below_file", lambda d, t: decode_to(d, in_the_way(t) / "o.npy"), "--out"),
    _output("decode_proc", lambda d, t: decode_to(d, Path("/proc/out.npy")), "--out"),
    _output("encode_folder", lambda d, t: encode_to(d, t, folder(t)), "--out"),
    _output("encode_proc", lambda d, t: encode_to(d, t, Path("/proc/out.isth")), "--out"),
    _output("demo_file", lambda d, t: ["demo", "--out", in_the_way(t)], "--out"),
    _output("demo_proc", lambda d, t: ["demo", "--out", "/proc/isthmus"], "--out"),
]

CASES = [*READERS, *VERIFY, *EVALUATE, *ENCODE, *FRAMES, *OUTPUTS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case: Case, digits: Any, isth: Any, tmp_path: Path) -> None:
    manifest = (digits.bundle / "manifest.json").read_bytes()
    check_refused(case, isth(*case.make(digits, tmp_path), "--json"))
    assert not (tmp_path / "out").exists()
    assert (digits.bundle / "manifest.json").read_bytes() == manifest


@pytest.mark.parametrize("option", ["encode", "decode"])
def test_output_in_the_way_is_kept(option: str, digits: Any, isth: Any, tmp_path: Path) -> None:
    folder = other_content(tmp_path)
    words = decode_to(digits, folder) if option == "decode" else encode_to(digits, tmp_path, folder)
    assert isth(*words).code == 3
    assert [file.name for file in folder.iterdir()] == ["thesis.txt"]
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_frame_of_another_bundle(digits: Any, isth: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    made = isth(*digits.generate(other, levels=3, limit=16), "--json")
    assert made.code == 0, made.err
    frame = other / "vectors" / "0_rung0_frame.bin"
    ran = isth("decode", digits.bundle, frame, "--out", tmp_path / "o.npy", "--json")
    assert ran.code == 3
    assert ran.data["error"]["name"] == "profile"
    assert not (tmp_path / "o.npy").exists()
