"""Does a built tree fit its target?"""

from __future__ import annotations

from isthmus.errors import BudgetError
from isthmus_gen.targets import Memory, Target, list_targets, load_target
from isthmus_gen.verify.build import Build

__all__ = ["check_budget"]


def check_budget(build: Build, target: Target) -> None:
    """Raises BudgetError with need, have and what to change; targets without memory pass.

    Flash is the tree's alone. RAM is what the tree and its caller own plus the stack the target
    sets aside. Stack is the compiler's figure.
    """
    memory = target.memory
    if memory is None or build.flash_bytes is None or build.ram_bytes is None:
        return
    if build.flash_bytes > memory.flash_bytes:
        raise BudgetError(
            f"target.{target.name}.memory.flash_bytes",
            f"the firmware needs {build.flash_bytes} bytes of flash",
            allowed=f"{memory.flash_bytes} bytes",
            remedy="choose an earlier cut, drop rungs of the ladder, " + _larger(build, target),
        )
    need = build.ram_bytes + memory.stack_bytes
    if need > memory.ram_bytes:
        raise BudgetError(
            f"target.{target.name}.memory.ram_bytes",
            f"the firmware needs {need} bytes of RAM ({_parts(build, memory)})",
            allowed=f"{memory.ram_bytes} bytes",
            remedy=f"{_largest_part(build)}, " + _larger(build, target),
        )
    if build.stack_bytes is not None and build.stack_bytes > memory.stack_bytes:
        raise BudgetError(
            f"target.{target.name}.memory.stack_bytes",
            f"the firmware needs {build.stack_bytes} bytes of stack",
            allowed=f"{memory.stack_bytes} bytes",
            remedy="raise stack_bytes in the target's file where the board can spare it, "
            + _larger(build, target),
        )


def _parts(build: Build, memory: Memory) -> str:
    frame = build.layout.frame_bytes_max if build.layout else 0
    return (
        f"arena {build.arena_bytes}, frame buffer {frame},"
        f" encoder {build.encoder_memory_bytes}, stack {memory.stack_bytes}"
    )


def _largest_part(build: Build) -> str:
    frame = build.layout.frame_bytes_max if build.layout else 0
    if frame > (build.arena_bytes or 0):
        return "lower the largest number of levels in the ladder, or send more slices"
    return "cut where the tensors are smaller"


def _larger(build: Build, target: Target) -> str:
    """Targets of the same kind of processor that the build would fit."""
    fitting = []
    for name in list_targets():
        memory = load_target(name).memory
        if name == target.name or memory is None or load_target(name).platform != target.platform:
            continue
        if (
            (build.flash_bytes or 0) <= memory.flash_bytes
            and (build.ram_bytes or 0) + memory.stack_bytes <= memory.ram_bytes
            and (build.stack_bytes or 0) <= memory.stack_bytes
        ):
            fitting.append(name)
    return "or take a larger target" + (f": {', '.join(fitting)}" if fitting else "")
