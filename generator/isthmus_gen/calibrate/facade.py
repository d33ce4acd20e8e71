"""One call from statistics to a quantiser, for the pipeline."""

from __future__ import annotations

import math
from dataclasses import replace

from isthmus.errors import OptionError
from isthmus_gen.calibrate.clip import ActivationLike, ClipSpec, clip_range
from isthmus_gen.calibrate.distribution import MeasuredDistribution
from isthmus_gen.calibrate.ecsq import RATES, ecsq_pinned_ends, ecsq_pinned_zero
from isthmus_gen.calibrate.quantizers import (
    Quantizer,
    centroids,
    check_levels,
    measure,
    uniform_quantizer,
)
from isthmus_gen.calibrate.statistics import TensorStatistics

__all__ = ["QUANTIZERS", "calibrate_quantizer", "default_lambda"]

QUANTIZERS = ("uniform", "ecsq", "ecsq-zero")

# 0.5, 1 and 2 were tried on ResNet-8's features after stages 1, 2 and 3 (256 CIFAR-10 training
# pictures, N = 4, ECSQ with zero pinned, against the uniform quantiser of least measured error): 1
# has 4 to 9 % less error at 0.03 to 0.06 bit per element less, 0.5 has 9 to 12 % less error at 0.01
# bit more, 2 has 3 to 15 % more error at 0.12 to 0.18 bit less.
_LAMBDA_SHARE = 1.0


def calibrate_quantizer(
    stats: TensorStatistics,
    *,
    levels: int,
    clip: ClipSpec,
    quantizer: str,
    lam: float | None = None,
    rate: str = "entropy",
    activation: ActivationLike,
    c_min: str = "auto",
) -> Quantizer:
    """The quantiser that the statistics and the options give.

    ``clip`` is "model", "empirical", "aciq", a number, a pair or their text (see
    :func:`~isthmus_gen.calibrate.clip.parse_clip`); ``quantizer`` one of QUANTIZERS; ``lam`` the
    absolute lambda of J = MSE + lambda * bits, in squared units of the features per bit, or None
    for :func:`default_lambda` (a uniform quantiser has none and takes None alone). ECSQ is trained
    on the reservoir's sample.

    The result has ``values_centroid`` and its details hold ``mse``, ``mse_centroid`` and
    ``entropy_bits``, measured on all values seen while they fit the reservoir, else on bins.
    Raises OptionError and DataEmptyError.
    """
    check_levels(levels)
    if quantizer not in QUANTIZERS:
        raise OptionError("quantizer", quantizer, allowed=", ".join(QUANTIZERS))
    if rate not in RATES:
        raise OptionError("rate", rate, allowed=", ".join(RATES))
    if lam is not None and quantizer == "uniform":
        raise OptionError("lambda", f"{lam} with a uniform quantiser", allowed="ecsq or ecsq-zero")
    stats.require_data()
    bounds = clip_range(stats, clip, levels=levels, activation=activation, c_min=c_min)
    if quantizer == "uniform":
        made = uniform_quantizer(levels, bounds)
    else:
        weight = default_lambda(stats, levels) if lam is None else lam
        train = ecsq_pinned_ends if quantizer == "ecsq" else ecsq_pinned_zero
        made = train(stats.samples(), levels, bounds, lam=weight, rate=rate).quantizer
    data = MeasuredDistribution.from_statistics(stats)
    seen = measure(made, data)
    details = {
        **made.details,
        "mse": seen.error,
        "mse_centroid": seen.error_centroid,
        "entropy_bits": seen.entropy,
        "measured_exactly": data.exact,
    }
    return replace(made, details=details, values_centroid=centroids(made, data))


def default_lambda(stats: TensorStatistics, levels: int) -> float:
    """A lambda for ``levels`` levels, in squared units of the features per bit.

    2 ln 2 * Var[Y] / levels**2: at high rate the error of a quantiser falls by 2 ln 2 times itself
    per bit, and Var[Y] / levels**2 is the order of that error. The factor 1 was chosen by measured
    error and entropy, not by a network's accuracy.
    """
    check_levels(levels)
    return _LAMBDA_SHARE * 2 * math.log(2) * stats.variance / levels**2
