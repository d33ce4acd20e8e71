"""`isthmus serve` as a program: links, ports, refusals in words, the drain at SIGTERM."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import ROOT, Served

from isthmus.server.compact import unpack
from isthmus.server.config import ServerConfig

_RUN = "import sys; from isthmus.cli.app import run; sys.exit(run(sys.argv[1:]))"


def command(*arguments: str) -> tuple[list[str], dict[str, str]]:
    """`isthmus` with ``arguments``, and its environment."""
    paths = [str(ROOT / "host"), str(ROOT / "generator"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}
    return [sys.executable, "-c", _RUN, *arguments], environment


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """A server, and its ports once it serves; it is told to stop at the end."""
    words, environment = command("serve", "--json", *arguments)
    process = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        yield process, json.loads(line)["ports"]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def refused(*arguments: str) -> tuple[int, str]:
    """The exit code and the words of a server that does not start."""
    words, environment = command("serve", *arguments)
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def post(url: str, body: bytes) -> tuple[int, bytes]:
    """The status and body of an answer."""
    request = urllib.request.Request(url, body)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_frames_are_answered_over_http_and_udp_until_sigterm(digits: Served) -> None:
    arguments = (f"net={digits.path}", "--port", "0", "--grpc-port", "0", "--udp-port", "0")
    with serving(*arguments) as (process, ports):
        assert set(ports) == {"http", "grpc", "udp"}
        url = f"http://127.0.0.1:{ports['http']}/v2"
        for path in ("/frames?device=cam", "/models/net/frames?device=cam"):
            status, body = post(url + path, digits.frames[3])
            answer = json.loads(body)
            assert (status, answer["device"], answer["sequence"]) == (200, "cam", 3)
            (values,) = answer["outputs"].values()
            np.testing.assert_array_equal(np.array(values, np.float32), digits.answers[3])
        status, body = post(url + "/frames", digits.frames[3][:-1])
        assert status == 422
        assert json.loads(body)["error"]["name"] == "truncated"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as board:
            board.settimeout(20)
            board.sendto(digits.frames[4], ("127.0.0.1", ports["udp"]))
            compact = unpack(board.recv(4096))
            assert (compact.status, compact.sequence) == (0, 4)
            assert compact.top[0][0] == int(digits.answers[4].argmax())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == ""
    events = [json.loads(line)["message"] for line in err.splitlines() if line.startswith("{")]
    assert events[-1] == "stopped"
    assert "Traceback" not in err


def test_what_was_accepted_is_answered_before_the_end(digits: Served, tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text("[batch]\ndelay_ms = 3000\nmax = 1024\n")
    arguments = (str(digits.path), "--config", str(config), "--port", "0", "--grpc-port", "-1")
    with serving(*arguments) as (process, ports):
        url = f"http://127.0.0.1:{ports['http']}/v2/frames"
        got: list[tuple[int, bytes]] = []
        callers = [
            threading.Thread(target=lambda k=k: got.append(post(url, digits.frames[k])))
            for k in range(8)
        ]
        for caller in callers:
            caller.start()
        state = f"http://127.0.0.1:{ports['http']}/api/state?limit="
        seen: list[int] = []
        while len(seen) < 500 and 8 not in seen:  # until all of them wait for their batch
            # another question each time: the same one gets the same answer for half a second
            with urllib.request.urlopen(f"{state}{len(seen) + 1}", timeout=5) as answer:
                seen.append(json.load(answer)["queue"])
        assert 8 in seen, (seen, got)
        process.send_signal(signal.SIGTERM)
        for caller in callers:
            caller.join(30)
        process.wait(30)
    assert [status for status, _ in got] == [200] * 8
    assert {json.loads(body)["sequence"] for _, body in got} == set(range(8))
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--host", "0.0.0.0"], 2, "http.host: is 0.0.0.0, and there are no tokens"),
        (["--config", "/nowhere.toml"], 2, "/nowhere.toml: cannot be read"),
        (["--mqtt", "broker:x"], 2, "--mqtt: is 'broker:x'"),
        (["--port", "70000"], 2, "http.port"),
        (["--engine", "other"], 2, "--engine: is 'other'"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_told_in_one_line(
    digits: Served, arguments: list[str], code: int, words: str
) -> None:
    got, err = refused(str(digits.path), *arguments)
    assert got == code
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_bundles_that_cannot_be_served_are_told(digits: Served, tmp_path: Path) -> None:
    code, err = refused()
    assert (code, "bundles: are missing" in err) == (2, True)
    code, err = refused(str(tmp_path / "none"))
    assert (code, "is not a directory" in err) == (3, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, err = refused(str(digits.path), "--port", port, "--grpc-port", "-1")
    assert (code, "cannot be listened on" in err) == (2, True)


def test_the_guide_names_every_field_with_its_default() -> None:
    text = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    block = re.search(r"```toml\n(.*?)```", text, re.S)
    assert block
    shown: dict[str, Any] = tomllib.loads(re.sub(r"^# (?=[a-z_]+ = |\[)", "", block[1], flags=re.M))
    fields = ServerConfig.model_fields
    for name, field in fields.items():
        if name in ("ray", "backend"):
            continue
        assert name in shown, name
        section = shown[name][0] if isinstance(shown[name], list) else shown[name]
        if not isinstance(section, dict):
            assert section == field.default
            continue
        model = _section(name)
        for key, value in section.items():
            default = model.model_fields[key].default
            if default not in (None, "") and str(default) != "PydanticUndefined":
                assert value == default, f"{name}.{key}"
        if name in ("http", "grpc", "batch", "limits", "quarantine", "security", "log"):
            assert set(section) == set(model.model_fields), name


def _section(name: str) -> Any:
    from isthmus.server import config

    return getattr(config, {"bundles": "Bundle"}.get(name, name.capitalize()) + "Config")


_STUCK = """
import sys, time
from pathlib import Path
from isthmus.server.config import LogConfig, load_config
from isthmus.server.fleet import Generation
from isthmus.server.logs import configure_logs
from isthmus.server.run import run

def forever(self, features):
    while True:
        time.sleep(1)

configure_logs(LogConfig())
Generation.warm = lambda self: None
Generation.compute = forever
config = load_config(
    None, bundles=[{"path": sys.argv[1]}], http={"port": 0}, grpc={"enabled": False},
    drain_s=float(sys.argv[2]),
)
run(config, lambda server: print(server.ports["http"], flush=True))
"""


@pytest.mark.parametrize(("drain_s", "signals", "code"), [(0.5, 1, 70), (60.0, 2, 130)])
def test_a_back_half_that_hangs_does_not_keep_the_process(
    digits: Served, drain_s: float, signals: int, code: int
) -> None:
    _, environment = command()
    words = [sys.executable, "-c", _STUCK, str(digits.path), str(drain_s)]
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            board = socket.create_connection(("127.0.0.1", port))
            frame = digits.frames[0]
            head = f"POST /v2/frames HTTP/1.1\r\nHost: x\r\nContent-Length: {len(frame)}\r\n\r\n"
            board.sendall(head.encode() + frame)
            state = f"http://127.0.0.1:{port}/api/state?limit="
            for k in range(500):
                with urllib.request.urlopen(f"{state}{k + 1}", timeout=5) as answer:
                    if json.load(answer)["queue"] == 1:
                        break
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
                time.sleep(0.2)
            process.communicate(timeout=30)
            board.close()
        finally:
            process.kill()
    assert process.returncode == code
