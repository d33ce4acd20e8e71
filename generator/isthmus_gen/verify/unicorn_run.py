"""Runs the harness's steps inside this process with Unicorn, which pip alone installs.

Inputs are written to, and tensors and frames read from, the addresses the image's symbols give.
One input in ``counted`` is run under a hook on basic blocks; the sum over blocks of their number of
instructions is the count (a hook on single instructions is slower by far and misses some). The
others run without a hook.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import EmulationError
from isthmus_gen.targets import UnicornEmulator
from isthmus_gen.verify.build import Build
from isthmus_gen.verify.elf import ElfFile
from isthmus_gen.verify.records import FirmwareRun

__all__ = ["run_unicorn"]

_PAGE = 0x1000
_PAINT = b"\xa5"


def run_unicorn(
    build: Build,
    machine: UnicornEmulator,
    inputs: npt.NDArray[np.int8],
    rungs: Sequence[int],
    *,
    timeout_s: float,
    counted: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> FirmwareRun:
    """Runs int8 [n, input_bytes]; the first ``counted`` inputs are counted.

    ``timeout_s`` is for one step of one input. Raises EmulationError where the program faults or
    does not return.
    """
    emulated = _Machine(build, machine, timeout_s)
    tensors = np.empty((len(inputs), emulated.tensor_bytes), dtype=np.int8)
    frames: list[bytes] = []
    statuses: list[int] = []
    front: list[int] = []
    encode: list[int] = []
    emulated.paint()
    for i, (row, rung) in enumerate(zip(inputs, rungs, strict=True)):
        count = i < counted
        emulated.write(emulated.call("harness_input")[0], row.tobytes())
        emulated.set_word("harness_rung", rung)
        emulated.set_word("harness_sequence", i & 0xFFFF)
        front.append(emulated.call("harness_front", count=count)[1])
        tensors[i] = np.frombuffer(emulated.tensor(), dtype=np.int8)
        encode.append(emulated.call("harness_encode", count=count)[1])
        statuses.append(emulated.word("harness_status"))
        frames.append(emulated.frame() if statuses[-1] == 0 else b"")
        if progress is not None:
            progress(i + 1, len(inputs))
        if emulated.stack_overflowed():
            raise EmulationError(emulated.path, "the stack overflowed")
    counts = min(counted, len(inputs))
    return FirmwareRun(
        tensors=tensors,
        frames=frames,
        statuses=statuses,
        front_instructions=round(sum(front[:counts]) / counts) if counts else None,
        encode_instructions=round(sum(encode[:counts]) / counts) if counts else None,
        stack_used_bytes=emulated.stack_used(),
    )


def _library(part: str = "") -> Any:
    """Unicorn, which exports no types."""
    return import_module(f"unicorn{part}")


class _Machine:
    """One emulated processor with the image in its memory."""

    def __init__(self, build: Build, machine: UnicornEmulator, timeout_s: float) -> None:
        unicorn = _library()
        self._failure: type[Exception] = unicorn.UcError
        self.path = f"{build.target.name} (unicorn {machine.cpu})"
        self._elf = ElfFile(build.elf)
        self._timeout_us = int(timeout_s * 1e6)
        self._arm = machine.cpu != "riscv32"
        self._uc: Any = self._open(machine.cpu)
        self._block_hook = unicorn.UC_HOOK_BLOCK
        self._map()
        layout = struct.unpack("<5I", self._elf.bytes_at("harness_layout"))
        self.tensor_bytes, self._frame_max = layout[1], layout[2]
        self._stack = (
            self._elf.symbol("harness_stack_limit").value,
            self._elf.symbol("harness_stack_top").value,
        )
        self._instructions: dict[tuple[int, int], int] = {}
        self._count = 0
        # front_alone.c: the count goes to harness_count whenever harness_layer is entered
        self._probe = self._reading = -1
        if self._elf.has_symbol("harness_count"):
            self._probe = self._elf.symbol("harness_layer").value & ~(1 if self._arm else 0)
            self._reading = self._elf.symbol("harness_count").value

    def call(self, name: str, *, count: bool = False) -> tuple[int, int]:
        """Calls a function without arguments: its result and, if asked, its instructions."""
        uc = self._uc
        thumb = 1 if self._arm else 0
        stop = self._elf.symbol("harness_stop").value & ~thumb
        start = self._elf.symbol(name).value | thumb
        uc.reg_write(self._sp, self._stack[1])
        uc.reg_write(self._lr, stop | thumb)
        self._count = 0
        hook = uc.hook_add(self._block_hook, self._on_block) if count else None
        try:
            uc.emu_start(start, stop, timeout=self._timeout_us)
        except self._failure as error:
            place = self._elf.function_at(uc.reg_read(self._pc))
            raise EmulationError(self.path, f"{error} in {place}, called from {name}") from error
        finally:
            if hook is not None:
                uc.hook_del(hook)
        pc = uc.reg_read(self._pc)
        if pc & ~thumb != stop:
            seconds = self._timeout_us / 1e6
            place = self._elf.function_at(pc)
            raise EmulationError(
                self.path, f"{name} did not return within {seconds:.0f} s; it is in {place}"
            )
        return int(uc.reg_read(self._result)), self._count

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the emulated memory. Raises EmulationError outside of it."""
        try:
            return bytes(self._uc.mem_read(address, size))
        except self._failure as error:
            raise EmulationError(self.path, f"reading {size} bytes at {address:#x}") from error

    def write(self, address: int, data: bytes) -> None:
        """Writes to the emulated memory. Raises EmulationError outside of it."""
        try:
            self._uc.mem_write(address, data)
        except self._failure as error:
            raise EmulationError(self.path, f"writing at {address:#x}") from error

    def word(self, name: str) -> int:
        """The 32-bit variable ``name``."""
        return int.from_bytes(self.read(self._elf.symbol(name).value, 4), "little")

    def set_word(self, name: str, value: int) -> None:
        """Sets the 32-bit variable ``name``."""
        self.write(self._elf.symbol(name).value, value.to_bytes(4, "little"))

    def tensor(self) -> bytes:
        """The feature tensor of the last step, which may come in parts."""
        parts = self.word("harness_parts")
        found = []
        for part in range(parts):
            self.set_word("harness_part", part)
            address = self.call("harness_tensor")[0]
            found.append(self.read(address, self.tensor_bytes // parts))
        return b"".join(found)

    def frame(self) -> bytes:
        """The frame of the last step."""
        length = self.word("harness_length")
        if length > self._frame_max:
            raise EmulationError(
                self.path, f"a frame of {length} bytes, ISTH_FRAME_BYTES_MAX is {self._frame_max}"
            )
        return self.read(self._elf.symbol("harness_frame").value, length)

    def paint(self) -> None:
        """Fills the stack, so that stack_used sees what a step wrote."""
        low, high = self._stack
        self.write(low, _PAINT * (high - low))

    def stack_used(self) -> int:
        """Bytes of the stack that were written since paint()."""
        low, high = self._stack
        data = self.read(low, high - low)
        return len(data.lstrip(_PAINT))

    def stack_overflowed(self) -> bool:
        """True where the lowest word of the stack was written."""
        return self.read(self._stack[0], 4) != _PAINT * 4

    def _open(self, cpu: str) -> Any:
        unicorn = _library()
        if not self._arm:
            riscv = _library(".riscv_const")
            self._sp, self._lr = riscv.UC_RISCV_REG_SP, riscv.UC_RISCV_REG_RA
            self._pc, self._result = riscv.UC_RISCV_REG_PC, riscv.UC_RISCV_REG_A0
            return unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        arm = _library(".arm_const")
        self._sp, self._lr = arm.UC_ARM_REG_SP, arm.UC_ARM_REG_LR
        self._pc, self._result = arm.UC_ARM_REG_PC, arm.UC_ARM_REG_R0
        uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        models = {
            "cortex-m0": arm.UC_CPU_ARM_CORTEX_M0,
            "cortex-m3": arm.UC_CPU_ARM_CORTEX_M3,
            "cortex-m4": arm.UC_CPU_ARM_CORTEX_M4,
            "cortex-m7": arm.UC_CPU_ARM_CORTEX_M7,
            "cortex-m33": arm.UC_CPU_ARM_CORTEX_M33,
        }
        uc.ctl_set_cpu_model(models[cpu])
        return uc

    def _map(self) -> None:
        pages: set[int] = set()
        for address, size, _ in self._elf.image():
            pages.update(range(address // _PAGE, (address + size - 1) // _PAGE + 1))
        for page in sorted(pages):
            # one call a run of pages: Unicorn keeps a list of regions
            if page - 1 in pages:
                continue
            end = page
            while end in pages:
                end += 1
            self._uc.mem_map(page * _PAGE, (end - page) * _PAGE)
        for address, _, data in self._elf.image():
            if data:
                self._uc.mem_write(address, data)

    def _on_block(self, uc: Any, address: int, size: int, _: Any) -> None:
        if address == self._probe:
            uc.mem_write(self._reading, self._count.to_bytes(8, "little"))
        number = self._instructions.get((address, size))
        if number is None:
            number = self._number(bytes(uc.mem_read(address, size)))
            self._instructions[(address, size)] = number
        self._count += number

    def _number(self, code: bytes) -> int:
        """Instructions in a block of Thumb or compressed RISC-V code: 2 or 4 bytes each."""
        at = number = 0
        while at < len(code):
            half = code[at] | code[at + 1] << 8
            # Thumb: 0b11101, 0b11110 and 0b11111 start four bytes; RISC-V: two low bits set
            wide = half >> 11 >= 0x1D if self._arm else half & 3 == 3
            at += 4 if wide else 2
            number += 1
        return number
