"""HEVC intra by x265, run by the ffmpeg that imageio-ffmpeg brings (or the one on the path)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from benchmarks.codecs.base import Array8, Codec

__all__ = ["Hevc", "absent", "access_units", "nal_units", "parameter_bytes"]

#: VPS, SPS and PPS (ITU-T H.265, table 7-1).
_PARAMETER_SETS = (32, 33, 34)
_VPS = 32


@cache
def _ffmpeg() -> str | None:
    """An ffmpeg with libx265, or None."""
    try:
        import imageio_ffmpeg
    except ImportError:
        found = shutil.which("ffmpeg")
    else:
        found = imageio_ffmpeg.get_ffmpeg_exe()
    if found is None:
        return None
    listed = subprocess.run(
        [found, "-hide_banner", "-encoders"], capture_output=True, text=True, check=False
    )
    return found if "libx265" in listed.stdout else None


def absent() -> str | None:
    """Why HEVC cannot be measured, or None."""
    return None if _ffmpeg() else 'pip install "imageio-ffmpeg", or an ffmpeg with libx265'


class Hevc(Codec):
    """One 4:0:0 picture of 8 bits, intra, at a fixed QP.

    What a single upload needs is one VPS, SPS and PPS and the picture, so they are sent with every
    picture and counted (:meth:`bare` leaves them out). x265's text about itself is not sent.
    Psychovisual terms and adaptive QP are off: no eye looks at features, and they cost bits at the
    same squared error. All pictures go through one process, each as a stream of its own.
    """

    name = "HEVC on tiles"
    preset = "slow"
    #: x265's rate control; ``{qp}`` is the QP.
    control = "qp={qp}:ipratio=1"

    def __init__(self, qp: int, size: tuple[int, int]) -> None:
        self.setting = f"QP {qp}"
        self._size = size
        self._options = (
            f"{self.control.format(qp=qp)}:keyint=1:min-keyint=1:bframes=0:scenecut=0:repeat-headers=1:info=0"
            ":aud=0:hrd=0:aq-mode=0:psy-rd=0:psy-rdoq=0:wpp=0:pools=none:frame-threads=1"
            ":log-level=error"
        )

    def encode(self, array: Array8) -> bytes:
        return self.encode_all([array])[0]

    def decode(self, code: bytes) -> Array8:
        return np.asarray(self.decode_all([code])[0])

    def encode_all(self, arrays: Iterable[Array8]) -> list[bytes]:
        height, width = self._size
        raw = b"".join(array.tobytes() for array in arrays)
        stream = _run(
            ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}", "-i", "pipe:0",
             "-c:v", "libx265", "-preset", self.preset, "-x265-params", self._options,
             "-f", "hevc", "pipe:1"],
            raw,
        )  # fmt: skip
        units = access_units(stream)
        if len(units) * height * width != len(raw):
            raise RuntimeError(f"x265 made {len(units)} pictures of {len(raw)} bytes")
        return units

    def decode_all(self, codes: Sequence[bytes]) -> Array8:
        raw = _run(
            ["-f", "hevc", "-i", "pipe:0", "-fps_mode", "passthrough", "-f", "rawvideo",
             "-pix_fmt", "gray", "pipe:1"],
            b"".join(codes),
        )  # fmt: skip
        return np.frombuffer(raw, dtype=np.uint8).reshape(len(codes), *self._size)

    def bare(self, code: bytes) -> int:
        return len(code) - parameter_bytes(code)


def nal_units(stream: bytes) -> list[bytes]:
    """The NAL units of a byte stream (H.265, annex B), each with its start code."""
    starts = []
    at = stream.find(b"\0\0\1")
    while at >= 0:
        starts.append(at - 1 if at and stream[at - 1] == 0 else at)
        at = stream.find(b"\0\0\1", at + 3)
    return [stream[a:b] for a, b in zip(starts, [*starts[1:], len(stream)], strict=True)]


def access_units(stream: bytes) -> list[bytes]:
    """The stream in pieces that each begin with a VPS."""
    units: list[bytes] = []
    for unit in nal_units(stream):
        if _kind(unit) == _VPS:
            units.append(unit)
        else:
            units[-1] += unit
    return units


def parameter_bytes(code: bytes) -> int:
    """Bytes of the parameter sets of a stream, start codes included."""
    return sum(len(unit) for unit in nal_units(code) if _kind(unit) in _PARAMETER_SETS)


def _kind(unit: bytes) -> int:
    return unit[unit.index(b"\1") + 1] >> 1 & 0x3F


def _run(arguments: list[str], given: bytes) -> bytes:
    ffmpeg = _ffmpeg()
    if ffmpeg is None:
        raise RuntimeError(f"no ffmpeg with libx265: {absent()}")
    command = [ffmpeg, "-v", "error", "-threads", "1", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ffmpeg: {done.stderr.decode(errors='replace')[-500:]}")
    return done.stdout
