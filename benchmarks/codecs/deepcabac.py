"""DeepCABAC (ISO/IEC 15938-17, neural network coding) by the package nncodec, on levels.

S. Wiedemann et al., "DeepCABAC: A Universal Compression Algorithm for Deep Neural Networks", IEEE
J-STSP 14, 2020; NNCodec, Fraunhofer HHI. The package needs torch and numpy 1, so it lives in a
virtual environment of its own and is run there as a process:

    python -m venv nnc && nnc/bin/pip install nncodec
    ISTHMUS_NNCODEC=nnc/bin/python python -m benchmarks.rate
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from benchmarks.codecs.base import Array8, Codec
from benchmarks.codecs.deepcabac_worker import read_array, write_array

__all__ = ["DeepCabac", "absent"]

_WORKER = Path(__file__).with_name("deepcabac_worker.py")
_NAME = "ISTHMUS_NNCODEC"


@cache
def _worker() -> subprocess.Popen[bytes] | None:
    """The process that holds the package, or None where there is none."""
    python = shutil.which(os.environ.get(_NAME) or sys.executable)
    if python is None:
        return None
    outside = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = subprocess.Popen(
        [python, str(_WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env=outside,
    )  # fmt: skip
    into, out = _pipes(process)
    if out.readline() != b"ready\n":
        process.kill()
        process.wait()
        into.close()
        out.close()
        return None
    return process


def absent() -> str | None:
    """Why DeepCABAC cannot be measured, or None."""
    if _worker() is None:
        return f'pip install "nncodec" in an environment of its own, its python in {_NAME}'
    return None


class DeepCabac(Codec):
    """A whole NNC bitstream for each tensor, with its parameter sets (some 35 bytes).

    Levels are coded as integers, so nothing is lost. ``planes`` makes each channel a row of the
    matrix that the package sees, else each position. Row skipping is on; the search for context
    parameters is off, which costs some 0.5 % of the bits and saves three quarters of the time.
    """

    name = "DeepCABAC (nncodec)"
    lossless = True

    def __init__(self, setting: str, shape: tuple[int, ...], *, planes: bool) -> None:
        self.setting = setting
        self._shape = shape
        self._planes = planes

    def encode(self, array: Array8) -> bytes:
        return self.encode_all([array])[0]

    def decode(self, code: bytes) -> Array8:
        return np.asarray(self.decode_all([code])[0])

    def encode_all(self, arrays: Iterable[Array8]) -> list[bytes]:
        levels = np.stack(list(arrays)).reshape(-1, int(np.prod(self._shape[:-1])), self._shape[-1])
        given = levels.swapaxes(1, 2) if self._planes else levels
        lengths, content = _ask("encode", np.ascontiguousarray(given))
        ends = np.cumsum(lengths)
        return [
            content[end - size : end].tobytes() for end, size in zip(ends, lengths, strict=True)
        ]

    def decode_all(self, codes: Sequence[bytes]) -> Array8:
        lengths = np.array([len(code) for code in codes], dtype=np.int64)
        content = np.frombuffer(b"".join(codes), dtype=np.uint8)
        (levels,) = _ask("decode", lengths, content, answers=1)
        back = levels.swapaxes(1, 2) if self._planes else levels
        return np.ascontiguousarray(back).reshape(-1, *self._shape)


def _ask(what: str, *arrays: npt.NDArray[Any], answers: int = 2) -> list[npt.NDArray[Any]]:
    process = _worker()
    if process is None:
        raise RuntimeError(f"DeepCABAC: {absent()}")
    into, out = _pipes(process)
    into.write(what.encode("ascii") + b"\n")
    for array in arrays:
        write_array(into, array)
    into.flush()
    return [read_array(out) for _ in range(answers)]


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout
