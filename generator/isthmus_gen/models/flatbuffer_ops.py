"""What is known about each flatbuffer operator: its cost, its activation, whether it can be cut."""

from __future__ import annotations

import math
from typing import Any

from isthmus_gen.models.graph import LINEAR, RELU, RELU6, ActivationInfo

__all__ = ["activation_of", "macs_of", "refusal_of"]

_CONTROL = {"IF", "WHILE", "CALL", "CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
_STABLEHLO = "STABLEHLO_"

# Operators whose output holds values of their input, moved or selected.
_MOVING = {
    "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "MAX_POOL_2D", "SLICE", "STRIDED_SLICE",
    "QUANTIZE", "DEQUANTIZE", "REVERSE_V2", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPLIT", "UNPACK",
    "GATHER", "TILE", "RESIZE_NEAREST_NEIGHBOR",
}  # fmt: skip

_OWN = {
    "RELU": RELU,
    "RELU6": RELU6,
    "RELU_0_TO_1": ActivationInfo("clipped_relu", 0.0, 1.0),
    "RELU_N1_TO_1": ActivationInfo("clip", 1.0, 1.0),
    "LOGISTIC": ActivationInfo("sigmoid"),
    "TANH": ActivationInfo("tanh"),
    "SOFTMAX": ActivationInfo("softmax"),
    "LOG_SOFTMAX": ActivationInfo("log_softmax"),
    "HARD_SWISH": ActivationInfo("hard_swish"),
    "GELU": ActivationInfo("gelu"),
    "ELU": ActivationInfo("elu"),
    "PRELU": ActivationInfo("prelu"),
}

# ActivationFunctionType of the schema; 0 is NONE.
_FUSED = {
    1: RELU,
    2: ActivationInfo("clip", 1.0, 1.0),
    3: RELU6,
    4: ActivationInfo("tanh"),
    5: ActivationInfo("sign"),
}


def activation_of(kind: str, options: Any) -> ActivationInfo | None:
    """The activation of an operator's output; None where values are only moved."""
    if kind == "LEAKY_RELU":
        return ActivationInfo("leaky_relu", float(options.alpha))
    if kind in _OWN:
        return _OWN[kind]
    fused = getattr(options, "fusedActivationFunction", 0)
    if fused:
        return _FUSED.get(fused, ActivationInfo(f"fused {fused}"))
    return None if kind in _MOVING else LINEAR


def refusal_of(kind: str, output: str, stateful: bool) -> str:
    """Why an operator cannot be part of a front half; empty where it can."""
    name = kind.removeprefix("CUSTOM ")
    if kind.startswith("CUSTOM "):
        return f"comes after the custom operator {name!r} ({output!r}), which is not known"
    if kind.startswith("UNKNOWN "):
        return f"comes after operator number {kind[8:]} ({output!r}), which is not known"
    if kind in _CONTROL or kind.startswith(_STABLEHLO):
        return f"comes after the operator {kind} ({output!r}), which is not supported"
    if stateful:
        return f"comes after the operator {kind} ({output!r}), which keeps a state between inputs"
    return ""


def macs_of(kind: str, subgraph: Any, operator: Any) -> int:
    """Multiply-accumulates for one input; 0 for operators without multiplications worth counting.

    Convolution: outputs x kernel height x width x input channels of a group. Pooling and
    elementwise operators count as 0, as is usual for figures such as MLPerf Tiny's.
    """

    def size(position: int, output: bool = False) -> tuple[int, ...]:
        indices = operator.outputs if output else operator.inputs
        return tuple(int(d) for d in subgraph.tensors[indices[position]].shape)

    if kind in ("CONV_2D", "CONV_3D"):
        weights = size(1)
        kernel = weights[1:] if kind == "CONV_2D" else weights[:4]
        return math.prod(size(0, True)[1:]) * math.prod(kernel)
    if kind == "DEPTHWISE_CONV_2D":
        return math.prod(size(0, True)[1:]) * math.prod(size(1)[1:3])
    if kind == "TRANSPOSE_CONV":  # inputs: output shape, weights [out, h, w, in], data
        return math.prod(size(2)[1:]) * math.prod(size(1)[:3])
    if kind == "FULLY_CONNECTED":
        rows, columns = size(1)
        return (math.prod(size(0, True)[1:]) or rows) * columns
    if kind == "BATCH_MATMUL":
        inner = size(0)[-2] if operator.builtinOptions.adjX else size(0)[-1]
        return math.prod(size(0, True)[1:]) * inner
    return 0
