"""How many frames a second the server answers, beside other servers and beside the bare work.

    python -m benchmarks.server_load [--json] [--seconds S] [--rounds N] [--clients 1,16,64]

ResNet-8 after stage 2, N = 4, real pictures, over HTTP on this machine: `isthmus serve` as it is;
(a) the same server around nothing, the protocol's own cost; (b) LitServe and a plain FastAPI
application with the same Decoder and BackHalf; (c) the bare work in one process, decoding and then
inference of batches in one thread. Every round runs everything once, in turn; of the rounds the one
with the median throughput is kept. The clients run on the same cores as the server.

ISTHMUS_DATA names the folder of models and data sets (default: ../shared/data).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same rounding on every processor

import itertools

from benchmarks.host_speed import machine
from benchmarks.sections import write_section
from benchmarks.server_load_apps import PATHS
from isthmus import BackHalf, Decoder
from isthmus.interpreters import open_tflite, quantize

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = (1, 16, 64)
RIVALS = ("fastapi", "fastapi2", "litserve")
FRAMES = 256
BATCH = 32
#: The share of the bare work's throughput that the server is to reach with the most clients.
GOAL = 0.8


def main(arguments: list[str] | None = None) -> int:
    """Measure, write and print; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.server_load", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=5, help="of everything")
    parser.add_argument("--clients", default=",".join(map(str, CLIENTS)), help="numbers of them")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    options = parser.parse_args(arguments)
    clients = [int(part) for part in options.clients.split(",")]
    with tempfile.TemporaryDirectory(prefix="isthmus-load-") as name:
        bundle = prepare(Path(name))
        rounds = [
            measure(bundle, Path(name) / "frames.npz", clients, options.seconds)
            for _ in range(options.rounds)
        ]
    result = summary(rounds, clients, options.seconds)
    write_results(result, options.out)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        from benchmarks.server_load_text import section

        print(section(result))
    return 0 if result["share_of_bare"] >= GOAL and set(RIVALS) <= {*result["ahead_of"]} else 1


def prepare(folder: Path) -> Path:
    """The bundle, and the frames of the first test pictures in ``frames.npz``."""
    from isthmus_gen import api

    data = Path(os.environ.get("ISTHMUS_DATA") or ROOT.parent / "shared" / "data")
    with np.load(data / "cifar10" / "train_lossless_8068.npz") as train:
        np.savez(folder / "calibration.npz", x=train["x"][:1000].astype(np.float32))
    bundle = folder / "net"
    api.generate(
        model=str(data / "models" / "mlperf_tiny" / "resnet8.keras"),
        cut="activation_4",
        calibration=str(folder / "calibration.npz"),
        levels=(4,),
        out=str(bundle),
    )
    front = open_tflite(bundle / "front.tflite")
    with np.load(data / "cifar10" / "test_lossless_500.npz") as test:
        pictures = test["x"][:FRAMES].astype(np.float32)
    tensors = front.run(quantize(pictures, front.inputs[0]))[0]
    decoder = Decoder(bundle)
    frames = [decoder.encode(one, sequence=k) for k, one in enumerate(tensors)]
    np.savez(
        folder / "frames.npz",
        data=np.frombuffer(b"".join(frames), np.uint8),
        offset=np.cumsum([0, *map(len, frames)]),
    )
    return bundle


def measure(bundle: Path, frames: Path, clients: list[int], seconds: float) -> dict[str, Any]:
    """One round."""
    found: dict[str, Any] = {"bare": bare(bundle, frames), "servers": {}}
    for name in PATHS:
        with served(name, bundle) as (process, port):
            rows = []
            for count in clients:
                before = cpu_seconds(process.pid)
                row = load(name, frames, port, count, seconds)
                # the load's warm-up is in the server's time, too
                share = seconds / (seconds + 0.7)
                row["server_us"] = (
                    (cpu_seconds(process.pid) - before) * share / row["answers"] * 1e6
                )
                rows.append(row)
            found["servers"][name] = rows
    return found


