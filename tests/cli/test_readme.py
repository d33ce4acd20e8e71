"""The commands and snippets of README.md and the guides, run as they stand.

A fenced block marked sh or python is run in one folder, in the documents' order, unless the line
before it is ``<!-- not run: reason -->``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "docs/host.md", "docs/research.md", "docs/picture.md", "docs/server.md")
_BLOCK = re.compile(r"^(?P<before>[^\n]*)\n```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block; ``skip`` is the reason why it is not run."""

    name: str
    kind: str
    text: str
    skip: str


def blocks_of(document: str) -> list[Block]:
    """The blocks of a document that have a language."""
    content = (ROOT / document).read_text(encoding="utf-8")
    out = []
    for found in _BLOCK.finditer(content):
        line = content.count("\n", 0, found.start("text"))
        note = re.fullmatch(r"<!-- not run: (.+) -->", found["before"])
        skip = note[1] if note else ""
        out.append(Block(f"{document}:{line + 1}", found["kind"], found["text"], skip))
    return out


RUN = [
    block
    for document in DOCUMENTS
    for block in blocks_of(document)
    if block.kind in ("sh", "python") and not block.skip
]


@pytest.fixture(scope="module")
def readme_folder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A folder that looks like a checkout after `make demo`, and an environment with `isthmus`."""
    from isthmus_gen.demo import make_demo_bundle

    here = tmp_path_factory.mktemp("readme")
    (here / "examples").symlink_to(ROOT / "examples")
    make_demo_bundle(here / "demo-out")
    program = here / ".bin" / "isthmus"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "import isthmus.cli.app as app\n"
        "from isthmus_gen.cli import register\n"
        "entry = type('Entry', (), {'name': 'gen', 'load': lambda self: register})()\n"
        "app.entry_points = lambda group: [entry]\n"
        "sys.exit(app.run(sys.argv[1:]))\n"
    )
    program.chmod(0o755)
    paths = os.pathsep.join((str(ROOT / "host"), str(ROOT / "generator")))
    environment = {
        **os.environ,
        "PYTHONPATH": paths,
        # Debian keeps the broker where daemons are
        "PATH": os.pathsep.join((str(program.parent), os.environ["PATH"], "/usr/sbin")),
    }
    return {"cwd": here, "env": environment}


def test_there_is_something_to_run() -> None:
    kinds = [block.kind for block in RUN if block.name.startswith("README.md")]
    assert "sh" in kinds
    assert "python" in kinds
    text = "".join(block.text for block in RUN)
    for command in ("cuts", "generate", "verify", "evaluate", "inspect"):
        assert f"isthmus {command}" in text


@pytest.mark.slow
def test_every_block_runs_in_order(readme_folder: dict[str, Any], require_tool: Any) -> None:
    for tool in ("curl", "mosquitto_pub"):
        require_tool(tool)
    outputs: dict[str, str] = {}
    for block in RUN:
        words = ["sh", "-e", "-u", "-c"] if block.kind == "sh" else [sys.executable, "-c"]
        done = subprocess.run(
            [*words, block.text], **readme_folder, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{block.name}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, block.name
        outputs[block.name] = done.stdout
    printed = "".join(outputs.values())
    # the figures of the published method that docs/research.md computes
    assert "0.7716595 -1.4350621 9.036" in printed
    assert (readme_folder["cwd"] / "report.html").is_file()
    for name in ("answer.json", "result.json"):
        answer = json.loads((readme_folder["cwd"] / name).read_text())
        assert (answer["model"], answer["device"]) == ("digits", "cam-1")
        assert answer["top"][0]["label"] == str(answer["top"][0]["index"])
    assert (readme_folder["cwd"] / "digits-api" / "profile.json").is_file()


def test_the_firmware_snippet_compiles(digits: Any, require_tool: Any, tmp_path: Path) -> None:
    (snippet,) = [block.text for block in blocks_of("README.md") if block.kind == "c"]
    head, body = snippet.split("size_t length;")
    (tmp_path / "main.c").write_text(
        f"{head}\n"
        "void read_sensor(int8_t *input, size_t size);\n"
        "void send(const uint8_t *data, size_t size);\n"
        "void step(uint16_t sequence);\n"
        f"void step(uint16_t sequence) {{\nsize_t length;\n{body}\n}}\n"
    )
    source = digits.bundle / "firmware" / "src"
    words = [require_tool("gcc"), "-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{source}", "-c"]
    done = subprocess.run(
        [*words, tmp_path / "main.c", "-o", tmp_path / "main.o"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    content = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", content):
        if not target.startswith(("http://", "https://")):
            assert ((ROOT / document).parent / target).exists(), target
