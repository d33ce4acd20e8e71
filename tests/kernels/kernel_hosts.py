"""driver.c on this machine, under the address and undefined-behaviour sanitisers."""

from __future__ import annotations

from pathlib import Path

from kernel_driver import Answer, Batch, build_hosted, run_hosted

SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COMPILERS = {
    "gcc": ("gcc",),
    "clang": ("clang",),
    "gcc-m32": ("gcc", "-m32"),
    "gcc-unsigned-char": ("gcc", "-funsigned-char"),
}
TIERS = {"portable": "-DISTH_K_PORTABLE", "dsp": "-DISTH_K_EMULATE_DSP"}


def run_host(compiler: str, tier: str, folder: Path, batch: Batch) -> Answer:
    """The batch in one build; a sanitiser's word is an AssertionError."""
    flags = [*SANITIZE, TIERS[tier], f'-DEXPECTED_TIER="{tier}"']
    program = build_hosted(folder / compiler / tier, COMPILERS[compiler], flags, batch.calls)
    return run_hosted([str(program)], batch.data)
