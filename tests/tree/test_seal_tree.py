"""Signing in an emitted tree: the guide's example at work, and what a program is linked with."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tree_profiles import PROFILES

from isthmus import Decoder
from isthmus.seal import Seal, open_seal

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "firmware.md").read_text(encoding="utf-8")
KEY = bytes(range(50, 82))
FRAMES = 1100  # more than the example reserves at a time

PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
%(example)s
const uint8_t device_key[32] = {%(key)s};
static uint64_t flash;
uint64_t flash_read_counter(void) { return flash; }
void flash_write_counter(uint64_t n) { flash = n; }
int main(int count, char **words) {
    static isth_element tensor[ISTH_ELEMENTS];
    unsigned i, reset;
    (void)count;
    for (reset = 0; reset < 3u; reset++) {
        unsigned frames = (unsigned)atoi(words[1 + reset]);
        if (signing_start() != ISTH_OK) { return 2; }
        for (i = 0; i < frames; i++) {
            size_t length = 0;
            uint32_t prefix;
            tensor[i %% ISTH_ELEMENTS] = (isth_element)(i * 7u);
            if (signed_frame(tensor, (uint16_t)i, &length) != ISTH_OK) { return 3; }
            prefix = (uint32_t)length;
            fwrite(&prefix, sizeof prefix, 1, stdout);
            fwrite(buffer, 1, length, stdout);
        }
    }
    return 0;
}
"""


def example() -> str:
    """The C of the guide's section on signing."""
    found = [
        code for code in re.findall(r"```c\n(.*?)```", GUIDE, re.DOTALL) if "isth_sign" in code
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("name", PROFILES)
def test_the_guide_s_example_signs(
    name: str, tree: Any, run: Any, require_tool: Any, tmp_path: Path
) -> None:
    """Three resets, and a block of counters used up: every frame opens, no counter comes twice."""
    key = ", ".join(map(str, KEY))
    (tmp_path / "main.c").write_text(PROGRAM % {"example": example(), "key": key})
    source = tree(name) / "src"
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined,address"]
    words = [require_tool("gcc"), *flags, f"-I{source}", tmp_path / "main.c"]
    run([*words, *sorted(source.glob("*.c")), "-o", tmp_path / "main"])
    done = subprocess.run(
        [tmp_path / "main", "2", str(FRAMES), "3"], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    seals: list[Seal] = []
    at = 0
    while at < len(done.stdout):
        (size,) = struct.unpack_from("<I", done.stdout, at)
        seals.append(open_seal(KEY, done.stdout[at + 4 : at + 4 + size]))
        at += 4 + size
    assert {(seal.device, len(seal.tag)) for seal in seals} == {(7, 8)}
    first, second, third = range(2), range(1024, 1024 + FRAMES), range(3072, 3075)
    assert [seal.counter for seal in seals] == [*first, *second, *third]
    decoder = Decoder(PROFILES[name])
    sequences = [decoder.decode(seal.unit).sequence for seal in seals[::100]]
    assert sequences == [0, *range(98, FRAMES, 100)]


@pytest.mark.parametrize(
    ("body", "linked"),
    [
        ("return 0;", set()),
        ("return (int)isth_seal_init_mac(&s, mac, 0, 7, 0, 9, 8) + "
         "(int)isth_sign(&s, out + 12, 1, out, sizeof out, &n);",
         {"isth_sign", "isth_seal_init_mac"}),
        ("return (int)isth_seal_init(&s, out, 32, 7, 0, 9, 8) + "
         "(int)isth_sign(&s, out + 12, 1, out, sizeof out, &n);",
         {"isth_sign", "isth_seal_init", "isth_hmac", "isth_hmac_key_init", "isth_sha256",
          "isth_sha256_blocks"}),
    ],
    ids=["no seal", "a signer of its own", "bundled"],
)  # fmt: skip
def test_what_a_program_is_linked_with(
    body: str, linked: set[str], tree: Any, run: Any, require_tool: Any, tmp_path: Path
) -> None:
    """Nothing where nothing is signed; no SHA-256 where somebody else makes the tag."""
    (tmp_path / "main.c").write_text(
        '#include "isth.h"\nstatic isth_sealer s;\nstatic uint8_t out[64];\nstatic size_t n;\n'
        "static void mac(const void *c, const uint8_t *d, size_t z, uint8_t t[32]) {\n"
        "    (void)c; t[0] = (uint8_t)(d[0] + z);\n}\n"
        f"int main(void) {{ (void)mac; (void)s; (void)out; (void)n; {body} }}\n"
    )
    source = tree("int8_sliced") / "src"
    words = [require_tool("gcc"), "-std=c99", "-Os", "-ffunction-sections", "-fdata-sections"]
    words += ["-Wl,--gc-sections", "-fno-inline", f"-I{source}", tmp_path / "main.c"]
    run([*words, *sorted(source.glob("*.c")), "-o", tmp_path / "main"])
    run([tmp_path / "main"])
    symbols = set(run([require_tool("nm"), tmp_path / "main"]).split())
    ours = {s for s in symbols if re.match(r"isth_(s|h|S)", s) and not s.startswith("isth_slice")}
    assert ours == linked


def test_the_guide_s_figures_are_the_results() -> None:
    found = json.loads((ROOT / "benchmarks/results/seal_cost.json").read_text(encoding="ascii"))
    rows = [dict(zip(found["columns"], values, strict=True)) for values in found["rows"]]
    by_key = {(row["core"], row["step"], row["unit_bytes"]): row for row in rows}
    table = re.findall(r"^\| Cortex-(\S+) \| ([\d.]+) \| (.*) \|$", GUIDE, re.MULTILINE)
    shown = {name: (a_byte, cells) for name, a_byte, cells in table if cells.count("|") == 5}
    names = {"M0+": "cortex-m0plus", "M3": "cortex-m3", "M4": "cortex-m4f", "M33": "cortex-m33"}
    assert set(shown) == set(names)
    for name, core in names.items():
        packet, frame = by_key[core, "sign", 244], by_key[core, "sign", 1100]
        a_byte = by_key[core, "hash", 4096]["instructions"] / 4096
        numbers = (
            packet["instructions"], frame["instructions"], frame["key_instructions"],
            frame["code_bytes"] + frame["table_bytes"], frame["ram_bytes"], frame["stack_bytes"],
        )  # fmt: skip
        assert shown[name] == (f"{a_byte:.1f}", " | ".join(f"{n:,}" for n in numbers))
