"""Recompute the tables of the published method and compare them, digit for digit.

    python -m benchmarks.paper_tables [--json]

Marks: P, published; R, recomputed here from the published model of Cohen, Choi and Bajic (IEEE
OJCAS 2, 2021, doi 10.1109/OJCAS.2021.3072884); D, derived here and not published. A figure agrees
when it prints as expected. The exit status is 1 when any figure disagrees.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from isthmus_gen.calibrate import (
    ActivationModel,
    ClipRange,
    ecsq_pinned_ends,
    fit_activation,
    optimal_maximum,
    optimal_range,
    unit_range,
)

RESNET, YOLO = "ResNet-50 layer 21", "YOLOv3 layer 12"
# Sample mean and variance of the two layers as published; both are behind a leaky ReLU, slope 0.1.
MOMENTS = {RESNET: (1.1235656, 4.9280124), YOLO: (0.4484323, 0.5742644)}
SLOPE = 0.1

FITS = {RESNET: ("0.7716595", "-1.4350621"), YOLO: ("2.3899515", "-0.3088777")}
MAXIMA = {
    RESNET: ("R", ("5.184", "7.511", "9.036", "10.175", "11.084", "11.842", "12.492")),
    YOLO: ("D", ("1.6737", "2.4250", "2.9175", "3.2852", "3.5789", "3.8236", "4.0335")),
}
RANGES = {
    2: ("0.3605", "5.5441"),
    3: ("0.1473", "7.6580"),
    4: ("0.0527", "9.0888"),
    5: ("0.0014", "10.1761"),
    8: ("-0.0652", "12.4272"),
}
# Roots of de/dz in 40-digit arithmetic, from the antiderivative of (y - r)**2 exp(-y).
UNIT_RANGES = {
    2: "2.000000",
    3: "2.897849",
    4: "3.486401",
    5: "3.925696",
    6: "4.276655",
    7: "4.569108",
    8: "4.819915",
    16: "6.098037",
    32: "7.358589",
    64: "8.617835",
    128: "9.882652",
    256: "11.155543",
}
ECSQ_LEVELS = (2, 3, 4, 5, 8, 16)
ECSQ_LAMBDAS = (0.0, 0.01, 0.03, 0.1, 0.3)
ECSQ_SAMPLES = 20_000
# J is a sum of products of floats; a step that lowers it by less than this may show as a rise.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Row:
    """One figure: expected and found as printed, with its mark."""

    table: str
    name: str
    mark: str
    expected: str
    found: str

    @property
    def agrees(self) -> bool:
        return self.expected == self.found


def rows() -> Iterator[Row]:
    """Every figure, in the order of the report."""
    models = {
        layer: fit_activation(mean, variance, slope=SLOPE)
        for layer, (mean, variance) in MOMENTS.items()
    }
    for layer, (lam, mu) in FITS.items():
        yield _row("activation model", f"{layer}, lam", "R", lam, models[layer].lam)
        yield _row("activation model", f"{layer}, mu", "R", mu, models[layer].mu)
    for layer, (mark, maxima) in MAXIMA.items():
        for levels, expected in enumerate(maxima, start=2):
            found = optimal_maximum(models[layer], levels)
            yield _row("c_max, c_min = 0", f"{layer}, N = {levels}", mark, expected, found)
    for levels, (low, high) in RANGES.items():
        found_low, found_high = optimal_range(models[RESNET], levels)
        name = f"{RESNET}, N = {levels}"
        yield _row("both ends free", f"{name}, c_min", "D", low, found_low)
        yield _row("both ends free", f"{name}, c_max", "D", high, found_high)
    for levels, expected in UNIT_RANGES.items():
        yield _row("z_N", f"N = {levels}", "D", expected, unit_range(levels))
    yield from _ecsq_rows(models)


def _row(table: str, name: str, mark: str, expected: str, found: float) -> Row:
    """Compare at as many decimals as ``expected`` prints."""
    decimals = len(expected.partition(".")[2])
    return Row(table, name, mark, expected, f"{found:.{decimals}f}")


def draw(model: ActivationModel, count: int, seed: int) -> NDArray[np.float64]:
    """float64 [count] outputs of the model's activation."""
    generator = np.random.default_rng(seed)
    scale = np.array([1 / (model.lam * model.kappa), model.kappa / model.lam])
    # An asymmetric Laplace variable is the difference of two exponential ones.
    up, down = generator.exponential(size=(2, count)) * scale[:, None]
    x = model.mu + up - down
    return np.asarray(np.where(x < 0, model.slope * x, x), np.float64)


def _ecsq_rows(models: dict[str, ActivationModel]) -> Iterator[Row]:
    runs = falling = 0
    for seed, model in enumerate(models.values()):
        samples = draw(model, ECSQ_SAMPLES, seed=seed)
        spread = float(samples.var())
        for levels in ECSQ_LEVELS:
            clip = ClipRange(0.0, optimal_maximum(model, levels), "model")
            for lam in ECSQ_LAMBDAS:
                for rate in ("entropy", "unary"):
                    history = ecsq_pinned_ends(
                        samples, levels, clip, lam=lam * spread, rate=rate
                    ).history
                    runs += 1
                    falling += all(
                        after <= before * (1 + ROUNDING) for before, after in pairwise(history)
                    )
    yield Row(
        "ECSQ", "runs in which J never rises", "D", f"{runs} of {runs}", f"{falling} of {runs}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Print the report; 0 when every figure agrees, else 1."""
    parser = argparse.ArgumentParser(prog="benchmarks.paper_tables", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    found = list(rows())
    agree = sum(row.agrees for row in found)
    if options.json:
        figures = [{**asdict(row), "agrees": row.agrees} for row in found]
        print(json.dumps({"figures": figures, "agree": agree, "total": len(found)}, indent=2))
    else:
        print(_text(found))
        print(f"\n{agree} of {len(found)} figures agree")
    return 0 if agree == len(found) else 1


def _text(found: list[Row]) -> str:
    head = ("table", "figure", "mark", "expected", "found", "")
    body = [
        (r.table, r.name, r.mark, r.expected, r.found, "" if r.agrees else "DISAGREES")
        for r in found
    ]
    widths = [max(len(line[k]) for line in [head, *body]) for k in range(len(head))]
    lines = []
    for line in [head, *body]:
        left = "  ".join(line[k].ljust(widths[k]) for k in range(3))
        right = "  ".join(line[k].rjust(widths[k]) for k in (3, 4))
        lines.append(f"{left}  {right}  {line[5]}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
