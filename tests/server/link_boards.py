"""Boards for the tests of links: the emitted example programs, built for this machine."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isthmus.codec.frame import Octets, SliceHeader
from isthmus.errors import DigestUnknownError
from isthmus.profile import Profile
from isthmus.server.reassembly import Group, Reassembler
from isthmus.server.types import Answer, Origin, Top
from isthmus_gen.emit import TreeInput, make_environment, render_tree

STRICT = [
    "-std=c99", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wsign-conversion",
    "-Wundef", "-Wstrict-prototypes", "-Wcast-qual", "-Wvla", "-Werror",
]  # fmt: skip
SANITIZE = ["-fsanitize=undefined,address", "-fno-sanitize-recover=all"]


def build_example(name: str, profile: Profile, gcc: str, folder: Path) -> Path:
    """The program ``examples/NAME`` of a tree without a front half: tensors in, frames out."""
    files = render_tree(TreeInput(profile, "host", "links"), make_environment())
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    example = folder / "examples" / name
    sources = [*sorted((folder / "src").glob("*.c")), *sorted(example.glob("*.c"))]
    include = [f"-I{folder / 'src'}", f"-I{example}"]
    words = [gcc, *STRICT, *SANITIZE, *include, *map(str, sources), "-o", str(folder / "board")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "board"


def random_tensors(profile: Profile, count: int) -> npt.NDArray[np.int8]:
    """Tensors of the profile's shape."""
    rng = np.random.default_rng(5)
    return rng.integers(-128, 127, (count, *profile.tensor.shape), endpoint=True, dtype=np.int8)


async def run_board(program: Path, link: str, given: bytes) -> list[str]:
    """The lines the program prints when ISTH_LINK is ``link`` and ``given`` are its inputs."""
    process = await asyncio.create_subprocess_exec(
        program, env={**os.environ, "ISTH_LINK": link},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(given), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return out.decode().splitlines()


def value_of(frame: bytes) -> float:
    """What :class:`GatheringService` answers to a frame, a float32 exactly."""
    return sum(frame) % 65536 / 256


class GatheringService:
    """Puts slices and packets of one profile together, as the server does, and answers sums."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.reassembler = Reassembler(100, 60.0)
        self.frames: list[bytes] = []
        self.origins: set[Origin] = set()
        self._done: dict[Group, asyncio.Future[None]] = {}

    async def answer(
        self, data: Octets, origin: Origin, *, model: str = "", version: str = ""
    ) -> Answer:
        """The answer to a whole frame."""
        frame = bytes(data)
        header = SliceHeader.read(frame)
        if self.profile.packets is None and header.digest_prefix != self.profile.digest[:2]:
            raise DigestUnknownError("frame.header.digest", f"is {header.digest_prefix.hex()}")
        self.frames.append(frame)
        self.origins.add(origin)
        top = (Top(300, value_of(frame)), Top(2, -0.5))
        return Answer("m", "v", origin.device, header.sequence, header.rung, {}, top)

    async def receive(self, data: Octets, origin: Origin, *, model: str = "") -> Answer | None:
        """The answer to a frame's first part, when all have come."""
        header = SliceHeader.parse(self.profile, data)
        if len(data) > header.header_bytes + header.payload_bytes:
            return await self.answer(data, origin)
        now = asyncio.get_running_loop().time()
        whole = self.reassembler.add(origin.name, 0, self.profile, header, data, now)
        group = whole or self.reassembler.pending(origin.name, 0, header.sequence)
        if group is None:
            return None
        first = group not in self._done
        done = self._done.setdefault(group, asyncio.get_running_loop().create_future())
        if whole is not None:
            done.set_result(None)
        await done
        return await self.answer(group.frame(), origin) if first else None
