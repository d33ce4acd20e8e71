"""The main job on the embedded default: digits, a small residual network, a Cortex-M4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.bundle import Bundle
from isthmus.errors import MismatchError, OptionError, OutputError
from isthmus_gen.data import load_data
from isthmus_gen.digits import (
    DIGITS_DEFAULT_CUT,
    DIGITS_PREPROCESSING,
    digits_model_path,
    write_digits_names,
    write_digits_npz,
)
from isthmus_gen.evaluate import evaluate_bundle, write_report
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import Generated, generate
from isthmus_gen.progress import Progress, no_progress
from isthmus_gen.verification import verify_bundle

__all__ = ["DEMO_CODECS", "Demo", "make_demo_bundle", "run_demo"]

#: What each codec is asked for on the digits.
_OPTIONS: dict[str, dict[str, Any]] = {
    "lightweight": {"levels": (4, 2, 8)},
    "near-lossless": {"bounds": (0, 1, 2, 4)},
    "bottleneck": {"levels": (4,), "channels": 8, "stride": 2},
}
#: Training takes more digits than calibration.
_PARTS = {"bottleneck": "train"}
DEMO_CODECS = tuple(_OPTIONS)
"""The codecs that the demo knows, the default one first."""


@dataclass(frozen=True)
class Demo:
    """What the demo made: the bundle, its report, and the results as JSON-ready data."""

    bundle: Bundle
    report: dict[str, Any]
    targets: list[dict[str, Any]]
    evaluation: dict[str, Any]
    report_file: Path


def make_demo_bundle(
    out: Path, progress: Progress = no_progress, *, codec: str = DEMO_CODECS[0]
) -> tuple[Generated, dict[str, Path]]:
    """The digits bundle under ``out``, and the files of its data by name.

    It is called ``digits``, and ``digits-CODEC`` with another codec than the default one.
    """
    if codec not in _OPTIONS:
        raise OptionError("--codec", f"is {codec!r:.60}", allowed=f"one of {', '.join(_OPTIONS)}")
    try:
        data = write_digits_npz(out / "data")
        names = write_digits_names(out / "data")
    except OSError as error:
        raise OutputError(
            str(out), f"cannot be written ({error.strerror})", remedy="choose another --out"
        ) from error
    options = make_options(
        {
            "model": digits_model_path(),
            "cut": DIGITS_DEFAULT_CUT,
            "calibration": data[_PARTS.get(codec, "calibration")],
            "out": out / f"digits{_suffix(codec)}",
            "target": "cortex-m4f",
            "codec": codec,
            **_OPTIONS[codec],
            "preprocess": DIGITS_PREPROCESSING,
            "class_names": names,
        }
    )
    return generate(options, progress), data


def _suffix(codec: str) -> str:
    return "" if codec == DEMO_CODECS[0] else f"-{codec}"


def run_demo(
    out: Path,
    targets: Sequence[str],
    inputs: int,
    progress: Progress = no_progress,
    *,
    codec: str = DEMO_CODECS[0],
) -> Demo:
    """Generates, verifies and evaluates the digits bundle under ``out``.

    MismatchError where firmware and reference differ on any target.
    """
    made, data = make_demo_bundle(out, progress, codec=codec)
    results = verify_bundle(
        made.bundle, targets, data=data["test"], count=inputs, progress=progress
    )
    rows = [result.as_dict() for result in results]
    for row in rows:
        if row["mismatches_front"] or row["mismatches_bytes"]:
            raise MismatchError(f"target {row['name']}", "firmware and reference differ")
    evaluation = evaluate_bundle(made.bundle, load_data(data["test"]), progress=progress)
    report_file = out / f"report{_suffix(codec)}.html"
    write_report(report_file, made.bundle, evaluation, verify=rows)
    return Demo(made.bundle, made.report, rows, evaluation.as_dict(), report_file)
