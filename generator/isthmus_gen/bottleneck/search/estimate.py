"""Instructions of an int8 front half from its plan alone, where none can be counted.

For each kernel and core the counted instructions of the four MLPerf Tiny networks' layers were
fitted by what a plan says of a layer (``benchmarks/front_estimate.py``). Ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isthmus_gen.bottleneck.search.estimate_table import COEFFICIENTS
from isthmus_gen.front import FrontPlan
from isthmus_gen.targets import Target

__all__ = ["CODER_BIN", "FEATURES", "LayerFeatures", "coder_instructions", "core_of", "estimate",
           "layer_features"]  # fmt: skip

#: What a kernel's instructions are fitted by; "" stands for all others.
FEATURES: Mapping[str, tuple[str, ...]] = {
    "isth_k_conv_2d": ("macs", "outputs", "gathered"),
    "isth_k_conv_1x1": ("macs", "outputs", "positions", "weights"),
    "isth_k_depthwise": ("macs", "outputs", "inputs", "weights"),
    "isth_k_dense": ("macs", "outputs"),
    "": ("macs", "outputs", "inputs"),
}
#: Instructions of the coder for one bin of dense levels: counted on a Cortex-M4F, scaled to other
#: cores as the bins of benchmarks/RESULTS.md ("What the firmware costs").
CODER_BIN = {
    "cortex-m0plus": 56.0, "cortex-m3": 34.0, "cortex-m4f": 34.0, "cortex-m33": 34.5,
    "cortex-m55": 34.5, "cortex-m7": 33.5, "rv32imac": 37.0,
}  # fmt: skip
#: Instructions of the coder for a frame, whatever its size: contexts, header, checksum.
CODER_FRAME = 3000
_CORES = {"cortex-m4": "cortex-m4f"}
_OTHER_MACS = "isth_k_dense"
_OTHER = "isth_k_sum"


@dataclass(frozen=True)
class LayerFeatures:
    """A layer's kernel ("" for one that costs nothing) and what its plan says of it, by name.

    ``gathered`` are values that are put together for the filters, ``weights`` filter taps.
    """

    kernel: str
    values: dict[str, float]


def layer_features(plan: FrontPlan) -> tuple[LayerFeatures, ...]:
    """Of every layer, in their order."""
    tensors, found = plan.graph.tensors, []
    for layer in plan.layers:
        outputs = tensors[layer.output].elements
        positions = outputs // max(1, tensors[layer.output].shape[-1])
        values = {
            "macs": layer.macs,
            "outputs": outputs,
            "positions": positions,
            "inputs": sum(tensors[index].elements for index in layer.tensor_inputs),
            "gathered": positions * (layer.macs // max(1, outputs)),
            "weights": layer.macs // max(1, positions),
        }
        found.append(LayerFeatures(layer.kernel, {name: float(n) for name, n in values.items()}))
    return tuple(found)


def core_of(target: Target) -> str | None:
    """The core whose coefficients hold for a target; None where nothing was counted on it."""
    core = _CORES.get(target.core, target.core)
    return core if core in COEFFICIENTS else None


def estimate(plan: FrontPlan, table: Mapping[str, Mapping[str, float]]) -> int:
    """Instructions of one inference with the coefficients of a core, by kernel."""
    total = 0.0
    for layer in layer_features(plan):
        if layer.kernel:
            other = _OTHER_MACS if layer.values["macs"] else _OTHER
            for name, value in table[layer.kernel if layer.kernel in table else other].items():
                total += value * layer.values[name]
    return round(total)


def coder_instructions(elements: int, levels: int, core: str) -> int:
    """Instructions of the coder for a tensor whose levels are all as frequent: truncated unary.

    Bottlenecks send their levels about as often; where low ones prevail it needs less.

    >>> coder_instructions(100, 4, "cortex-m4f")  # (1 + 2 + 3 + 3) / 4 bins an element
    10650
    """
    bins = (levels * (levels - 1) / 2 + levels - 1) / levels
    return CODER_FRAME + round(elements * bins * CODER_BIN[core])
