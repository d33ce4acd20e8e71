"""One-operator models, the two oracles, and the generated C built with sanitizers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest

# The helpers beside this file (tests are no package).
sys.path.insert(0, str(Path(__file__).resolve().parent))

from engines import litert_outputs, tflm_outputs
from model_builder import ModelBuilder

from isthmus_gen.front import plan_front, render_front
from isthmus_gen.front.flatbuffer import load_schema
from isthmus_gen.resources import kernel_root

STRICT = [
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wshadow",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wundef",
    "-Wstrict-prototypes",
    "-Wcast-qual",
    "-Werror",
]
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

# Reads inputs until the end, writes outputs; the arena is one heap block of exactly its size.
HARNESS = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "isth_front.h"
int main(void)
{
    static unsigned char input[ISTH_FRONT_INPUT_BYTES];
    void *arena = malloc(ISTH_FRONT_ARENA_BYTES);
    while (arena != NULL && fread(input, 1, sizeof input, stdin) == sizeof input) {
        memset(arena, 0xA5, ISTH_FRONT_ARENA_BYTES);
        memcpy(isth_front_input(arena), input, sizeof input);
        fwrite(isth_front_run(arena), 1, ISTH_FRONT_OUTPUT_BYTES, stdout);
    }
    free(arena);
    return 0;
}
"""


@pytest.fixture(scope="session")
def harness() -> str:
    """A program around a front half: inputs from standard input, outputs to standard output."""
    return HARNESS


@pytest.fixture(scope="session")
def strict_flags() -> list[str]:
    """The warnings every emitted C file must pass, as errors."""
    return STRICT


@pytest.fixture
def new_model() -> type[ModelBuilder]:
    """``new_model()`` -> a fresh ModelBuilder."""
    return ModelBuilder


@pytest.fixture(scope="session")
def add_float_ends() -> Callable[[bytes], bytes]:
    """A full-int8 model with a QUANTIZE before and a DEQUANTIZE after it, as converters write."""

    def wrap(content: bytes) -> bytes:
        s = load_schema()
        model = s.ModelT.InitFromPackedBuf(content, 0)
        graph = model.subgraphs[0]
        model.signatureDefs = None
        for name, inner in (("QUANTIZE", graph.inputs[0]), ("DEQUANTIZE", graph.outputs[0])):
            code = s.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(s.BuiltinOperator, name)
            code.version = 2
            model.operatorCodes.append(code)
            outer, made = s.TensorT(), s.OperatorT()
            outer.shape, outer.type = graph.tensors[inner].shape, s.TensorType.FLOAT32
            outer.name, outer.buffer = f"float_{name.lower()}", 0
            graph.tensors.append(outer)
            made.opcodeIndex = len(model.operatorCodes) - 1
            ends = [int(inner), len(graph.tensors) - 1]
            first = name == "QUANTIZE"
            made.outputs, made.inputs = ([ends[0]], [ends[1]]) if first else ([ends[1]], [ends[0]])
            graph.operators.insert(0 if first else len(graph.operators), made)
            if first:
                graph.inputs = [ends[1]]
            else:
                graph.outputs = [ends[1]]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    return wrap


Run = Callable[[bytes, np.ndarray], np.ndarray]


@pytest.fixture(scope="session")
def run_tflm(require_package: Callable[[str], None]) -> Run:
    """``run_tflm(tflite, x int8 [n, ...])`` -> int8 [n, elements] by the tflite-micro wheel."""
    require_package("tflite_micro")
    return tflm_outputs


@pytest.fixture(scope="session")
def run_litert(require_package: Callable[[str], None]) -> Run:
    """The same by LiteRT's reference kernels (BUILTIN_REF)."""
    require_package("ai_edge_litert")
    return litert_outputs


@pytest.fixture(scope="session")
def kernels(
    tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]
) -> tuple[str, list[str]]:
    """The host compiler and every kernel as an object with address and UB sanitizers."""
    compiler = require_tool("gcc")
    folder = tmp_path_factory.mktemp("kernels")
    objects = []
    for source in sorted(kernel_root().glob("*.c")):
        target = folder / f"{source.stem}.o"
        subprocess.run(
            [compiler, *STRICT, *SANITIZE, "-O1", "-c", str(source), "-o", str(target)], check=True
        )
        objects.append(str(target))
    return compiler, objects


@pytest.fixture
def run_c(kernels: tuple[str, list[str]], tmp_path: Path) -> Callable[..., np.ndarray]:
    """``run_c(tflite, x, rounding="tflm")`` -> int8 [n, elements] by the generated C."""
    compiler, objects = kernels

    def run(tflite: bytes, x: np.ndarray, rounding: str = "tflm") -> np.ndarray:
        plan = plan_front(tflite, rounding=rounding)
        for name, content in render_front(plan).items():
            if not name.startswith("tflm/"):
                (tmp_path / name).write_bytes(content)
        (tmp_path / "main.c").write_text(HARNESS)
        sources = [str(tmp_path / n) for n in ("main.c", "isth_front.c", "isth_front_weights.c")]
        program = tmp_path / "program"
        subprocess.run(
            [compiler, *STRICT, *SANITIZE, "-O0", *sources, *objects, "-o", str(program)],
            check=True,
        )
        done = subprocess.run(
            [str(program)],
            input=np.ascontiguousarray(x, dtype=np.int8).tobytes(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return np.frombuffer(done.stdout, dtype=np.int8).reshape(len(x), -1)

    return run
