"""The MQTT guarantee, counted: a server that is killed again and again answers every frame.

    python -m benchmarks.mqtt_kill [--json] [--frames N] [--kills N] [--rate R] [--out DIRECTORY]

Boards publish frames of the digits (the emitted C on real pictures) to a real mosquitto, with QoS 1
and at a steady rate, whatever the server does. `isthmus serve` answers, and gets SIGKILL while it
has frames in work; it is started again at once with the same session. In the end every frame that
the broker acknowledged to a board must have an answer, and the right one. Frames that were answered
and not yet acknowledged when the server was killed are answered twice: that is what "at least once"
says, and the second answers are counted.

The exit status is 1 where a frame has no answer, or a wrong one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
import numpy as np

from benchmarks.mqtt_broker import running_broker
from benchmarks.sections import write_section

ROOT = Path(__file__).resolve().parents[1]
NAME = "digits"
DEVICES = 100
#: Seconds without any answer after which the rest counts as lost.
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Frame:
    """One frame of the run, and the class that decoder and back half give it here."""

    device: str
    sequence: int
    data: bytes
    index: int


@dataclass
class Counts:
    """What happened. ``waiting`` is frames published and not answered, at each kill."""

    frames: int
    kills: int = 0
    acknowledged: int = 0
    answered: int = 0
    answered_again: int = 0
    refused: int = 0
    wrong: int = 0
    unanswered: int = 0
    waiting: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether the guarantee held."""
        return not (self.unanswered or self.wrong or self.refused)


def main(arguments: list[str] | None = None) -> int:
    """Run it, print and record what was counted."""
    parser = argparse.ArgumentParser(prog="benchmarks.mqtt_kill", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rate", type=float, default=2000.0, help="frames a second of all boards")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    options = parser.parse_args(arguments)
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        parser.error("mosquitto is not installed: make tools")
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(Path(folder))
        frames = make_frames(bundle, options.frames)
        with running_broker(program, Path(folder)) as broker:
            command = server_command(bundle, broker.port, Path(folder))
            counts = asyncio.run(
                run_kills(command, broker.port, frames, options.kills, options.rate)
            )
    found = {**asdict(counts), "rate": options.rate, "devices": DEVICES}
    write_results(found, options.out)
    if options.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key:16} {value}")
    return 0 if counts.good else 1


def write_results(found: dict[str, Any], folder: Path) -> None:
    """results/mqtt_kill.json and the section of RESULTS.md."""
    file = folder / "results" / "mqtt_kill.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="ascii")
    write_section(folder / "RESULTS.md", "mqtt_kill", section(found))


def section(found: dict[str, Any]) -> str:
    """The section of RESULTS.md."""
    return (
        "## A server that is killed\n\n"
        "Written by `python -m benchmarks.mqtt_kill`; the counts are in `results/mqtt_kill.json`."
        f" {found['devices']} boards send {found['frames']:,} frames of the digits to mosquitto,"
        f" {found['rate']:,.0f} a second, QoS 1; `isthmus serve` gets SIGKILL {found['kills']}"
        " times with frames in work and is started again with the same session.\n\n"
        f"Acknowledged to a board {found['acknowledged']:,}, answered {found['answered']:,},"
        f" without an answer {found['unanswered']}, with a wrong one {found['wrong']}, refused"
        f" {found['refused']}; answered a second time {found['answered_again']}."
        f" {found['seconds']:.0f} seconds in all."
    )


def make_bundle(folder: Path) -> Path:
    """The digits, cut after stage 2."""
    from isthmus_gen import api
    from isthmus_gen.digits import write_digits_npz

    write_digits_npz(folder)
    api.generate(
        model=str(ROOT / "examples/digits/digits.keras"), cut="stage2", levels=(4,),
        calibration=str(folder / "digits_calibration.npz"), out=str(folder / NAME),
    )  # fmt: skip
    return folder / NAME


def make_frames(bundle: Path, count: int) -> list[Frame]:
    """``count`` frames of DEVICES boards in turn, each with the sequence numbers 0, 1, 2, ..."""
    from isthmus import BackHalf, Decoder
    from isthmus.bundle import Bundle
    from isthmus.server.simulator.board import Board
    from isthmus.server.simulator.inputs import read_inputs

    opened = Bundle.open(bundle)
    board = Board(opened)
    data = bundle.parent / "digits_test.npz"
    inputs = read_inputs(opened, board, data if data.is_file() else None)
    tensors = [board.tensor(one) for one in inputs.data[:100]]
    decoder, back_half = Decoder(opened), BackHalf(opened)
    features = np.stack([decoder.decode(board.frame(tensor, 0)).features for tensor in tensors])
    classes = np.argmax(back_half(features).reshape(len(tensors), -1), axis=1)
    out = []
    for number in range(count):
        turn, device = divmod(number, DEVICES)
        which = (turn + device) % len(tensors)
        frame = board.frame(tensors[which], turn & 0xFFFF)
        out.append(Frame(f"board-{device}", turn & 0xFFFF, frame, int(classes[which])))
    return out


