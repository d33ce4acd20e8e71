"""Starts and ends of `isthmus serve`: what is refused, what a signal does early, old clients."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from served import Served
from test_serve_cli import command, refused, serving

from isthmus.errors import ConfigError
from isthmus.server.config import load_config
from isthmus.server.fleet import Fleet
from isthmus.server.simulator.links import LinkOptions, authority, open_link


def lines(words: str) -> list[str]:
    """The lines that a server which did not start wrote."""
    return words.strip().splitlines()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mqtt", ""], "--mqtt: is ''"),
        (["--mqtt", "::1:1883"], "--mqtt: is '::1:1883'"),
        (["--mqtt-root", "fleet"], "mqtt.host: field required"),
        (["--config", "links.toml"], "enables no link"),
        (["--config", "tokens.toml"], "tokens_file: nowhere: cannot be read"),
    ],
)
def test_what_cannot_work_is_told_at_the_start(
    digits: Served,
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("links.toml").write_text("[http]\nenabled = false\n[grpc]\nenabled = false\n")
    Path("tokens.toml").write_text('[security]\ntokens_file = "nowhere"\n')
    code, err = refused(str(digits.path), "--port", "0", *arguments)
    assert code == 2
    assert words in err
    assert len(lines(err)) == 1, err


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("uvicorn", []), ("grpc", ["--grpc-port", "0"]),
        ("paho", ["--mqtt", "localhost"]), ("serial", ["--serial", "/dev/nowhere"]),
    ],
)  # fmt: skip
def test_what_is_not_installed_is_named(digits: Served, module: str, arguments: list[str]) -> None:
    words, environment = command("serve", str(digits.path), "--port", "0", *arguments)
    if "--grpc-port" not in words:
        words += ["--grpc-port", "-1"]
    words[2] = f"import sys; sys.modules[{module!r}] = None; {words[2]}"
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 4
    assert module in done.stderr
    assert 'pip install "isthmus[serve]"' in done.stderr
    assert len(lines(done.stderr)) == 1


def test_a_broker_may_have_an_address_of_ipv6() -> None:
    from isthmus.cli.serve import _broker

    assert _broker("[::1]:1884") == {"host": "::1", "port": 1884}
    assert _broker("[::1]") == {"host": "::1"}
    assert _broker("broker.example:1884") == {"host": "broker.example", "port": 1884}
    assert _broker("broker") == {"host": "broker"}
    assert _broker(None) == {}


def test_a_bundle_is_served_under_one_name(digits: Served) -> None:
    twice = [{"path": digits.path, "name": "a"}, {"path": digits.path, "name": "b"}]
    with pytest.raises(ConfigError, match="a second time"):
        Fleet(load_config(None, bundles=twice))


def test_a_directorys_name_must_do_as_a_models(digits: Served, tmp_path: Path) -> None:
    odd = tmp_path / "two words+#"
    shutil.copytree(digits.path, odd)
    with pytest.raises(ConfigError, match="give another: NAME="):
        Fleet(load_config(None, bundles=[{"path": odd}]))
    (model,) = Fleet(load_config(None, bundles=[{"path": odd, "name": "plain"}])).models()
    assert model.name == "plain"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_start_that_waits(
    digits: Served, tmp_path: Path, number: signal.Signals
) -> None:
    """For a predictor that does not come the start waits five minutes."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and not listened on
        config = tmp_path / "server.toml"
        config.write_text(f'[backend]\nurl = "http://127.0.0.1:{nobody.getsockname()[1]}"\n')
        words, environment = command(
            "serve", str(digits.path), "--config", str(config), "--port", "0", "--grpc-port", "0"
        )
        process = subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        try:
            assert "waiting for the predictor" in process.stderr.readline()
            process.send_signal(number)
            out, err = process.communicate(timeout=10)
        finally:
            process.kill()
            process.wait()
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_a_client_that_ended_its_side_is_answered(digits: Served) -> None:
    """As `nc -N` does: everything is sent, then only read; also several requests at once."""
    requests = b"".join(
        b"POST /v2/frames HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(f), f)
        for f in digits.frames[:3]
    )
    with serving(str(digits.path), "--port", "0", "--grpc-port", "-1") as (_, ports):
        for count in (1, 3):
            with socket.create_connection(("127.0.0.1", ports["http"]), timeout=20) as client:
                ends = [m.start() for m in re.finditer(b"POST /v2", requests)]
                client.sendall(requests if count == 3 else requests[: ends[1]])
                client.shutdown(socket.SHUT_WR)
                got = b"".join(iter(lambda: client.recv(65536), b""))
            found = [json.loads(m) for m in re.findall(rb'\{"model".*?\}\}', got)]
            assert [answer["sequence"] for answer in found] == list(range(count)), got
        with socket.create_connection(("127.0.0.1", ports["http"]), timeout=20) as client:
            client.sendall(requests[:-5])
            client.shutdown(socket.SHUT_WR)
            # the last body is not whole: the connection ends, and nothing waits for the rest
            assert b"".join(iter(lambda: client.recv(65536), b"")).count(b'"sequence":2') == 0


def test_links_of_the_simulator_reach_an_ipv6_address(digits: Served) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 loopback here")
    assert authority("::1", 80) == "[::1]:80"
    assert authority("127.0.0.1", 80) == "127.0.0.1:80"
    arguments = (f"net={digits.path}", "--host", "::1", "--port", "0", "--grpc-port", "0")
    with serving(*arguments, "--udp-port", "0") as (_, ports):

        async def body(link: str) -> None:
            options = LinkOptions(url=f"{link}://[::1]:{ports[link]}", name="net", devices=1)
            sender = open_link(options)
            await sender.open()
            try:
                reply = await asyncio.wait_for(sender.send(0, 1, [digits.frames[1]]), 20)
                assert reply.code == 0
            finally:
                await sender.close()

        for link in ("http", "grpc", "udp"):
            asyncio.run(body(link))
