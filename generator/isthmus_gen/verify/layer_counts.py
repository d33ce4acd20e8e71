"""What a front half costs on a core, by layer: instructions, flash, RAM, stack.

The front half is built alone, without profile or coder, with a harness that reads the core's
counter at ``ISTH_FRONT_LAYER`` before each layer. Sizes come from a second link in which that macro
is empty, so they are those of the firmware.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isthmus_gen.front import plan_front, render_front
from isthmus_gen.front.build import FrontPlan
from isthmus_gen.front.figures import LayerFigures, layer_figures
from isthmus_gen.targets import Emulator, QemuSystemEmulator, Target, UnicornEmulator
from isthmus_gen.verify.build import Build, Layout
from isthmus_gen.verify.elf import STT_OBJECT, ElfFile
from isthmus_gen.verify.emulators import emulator_label, find_emulator
from isthmus_gen.verify.records import FirmwareRun
from isthmus_gen.verify.run import run_firmware
from isthmus_gen.verify.stack import StackReport, stack_report
from isthmus_gen.verify.toolchain import find_toolchain
from isthmus_gen.verify.workshop import Workshop

__all__ = ["FrontCost", "LayerCost", "front_cost"]

_RUN = "isth_front_run"
_PROBES = 64  # as in templates/harness/front_alone.c
_HOOK = "ISTH_FRONT_LAYER(k)=do { void harness_layer(uint32_t); harness_layer(k); } while (0)"
_OWN_CONSTANT = re.compile(r"^isth_front_(\d+)_")


@dataclass(frozen=True)
class LayerCost:
    """One layer on one core; ``flash_constant_bytes`` are its arrays and its struct as linked.

    ``instructions`` are retired ones, mean over the inputs, None where nothing counts them.
    ``stack_bytes`` is the kernel's deepest chain of calls, None for a layer without a kernel.
    """

    plan: LayerFigures
    instructions: int | None
    flash_constant_bytes: int | None
    stack_bytes: int | None


@dataclass(frozen=True)
class FrontCost:
    """A front half on one core with one compiler. Sizes are in bytes.

    ``outputs`` int8 [n, output bytes]. ``constant_bytes`` are weights, tables and the structs of
    layers in flash, ``code_bytes`` the rest: code, literal pools, library functions. RAM is the
    arena, and ``variable_bytes`` (which should be 0). ``stack_bytes`` is that of
    ``isth_front_run``, from the compiler's frames and the call graph.
    """

    outputs: npt.NDArray[np.int8]
    instructions: int | None
    layers: tuple[LayerCost, ...]
    macs: int
    flash_bytes: int | None
    code_bytes: int | None
    constant_bytes: int | None
    arena_bytes: int
    arena_bound_bytes: int
    variable_bytes: int
    stack_bytes: int | None
    compiler: str
    emulator: str
    warnings: tuple[str, ...]


def front_cost(
    tflite: bytes,
    target: Target,
    inputs: npt.NDArray[np.int8],
    *,
    compiler: str | None = None,
    emulator: str | None = None,
    work_dir: Path | None = None,
    rounding: str = "tflm",
) -> FrontCost:
    """Builds the front half in ``tflite`` and runs it over ``inputs`` int8 [n, ...].

    ``compiler`` and ``emulator`` pick a kind the target lists, by default the first that is
    installed. Objects are kept in ``work_dir`` under the hash of what they were made from; without
    one nothing is kept.

    Raises ModelOperatorError and its like for a model that is not supported, BuildError,
    ToolMissingError and EmulationError.
    """
    if work_dir is None:
        with tempfile.TemporaryDirectory(prefix="isthmus-front-") as name:
            return front_cost(
                tflite, target, inputs, compiler=compiler, emulator=emulator, rounding=rounding,
                work_dir=Path(name),
            )  # fmt: skip
    plan = plan_front(tflite, rounding=rounding)
    work_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="front-", dir=work_dir) as name:
        source = Path(name)
        for file, content in render_front(plan).items():
            if "/" not in file:
                (source / file).write_bytes(content)
        shop = Workshop(source, "src", target, find_toolchain(target, compiler), work_dir)
        return _Measurement(plan, shop, find_emulator(target, emulator)).run(inputs)


class _Measurement:
    def __init__(self, plan: FrontPlan, shop: Workshop, machine: Emulator) -> None:
        self.plan = plan
        self.shop = shop
        self.machine = machine
        self.harness = shop.harness_dir / "front_alone.c"

    def run(self, inputs: npt.NDArray[np.int8]) -> FrontCost:
        """Builds, runs, and puts the figures together."""
        plan, shop = self.plan, self.shop
        tree = [shop.object(path, harness=False) for path in sorted(shop.source_dir.glob("*.c"))]
        port = [shop.object(path, harness=True) for path in shop.port_sources()]
        names = sorted({layer.kernel for layer in plan.layers if layer.kernel})
        stack = stack_report([*tree, *port], (_RUN, *names))
        flash, code, constants, by_layer = self._sizes(tree, port)
        done = run_firmware(self._image(tree, port), inputs, counted=len(inputs))
        counts = self._counts(done)
        layers = tuple(
            LayerCost(
                plan=figures,
                instructions=None if counts is None else counts[figures.index],
                flash_constant_bytes=by_layer.get(figures.index, 0) if flash is not None else None,
                stack_bytes=_stack(stack, figures.kernel),
            )
            for figures in layer_figures(plan)
        )
        return FrontCost(
            outputs=done.tensors,
            instructions=None if counts is None else counts[-1],
            layers=layers,
            macs=plan.macs,
            flash_bytes=flash,
            code_bytes=code,
            constant_bytes=constants,
            arena_bytes=plan.arena_bytes,
            arena_bound_bytes=plan.arena_lower_bound,
            variable_bytes=_variables(tree),
            stack_bytes=_stack(stack, _RUN),
            compiler=shop.tools.label,
            emulator=emulator_label(self.machine),
            warnings=tuple(dict.fromkeys(shop.warnings)),
        )

    def _sizes(
        self, tree: list[Path], port: list[Path]
    ) -> tuple[int | None, int | None, int | None, dict[int, int]]:
        """Flash, its code and its constants, and the constants of each layer."""
        shop = self.shop
        step = shop.object(self.harness, harness=True)
        empty = shop.object(self.harness, harness=True, defines=("HARNESS_EMPTY=1",))
        sizing = shop.link("sizing", [*port, step, *tree], shop.room())
        baseline = shop.link("baseline", [*port, empty], shop.room())
        if not ElfFile.is_elf(sizing):
            return None, None, None, {}
        full, bare = ElfFile(sizing), ElfFile(baseline)
        flash = full.loaded_bytes() - bare.loaded_bytes()
        constants = full.constant_bytes() - bare.constant_bytes()
        by_layer: dict[int, int] = {}
        for symbol in full.symbols:
            match = _OWN_CONSTANT.match(symbol.name)
            if match and symbol.kind == STT_OBJECT:
                index = int(match[1])
                by_layer[index] = by_layer.get(index, 0) + symbol.size
        return flash, flash - constants, constants, by_layer

    def _image(self, tree: list[Path], port: list[Path]) -> Build:
        """The program that counts."""
        shop, target = self.shop, self.shop.target
        defines = ["HARNESS_PROBE=1"]
        if isinstance(self.machine, UnicornEmulator):
            defines.append("HARNESS_COUNT=1")
        step = shop.object(self.harness, harness=True, defines=defines)
        front = shop.object(shop.source_dir / "isth_front.c", harness=False, defines=(_HOOK,))
        plain = shop.object(shop.source_dir / "isth_front.c", harness=False)
        objects = [*port, step, front, *(path for path in tree if path != plain)]
        place = shop.room()
        if isinstance(self.machine, QemuSystemEmulator):
            place = self.machine.memory or target.memory
        elf = shop.link("image", objects, place)
        frame = 8 * (len(self.plan.layers) + 2)
        return Build(
            elf=elf,
            target=target,
            emulator=self.machine,
            compiler=shop.tools.label,
            layout=Layout(self.plan.input_bytes, self.plan.output_bytes, frame, 1, True),
            flash_bytes=None,
            ram_bytes=None,
            arena_bytes=self.plan.arena_bytes,
            encoder_memory_bytes=None,
            stack_bytes=None,
            stack=None,
            warnings=(),
            notes=(),
        )

    def _counts(self, done: FirmwareRun) -> tuple[int, ...] | None:
        """Instructions of every layer, then of all together; means over the inputs."""
        if done.front_instructions is None:
            return None
        ratio = 1.0
        if isinstance(self.machine, QemuSystemEmulator) and self.machine.tick_ns is not None:
            ratio = self.machine.tick_ns
        readings = np.array([np.frombuffer(frame, dtype="<u8") for frame in done.frames])
        steps = np.diff(readings.astype(np.int64), axis=1).mean(axis=0) * ratio
        probe = float(steps[-1]) / _PROBES
        taken = steps[:-1] - probe
        counts = [
            0 if layer.view else max(0, round(float(n)))
            for layer, n in zip(self.plan.layers, taken, strict=True)
        ]
        return (*counts, sum(counts))


def _stack(report: StackReport, name: str) -> int | None:
    """The deepest chain below ``name``, None where it has no bound or is not there."""
    return None if report.unbounded else report.deepest.get(name)


def _variables(tree: list[Path]) -> int:
    return sum(ElfFile(path).written_bytes() for path in tree if ElfFile.is_elf(path))
