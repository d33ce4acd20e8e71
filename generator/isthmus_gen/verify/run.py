"""Runs a built tree, and compares what it makes with the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import DataShapeError
from isthmus_gen.targets import QemuSystemEmulator, Target, UnicornEmulator
from isthmus_gen.verify.budget import check_budget
from isthmus_gen.verify.build import Build, build_tree
from isthmus_gen.verify.emulators import emulator_label
from isthmus_gen.verify.process_run import run_hosted, run_qemu_system
from isthmus_gen.verify.records import FirmwareRun, check_inputs
from isthmus_gen.verify.unicorn_run import run_unicorn

__all__ = ["Progress", "TargetResult", "run_firmware", "verify_tree"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class TargetResult:
    """The verdict on one target.

    ``mismatches_front`` counts tensor elements, ``mismatches_bytes`` bytes of frames (a missing or
    surplus byte counts too). Instructions are retired ones, None where the emulator counts none;
    sizes are in bytes, see ``build``; ``stack_bytes`` is the larger of the compiler's figure and
    what was seen.
    """

    name: str
    status: str
    mismatches_front: int
    mismatches_bytes: int
    inputs: int
    front_instructions: int | None
    encode_instructions_per_element: float | None
    flash_bytes: int | None
    ram_bytes: int | None
    stack_bytes: int | None
    compiler: str
    emulator: str
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The result as a JSON object (``isthmus verify --json``)."""
        return {**asdict(self), "notes": list(self.notes)}


def run_firmware(
    build: Build,
    inputs: npt.NDArray[Any],
    *,
    rungs: int | Sequence[int] = 0,
    timeout_s: float = _TIMEOUT_S,
    counted: int = 1,
    progress: Progress | None = None,
) -> FirmwareRun:
    """Runs the program over ``inputs`` int8 [n, ...], input i with sequence number i mod 2^16.

    ``rungs`` is the rung of every input or one each. Where the tree has no front half, inputs are
    tensors. Unicorn counts the instructions of the first ``counted`` inputs, QEMU those of all.

    Raises EmulationError where the program crashes, hangs or breaks off, DataShapeError and
    DataDtypeError where the inputs are not what it was built for.
    """
    size = build.layout.input_bytes if build.layout else int(np.prod(inputs.shape[1:]))
    if build.layout is not None and not build.layout.has_front:
        # tensors of any element go in as their bytes
        inputs = np.ascontiguousarray(inputs.reshape(len(inputs), -1)).view(np.int8)
    rows = check_inputs(inputs, size)
    rung_list = [rungs] * len(rows) if isinstance(rungs, int) else list(rungs)
    if len(rung_list) != len(rows):
        raise DataShapeError("rungs", f"there are {len(rung_list)}", allowed=f"{len(rows)}")
    label = f"{build.target.name}: running"
    machine = build.emulator
    if isinstance(machine, UnicornEmulator):
        run = run_unicorn(
            build,
            machine,
            rows,
            rung_list,
            timeout_s=timeout_s,
            counted=counted,
            progress=None if progress is None else lambda at, of: progress(label, at, of),
        )
    elif isinstance(machine, QemuSystemEmulator):
        run = run_qemu_system(build, machine, rows, rung_list, timeout_s=timeout_s)
    else:
        run = run_hosted(build, rows, rung_list, timeout_s=timeout_s)
    if progress is not None:
        progress(label, len(rows), len(rows))
    return run


