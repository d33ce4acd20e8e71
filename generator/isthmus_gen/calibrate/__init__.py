"""From the features of a calibration set to clip ranges, quantisers and integer tables."""

from __future__ import annotations

from isthmus_gen.calibrate.clip import (
    C_MIN,
    CLIP_RULES,
    Activation,
    ActivationLike,
    ClipSpec,
    check_c_min,
    clip_range,
    empirical_range,
    parse_clip,
)
from isthmus_gen.calibrate.distribution import MeasuredDistribution
from isthmus_gen.calibrate.ecsq import RATES, EcsqTrace, ecsq_pinned_ends, ecsq_pinned_zero
from isthmus_gen.calibrate.facade import QUANTIZERS, calibrate_quantizer, default_lambda
from isthmus_gen.calibrate.laplace import ActivationModel, fit_activation
from isthmus_gen.calibrate.model_clip import (
    aciq_alpha,
    model_error,
    optimal_maximum,
    optimal_range,
    relu_maximum,
    unit_range,
)
from isthmus_gen.calibrate.quantizers import (
    ABOVE_ALL,
    ClipRange,
    Measure,
    Quantizer,
    centroids,
    measure,
    uniform_quantizer,
)
from isthmus_gen.calibrate.statistics import TensorStatistics
from isthmus_gen.calibrate.tables import f32_keys, lut_int8, thresholds_f32_keys, thresholds_i16

__all__ = [
    "ABOVE_ALL",
    "CLIP_RULES",
    "C_MIN",
    "QUANTIZERS",
    "RATES",
    "Activation",
    "ActivationLike",
    "ActivationModel",
    "ClipRange",
    "ClipSpec",
    "EcsqTrace",
    "Measure",
    "MeasuredDistribution",
    "Quantizer",
    "TensorStatistics",
    "aciq_alpha",
    "calibrate_quantizer",
    "centroids",
    "check_c_min",
    "clip_range",
    "default_lambda",
    "ecsq_pinned_ends",
    "ecsq_pinned_zero",
    "empirical_range",
    "f32_keys",
    "fit_activation",
    "lut_int8",
    "measure",
    "model_error",
    "optimal_maximum",
    "optimal_range",
    "parse_clip",
    "relu_maximum",
    "thresholds_f32_keys",
    "thresholds_i16",
    "uniform_quantizer",
    "unit_range",
]
