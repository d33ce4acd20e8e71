"""Measures a bundle on labelled data: accuracy against bits, rivals, plots, the report.

Accuracies, agreements and shares are fractions in 0..1 everywhere; bits per element count the
frames' headers unless the name says ``payload``.
"""

from __future__ import annotations

from isthmus_gen.evaluate.comparison import Comparison, Row, compare_bundles, comparison_of
from isthmus_gen.evaluate.comparison_report import (
    comparison_table,
    render_comparison,
    save_comparison_plots,
    write_comparison,
)
from isthmus_gen.evaluate.front import (
    CompiledFront,
    FloatFront,
    Front,
    GoldenFront,
    NativeFront,
    open_front,
)
from isthmus_gen.evaluate.report import render_report, save_plots, write_report
from isthmus_gen.evaluate.result import BottleneckCut, Evaluation, FeatureHistogram, PathResult
from isthmus_gen.evaluate.rivals import Rival
from isthmus_gen.evaluate.run import evaluate_bundle, evaluate_bundles
from isthmus_gen.evaluate.rungs import RungMeter, RungResult
from isthmus_gen.evaluate.statistics import Interval, Tally, paired_interval

__all__ = [
    "BottleneckCut",
    "Comparison",
    "CompiledFront",
    "Evaluation",
    "FeatureHistogram",
    "FloatFront",
    "Front",
    "GoldenFront",
    "Interval",
    "NativeFront",
    "PathResult",
    "Rival",
    "Row",
    "RungMeter",
    "RungResult",
    "Tally",
    "compare_bundles",
    "comparison_of",
    "comparison_table",
    "evaluate_bundle",
    "evaluate_bundles",
    "open_front",
    "paired_interval",
    "render_comparison",
    "render_report",
    "save_comparison_plots",
    "save_plots",
    "write_comparison",
    "write_report",
]
