"""The generator in a few lines of Python.

    from isthmus_gen import api

    made = api.generate(
        model="resnet8.keras", cut="activation_4", calibration="pictures.npz",
        out="resnet8", target="cortex-m4f", levels=(4,),
    )
    results = api.verify("resnet8", targets=["host", "cortex-m4f"])
    evaluation = api.evaluate("resnet8", data="test.npz")

Each function does what the command of the same name does; heavy packages are imported when one of
them runs. They live here and not in ``isthmus_gen`` itself, whose subpackages have the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus_gen.evaluate import Comparison, Evaluation
    from isthmus_gen.models import Cut
    from isthmus_gen.pipeline import Generated
    from isthmus_gen.progress import Progress
    from isthmus_gen.support import CutSupport
    from isthmus_gen.verify import TargetResult

__all__ = ["compare", "cut_support", "cuts", "evaluate", "generate", "verify"]


def cuts(model: str | Path) -> list[Cut]:
    """Every tensor of the network in ``model``, with its cost and whether it is a legal cut."""
    from isthmus_gen.models import load_model

    return load_model(model).cuts()


def cut_support(model: str | Path, *, progress: Progress | None = None) -> dict[str, CutSupport]:
    """By the name of each legal cut: which operators of its front half generated C lacks.

    A float network is converted to int8 for it, which takes seconds.
    """
    from isthmus_gen.models import load_model
    from isthmus_gen.progress import no_progress
    from isthmus_gen.support import cut_support as run

    return run(load_model(model), progress=progress or no_progress)


def generate(*, progress: Progress | None = None, ray: str = "", **options: Any) -> Generated:
    """Writes a bundle; ``options`` are the fields of ``isthmus_gen.options.GenerateOptions``.

    ``ray`` is the address of a Ray cluster for the calibration, "local" to start one here.
    """
    from isthmus_gen.options import make_options
    from isthmus_gen.pipeline import generate as run
    from isthmus_gen.progress import no_progress

    return run(make_options(options), progress or no_progress, ray=ray)


def verify(
    bundle: str | Path,
    *,
    targets: Sequence[str] = (),
    data: str | Path | None = None,
    inputs: int = 8,
    rung: int = 0,
) -> list[TargetResult]:
    """Builds and runs a bundle's firmware on each target; a difference is in the result."""
    from isthmus.bundle import Bundle
    from isthmus_gen.verification import verify_bundle

    return verify_bundle(
        Bundle.open(bundle),
        targets,
        data=None if data is None else Path(data),
        count=inputs,
        rung=rung,
    )


def evaluate(bundle: str | Path, *, data: str | Path, limit: int = 0) -> Evaluation:
    """Accuracy and rate of a bundle on labelled data."""
    from isthmus.bundle import Bundle
    from isthmus_gen.data import load_data
    from isthmus_gen.evaluate import evaluate_bundle

    opened = Bundle.open(bundle)
    shape = [int(size) for size in opened.profile.extra["input"]["shape"]]
    return evaluate_bundle(opened, load_data(data, input_shape=shape, limit=limit or None))


def compare(bundles: Sequence[str | Path], *, data: str | Path, limit: int = 0) -> Comparison:
    """Bundles of one network on the same labelled data: one table, and each one's evaluation."""
    from isthmus.bundle import Bundle
    from isthmus_gen.data import load_data
    from isthmus_gen.evaluate import compare_bundles

    opened = [Bundle.open(bundle) for bundle in bundles]
    shape = [int(size) for size in opened[0].profile.extra["input"]["shape"]] if opened else None
    return compare_bundles(opened, load_data(data, input_shape=shape, limit=limit or None))
