"""Instructions of a layer on each core: coefficients of what its plan says.

Written by `python -m benchmarks.front_estimate --write` from counted instructions.
"""

from __future__ import annotations

__all__ = ["COEFFICIENTS"]

#: By core, kernel and feature of a layer.
COEFFICIENTS: dict[str, dict[str, dict[str, float]]] = {
    "cortex-m0plus": {
        "isth_k_average_pool": {"outputs": 126.217, "inputs": 8.278},
        "isth_k_conv_1x1": {
            "macs": 3.821,
            "outputs": 96.381,
            "positions": 23.589,
            "weights": 1.898,
        },
        "isth_k_conv_2d": {"macs": 3.59, "outputs": 124.881, "gathered": 6.769},
        "isth_k_dense": {"macs": 5.509, "outputs": 110.044},
        "isth_k_depthwise": {"macs": 16.089, "inputs": 6.461, "weights": 44.171},
        "isth_k_softmax": {"outputs": 178.576},
        "isth_k_sum": {"outputs": 108.817},
    },
    "cortex-m3": {
        "isth_k_average_pool": {"outputs": 47.323, "inputs": 7.162},
        "isth_k_conv_1x1": {"macs": 2.289, "outputs": 20.957, "positions": 30.146, "weights": 0.88},
        "isth_k_conv_2d": {"macs": 2.081, "outputs": 39.665, "gathered": 5.958},
        "isth_k_dense": {"macs": 3.016, "outputs": 36.845},
        "isth_k_depthwise": {"macs": 4.34, "inputs": 4.806, "weights": 29.611},
        "isth_k_softmax": {"outputs": 72.326},
        "isth_k_sum": {"outputs": 33.015},
    },
    "cortex-m33": {
        "isth_k_average_pool": {"outputs": 50.29, "inputs": 7.166},
        "isth_k_conv_1x1": {"macs": 0.931, "outputs": 15.44, "positions": 33.797, "weights": 1.302},
        "isth_k_conv_2d": {"macs": 0.813, "outputs": 30.717, "gathered": 5.151},
        "isth_k_dense": {"macs": 2.023, "outputs": 30.499},
        "isth_k_depthwise": {"macs": 2.068, "inputs": 4.566, "weights": 46.52},
        "isth_k_softmax": {"outputs": 72.085},
        "isth_k_sum": {"outputs": 23.01},
    },
    "cortex-m4f": {
        "isth_k_average_pool": {"outputs": 47.387, "inputs": 7.164},
        "isth_k_conv_1x1": {"macs": 0.931, "outputs": 15.18, "positions": 34.447, "weights": 1.302},
        "isth_k_conv_2d": {"macs": 0.814, "outputs": 30.323, "gathered": 5.129},
        "isth_k_dense": {"macs": 2.026, "outputs": 30.376},
        "isth_k_depthwise": {"macs": 2.063, "inputs": 4.666, "weights": 50.163},
        "isth_k_softmax": {"outputs": 71.277},
        "isth_k_sum": {"outputs": 23.011},
    },
    "cortex-m55": {
        "isth_k_average_pool": {"outputs": 51.772, "inputs": 5.3},
        "isth_k_conv_1x1": {
            "macs": 0.141,
            "outputs": 12.131,
            "positions": 112.042,
            "weights": 0.229,
        },
        "isth_k_conv_2d": {"macs": 0.076, "outputs": 34.125, "gathered": 1.545},
        "isth_k_dense": {"macs": 0.211, "outputs": 39.091},
        "isth_k_depthwise": {"macs": 0.695, "inputs": 5.464, "weights": 39.212},
        "isth_k_softmax": {"outputs": 76.518},
        "isth_k_sum": {"outputs": 5.765},
    },
    "cortex-m7": {
        "isth_k_average_pool": {"outputs": 50.341, "inputs": 7.161},
        "isth_k_conv_1x1": {
            "macs": 0.925,
            "outputs": 15.421,
            "positions": 25.869,
            "weights": 1.347,
        },
        "isth_k_conv_2d": {"macs": 0.815, "outputs": 29.917, "gathered": 5.128},
        "isth_k_dense": {"macs": 2.024, "outputs": 32.634},
        "isth_k_depthwise": {"macs": 2.063, "inputs": 4.607, "weights": 46.114},
        "isth_k_softmax": {"outputs": 73.192},
        "isth_k_sum": {"outputs": 23.012},
    },
    "rv32imac": {
        "isth_k_average_pool": {"outputs": 36.014, "inputs": 5.881},
        "isth_k_conv_1x1": {"macs": 3.203, "outputs": 31.759, "positions": 5.625, "weights": 0.946},
        "isth_k_conv_2d": {"macs": 2.988, "outputs": 50.049, "gathered": 6.427},
        "isth_k_dense": {"macs": 3.912, "outputs": 49.756},
        "isth_k_depthwise": {"macs": 7.118, "inputs": 5.471, "weights": 27.81},
        "isth_k_softmax": {"outputs": 79.213},
        "isth_k_sum": {"outputs": 39.55},
    },
}
