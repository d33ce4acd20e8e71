"""Runs the harness as a process: on this machine, under QEMU's user mode, on a machine of QEMU."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isthmus.errors import EmulationError, ToolMissingError
from isthmus_gen.targets import QemuSystemEmulator, QemuUserEmulator
from isthmus_gen.verify.build import Build
from isthmus_gen.verify.emulators import emulator_label
from isthmus_gen.verify.records import FirmwareRun, pack_inputs, parse_records

__all__ = ["run_hosted", "run_qemu_system"]

_EXIT_TEXT = {
    2: "the input ended early",
    3: "the input is not one this program takes",
    4: "the output could not be written",
    5: "in.bin or out.bin could not be opened",
    6: "the stack overflowed",
    101: "the processor faulted (bad access, bad instruction or stack overflow)",
}


def run_hosted(
    build: Build, inputs: npt.NDArray[np.int8], rungs: Sequence[int], *, timeout_s: float
) -> FirmwareRun:
    """Runs a program with an operating system over int8 [n, input_bytes]; it counts nothing.

    Raises EmulationError where it fails or does not end within ``timeout_s``.
    """
    machine = build.emulator
    command = [str(build.elf)]
    why = "no instruction counts: the program runs on this machine"
    if isinstance(machine, QemuUserEmulator):
        command = [_which(machine.binary, machine.package), *command]
        why = "no instruction counts: QEMU's user mode has no counter"
    path = f"{build.target.name} ({emulator_label(machine)})"
    done = _run(command, build.elf.parent, pack_inputs(inputs, rungs), timeout_s, path)
    _check(done, path)
    run = parse_records(done.stdout, len(inputs), instructions_per_tick=None, path=path)
    return replace(run, notes=(why,))


def run_qemu_system(
    build: Build,
    machine: QemuSystemEmulator,
    inputs: npt.NDArray[np.int8],
    rungs: Sequence[int],
    *,
    timeout_s: float,
) -> FirmwareRun:
    """Runs a bare program on a machine of QEMU over int8 [n, input_bytes], by semihosting.

    Under ``-icount shift=0`` an instruction takes one emulated nanosecond, so that the timer of the
    core counts instructions. Raises EmulationError as run_hosted does.
    """
    path = f"{build.target.name} ({emulator_label(machine)})"
    command = [_which(machine.binary, machine.package), "-M", machine.machine]
    if machine.cpu:
        command += ["-cpu", machine.cpu]
    if build.target.platform == "riscv":
        command += ["-bios", "none"]
    command += ["-display", "none", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native"]
    command += ["-icount", "shift=0,align=off,sleep=off", "-kernel", str(build.elf)]
    with tempfile.TemporaryDirectory(prefix="run-", dir=build.elf.parent) as folder:
        Path(folder, "in.bin").write_bytes(pack_inputs(inputs, rungs))
        done = _run(command, Path(folder), b"", timeout_s, path)
        _check(done, path)
        output = Path(folder, "out.bin").read_bytes()
    ratio = {"systick": machine.tick_ns, "instret": 1.0, "none": None}[machine.counter]
    return parse_records(output, len(inputs), instructions_per_tick=ratio, path=path)


def _which(binary: str, package: str) -> str:
    found = shutil.which(binary)
    if found is None:
        raise ToolMissingError(binary, "is not installed", remedy=f"install {package}")
    return found


def _run(
    command: Sequence[str], cwd: Path, data: bytes, timeout_s: float, path: str
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            command, cwd=cwd, input=data, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EmulationError(path, f"did not end within {timeout_s:.0f} s") from error
    except OSError as error:
        raise EmulationError(path, f"cannot be started: {error}") from error


def _check(done: subprocess.CompletedProcess[bytes], path: str) -> None:
    if done.returncode == 0:
        return
    text = _EXIT_TEXT.get(done.returncode, "")
    if not text:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        text = lines[0] if lines else "the program crashed"
    raise EmulationError(path, f"exit code {done.returncode}: {text}")
