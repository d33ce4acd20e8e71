"""Multiply-accumulates of Keras layers for one input.

Counted: dense and convolutional layers, recurrent layers and attention. Everything else counts as
0; so does batch normalisation, which the converter folds into the convolution before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["layer_macs"]

Shape = tuple[int, ...]

# Products of a step's input and state with matrices of `units` columns.
_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}


def layer_macs(layer: Any, taken: Sequence[Shape], made: Shape) -> int:
    """Multiply-accumulates of one call; shapes without batch, 0 where one of them is dynamic.

    ``taken`` are the shapes of the tensors of the call, the layer's input first.
    """
    kind, given = type(layer).__name__, taken[0]
    if -1 in made or any(-1 in shape for shape in taken):
        return 0
    if kind == "Dense":
        return math.prod(made) * given[-1]
    if kind == "EinsumDense":
        return math.prod(made[:-1]) * math.prod(int(d) for d in layer.kernel.shape)
    if kind in _GATES:
        # Per step: [1, inputs] by [inputs, units] and [1, units] by [units, units] for each gate.
        return given[0] * _GATES[kind] * int(layer.units) * (given[-1] + int(layer.units))
    if kind == "Bidirectional":
        return sum(layer_macs(r, taken, made) for r in (layer.forward_layer, layer.backward_layer))
    if kind == "TimeDistributed":
        return given[0] * layer_macs(layer.layer, [given[1:]], made[1:])
    if kind == "MultiHeadAttention":
        return _attention(layer, taken, made)
    if not hasattr(layer, "kernel_size") or kind.startswith("ConvLSTM"):
        return 0
    return _convolution(layer, kind, given, made)


def _attention(layer: Any, taken: Sequence[Shape], made: Shape) -> int:
    """Projections of query, key and value, scores, weighted sums, and the projection back."""
    query, value = taken[0], taken[min(1, len(taken) - 1)]
    key = taken[2] if len(taken) > 2 else value
    heads, depth, width = (int(n) for n in (layer.num_heads, layer.key_dim, layer.value_dim))
    asked, held = math.prod(query[:-1]), math.prod(value[:-1])
    projections = asked * query[-1] * depth + held * (key[-1] * depth + value[-1] * width)
    return heads * (projections + asked * held * (depth + width) + asked * width * made[-1])


def _convolution(layer: Any, kind: str, given: Shape, made: Shape) -> int:
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        places, channels, depth = math.prod(made[1:]), made[0], given[0]
    else:
        places, channels, depth = math.prod(made[:-1]), made[-1], given[-1]
    window = math.prod(int(k) for k in layer.kernel_size)
    if kind.startswith("Depthwise"):
        return places * channels * window
    if kind.startswith("Separable"):
        return places * depth * int(layer.depth_multiplier) * (window + channels)
    if kind.endswith("Transpose"):
        return math.prod(given) * window * channels
    return places * channels * window * depth // int(getattr(layer, "groups", 1))