def server_command(bundle: Path, port: int, folder: Path, *more: str) -> list[str]:
    """`isthmus serve` with MQTT alone, under a session of its own name."""
    config = folder / "server.toml"
    lines = [
        "[http]", "enabled = false", "[grpc]", "enabled = false", "[mqtt]",
        'host = "127.0.0.1"', f"port = {port}", "[[bundles]]", f'path = "{bundle}"',
        f'name = "{NAME}"', "[log]", 'level = "warning"', *more,
    ]  # fmt: skip
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    program = "from isthmus.cli import main; main()"
    return [sys.executable, "-c", program, "serve", "--config", str(config)]


class Server:
    """The server's process, which may be killed and started again."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        path = os.pathsep.join(
            (str(ROOT / "host"), str(ROOT / "generator"), os.environ.get("PYTHONPATH", ""))
        )
        self._environment = {**os.environ, "PYTHONPATH": path}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is written."""
        assert self._process is not None
        assert self._process.poll() is None, f"the server ended by itself: {self._process.args}"
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """Whatever state it is in."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


async def run_kills(
    command: list[str], port: int, frames: list[Frame], kills: int, rate: float,
    patience_s: float = PATIENCE_S,
) -> Counts:  # fmt: skip
    """Publishes, kills ``kills`` times while frames are in work, and counts the answers."""
    run = _Run(frames, kills, rate, Server(command))
    begin = time.monotonic()
    try:
        async with (
            aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as listener,
            aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as boards,
        ):
            await listener.subscribe(f"isthmus/{NAME}/+/results", qos=1)
            # once connected, so that the session is there before the first frame
            run.server.start()
            listening = asyncio.create_task(run.listen(listener))
            await run.session_is_there(boards)
            await run.publish(boards)
            await run.answers(patience_s)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    finally:
        run.server.end()
    counts = run.counts
    counts.seconds = round(time.monotonic() - begin, 1)
    counts.answered = len(run.seen)
    counts.answered_again = sum(run.seen.values()) - counts.answered
    counts.unanswered = len(run.acknowledged - set(run.seen))
    return counts


class _Run:
    def __init__(self, frames: list[Frame], kills: int, rate: float, server: Server) -> None:
        self.counts = Counts(len(frames))
        self.server = server
        self.seen: Counter[tuple[str, int]] = Counter()
        self.acknowledged: set[tuple[str, int]] = set()
        self._frames = frames
        self._rate = rate
        self._right = {(f.device, f.sequence): f.index for f in frames}
        self._published = 0
        self._last = time.monotonic()
        self._chance = random.Random(1)
        self._ready = asyncio.Event()
        # Kill number k comes with that many frames answered: in the middle of its share.
        self._kill_at = [(k + 1) * len(frames) // (kills + 1) for k in range(kills)]

    async def session_is_there(self, client: aiomqtt.Client) -> None:
        """A probe is refused by the server once it has subscribed: from then on nothing is lost."""
        async with asyncio.timeout(60):
            while not self._ready.is_set():
                await client.publish(f"isthmus/{NAME}/probe/frames", b"", qos=1)
                try:
                    async with asyncio.timeout(0.2):
                        await self._ready.wait()
                except TimeoutError:
                    continue

    async def publish(self, client: aiomqtt.Client) -> None:
        """Every frame at its time, a few at once; what the broker acknowledged is noted."""
        few = asyncio.Semaphore(100)
        begin = time.monotonic()

        async def one(frame: Frame) -> None:
            async with few:
                topic = f"isthmus/{NAME}/{frame.device}/frames"
                await client.publish(topic, frame.data, qos=1)
                self.acknowledged.add((frame.device, frame.sequence))

        async with asyncio.TaskGroup() as group:
            for number, frame in enumerate(self._frames):
                wait = begin + number / self._rate - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                group.create_task(one(frame))
                self._published = number + 1
        self.counts.acknowledged = len(self.acknowledged)

    async def listen(self, client: aiomqtt.Client) -> None:
        """Counts results, and kills the server when it is time."""
        async for message in client.messages:
            device = str(message.topic).split("/")[2]
            assert isinstance(message.payload, bytes)
            said: dict[str, Any] = json.loads(message.payload)
            if device == "probe":
                self._ready.set()
                continue
            self._last = time.monotonic()
            if "error" in said:
                self.counts.refused += 1
                continue
            key = (device, int(said["sequence"]))
            self.counts.wrong += said["top"][0]["index"] != self._right.get(key)
            self.seen[key] += 1
            answered = len(self.seen)
            waiting = self._published - answered
            if self._kill_at and answered >= self._kill_at[0] and waiting:
                self._kill_at.pop(0)
                # not in step with a result: at any point of what the server does
                await asyncio.sleep(self._chance.uniform(0.0, 0.02))
                self.server.kill()
                self.counts.kills += 1
                self.counts.waiting.append(waiting)
                self.server.start()

    async def answers(self, patience_s: float) -> None:
        """Until every acknowledged frame is answered, or none was for a while."""
        while self.acknowledged - set(self.seen):
            if time.monotonic() - self._last > patience_s:
                return
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
