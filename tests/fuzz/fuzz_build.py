"""Builds the C fuzzers, and reads what libFuzzer and llvm-cov say."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from fuzz_profiles import FUZZ_C_PROFILES, ROOT, write_profiles  # noqa: E402

from isthmus.native.build import runtime_dir  # noqa: E402

TARGETS = ("decode", "encode")
CORPUS = HERE / "corpus"
RECORD = ROOT / "benchmarks" / "results" / "fuzz.json"
SANITISERS = "address,undefined"
FLAGS = ("-std=c99", "-g", "-Wall", "-Wextra", "-Werror", "-fno-sanitize-recover=all")


def build(
    target: str, work: Path, command: Sequence[str], *, main: bool, runtime: Path | None = None
) -> Path:
    """The program of ``target`` ("decode" or "encode") in ``work``.

    ``command`` is the compiler and its flags; ``main`` adds the replay's own main. What does not
    depend on ``runtime``, the tables and the harness, is compiled once in each ``work``.
    """
    folder = runtime or runtime_dir()
    includes = [f"-I{path}" for path in (HERE, folder, work / "tables")]
    flags = [*command, *FLAGS, *includes]
    objects = work / f"objects_{hashlib.sha256(repr(command).encode()).hexdigest()[:8]}"
    if not objects.is_dir():
        objects.mkdir(parents=True)
        units = write_profiles(work / "tables")
        _compile([*flags, "-c", str(HERE / "fuzz_harness.c"), *map(str, units)], objects)
    # encoder and decoder come counted, the rest of the runtime as it is
    counted = ("isth_encode.c", "isth_decode.c")
    sources = [HERE / f"fuzz_{target}.c", *(HERE / f"fuzz_counted_{name[5:]}" for name in counted)]
    sources += [file for file in sorted(folder.glob("*.c")) if file.name not in counted]
    if main:
        sources.append(HERE / "fuzz_replay.c")
    output = (work if runtime is None else folder) / f"fuzz_{target}"
    files = [*map(str, sources), *map(str, sorted(objects.glob("*.o")))]
    _compile([*flags, *files, "-o", str(output)], work)
    return output


def _compile(command: Sequence[str], folder: Path) -> None:
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise AssertionError(run.stderr[:3000])


def fuzzer_command() -> list[str]:
    """The compiler of the long run."""
    # Comparisons are not traced: the repair of frames makes it needless, and it halves the speed.
    return [
        "clang", "-O2", f"-fsanitize=fuzzer,{SANITISERS}", "-fno-sanitize-coverage=trace-cmp",
        "-DFUZZ_MUTATOR",
    ]  # fmt: skip


def replay(program: Path, inputs: Iterable[Path]) -> subprocess.CompletedProcess[str]:
    """Runs a replay program over ``inputs``."""
    return subprocess.run(
        [str(program), *map(str, inputs)],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip


def fuzz(program: Path, arguments: Sequence[str], folders: Sequence[Path]) -> dict[str, Any]:
    """Runs libFuzzer; its statistics, its coverage and what it found."""
    findings = program.parent / f"findings_{program.name}"
    findings.mkdir(exist_ok=True)
    command = [
        str(program), "-print_final_stats=1", f"-artifact_prefix={findings}{os.sep}",
        *arguments, *map(str, folders),
    ]  # fmt: skip
    log = program.parent / f"{program.name}.log"
    with log.open("w", encoding="utf-8") as out:
        code = subprocess.run(command, stdout=out, stderr=out, check=False).returncode
    text = log.read_text("utf-8", errors="replace")
    answers = re.findall(r"^answer (\d+): (\d+)$", text, re.MULTILINE)
    stats = {name: int(value) for name, value in re.findall(r"stat::(\w+): +(\d+)", text)}
    cover = re.findall(r"cov: (\d+) ft: (\d+)", text) or [("0", "0")]
    return {
        "executions": stats.get("number_of_executed_units", 0),
        "executions_per_second": stats.get("average_exec_per_sec", 0),
        **({"answers": {int(code): int(n) for code, n in answers}} if answers else {}),
        "edges": int(cover[-1][0]),
        "features": int(cover[-1][1]),
        "peak_rss_mb": stats.get("peak_rss_mb", 0),
        "exit_status": code,
        "findings": sorted(file.name for file in findings.iterdir()),
    }


def llvm_tool(name: str) -> str:
    """The tool of the clang that is used."""
    run = subprocess.run(
        ["clang", f"-print-prog-name={name}"], capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def coverage(target: str, work: Path, inputs: Sequence[Path]) -> dict[str, dict[str, str]]:
    """Lines and branches of each runtime file that ``inputs`` reach: {file: {kind: "n of m"}}."""
    folder = work / "coverage"
    folder.mkdir(exist_ok=True)
    program = build(
        target, folder, ["clang", "-O1", "-fprofile-instr-generate", "-fcoverage-mapping"],
        main=True,
    )  # fmt: skip
    raw, merged = folder / f"{target}.profraw", folder / f"{target}.profdata"
    environment = {**os.environ, "LLVM_PROFILE_FILE": str(raw)}
    subprocess.run(
        [str(program), *map(str, inputs)], env=environment, capture_output=True, check=True
    )
    subprocess.run([llvm_tool("llvm-profdata"), "merge", str(raw), "-o", str(merged)], check=True)
    run = subprocess.run(
        [llvm_tool("llvm-cov"), "export", "-summary-only", f"-instr-profile={merged}", program],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {}
    for file in json.loads(run.stdout)["data"][0]["files"]:
        path = Path(file["filename"])
        if path.parent.resolve() == runtime_dir().resolve() and file["summary"]["lines"]["count"]:
            found[path.name] = {
                kind: f"{file['summary'][kind]['covered']} of {file['summary'][kind]['count']}"
                for kind in ("lines", "branches")
            }
    return dict(sorted(found.items()))


def minimise(program: Path, into: Path, found: Path) -> int:
    """Writes the inputs of ``found`` that are worth keeping to ``into``; how many there are.

    The fewest that reach every edge, and for each profile the longest. Files called ``found_*``
    (a runtime with a fault failed on them once) and ``made_*`` (made by hand, fuzz_c.py) stay.
    """
    chosen = program.parent / f"minimised_{program.name}"
    shutil.rmtree(chosen, ignore_errors=True)
    chosen.mkdir()
    run = subprocess.run(
        [str(program), "-set_cover_merge=1", "-use_counters=0", str(chosen), str(found)],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if run.returncode != 0:
        raise AssertionError(run.stderr[-3000:])
    inputs = {file.name: file.read_bytes() for file in [*chosen.iterdir(), *found.iterdir()]}
    names = {file.name for file in chosen.iterdir()}
    by_profile: dict[int, list[str]] = {}
    for name in sorted(inputs, key=lambda name: (len(inputs[name]), name)):
        by_profile.setdefault(profile_number(inputs[name]), []).append(name)
    for of_profile in by_profile.values():
        names.add(of_profile[-1])
    into.mkdir(parents=True, exist_ok=True)
    for file in into.iterdir():
        if not file.name.startswith(("found_", "made_")):
            file.unlink()
    for name in names:
        (into / name).write_bytes(inputs[name])
    return len(list(into.iterdir()))


def profile_number(data: bytes) -> int:
    """The profile that an input means, as fuzz_choose of fuzz_harness.c has it."""
    last = len(FUZZ_C_PROFILES) - 1
    return last if data[:1] == b"\xff" else (data[0] if data else 0) % last


def runtime_state() -> dict[str, str]:
    """The date, the commit, whether the runtime differs from it, and a digest of its files."""

    def git(*words: str) -> str:
        run = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    digest = hashlib.sha256()
    for file in sorted(runtime_dir().iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    changed = git("status", "--short", "--", "templates/runtime")
    return {
        "date": datetime.date.today().isoformat(),
        "commit": git("rev-parse", "HEAD") + (" with changes" if changed else ""),
        "runtime": digest.hexdigest()[:16],
        "compiler": subprocess.run(
            ["clang", "--version"], capture_output=True, text=True, check=True
        ).stdout.partition("\n")[0],
    }


def record(name: str, result: dict[str, Any]) -> None:
    """Puts one campaign into benchmarks/results/fuzz.json."""
    content = json.loads(RECORD.read_text("utf-8")) if RECORD.is_file() else {}
    content[name] = result
    text = json.dumps(dict(sorted(content.items())), indent=1)
    RECORD.write_text(text + "\n", "utf-8")