def verify_tree(
    firmware_dir: Path,
    target: Target,
    inputs: npt.NDArray[Any] | None,
    tensors_reference: npt.NDArray[Any],
    frames_reference: Sequence[bytes],
    work_dir: Path,
    progress: Progress | None = None,
    *,
    rungs: int | Sequence[int] = 0,
    compiler: str | None = None,
    emulator: str | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> TargetResult:
    """Builds, checks the budget, runs and compares.

    ``inputs`` int8 [n, ...], or the tensors (or None) for a tree without a front half;
    ``tensors_reference`` int8 [n, elements] (int16 or float32 where the
    profile's tensor is, compared bit for bit); frame i is that of tensor i with sequence number
    i mod 2^16 and its rung.

    Raises BuildError, BudgetError, ToolMissingError and EmulationError; a difference
    raises nothing, it is ``status == "mismatch"`` with the first one described in ``notes``.
    """
    if progress is not None:
        progress(f"{target.name}: building", 0, 1)
    build = build_tree(firmware_dir, target, work_dir, compiler=compiler, emulator=emulator)
    check_budget(build, target)
    tensors = np.ascontiguousarray(tensors_reference.reshape(len(tensors_reference), -1))
    if len(frames_reference) != len(tensors):
        raise DataShapeError(
            "frames_reference", f"there are {len(frames_reference)}", allowed=f"{len(tensors)}"
        )
    raw = tensors.view(np.int8).reshape(len(tensors), -1)
    if build.layout is not None and build.layout.tensor_bytes != raw.shape[1]:
        raise DataShapeError(
            "tensors_reference",
            f"{raw.shape[1]} bytes a tensor",
            allowed=f"{build.layout.tensor_bytes}, as in isth.h",
        )
    run = run_firmware(
        build,
        raw if inputs is None else inputs,
        rungs=rungs,
        timeout_s=timeout_s,
        progress=progress,
    )
    if len(run.tensors) != len(tensors):
        raise DataShapeError(
            "inputs", f"there are {len(run.tensors)}", allowed=f"{len(tensors)}, one a tensor"
        )
    return _result(build, run, tensors, frames_reference)


def _result(
    build: Build,
    run: FirmwareRun,
    tensors: npt.NDArray[Any],
    frames: Sequence[bytes],
) -> TargetResult:
    front, front_note = _compare_tensors(run.tensors, tensors)
    wrong_bytes, bytes_note = _compare_frames(run, frames)
    notes = [note for note in (front_note, bytes_note) if note]
    notes += [*build.notes, *run.notes, *(f"warning: {line}" for line in build.warnings)]
    stacks = [size for size in (build.stack_bytes, run.stack_used_bytes) if size is not None]
    per_element = None
    if run.encode_instructions is not None and tensors.shape[1]:
        per_element = round(run.encode_instructions / tensors.shape[1], 3)
    has_front = build.layout is None or build.layout.has_front
    bad = front + wrong_bytes + sum(status != 0 for status in run.statuses)
    return TargetResult(
        name=build.target.name,
        status="mismatch" if bad else "ok",
        mismatches_front=front,
        mismatches_bytes=wrong_bytes,
        inputs=len(tensors),
        front_instructions=run.front_instructions if has_front else None,
        encode_instructions_per_element=per_element,
        flash_bytes=build.flash_bytes,
        ram_bytes=build.ram_bytes,
        stack_bytes=max(stacks) if stacks else None,
        compiler=build.compiler,
        emulator=emulator_label(build.emulator),
        notes=tuple(notes),
    )


def _compare_tensors(got: npt.NDArray[np.int8], want: npt.NDArray[Any]) -> tuple[int, str]:
    """The number of elements that differ in any bit, and the first of them in words."""
    made = got.view(want.dtype)
    bits = np.dtype(f"u{want.dtype.itemsize}")
    places = np.argwhere(made.view(bits) != want.view(bits))
    if not len(places):
        return 0, ""
    i, element = (int(value) for value in places[0])
    text = (
        f"first mismatch: stage front, input {i}, element {element}:"
        f" {made[i, element]}, reference {want[i, element]}"
    )
    return len(places), text


def _compare_frames(run: FirmwareRun, frames: Sequence[bytes]) -> tuple[int, str]:
    """The number of bytes that differ, and the first of them in words."""
    total = 0
    first = ""
    for i, (got, want, status) in enumerate(zip(run.frames, frames, run.statuses, strict=True)):
        if got == want and status == 0:
            continue
        pairs = list(zip(got, want, strict=False))
        wrong = [at for at, (a, b) in enumerate(pairs) if a != b]
        total += len(wrong) + abs(len(got) - len(want))
        if first:
            continue
        if status:
            first = f"first mismatch: stage bytes, input {i}: the encoder returned error {status}"
        elif wrong:
            at = wrong[0]
            first = (
                f"first mismatch: stage bytes, input {i}, byte {at}:"
                f" {got[at]:#04x}, reference {want[at]:#04x}"
            )
        else:
            first = (
                f"first mismatch: stage bytes, input {i}, byte {len(pairs)}:"
                f" the frame has {len(got)} bytes, the reference {len(want)}"
            )
    return total, first
