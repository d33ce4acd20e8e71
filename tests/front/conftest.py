"""One-operator models, the two oracles, and the generated C built with sanitizers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest

# The helpers beside this file, operator_cases among them (tests are no package).
sys.path.insert(0, str(Path(__file__).resolve().parent))

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
VERSIONS = {
    "CONV_2D": 5,
    "DEPTHWISE_CONV_2D": 3,
    "DEPTH_TO_SPACE": 1,
    "EXPAND_DIMS": 1,
    "FULLY_CONNECTED": 5,
    "HARD_SWISH": 1,
    "PRELU": 1,
    "RELU_0_TO_1": 1,
    "RELU_N1_TO_1": 1,
    "RESHAPE": 1,
    "SHAPE": 1,
    "SQUEEZE": 1,
}

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


class ModelBuilder:
    """Writes a small ``.tflite`` with the schema's object interface."""

    def __init__(self) -> None:
        self.schema = load_schema()
        self.model = self.schema.ModelT()
        self.model.version = 3
        self.model.buffers = [self.schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = self.schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []

    def tensor(
        self,
        shape: Sequence[int],
        scale: float | Sequence[float] | None = None,
        zero: int = 0,
        *,
        dtype: str = "INT8",
        data: np.ndarray | None = None,
        axis: int = 0,
        name: str = "",
    ) -> int:
        """Adds a tensor and returns its index."""
        s = self.schema
        made = s.TensorT()
        made.shape = [int(n) for n in shape]
        made.type = getattr(s.TensorType, dtype)
        made.name = name or f"tensor_{len(self.graph.tensors)}"
        made.buffer = 0
        if data is not None:
            buffer = s.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), dtype=np.uint8)
            self.model.buffers.append(buffer)
            made.buffer = len(self.model.buffers) - 1
        if scale is not None:
            made.quantization = s.QuantizationParametersT()
            scales = np.atleast_1d(np.asarray(scale, dtype=np.float32))
            made.quantization.scale = [float(v) for v in scales]
            made.quantization.zeroPoint = [zero] * len(scales)
            made.quantization.quantizedDimension = axis
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        kind: str = "",
        **options: Any,
    ) -> None:
        """Adds an operator; ``kind`` is the name of its options table."""
        s = self.schema
        code = s.OperatorCodeT()
        code.builtinCode = getattr(s.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = VERSIONS.get(name, 2)
        self.model.operatorCodes.append(code)
        made = s.OperatorT()
        made.opcodeIndex = len(self.model.operatorCodes) - 1
        made.inputs, made.outputs = list(inputs), list(outputs)
        if kind:
            made.builtinOptionsType = getattr(s.BuiltinOptions, kind)
            made.builtinOptions = getattr(s, f"{kind}T")()
            for key, value in options.items():
                assert hasattr(made.builtinOptions, key), key
                setattr(made.builtinOptions, key, value)
        self.graph.operators.append(made)

    def build(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file."""
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        self.model.subgraphs = [self.graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


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
    from tflite_micro import runtime

    def run(tflite: bytes, x: np.ndarray) -> np.ndarray:
        interpreter = runtime.Interpreter.from_bytes(
            tflite, arena_size=10 * len(tflite) + (1 << 20)
        )
        shape = interpreter.get_input_details(0)["shape"]
        rows = []
        for row in x:
            interpreter.set_input(np.ascontiguousarray(row.reshape(shape)), 0)
            interpreter.invoke()
            rows.append(np.array(interpreter.get_output(0)).reshape(-1))
        return np.stack(rows)

    return run


@pytest.fixture(scope="session")
def run_litert(require_package: Callable[[str], None]) -> Run:
    """The same by LiteRT's reference kernels (BUILTIN_REF)."""
    require_package("ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    def run(tflite: bytes, x: np.ndarray) -> np.ndarray:
        interpreter = Interpreter(
            model_content=tflite,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            num_threads=1,
        )
        interpreter.allocate_tensors()
        entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        rows = []
        for row in x:
            interpreter.set_tensor(entry["index"], row.reshape(entry["shape"]))
            interpreter.invoke()
            rows.append(interpreter.get_tensor(result["index"]).reshape(-1))
        return np.stack(rows)

    return run


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
