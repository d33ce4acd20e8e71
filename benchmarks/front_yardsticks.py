"""What other engines were found to take for the same network, and what is to be reached here.

None of these figures comes from a run of this checkout: no source of TensorFlow Lite Micro or
CMSIS-NN is to be had from PyPI, Debian or npm, and the vendor's tool is closed. They were measured
once, on ResNet-8 of MLPerf Tiny with gcc 12.2 at -O2 and QEMU 7.2, except those of the vendor's
tool: its MLPerf Tiny v1.3 times in milliseconds times the clock, so cycles.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GOALS", "MODEL", "SPREAD_GOAL", "YARDSTICKS", "Yardstick"]

MODEL = "resnet8"

#: Instructions of one inference of the whole ResNet-8 with gcc to stay at or below.
GOALS = {
    "cortex-m0plus": 90_000_000,
    "cortex-m3": 38_000_000,
    "cortex-m4f": 22_000_000,
    "cortex-m33": 22_000_000,
    "cortex-m55": 4_860_000,
}

#: The layer with the most instructions for a multiply-accumulate over that with the fewest.
SPREAD_GOAL = 2.0


@dataclass(frozen=True)
class Yardstick:
    """One engine on one core: instructions, or cycles where that is all that is known.

    ``code_bytes`` is flash beside the weights, ``ram_bytes`` the arena; None where not measured.
    """

    engine: str
    core: str
    instructions: int | None = None
    cycles: int | None = None
    code_bytes: int | None = None
    ram_bytes: int | None = None


_TFLM_ARENA = 54_300

YARDSTICKS = (
    Yardstick("TFLM, reference kernels", "cortex-m4f", 107_400_000, None, 46_000, _TFLM_ARENA),
    Yardstick("TFLM, reference kernels", "cortex-m55", 97_400_000),
    Yardstick("TFLM with CMSIS-NN", "cortex-m4f", 29_900_000, None, 80_000, _TFLM_ARENA),
    Yardstick("TFLM with CMSIS-NN", "cortex-m33", 30_000_000),
    Yardstick("TFLM with CMSIS-NN", "cortex-m55", 4_900_000),
    Yardstick("CMSIS-NN called directly", "cortex-m0plus", 97_500_000),
    Yardstick("CMSIS-NN called directly", "cortex-m3", 41_800_000),
    Yardstick("CMSIS-NN called directly", "cortex-m4f", 29_900_000),
    Yardstick("CMSIS-NN called directly", "cortex-m33", 30_000_000),
    Yardstick("CMSIS-NN called directly", "cortex-m55", 4_860_000),
    Yardstick("vendor's closed tool", "cortex-m4f", cycles=19_900_000),
    Yardstick("vendor's closed tool", "cortex-m33", cycles=17_500_000),
)
