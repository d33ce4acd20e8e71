"""Every benchmark in turn; each writes its own section of RESULTS.md and its files in results/.

    python benchmarks/run.py [NAME ...]        (make bench runs them all)

The exit status is 1 when one of them finds a figure that is not what it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

if __package__:
    from benchmarks.sections import markdown_table, write_section
else:
    from sections import markdown_table, write_section

ROOT = Path(__file__).resolve().parents[1]
#: The modules in the order of the sections, and what each measures.
BENCHMARKS = {
    "paper_tables": "the tables of the published method",
    "rate_accuracy": "accuracy against bits per element",
    "rate": "beside other codecs, on the same tensors",
    "near_lossless": "near-lossless coding beside lossless coders of pictures and bytes",
    "codecs_compared": "lightweight, near-lossless and bottleneck on the same cuts (trains: long)",
    "restoration": "rate against accuracy with a restorer on the host (trains: long)",
    "bottleneck": "a learned bottleneck after each stage, JPEG beside it (trains: long)",
    "firmware_cost": "instructions, flash, RAM and stack",
    "front_cost": "the front half alone, by layer, beside other engines",
    "encoder_cost": "the encoder on six cores, beside heatshrink and lz4",
    "near_cost": "near-lossless coding on six cores: instructions, flash, RAM and stack",
    "seal_cost": "signing: SHA-256 and a seal for a packet and a frame, on four cores",
    "host_speed": "decoding and encoding on the host, beside constriction and zstd",
    "server_load": "frames a second of the server, beside other servers and the bare work",
    "mqtt_kill": "a server killed twenty times under MQTT, every acknowledged frame answered",
    "loss": "accuracy against packet loss, by concealment",
    "server_soak": "the server under a crowd of devices for ten minutes: memory and counts",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks named, or all of them; 0 when all ended well."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args(arguments).names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is named {unknown[0]}: take {', '.join(BENCHMARKS)}")
    # a process each: TensorFlow's memory is given back, and its settings are the benchmark's own
    path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH", "")) if p)
    failed = []
    for name in names:
        print(f"{name}: {BENCHMARKS[name]}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        environment = {**os.environ, "PYTHONPATH": path}
        if name == "paper_tables":  # it prints only: its section is written here
            done = subprocess.run(
                [*command, "--json"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=False
            )
            if done.stdout:
                write_paper_tables(json.loads(done.stdout), ROOT / "benchmarks" / "RESULTS.md")
        else:
            done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"not as they should be: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def write_paper_tables(found: dict[str, Any], results: Path) -> None:
    """The section of the published method's tables, from ``paper_tables --json``."""
    head = ("table", "figure", "mark", "expected", "found")
    body = [
        [str(row["name" if key == "figure" else key]) for key in head] for row in found["figures"]
    ]
    text = (
        "## The tables of the published method, recomputed\n\n"
        "Written by `python benchmarks/run.py paper_tables`. Marks: P, published; R, recomputed"
        " from the published model of Cohen, Choi and Bajic (IEEE OJCAS 2, 2021,"
        " doi 10.1109/OJCAS.2021.3072884); D, derived here and not published."
        f" {found['agree']} of {found['total']} figures agree in every digit.\n\n"
    )
    write_section(results, "paper_tables", text + markdown_table(head, body))


if __name__ == "__main__":
    sys.exit(main())
