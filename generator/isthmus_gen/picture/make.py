"""The picture decoder of a bundle: trained, exported, and measured through the exported file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import OptionError
from isthmus.interpreters import open_tflite
from isthmus.picture import PICTURE_MODEL, as_picture, write_picture
from isthmus.profile import Profile
from isthmus.restore import Restorer
from isthmus_gen.data import DataSet, Preprocessing
from isthmus_gen.models import Cut, LoadedModel
from isthmus_gen.models.convert import keras_to_tflite
from isthmus_gen.picture.collection import OPTION, PictureSet, collect_pictures, pictures_of
from isthmus_gen.picture.quality import psnr, ssim
from isthmus_gen.picture.training import plan_picture, train_picture
from isthmus_gen.progress import Progress, no_progress
from isthmus_gen.restoration.collection import levels_on_device

__all__ = ["LEAST_INPUTS", "MadePicture", "check_picture_input", "make_picture", "picture_of"]

Floats = npt.NDArray[np.float32]
LEAST_INPUTS = 40
"""Calibration inputs below which no decoder is trained."""
_RESTRICTIONS = (
    "for the features of this profile alone, each level as the profile's value for it",
    "the picture is a likeness learned from the calibration set: details may be made up",
    "features reveal the picture: treat frames as the pictures themselves",
)


@dataclass(frozen=True)
class MadePicture:
    """A picture decoder and its account.

    files   what the bundle holds of it, by name
    report  for ``report.json``: PSNR in dB and SSIM of each rung on inputs held out
    """

    files: dict[str, bytes]
    report: dict[str, Any]


def check_picture_input(data: DataSet, cut: Cut) -> None:
    """OptionError where no decoder can be trained from ``data``, before any long work."""
    inputs = len(data)
    pictures_of(data, next(data.batches(64))[0])
    if len(cut.shape) != 3:
        raise OptionError(
            OPTION, f"the tensor {cut.name} has shape {_text(cut.shape)}",
            allowed="[height, width, channels]", remedy="cut at a tensor that has both",
        )  # fmt: skip
    if inputs < LEAST_INPUTS:
        raise OptionError(
            OPTION, f"{inputs} calibration inputs are too few", allowed=f"{LEAST_INPUTS} or more"
        )


def picture_of(
    profile: Profile,
    model: LoadedModel,
    cut: Cut,
    data: DataSet,
    preprocessing: Preprocessing,
    *,
    epochs: int = 20,
    progress: Progress = no_progress,
) -> MadePicture:
    """Collects the pairs of ``data`` and makes the picture decoder of ``profile`` from them."""
    check_picture_input(data, cut)
    pairs = collect_pictures(model, cut, data, preprocessing, progress)
    return make_picture(profile, pairs, epochs=epochs, progress=progress)


def make_picture(
    profile: Profile,
    pairs: PictureSet,
    *,
    epochs: int = 20,
    seed: int = 1,
    progress: Progress = no_progress,
) -> MadePicture:
    """Trains the picture decoder of ``profile`` on ``pairs`` and measures it.

    Inputs are features as the host decodes them: the profile's value of each level that the device
    sends, in every rung in turn; a restorer takes no part. Loss: mean squared error.
    """
    rungs = len(profile.rungs)
    restorer = Restorer(profile)

    def decoded(rung: int, features: Floats) -> Floats:
        return restorer.restore(levels_on_device(profile, rung, features), rung)

    features, picture = pairs.features.shape[1:], pairs.pictures.shape[1:]
    plan = plan_picture(_three(features), _three(picture), len(pairs.training),
                        epochs=epochs, seed=seed)  # fmt: skip
    trained = train_picture(pairs, decoded, rungs, plan, progress)
    content = keras_to_tflite(trained.model, input_name="features", output_name="picture")
    network = open_tflite(content)
    truth = pairs.pictures[pairs.held_out]
    report: dict[str, Any] = {
        "trained_inputs": len(pairs.training),
        "held_out_inputs": len(truth),
        "steps": trained.steps,
        "seed": seed,
        "macs": plan.macs,
        "peak": pairs.peak,
        "rungs": [],
    }
    for rung in range(rungs):
        found = network.run_float(decoded(rung, pairs.features[pairs.held_out]))[0]
        shown = as_picture(found, pairs.peak)
        alike = ssim(shown, truth, pairs.peak)
        report["rungs"].append(
            {
                "levels": profile.rungs[rung].levels,
                "psnr_db": round(float(psnr(shown, truth, pairs.peak).mean()), 4),
                "ssim": None if alike is None else round(float(alike.mean()), 5),
            }
        )
    about = {**report, "restrictions": list(_RESTRICTIONS)}
    files = write_picture(profile, picture, pairs.peak, about)
    return MadePicture({**files, PICTURE_MODEL: content}, report)


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    height, width, channels = shape
    return height, width, channels


def _text(shape: tuple[int, ...]) -> str:
    return "x".join("?" if size < 0 else str(size) for size in shape) or "()"
