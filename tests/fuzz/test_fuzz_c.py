"""The corpus of the C fuzzers replayed under the sanitisers, and faults that it has to notice."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import fuzz_build
import fuzz_c
import fuzz_profiles
from codec_backends import sanitised_flags

from isthmus.native.build import runtime_dir


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz_c")


def corpus(target: str) -> list[Path]:
    return sorted((fuzz_build.CORPUS / target).iterdir())


@pytest.mark.parametrize("target", fuzz_build.TARGETS)
def test_the_corpus_holds(target: str, work: Path, require_tool: Callable[[str], str]) -> None:
    """Every property of fuzz_decode.c and fuzz_encode.c, on every input that is kept."""
    command = [require_tool("gcc"), *sanitised_flags()]
    program = fuzz_build.build(target, work, command, main=True)
    inputs = corpus(target)
    run = fuzz_build.replay(program, inputs)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout == f"{len(inputs)} inputs, every property holds\n"
    if target == "decode":
        answers = {int(code) for code in re.findall(r"^answer (\d+): ", run.stderr, re.MULTILINE)}
        assert answers == {*range(15), 16}, "15 is an encoder's"


@pytest.mark.parametrize("target", fuzz_build.TARGETS)
def test_the_corpus_is_small_and_knows_every_profile(target: str) -> None:
    inputs = [file.read_bytes() for file in corpus(target)]
    assert 20 <= len(inputs) <= 200
    assert sum(map(len, inputs)) < 50_000
    profiles = fuzz_profiles.FUZZ_C_PROFILES
    assert {fuzz_build.profile_number(data) for data in inputs} == set(range(len(profiles)))


FAULTS = {
    "reads on past the payload": (
        "decode", "isth_bins.h", "r->position < r->size ? r->data[r->position] : 0u",
        "r->data[r->position]",
    ),
    "takes any end of a payload": (
        "decode", "isth_decode.c", "if (window != expected ||",
        "if ((window != expected && r->size > 9999u) ||",
    ),
    "takes zero bytes at the end": (
        "decode", "isth_decode.c", "r->data[r->size - 1u] == 0u",
        "r->data[r->size - 1u] == 0u && r->size > 9999u",
    ),
    "writes one byte too many": (
        "encode", "isth_bins.h", "if (ISTH_SELDOM(w->next == w->limit)) {",
        "if (ISTH_SELDOM(w->next == w->limit + 1)) {",
    ),
    "carries into bytes that were not kept": (
        "encode", "isth_bins.h", "if (w->lost != 0u) {", "if (w->lost > 99u) {",
    ),
    "takes packets past the tensor's end": (
        "decode", "isth_decode.c", "if (first >= units || count > units - first) {",
        "if (first >= units) {",
    ),
    "does not turn flat": (
        "decode", "isth_decode.c", "if (s->flat == 0u && length << 8 > s->allowed) {",
        "if (s->flat == 0u && length << 8 > s->allowed + 9999u) {",
    ),
    "keeps a carry of a unit that was undone": (
        "encode", "isth_encode.c", "        take_back(e, position, byte);",
        "        (void)take_back, (void)byte;",
    ),
    "fills a packet by one byte too many": (
        "encode", "isth_encode.c", "if (e->position - e->start + 1u <= profile->packet_bytes) {",
        "if (e->position - e->start <= profile->packet_bytes) {",
    ),
    "has a row too short by one": (
        "encode", "isth_encode.c", "bytes = (size_t)r->choice->step + profile->row_elements;",
        "bytes = (size_t)r->choice->step + profile->row_elements - 1u;",
    ),
    "forgets the size that is needed": (
        "encode", "isth_frame.c", "if (status == ISTH_E_BUFFER) {",
        "if (status == ISTH_E_BUFFER && slice > 999u) {",
    ),
    "forgets a carry": (
        "encode", "isth_bins.h", "if (ISTH_SELDOM(w->low < w->range)) {",
        "if (w->low < w->range && w->rate == 99u) {",
    ),
    "takes an escape to a level with a symbol": (
        "decode", "isth_decode_loops.h", "rung->trained->levels[*level] >> 8 != 0u",
        "rung->trained->levels[*level] >> 8 != 0u && r->size > 9999u",
    ),
    "reads two bytes where one is left": (
        "decode", "isth_decode_loops.h", "if (r->position + 1u < r->size) {",
        "if (r->position < r->size) {",
    ),
    "forgets what is up-left": (
        "encode", "isth_encode_near.h", "row[channels] = (uint8_t)(pair | (up << 4));",
        "row[channels] = (uint8_t)pair;",
    ),
    "writes a run past the buffer's end": (
        "encode", "isth_encode_near.h", "> ISTH_RUN_BYTES) {", "> 2u) {",
    ),
    "has a near-lossless row too short by one": (
        "encode", "isth_encode.c", "bytes = (size_t)r->trained->channels + profile->row_elements;",
        "bytes = (size_t)r->trained->channels + profile->row_elements - 1u;",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_noticed(name: str, work: Path, require_tool: Callable[[str], str]) -> None:
    """The runtime with one line changed fails on the corpus."""
    target, file, text, wrong = FAULTS[name]
    changed = work / name.replace(" ", "_")
    changed.mkdir()
    for source in runtime_dir().iterdir():
        (changed / source.name).write_bytes(source.read_bytes())
    sound = (changed / file).read_text("ascii")
    assert sound.count(text) == 1
    (changed / file).write_text(sound.replace(text, wrong), "ascii")
    command = [require_tool("gcc"), *sanitised_flags()]
    program = fuzz_build.build(target, work, command, main=True, runtime=changed)
    run = fuzz_build.replay(program, corpus(target))
    assert run.returncode != 0
    assert "does not hold" in run.stderr or "ERROR: AddressSanitizer" in run.stderr


@pytest.mark.parametrize("target", fuzz_build.TARGETS)
def test_the_fuzzer_runs(target: str, work: Path, require_tool: Callable[[str], str]) -> None:
    """libFuzzer itself, a few thousand inputs from the corpus on."""
    require_tool("clang")
    folder = work / "libfuzzer"
    folder.mkdir(exist_ok=True)
    program = fuzz_build.build(target, folder, fuzz_build.fuzzer_command(), main=False)
    new = folder / f"new_{target}"  # libFuzzer writes to the first folder
    new.mkdir()
    result = fuzz_build.fuzz(
        program, ["-runs=5000", "-seed=3", "-max_len=300"], [new, fuzz_build.CORPUS / target]
    )
    assert result["findings"] == []
    assert result["exit_status"] == 0
    assert result["executions"] >= 5000
    assert result["edges"] > 150


def test_a_finding_is_kept(work: Path, require_tool: Callable[[str], str]) -> None:
    """A property that fails ends the run, and its input is named."""
    require_tool("clang")
    source = work / "finding.c"
    source.write_text(
        "#include <stdlib.h>\n"
        "int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n);\n"
        "int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) {\n"
        "    if (n > 0 && d[0] == 7) { abort(); }\n    return 0;\n}\n",
        "ascii",
    )
    program = work / "finding"
    fuzz_build.subprocess.run(
        ["clang", "-fsanitize=fuzzer", str(source), "-o", str(program)], check=True
    )
    result = fuzz_build.fuzz(program, ["-runs=100000", "-seed=1"], [])
    assert result["exit_status"] != 0
    assert [name[:6] for name in result["findings"]] == ["crash-"]


@pytest.mark.parametrize("target", fuzz_build.TARGETS)
def test_what_is_made_by_hand_is_in_the_corpus(target: str) -> None:
    """A change to a profile shows here: `fuzz_c.py --minimise` writes the corpus anew."""
    made = fuzz_c.made_by_hand(target)
    assert made
    folder = fuzz_build.CORPUS / target
    kept = {file.name: file.read_bytes() for file in folder.glob("made_*")}
    assert kept == made


def test_seeds_are_good_inputs() -> None:
    """Each profile and rung has its seeds, in the form that the fuzzers read."""
    for target in fuzz_build.TARGETS:
        found = {fuzz_build.profile_number(data) for data in fuzz_c.seeds(target).values()}
        assert found == set(range(len(fuzz_profiles.FUZZ_C_PROFILES)))


@pytest.mark.parametrize("campaign", ["decode", "encode"])
def test_the_long_run_on_record(campaign: str) -> None:
    """What is kept of each fuzzer is a whole campaign: ten million executions, nothing found."""
    record = json.loads(fuzz_build.RECORD.read_text(encoding="ascii"))[campaign]
    assert record["executions"] >= 10_000_000
    assert record["findings"] == []
    assert record["exit_status"] == 0
