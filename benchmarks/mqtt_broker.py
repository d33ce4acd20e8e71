"""A real mosquitto on a free port of loopback, for benchmarks and tests of MQTT."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 10.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Broker:
    """The broker's program with its configuration in ``folder``; may be stopped and started."""

    program: str
    folder: Path
    lines: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.port = self.port or free_port()
        common = ["max_queued_messages 0", f"persistence_location {self.folder}/"]
        lines = self.lines or ("allow_anonymous true",)
        text = "\n".join([f"listener {self.port} 127.0.0.1", *common, *lines]) + "\n"
        config = self.folder / "mosquitto.conf"
        config.write_text(text)
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-c", str(config)], stdout=log, stderr=log
            )
        end = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except ConnectionRefusedError:
                said = (self.folder / "mosquitto.log").read_text()
                assert self.process.poll() is None, said
                assert time.monotonic() < end, said
                time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None


@contextmanager
def running_broker(program: str, folder: Path, *lines: str) -> Iterator[Broker]:
    broker = Broker(program, folder, lines)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
