"""The host's restorer, trained on the calibration set: better features out of the same bytes.

Nothing here changes what is sent. ``make_restorer`` tries, for every rung, the profile's values,
the centroids of each channel's cells and a small convolutional network, measures each on inputs
that were held out, and keeps the best.
"""

from __future__ import annotations

from isthmus_gen.restoration.back import BackRunner, Divergence, open_back
from isthmus_gen.restoration.centroids import cell_centroids
from isthmus_gen.restoration.choice import MadeRestorer, make_restorer
from isthmus_gen.restoration.collection import FeatureSet, collect_features
from isthmus_gen.restoration.training import TrainingPlan, plan_training, train_net

__all__ = [
    "BackRunner",
    "Divergence",
    "FeatureSet",
    "MadeRestorer",
    "TrainingPlan",
    "cell_centroids",
    "collect_features",
    "make_restorer",
    "open_back",
    "plan_training",
    "train_net",
]
