"""The server for a long time: a crowd of devices, some of them bad; memory and counts.

    python -m benchmarks.server_soak [--devices 2000] [--seconds 600] [--rate 400] [--json]
                                     [--out DIRECTORY]

`isthmus serve` with the digits, as a process of its own. Devices send at a steady rate whatever it
does: most post, every tenth sends datagrams, every tenth publishes (where mosquitto is installed).
Of the frames 1 % are damaged and 1 % are of an unknown digest; one device in a hundred sends
nothing but damaged frames, until it is shut out, and again when it is let in.

What must hold: the server's resident memory does not grow by more than 5 % from the end of the
warm-up (a minute, at most a third of the run) to the end; every frame is answered, with its own
class and sequence number, or refused with the reason that it deserves; and the counts of the
devices, of /metrics and of the dashboard's state are the same. The exit status is 1 where not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.host_speed import machine
from benchmarks.mqtt_broker import running_broker
from benchmarks.sections import write_section
from benchmarks.server_soak_devices import Crowd, Frames

ROOT = Path(__file__).resolve().parents[1]
NAME = "digits"
DEVICES, SECONDS, RATE = 2000, 600.0, 400.0
GROWTH_MAX = 0.05
WARM_S = 60.0
_START_S = 60.0


def main(arguments: list[str] | None = None) -> int:
    """Run it, print and record what was found."""
    parser = argparse.ArgumentParser(prog="benchmarks.server_soak", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rate", type=float, default=RATE, help="frames a second of all devices")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="isthmus-soak-") as name:
        bundle, pictures = make_bundle(Path(name))
        found = soak(
            bundle, pictures, Path(name), options.devices, options.seconds, options.rate
        )  # fmt: skip
    result = {"machine": machine(), **found}
    write_results(result, options.out)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        from benchmarks.server_soak_text import section

        print(section(result))
    return 0 if good(result) else 1


def make_bundle(folder: Path) -> tuple[Path, Path]:
    """The digits, cut after stage 2, and their test pictures."""
    from isthmus_gen import api
    from isthmus_gen.digits import write_digits_npz

    write_digits_npz(folder)
    api.generate(
        model=str(ROOT / "examples/digits/digits.keras"), cut="stage2", levels=(4,),
        calibration=str(folder / "digits_calibration.npz"), out=str(folder / NAME),
    )  # fmt: skip
    return folder / NAME, folder / "digits_test.npz"


def good(result: dict[str, Any], growth_max: float = GROWTH_MAX) -> bool:
    """Whether all that must hold did."""
    return bool(
        result["growth"] <= growth_max
        and result["agree"]
        and not result["unanswered"]
        and not result["wrong"]
    )


def soak(
    bundle: Path, pictures: Path, folder: Path, devices: int, seconds: float, rate: float
) -> dict[str, Any]:
    """One run: what was sent, what came of it, and the server's memory."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    with ExitStack() as stack:
        broker = 0
        if program is not None:
            broker = stack.enter_context(running_broker(program, folder)).port
        process, ports = start(bundle, folder, broker)
        try:
            if broker:
                ports["mqtt"] = broker
            frames = Frames(bundle, pictures)
            crowd = Crowd(frames, devices, rate, ports, NAME)
            memory = asyncio.run(_send(crowd, seconds, process.pid, ports["http"]))
            counts = compare(crowd, ports["http"])
        finally:
            process.terminate()
            process.wait(_START_S)
    warm = min(WARM_S, seconds / 3)
    before, after = growth_marks(memory, warm, seconds)
    latencies = np.array(crowd.tally.latencies or [0.0]) * 1e3
    tally = crowd.tally
    return {
        "devices": devices,
        "seconds": seconds,
        "rate": rate,
        "sent": dict(sorted(tally.sent.items())),
        "answered": dict(sorted(tally.answered.items())),
        "refused": dict(sorted(tally.refused.items())),
        "unanswered": tally.unanswered,
        "wrong": dict(tally.wrong),
        "agree": counts["client"] == counts["metrics"] == counts["state"],
        "counts": counts,
        "p50_ms": round(float(np.percentile(latencies, 50)), 2),
        "p99_ms": round(float(np.percentile(latencies, 99)), 2),
        "warm_s": warm,
        "rss_warm_mib": round(before, 1),
        "rss_end_mib": round(after, 1),
        "growth": round(after / before - 1.0, 4),
        "rss_mib": [round(mib, 1) for _, mib in memory[:: max(1, len(memory) // 60)]],
        "exit": process.returncode,
    }


def start(bundle: Path, folder: Path, broker: int) -> tuple[subprocess.Popen[str], dict[str, int]]:
    """`isthmus serve` once it serves, and its ports."""
    config = folder / "server.toml"
    lines = [
        "[http]", "port = 0", "[grpc]", "port = 0", "[udp]", "port = 0", "[log]",
        'level = "error"', "[[bundles]]", f'path = "{bundle}"', f'name = "{NAME}"',
    ]  # fmt: skip
    if broker:
        lines += ["[mqtt]", 'host = "127.0.0.1"', f"port = {broker}"]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = os.pathsep.join((str(ROOT / "host"), os.environ.get("PYTHONPATH", "")))
    command = [sys.executable, "-c", "from isthmus.cli import main; main()"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "serve", "--config", str(config), "--json"], text=True,
            stdout=subprocess.PIPE, stderr=log, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    assert process.stdout is not None
    with process.stdout as out:
        line = out.readline()
    if not line:
        process.wait(_START_S)
        raise SystemExit(f"the server did not start: {(folder / 'server.log').read_text()[-500:]}")
    ports: dict[str, int] = json.loads(line)["ports"]
    return process, ports


async def _send(crowd: Crowd, seconds: float, pid: int, port: int) -> list[tuple[float, float]]:
    """Lets the crowd send; resident memory in MiB once a second, and scrapes of the metrics."""
    memory: list[tuple[float, float]] = []
    begin = time.monotonic()

    async def watch() -> None:
        while True:
            memory.append((time.monotonic() - begin, resident_mib(pid)))
            if len(memory) % 15 == 1:
                await asyncio.to_thread(scrape, port)
            await asyncio.sleep(max(0.0, begin + len(memory) - time.monotonic()))

    async with crowd.open():
        begin = time.monotonic()
        watching = asyncio.create_task(watch())
        await crowd.send(seconds)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return memory


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def growth_marks(
    memory: list[tuple[float, float]], warm: float, seconds: float
) -> tuple[float, float]:
    """The memory after the warm-up and at the end: medians over a tenth of what lies between."""
    part = (seconds - warm) / 10
    begin = [mib for at, mib in memory if warm <= at <= warm + part]
    end = [mib for at, mib in memory if seconds - part <= at <= seconds]
    return float(np.median(begin)), float(np.median(end))


def scrape(port: int, path: str = "metrics") -> str:
    """What the server says at ``path``."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as response:
        return str(response.read(), "utf-8")


def compare(crowd: Crowd, port: int) -> dict[str, dict[str, int]]:
    """Answers and refusals by number, as the devices, the metrics and the state count them."""
    tally = crowd.tally
    client = Counter({f"error {code}": n for code, n in tally.refused.items()})
    client["answered"] = sum(tally.answered.values())
    client.update({f"answered over {link}": n for link, n in tally.answered.items()})
    metrics: Counter[str] = Counter()
    for family in text_string_to_metric_families(scrape(port)):
        for sample in family.samples:
            if sample.name == "isthmus_frames_total":
                metrics["answered"] += int(sample.value)
                metrics[f"answered over {sample.labels['link']}"] += int(sample.value)
            elif sample.name == "isthmus_failures_total":
                metrics[f"error {sample.labels['code']}"] += int(sample.value)
    shown = json.loads(scrape(port, "api/state"))
    state: Counter[str] = Counter()
    state["answered"] = shown["frames"]
    for model in shown["models"]:
        for link, n in model["links"].items():
            state[f"answered over {link}"] += n
    for row in shown["refusals"]:
        state[f"error {row['code']}"] += row["count"]
    return {
        name: dict(sorted(counts.items()))
        for name, counts in (("client", client), ("metrics", metrics), ("state", state))
    }


def write_results(result: dict[str, Any], folder: Path) -> None:
    """results/server_soak.json and the section of RESULTS.md."""
    from benchmarks.server_soak_text import section

    file = folder / "results" / "server_soak.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="ascii")
    write_section(folder / "RESULTS.md", "server_soak", section(result))


if __name__ == "__main__":
    sys.exit(main())