def bare(bundle: Path, file: Path) -> dict[str, float]:
    """Microseconds a frame of decoding and of inference, in batches: one thread, then two at once.

    The two are ``both``: decoding and inference in each of two threads, which is all that two cores
    can do.
    """
    with np.load(file) as packed:
        data, offset = packed["data"].tobytes(), packed["offset"]
    frames = [data[a:b] for a, b in itertools.pairwise(offset)]
    batches = [frames[i : i + BATCH] for i in range(0, len(frames), BATCH)]
    decoder = Decoder(bundle)
    back_halves = [BackHalf(bundle) for _ in range(2)]
    features = [np.stack([d.features for d in decoder.decode_batch(b)]) for b in batches]  # type: ignore[union-attr]

    def decode() -> None:
        for batch in batches:
            decoder.decode_batch(batch)

    def infer() -> None:
        for batch in features:
            back_halves[0](batch)

    def work(index: int) -> None:
        for batch in batches:
            decoded = decoder.decode_batch(batch)
            back_halves[index](np.stack([d.features for d in decoded]))  # type: ignore[union-attr]

    def timed(call: Any) -> float:
        call()
        best = []
        for _ in range(5):
            begin = time.perf_counter()
            call()
            best.append(time.perf_counter() - begin)
        return float(np.median(best)) / len(frames) * 1e6

    with ThreadPoolExecutor(2) as pool:
        both = timed(lambda: list(pool.map(work, range(2)))) / 2
    return {"decode_us": timed(decode), "infer_us": timed(infer), "both_us": both}


@contextmanager
def served(name: str, bundle: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server as a process group of its own, once it takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = os.pathsep.join((str(ROOT), str(ROOT / "host"), os.environ.get("PYTHONPATH", "")))
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server_load_apps", name, str(bundle), str(port)],
        env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(port, process)
        time.sleep(1.0)  # workers of other servers open their bundles after the socket
        yield process, port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the port takes connections, at most a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"a server ended with {process.returncode} before it served")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("a server did not start in a minute")


def load(name: str, frames: Path, port: int, clients: int, seconds: float) -> dict[str, Any]:
    """What ``clients`` saw of the server."""
    kind = "json" if name == "litserve" else "bytes"
    done = subprocess.run(
        [
            sys.executable, "-m", "benchmarks.server_load_client", str(frames), str(port),
            PATHS[name], str(clients), str(seconds), kind,
        ],
        cwd=ROOT, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a session: the process and those it started."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[3]) == pid:
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def summary(rounds: list[dict[str, Any]], clients: list[int], seconds: float) -> dict[str, Any]:
    """The median round of each figure, and the comparisons."""
    bare_row = {
        key: round(float(np.median([one["bare"][key] for one in rounds])), 2)
        for key in rounds[0]["bare"]
    }
    bare_row["frames_per_s"] = round(1e6 / (bare_row["decode_us"] + bare_row["infer_us"]), 1)
    bare_row["both_frames_per_s"] = round(1e6 / bare_row["both_us"], 1)
    servers = {
        name: [_median([one["servers"][name][k] for one in rounds]) for k in range(len(clients))]
        for name in PATHS
    }
    # ratios within a round: whatever else the machine did met both
    shares = [
        one["servers"]["isthmus"][-1]["frames_per_s"]
        * (one["bare"]["decode_us"] + one["bare"]["infer_us"])
        / 1e6
        for one in rounds
    ]
    most = {name: rows[-1]["frames_per_s"] for name, rows in servers.items()}
    return {
        "machine": machine(),
        "seconds": seconds,
        "rounds": len(rounds),
        "bare": bare_row,
        "servers": servers,
        "share_of_bare": round(float(np.median(shares)), 3),
        "ahead_of": sorted(name for name in RIVALS if most["isthmus"] > most[name]),
    }


def _median(rows: list[dict[str, Any]]) -> dict[str, Any]:
    chosen = sorted(rows, key=lambda row: row["frames_per_s"])[len(rows) // 2]
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in chosen.items()}


def write_results(result: dict[str, Any], folder: Path) -> None:
    """results/server_load.json and the section of RESULTS.md."""
    from benchmarks.server_load_text import section

    file = folder / "results" / "server_load.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="ascii")
    write_section(folder / "RESULTS.md", "server_load", section(result))


if __name__ == "__main__":
    sys.exit(main())
