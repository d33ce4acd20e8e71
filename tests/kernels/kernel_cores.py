"""driver.c on emulated cores: built as firmware is, and run by QEMU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from kernel_driver import HARNESS, HERE, Answer, Batch, build_hosted, read_answer, run_hosted

from isthmus_gen.resources import kernel_root
from isthmus_gen.targets import QemuSystemEmulator, load_target
from isthmus_gen.verify.toolchain import find_toolchain
from isthmus_gen.verify.workshop import Workshop

#: Programs with an operating system under QEMU's user mode: compiler, flags, emulator, tier.
HOSTED: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], str]] = {
    "aarch64": ("aarch64-linux-gnu-gcc", (), ("qemu-aarch64", "-cpu", "cortex-a53"), "neon"),
    "aarch64-dotprod": (
        "aarch64-linux-gnu-gcc",
        ("-march=armv8.2-a+dotprod",),
        ("qemu-aarch64", "-cpu", "max"),
        "neon",
    ),
    # Linux on 32-bit Arm has the DSP instructions: here what lies behind a block cannot be read.
    "armv7": ("arm-linux-gnueabihf-gcc", (), ("qemu-arm",), "dsp"),
    # Without optimisation, intrinsics take the place of loops in assembly.
    "armv7-unoptimised": ("arm-linux-gnueabihf-gcc", ("-O0",), ("qemu-arm",), "dsp"),
}

#: Bare cores: the tier that they must choose, and where the memory of QEMU's machine ends.
BARE = {
    "cortex-m0plus": ("thumb-1", 0x20800000),
    "cortex-m3": ("portable", 0x20800000),
    "cortex-m4f": ("dsp", 0x20800000),
    "cortex-m33": ("dsp", 0x38400000),
    "cortex-m55": ("mve", 0x21400000),
    "rv32imac": ("portable", 0x88000000),
}

_SECONDS = 300


def tier_flags(tier: str) -> list[str]:
    """The program ends with an error in another tier."""
    return [f'-DEXPECTED_TIER="{tier}"']


def run_user(name: str, folder: Path, batch: Batch) -> Answer:
    """The batch as a program of Linux on another processor, blocks at the ends of pages."""
    compiler, flags, emulator, tier = HOSTED[name]
    words = ["-O2", "-static", "-DBLOCKS_PAGES", *flags, *tier_flags(tier)]
    program = build_hosted(folder / name, [compiler], words, batch.calls)
    return run_hosted([*emulator, str(program)], batch.data)


def run_core(name: str, folder: Path, batch: Batch, compiler: str = "gcc") -> Answer:
    """The batch on a bare core, blocks in a pool or at the end of the memory."""
    target = load_target(name)
    machine = next(e for e in target.emulators if isinstance(e, QemuSystemEmulator))
    memory = machine.memory or target.memory
    assert memory is not None
    source = folder / name
    source.mkdir(parents=True, exist_ok=True)
    for header in [*kernel_root().glob("*.h"), *HARNESS.glob("*.h")]:
        shutil.copy(header, source)
    (source / "calls.h").write_text(batch.calls.header())
    shop = Workshop(source, "src", target, find_toolchain(target, compiler), folder)
    tier, end = BARE[name]
    defines = ["BLOCKS_POOL", f"EDGE_END={end:#x}u", *(flag[2:] for flag in tier_flags(tier))]
    objects = [shop.object(path, harness=False) for path in batch.calls.sources()]
    objects.append(shop.object(HERE / "driver.c", harness=True, defines=defines))
    ports = [path for path in shop.port_sources() if path.name != "stream.c"]
    objects += [shop.object(path, harness=True) for path in ports]
    elf = shop.link("kernels", objects, memory)
    command = [
        machine.binary,
        "-M",
        machine.machine,
        *(["-cpu", machine.cpu] if machine.cpu else []),
    ]
    command += ["-bios", "none"] if target.platform == "riscv" else []
    command += ["-display", "none", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(elf)]
    (source / "in.bin").write_bytes(batch.data)
    done = subprocess.run(command, cwd=source, capture_output=True, check=False, timeout=_SECONDS)
    answer = (source / "out.bin").read_bytes()
    assert done.returncode == 0, (done.returncode, done.stderr[-500:], answer[:200])
    return read_answer(answer)
