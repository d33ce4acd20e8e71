"""How fast the host decodes and encodes, beside constriction and zstd on the same levels.

    python -m benchmarks.host_speed [--json] [--frames N] [--repetitions N]

ResNet-8 after stage 2 (16x16x32), real pictures, N = 4: frames encoded from int8 tensors and
decoded in batches by the native codec, in millions of elements a second; the same tensors
near-lossless at four bounds. Every repetition runs
each contestant once, in turn, so that whatever else the machine does meets all of them; ratios are
taken within a repetition. Times are the CPU time of the threads that worked, so another process
that takes the core for a while does not count; with several threads the slowest one's counts, and
wall-clock time is given beside it.

ISTHMUS_DATA names the folder of models and data sets (default: ../shared/data).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same rounding on every processor

from benchmarks import near_cost
from benchmarks.encoder_cost import prepared, sources
from isthmus.codec.quantise import levels_of
from isthmus.native import NativeCodec
from isthmus.profile import Profile

ROOT = Path(__file__).resolve().parents[1]
LEVELS = 4
FRAMES = 256
REPETITIONS = 15
THREADS = (1, 2)
#: Millions of elements a second that decoding on one core is to reach.
GOAL = 40.0
#: How the names of Isthmus's own lines begin.
OURS = ("isthmus", "near-lossless")


@dataclass(frozen=True)
class Contestant:
    """One thing that is timed: ``work`` takes a share of the frames, by their numbers."""

    name: str
    task: str
    threads: int
    bits: float
    work: Callable[[range], object]


@dataclass(frozen=True)
class Speed:
    """Millions of elements a second: median, first and third quartile over the repetitions.

    ``ratio`` is the median of the speed divided by that of the first contestant of the same task
    in the same repetition; ``wall`` the median in wall-clock time.
    """

    name: str
    task: str
    threads: int
    bits: float
    median: float
    low: float
    high: float
    ratio: float
    wall: float


def main(arguments: list[str] | None = None) -> int:
    """Measure, write and print; 1 where decoding misses the goal."""
    parser = argparse.ArgumentParser(prog="benchmarks.host_speed", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--frames", type=int, default=FRAMES, help="frames of a batch")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="rounds")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    options = parser.parse_args(arguments)
    found = measure(options.frames, options.repetitions)
    result = {
        "machine": machine(),
        "frames": options.frames,
        "repetitions": options.repetitions,
        "rows": [asdict(speed) for speed in found],
    }
    write_results(result, options.out)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        print(aligned(found))
    slow = [s for s in found if s.name.startswith(OURS) and s.task == "decode"]
    return 1 if any(speed.threads == 1 and speed.median < GOAL for speed in slow) else 0


def machine() -> str:
    """The processor and how many of it."""
    name = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next(
            (x.partition(":")[2].strip() for x in lines if x.startswith("model name")), name
        )
    return f"{name}, {os.cpu_count()} cores"


def measure(
    frames: int, repetitions: int, schemes: Sequence[str] = ("neighbour", "paper")
) -> list[Speed]:
    """Every contestant's speed. DataFileError where the data is not there."""
    contestants: list[Contestant] = []
    with tempfile.TemporaryDirectory(prefix="isthmus-speed-") as name:
        for scheme in schemes:
            profile, tensors = prepared(scheme, (LEVELS,), Path(name), frames)
            contestants += isthmus(f"isthmus {scheme}", profile, tensors)
        near, tensors = near_cost.prepared(
            "activation_4", near_cost.BOUNDS, Path(name) / "near", frames
        )
    for number, bound in enumerate(near_cost.BOUNDS):
        contestants += isthmus(f"near-lossless, D = {bound}", near, tensors, rung=number)
    rung = profile.rungs[0]
    levels = np.stack([levels_of(profile, rung, tensor) for tensor in tensors])
    contestants += others(levels.reshape(frames, -1))
    seconds = np.empty((repetitions, len(contestants), 2))
    with ThreadPoolExecutor(max(THREADS)) as pool:
        for contestant in contestants:  # once for nothing: caches, tables, builds
            timed(contestant, frames, pool)
        for repetition in range(repetitions):
            for index, contestant in enumerate(contestants):
                seconds[repetition, index] = timed(contestant, frames, pool)
    speeds = levels.size / 1e6 / seconds
    first = {c.task: i for i, c in reversed(list(enumerate(contestants)))}
    return [
        speed_of(contestant, speeds[:, index], speeds[:, first[contestant.task], 0])
        for index, contestant in enumerate(contestants)
    ]


