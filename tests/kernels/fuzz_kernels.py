"""Random layers without end: every build of this machine, under the sanitisers.

    python tests/kernels/fuzz_kernels.py --cases 20000

`make fuzz-kernels` runs it. With --record the result goes to benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.sections import markdown_table, write_section
from kernel_cases import make_case
from kernel_cores import BARE, HOSTED, run_core, run_user
from kernel_driver import Answer, batch
from kernel_hosts import COMPILERS, TIERS, run_host

ROOT = Path(__file__).resolve().parents[2]
CHUNK = 2000


def _builds(cores: bool) -> list[tuple[str, str]]:
    """Build and tier of each."""
    found = [(compiler, tier) for compiler in COMPILERS for tier in TIERS]
    if cores:
        found += [(name, entry[3]) for name, entry in HOSTED.items()]
        found += [(name, entry[0]) for name, entry in BARE.items()]
    return found


def _text(cases: int, first: int, answers: dict[tuple[str, str], Counter[str]]) -> str:
    rows = [
        [name, tier, f"{n['cases']:,}", f"{n['runs']:,}", f"{n['compared']:,}", str(n["failures"])]
        for (name, tier), n in answers.items()
    ]
    head = ["build", "tier", "layers", "calls", "bytes compared", "failures"]
    return (
        "## Kernels: random layers\n\n"
        f"Written by `make fuzz-kernels CASES={cases} RECORD=1`; layers {first:,} to "
        f"{first + cases - 1:,}.\nHalf of the expected outputs are those of the tflite-micro "
        "wheel, half those of LiteRT's reference kernels.\nThe programs run under the address and "
        "undefined-behaviour sanitisers; every block has the size that\nthe generator plans. Calls "
        "are the whole layer, in place, over its dying input, and in rows.\n\n"
        + markdown_table(head, rows)
    )


def main() -> int:
    """The long form; 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=1_000_000, help="the first case's number")
    parser.add_argument("--cores", action="store_true", help="the emulated cores, too")
    parser.add_argument("--record", action="store_true", help="write benchmarks/RESULTS.md")
    options = parser.parse_args()
    answers = {build: Counter[str]() for build in _builds(options.cores)}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="isthmus-kernels-") as name:
        folder = Path(name)
        for first in range(options.first, options.first + options.cases, CHUNK):
            count = min(CHUNK, options.first + options.cases - first)
            records = batch(make_case(number) for number in range(first, first + count))
            for (build, tier), sums in answers.items():
                answer: Answer
                if build in COMPILERS:
                    answer = run_host(build, tier, folder, records)
                else:
                    answer = (run_user if build in HOSTED else run_core)(build, folder, records)
                for text in answer.failures:
                    sys.stdout.write(f"{build}, {tier}: {text}\n")
                sums.update(
                    cases=answer.cases,
                    runs=answer.runs,
                    compared=answer.compared,
                    failures=len(answer.failures),
                )
            done = first + count - options.first
            sys.stderr.write(f"{done:,} layers, {time.monotonic() - begun:.0f} s\n")
    text = _text(options.cases, options.first, answers)
    sys.stdout.write(f"{text}\n")
    if options.record:
        write_section(ROOT / "benchmarks" / "RESULTS.md", "kernels", text)
    return int(any(sums["failures"] for sums in answers.values()))


if __name__ == "__main__":
    sys.exit(main())
