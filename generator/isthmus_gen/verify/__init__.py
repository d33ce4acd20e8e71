"""Builds an emitted tree for a target, runs it natively or emulated, compares every stage."""

from __future__ import annotations

from isthmus_gen.verify.budget import check_budget
from isthmus_gen.verify.build import Build, Layout, build_tree
from isthmus_gen.verify.emulators import emulator_label, emulator_names, find_emulator
from isthmus_gen.verify.layer_counts import FrontCost, LayerCost, front_cost
from isthmus_gen.verify.records import FirmwareRun
from isthmus_gen.verify.run import Progress, TargetResult, run_firmware, verify_tree
from isthmus_gen.verify.stack import StackReport
from isthmus_gen.verify.toolchain import Toolchain, compiler_names, find_toolchain

__all__ = [
    "Build",
    "FirmwareRun",
    "FrontCost",
    "LayerCost",
    "Layout",
    "Progress",
    "StackReport",
    "TargetResult",
    "Toolchain",
    "build_tree",
    "check_budget",
    "compiler_names",
    "emulator_label",
    "emulator_names",
    "find_emulator",
    "find_toolchain",
    "front_cost",
    "run_firmware",
    "verify_tree",
]
