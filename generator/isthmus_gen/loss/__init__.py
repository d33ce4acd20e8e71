"""Loss on the way: a channel that loses packets, and accuracy against its loss."""

from __future__ import annotations

from isthmus_gen.loss.channel import GilbertElliott
from isthmus_gen.loss.curves import LossCurves, LossPoint, loss_curves

__all__ = ["GilbertElliott", "LossCurves", "LossPoint", "loss_curves"]
