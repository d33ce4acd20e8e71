"""From a network and data to a trained file, and from that file to what a bundle is made of."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.errors import OptionError
from isthmus_gen.bottleneck.collection import CutSet, collect
from isthmus_gen.bottleneck.measure import clip_of, evaluate
from isthmus_gen.bottleneck.plan import TrainingPlan
from isthmus_gen.bottleneck.trained_file import read_account, trained_bytes
from isthmus_gen.bottleneck.training import train
from isthmus_gen.bottleneck.units import BOTTLENECK, insert
from isthmus_gen.data import DataSet, Preprocessing
from isthmus_gen.models import Cut, LoadedModel, load_model, resolve_cut
from isthmus_gen.options import GenerateOptions
from isthmus_gen.progress import Progress, no_progress

__all__ = [
    "TRAINED_FILE",
    "MadeBottleneck",
    "Prepared",
    "check_no_ray",
    "data_digest",
    "make_bottleneck",
    "prepare_bottleneck",
]

#: The trained network in a bundle.
TRAINED_FILE = "bottleneck.keras"
_STRIDE = 2


@dataclass(frozen=True)
class MadeBottleneck:
    """A trained network as the bytes of a ``.keras`` file, and the account that it holds."""

    content: bytes
    account: dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """What ``generate`` goes on with in the place of the user's network.

    model     the trained network, under the original's name; ``cut`` is its bottleneck
    asked     the options as given, with the levels that it was trained for where none are
    options   the same with the clip range that it was trained for
    extra     for the profile
    report    for ``report.json``
    content   the trained network's file
    """

    model: LoadedModel
    cut: Cut
    asked: GenerateOptions
    options: GenerateOptions
    extra: dict[str, Any]
    report: dict[str, Any]
    content: bytes


def make_bottleneck(
    model: LoadedModel,
    cut: str,
    data: DataSet,
    channels: int,
    stride: int,
    plan: TrainingPlan,
    preprocessing: Preprocessing,
    progress: Progress = no_progress,
    *,
    work: Path | None = None,
    found: CutSet | None = None,
    digest: str | None = None,
) -> MadeBottleneck:
    """Inserts the units at ``cut``, trains them and measures them on the inputs held out.

    The weights inside ``model`` are shared: with ``plan.train`` "all" they are others afterwards.
    ``work`` is a folder for checkpoints; ``found`` and ``digest`` are what ``collect`` and
    ``data_digest`` gave before for the same cut and data. Raises what ``insert``, ``collect`` and
    ``train`` raise.
    """
    place = resolve_cut(model, cut)
    inserted = insert(model, place, channels, stride, seed=plan.seed)
    everything = plan.train == "all"
    if found is None:
        found = collect(
            model, place, data, preprocessing, progress, features=False if everything else None
        )
    about = {
        "format": 1,
        "model": model.path.name,
        "model_sha256": hashlib.sha256(model.path.read_bytes()).hexdigest(),
        "cut": place.name,
        "channels": channels,
        "stride": stride,
        "plan": plan.as_dict(),
        "data": data.path.name,
        "inputs": len(data),
        "preprocessing": preprocessing.as_dict(),
    }
    key = json.dumps([about, digest or data_digest(data)], sort_keys=True)
    trained = train(inserted, found, plan, progress, work=work, key=key)
    figures = evaluate(inserted, plan, found, found, found.held_out, progress)
    about |= {"training": trained.as_dict(), "figures": figures.as_dict()}
    return MadeBottleneck(trained_bytes(inserted.whole, about), about)


def data_digest(data: DataSet) -> str:
    """SHA-256 of inputs and labels, in hexadecimal."""
    digest = hashlib.sha256()
    for x, y in data.batches(1024):
        digest.update(x.tobytes())
        digest.update(b"" if y is None else y.tobytes())
    return digest.hexdigest()


def prepare_bottleneck(
    options: GenerateOptions,
    model: LoadedModel,
    data: DataSet,
    preprocessing: Preprocessing,
    progress: Progress = no_progress,
    *,
    work: Path | None = None,
) -> Prepared:
    """The trained network that ``options`` ask for: that of ``--trained``, or one trained now."""
    if options.trained is None:
        given = "levels" in options.model_fields_set
        plan = TrainingPlan(
            levels=options.levels[0] if given else TrainingPlan.levels,
            rate_weight=options.rate_weight,
            epochs=options.bottleneck_epochs,
        )
        assert options.channels is not None  # make_options saw to it
        made = make_bottleneck(
            model, options.cut, data, options.channels, options.stride or _STRIDE, plan,
            preprocessing, progress, work=work,
        )  # fmt: skip
    else:
        account = read_account(options.trained)
        _check_account(options, model, account, preprocessing)
        made = MadeBottleneck(options.trained.read_bytes(), account)
    with tempfile.TemporaryDirectory(prefix="isthmus-") as folder:
        file = Path(folder) / TRAINED_FILE
        file.write_bytes(made.content)
        trained = load_model(file)
    trained.path = model.path  # what it is called in reports
    about = made.account
    extra = {
        "channels": about["channels"],
        "stride": about["stride"],
        "cut": about["cut"],
        "levels": about["plan"]["levels"],
        "file": TRAINED_FILE,
        "sha256": hashlib.sha256(made.content).hexdigest(),
    }
    count = about["plan"]["levels"]
    asked = options
    if "levels" not in options.model_fields_set:
        asked = options.model_copy(update={"levels": (count,)})
    ranged = asked.model_copy(update={"clip": clip_of(count)})
    return Prepared(
        trained, resolve_cut(trained, BOTTLENECK), asked, ranged, extra, about, made.content
    )


def check_no_ray(ray: str) -> None:
    """OptionError where calibration on a cluster is asked for: its workers open the user's file."""
    if ray:
        raise OptionError(
            "--ray", f"is {ray:.60} with --codec bottleneck", allowed="without it",
            remedy="leave it out: the network that is calibrated is the trained one",
        )  # fmt: skip


def _check_account(
    options: GenerateOptions,
    model: LoadedModel,
    account: dict[str, Any],
    preprocessing: Preprocessing,
) -> None:
    """OptionError where a trained file is of another network, cut, size or coder than asked."""
    plan = account["plan"]
    if plan.get("coder") != "isthmus" or not isinstance(plan.get("levels"), int):
        raise OptionError(
            f"--trained {options.trained}",
            f"was trained for --coder {plan.get('coder')}",
            allowed="--coder isthmus: JPEG is a comparison on the host",
        )
    digest = hashlib.sha256(model.path.read_bytes()).hexdigest()
    asked: list[tuple[str, Any, Any]] = [
        ("MODEL", digest[:12], account["model_sha256"][:12]),
        ("--cut", resolve_cut(model, options.cut).name, account["cut"]),
        ("--preprocess", preprocessing.as_dict(), account["preprocessing"]),
        ("--channels", options.channels or account["channels"], account["channels"]),
    ]
    if options.stride is not None:
        asked.append(("--stride", options.stride, account["stride"]))
    if "levels" in options.model_fields_set:
        asked.append(("--levels", options.levels[0], plan["levels"]))
    for option, mine, its in asked:
        if mine != its:
            raise OptionError(
                f"--trained {options.trained}",
                f"was trained with {option} {its}, and {mine} is asked for",
                remedy=f"leave out --trained, or give the {option} that it was trained with",
            )
