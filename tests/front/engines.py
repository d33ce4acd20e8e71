"""The engines that expected outputs come from: int8 in, int8 out, one inference a row."""

from __future__ import annotations

import numpy as np


def tflm_outputs(tflite: bytes, *inputs: np.ndarray) -> np.ndarray:
    """int8 [n, elements] by the tflite-micro wheel; each input is [n, ...]."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(tflite, arena_size=10 * len(tflite) + (1 << 20))
    shapes = [interpreter.get_input_details(i)["shape"] for i in range(len(inputs))]
    rows = []
    for values in zip(*inputs, strict=True):
        for i, (row, shape) in enumerate(zip(values, shapes, strict=True)):
            interpreter.set_input(np.ascontiguousarray(row.reshape(shape)), i)
        interpreter.invoke()
        rows.append(np.array(interpreter.get_output(0)).reshape(-1))
    return np.stack(rows)


def litert_outputs(tflite: bytes, *inputs: np.ndarray) -> np.ndarray:
    """The same by LiteRT's reference kernels (BUILTIN_REF)."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=tflite,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    entries, result = interpreter.get_input_details(), interpreter.get_output_details()[0]
    rows = []
    for values in zip(*inputs, strict=True):
        for row, entry in zip(values, entries, strict=True):
            interpreter.set_tensor(entry["index"], row.reshape(entry["shape"]))
        interpreter.invoke()
        rows.append(interpreter.get_tensor(result["index"]).reshape(-1))
    return np.stack(rows)
