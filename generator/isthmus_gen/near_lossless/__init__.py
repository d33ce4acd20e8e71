"""Near-lossless coding: the grid of a bound, and the distributions that code its levels."""

from __future__ import annotations

from isthmus_gen.near_lossless.design import design_near_rungs
from isthmus_gen.near_lossless.grid import Grid, make_grid
from isthmus_gen.near_lossless.training import TrainedDesign, train_distributions

__all__ = ["Grid", "TrainedDesign", "design_near_rungs", "make_grid", "train_distributions"]
