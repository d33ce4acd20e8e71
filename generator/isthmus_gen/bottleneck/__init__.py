"""A learned bottleneck: a few channels in the place of a cut tensor, trained with the real codec.

    model = load_model("resnet8.keras")
    cut = resolve_cut(model, "activation_4")
    data = collect(model, cut, load_data("train.npz"), Preprocessing())
    inserted = insert(model, cut, channels=32, stride=2)
    trained = train(inserted, data, TrainingPlan(epochs=20))
    figures = evaluate(inserted, trained.plan, data, data, data.held_out)

Published by Eshratifar, Esmaili and Pedram (BottleNet, 2019) with JPEG as the codec; the coder
"isthmus", its rate term and the start from principal components are ours.
"""

from __future__ import annotations

from isthmus_gen.bottleneck.codecs import (
    jpeg_code,
    jpeg_scan_bytes,
    through_jpeg,
    through_levels,
    tile,
    untile,
)
from isthmus_gen.bottleneck.collection import CutSet, collect
from isthmus_gen.bottleneck.measure import Figures, clip_of, evaluate, make_profile
from isthmus_gen.bottleneck.plan import TrainingPlan
from isthmus_gen.bottleneck.training import Epoch, Trained, train
from isthmus_gen.bottleneck.units import BOTTLENECK, Inserted, UnitPlan, insert

__all__ = [
    "BOTTLENECK",
    "CutSet",
    "Epoch",
    "Figures",
    "Inserted",
    "Trained",
    "TrainingPlan",
    "UnitPlan",
    "clip_of",
    "collect",
    "evaluate",
    "insert",
    "jpeg_code",
    "jpeg_scan_bytes",
    "make_profile",
    "through_jpeg",
    "through_levels",
    "tile",
    "train",
    "untile",
]
