"""Bad input: what a case is, how it is judged, and files that are wrong in one way each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Make = Callable[[Any, Path], list[Any]]


@dataclass(frozen=True)
class Case:
    """A command line, the exit code and error it must end with, and words its line must hold."""

    name: str
    make: Make
    code: int
    error: str
    words: tuple[str, ...] = ()


def check_refused(case: Case, ran: Any) -> None:
    """One line, the documented code, the remedy, and the same as an object with --json."""
    assert ran.code == case.code, ran
    lines = ran.err.splitlines()
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("error: ")
    for word in case.words:
        assert word in lines[0]
    error = ran.data["error"]
    assert error["name"] == case.error
    assert error["path"]
    assert isinstance(error["code"], int)
    assert " ".join(error["what"].split()) in lines[0]


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def text(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pictures(value: float = 1.0, shape: tuple[int, ...] = (4, 8, 8, 1)) -> Any:
    return np.full(shape, value, dtype=np.float32)


def with_nan() -> Any:
    x = pictures()
    x[2, 3, 3, 0] = np.nan
    return x


def truncated(tmp: Path) -> Path:
    whole = npz(tmp / "whole.npz", x=pictures()).read_bytes()
    return text(tmp / "truncated.npz", whole[: len(whole) // 2])


def damaged(tmp: Path) -> Path:
    whole = bytearray(npz(tmp / "whole.npz", x=pictures()).read_bytes())
    whole[300] ^= 0xFF  # inside the values: the archive's own checksum fails
    return text(tmp / "damaged.npz", bytes(whole))


def folder(tmp: Path) -> Path:
    (tmp / "folder").mkdir()
    return tmp / "folder"


def bundle_copy(digits: Any, tmp: Path) -> Path:
    copy = tmp / "copy"
    shutil.copytree(digits.bundle, copy)
    return copy


def edited(name: str) -> Callable[[Any, Path], Path]:
    def make(digits: Any, tmp: Path) -> Path:
        copy = bundle_copy(digits, tmp)
        file = copy / name
        file.write_bytes(file.read_bytes() + b"\n/* mine */\n")
        return copy

    return make


def without(name: str) -> Callable[[Any, Path], Path]:
    def make(digits: Any, tmp: Path) -> Path:
        copy = bundle_copy(digits, tmp)
        (copy / name).unlink()
        return copy

    return make


def profile(change: Callable[[dict[str, Any]], None]) -> Callable[[Any, Path], Path]:
    def make(digits: Any, tmp: Path) -> Path:
        copy = bundle_copy(digits, tmp)
        file = copy / "profile.json"
        data = json.loads(file.read_text())
        change(data)
        file.write_text(json.dumps(data))
        return copy

    return make


def in_the_way(tmp: Path) -> Path:
    return text(tmp / "file", "not mine to replace")


def other_content(tmp: Path) -> Path:
    place = folder(tmp)
    text(place / "thesis.txt", "not mine to replace")
    return place


def decode_to(digits: Any, out: Path) -> list[Any]:
    return ["decode", digits.bundle, digits.bundle / "vectors" / "0_rung0_frame.bin", "--out", out]


def encode_to(digits: Any, tmp: Path, out: Path) -> list[Any]:
    np.save(tmp / "a.npy", np.zeros((4, 4, 32), dtype=np.int8))
    return ["encode", digits.bundle, tmp / "a.npy", "--out", out]