def timed(contestant: Contestant, frames: int, pool: ThreadPoolExecutor) -> tuple[float, float]:
    """CPU seconds of the slowest thread, and wall-clock seconds, over all frames."""
    step = -(-frames // contestant.threads)
    shares = [range(at, min(at + step, frames)) for at in range(0, frames, step)]

    def run(share: range) -> float:
        begin = time.thread_time()
        contestant.work(share)
        return time.thread_time() - begin

    begin = time.perf_counter()
    cpu = run(shares[0]) if contestant.threads == 1 else max(pool.map(run, shares))
    return cpu, time.perf_counter() - begin


def speed_of(
    contestant: Contestant, speeds: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]
) -> Speed:
    """The figures of ``speeds`` [repetitions, 2], CPU and wall clock."""
    low, median, high = np.quantile(speeds[:, 0], (0.25, 0.5, 0.75))
    return Speed(
        contestant.name,
        contestant.task,
        contestant.threads,
        round(contestant.bits, 4),
        round(float(median), 1),
        round(float(low), 1),
        round(float(high), 1),
        round(float(np.median(speeds[:, 0] / reference)), 3),
        round(float(np.median(speeds[:, 1])), 1),
    )


def isthmus(
    name: str, profile: Profile, tensors: npt.NDArray[np.int8], rung: int = 0
) -> list[Contestant]:
    """The native codec: decoding in batches with each number of threads, and encoding."""
    codec = NativeCodec(profile)
    frames = [codec.encode(rung, i & 0xFFFF, tensor) for i, tensor in enumerate(tensors)]
    bits = 8 * sum(map(len, frames)) / tensors.size

    def decode(share: range) -> object:
        return codec.decode_batch(frames[share.start : share.stop])

    def encode(share: range) -> object:
        return [codec.encode(rung, i & 0xFFFF, tensors[i]) for i in share]

    return [
        *(Contestant(name, "decode", threads, bits, decode) for threads in THREADS),
        *(Contestant(name, "encode", threads, bits, encode) for threads in THREADS),
    ]


def others(levels: npt.NDArray[np.uint8]) -> list[Contestant]:
    """constriction's range coder and ANS coder with the levels' own frequencies, and zstd -19.

    ``levels`` uint8 [frames, elements]; each frame is a stream of its own, without a header.
    """
    import constriction
    import zstandard

    wide = levels.astype(np.int32)
    size = levels.shape[1]
    share = (np.bincount(levels.reshape(-1), minlength=LEVELS) / levels.size).astype(np.float32)
    model = constriction.stream.model.Categorical(share, perfect=False)
    ranged, stacked = [], []
    for row in wide:
        queue = constriction.stream.queue.RangeEncoder()
        queue.encode(row, model)
        ranged.append(queue.get_compressed())
        stack = constriction.stream.stack.AnsCoder()
        stack.encode_reverse(row, model)
        stacked.append(stack.get_compressed())

    def range_decode(part: range) -> object:
        decoder = constriction.stream.queue.RangeDecoder
        return [decoder(ranged[i]).decode(model, size) for i in part]

    def ans_decode(part: range) -> object:
        coder = constriction.stream.stack.AnsCoder
        return [coder(stacked[i]).decode(model, size) for i in part]

    def range_encode(part: range) -> object:
        out = []
        for i in part:
            encoder = constriction.stream.queue.RangeEncoder()
            encoder.encode(wide[i], model)
            out.append(encoder.get_compressed())
        return out

    def bits(parts: Sequence[npt.NDArray[np.uint32]]) -> float:
        return 32 * sum(map(len, parts)) / levels.size

    out = [
        Contestant("constriction, range coder", "decode", 1, bits(ranged), range_decode),
        Contestant("constriction, ANS", "decode", 1, bits(stacked), ans_decode),
        Contestant("constriction, range coder", "encode", 1, bits(ranged), range_encode),
    ]
    for source, inputs in sources(levels, LEVELS).items():
        packer = zstandard.ZstdCompressor(level=19)
        packed = [packer.compress(row.tobytes()) for row in inputs]
        rate = 8 * sum(map(len, packed)) / levels.size
        out.append(Contestant(f"zstd -19, {source}", "decode", 1, rate, partial(_unzstd, packed)))
    return out


def _unzstd(packed: Sequence[bytes], part: range) -> object:
    import zstandard

    unpacker = zstandard.ZstdDecompressor()
    return [unpacker.decompress(packed[i]) for i in part]


def aligned(found: Sequence[Speed]) -> str:
    """The figures in columns."""
    head = ("codec", "task", "threads", "bits", "M elements/s", "quartiles", "ratio", "wall clock")
    body = [
        (
            s.name, s.task, str(s.threads), f"{s.bits:.3f}", f"{s.median:.1f}",
            f"{s.low:.1f}-{s.high:.1f}", f"{s.ratio:.2f}", f"{s.wall:.1f}",
        )
        for s in found
    ]  # fmt: skip
    widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *body)
    )


def write_results(result: dict[str, object], out: Path) -> None:
    """results/host_speed.json and the section of RESULTS.md, which is made from that file."""
    from benchmarks.host_speed_text import section
    from benchmarks.sections import write_section

    file = out / "results" / "host_speed.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="ascii")
    write_section(out / "RESULTS.md", "host_speed", section(json.loads(file.read_text("ascii"))))


if __name__ == "__main__":
    sys.exit(main())
